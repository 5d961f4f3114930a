//! A job watch, and a job of it, for tests.

use std::collections::BTreeMap;

use super::{Remedy, Spec};
use crate::ask::{JobReading, JobState, JobsQ, RunnerQ, RunnerReading};

pub(super) const WORKER: &str = "worker.service";

/// Jobs of a command's, each with a unit that it could have, beside a worker; nothing else is declared.
pub(super) fn spec() -> Spec {
    let full = crate::fixture::job();
    let runner = RunnerQ { lock: None, ..full.asked.runner };
    let asked = JobsQ { progress: Vec::new(), runner, output: None, disk: None, ..full.asked };
    let remedy = Remedy { retry: None, recover: None, record: None, ..full.remedy };
    Spec { asked, degraded: None, remedy, ..full }
}

/// One that should run, and of which nothing else is known.
pub(super) fn job() -> JobReading {
    JobReading {
        id: "7".into(),
        group: None,
        state: JobState::Running,
        started: None,
        output: None,
        numbers: BTreeMap::new(),
        runner: RunnerReading::default(),
        progress: Vec::new(),
        look: None,
    }
}
