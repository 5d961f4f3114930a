//! A job watch, and a job of it, for tests.

use std::collections::BTreeMap;

use super::{Remedy, Spec};
use crate::ask::{JobReading, JobState, JobsQ, Listing, Provider, RunnerQ, RunnerReading};
use crate::id::UnitName;
use crate::time::Ms;

pub(super) const WORKER: &str = "worker.service";

/// Jobs of a command's, each with a unit that it could have, beside a worker.
pub(super) fn spec() -> Spec {
    let run = vec!["/opt/jobs".into()];
    Spec {
        asked: JobsQ {
            from: Provider::Command(Listing { run, user: None, env: None, timeout: Ms::secs(30) }),
            words: BTreeMap::new(),
            progress: Vec::new(),
            runner: RunnerQ { unit: Some("crawl@{id}.service".into()), ..RunnerQ::default() },
            output: None,
            worker: Some(UnitName::new(WORKER)),
            disk: None,
            answer: Ms::secs(10),
        },
        interval: Ms::mins(5),
        stalled_after: Ms::hours(1),
        agree: 1,
        degraded: None,
        remedy: Remedy {
            retry: None,
            recover: None,
            record: None,
            user: None,
            env: None,
            guard: Ms::mins(10),
            per_day: 3,
            gain: 10,
        },
        queue: None,
        respect_stop: Ms::mins(30),
    }
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
