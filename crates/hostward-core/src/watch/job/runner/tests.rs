use super::*;
use crate::watch::job::fixture::{WORKER, job, spec};

fn unit(name: &str, active: Active) -> (UnitName, Result<Box<UnitReading>, Fault>) {
    let reading = UnitReading { active, ..UnitReading::service(Ms::secs(1)) };
    (UnitName::new(name), Ok(Box::new(reading)))
}

fn process(unit: Option<&str>) -> Process {
    Process { pid: 7, unit: unit.map(UnitName::new), began: Some(Ms::hours(5)) }
}

/// Of job 7, in words.
fn runner(state: JobState, worker: Active, runner: RunnerReading) -> String {
    let job = JobReading { state, runner, started: Some(Ms::hours(4)), ..job() };
    let (_, worker) = unit(WORKER, worker);
    match Runner::of(&spec(), &job, Some(&worker)) {
        Runner::Own(unit) => format!("own {unit}"),
        Runner::Worker => "worker".into(),
        Runner::Foreign(unit) => format!("foreign {unit}"),
        Runner::Stranger(process) => format!("process {}", process.pid),
        Runner::Hidden => "hidden".into(),
        Runner::Nobody => "nobody".into(),
        Runner::Unknown(why) => format!("unknown: {why}"),
    }
}

#[test]
fn who_runs_a_job_is_told_by_the_first_sign_and_nobody_only_by_one_that_says_so() {
    use Active::{Active as Up, Deactivating, Inactive};
    let own = "crawl@7.service";
    let signs = RunnerReading::default;
    let held = || Some(LockState::Held { pid: Some(7), command: None, age: None });
    let table = [
        ("its unit runs", RunnerReading { unit: Some(unit(own, Up)), ..signs() }, "own crawl@7.service"),
        // The provider's word alone does not let anybody stop it, and does not make it nobody's either.
        (
            "a unit of another kind",
            RunnerReading { unit: Some(unit("x.service", Up)), named: true, ..signs() },
            "foreign x.service",
        ),
        (
            "its unit stops",
            RunnerReading { unit: Some(unit(own, Deactivating)), named: true, ..signs() },
            "unknown: crawl@7.service is stopping",
        ),
        (
            "its unit rests, by its own word",
            RunnerReading { unit: Some(unit(own, Inactive)), named: true, ..signs() },
            "nobody",
        ),
        ("no sign", signs(), "worker"),
        (
            "a unit that it could have",
            RunnerReading { unit: Some(unit(own, Inactive)), ..signs() },
            "unknown: crawl@7.service does not run, and nothing tells whether the worker runs it",
        ),
        ("a dead process", RunnerReading { pid: Some(7), ..signs() }, "nobody"),
        (
            "the worker's process",
            RunnerReading { pid: Some(7), process: Some(process(Some(WORKER))), ..signs() },
            "worker",
        ),
        (
            "a process of its unit's",
            RunnerReading {
                unit: Some(unit(own, Inactive)),
                pid: Some(7),
                process: Some(process(Some(own))),
                ..signs()
            },
            "own crawl@7.service",
        ),
        (
            "a process of another job's unit",
            RunnerReading {
                unit: Some(unit(own, Inactive)),
                process: Some(process(Some("crawl@8.service"))),
                ..signs()
            },
            "process 7",
        ),
        ("nobody's process", RunnerReading { process: Some(process(None)), ..signs() }, "process 7"),
        ("a free lock", RunnerReading { lock: Some(LockState::Free), ..signs() }, "nobody"),
        ("a lock that is held", RunnerReading { lock: held(), ..signs() }, "hidden"),
        ("by the worker", RunnerReading { lock: held(), holder: Some(process(Some(WORKER))), ..signs() }, "worker"),
        (
            "by who mentions it",
            RunnerReading { lock: held(), mentioned: Some(process(None)), ..signs() },
            "process 7",
        ),
        ("who mentions it, alone", RunnerReading { mentioned: Some(process(None)), ..signs() }, "worker"),
        (
            "a lock that may not be probed",
            RunnerReading { lock: Some(LockState::Unreadable("EACCES".into())), ..signs() },
            "unknown: its lock: EACCES",
        ),
    ];
    for (what, signs, expected) in table {
        assert_eq!(runner(JobState::Running, Up, signs), expected, "{what}");
    }
    assert_eq!(runner(JobState::Running, Inactive, signs()), "nobody", "the worker rests");
    let could = RunnerReading { unit: Some(unit(own, Inactive)), ..signs() };
    assert_eq!(runner(JobState::Running, Inactive, could.clone()), "nobody", "both rest");
    assert_eq!(runner(JobState::Pending, Up, could), "nobody", "it should not run");
    let unreadable = RunnerReading { lock: Some(LockState::Unreadable("EACCES".into())), ..signs() };
    assert_eq!(runner(JobState::Pending, Up, unreadable), "unknown: its lock: EACCES");
}

/// A record that says "retryable", and the number of a process that lives.
#[test]
fn a_process_that_is_younger_than_its_record_is_not_believed_to_run_what_should_not() {
    let table = [
        (JobState::Retryable, Some(4), None, "worker"),
        (JobState::Running, Some(5), None, "worker"),
        (JobState::Retryable, Some(5), None, "unknown: process 7 lives, and may be another's by now"),
        (JobState::Failed, None, None, "unknown: process 7 lives, and may be another's by now"),
        // Its lock knows better.
        (JobState::Retryable, Some(5), Some(LockState::Free), "nobody"),
    ];
    for (state, hours, lock, expected) in table {
        let began = hours.map(Ms::hours);
        let process = Some(Process { pid: 7, unit: Some(UnitName::new(WORKER)), began });
        let signs = RunnerReading { pid: Some(7), process, lock, ..RunnerReading::default() };
        assert_eq!(runner(state, Active::Active, signs), expected, "{state:?} {hours:?}");
    }
}
