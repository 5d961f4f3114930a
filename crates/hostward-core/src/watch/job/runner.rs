//! Who runs a job: its own unit, the worker, somebody else, or nobody.
//!
//! By what is certain before what is inferred: a unit that is the job's alone, the process that its record names, the lock
//! that its runner holds. A command line that mentions it counts only beside a held lock. What cannot be known is not
//! nobody.

use super::Spec;
use crate::ask::{Active, Fault, JobReading, JobState, LockState, Process, UnitReading};
use crate::id::{Str, UnitName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// A unit that runs this job alone.
    Own(UnitName),
    Worker,
    /// A process that is no unit's that we may stop.
    Stranger(Process),
    /// Its lock is held, nobody knows by whom.
    Hidden,
    Nobody,
    Unknown(Str),
}

type Worker<'a> = Option<&'a Result<Box<UnitReading>, Fault>>;

impl Runner {
    pub(super) fn of(spec: &Spec, job: &JobReading, worker: Worker<'_>) -> Runner {
        let signs = &job.runner;
        let unit = match &signs.unit {
            Some((unit, Ok(seen))) if begun(seen) && spec.is_runner(unit) => return Runner::Own(unit.clone()),
            Some((unit, Err(fault))) => Some(format!("{unit}: {fault}").into()),
            Some(_) | None => None,
        };
        let by = |process: &Process| match &process.unit {
            Some(unit) if Some(unit) == spec.asked.worker.as_ref() => Runner::Worker,
            Some(unit) if spec.is_runner(unit) => Runner::Own(unit.clone()),
            _ => Runner::Stranger(process.clone()),
        };
        if let Some(process) = &signs.process {
            return by(process);
        }
        if signs.lock.as_ref().is_some_and(|lock| *lock != LockState::Free) {
            let known = signs.holder.as_ref().or(signs.mentioned.as_ref());
            return known.map_or(Runner::Hidden, by);
        }
        if let Some(why) = unit {
            return Runner::Unknown(why);
        }
        // The name of a unit that it would have tells nothing of a job that is perhaps the worker's.
        let by_unit = signs.unit.is_some() && (signs.named || worker.is_none());
        let told = by_unit || signs.pid.is_some() || signs.lock.is_some();
        if job.state != JobState::Running {
            return Runner::Nobody;
        }
        match worker {
            Some(Ok(seen)) if !told && begun(seen) && signs.unit.is_some() => {
                Runner::Unknown("its own unit does not, and no pid or lock tells whether the worker does".into())
            }
            // Nothing tells one job of the worker from another: what it should run, it runs.
            Some(Ok(seen)) if !told && begun(seen) => Runner::Worker,
            Some(Err(fault)) if !told => Runner::Unknown(format!("the worker: {fault}").into()),
            None if !told => Runner::Unknown("nothing is declared that tells who runs it".into()),
            _ => Runner::Nobody,
        }
    }

    /// What tells this run of the job from another one.
    pub(super) fn run(&self, job: &JobReading, worker: Worker<'_>) -> Str {
        let started = job.started.map_or(0, |started| started.0);
        let invocation = match (self, &job.runner.unit, worker) {
            (Runner::Own(_), Some((_, Ok(seen))), _) | (Runner::Worker, _, Some(Ok(seen))) => &*seen.invocation,
            _ => "",
        };
        let pid = job.runner.process.as_ref().map_or(0, |process| process.pid);
        format!("{started} {invocation} {pid}").into()
    }

    pub(super) fn runs(&self) -> bool {
        !matches!(self, Runner::Nobody | Runner::Unknown(_))
    }
}

/// It runs, or is about to.
pub(super) fn begun(seen: &UnitReading) -> bool {
    seen.running() || seen.active == Active::Activating
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ask::RunnerReading;
    use crate::time::Ms;

    fn unit(active: Active) -> Box<UnitReading> {
        Box::new(UnitReading { active, ..UnitReading::service(Ms::secs(1)) })
    }

    /// Of a job that should run, by signs alone; its own unit does not run.
    fn of(worker: Option<Active>, runner: RunnerReading) -> Runner {
        let worker = worker.map(|active| Ok(unit(active)));
        let mut spec = crate::fixture::job();
        spec.asked.worker = worker.is_some().then(|| UnitName::new("worker.service"));
        let job = JobReading {
            id: "1".into(),
            group: None,
            state: JobState::Running,
            started: None,
            output: None,
            numbers: BTreeMap::new(),
            runner,
            progress: Vec::new(),
            look: None,
        };
        Runner::of(&spec, &job, worker.as_ref())
    }

    #[test]
    fn a_unit_that_it_might_have_does_not_say_that_the_worker_does_not_run_it() {
        let own = |named| {
            let unit = Some((UnitName::new("crawl@1.service"), Ok(unit(Active::Inactive))));
            RunnerReading { unit, named, ..RunnerReading::default() }
        };
        assert!(matches!(of(Some(Active::Active), own(false)), Runner::Unknown(_)));
        assert_eq!(of(Some(Active::Active), own(true)), Runner::Nobody);
        assert_eq!(of(Some(Active::Failed), own(false)), Runner::Nobody);
        assert_eq!(of(None, own(false)), Runner::Nobody);
        let lock = RunnerReading { lock: Some(LockState::Free), ..own(false) };
        assert_eq!(of(Some(Active::Active), lock), Runner::Nobody);
        assert_eq!(of(Some(Active::Active), RunnerReading::default()), Runner::Worker);
    }
}
