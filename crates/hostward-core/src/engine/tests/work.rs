//! Jobs that stall, thrash, starve or lie about their state, and what is done for each.

mod host;

use host::{Begun, By, Job, Jobs, WORKER, job, of_watch, policy, queue, spec};

use super::stage::Stage;
use crate::ask::{Active, Fault, JobState};
use crate::hold::Hold;
use crate::id::{Str, UnitName};
use crate::judge::{Code, Verdict};
use crate::ledger::Closing;
use crate::policy::Budget;
use crate::time::Ms;
use crate::watch::job::Spec;

const ENOTCONN: i32 = 107;
const EROFS: i32 = 30;
const ENOENT: i32 = 2;

/// Counts of the job rise by this a minute: it is well.
const WELL: u64 = 60;

fn is_down(stage: &Stage<Jobs>, name: &str, code: Code) -> bool {
    let target = stage.target(&job(name));
    target.is_some_and(|target| target.verdict.down().is_some_and(|reason| reason.code == code))
}

fn falls(stage: &mut Stage<Jobs>, name: &str, code: Code) {
    assert!(stage.run_until(Ms::hours(3), |stage| is_down(stage, name, code)), "{:?}", stage.target(&job(name)));
}

/// The look that finds it is made when its time is over, and not with the next that is due; it needs no second one.
#[test]
fn a_stall_is_judged_when_its_time_is_over() {
    for interval in [Ms::mins(5), Ms::mins(1)] {
        let spec = Spec { interval, stalled_after: Ms::mins(62) + interval / 2, ..spec() };
        let stalled_after = spec.stalled_after;
        let mut stage = Jobs::new(&[("a", Job::runs(By::Own, 0)), ("b", Job::runs(By::Own, WELL))]).on_stage(spec);
        let began = stage.now;
        falls(&mut stage, "a", Code::Stalled);
        let late = stage.now.since(began).saturating_sub(stalled_after);
        assert!(late < Ms::secs(1), "{late}");
    }
}

/// S4: the job's own runner is stopped, and nobody else.
#[test]
fn a_stalled_job_with_a_runner_of_its_own_is_recovered_alone() {
    let stalled = Job { then: Some(WELL), ..Job::runs(By::Own, 0) };
    let mut stage = Jobs::new(&[("a", stalled), ("b", Job::runs(By::Worker, WELL))]).on_stage(spec());
    assert!(stage.run_until(Ms::hours(2), |stage| !stage.closings().is_empty()));
    assert_eq!(*stage.closings()[0], Closing::Proved);
    let did = ["keep the evidence", "stop crawl@a.service", "run `/opt/jobs recover a`", "start crawl@a.service"];
    assert_eq!(stage.did, did);
    assert_eq!(stage.armed.first().map(|arm| arm.owed.units.clone()), Some(vec![UnitName::new("crawl@a.service")]));
    assert_eq!(stage.plans()[0].heals[0].mark, Some(100));
    stage.run_for(Ms::hours(12));
    assert_eq!(stage.plans().len(), 1, "it progresses");
}

/// S4: no runner, so nobody is stopped.
#[test]
fn a_job_that_nobody_runs_is_marked_to_be_taken_up_again() {
    let orphan = Job { then: Some(WELL), ..Job::runs(By::Nobody, 0) };
    let mut stage = Jobs::new(&[("a", orphan), ("b", Job::runs(By::Worker, WELL))]).on_stage(spec());
    falls(&mut stage, "a", Code::Orphaned);
    assert!(stage.run_until(Ms::hours(1), |stage| !stage.closings().is_empty()));
    assert_eq!(
        (stage.did.clone(), stage.closings()[0]),
        (vec!["run `/opt/jobs retry a`".to_owned()], &Closing::Proved)
    );
    stage.run_for(Ms::hours(12));
    assert_eq!(stage.plans().len(), 1);
    assert_eq!(stage.scene.all["a"].by, By::Worker);
}

/// S4: only the worker could be stopped, and a sibling progresses.
#[test]
fn who_progresses_is_not_stopped_for_another_one() {
    let jobs = [("a", Job::runs(By::Worker, 0)), ("b", Job::runs(By::Worker, WELL))];
    let mut stage = Jobs::new(&jobs).on_stage(spec());
    falls(&mut stage, "a", Code::Stalled);
    stage.run_for(Ms::hours(24));
    assert_eq!(stage.did, Vec::<String>::new());
    let (holds, said) = stage.holds(&job("a"));
    assert_eq!(holds, [Hold::SiblingActive]);
    assert!(said.starts_with("job/b would be stopped with it, and progressed "), "{said}");
    // The sibling stands still as well: nobody is hurt any more.
    stage.scene.all.get_mut("b").unwrap().rate = 0;
    stage.scene.all.get_mut("a").unwrap().then = Some(WELL);
    assert!(stage.run_until(Ms::hours(2), |stage| !stage.closings().is_empty()));
    let worker = [format!("stop {WORKER}"), format!("start {WORKER}")];
    assert_eq!((&stage.did[1], &stage.did[3]), (&worker[0], &worker[1]));
}

/// The worker may run whoever holds a lock unseen, and whoever runs against its record.
#[test]
fn nor_is_one_of_whom_it_is_not_known_that_the_worker_runs_it() {
    let unrecorded = Job { state: JobState::Retryable, ..Job::runs(By::Worker, WELL) };
    for sibling in [Job::runs(By::Hidden, WELL), unrecorded] {
        let mut scene = Jobs::new(&[("a", Job::runs(By::Worker, 0)), ("b", sibling)]);
        scene.takes_up = false;
        let mut spec = spec();
        spec.remedy.record = None;
        let mut stage = scene.on_stage(spec);
        falls(&mut stage, "a", Code::Stalled);
        stage.run_for(Ms::hours(6));
        assert_eq!(stage.did, Vec::<String>::new());
        assert_eq!(stage.holds(&job("a")).0, [Hold::SiblingActive]);
    }
}

/// It is down already, for another reason: that does not make the new one true at first sight.
#[test]
fn each_reason_is_seen_twice() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Own, 1))]).on_stage(spec());
    falls(&mut stage, "a", Code::Degraded);
    stage.scene.all.get_mut("a").unwrap().by = By::Nobody;
    assert!(stage.run_until(Ms::mins(5), |stage| is_down(stage, "a", Code::Orphaned)));
    assert_eq!(stage.holds(&job("a")).0, [Hold::Confirming], "its unit was restarted");
    stage.scene.all.get_mut("a").unwrap().by = By::Own;
    stage.run_for(Ms::hours(2));
    assert_eq!(stage.did, Vec::<String>::new());
}

/// Its record and its lock say that nobody runs it, and its counter says that somebody does.
#[test]
fn what_progresses_is_not_taken_up_a_second_time() {
    let mut stage = Jobs::new(&[("a", Job { then: Some(WELL), ..Job::runs(By::Nobody, 0) })]).on_stage(spec());
    let began = stage.now;
    while stage.now.since(began) < Ms::hours(3) {
        *stage.scene.all.get_mut("a").unwrap().count.as_mut().unwrap() += 5;
        stage.run_for(Ms::secs(50));
    }
    assert_eq!(stage.did, Vec::<String>::new());
    assert_eq!(stage.holds(&job("a")).0, [Hold::Confirming]);
    stage.run_for(Ms::mins(10));
    assert_eq!(stage.did, ["run `/opt/jobs retry a`"], "and when it stands still it is");
}

/// What was true a minute ago is not acted upon: the last hold passes at any moment.
#[test]
fn what_was_taken_up_since_the_last_look_is_left_alone() {
    let mut scene = Jobs::new(&[("a", Job::runs(By::Nobody, 0))]);
    scene.permitted = false;
    let mut stage = scene.on_stage(spec());
    falls(&mut stage, "a", Code::Orphaned);
    stage.run_for(Ms::secs(20));
    assert_eq!(stage.holds(&job("a")).0, [Hold::NoSentinel]);
    stage.scene.all.get_mut("a").unwrap().by = By::Worker;
    stage.scene.permitted = true;
    stage.run_for(Ms::mins(30));
    assert_eq!(stage.did, Vec::<String>::new());
}

/// S9: a lock that is held is a runner, whoever holds it.
#[test]
fn who_holds_its_lock_runs_it() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Stranger, 0))]).on_stage(spec());
    stage.run_for(Ms::mins(40));
    assert!(!is_down(&stage, "a", Code::Orphaned));
    falls(&mut stage, "a", Code::Stalled);
    stage.run_for(Ms::hours(3));
    assert_eq!(stage.did, Vec::<String>::new());
    assert_eq!(stage.holds(&job("a")).1, "process 7 runs it, and is in no unit that is declared for it");
}

/// S11: no statistics at all for a window is a stall; three times without gain open the circuit; then a person is told.
#[test]
fn a_cure_that_gains_nothing_is_not_repeated() {
    let mut stage = Jobs::new(&[("a", Job { count: None, ..Job::runs(By::Own, 0) })]).on_stage(spec());
    assert!(stage.run_until(Ms::days(30), |stage| stage.plans().len() == 3));
    stage.run_for(Ms::days(30));
    assert_eq!(stage.plans().len(), 3);
    let (holds, said) = stage.holds(&job("a"));
    assert!(holds.contains(&Hold::CircuitOpen), "{holds:?}");
    assert!(said.contains("gained 0, 0, 0"), "{said}");
    // It gains by itself: the next stall is another one.
    stage.scene.all.get_mut("a").unwrap().rate = WELL;
    stage.run_for(Ms::hours(1));
    stage.scene.all.get_mut("a").unwrap().rate = 0;
    assert!(stage.run_until(Ms::days(2), |stage| stage.plans().len() == 4), "{:?}", stage.holds(&job("a")));
}

/// Nobody runs it, so that it cannot gain: its mark is tried once a day, for ever.
#[test]
fn what_nobody_runs_is_marked_once_a_day() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Nobody, 0))]).on_stage(spec());
    let mut days = Vec::new();
    for _ in 0..8 {
        for _ in 0..24 * 6 {
            // Who takes it up dies at once.
            let job = stage.scene.all.get_mut("a").unwrap();
            (job.state, job.by) = (JobState::Running, By::Nobody);
            stage.run_for(Ms::mins(10));
        }
        days.push(stage.plans().len());
    }
    assert_eq!(days[0], 3);
    assert!(days.windows(2).skip(1).all(|days| days[1] - days[0] <= 1), "{days:?}");
    assert!((8..=10).contains(days.last().unwrap()), "{days:?}");
}

/// What helps for a while each time is tried no more often than the day's cap allows.
#[test]
fn a_job_is_taken_up_three_times_a_day() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Own, 0))]).on_stage(spec());
    let began = stage.now;
    while stage.now.since(began) < Ms::hours(23) {
        // It gains a little after each recovery, and stalls.
        let gained = 50 * stage.plans().len() as u64;
        stage.scene.all.get_mut("a").unwrap().count = Some(100 + gained);
        stage.run_for(Ms::mins(5));
    }
    assert_eq!(stage.plans().len(), 3);
    assert!(stage.holds(&job("a")).0.contains(&Hold::TargetCap), "{:?}", stage.holds(&job("a")));
}

/// D3 and D9: a job whose remedy never works is tried a few times, and is in nobody's way.
#[test]
fn one_that_is_capped_blocks_nobody() {
    let a = Job::runs(By::Own, 0);
    let mut stage = Jobs::new(&[("a", a.clone()), ("b", Job::waits())]).on_stage(spec());
    stage.scene.broken = Some("recover");
    assert!(stage.run_until(Ms::days(3), |stage| stage.closings().len() == 3));
    assert!(stage.closings().iter().all(|closing| **closing != Closing::Proved));
    let stops = stage.did.iter().filter(|act| **act == "stop crawl@a.service").count();
    let starts = stage.did.iter().filter(|act| **act == "start crawl@a.service").count();
    assert_eq!((stops, starts), (3, 3), "its runner is resumed whatever happened");
    stage.scene.broken = None;
    stage.scene.all.insert("b", Job { then: Some(WELL), ..a });
    assert!(stage.run_until(Ms::hours(3), |stage| stage.did.contains(&"run `/opt/jobs recover b`".to_owned())));
    stage.run_for(Ms::days(3));
    assert!(stage.plans().len() < 12, "{}", stage.plans().len());
}

/// Killed before every effect of its first plan, and six hours later.
fn whenever_it_dies(staged: impl Fn() -> Stage<Jobs>, holds: impl Fn(&Stage<Jobs>, &str)) {
    let begun = || {
        let mut stage = staged();
        assert!(stage.run_until(Ms::hours(2), |stage| !stage.plans().is_empty()));
        stage
    };
    let mut whole = begun();
    let first = whole.effects;
    assert!(whole.run_until(Ms::hours(1), |stage| !stage.closings().is_empty()));
    for effect in first..whole.effects {
        let mut stage = begun();
        stage.dies_after = Some(effect);
        stage.run_for(Ms::hours(6));
        holds(&stage, &format!("killed before effect {effect}: {:?}", stage.did));
    }
}

/// P7: the runner is up in the end, and each try was counted.
#[test]
fn whenever_it_dies_the_runner_is_resumed() {
    let stalled = Job { then: Some(WELL), ..Job::runs(By::Own, 0) };
    let staged = || Jobs::new(&[("a", stalled.clone())]).on_stage(spec());
    whenever_it_dies(staged, |stage, when| {
        assert_eq!(stage.scene.all["a"].by, By::Own, "{when}");
        assert!(stage.plans().len() <= 2, "{when}");
        assert_eq!(stage.closings().len(), stage.plans().len(), "{when}");
    });
}

/// S7: the storage is the cause: nobody recovers the job, nor starts the worker; then the worker is started, once.
#[test]
fn a_job_on_lost_storage_is_not_the_one_that_is_broken() {
    let lost = Job { errno: Some(ENOTCONN), ..Job::runs(By::Worker, 0) };
    let mut stage = Jobs::new(&[("a", lost), ("b", Job::waits())]).on_stage(spec());
    falls(&mut stage, "a", Code::Infrastructure);
    stage.run_for(Ms::hours(6));
    assert_eq!(stage.did, Vec::<String>::new());
    stage.scene.all.get_mut("a").unwrap().errno = Some(EROFS);
    falls(&mut stage, "a", Code::Unwritable);
    stage.run_for(Ms::hours(6));
    assert_eq!(stage.did, Vec::<String>::new());
}

/// S2: what failed because its storage was lost is taken up again; what failed by itself is its owner's.
#[test]
fn a_job_that_lost_storage_failed_is_taken_up_once_it_is_back() {
    let broken = Job { state: JobState::Failed, ..Job::runs(By::Nobody, 0) };
    let well = || Job::runs(By::Worker, WELL);
    let mut stage = Jobs::new(&[("a", well()), ("b", broken), ("c", well()), ("d", well())]).on_stage(spec());
    // One of them has not made its folder yet.
    for (name, errno) in [("a", ENOTCONN), ("b", ENOTCONN), ("d", ENOENT)] {
        stage.scene.all.get_mut(name).unwrap().errno = Some(errno);
    }
    stage.run_for(Ms::mins(10));
    for name in ["a", "c", "d"] {
        let failed = stage.scene.all.get_mut(name).unwrap();
        (failed.state, failed.by) = (JobState::Failed, By::Nobody);
    }
    stage.run_for(Ms::hours(2));
    assert_eq!(stage.did, Vec::<String>::new(), "it would fail again");
    for name in ["a", "b", "d"] {
        stage.scene.all.get_mut(name).unwrap().errno = None;
    }
    falls(&mut stage, "a", Code::Interrupted);
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.closings().is_empty()));
    stage.run_for(Ms::hours(12));
    assert_eq!(stage.did, ["run `/opt/jobs retry a`"]);
    assert_eq!(*stage.closings()[0], Closing::Proved);
}

/// S7: a worker that took the same job up again and again and then stopped is started once work waits.
#[test]
fn an_idle_worker_with_work_is_started_and_somebodys_stop_respected() {
    let mut scene = Jobs::new(&[("a", Job::waits())]);
    scene.worker = Active::Failed;
    let mut stage = scene.on_stage(spec());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.closings().is_empty()));
    assert_eq!((stage.did.clone(), stage.closings()[0]), (vec![format!("restart {WORKER}")], &Closing::Proved));

    let mut scene = Jobs::new(&[("a", Job::waits())]);
    (scene.worker, scene.by_hand) = (Active::Inactive, true);
    let mut stage = scene.on_stage(spec());
    stage.run_for(Ms::mins(20));
    assert_eq!((stage.holds(&of_watch("worker")).0, stage.did.len()), (vec![Hold::OperatorActive], 0));
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.did.is_empty()));

    let mut scene = Jobs::new(&[]);
    scene.worker = Active::Inactive;
    let mut stage = scene.on_stage(spec());
    stage.run_for(Ms::hours(6));
    assert_eq!(stage.did, Vec::<String>::new(), "nothing waits");
}

/// A restart would end what it has begun since.
#[test]
fn a_worker_that_somebody_started_meanwhile_is_not_restarted() {
    let mut scene = Jobs::new(&[("a", Job::waits())]);
    scene.worker = Active::Failed;
    let mut stage = scene.on_stage(spec());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.plans().is_empty()));
    let unless = stage.plans()[0].steps[0].unless.as_ref().map(ToString::to_string);
    assert_eq!(unless.as_deref(), Some("worker.service runs again"));
}

/// Each re-pick looks like a new run: it is found all the same.
#[test]
fn a_job_that_is_taken_up_again_and_again_is_stalled() {
    let mut stage = Jobs::new(&[("a", Job { count: None, ..Job::runs(By::Worker, 0) })]).on_stage(spec());
    let began = stage.now;
    while stage.now.since(began) < Ms::hours(2) {
        stage.scene.all.get_mut("a").unwrap().started = stage.now.up;
        stage.run_for(Ms::mins(1));
    }
    assert!(is_down(&stage, "a", Code::Stalled), "{:?}", stage.target(&job("a")));
}

/// A list that fails says nothing of any job.
#[test]
fn a_provider_that_fails_is_not_no_jobs() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Own, WELL)), ("b", Job::waits())]).on_stage(spec());
    stage.scene.failing = Some(Fault::Unreadable("half a JSON".into()));
    stage.run_for(Ms::mins(30));
    for name in ["a", "b"] {
        let verdict = stage.target(&job(name)).map(|target| target.verdict);
        assert!(matches!(verdict, Some(Verdict::Unknown(_))), "{name}: {verdict:?}");
    }
    stage.scene.failing = None;
    stage.scene.all.remove("b");
    stage.run_for(Ms::mins(15));
    assert_eq!(stage.target(&job("b")).map(|target| target.id), None, "it is not listed any more");
    assert_eq!(stage.target(&job("a")).map(|target| target.verdict), Some(Verdict::Up));
}

/// One that is listed and cannot be read is not gone: its window would begin anew each time.
#[test]
fn an_entry_that_is_refused_now_and_then_hides_no_stall() {
    let mut scene = Jobs::new(&[("a", Job { then: Some(WELL), ..Job::runs(By::Own, 0) })]);
    scene.garbled = Some("a");
    let mut stage = scene.on_stage(spec());
    assert!(stage.run_until(Ms::hours(3), |stage| !stage.closings().is_empty()), "{:?}", stage.target(&job("a")));
    assert_eq!(stage.did[1], "stop crawl@a.service");
}

#[test]
fn a_job_whose_record_does_not_say_that_it_runs_is_recorded() {
    let ran = Job { state: JobState::Retryable, ..Job::runs(By::Own, WELL) };
    let mut scene = Jobs::new(&[("a", ran)]);
    scene.takes_up = false;
    let mut stage = scene.on_stage(spec());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.closings().is_empty()));
    assert_eq!(
        (stage.did.clone(), stage.closings()[0]),
        (vec!["run `/opt/jobs record a`".to_owned()], &Closing::Proved)
    );
}

#[test]
fn a_slow_job_is_told_of_and_left_alone() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Own, 1))]).on_stage(spec());
    falls(&mut stage, "a", Code::Degraded);
    stage.run_for(Ms::days(1));
    assert_eq!(stage.did, Vec::<String>::new());
}

fn filling() -> Spec {
    let mut spec = Spec { queue: Some(queue()), ..spec() };
    spec.asked.worker = None;
    spec.asked.runner.unit = Some("hostward-job-crawl-{id}.service".into());
    spec
}

#[test]
fn a_queue_is_filled_up_to_what_is_wanted() {
    let jobs = ["a", "b", "c"].map(|name| (name, Job { then: Some(WELL), ..Job::waits() }));
    let mut stage = Jobs::new(&jobs).on_stage(filling());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.closings().is_empty()));
    let did = ["a", "b"].map(|id| format!("start `/opt/jobs run {id}` as hostward-job-crawl-{id}.service"));
    assert_eq!((stage.did.clone(), stage.closings()[0]), (did.to_vec(), &Closing::Proved));
    let about = &stage.plans()[0].heals[0].about;
    assert_eq!(*about, ["a", "b"].map(Str::from));
    stage.run_for(Ms::hours(12));
    assert_eq!(stage.plans().len(), 1);

    let mut scene = Jobs::new(&jobs);
    scene.disk_used = 88;
    let mut stage = scene.on_stage(filling());
    stage.run_for(Ms::hours(1));
    assert_eq!((stage.holds(&of_watch("queue")).0, stage.did.len()), (vec![Hold::DiskFull], 0));
}

/// One whose program ends at once is passed over, and after three times for the rest of the day.
#[test]
fn a_job_that_does_not_live_keeps_no_other_waiting() {
    let jobs = ["a", "b"].map(|name| (name, Job { then: Some(WELL), ..Job::waits() }));
    let mut scene = Jobs::new(&jobs);
    scene.begun = Begun::Fails("a");
    let mut stage = scene.on_stage(filling());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.closings().is_empty()));
    assert_eq!(stage.scene.all["b"].by, By::Own, "{:?}", stage.did);
    stage.run_for(Ms::hours(20));
    let starts = stage.did.iter().filter(|act| act.contains("run a")).count();
    assert_eq!(starts, 3, "{:?}", stage.did);
}

/// One that is done before anybody looks at it leaves nothing to be found again by.
#[test]
fn whenever_it_dies_a_job_is_begun_once() {
    let staged = || {
        let mut scene = Jobs::new(&[("a", Job::waits()), ("b", Job::waits())]);
        scene.begun = Begun::IsDone;
        scene.on_stage(filling())
    };
    whenever_it_dies(staged, |stage, when| {
        for name in ["run a", "run b"] {
            assert_eq!(stage.did.iter().filter(|act| act.contains(name)).count(), 1, "{when}");
        }
    });
}

/// A transient unit is gone once it has stopped: nothing is stopped that could not be started again.
#[test]
fn what_no_start_brings_back_is_not_stopped() {
    let mut stage = Jobs::new(&[("a", Job::runs(By::Own, 0))]).on_stage(filling());
    falls(&mut stage, "a", Code::Stalled);
    stage.run_for(Ms::hours(6));
    assert_eq!(stage.did, Vec::<String>::new());
    assert!(stage.holds(&job("a")).1.contains("no start brings it back"), "{:?}", stage.holds(&job("a")));
}

/// An id that cannot stand in a unit's name is passed over.
#[test]
fn a_job_that_cannot_be_started_is_in_nobodys_way() {
    let jobs = ["a@b", "c"].map(|name| (name, Job { then: Some(WELL), ..Job::waits() }));
    let mut stage = Jobs::new(&jobs).on_stage(filling());
    assert!(stage.run_until(Ms::mins(30), |stage| !stage.did.is_empty()));
    assert_eq!(stage.did, ["start `/opt/jobs run c` as hostward-job-crawl-c.service"]);
}

/// A third of them stall: the budget goes to those that wait longest, and the others say why they wait.
#[test]
fn what_there_is_goes_to_those_that_wait_longest() {
    let names: Vec<&'static str> = (0..60).map(|n| &*format!("{n:02}").leak()).collect();
    let run = Job { then: Some(WELL), ..Job::runs(By::Own, WELL) };
    let jobs: Vec<(&'static str, Job)> = names.iter().map(|name| (*name, run.clone())).collect();
    let mut policy = policy(spec());
    policy.host.budget = Budget { cost: 12, per: Ms::hours(1) };
    let mut stage = Jobs::new(&jobs).under(policy);
    stage.scene.permitted = false;
    // The higher its number, the earlier it stood still.
    for name in names.iter().rev().take(20) {
        stage.scene.all.get_mut(name).unwrap().rate = 0;
        stage.run_for(Ms::mins(6));
    }
    stage.run_for(Ms::hours(1));
    stage.scene.permitted = true;
    let healed = |stage: &Stage<Jobs>| -> Vec<Str> {
        stage.plans().iter().map(|plan| plan.heals[0].target.key.clone()).collect()
    };
    stage.run_for(Ms::mins(30));
    let (first, last) = names.split_at(48);
    let oldest: Vec<Str> = last.iter().rev().map(|name| job(name).key).collect();
    assert_eq!(healed(&stage), oldest);
    for name in first.iter().rev().take(8) {
        assert_eq!(stage.holds(&job(name)).0, [Hold::BudgetSpent], "{name}");
    }
    stage.run_for(Ms::hours(2));
    assert_eq!(healed(&stage).len(), 20, "each once");
}
