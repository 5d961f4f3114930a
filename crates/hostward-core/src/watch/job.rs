//! The job watch: long work that must progress, whoever runs it.
//!
//! Each job is a target with a verdict of its own (`verdict`), by how far it has come (`track`) and who runs it
//! (`runner`). One that has stopped progressing is taken up again by the least remedy that hurts no other (`remedy`), unless
//! something holds it (`brakes`). The unit that works through the queue, and the queue itself, are targets beside them
//! (`supply`). What the provider lists and how that reads is a part, told of only. (watches.md, "job", where each number
//! comes from.)

mod brakes;
#[cfg(test)]
mod fixture;
mod remedy;
mod runner;
mod supply;
mod track;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Draft;
use crate::ask::{Active, Answer, Fault, JobState, JobsQ, JobsReading, Pace, Probe, Provider, Question, Reading};
use crate::id::{Resource, Rung, Str, TargetId, UnitName};
use crate::judge::{Code, Confirm, Reason, Seen, Shown, Sight};
use crate::plan::Act;
use crate::time::{Ms, Now};
use crate::world::{Live, World};
use runner::Runner;
use track::Track;

pub use remedy::Remedy;
pub use supply::Queue;
pub use track::Pace as Rate;

/// `[job.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub asked: JobsQ,
    /// Default 5 min.
    pub interval: Ms,
    /// A job that runs and has not progressed for so long is stalled. Default 1 h.
    pub stalled_after: Ms,
    /// So many counters must have risen for it to be progress. Default 1.
    pub agree: u32,
    /// What is too slow, though it progresses.
    pub degraded: Option<Rate>,
    pub remedy: Remedy,
    pub queue: Option<Queue>,
    /// A clean stop of the worker that nobody explains is somebody's decision for this long. Default 30 min.
    pub respect_stop: Ms,
}

/// Everything that is judged here is looked at twice, and the second time sooner.
const CONFIRM_EVERY: Ms = Ms::mins(1);
/// Jobs are taken up, finished and begun by others all the time: what is true of one when a hold passes may not have been
/// for a minute. What a look takes itself is not counted.
pub(super) const ACTS_WITHIN: Ms = Ms::secs(10);
/// Keys of targets: a job's is `job/ID`.
const JOB: &str = "job/";
pub const WORKER: &str = "worker";
pub const QUEUE: &str = "queue";
/// The part that the list itself is.
const PROVIDER: &str = "provider";

/// What is remembered between looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    /// By id, of each job that was listed last.
    tracks: BTreeMap<Str, Track>,
    last: Option<Box<JobsReading>>,
    /// Since when the worker stands still by somebody's clean stop.
    stopped: Option<Now>,
}

/// What is shown of one job, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub id: Str,
    pub group: Option<Str>,
    pub state: JobState,
    /// Of the first source that has one.
    pub count: Option<u64>,
    /// How long ago it progressed, as far as we saw.
    pub progressed: Option<Ms>,
    /// How long it has run, by its own word.
    pub age: Option<Ms>,
    /// A minute, between the last two looks.
    pub rate: Option<f64>,
    /// Looks in a row that were too slow.
    pub slow: u32,
    /// errno(3) of the last look at its output folder; 0: none. None: it did not come back, or none is asked for.
    pub errno: Option<i32>,
    /// Each counter, in the order in which they are declared.
    pub sources: Vec<SourceView>,
    pub numbers: BTreeMap<Str, serde_json::Number>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    pub label: Str,
    /// It has a number.
    pub known: bool,
    /// errno(3) of what failed; 0: nothing. None: it did not come back, or was not asked.
    pub errno: Option<i32>,
    /// mtime of the file that said so: wall clock.
    pub touched: Option<Ms>,
}

fn key(id: &str) -> Str {
    format!("{JOB}{id}").into()
}

fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix(JOB)
}

pub(super) fn is_part(key: &str) -> bool {
    key == PROVIDER
}

impl Spec {
    pub(super) fn probes(&self) -> Vec<Probe> {
        vec![Probe {
            question: Arc::new(Question::Jobs(self.asked.clone())),
            pace: self.pace(),
            deadline: self.asked.deadline(),
        }]
    }

    pub(super) fn pace(&self) -> Pace {
        Pace { every: self.interval, confirm_every: CONFIRM_EVERY.min(self.interval / 2) }
    }

    /// Until the first of those that run will have stood still for as long as it may. A window begins with a look, so that
    /// there are never more of such looks than there were others.
    pub(super) fn ripens(&self, memo: &Memo, asked: Now) -> Option<Ms> {
        let running = memo.tracks.values().filter(|track| track.runs());
        let left = running.map(|track| self.stalled_after.saturating_sub(asked.since(track.anchor())));
        left.filter(|left| *left > Ms::ZERO).min()
    }

    /// Two looks that somebody orders by hand show the same moment: a unit that is restarted is down in both.
    /// A stall was looked at from the beginning of its window to the end: it needs no more.
    fn confirm(&self, of: Option<Code>) -> Confirm {
        let (runs, age) = match of {
            Some(Code::Stalled) => (1, Ms::ZERO),
            _ => (2, self.pace().confirm_every / 2),
        };
        Confirm { runs, age, quiet: None }
    }

    pub(super) fn stale_after(&self) -> Ms {
        (self.interval * 2).max(Ms::mins(2))
    }

    /// The worker, should another watch keep it.
    pub(super) fn needs(&self) -> Vec<Resource> {
        self.asked.worker.iter().cloned().map(Resource::Unit).collect()
    }

    pub(super) fn rungs() -> Vec<Rung> {
        remedy::Kind::ALL.map(remedy::Kind::rung).to_vec()
    }

    /// A unit that the operator said runs jobs, one a job.
    fn is_runner(&self, unit: &UnitName) -> bool {
        match (&self.asked.runner.unit, &self.asked.from) {
            (Some(text), _) if crate::ask::Place::fits(text, unit.as_str()) => true,
            (_, Provider::Units(glob)) => matches_glob(glob, unit.as_str()),
            _ => false,
        }
    }

    pub(super) fn read(&self, memo: &mut Memo, asked: Now, answer: &Answer) -> Vec<Sight> {
        let reading = match answer {
            Ok(Reading::Jobs(reading)) => reading,
            Ok(_) => return Vec::new(),
            // A provider that fails has not said that there are no jobs.
            Err(fault) => return self.blind(memo, fault),
        };
        let mut tracks = BTreeMap::new();
        let mut sights = Vec::new();
        for job in &reading.jobs {
            let runner = Runner::of(self, job, reading.worker.as_ref());
            let mut track = memo.tracks.remove(&job.id).unwrap_or_else(|| Track::new(asked));
            track.lies(verdict::lost(job), job.state == JobState::Failed);
            // Also when its record does not say so: it is a sibling that must not be stopped all the same.
            if job.state == JobState::Running || runner.runs() {
                track.look(asked, &runner.run(job, reading.worker.as_ref()), &job.progress, self.agree);
                track.pace(asked, &job.progress, self.degraded.as_ref());
            } else {
                track.rest();
            }
            let seen = verdict::judge(self, job, &runner, &track, asked);
            track.tell(asked, &seen);
            sights.push(self.sight(key(&job.id), seen));
            tracks.insert(job.id.clone(), track);
        }
        for (id, why) in &reading.doubtful {
            // Its entry is there, and says nothing that could be believed: that is not to be gone.
            let Some(track) = memo.tracks.remove(id) else { continue };
            sights.push(self.sight(key(id), Seen::Unknown(Fault::Unreadable(why.clone()))));
            tracks.insert(id.clone(), track);
        }
        // Whoever is left was not listed any more, by a list that was whole.
        let gone = std::mem::replace(&mut memo.tracks, tracks).into_keys();
        sights.extend(gone.map(|id| Sight { shown: Shown::Gone, ..self.sight(key(&id), Seen::Up) }));
        memo.note_worker(asked, reading);
        sights.extend(self.judge_worker(reading).map(|seen| self.sight(WORKER.into(), seen)));
        sights.extend(self.judge_queue(reading).map(|seen| self.sight(QUEUE.into(), seen)));
        sights.push(self.sight(PROVIDER.into(), judge_list(reading)));
        memo.last = Some(reading.clone());
        sights
    }

    fn sight(&self, key: Str, seen: Seen) -> Sight {
        let code = match &seen {
            Seen::Down(reason) => Some(reason.code),
            Seen::Up | Seen::Unknown(_) => None,
        };
        Sight { key, shown: Shown::Seen(seen), confirm: self.confirm(code), fact: None }
    }

    fn blind(&self, memo: &Memo, fault: &Fault) -> Vec<Sight> {
        let fixed = [self.asked.worker.as_ref().map(|_| WORKER), self.queue.as_ref().map(|_| QUEUE)];
        let keys = memo.tracks.keys().map(|id| key(id)).chain(fixed.into_iter().flatten().map(Str::from));
        let list = match fault {
            Fault::Config(why) => Seen::Down(Reason::new(Code::Config, why.clone())),
            fault => Seen::Unknown(fault.clone()),
        };
        let unknown = keys.map(|key| self.sight(key, Seen::Unknown(fault.clone())));
        unknown.chain([self.sight(PROVIDER.into(), list)]).collect()
    }

    pub(super) fn draft(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        let Some(last) = &memo.last else { return Draft::unready("its jobs were not listed yet") };
        match (&*target.key, id_of(&target.key)) {
            (WORKER, _) => self.start_worker(world, target, live, memo, last),
            (QUEUE, _) => self.fill(world, target, live, last),
            (_, Some(id)) => match last.jobs.iter().find(|job| &*job.id == id) {
                Some(job) => self.remedy_for(world, target, live, memo, last, job),
                None => Draft::none("it is not listed any more"),
            },
            _ => Draft::none("what the provider says is its owner's to mend"),
        }
    }

    pub(super) fn allows(&self, act: &Act) -> bool {
        self.permits(act)
    }
}

impl Memo {
    /// Since when a job has not progressed: who waits longest is helped first.
    pub(super) fn waits_since(&self, key: &str) -> Option<Now> {
        Some(self.tracks.get(id_of(key)?)?.anchor())
    }

    fn note_worker(&mut self, now: Now, reading: &JobsReading) {
        match &reading.worker {
            Some(Ok(worker)) if worker.stopped_cleanly() => {
                self.stopped.get_or_insert(now);
            }
            Some(Ok(_)) => self.stopped = None,
            // Nobody knows whether it still does.
            Some(Err(_)) | None => {}
        }
    }

    pub(crate) fn job(&self, spec: &Spec, key: &str, now: Now) -> Option<JobView> {
        let id = id_of(key)?;
        let job = self.last.as_ref()?.jobs.iter().find(|job| &*job.id == id)?;
        let track = self.tracks.get(id)?;
        Some(JobView {
            id: job.id.clone(),
            group: job.group.clone(),
            state: job.state,
            count: track.count(),
            progressed: track.progressed().map(|at| now.since(at)),
            age: job.started.map(|started| now.wall.saturating_sub(started)),
            rate: track.rate(),
            slow: track.slow(),
            errno: verdict::errno(job),
            sources: spec
                .asked
                .progress
                .iter()
                .zip(&job.progress)
                .map(|(source, found)| verdict::source(source, found))
                .collect(),
            numbers: job.numbers.clone(),
        })
    }

    /// Whether the worker runs, where that is known.
    pub(crate) fn worker(&self) -> Option<Active> {
        Some(self.last.as_ref()?.worker.as_ref()?.as_ref().ok()?.active)
    }
}

fn judge_list(reading: &JobsReading) -> Seen {
    let Some(first) = reading.refused.first() else { return Seen::Up };
    let more = match reading.refused_total {
        0 | 1 => String::new(),
        n => format!("; {} more", n - 1),
    };
    Seen::Down(Reason::new(Code::Config, format!("{first}{more}")))
}

/// As systemd's own patterns: `*` is any text, `?` any character. Names of units are ASCII.
fn matches_glob(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // Of the last `*`: where it stands, and what it may take next. An earlier one never needs to take more.
    let mut star = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (g, n) = (at + 1, taken + 1);
            }
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_names_is_systemds() {
        let table = [
            ("import@*.service", "import@a.service", true),
            ("import@*.service", "import@.service", true),
            ("import@*.service", "import@a.timer", false),
            ("import@?.service", "import@ab.service", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("", "", true),
            ("*", "", true),
        ];
        for (glob, name, matches) in table {
            assert_eq!(matches_glob(glob, name), matches, "{glob} {name}");
        }
        // Not in the time that the age of the universe would be.
        assert!(!matches_glob(&"*a".repeat(60), &"a".repeat(59)));
    }
}
