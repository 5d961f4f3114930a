//! The remedy of one job: taken up again by whoever should run it, at the cost of nobody else who progresses.
//!
//! `retry` marks a job that nobody runs. `recover` stops the unit that runs it, lets the operator's command put its record
//! right, and starts the same unit again whatever happened. `record` writes down that a job runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::brakes::{at_work, storage_lost};
use super::{Memo, Runner, Spec};
use crate::ask::{JobReading, JobsReading, Place};
use crate::hold::{Circuit, circuit, tried};
use crate::id::{Resource, Rung, Str, TargetId, UnitName};
use crate::judge::Code;
use crate::plan::{Act, Basis, COST_RESTART, Check, Command, Gather, Heal, OnCrash, OnFail, Plan, Step, When};
use crate::time::Ms;
use crate::watch::Draft;
use crate::watch::quiesce::stops;
use crate::watch::steps::{prove_step, restart_step, stop_step};
use crate::world::{Live, World};

/// What the operator says of remedies. Commands are argument vectors, filled for each job ([`Place::fill`]); each must
/// bear to be run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Marks a job that nobody runs, so that it is taken up again.
    pub retry: Option<Vec<Str>>,
    /// Puts a job's record right while its runner stands still.
    pub recover: Option<Vec<Str>>,
    /// Writes down that a job runs.
    pub record: Option<Vec<Str>>,
    /// Whom they run as.
    pub user: Option<Str>,
    /// `NAME=VALUE` lines.
    pub env: Option<PathBuf>,
    /// Who progressed within this is not stopped for another one's sake. Default 10 min.
    pub guard: Ms,
    /// Times a job is taken up in a day, whatever came of it. Default 3.
    pub per_day: u32,
    /// The last three that gained less than this each were no remedy. Default 10.
    pub gain: u64,
}

/// What a rung does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Retry,
    Recover,
    Record,
    /// Of the worker.
    Start,
    /// Of the queue.
    Fill,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] = [Kind::Retry, Kind::Recover, Kind::Record, Kind::Start, Kind::Fill];

    pub(super) fn rung(self) -> Rung {
        Rung::new(match self {
            Kind::Retry => "retry",
            Kind::Recover => "recover",
            Kind::Record => "record",
            Kind::Start => "start",
            Kind::Fill => "fill",
        })
    }
}

/// The operator's own command.
const COMMAND_WITHIN: Ms = Ms::mins(5);
const GATHER_WITHIN: Ms = Ms::secs(10);
/// Until the list shows what was done: its command may take as long as a minute.
pub(super) const PROVE_WITHIN: Ms = Ms::mins(5);
/// One job, and all that its remedy is made of.
pub(super) struct Case<'a> {
    pub(super) world: &'a World,
    pub(super) target: &'a TargetId,
    pub(super) live: &'a Live,
    pub(super) memo: &'a Memo,
    pub(super) last: &'a JobsReading,
    pub(super) job: &'a JobReading,
    pub(super) code: Code,
}

impl Spec {
    pub(super) fn remedy_for(
        &self,
        world: &World,
        target: &TargetId,
        live: &Live,
        memo: &Memo,
        last: &JobsReading,
        job: &JobReading,
    ) -> Draft {
        let reason = world.target(target).and_then(|t| t.verdict.down().or(t.suspect()));
        let Some(code) = reason.map(|reason| reason.code) else { return Draft::none("nothing is wrong") };
        let case = Case { world, target, live, memo, last, job, code };
        match code {
            Code::Stalled | Code::Orphaned | Code::Interrupted => self.take_up(&case).held(self.unsure(&case)),
            Code::Unrecorded => self.marked(&case, Kind::Record).held(self.unsure(&case)),
            Code::Infrastructure => Draft::none("what it lies on is lost: that is no fault of the job's"),
            Code::Unwritable => Draft::none("what keeps its folder from being written to is its owner's to mend"),
            Code::Degraded => Draft::none("it is slow and progresses: that is watched, and left alone"),
            _ => Draft::none(format!("nothing is known against {}", code.label())),
        }
    }

    /// By whoever runs it; when nobody does, it is marked, or in the end the worker is made to look again.
    fn take_up(&self, case: &Case<'_>) -> Draft {
        let draft = match Runner::of(self, case.job, case.last.worker.as_ref()) {
            Runner::Own(unit) => self.through(case, &unit),
            Runner::Worker => match &self.asked.worker {
                Some(worker) => self.through(case, worker),
                None => Draft::none("nobody says which unit runs it"),
            },
            Runner::Nobody => self.without_runner(case),
            Runner::Foreign(unit) => {
                Draft::none(format!("{unit} runs it, and `runner.unit` does not say that such a one may be stopped"))
            }
            Runner::Stranger(process) => {
                Draft::none(format!("process {} runs it, and is in no unit that is declared for it", process.pid))
            }
            Runner::Hidden => Draft::none("its lock is held, and nobody can tell by whom"),
            Runner::Unknown(why) => Draft::unready(format!("who runs it is not known: {why}")),
        };
        draft
            .held(self.capped(case))
            .held(self.useless(case))
            .held(storage_lost(case.world, case.job.output.as_deref()))
    }

    fn without_runner(&self, case: &Case<'_>) -> Draft {
        self.taken_up_anew(case).held(at_work(case))
    }

    fn taken_up_anew(&self, case: &Case<'_>) -> Draft {
        let worker = self.asked.worker.as_ref().filter(|_| self.remedy.recover.is_some());
        match (&self.remedy.retry, worker) {
            (Some(_), Some(worker)) if worn(case, Kind::Recover) < worn(case, Kind::Retry) => {
                self.through(case, worker)
            }
            (Some(_), _) => self.marked(case, Kind::Retry),
            (None, Some(worker)) => self.through(case, worker),
            (None, None) => Draft::none("nobody runs it: declare `retry`, which marks it to be taken up again"),
        }
    }

    /// A command, and the list that shows what came of it.
    fn marked(&self, case: &Case<'_>, kind: Kind) -> Draft {
        let command = if kind == Kind::Record { &self.remedy.record } else { &self.remedy.retry };
        let Some(command) = command else {
            return Draft::none("somebody runs it, and its record does not say so: declare `record`, or mend it");
        };
        match self.command(command, case.job) {
            Ok(step) => {
                let steps = vec![step, prove_step(vec![Check::Target(case.target.clone())], PROVE_WITHIN)];
                Draft::plan(plan(case, kind, Vec::new(), steps))
            }
            Err(why) => Draft::none(why),
        }
    }

    /// The unit that runs it stands still while its record is put right.
    fn through(&self, case: &Case<'_>, unit: &UnitName) -> Draft {
        let closure = |of: &UnitName| {
            let found = case.last.closures.iter().find(|(unit, _)| unit == of)?;
            found.1.as_ref().ok()
        };
        let quiet = match stops(std::slice::from_ref(unit), closure) {
            Ok(quiet) => quiet,
            Err(draft) => return *draft,
        };
        let recover = match self.remedy.recover.as_ref().map(|command| self.command(command, case.job)).transpose() {
            Ok(recover) => recover,
            Err(why) => return Draft::none(why),
        };
        if recover.is_some() && self.is_begun_once(unit) {
            return Draft::none(format!(
                "{unit} runs it, and once it is stopped no start brings it back: stop it, and retry the job"
            ));
        }
        let stopped: Vec<UnitName> = quiet.iter().flat_map(|(stop, _)| stop.units()).chain([unit]).cloned().collect();
        let mut steps = vec![gather(unit)];
        if let Some(recover) = recover {
            // As soon as the command after them has ended, whatever it came to.
            let after = When::After(u16::try_from(steps.len() + quiet.len()).unwrap_or(u16::MAX));
            steps.extend(quiet.into_iter().map(|(stop, timeout)| stop_step(stop, Some(timeout), after)));
            steps.push(recover);
        } else {
            let timeout = quiet.iter().map(|(_, timeout)| *timeout).max();
            steps.push(restart_step(unit, timeout));
        }
        steps.push(prove_step(vec![Check::Target(case.target.clone())], PROVE_WITHIN));
        let hurt = self.hurt(case, &stopped);
        Draft::plan(plan(case, Kind::Recover, stopped, steps)).held(hurt)
    }

    /// A unit that is gone once it has stopped: what the queue started, and whatever is no service.
    fn is_begun_once(&self, unit: &UnitName) -> bool {
        let launched = self.queue.as_ref().is_some_and(|queue| unit.as_str().starts_with(&*queue.prefix));
        launched || !unit.as_str().ends_with(".service")
    }

    pub(super) fn command(&self, template: &[Str], job: &JobReading) -> Result<Step, String> {
        Ok(Step {
            act: Some(Act::Command(self.filled(template, job)?)),
            deadline: COMMAND_WITHIN,
            proof: None,
            crash: OnCrash::Again,
            back: None,
            fail: OnFail::Unwind,
            unless: None,
        })
    }

    pub(super) fn filled(&self, template: &[Str], job: &JobReading) -> Result<Command, String> {
        let place = Place { id: &job.id, group: job.group.as_deref(), output: job.output.as_deref() };
        let word = |word: &Str| {
            let filled = place.fill(word).map(Str::from);
            filled.map_err(|name| format!("'{word}' needs `{name}`, which the provider does not give for this job"))
        };
        let argv = template.iter().map(word).collect::<Result<_, _>>()?;
        Ok(Command { argv, user: self.remedy.user.clone(), dir: None, env: self.remedy.env.clone() })
    }

    /// The operator wrote this act down.
    pub(super) fn permits(&self, act: &Act) -> bool {
        let remedy = &self.remedy;
        let is_worker = |unit: &UnitName| self.asked.worker.as_ref() == Some(unit);
        match act {
            Act::Command(command) => {
                let own = [&remedy.retry, &remedy.recover, &remedy.record];
                own.into_iter().flatten().any(|template| self.is_of(template, command))
            }
            Act::Stop(stop) => is_worker(stop.declared()) || self.is_runner(stop.declared()),
            Act::Restart(unit) => is_worker(unit) || self.is_runner(unit),
            Act::Gather(gather) => gather.paths.is_empty(),
            Act::Launch(launch) => self.launches(launch),
            _ => false,
        }
    }

    pub(super) fn is_of(&self, template: &[Str], command: &Command) -> bool {
        let words = template.len() == command.argv.len();
        let fit = template.iter().zip(&command.argv).all(|(text, word)| Place::fits(text, word));
        words && fit && command.user == self.remedy.user && command.env == self.remedy.env && command.dir.is_none()
    }
}

fn plan(case: &Case<'_>, kind: Kind, units: Vec<UnitName>, steps: Vec<Step>) -> Plan {
    let mark = marks(kind).then(|| case.memo.tracks.get(&case.job.id)?.count()).flatten();
    let heal = Heal::new(case.target.clone(), kind.rung(), case.code.label());
    let path = case.job.output.iter().cloned().map(Resource::Path);
    let what = match case.code {
        Code::Stalled => "it gets nowhere",
        Code::Orphaned => "nobody runs it",
        Code::Interrupted => "what it lies on answers again",
        _ => "its record does not say that it runs",
    };
    Plan {
        watch: case.target.watch.clone(),
        rung: kind.rung(),
        heals: vec![Heal { mark, ..heal }],
        touches: units.into_iter().map(Resource::Unit).chain(path).collect(),
        cost: COST_RESTART,
        basis: vec![Basis::policy(&case.live.digest)],
        why: format!("job {} is {}: {what}", case.job.id, case.code.label()).into(),
        steps,
    }
}

/// Its worth is told by what the job gained.
pub(super) fn marks(kind: Kind) -> bool {
    matches!(kind, Kind::Retry | Kind::Recover)
}

fn worn(case: &Case<'_>, kind: Kind) -> (Ms, usize) {
    let world = case.world;
    let brake = world.state.targets.get(case.target);
    let limits = world.policy.watches.get(&case.target.watch).map(|watch| watch.brakes);
    let (Some(brake), Some(limits)) = (brake, limits) else { return (Ms::ZERO, 0) };
    let open = match circuit(world.now, brake, &kind.rung(), case.code.label(), limits, COST_RESTART) {
        Circuit::Closed => Ms::ZERO,
        Circuit::Open(until) => until,
    };
    (open, tried(world.now, brake, &kind.rung()))
}

fn gather(unit: &UnitName) -> Step {
    Step {
        act: Some(Act::Gather(Gather { paths: Vec::new(), units: vec![unit.clone()] })),
        deadline: GATHER_WITHIN,
        proof: None,
        crash: OnCrash::Again,
        back: None,
        fail: OnFail::GoOn,
        unless: None,
    }
}
