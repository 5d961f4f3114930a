//! A host with jobs: some run in the worker, some in units of their own; their counters rise, or do not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::stage::{Scene, Stage};
use crate::ask::{
    Active, Answer, Call, ClosureReading, Fault, Found, GateReading, JobReading, JobState, JobsQ, JobsReading,
    LockState, Look, Measure, Process, Question, Reading, RunnerReading, SentinelState, Space, UnitReading,
};
use crate::fixture;
pub(super) use crate::fixture::job as spec;
use crate::fixture::words;
use crate::id::{Str, TargetId, UnitName, WatchId};
use crate::plan::Act;
use crate::policy::{Brakes, Policy, Watch};
use crate::run::Outcome;
use crate::time::{Ms, Now};
use crate::watch::Spec as Kinds;
use crate::watch::job::{Queue, Spec};

pub(super) const BRAKES: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 6, soak: Ms::mins(10) };
pub(super) const WORKER: &str = "worker.service";

/// Who runs a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Worker,
    Own,
    Nobody,
    /// A process of nobody's unit, which holds its lock.
    Stranger,
    /// Its lock is held, and nobody can tell by whom.
    Hidden,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) state: JobState,
    pub(super) by: By,
    /// Boot time.
    pub(super) started: Ms,
    pub(super) count: Option<u64>,
    /// Counts a minute.
    pub(super) rate: u64,
    /// What it does once it was taken up anew.
    pub(super) then: Option<u64>,
    pub(super) errno: Option<i32>,
    pub(super) since: Ms,
}

impl Job {
    pub(super) fn runs(by: By, rate: u64) -> Job {
        Job {
            state: JobState::Running,
            by,
            started: Ms::mins(1),
            count: Some(100),
            rate,
            then: None,
            errno: None,
            since: Ms::ZERO,
        }
    }

    pub(super) fn waits() -> Job {
        Job { state: JobState::Pending, by: By::Nobody, count: None, ..Job::runs(By::Nobody, 0) }
    }

    fn advance(&mut self, now: Ms) {
        let minutes = now.saturating_sub(self.since).0 / 60_000;
        self.since = self.since + Ms::mins(minutes);
        if self.by != By::Nobody && self.rate > 0 {
            self.count = Some(self.count.unwrap_or(0) + self.rate * minutes);
        }
    }

    fn taken_up(&mut self, now: Ms, by: By) {
        (self.state, self.by, self.started, self.since) = (JobState::Running, by, now, now);
        self.rate = self.then.unwrap_or(self.rate);
    }
}

/// What becomes of a job that the queue starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Lives,
    /// The program of this one ends at once, and leaves it as it was.
    Fails(&'static str),
    /// It is done before anybody looks.
    IsDone,
}

pub(super) struct Jobs {
    pub(super) all: BTreeMap<&'static str, Job>,
    pub(super) worker: Active,
    pub(super) by_hand: bool,
    /// The worker takes up what waits, this long after it was started or told.
    pub(super) takes_up: bool,
    pub(super) failing: Option<Fault>,
    /// Its entry is refused at each other look.
    pub(super) garbled: Option<&'static str>,
    looks: u32,
    /// Commands that fail: their first word.
    pub(super) broken: Option<&'static str>,
    pub(super) begun: Begun,
    pub(super) disk_used: u64,
    /// The sentinel is there.
    pub(super) permitted: bool,
    invocations: BTreeMap<Str, u64>,
}

pub(super) fn id() -> WatchId {
    WatchId::new("job.crawl")
}

pub(super) fn job(name: &str) -> TargetId {
    TargetId::new(id(), format!("job/{name}"))
}

pub(super) fn of_watch(key: &str) -> TargetId {
    TargetId::new(id(), key)
}

pub(super) fn queue() -> Queue {
    Queue {
        wanted: 2,
        start: words(&["/opt/jobs", "run", "{id}"]),
        used: 88,
        per_day: 3,
        prefix: "hostward-job-crawl-".into(),
    }
}

pub(super) fn policy(spec: Spec) -> Policy {
    let watch = Watch { spec: Kinds::Job(spec), brakes: BRAKES, ..fixture::service("crawl") };
    Policy { watches: [(id(), watch)].into(), ..Policy::default() }
}

impl Jobs {
    pub(super) fn new(jobs: &[(&'static str, Job)]) -> Jobs {
        Jobs {
            all: jobs.iter().cloned().collect(),
            worker: Active::Active,
            by_hand: false,
            takes_up: true,
            failing: None,
            garbled: None,
            looks: 0,
            broken: None,
            begun: Begun::Lives,
            disk_used: 50,
            permitted: true,
            invocations: BTreeMap::new(),
        }
    }

    /// Everything was looked at once.
    pub(super) fn on_stage(self, spec: Spec) -> Stage<Jobs> {
        self.under(policy(spec))
    }

    pub(super) fn under(self, policy: Policy) -> Stage<Jobs> {
        let mut stage = Stage::new(fixture::at(Ms::hours(10)), policy, self);
        assert!(stage.run_until(Ms::mins(6), |stage| stage.is_looked_at(&id())));
        stage
    }

    fn unit(&self, name: &str, active: Active, now: Now) -> UnitReading {
        let invocation = self.invocations.get(name).copied().unwrap_or(0);
        let started = if invocation == 0 { Ms::secs(1) } else { now.up };
        UnitReading {
            active,
            invocation: format!("{invocation}x").into(),
            stop_timeout: Ms::secs(30),
            ..UnitReading::service(started)
        }
    }

    fn starts(&mut self, now: Now, unit: &UnitName) {
        *self.invocations.entry(unit.as_str().into()).or_default() += 1;
        if unit.as_str() == WORKER {
            self.worker = Active::Active;
        }
        let own = self.own(unit);
        if let Some(job) = own.and_then(|id| self.all.get_mut(id)) {
            job.taken_up(now.up, By::Own);
        }
    }

    fn launches(&mut self, now: Now, unit: &UnitName) {
        let Some(id) = self.own(unit) else { return };
        match self.begun {
            Begun::Fails(which) if which == id => {}
            Begun::Lives | Begun::Fails(_) => self.starts(now, unit),
            Begun::IsDone => drop(self.all.remove(id)),
        }
    }

    fn own(&self, unit: &UnitName) -> Option<&'static str> {
        let name = unit.as_str().strip_suffix(".service")?;
        let id = name.strip_prefix("crawl@").or_else(|| name.strip_prefix("hostward-job-crawl-"))?;
        self.all.keys().find(|key| **key == id).copied()
    }

    fn stops(&mut self, unit: &UnitName) {
        if unit.as_str() == WORKER {
            self.worker = Active::Inactive;
        }
        let own = self.own(unit);
        for (id, job) in &mut self.all {
            let its = job.by == By::Worker && unit.as_str() == WORKER || job.by == By::Own && own == Some(*id);
            if its {
                job.by = By::Nobody;
            }
        }
    }

    fn reading(&mut self, now: Now, q: &JobsQ) -> JobsReading {
        if self.takes_up && self.worker == Active::Active {
            for job in self.all.values_mut().filter(|job| job.state == JobState::Retryable) {
                job.taken_up(now.up, By::Worker);
            }
        }
        self.all.values_mut().for_each(|job| job.advance(now.up));
        self.looks += 1;
        let garbled = self.garbled.filter(|_| self.looks.is_multiple_of(2));
        let told = |id: &&'static str| Some(*id) != garbled;
        let worker = UnitReading {
            result: if self.by_hand { "success".into() } else { "exit-code".into() },
            ..self.unit(WORKER, self.worker, now)
        };
        let closure = |active| ClosureReading {
            active,
            members: Vec::new(),
            one_way: Vec::new(),
            stop_timeout: Ms::secs(30),
            wakers: Vec::new(),
        };
        let text = q.runner.unit.as_deref().unwrap_or_default();
        let unit_of = |id: &str| UnitName::new(text.replace("{id}", id));
        let own = self.all.iter().filter(|(_, job)| job.by == By::Own).map(|(id, _)| unit_of(id));
        let worker_runs = matches!(self.worker, Active::Active);
        let mut closures = vec![(UnitName::new(WORKER), Ok(closure(worker_runs)))];
        closures.extend(own.map(|unit| (unit, Ok(closure(true)))));
        JobsReading {
            jobs: self
                .all
                .keys()
                .filter(|id| told(id))
                .map(|id| self.job(now, id, &self.all[id], &unit_of(id)))
                .collect(),
            doubtful: garbled.map(|id| (Str::from(id), Str::from("half a state file"))).into_iter().collect(),
            worker: Some(Ok(Box::new(worker))),
            closures,
            disk: Some(Look::Answered(Space {
                used_bytes: self.disk_used,
                free_bytes: 100 - self.disk_used,
                ..Space::default()
            })),
            ..JobsReading::default()
        }
    }

    fn job(&self, now: Now, id: &str, job: &Job, unit: &UnitName) -> JobReading {
        let process = |unit: Option<&str>| Process { pid: 7, unit: unit.map(UnitName::new), began: None };
        let holder = match job.by {
            By::Worker => Some(process(Some(WORKER))),
            By::Stranger => Some(process(None)),
            By::Own | By::Nobody | By::Hidden => None,
        };
        let active = if job.by == By::Own { Active::Active } else { Active::Inactive };
        let held = LockState::Held { pid: Some(7), command: None, age: None };
        JobReading {
            id: id.into(),
            group: None,
            state: job.state,
            started: Some(now.wall.saturating_sub(now.up.saturating_sub(job.started))),
            output: Some(PathBuf::from(format!("/srv/jobs/{id}"))),
            numbers: BTreeMap::new(),
            runner: RunnerReading {
                unit: Some((unit.clone(), Ok(Box::new(self.unit(unit.as_str(), active, now))))),
                lock: Some(if holder.is_some() || job.by == By::Hidden { held } else { LockState::Free }),
                holder,
                ..RunnerReading::default()
            },
            progress: vec![match job.count {
                Some(count) => Found::Count(Measure { count, ..Measure::default() }),
                None => Found::Nothing("no line".into()),
            }],
            look: Some(match job.errno {
                Some(errno) => Look::Failed { call: Call::Open, errno, why: format!("errno {errno}").into() },
                None => Look::Answered(Space::default()),
            }),
        }
    }
}

impl Scene for Jobs {
    fn answer(&mut self, now: Now, question: &Question) -> Answer {
        Ok(match question {
            Question::Jobs(_) if self.failing.is_some() => return Err(self.failing.clone().expect("it fails")),
            Question::Jobs(q) => Reading::Jobs(Box::new(self.reading(now, q))),
            Question::Unit(unit) => {
                let own = self.own(unit).and_then(|id| self.all.get(id)).map(|job| job.by == By::Own);
                let active = match own {
                    Some(true) => Active::Active,
                    Some(false) => Active::Inactive,
                    None => self.worker,
                };
                Reading::Unit(Box::new(self.unit(unit.as_str(), active, now)))
            }
            Question::Gate(_) => {
                let sentinel = if self.permitted { SentinelState::Present } else { SentinelState::Absent };
                Reading::Gate(GateReading { sentinels: vec![sentinel], ..GateReading::default() })
            }
            _ => return Err(Fault::Timeout),
        })
    }

    fn act(&mut self, now: Now, act: &Act) -> Outcome {
        match act {
            Act::Stop(stop) => stop.units().for_each(|unit| self.stops(unit)),
            Act::Start(units) => units.iter().for_each(|unit| self.starts(now, unit)),
            Act::Restart(unit) => {
                self.stops(unit);
                self.starts(now, unit);
            }
            Act::Launch(launch) => self.launches(now, &launch.unit),
            Act::Command(command) => {
                let [_, verb, id] = command.argv.as_slice() else { return Outcome::Failed("usage".into()) };
                if self.broken == Some(verb) {
                    return Outcome::Failed("exited 1".into());
                }
                let Some(job) = self.all.get_mut(&**id) else { return Outcome::Failed("no such job".into()) };
                job.state = if &**verb == "record" { JobState::Running } else { JobState::Retryable };
            }
            _ => {}
        }
        Outcome::Ok
    }
}
