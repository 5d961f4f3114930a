//! Who runs a job: its own unit, the worker, somebody else, or nobody.
//!
//! By what is certain before what is inferred: a unit that is the job's alone, the process that its record names, the lock
//! that its runner holds. A command line that mentions it counts only beside a held lock. What cannot be known is not
//! nobody.

use super::Spec;
use crate::ask::{Active, Fault, JobReading, JobState, LockState, Process, RunnerReading, UnitReading};
use crate::id::{Str, UnitName};
use crate::time::Ms;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// A unit that runs this job alone.
    Own(UnitName),
    Worker,
    /// The provider names this unit, and the operator did not say that such a one may be stopped.
    Foreign(UnitName),
    /// A process that is no unit's that we may stop for this job.
    Stranger(Process),
    /// Its lock is held, nobody knows by whom.
    Hidden,
    Nobody,
    Unknown(Str),
}

/// Between what a record says of a run's beginning and its process: clocks, and what it does first.
const RECORDED_WITHIN: Ms = Ms::mins(5);

type Worker<'a> = Option<&'a Result<Box<UnitReading>, Fault>>;

impl Runner {
    pub(super) fn of(spec: &Spec, job: &JobReading, worker: Worker<'_>) -> Runner {
        let signs = &job.runner;
        let unit = match &signs.unit {
            Some((unit, Ok(seen))) if begun(seen) && spec.is_runner(unit) => return Runner::Own(unit.clone()),
            Some((unit, Ok(seen))) if begun(seen) => return Runner::Foreign(unit.clone()),
            // Its processes may be at work until it has stopped.
            Some((unit, Ok(seen))) if seen.active == Active::Deactivating => {
                Some(format!("{unit} is stopping").into())
            }
            Some((unit, Err(fault))) => Some(format!("{unit}: {fault}").into()),
            Some(_) | None => None,
        };
        let own = signs.unit.as_ref().map(|(unit, _)| unit);
        let by = |process: &Process| match &process.unit {
            Some(unit) if Some(unit) == spec.asked.worker.as_ref() => Runner::Worker,
            // Another job's unit is not stopped for this one: a number of a process may have passed on to it.
            Some(unit) if Some(unit) == own && spec.is_runner(unit) => Runner::Own(unit.clone()),
            _ => Runner::Stranger(process.clone()),
        };
        if let Some(process) = signs.process.as_ref().filter(|process| is_meant(job, process)) {
            return by(process);
        }
        match &signs.lock {
            Some(LockState::Held { .. }) => {
                let known = signs.holder.as_ref().or(signs.mentioned.as_ref());
                return known.map_or(Runner::Hidden, by);
            }
            Some(LockState::Unreadable(why)) => return Runner::Unknown(format!("its lock: {why}").into()),
            Some(LockState::Free) | None => {}
        }
        match unit {
            Some(why) => Runner::Unknown(why),
            None if job.state == JobState::Running => Runner::untold(signs, worker),
            None => match &signs.process {
                Some(process) if signs.lock.is_none() => {
                    Runner::Unknown(format!("process {} lives, and may be another's by now", process.pid).into())
                }
                _ => Runner::Nobody,
            },
        }
    }

    /// No sign shows anybody who runs what should run.
    fn untold(signs: &RunnerReading, worker: Worker<'_>) -> Runner {
        if signs.named || signs.pid.is_some() || signs.lock.is_some() {
            return Runner::Nobody;
        }
        match (worker, &signs.unit) {
            // Nothing tells one job of the worker from another: what it should run, it runs.
            (Some(Ok(seen)), None) if begun(seen) => Runner::Worker,
            // That a unit which it could have does not run says nothing of who else does.
            (Some(Ok(seen)), Some((unit, _))) if begun(seen) => {
                Runner::Unknown(format!("{unit} does not run, and nothing tells whether the worker runs it").into())
            }
            (Some(Err(fault)), _) => Runner::Unknown(format!("the worker: {fault}").into()),
            (None, None) => Runner::Unknown("nothing is declared that tells who runs it".into()),
            (Some(Ok(_)), _) | (None, Some(_)) => Runner::Nobody,
        }
    }

    /// What tells this run of the job from another one.
    pub(super) fn run(&self, job: &JobReading, worker: Worker<'_>) -> Str {
        let started = job.started.map_or(0, |started| started.0);
        let invocation = match (self, &job.runner.unit, worker) {
            (Runner::Own(_) | Runner::Foreign(_), Some((_, Ok(seen))), _) | (Runner::Worker, _, Some(Ok(seen))) => {
                &*seen.invocation
            }
            _ => "",
        };
        let pid = job.runner.process.as_ref().map_or(0, |process| process.pid);
        format!("{started} {invocation} {pid}").into()
    }

    pub(super) fn runs(&self) -> bool {
        !matches!(self, Runner::Nobody | Runner::Unknown(_))
    }
}

/// The record of a job that ended keeps the number of its process, and after a boot another one has that soon. One that
/// should run is left to whoever has it; that one runs which should not is believed of no process that is younger.
fn is_meant(job: &JobReading, process: &Process) -> bool {
    let with = |began: Ms| job.started.is_some_and(|started| began <= started + RECORDED_WITHIN);
    job.state == JobState::Running || process.began.is_some_and(with)
}

/// It runs, or is about to.
pub(super) fn begun(seen: &UnitReading) -> bool {
    seen.running() || seen.active == Active::Activating
}

#[cfg(test)]
mod tests;
