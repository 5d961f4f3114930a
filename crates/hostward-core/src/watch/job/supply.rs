//! What keeps work going: the worker that takes jobs up, and a queue of which so many should run at once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::brakes::{DAY, storage_lost};
use super::remedy::{Kind, PROVE_WITHIN};
use super::runner::begun;
use super::verdict::unusable;
use super::{Memo, Runner, Spec};
use crate::ask::{JobReading, JobState, JobsReading, Look, Question};
use crate::hold::{Held, Hold, Lift};
use crate::id::{Resource, Str, TargetId, UnitName};
use crate::judge::{Code, Reason, Seen};
use crate::ledger::Attempt;
use crate::plan::{Act, Basis, COST_RESTART, Check, Heal, Launch, OnCrash, OnFail, Plan, Proof, Step, Unless, Want};
use crate::time::Ms;
use crate::watch::Draft;
use crate::watch::steps::{by_hand, prove_step, restart_step};
use crate::watch::storage::percent;
use crate::world::{Live, World};

/// `[job.NAME.queue]`: jobs that wait are started, each as a unit of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// So many should run, while others wait.
    pub wanted: u32,
    /// Runs one job to its end: an argument vector, filled for it.
    pub start: Vec<Str>,
    /// No job is started while the disk is fuller, in per cent. Default 88.
    pub used: u32,
    /// Starts of one job in a day. Default 3.
    pub per_day: u32,
    /// What the names of their units begin with: `hostward-job-crawl-`.
    pub prefix: Str,
}

impl Queue {
    /// One plan starts no more.
    const AT_ONCE: usize = 8;
    /// systemd.unit(5): a name has at most 255 characters.
    const NAME_MAX: usize = 255;

    /// Its own unit's name, for an id that may stand in one.
    pub fn unit(&self, id: &str) -> Option<UnitName> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let name = format!("{}{id}.service", self.prefix);
        (id.chars().all(plain) && name.len() <= Queue::NAME_MAX).then(|| UnitName::new(name))
    }
}

const START_WITHIN: Ms = Ms::secs(30);

impl Spec {
    /// None: no worker is declared.
    pub(super) fn judge_worker(&self, reading: &JobsReading) -> Option<Seen> {
        let worker = self.asked.worker.as_ref()?;
        Some(match reading.worker.as_ref()? {
            Err(fault) => Seen::Unknown(fault.clone()),
            Ok(seen) if begun(seen) => Seen::Up,
            Ok(_) => match waiting(reading).count() {
                0 => Seen::Up,
                1 => Seen::Down(Reason::new(Code::Idle, format!("a job waits, and {worker} does not run"))),
                _ => Seen::Down(Reason::new(Code::Idle, format!("jobs wait, and {worker} does not run"))),
            },
        })
    }

    pub(super) fn start_worker(
        &self,
        world: &World,
        target: &TargetId,
        live: &Live,
        memo: &Memo,
        last: &JobsReading,
    ) -> Draft {
        let (Some(worker), Some(Ok(seen))) = (&self.asked.worker, &last.worker) else {
            return Draft::unready("the worker's state is not known");
        };
        // Somebody may start it meanwhile, and then it has jobs that a restart would end.
        let runs = Unless { question: Arc::new(Question::Unit(worker.clone())), want: Want::Returned };
        let steps = vec![
            Step { unless: Some(runs), ..restart_step(worker, Some(seen.stop_timeout)) },
            prove_step(vec![Check::Target(target.clone())], PROVE_WITHIN),
        ];
        let plan = Plan {
            watch: target.watch.clone(),
            rung: Kind::Start.rung(),
            heals: vec![Heal::new(target.clone(), Kind::Start.rung(), Code::Idle.label())],
            touches: vec![Resource::Unit(worker.clone())],
            cost: COST_RESTART,
            basis: vec![Basis::policy(&live.digest)],
            why: format!("{worker} does not run, and jobs wait for it").into(),
            steps,
        };
        let stopped = by_hand(worker, seen, memo.stopped, self.respect_stop, world.now);
        Draft::plan(plan)
            .held(stopped)
            .held(storage_lost(world, waiting(last).filter_map(|job| job.output.as_deref())))
    }

    /// None: no queue is declared.
    pub(super) fn judge_queue(&self, reading: &JobsReading) -> Option<Seen> {
        let queue = self.queue.as_ref()?;
        let (run, wait) = (self.at_work(reading), self.startable(reading).count());
        if run >= queue.wanted as usize || wait == 0 {
            return Some(Seen::Up);
        }
        let detail = format!("{run} of {} run, and others wait", queue.wanted);
        Some(Seen::Down(Reason::new(Code::Underfilled, detail)))
    }

    pub(super) fn fill(&self, world: &World, target: &TargetId, live: &Live, last: &JobsReading) -> Draft {
        let Some(queue) = &self.queue else { return Draft::none("no queue is declared") };
        let attempts = world.state.targets.get(target).map(|brake| &brake.attempts);
        let today: Vec<&Attempt> =
            attempts.into_iter().flatten().filter(|attempt| world.now.since(attempt.at) < DAY).collect();
        let starts = |id: &Str| today.iter().filter(|attempt| attempt.about.contains(id)).count();
        let missing = (queue.wanted as usize).saturating_sub(self.at_work(last)).min(Queue::AT_ONCE);
        let free = self.startable(last).filter(|job| starts(&job.id) < queue.per_day as usize);
        let free = free.filter(|job| storage_lost(world, job.output.as_deref()).is_none() && unusable(job).is_none());
        // One that cannot be started is in nobody's way.
        let steps = free.filter_map(|job| Some((job, self.launch(queue, job).ok()?)));
        let (chosen, steps): (Vec<&JobReading>, Vec<Step>) = steps.take(missing).unzip();
        if chosen.is_empty() {
            return match self.startable(last).find_map(|job| storage_lost(world, job.output.as_deref())) {
                Some(held) => Draft { plan: None, holds: vec![held] },
                None => Draft::none(self.why_none(queue, last)),
            };
        }
        Draft::plan(filled_up(target, live, &chosen, steps)).held(full(queue, last))
    }

    fn why_none(&self, queue: &Queue, last: &JobsReading) -> String {
        let refused = self.startable(last).find_map(|job| self.launch(queue, job).err());
        let often = || format!("each job that waits was started {} times within a day", queue.per_day);
        refused.unwrap_or_else(often)
    }

    fn launch(&self, queue: &Queue, job: &JobReading) -> Result<Step, String> {
        let unit = queue.unit(&job.id).ok_or_else(|| format!("'{}' cannot stand in a unit's name", job.id))?;
        let command = self.filled(&queue.start, job)?;
        let check = Check::Fact(Arc::new(Question::Unit(unit.clone())), Want::StartedSince);
        Ok(Step {
            act: Some(Act::Launch(Launch { unit, command })),
            deadline: START_WITHIN,
            proof: Some(Proof {
                checks: vec![check],
                passes: 1,
                every: Ms(500),
                within: START_WITHIN,
                soak: Ms::ZERO,
            }),
            // One that was begun and ended while nobody looked would run a second time.
            crash: OnCrash::Unwind,
            back: None,
            // A job that cannot be started keeps no other one waiting.
            fail: OnFail::GoOn,
            unless: None,
        })
    }

    pub(super) fn launches(&self, launch: &Launch) -> bool {
        self.queue.as_ref().is_some_and(|queue| {
            let named =
                launch.unit.as_str().strip_prefix(&*queue.prefix).and_then(|rest| rest.strip_suffix(".service"));
            named.is_some_and(|id| queue.unit(id).as_ref() == Some(&launch.unit))
                && self.is_of(&queue.start, &launch.command)
        })
    }

    /// By their record, or by who runs them. Whom nobody knows to stand still may be at work.
    fn at_work(&self, reading: &JobsReading) -> usize {
        let runs = |job: &&JobReading| job.state == JobState::Running || !self.rests(reading, job);
        reading.jobs.iter().filter(runs).count()
    }

    fn startable<'a>(&'a self, reading: &'a JobsReading) -> impl Iterator<Item = &'a JobReading> {
        waiting(reading).filter(|job| self.rests(reading, job))
    }

    fn rests(&self, reading: &JobsReading, job: &JobReading) -> bool {
        Runner::of(self, job, reading.worker.as_ref()) == Runner::Nobody
    }
}

fn filled_up(target: &TargetId, live: &Live, jobs: &[&JobReading], mut steps: Vec<Step>) -> Plan {
    let units = steps.iter().filter_map(|step| match &step.act {
        Some(Act::Launch(launch)) => Some(Resource::Unit(launch.unit.clone())),
        _ => None,
    });
    let paths = jobs.iter().filter_map(|job| job.output.clone()).map(Resource::Path);
    let touches = units.chain(paths).collect();
    steps.push(prove_step(vec![Check::Target(target.clone())], PROVE_WITHIN));
    let heal = Heal::new(target.clone(), Kind::Fill.rung(), Code::Underfilled.label());
    let about: Vec<Str> = jobs.iter().map(|job| job.id.clone()).collect();
    Plan {
        watch: target.watch.clone(),
        rung: Kind::Fill.rung(),
        why: format!("fewer jobs run than should: {}", about.join(", ")).into(),
        heals: vec![Heal { about, ..heal }],
        touches,
        cost: COST_RESTART,
        basis: vec![Basis::policy(&live.digest)],
        steps,
    }
}

fn waiting(reading: &JobsReading) -> impl Iterator<Item = &JobReading> {
    reading.jobs.iter().filter(|job| job.state.waits())
}

/// As df(1) counts it. A disk that cannot be measured is not known to have room.
fn full(queue: &Queue, last: &JobsReading) -> Option<Held> {
    let threshold = format!("less than {} per cent used", queue.used);
    let lift = Lift::Fact("the next look".into());
    let value = match last.disk.as_ref()? {
        Look::Answered(space) => {
            let used = percent(space.used_bytes, space.free_bytes);
            if used < u64::from(queue.used) {
                return None;
            }
            format!("the disk is {used} per cent full")
        }
        Look::Failed { call, why, .. } => format!("its space is not known: {call}: {why}"),
        Look::Stuck { .. } => "its space is not known: it hangs".to_owned(),
        Look::Unasked(fault) => format!("its space is not known: {fault}"),
    };
    Some(Held::new(Hold::DiskFull, value, threshold, lift))
}
