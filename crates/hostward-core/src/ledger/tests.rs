use proptest::prelude::*;

use super::*;
use crate::id::WatchId;
use crate::plan::{Act, Back, Heal, OnCrash, OnFail, Proof, Step, Stop, When};

fn target(n: u8) -> TargetId {
    TargetId::new(WatchId::new(format!("service.s{}", n % 3)), "it")
}

fn plan(n: u8) -> Plan {
    let step = || Step {
        act: None,
        deadline: Ms::ZERO,
        proof: None,
        crash: OnCrash::Again,
        back: None,
        unless: None,
        fail: OnFail::Unwind,
    };
    Plan {
        watch: target(n).watch,
        rung: Rung::new("restart"),
        heals: (0..=n % 2).map(|m| Heal::new(target(n % 3 + m), Rung::new("restart"), "failed")).collect(),
        touches: Vec::new(),
        cost: u32::from(n % 5),
        basis: Vec::new(),
        why: "it is down".into(),
        steps: (0..=n % 4).map(|_| step()).collect(),
    }
}

/// A body that may or may not fit: what the kinds of record are made of, at random.
fn body(kind: u8, n: u8, run: u64, step: u16) -> Body {
    let run = RunId(run);
    match kind % 14 {
        0 => Body::Started { boot_id: format!("boot {}", n % 2).into(), version: "0".into() },
        1 => Body::Stopped,
        2 => Body::Noted { target: target(n), fact: "it ended".into(), missed: 3 },
        3 => Body::Turned { target: target(n), to: Turn::Up, incident: None },
        4 => {
            let to = Turn::Down { reason: "failed".into(), detail: "it".into(), blame: Some(target(n % 3 + 1)) };
            Body::Turned { target: target(n), to, incident: Some(run.0) }
        }
        5 => Body::Held { target: target(n), holds: vec!["cooldown".into()], would: None },
        6 | 7 => Body::Opened { plan: Box::new(plan(n)), origin: Origin::Daemon },
        8 => Body::Began { run, step, again: n.is_multiple_of(4) },
        9 => Body::Ended { run, step, end: StepEnd::Done },
        10 => Body::Ended { run, step, end: StepEnd::Unproved("it".into()) },
        11 => Body::Closed {
            run,
            result: if n.is_multiple_of(2) { Closing::Proved } else { Closing::Held { step, holds: vec![] } },
        },
        12 => {
            let results = [Settlement::Cleared, Settlement::NotCleared, Settlement::Relapsed];
            Body::Settled { run, target: target(n), result: results[usize::from(n) % 3] }
        }
        _ => Body::Damaged { why: "torn".into() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever records come: none panics, one that does not fit changes nothing, and those that fit, written and read
    /// back, fold to the same state from the start as from a snapshot in the middle.
    #[test]
    fn records_fold(
        script in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0u16..3, 0u64..7_200_000), 0..300)
    ) {
        let mut state = State::default();
        let (mut records, mut middle) = (Vec::new(), None);
        let mut at = Now { boot: 1, up: Ms::mins(1), wall: Ms::hours(1) };
        for (kind, n, pick, step, later) in script {
            at = at.plus(Ms(later));
            let open = state.runs.keys().nth(usize::from(pick) % state.runs.len().max(1)).map_or(0, |run| run.0);
            let record = Record { seq: state.seq + 1, at, body: body(kind, n, open, step) };
            let before = state.clone();
            if state.apply(&record).is_ok() {
                records.push(serde_json::to_string(&record).expect("it serialises"));
            } else {
                prop_assert_eq!(&before, &state, "a bad record left a trace");
            }
            if records.len() == 20 {
                middle.get_or_insert_with(|| serde_json::to_string(&state).expect("it serialises"));
            }
        }
        let read: Vec<Record> = records.iter().map(|r| serde_json::from_str(r).expect("it reads back")).collect();
        let mut again = State::default();
        for r in &read {
            assert_eq!(again.apply(r), Ok(()));
        }
        prop_assert_eq!(&again, &state);
        if let Some(middle) = middle {
            let mut from: State = serde_json::from_str(&middle).expect("it reads back");
            for r in read.iter().filter(|r| r.seq > 20) {
                assert_eq!(from.apply(r), Ok(()));
            }
            prop_assert_eq!(&from, &state);
        }
        for brake in state.targets.values() {
            prop_assert!(brake.attempts.len() <= ATTEMPTS_KEPT);
            let totals: u64 = brake.totals.values().flat_map(BTreeMap::values).sum();
            prop_assert!(u64::from(brake.failures) <= totals);
        }
    }
}

#[test]
fn a_record_that_does_not_fit_is_refused() {
    let at = Now::default();
    let mut state = State::default();
    let gap = Record { seq: 2, at, body: Body::Stopped };
    assert_eq!(state.apply(&gap), Err(BadRecord::Sequence { after: 0, got: 2 }));
    let began = |seq, run, step| Record { seq, at, body: Body::Began { run: RunId(run), step, again: false } };
    assert_eq!(state.apply(&began(1, 1, 0)), Err(BadRecord::NoSuchRun { seq: 1, run: RunId(1) }));
    let opened = Record { seq: 1, at, body: Body::Opened { plan: Box::new(plan(1)), origin: Origin::Daemon } };
    assert_eq!(state.apply(&opened), Ok(()));
    assert_eq!(state.apply(&began(2, 1, 1)), Err(BadRecord::Step { seq: 2, run: RunId(1), step: 1 }));
    assert_eq!(state.apply(&began(2, 1, 0)), Ok(()));
    assert_eq!(state.apply(&began(3, 1, 0)), Err(BadRecord::Step { seq: 3, run: RunId(1), step: 0 }));
}

/// Counters never fall: a relapse is counted beside the "cleared" that it belies, and begins the failures anew.
#[test]
fn a_relapse_takes_nothing_back() {
    let at = Now::default();
    let mut state = State::default();
    let (run, target) = (RunId(1), target(0));
    let settled = |result| Body::Settled { run, target: target.clone(), result };
    let bodies = [
        Body::Opened { plan: Box::new(plan(0)), origin: Origin::Daemon },
        Body::Began { run, step: 0, again: false },
        Body::Ended { run, step: 0, end: StepEnd::Done },
        Body::Closed { run, result: Closing::Proved },
        settled(Settlement::Cleared),
        settled(Settlement::Relapsed),
    ];
    for (seq, body) in (1..).zip(bodies) {
        assert_eq!(state.apply(&Record { seq, at, body }), Ok(()));
    }
    let brake = &state.targets[&target];
    assert_eq!(brake.failures, 1);
    let totals = [(Settlement::Cleared, 1), (Settlement::Relapsed, 1)].into();
    assert_eq!(brake.totals[&Rung::new("restart")], totals);
    assert!(state.runs.is_empty());
}

/// A return that failed for one unit is owed as a whole, and only what does not run yet is said to be stopped.
#[test]
fn what_came_back_is_no_longer_said_to_be_stopped() {
    let units = ["worker", "needs", "part"].map(|name| UnitName::new(format!("{name}.service")));
    let [worker, needs, part] = units.clone();
    let proof = Proof { checks: Vec::new(), passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let start = Act::Start(units.to_vec());
    let mut plan = plan(0);
    plan.steps[0].act =
        Some(Act::Stop(Stop { unit: worker.clone(), closure: vec![needs.clone(), part.clone()], wakes: None }));
    plan.steps[0].back =
        Some(Back { when: When::Last, act: start, deadline: Ms::mins(3), proof, tries: 0, unless: None });
    let (run, step, failed) = (RunId(1), 0, StepEnd::Unproved("it is failed".into()));
    let returned = |end: StepEnd, running: &[&UnitName]| {
        let running = running.iter().map(|unit| (*unit).clone()).collect();
        Body::Returned { run, step, end, running }
    };
    let mut state = State::default();
    let mut seq = 0;
    let mut apply = |bodies: Vec<Body>| {
        for body in bodies {
            seq += 1;
            assert_eq!(state.apply(&Record { seq, at: Now::default(), body }), Ok(()));
        }
        let run = &state.runs[&run];
        (run.not_back(), run.stopped())
    };
    let opened = Body::Opened { plan: Box::new(plan), origin: Origin::Daemon };
    let began = vec![opened, Body::Began { run, step, again: false }, Body::Ended { run, step, end: failed.clone() }];
    assert_eq!(apply(began), (units.to_vec(), units.to_vec()));
    let returning = || Body::Returning { run, step };
    let said = apply(vec![returning(), returned(failed.clone(), &[&worker, &part])]);
    assert_eq!(said, (vec![needs.clone()], units.to_vec()));
    // What has fallen again meanwhile is said again.
    let said = apply(vec![returning(), returned(failed, &[&part])]);
    assert_eq!(said, (vec![worker, needs], units.to_vec()));
    assert_eq!(apply(vec![returning(), returned(StepEnd::Done, &[])]), (Vec::new(), Vec::new()));
}

const AT: Now = Now { boot: 1, up: Ms::mins(1), wall: Ms::hours(1) };

/// What these records, a second apart, lead to.
fn folded(bodies: impl IntoIterator<Item = Body>) -> State {
    let mut state = State::default();
    for (seq, body) in (1..).zip(bodies) {
        let at = AT.plus(Ms::secs(seq - 1));
        assert_eq!(state.apply(&Record { seq, at, body: body.clone() }), Ok(()), "{body:?}");
    }
    state
}

fn opened(plan: Plan) -> Body {
    Body::Opened { plan: Box::new(plan), origin: Origin::Daemon }
}

fn turned(to: Turn) -> Body {
    Body::Turned { target: target(0), to, incident: None }
}

fn down() -> Turn {
    Turn::Down { reason: "failed".into(), detail: "it".into(), blame: None }
}

fn costing(cost: u32) -> Plan {
    Plan { cost, ..plan(0) }
}

/// Charged before anything is done, and until the very end of the window.
#[test]
fn an_intent_is_charged_at_once() {
    let state = folded([opened(costing(3)), opened(costing(5))]);
    let spent = |after: Ms| state.charged_within(AT.plus(after), Ms::hours(1)).map(|(_, cost)| cost).sum::<u32>();
    assert_eq!(spent(Ms::secs(1)), 8);
    assert_eq!(spent(Ms(3_599_999)), 8);
    assert_eq!(spent(Ms::hours(1)), 5);
    assert_eq!(spent(Ms(3_600_999)), 5);
    assert_eq!(spent(Ms(3_601_000)), 0);
}

#[test]
fn a_start_without_an_end_before_it_is_abnormal() {
    let started = || Body::Started { boot_id: "1".into(), version: "0".into() };
    let state = folded([started(), started(), Body::Stopped, started(), started()]);
    let within = |after: Ms| state.abnormal_starts_within(AT.plus(after), Ms::mins(10));
    assert_eq!([Ms::secs(4), Ms(600_999), Ms::secs(601), Ms::secs(604)].map(within), [2, 2, 1, 0]);
}

#[test]
fn an_attempt_knows_since_when_its_target_was_down() {
    for (turn, fell) in [(down(), Some(AT)), (Turn::Up, None), (Turn::Unknown { fault: "it".into() }, None)] {
        let state = folded([turned(turn.clone()), opened(plan(0))]);
        let attempts: Vec<_> = state.targets[&target(0)].attempts.iter().map(|a| (a.fell, a.settled)).collect();
        assert_eq!(attempts, [(fell, None)], "{turn:?}");
        assert!(state.targets[&target(0)].unsettled());
    }
}

/// The holds that were last recorded stand until it is up or a plan is opened, whatever else is said of it.
#[test]
fn holds_are_forgotten_with_what_they_held() {
    let held = || Body::Held { target: target(0), holds: vec!["cooldown".into()], would: Some(Rung::new("restart")) };
    let table = [
        (turned(down()), 1),
        (turned(Turn::Up), 0),
        (turned(Turn::Unknown { fault: "it".into() }), 0),
        (opened(plan(0)), 0),
    ];
    for (then, holds) in table {
        let state = folded([held(), held(), then.clone()]);
        let brake = &state.targets[&target(0)];
        assert_eq!((brake.held.len(), brake.would[&Rung::new("restart")]), (holds, 1), "{then:?}");
    }
}

/// However often its holds change, an incident is one that would have been tried.
#[test]
fn what_would_have_been_done_is_counted_once_an_incident() {
    let held = |holds: &[&str]| {
        let holds = holds.iter().map(|hold| Str::from(*hold)).collect();
        Body::Held { target: target(0), holds, would: Some(Rung::new("restart")) }
    };
    let fell = |incident| {
        let to = Turn::Down { reason: "failed".into(), detail: "it".into(), blame: None };
        Body::Turned { target: target(0), to, incident: Some(incident) }
    };
    let once = vec![fell(1), held(&["observe_only"]), held(&["no_sentinel"]), held(&["observe_only"])];
    let twice = once.iter().cloned().chain([fell(9), held(&["observe_only"])]);
    assert_eq!(folded(once.clone()).targets[&target(0)].would[&Rung::new("restart")], 1);
    assert_eq!(folded(twice).targets[&target(0)].would[&Rung::new("restart")], 2);
}

fn one_step(back: Option<When>) -> Plan {
    let proof = Proof { checks: Vec::new(), passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let back = back.map(|when| Back {
        when,
        act: Act::Start(Vec::new()),
        deadline: Ms::mins(3),
        proof,
        tries: 2,
        unless: None,
    });
    let mut plan = plan(0);
    plan.steps[0].back = back;
    plan
}

/// How a run closes settles its attempt; what was put back is not told as what was left as it is.
#[test]
fn how_a_run_closes_is_what_its_attempt_came_to() {
    let why = || Str::from("it");
    let (run, step) = (RunId(1), 0);
    let table = [
        (When::Failed, Closing::Unproved { step, why: why() }, Some(Settlement::Undone)),
        (When::Failed, Closing::Held { step, holds: Vec::new() }, Some(Settlement::Undone)),
        (When::Failed, Closing::Stuck { step, why: why() }, Some(Settlement::UndoFailed)),
        (When::Last, Closing::Unproved { step, why: why() }, Some(Settlement::NotCleared)),
        (When::Last, Closing::Proved, None),
    ];
    for (when, result, settled) in table {
        let state = folded([
            opened(one_step(Some(when))),
            Body::Began { run, step, again: false },
            Body::Ended { run, step, end: StepEnd::Unproved(why()) },
            Body::Returning { run, step },
            Body::Returned { run, step, end: StepEnd::Done, running: Vec::new() },
            Body::Closed { run, result: result.clone() },
        ]);
        let brake = &state.targets[&target(0)];
        assert_eq!(
            (brake.attempts[0].settled, brake.unsettled()),
            (settled, settled.is_none()),
            "{when:?} {result:?}"
        );
    }
}

#[test]
fn what_is_stuck_is_cleared_for_its_watch_or_for_all() {
    let [own, other] = [0, 1].map(|n| target(n).watch);
    let closed = |run| Body::Closed { run: RunId(run), result: Closing::Stuck { step: 0, why: "it".into() } };
    for (watch, left) in [(Some(own.clone()), vec![&other]), (Some(other.clone()), vec![&own]), (None, vec![])] {
        let bodies = [opened(plan(0)), opened(plan(4)), closed(1), closed(2), Body::Unstuck { watch: watch.clone() }];
        let state = folded(bodies);
        assert_eq!(state.stuck.iter().map(|stuck| &stuck.watch).collect::<Vec<_>>(), left, "{watch:?}");
    }
}

/// A new pause takes the place of the old one; others stay until they are over.
#[test]
fn a_pause_is_of_one_watch_or_of_all_and_ends() {
    let [own, other] = [0, 1].map(|n| Some(target(n).watch));
    let paused = |watch: &Option<WatchId>, secs| Body::Paused {
        watch: watch.clone(),
        span: Ms::secs(secs),
        reason: "it".into(),
    };
    let state = folded([paused(&own, 60), paused(&None, 4), paused(&other, 60), paused(&own, 90)]);
    let spans = |n, after| {
        state.pauses_of(&target(n).watch, AT.plus(after)).map(|pause| pause.span.0 / 1000).collect::<Vec<_>>()
    };
    assert_eq!((spans(0, Ms(4_999)), spans(1, Ms(4_999))), (vec![4, 90], vec![4, 60]));
    assert_eq!((spans(0, Ms::secs(5)), spans(1, Ms::secs(5))), (vec![90], vec![60]));
    assert_eq!((spans(0, Ms::secs(93)), spans(2, Ms::secs(5))), (vec![], vec![]));
    let state = folded([paused(&own, 60), paused(&other, 60), Body::Resumed { watch: own.clone() }]);
    assert_eq!(state.pauses.iter().map(|pause| &pause.watch).collect::<Vec<_>>(), [&other]);
}

#[test]
fn since_when_somebody_waits_for_the_budget_outlives_what_passes() {
    let target = || target(0);
    let held = |holds: &[&str]| {
        let holds = holds.iter().map(|hold| Str::from(*hold)).collect();
        Body::Held { target: target(), holds, would: None }
    };
    let up = Body::Turned { target: target(), to: Turn::Up, incident: None };
    let opened = Body::Opened { plan: Box::new(plan(0)), origin: Origin::Daemon };
    // Record `n` is made at minute `n`, from one on.
    let table: [(Vec<Body>, Option<u64>, &str); 11] = [
        (vec![held(&["cooldown"])], None, "it waits for something else"),
        (vec![held(&["budget_spent"])], Some(1), "it waits"),
        (vec![held(&["cooldown"]), held(&["budget_spent", "cooldown"])], Some(2), "from when budget is lacking"),
        (vec![held(&["budget_spent", "storm"]), held(&["cooldown"]), held(&["budget_spent"])], Some(1), "it passes"),
        (vec![held(&["budget_spent", "maintenance"])], None, "somebody must end the pause first"),
        (vec![held(&["budget_spent"]), held(&["budget_spent", "no_sentinel"])], None, "it may not any more"),
        (vec![held(&["budget_spent"]), held(&["budget_spent", "gate_unknown"])], Some(1), "nobody could look"),
        (vec![held(&["budget_spent"]), held(&["gate_unknown", "no_sentinel"])], None, "of one it is known"),
        (vec![held(&["budget_spent", "gate_unknown"])], None, "whether it may is not known yet"),
        (vec![held(&["budget_spent"]), up], None, "it is well"),
        (vec![held(&["budget_spent"]), opened], None, "it is tried"),
    ];
    for (bodies, since, why) in table {
        let mut state = State::default();
        for (n, body) in (1u64..).zip(bodies) {
            let at = Now { boot: 0, up: Ms::mins(n), wall: Ms::mins(n) };
            state.apply(&Record { seq: n, at, body }).expect("it folds");
        }
        let queued = state.targets.get(&target()).and_then(|brake| brake.queued);
        assert_eq!(queued.map(|at| at.up), since.map(Ms::mins), "{why}");
    }
}

/// A death right after an intent leaves a ledger that ends with it.
#[test]
fn a_state_that_ends_with_the_opening_of_a_run_is_plausible() {
    let state = folded([Body::Started { boot_id: "1".into(), version: "0".into() }, opened(plan(0))]);
    let now = AT.plus(Ms::secs(1));
    assert_eq!((state.seq, state.implausible(now)), (2, None));
    let beyond = State { seq: 1, ..state.clone() };
    assert!(beyond.implausible(now).is_some(), "a run of a record that is not there");
    assert_eq!(State { seq: SEQ_MAX, ..state.clone() }.implausible(now), None);
    assert!(State { seq: SEQ_MAX + 1, ..state }.implausible(now).is_some());
}
