//! P7's shape: the daemon is killed at every effect of S1's repair, and its successor goes on from the ledger.

use super::host::Cure;
use super::policy::{api, drift};
use super::world::{Crash, Tail, World};
use crate::command::Command;
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::ledger::{Body, Closing, Settlement};
use crate::plan::Act;
use crate::time::Ms;

/// Broken, with the plan opened within the next minute.
fn repair() -> World {
    let mut world = World::well(Ms(100));
    world.host.cure = Cure::Cures(Ms::secs(5));
    world.host.pull_without_install();
    world.run_for(Ms::secs(15));
    assert!(world.performed.is_empty());
    world
}

fn done(world: &World) -> bool {
    let settled = |b: &Body| matches!(b, Body::Settled { target, .. } if *target == drift());
    world.engine.is_some() && world.is_up(&api()) && world.is_up(&drift()) && world.count(settled) > 0
}

fn killed(before: usize, tail: Tail) {
    let mut world = repair();
    world.crash = Some(Crash { before, tail });
    world.memory = Memory::default();
    assert!(
        world.run_until(Ms::mins(20), done),
        "killed before effect {before}, tail {tail:?}: {:?}",
        world.closings()
    );
    let attempts: Vec<_> = world.attempts(&drift()).iter().map(|a| a.settled).collect();
    assert_eq!(attempts, [Some(Settlement::Cleared)], "killed before effect {before}, tail {tail:?}");
    assert!(world.attempts(&api()).len() <= 1);
    assert!(
        (1..=2).contains(&world.host.commands),
        "killed before effect {before}: {} commands",
        world.host.commands
    );
    let restarts = world.performed.iter().filter(|(_, act)| matches!(act, Act::Restart(_))).count();
    assert!(restarts <= 2, "killed before effect {before}: {restarts} restarts");
    world.finish();
}

#[test]
fn killed_at_every_effect_it_heals_once() {
    let mut whole = repair();
    let first = whole.effects;
    assert!(whole.run_until(Ms::mins(10), done));
    let last = whole.effects;
    assert!(last - first > 100, "{} effects", last - first);
    for before in first..last {
        for tail in [Tail::Lost, Tail::Kept] {
            killed(before, tail);
        }
    }
}

/// The same while the act is lost to the actor too.
#[test]
fn an_outcome_that_is_lost_is_looked_for_in_the_world() {
    let mut world = repair();
    world.host.cure = Cure::Lost(Ms::secs(5));
    assert!(world.run_until(Ms::mins(20), done));
    assert_eq!(world.host.commands, 1, "its look proved it: not run again");
    assert_eq!(world.attempts(&drift()).len(), 1);
    world.finish();
}

/// The daemon is away while the soak passes: its successor looks before it settles.
#[test]
fn a_soak_that_passed_in_our_absence_is_settled_by_a_look() {
    let mut world = repair();
    assert!(world.run_until(Ms::mins(5), |w| w.count(|b| matches!(b, Body::Closed { .. })) == 1));
    world.die(Tail::Kept);
    world.run_for(Ms::mins(30));
    world.boot();
    assert!(world.run_until(Ms::mins(15), done));
    assert_eq!(world.attempts(&drift()).last().and_then(|a| a.settled), Some(Settlement::Cleared));
    world.finish();
}

/// The soak is shorter than the two looks that "up" takes: what the proof saw is not called a failure meanwhile.
#[test]
fn a_soak_waits_for_the_looks_that_judge_it() {
    let mut policy = super::policy::policy();
    for watch in policy.watches.values_mut() {
        watch.brakes.soak = Ms(100);
    }
    let mut world = repair();
    world.host.cure = Cure::Cures(Ms(10));
    world.send(Event::Policy(std::sync::Arc::new(policy)));
    assert!(world.run_until(Ms::mins(20), done));
    assert_eq!(world.attempts(&drift()).last().and_then(|a| a.settled), Some(Settlement::Cleared));
    world.finish();
}

#[test]
fn a_lost_ledger_leaves_the_undos_that_it_knew_of_to_pid_1() {
    let mut begin = World::well(Ms(100)).engine.expect("it runs").begin_here();
    let adopted = |begin: &Begin| {
        let (_, effects) = Engine::new(begin.clone());
        effects.into_iter().find_map(|effect| match effect {
            Effect::Adopt { runs, .. } => Some(runs),
            _ => None,
        })
    };
    assert_eq!(adopted(&begin), Some(Some(Vec::new())), "nothing is owed: what is armed was left behind");
    begin.damaged = Some("record 17: checksum".into());
    assert_eq!(adopted(&begin), Some(None), "nobody knows what is owed");

    // What an operator clears is the memory of attempts. PID 1 forgets when the host boots anew.
    let (mut engine, _) = Engine::new(begin.clone());
    engine.handle(begin.now, Event::Order(1, Command::Clear { watch: None }));
    begin.damaged = None;
    begin.state = engine.world().state.clone();
    assert_eq!((begin.state.damaged.is_some(), adopted(&begin)), (false, Some(None)), "PID 1 alone knows it still");
    (begin.boot_id, begin.now.boot) = ("another".into(), begin.now.boot + 1);
    assert_eq!(adopted(&begin), Some(Some(Vec::new())));
}

#[test]
fn a_process_that_began_between_the_intent_and_the_act_proves_no_restart() {
    let mut world = World::well(Ms::secs(5));
    world.host.deaf = true;
    world.on_record = |w, record| {
        if matches!(record.body, Body::Began { step: 0, .. }) {
            w.host.restart();
        }
    };
    world.host.fail();
    assert!(world.run_until(Ms::mins(5), |w| !w.closings().is_empty()));
    assert!(matches!(world.closings().as_slice(), [Closing::Unproved { step: 0, .. }]), "{:?}", world.closings());
}
