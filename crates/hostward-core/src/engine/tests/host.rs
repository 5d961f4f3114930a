//! The virtual host: a unit as systemd shows it, an environment, a health endpoint, gates, and an actor.
//!
//! It decides nothing; it only moves with virtual time, as the real one was seen to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::policy::{HOST_SENTINEL, REVISION, UNIT, WATCH_SENTINEL};
use crate::ask::{
    Active, Answer, Fault, GateQ, GateReading, HttpAnswer, HttpReading, Interpreter, LockState, Operator, Picked,
    PythonReading, Question, Reading, SentinelState, SystemState, UnitReading, Unmet,
};
use crate::engine::Hint;
use crate::id::{Str, UnitName};
use crate::plan::Act;
use crate::run::{Outcome, Ticket};
use crate::time::{Ms, Now};

/// The process imports the missing package this long after its start.
const CRASH_AFTER: Ms = Ms(300);
/// From the start of the process to its first answer.
const START_TIME: Ms = Ms(800);
const STOP_TIME: Ms = Ms(200);

/// What the health endpoint does though its process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Http {
    Well,
    SilentUntilRestart,
    Silent,
}

/// What the operator's command comes to, this long after its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    Cures(Ms),
    Fails(Ms),
    /// It does its work, and nobody learns of it.
    Lost(Ms),
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) now: Now,
    pub(super) unit: UnitReading,
    pub(super) http: Http,
    /// PID 1 says "ok" and does nothing.
    pub(super) deaf: bool,
    /// The environment lacks a package that the lock names and the process imports.
    pub(super) missing: bool,
    /// Wall clock.
    pub(super) touched: Ms,
    pub(super) revision: String,
    pub(super) venv_fault: Option<Fault>,
    pub(super) sentinels: BTreeMap<PathBuf, SentinelState>,
    pub(super) lock: LockState,
    pub(super) operators: Vec<Operator>,
    pub(super) system: SystemState,
    pub(super) cure: Cure,
    /// Commands that were started, ever.
    pub(super) commands: u32,
    pub(super) hints: Vec<Hint>,
    /// What the health body says of them.
    pub(super) components: Vec<(Str, Picked)>,
    /// Outcomes that the actor has to tell.
    pub(super) told: Vec<(Ticket, Outcome)>,
    jobs: BTreeMap<Ticket, Job>,
    /// A transition that was planned for an earlier state of the unit no longer comes.
    epoch: u64,
    starts: u64,
    due: BTreeMap<(Ms, u64), Due>,
    ids: u64,
}

#[derive(Debug)]
struct Job {
    act: Act,
    ended: Option<Outcome>,
}

#[derive(Debug)]
enum Due {
    Crash(u64),
    Start { epoch: u64, auto: bool },
    Job(Ticket),
}

impl Host {
    /// All is well, and has been for five minutes.
    pub(super) fn new(now: Now, restart_every: Ms) -> Host {
        let began = Ms(now.up.0 - Ms::mins(5).0);
        let present = [HOST_SENTINEL, WATCH_SENTINEL].map(|path| (PathBuf::from(path), SentinelState::Present));
        Host {
            now,
            unit: UnitReading {
                invocation: "0000".into(),
                restart_every: Some(restart_every),
                ..UnitReading::service(began)
            },
            http: Http::Well,
            components: Vec::new(),
            deaf: false,
            missing: false,
            touched: Ms(now.wall.0 - Ms::hours(5).0),
            revision: REVISION.into(),
            venv_fault: None,
            sentinels: present.into(),
            lock: LockState::Free,
            operators: Vec::new(),
            system: SystemState::Running,
            cure: Cure::Cures(Ms::secs(20)),
            commands: 0,
            hints: Vec::new(),
            told: Vec::new(),
            jobs: BTreeMap::new(),
            epoch: 0,
            starts: 0,
            due: BTreeMap::new(),
            ids: 0,
        }
    }

    pub(super) fn next_due(&self) -> Option<Ms> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn advance(&mut self) {
        while self.next_due().is_some_and(|at| at <= self.now.up) {
            let Some((_, due)) = self.due.pop_first() else { return };
            match due {
                Due::Crash(epoch) if epoch == self.epoch => self.crash(),
                Due::Start { epoch, auto } if epoch == self.epoch => self.start(auto),
                Due::Crash(_) | Due::Start { .. } => {}
                Due::Job(ticket) => self.job_ended(ticket),
            }
        }
    }

    fn later(&mut self, after: Ms, due: Due) {
        self.ids += 1;
        self.due.insert((self.now.up + after, self.ids), due);
    }

    /// Code was pulled without its install step, and the service restarted onto it.
    pub(super) fn pull_without_install(&mut self) {
        self.missing = true;
        self.touched = self.now.wall;
        self.restart();
    }

    /// `systemctl restart`, by whomever.
    pub(super) fn restart(&mut self) {
        let stopping = if self.unit.running() { STOP_TIME } else { Ms(5) };
        self.end("killed 15", "success");
        self.unit.active = Active::Deactivating;
        self.unit.job = Some("restart".into());
        let epoch = self.epoch;
        self.later(stopping, Due::Start { epoch, auto: false });
    }

    /// `systemctl stop`.
    pub(super) fn stop(&mut self) {
        self.end("exited 0", "success");
        self.unit.active = Active::Inactive;
        self.unit.sub = "dead".into();
    }

    /// The process ends and nothing restarts it.
    pub(super) fn fail(&mut self) {
        self.end("exited 1", "exit-code");
        self.unit.active = Active::Failed;
        self.unit.sub = "failed".into();
    }

    fn start(&mut self, auto: bool) {
        self.starts += 1;
        self.epoch += 1;
        let now = self.now.up;
        self.unit.restarts = if auto { self.unit.restarts + 1 } else { 0 };
        self.unit.invocation = format!("{:04x}", self.starts).into();
        self.unit.active = Active::Active;
        self.unit.sub = "running".into();
        self.unit.result = "success".into();
        self.unit.job = None;
        self.unit.main_pid = Some(100 + u32::try_from(self.starts).unwrap_or(0));
        (self.unit.main_started, self.unit.main_exited, self.unit.main_end) = (now, Ms::ZERO, "".into());
        (self.unit.active_since, self.unit.starting_since) = (now, now);
        if self.http == Http::SilentUntilRestart {
            self.http = Http::Well;
        }
        if self.missing {
            let epoch = self.epoch;
            self.later(CRASH_AFTER, Due::Crash(epoch));
        }
        self.hint();
    }

    fn crash(&mut self) {
        self.end("exited 1", "exit-code");
        self.unit.active = Active::Activating;
        self.unit.sub = "auto-restart".into();
        let (epoch, after) = (self.epoch, self.unit.restart_every.unwrap_or(Ms::ZERO));
        self.later(after, Due::Start { epoch, auto: true });
    }

    fn end(&mut self, how: &str, result: &str) {
        self.epoch += 1;
        if self.unit.main_pid.take().is_some() {
            (self.unit.main_exited, self.unit.main_end) = (self.now.up, how.into());
        }
        self.unit.result = result.into();
        self.hint();
    }

    pub(super) fn hint(&mut self) {
        self.hints.push(Hint::Unit(UnitName::new(UNIT)));
    }

    /// Whether the endpoint answers.
    pub(super) fn serves(&self) -> bool {
        let settled = self.now.up.saturating_sub(self.unit.main_started) >= START_TIME;
        self.unit.running() && settled && !self.missing && self.http == Http::Well
    }

    pub(super) fn answer(&self, question: &Question) -> Answer {
        Ok(match question {
            Question::Unit(_) => Reading::Unit(Box::new(self.unit.clone())),
            Question::Http(http) if self.serves() => Reading::Http(HttpReading::Answered(HttpAnswer {
                status: 200,
                picked: vec![Vec::new(); http.picks.len()],
                json: true,
                excerpt: "{}".into(),
                components: self.components.clone(),
                ..HttpAnswer::default()
            })),
            Question::Http(_) => Reading::Http(HttpReading::Silent("connection refused".into())),
            Question::Python(_) => Reading::Python(self.python()?),
            Question::Gate(gate) => Reading::Gate(self.gate(gate)),
            other => unreachable!("nobody asks {other:?} here"),
        })
    }

    fn python(&self) -> Result<PythonReading, Fault> {
        if let Some(fault) = &self.venv_fault {
            return Err(fault.clone());
        }
        let unmet = Unmet { name: "slowapi".into(), wanted: "==0.1.9".into(), found: None };
        Ok(PythonReading {
            interpreter: Interpreter::Version("3.11".into()),
            installed: 41,
            required: 42,
            unmet: if self.missing { vec![unmet] } else { Vec::new() },
            unmet_total: u32::from(self.missing),
            touched: self.touched,
            revision: Some(self.revision.as_str().into()),
            wants_digest: "abcdef0123456789".into(),
        })
    }

    fn gate(&self, gate: &GateQ) -> GateReading {
        let state = |path: &PathBuf| self.sentinels.get(path).copied().unwrap_or(SentinelState::Absent);
        GateReading {
            sentinels: gate.sentinels.iter().map(state).collect(),
            lock: gate.lock.as_ref().map(|_| self.lock.clone()),
            operators: self.operators.clone(),
            system: self.system,
            old_actors: Vec::new(),
            rivals: Vec::new(),
            unreachable: None,
        }
    }

    pub(super) fn set_sentinel(&mut self, path: &str, state: SentinelState) {
        self.sentinels.insert(path.into(), state);
        self.hints.push(Hint::Gates);
    }

    pub(super) fn all_sentinels(&self) -> bool {
        self.sentinels.values().all(|state| *state == SentinelState::Present)
    }

    pub(super) fn perform(&mut self, ticket: Ticket, act: &Act) {
        let after = match act {
            Act::Command(_) => {
                let alone = !self.jobs.values().any(|job| job.ended.is_none() && matches!(job.act, Act::Command(_)));
                assert!(alone, "two commands at the same time: {:?}", self.jobs);
                self.commands += 1;
                match self.cure {
                    Cure::Cures(after) | Cure::Fails(after) | Cure::Lost(after) => after,
                }
            }
            Act::Restart(_) => {
                if !self.deaf {
                    self.restart();
                }
                STOP_TIME + Ms(50)
            }
            other => unreachable!("{other} is in no plan here"),
        };
        let earlier = self.jobs.insert(ticket, Job { act: act.clone(), ended: None });
        assert!(earlier.is_none(), "{ticket:?} was performed twice");
        self.later(after, Due::Job(ticket));
    }

    fn job_ended(&mut self, ticket: Ticket) {
        // Cancelled meanwhile.
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        let outcome = match (&job.act, self.cure) {
            (Act::Restart(_), _) | (_, Cure::Cures(_)) => Outcome::Ok,
            (_, Cure::Fails(_)) => Outcome::Failed("exited 1".into()),
            (_, Cure::Lost(_)) => Outcome::Lost("the bus went away".into()),
        };
        if matches!(job.act, Act::Command(_)) && !matches!(self.cure, Cure::Fails(_)) {
            self.missing = false;
            self.touched = self.now.wall;
        }
        job.ended = Some(outcome.clone());
        self.told.push((ticket, outcome));
    }

    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.jobs.remove(&ticket);
    }

    /// A new engine asks what became of its tickets. Commands live in units of their own; a restart's job left no trace.
    pub(super) fn adopt(&mut self, tickets: &[Ticket]) -> Vec<(Ticket, Outcome)> {
        self.jobs.retain(|ticket, job| tickets.contains(ticket) && matches!(job.act, Act::Command(_)));
        let outcome = |ticket: &Ticket| match self.jobs.get(ticket) {
            Some(job) => Some((*ticket, job.ended.clone()?)),
            None => Some((*ticket, Outcome::Lost("nobody remembers it".into()))),
        };
        tickets.iter().filter_map(outcome).collect()
    }
}
