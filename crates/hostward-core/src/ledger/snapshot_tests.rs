use super::super::{Attempt, Body, Origin, Record};
use super::*;
use crate::id::{RunId, Rung, TargetId, UnitName, WatchId};
use crate::plan::{Act, Back, Heal, OnCrash, OnFail, Plan, Proof, Step, When};
use crate::run::{At, Next};
use crate::time::Ms;

fn at(boot: u32, up: u64) -> Now {
    Now { boot, up: Ms::secs(up), wall: Ms::hours(1000) }
}

/// A stop that owes a start, and a step after it.
fn plan() -> Plan {
    let units = vec![UnitName::new("worker.service")];
    let proof = Proof { checks: Vec::new(), passes: 1, every: Ms::secs(1), within: Ms::secs(9), soak: Ms::ZERO };
    let back =
        Back { when: When::Last, act: Act::Start(units), deadline: Ms::secs(9), proof, tries: 0, unless: None };
    let step = |back| Step {
        act: None,
        deadline: Ms::ZERO,
        proof: None,
        fail: OnFail::Unwind,
        crash: OnCrash::Again,
        back,
        unless: None,
    };
    let watch = WatchId::new("service.a");
    Plan {
        heals: vec![Heal::new(TargetId::new(watch.clone(), "it"), Rung::new("restart"), "failed")],
        watch,
        rung: Rung::new("restart"),
        touches: vec![crate::id::Resource::Unit(UnitName::new("worker.service"))],
        cost: 3,
        basis: Vec::new(),
        why: "it is down".into(),
        steps: vec![step(Some(back)), step(None)],
    }
}

fn fold(bodies: Vec<Body>) -> State {
    let mut state = State::default();
    for (seq, body) in (1..).zip(bodies) {
        assert_eq!(state.apply(&Record { seq, at: at(3, seq), body }), Ok(()));
    }
    state
}

fn stopping() -> State {
    fold(vec![
        Body::Started { boot_id: "b".into(), version: "0".into() },
        Body::Opened { plan: Box::new(plan()), origin: Origin::Daemon },
        Body::Began { run: RunId(2), step: 0, again: false },
    ])
}

#[test]
fn what_is_salvaged_owes_all_that_it_owed_and_goes_no_step_forward() {
    let state = stopping();
    let charges = state.charges.clone();
    let (state, touched) = state.salvaged(90, "byte 7", at(4, 1));
    assert_eq!(touched, ["worker.service".into()].into());
    assert_eq!((state.seq, &state.damaged), (90, &Some((at(4, 1), "byte 7".into()))));
    assert_eq!(state.charges, charges);
    assert_eq!(state.targets.values().map(|brake| brake.attempts.len()).sum::<usize>(), 1);
    let run = &state.runs[&RunId(2)];
    assert_eq!(run.stopped(), [UnitName::new("worker.service")], "what was taken is still owed");
    assert_eq!(run.next(), Next::Back(vec![0]), "and given back next");

    let mut done = stopping();
    let ended = Body::Ended { run: RunId(2), step: 0, end: StepEnd::Done };
    assert_eq!(done.apply(&Record { seq: 4, at: at(3, 9), body: ended }), Ok(()));
    assert_eq!(done.runs[&RunId(2)].next(), Next::Begin(1));
    let (done, _) = done.salvaged(0, "byte 7", at(4, 1));
    assert_eq!((done.runs[&RunId(2)].next(), done.seq), (Next::Back(vec![0]), 4));
}

#[test]
fn a_give_back_under_way_stays_under_way() {
    let mut state = stopping();
    let run = RunId(2);
    let bodies =
        [Body::Ended { run, step: 0, end: StepEnd::Unproved("it".into()) }, Body::Returning { run, step: 0 }];
    for (seq, body) in (4..).zip(bodies) {
        assert_eq!(state.apply(&Record { seq, at: at(3, seq), body }), Ok(()));
    }
    let (state, _) = state.salvaged(0, "byte 7", at(4, 1));
    assert_eq!(state.runs[&run].next(), Next::Amid(At::Back(0)));
}

#[test]
fn a_state_later_than_itself_or_than_now_is_no_state_of_ours() {
    let state = stopping();
    assert_eq!(state.implausible(at(3, 3)), None);
    assert_eq!(state.implausible(at(4, 0)), None, "another boot: any time since its start");
    let back = Now { wall: Ms::ZERO, ..at(4, 1) };
    assert_eq!(state.implausible(back), None, "clocks go back");
    assert_eq!(back.since(at(3, 3)), Ms::secs(1), "and no age is negative for it");

    let says = |state: &State, now| state.implausible(now).expect("accepted");
    assert!(says(&state, at(3, 2)).contains("now is boot 3, 2s"), "{}", says(&state, at(3, 2)));
    let future = Attempt {
        run: RunId(4),
        rung: Rung::new("restart"),
        at: at(3, 1),
        proved: None,
        settled: None,
        reason: "failed".into(),
        fell: None,
        about: vec!["7".into()],
        mark: Some(3),
    };
    let mut run = state.clone();
    run.targets.values_mut().for_each(|brake| brake.attempts.push_back(future.clone()));
    assert!(says(&run, at(4, 0)).contains("knows of record 4"));
    let mut boot = state.clone();
    boot.charges.push_back((at(4, 0), 1));
    assert!(says(&boot, at(5, 0)).contains("boot 4"));
    let huge = State { seq: u64::MAX, ..State::default() };
    assert!(huge.implausible(at(0, 0)).is_some());
    assert_eq!(State::default().salvaged(u64::MAX, "x", at(0, 0)).0.seq, SEQ_MAX, "numbers still go on");
}
