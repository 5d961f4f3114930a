//! What the records of a run say comes next.

use super::*;
use crate::id::{Rung, WatchId};

const AT: Now = Now { boot: 1, up: Ms::mins(1), wall: Ms::hours(1) };

/// A step, and what it owes: when that falls due, and after how many failures it is given up.
fn step(owes: Option<(When, u8)>) -> Step {
    let unit = UnitName::new("worker.service");
    let proof = Proof { checks: Vec::new(), passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let start = || Act::Start(vec![unit.clone()]);
    let back = |(when, tries)| Back {
        when,
        act: start(),
        deadline: Ms::secs(90),
        proof: proof.clone(),
        tries,
        unless: None,
    };
    Step {
        unless: None,
        back: owes.map(back),
        act: Some(Act::Restart(unit.clone())),
        deadline: Ms::secs(90),
        proof: Some(proof.clone()),
        crash: OnCrash::Unwind,
        fail: OnFail::Unwind,
    }
}

fn run(steps: Vec<Step>) -> OpenRun {
    let (watch, rung) = (WatchId::new("service.s"), Rung::new("restart"));
    let (heals, touches, basis) = (Vec::new(), Vec::new(), Vec::new());
    let plan = Plan { watch, rung, heals, touches, cost: 1, basis, why: "it is down".into(), steps };
    OpenRun::new(plan, Origin::Daemon, AT)
}

/// The next steps begin, and each ends so.
fn went(run: &mut OpenRun, ends: &[StepEnd]) {
    for end in ends {
        let step = number(run.steps.len());
        assert!(
            run.began(step, false, AT).and_then(|()| run.ended(step, end.clone())).is_some(),
            "{step} ends {end:?}"
        );
    }
}

fn gave_back(run: &mut OpenRun, step: u16, end: StepEnd) {
    assert!(run.returning(step, AT).and_then(|()| run.returned(step, end, &[])).is_some(), "{step} is not owed");
}

fn unproved() -> StepEnd {
    StepEnd::Unproved("it".into())
}

fn lost() -> StepEnd {
    StepEnd::Lost("it".into())
}

fn close_unproved(step: u16) -> Next {
    Next::Close(Closing::Unproved { step, why: "it".into() })
}

fn close_stuck(step: u16) -> Next {
    Next::Close(Closing::Stuck { step, why: "it".into() })
}

#[test]
fn what_a_step_came_to_says_whether_the_next_one_follows() {
    use OnFail::{GoOn, Unwind};
    let table = [
        (OnCrash::Unwind, Unwind, StepEnd::Done, Next::Begin(1)),
        (OnCrash::Unwind, Unwind, unproved(), close_unproved(0)),
        (OnCrash::Unwind, Unwind, lost(), close_unproved(0)),
        (OnCrash::Stuck, Unwind, unproved(), close_unproved(0)),
        // Nobody can tell what it left.
        (OnCrash::Stuck, Unwind, lost(), close_stuck(0)),
        (OnCrash::Stuck, GoOn, lost(), close_stuck(0)),
        // A courtesy.
        (OnCrash::Unwind, GoOn, unproved(), Next::Begin(1)),
        (OnCrash::Again, GoOn, lost(), Next::Begin(1)),
    ];
    for (crash, fail, end, next) in table {
        let mut run = run(vec![Step { crash, fail, ..step(None) }, step(None)]);
        went(&mut run, std::slice::from_ref(&end));
        assert_eq!(run.next(), next, "{crash:?} {fail:?} {end:?}");
    }
}

#[test]
fn a_give_back_falls_due_when_it_says() {
    let held = StepEnd::Held(Vec::new());
    let proved = || Next::Close(Closing::Proved);
    let (begin, due) = (Next::Begin, || Next::Back(vec![0]));
    let done = StepEnd::Done;
    let table: [(When, Vec<StepEnd>, Next); 12] = [
        (When::Last, vec![done.clone()], begin(1)),
        (When::Last, vec![unproved()], due()),
        (When::Last, vec![done.clone(), done.clone(), done.clone()], due()),
        (When::Last, vec![held.clone()], Next::Close(Closing::Held { step: 0, holds: Vec::new() })),
        (When::After(0), vec![done.clone()], due()),
        (When::After(1), vec![done.clone()], begin(1)),
        (When::After(1), vec![done.clone(), done.clone()], due()),
        (When::After(2), vec![done.clone(), unproved()], due()),
        (When::Failed, vec![done.clone()], begin(1)),
        (When::Failed, vec![done.clone(), unproved()], due()),
        (When::Failed, vec![done.clone(), held], due()),
        (When::Failed, vec![done.clone(), done.clone(), done], proved()),
    ];
    for (when, ends, next) in table {
        let mut run = run(vec![step(Some((when, 0))), step(None), step(None)]);
        went(&mut run, &ends);
        assert_eq!(run.next(), next, "{when:?} after {ends:?}");
    }
}

/// What was replaced is put back before the worker that stood still for it returns; debts pass each other.
#[test]
fn nothing_passes_a_way_back() {
    let [debt, way_back] = [(When::Last, 0), (When::Failed, 2)].map(|owes| step(Some(owes)));
    let mut run = run(vec![debt.clone(), debt.clone(), way_back, debt]);
    went(&mut run, &[StepEnd::Done, StepEnd::Done, StepEnd::Done, unproved()]);
    assert_eq!(run.next(), Next::Back(vec![3, 2]));
    gave_back(&mut run, 2, StepEnd::Done);
    assert_eq!(run.next(), Next::Back(vec![3, 1, 0]));
}

#[test]
fn a_way_back_is_given_up_and_freezes_what_the_plan_touched() {
    let mut run = run(vec![step(Some((When::Failed, 2)))]);
    went(&mut run, &[unproved()]);
    gave_back(&mut run, 0, unproved());
    gave_back(&mut run, 0, lost());
    assert_eq!(run.next(), Next::Back(vec![0]), "a try that a crash lost is no failed try");
    gave_back(&mut run, 0, unproved());
    assert_eq!((run.next(), run.put_back()), (close_stuck(0), false));
}

#[test]
fn a_debt_is_tried_for_ever_and_said_to_be_stuck_meanwhile() {
    let mut run = run(vec![step(Some((When::Last, 0)))]);
    went(&mut run, &[unproved()]);
    for (tries, stuck) in [(1, false), (2, true), (9, true)] {
        while run.backs.get(&0).is_none_or(|back| back.fails < tries) {
            gave_back(&mut run, 0, unproved());
        }
        assert_eq!((run.next(), run.stuck().is_some()), (Next::Back(vec![0]), stuck), "after {tries}");
    }
    run.waive();
    assert_eq!((run.next(), run.stuck()), (close_unproved(0), None), "an operator has looked");
}

#[test]
fn what_was_put_back_is_told_from_what_was_given_back() {
    for (when, put_back) in [(When::Failed, true), (When::Last, false)] {
        let mut run = run(vec![step(Some((when, 0)))]);
        went(&mut run, &[unproved()]);
        assert!(!run.put_back());
        gave_back(&mut run, 0, StepEnd::Done);
        assert_eq!((run.next(), run.put_back()), (close_unproved(0), put_back), "{when:?}");
    }
}

#[test]
fn a_give_back_is_tried_ever_more_slowly_up_to_five_minutes() {
    let mut run = run(vec![step(Some((When::Last, 0)))]);
    went(&mut run, &[unproved()]);
    assert_eq!(run.back_due(0, AT), AT.up, "at once");
    for (tries, wait) in [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (100, 300)] {
        while run.backs.get(&0).is_none_or(|back| back.tries < tries) {
            gave_back(&mut run, 0, unproved());
        }
        assert_eq!(run.back_due(0, AT), AT.up + Ms::secs(wait), "after {tries}");
    }
}

/// What goes on failing, and nothing that is under way, was tried but once, or was given back in the end.
#[test]
fn an_operator_waives_what_goes_on_failing() {
    let table: [(&[StepEnd], bool, bool); 5] = [
        (&[unproved()], false, false),
        (&[unproved(), unproved()], false, true),
        (&[unproved(), unproved()], true, false),
        (&[unproved(), unproved(), StepEnd::Done], false, false),
        (&[unproved(), lost()], false, false),
    ];
    for (ends, under_way, waived) in table {
        let mut run = run(vec![step(Some((When::Last, 0)))]);
        went(&mut run, &[unproved()]);
        for end in ends {
            gave_back(&mut run, 0, end.clone());
        }
        if under_way {
            assert!(run.returning(0, AT).is_some());
        }
        run.waive();
        assert_eq!(run.backs[&0].waived, waived, "{ends:?}, under way: {under_way}");
    }
}

#[test]
fn a_step_whose_outcome_was_lost_begins_again_once_if_it_may() {
    let later = AT.plus(Ms::secs(9));
    for (crash, again) in [(OnCrash::Again, true), (OnCrash::Unwind, false), (OnCrash::Stuck, false)] {
        let mut run = run(vec![Step { crash, ..step(Some((When::Last, 0))) }]);
        assert!(!run.may_begin_again(0), "it has not begun");
        assert!(run.began(0, false, AT).is_some());
        assert_eq!(run.may_begin_again(0), again, "{crash:?}");
        assert!(run.began(0, true, later).is_some());
        assert_eq!(run.steps, [StepRun { began: later, tries: 2, end: None }]);
        assert!(!run.may_begin_again(0));
        // Held before its act: it owes nothing.
        assert!(run.ended(0, StepEnd::Held(Vec::new())).is_some());
        assert!(run.stopped().is_empty());
    }
}

#[test]
fn a_record_of_another_step_does_not_fit() {
    let held = || StepEnd::Held(Vec::new());
    let mut run = run(vec![step(None), step(None)]);
    assert_eq!((run.began(1, false, AT), run.began(0, true, AT)), (None, None), "the first one is next");
    assert_eq!((run.ended(1, held()), run.ended(0, StepEnd::Done)), (None, None), "nothing has begun");
    assert!(run.began(0, false, AT).is_some());
    assert_eq!((run.began(0, false, AT), run.began(1, true, AT)), (None, None), "the first one is under way");
    assert_eq!(run.ended(1, StepEnd::Done), None);
    assert_eq!((run.returning(0, AT), run.returned(0, StepEnd::Done, &[])), (None, None), "nothing is owed");
    assert_eq!(run.steps.len(), 1);
}

/// A fence is owed from the step that leaves a path bare to the one that is proved to mend it, however the run ends.
#[test]
fn what_is_owed_until_a_step_is_not_owed_once_that_is_proved() {
    let begun = |ends: &[StepEnd]| {
        let mut bare = step(Some((When::Until(1), 0)));
        let mut mends = step(None);
        (bare.fail, mends.fail) = (OnFail::GoOn, OnFail::GoOn);
        let mut run = run(vec![bare, mends, step(None)]);
        went(&mut run, ends);
        run.next()
    };
    let done = || StepEnd::Done;
    assert_eq!(begun(&[done()]), Next::Begin(1), "not before the run ends");
    assert_eq!(begun(&[done(), done(), done()]), Next::Close(Closing::Proved));
    assert_eq!(begun(&[done(), unproved(), done()]), Next::Back(vec![0]), "the run is well and the path is not");
    assert_eq!(begun(&[unproved(), unproved(), unproved()]), Next::Back(vec![0]));
    assert_eq!(begun(&[done(), done(), unproved()]), close_unproved(2), "it was mended");
}
