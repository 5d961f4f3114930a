//! An operator's word: it stands for the missing mode, for the very plan that was shown, and for nothing else.

use std::sync::Arc;

use super::host::Cure;
use super::policy::{HOST_SENTINEL, api, drift, policy};
use super::world::World;
use crate::ask::{AskKey, SentinelState};
use crate::command::{Applied, Command, Reply};
use crate::engine::Event;
use crate::hold::{Held, Hold};
use crate::id::TargetId;
use crate::ledger::{Body, Closing, Origin};
use crate::plan::PlanHash;
use crate::policy::{Mode, Policy};
use crate::time::Ms;

fn proposing() -> Policy {
    let mut policy = policy();
    policy.watches.values_mut().for_each(|watch| watch.mode = Mode::Propose);
    policy
}

/// The service is down, and its restart is proposed.
fn proposed() -> World {
    shown_after(|world| world.host.fail(), &api())
}

fn shown_after(breaks: impl Fn(&mut World), target: &TargetId) -> World {
    let mut world = World::new(Ms::secs(5));
    world.policy = Arc::new(proposing());
    world.boot();
    world.run_for(Ms::mins(1));
    breaks(&mut world);
    let waits = |world: &World| world.holds(target) == [Hold::ProposeOnly];
    assert!(world.run_until(Ms::mins(5), waits), "{:?}", world.holds(target));
    world.run_for(Ms::secs(20));
    assert!(world.performed.is_empty());
    world
}

fn shown(world: &World, target: &TargetId) -> PlanHash {
    let view = world.view();
    let target = view.watches.iter().flat_map(|watch| &watch.targets).find(|shown| shown.id == *target);
    target.and_then(|target| target.plan.clone()).expect("a plan is shown").0
}

fn apply(world: &mut World, plan: PlanHash, patience: Ms) -> Applied {
    world.order(5, Command::Apply { plan, patience });
    assert!(world.run_until(patience + Ms::secs(1), |world| !world.replies.is_empty()), "within his patience");
    match world.replies.pop() {
        Some((_, 5, Reply::Applied(applied))) => *applied,
        other => panic!("{other:?}"),
    }
}

fn labels(holds: &[Held]) -> Vec<Hold> {
    holds.iter().map(|held| held.hold).collect()
}

#[test]
fn the_plan_that_was_shown_is_carried_out_and_seen_through() {
    let mut world = proposed();
    let plan = shown(&world, &api());
    let applied = apply(&mut world, plan.clone(), Ms::mins(2));
    assert!(matches!(applied, Applied::Ran { closing: Closing::Proved, .. }), "{applied:?}");
    assert_eq!(world.count(|body| matches!(body, Body::Opened { origin: Origin::Apply, .. })), 1);
    assert_eq!(world.performed.len(), 1);
    // His word was for once.
    world.run_for(Ms::mins(10));
    world.host.fail();
    assert!(world.run_until(Ms::mins(1), |world| world.holds(&api()) == [Hold::ProposeOnly]));
    world.run_for(Ms::mins(10));
    assert_eq!(world.performed.len(), 1);
    world.finish();
}

#[test]
fn what_takes_longer_than_his_patience_goes_on() {
    let mut world = shown_after(|world| world.host.pull_without_install(), &drift());
    world.host.cure = Cure::Cures(Ms::mins(10));
    let plan = shown(&world, &drift());
    let applied = apply(&mut world, plan, Ms::mins(2));
    assert!(matches!(applied, Applied::Runs { .. }), "{applied:?}");
    assert!(world.run_until(Ms::mins(15), |world| world.closings() == [Closing::Proved]));
    world.finish();
}

#[test]
fn every_other_hold_still_holds() {
    let mut world = proposed();
    let plan = shown(&world, &api());
    world.host.set_sentinel(HOST_SENTINEL, SentinelState::Absent);
    let asked = world.now;
    let applied = apply(&mut world, plan, Ms::mins(2));
    let Applied::Held { holds } = applied else { panic!("{applied:?}") };
    assert_eq!(labels(&holds), [Hold::NoSentinel]);
    assert!(world.now.since(asked) < Ms::secs(1), "what does not pass by itself is said at once");
    assert!(world.performed.is_empty());
    world.finish();
}

/// Another failure of the same service just before: its cooldown is waited for, if it ends within his patience.
#[test]
fn what_passes_in_time_is_waited_for() {
    for (patience, ran) in [(Ms::mins(2), true), (Ms::secs(20), false)] {
        let mut world = proposed();
        let plan = shown(&world, &api());
        world.host.deaf = true;
        apply(&mut world, plan, Ms::mins(2));
        world.host.deaf = false;
        assert!(world.run_until(Ms::mins(2), |world| world.holds(&api()).contains(&Hold::Cooldown)));
        let plan = shown(&world, &api());
        let applied = apply(&mut world, plan, patience);
        match applied {
            Applied::Ran { closing: Closing::Proved, .. } if ran => {}
            Applied::Held { holds } if !ran => assert_eq!(labels(&holds), [Hold::Cooldown]),
            other => panic!("{patience}: {other:?}"),
        }
        world.finish();
    }
}

#[test]
fn what_moved_since_it_was_shown_is_said() {
    type Move = fn(&mut World);
    let table: [(Move, &str, &str); 2] = [
        (|world| world.host.restart(), "service.api", "up"),
        (
            |world| reload(world, |policy| policy.watches.values_mut().for_each(|w| w.brakes.per_day = 5)),
            "policy",
            "",
        ),
    ];
    for (moves, moved, now_is) in table {
        let mut world = proposed();
        let plan = shown(&world, &api());
        moves(&mut world);
        world.run_for(Ms::mins(1));
        let applied = apply(&mut world, plan, Ms::mins(2));
        let Applied::Moved { what, is, .. } = applied else { panic!("{moved}: {applied:?}") };
        assert!(&*what == moved && is.contains(now_is), "{what} is {is}");
        assert!(world.performed.is_empty());
        world.finish();
    }
}

fn reload(world: &mut World, change: impl Fn(&mut Policy)) {
    let mut policy = proposing();
    change(&mut policy);
    world.send(Event::Policy(Arc::new(policy)));
}

#[test]
fn a_plan_that_nobody_proposes_is_answered_with_those_that_are() {
    let mut world = proposed();
    let plan = shown(&world, &api());
    let applied = apply(&mut world, PlanHash("0123456789ab".into()), Ms::mins(2));
    let Applied::Unknown { proposed } = applied else { panic!("{applied:?}") };
    assert_eq!(proposed, [plan]);
    assert!(world.performed.is_empty());
    world.finish();
}

#[test]
fn without_a_fresh_look_at_the_gate_nothing_begins() {
    let mut world = proposed();
    let plan = shown(&world, &api());
    world.mute = |key| matches!(key, AskKey::Gate(_));
    world.run_for(Ms::secs(30));
    let applied = apply(&mut world, plan, Ms::secs(20));
    let Applied::Held { holds } = applied else { panic!("{applied:?}") };
    assert_eq!(labels(&holds), [Hold::GateUnknown]);
    assert!(world.performed.is_empty() && world.closings().is_empty());
    world.finish();
}
