//! Each reason not to act: named while it lasts, obeyed, and followed by the act when it lifts.

use std::sync::Arc;

use super::host::Http;
use super::policy::{HOST_SENTINEL, REVISION, WATCH_SENTINEL, api, drift, policy};
use super::world::{Tail, World, twice};
use crate::ask::{Load, LockState, Operator, SentinelState, SystemState};
use crate::command::Command;
use crate::engine::Event;
use crate::hold::Hold;
use crate::id::{TargetId, WatchId};
use crate::ledger::{Body, Closing, Record, Settlement};
use crate::policy::Mode;
use crate::time::Ms;

/// For `span` the hold is named and nothing done; once `lift`ed, the target heals.
fn held_then_healed(mut world: World, target: &TargetId, hold: Hold, span: Ms, lift: fn(&mut World)) -> World {
    assert!(world.run_until(Ms::mins(2), |w| w.is_down(target)), "{:?}", world.verdict(target));
    assert!(world.run_until(Ms::secs(30), |w| w.holds(target).contains(&hold)), "{:?}", world.holds(target));
    world.run_for(span);
    assert!(world.holds(target).contains(&hold), "{:?}", world.holds(target));
    assert!(world.performed.is_empty(), "{hold:?}: {:?}", world.performed);
    lift(&mut world);
    assert!(world.run_until(Ms::mins(10), |w| w.is_up(&api()) && w.is_up(&drift())), "{:?}", world.holds(target));
    assert!(!world.performed.is_empty());
    world
}

fn broken() -> World {
    let mut world = World::well(Ms::secs(5));
    world.host.pull_without_install();
    world
}

#[test]
fn an_operators_pip_holds() {
    twice(|| {
        let mut world = broken();
        world.host.operators =
            vec![Operator { pid: 4711, command: "pip install -r requirements.lock".into(), age: None }];
        held_then_healed(world, &drift(), Hold::OperatorActive, Ms::mins(30), |w| w.host.operators.clear())
    });
}

#[test]
fn a_held_or_unreadable_deploy_lock_holds() {
    for lock in [LockState::Held { pid: None, command: None, age: None }, LockState::Unreadable("EACCES".into())] {
        twice(|| {
            let mut world = broken();
            world.host.lock = lock.clone();
            let free = |w: &mut World| w.host.lock = LockState::Free;
            held_then_healed(world, &drift(), Hold::DeployInProgress, Ms::mins(30), free)
        });
    }
}

/// A deploy that hangs is never passed over, and after half an hour it is named.
#[test]
fn a_deploy_lock_that_nobody_lets_go_is_said_to_be_stale() {
    let mut world = broken();
    world.host.lock = LockState::Held { pid: Some(7), command: Some("deploy".into()), age: None };
    world.run_for(Ms::mins(29));
    let lock = |world: &World| world.view().watch(&drift().watch).and_then(|watch| watch.deploy_lock.clone());
    assert_eq!(lock(&world).map(|lock| lock.stale), Some(false));
    world.run_for(Ms::mins(2));
    assert_eq!(lock(&world).map(|lock| (lock.pid, lock.stale)), Some((Some(7), true)));
    let view = world.view();
    let held = view
        .watch(&drift().watch)
        .and_then(|watch| watch.targets[0].holds.iter().find(|held| held.hold == Hold::DeployInProgress));
    assert!(held.is_some_and(|held| held.value.starts_with("held by deploy (pid 7), for 3")), "{held:?}");
    world.host.lock = LockState::Free;
    world.run_for(Ms::mins(1));
    assert_eq!(lock(&world), None);
    world.finish();
}

/// What forbade an act, or did not, while all was well is not believed for half a minute once something fell.
#[test]
fn a_gate_is_looked_up_more_often_once_something_fell() {
    let mut world = World::well(Ms(100));
    world.order(1, Command::Look { watch: None });
    world.run_for(Ms::secs(1));
    world.host.pull_without_install();
    world.host.lock = LockState::Held { pid: None, command: None, age: None };
    world.run_for(Ms::secs(10));
    let held = world.view().watch(&drift().watch).and_then(|watch| watch.deploy_lock_held);
    assert_eq!(held, Some(true));
    world.finish();
}

#[test]
fn a_tree_touched_a_moment_ago_is_somebodys_work() {
    let mut world = broken();
    let mut last = world.now;
    for _ in 0..30 {
        world.run_for(Ms::secs(5));
        last = world.now;
        world.host.touched = world.now.wall;
    }
    assert!(world.is_down(&api()) && !world.is_down(&drift()));
    assert!(world.holds(&drift()).contains(&Hold::Confirming), "{:?}", world.holds(&drift()));
    assert!(world.performed.is_empty());
    assert!(world.run_until(Ms::mins(5), |w| w.is_down(&drift())));
    assert!(world.now.since(last) >= Ms::secs(20) && world.now.since(last) <= Ms::secs(30));
    assert!(world.run_until(Ms::mins(5), |w| w.is_up(&api()) && w.is_up(&drift())));
    world.finish();
}

/// Of the watch or of every watch, until it is over or taken back; another watch's holds nobody.
#[test]
fn a_pause_holds_what_it_is_of() {
    let pause = |watch: Option<WatchId>| {
        let mut world = World::well(Ms::secs(5));
        world.order(1, Command::Pause { watch, span: Ms::hours(1), reason: "disks are changed".into() });
        world.host.fail();
        world
    };
    let rest = |w: &mut World| w.run_for(Ms::mins(21));
    held_then_healed(pause(None), &api(), Hold::Maintenance, Ms::mins(40), rest).finish();
    let resume = |w: &mut World| w.order(2, Command::Resume { watch: Some(api().watch) });
    held_then_healed(pause(Some(api().watch)), &api(), Hold::Maintenance, Ms::mins(40), resume).finish();
    let mut other = pause(Some(drift().watch));
    assert!(other.run_until(Ms::mins(2), |w| !w.performed.is_empty()));
}

#[test]
fn a_masked_unit_is_respected() {
    let mut world = World::well(Ms::secs(5));
    world.host.unit.load = Load::Masked;
    world.host.fail();
    let unmask = |w: &mut World| {
        w.host.unit.load = Load::Loaded;
        w.host.hint();
    };
    held_then_healed(world, &api(), Hold::OperatorActive, Ms::hours(1), unmask).finish();
}

#[test]
fn a_clean_stop_is_respected_for_half_an_hour() {
    let mut world = World::well(Ms::secs(5));
    world.host.stop();
    held_then_healed(world, &api(), Hold::OperatorActive, Ms(Ms::mins(30).0 - 30_500), |w| w.run_for(Ms::secs(30)))
        .finish();
}

#[test]
fn a_system_that_starts_or_stops_holds() {
    for (system, span) in [
        (SystemState::Starting, Ms::secs(30)),
        (SystemState::Stopping, Ms::mins(10)),
        (SystemState::Maintenance, Ms::mins(10)),
    ] {
        let mut world = World::well(Ms::secs(5));
        world.host.system = system;
        world.host.fail();
        let runs = |w: &mut World| w.host.system = SystemState::Running;
        held_then_healed(world, &api(), Hold::SystemState, span, runs).finish();
    }
}

/// One stuck job keeps a system "starting"; ten minutes after its boot that is no reason any more.
#[test]
fn a_boot_that_never_ends_holds_for_ten_minutes() {
    let mut world = World::well(Ms::secs(5));
    world.host.system = SystemState::Starting;
    world.host.fail();
    held_then_healed(world, &api(), Hold::SystemState, Ms::secs(30), |_| {}).finish();
}

#[test]
fn a_ledger_that_cannot_be_written_holds() {
    let mut world = World::well(Ms::secs(5));
    world.ledger_fails();
    world.host.fail();
    held_then_healed(world, &api(), Hold::LedgerUnwritable, Ms::mins(10), World::ledger_heals).finish();
}

#[test]
fn an_intent_that_was_never_synced_is_never_performed() {
    let mut world = World::well(Ms::secs(5));
    world.on_record = |w, r| {
        if matches!(r.body, Body::Began { .. }) && !w.ledger_bad {
            w.ledger_bad = true;
            w.send(Event::LedgerBad("No space left on device".into()));
        }
    };
    world.host.fail();
    world.run_for(Ms::mins(5));
    assert!(world.performed.is_empty());
    assert!(matches!(world.closings().as_slice(), [Closing::Held { step: 0, .. }]), "{:?}", world.closings());
    world.on_record = |_, _| {};
    world.ledger_heals();
    assert!(world.run_until(Ms::mins(5), |w| w.is_up(&api())));
    world.finish();
}

#[test]
fn damage_counts_as_all_caps_spent_until_cleared() {
    let mut world = World::new(Ms::secs(5));
    world.damaged = Some("record 17: checksum");
    world.boot();
    world.run_for(Ms::mins(1));
    world.host.fail();
    held_then_healed(world, &api(), Hold::LedgerDamaged, Ms::mins(20), |w| {
        w.order(1, Command::Clear { watch: None });
    })
    .finish();
}

#[test]
fn damage_leaves_one_trial_a_plateau() {
    let mut world = World::new(Ms::secs(5));
    world.damaged = Some("record 17: checksum");
    world.boot();
    world.host.fail();
    let damaged = world.now;
    assert!(world.run_until(Ms::mins(40), |w| !w.performed.is_empty()));
    assert_eq!(world.opened(damaged).first().map(|at| at.0 / 60_000), Some(30), "the plateau of a service");
    world.finish();
}

fn third_abnormal_start() -> World {
    let mut world = World::well(Ms::secs(5));
    for _ in 0..3 {
        world.die(Tail::Kept);
        world.run_for(Ms::secs(1));
        world.boot();
        world.run_for(Ms::secs(5));
    }
    world
}

#[test]
fn the_third_abnormal_start_is_safe_mode() {
    let mut world = third_abnormal_start();
    assert!(world.view().safe_mode);
    world.host.fail();
    let restart = |w: &mut World| {
        let effects = w.engine.as_mut().map(|engine| engine.stop(w.now)).unwrap_or_default();
        w.apply(effects);
        w.die(Tail::Kept);
        w.run_for(Ms::mins(10));
        w.boot();
    };
    held_then_healed(world, &api(), Hold::SafeMode, Ms::hours(1), restart).finish();
}

#[test]
fn two_abnormal_starts_are_not() {
    let mut world = World::well(Ms::secs(5));
    for _ in 0..2 {
        world.die(Tail::Kept);
        world.run_for(Ms::secs(1));
        world.boot();
    }
    assert!(!world.view().safe_mode);
}

/// A run that killed us three times is not taken up a fourth time.
#[test]
fn safe_mode_takes_no_further_step() {
    let mut world = broken();
    let opened = |w: &World| w.count(|b| matches!(b, Body::Opened { .. })) == 1;
    assert!(world.run_until(Ms::mins(2), opened));
    for _ in 0..3 {
        world.die(Tail::Kept);
        world.run_for(Ms(500));
        world.boot();
    }
    world.run_for(Ms::mins(10));
    assert!(world.performed.is_empty(), "{:?}", world.performed);
    let held =
        |c: &Closing| matches!(c, Closing::Held { holds, .. } if holds.iter().any(|h| h.starts_with("safe_mode")));
    assert!(world.closings().len() == 1 && world.closings().iter().all(held), "{:?}", world.closings());
}

type Raise = fn(&mut World, &Record);

/// What comes up between the plan's opening and its step ends the run; the attempt stays counted.
#[test]
fn a_hold_between_opening_and_step_ends_the_run() {
    let cases: [(Hold, Raise); 7] = [
        (Hold::NoSentinel, |w, r| when_opened(r, || w.host.set_sentinel(WATCH_SENTINEL, SentinelState::Absent))),
        (Hold::NoSentinel, |w, r| when_opened(r, || w.host.set_sentinel(HOST_SENTINEL, SentinelState::NotRoots))),
        (Hold::DeployInProgress, |w, r| {
            when_opened(r, || w.host.lock = LockState::Held { pid: None, command: None, age: None });
        }),
        (Hold::SystemState, |w, r| when_opened(r, || w.host.system = SystemState::Stopping)),
        (Hold::BasisMoved, |w, r| when_opened(r, || w.host.revision = format!("{REVISION}+1"))),
        (Hold::BasisMoved, |w, r| when_opened(r, || reload(w, |p| p.sentinel = None))),
        (Hold::ObserveOnly, |w, r| when_opened(r, || reload(w, |p| p.mode = Mode::Observe))),
    ];
    for (hold, raise) in cases {
        let mut world = broken();
        world.on_record = raise;
        let closed = |w: &World| w.count(|b| matches!(b, Body::Closed { .. })) > 0;
        assert!(world.run_until(Ms::mins(3), closed), "{hold:?}");
        assert!(world.performed.is_empty(), "{hold:?}: {:?}", world.performed);
        let held = |c: &Closing| matches!(c, Closing::Held { step: 0, holds } if holds.iter().any(|h| h.starts_with(hold.label())));
        assert!(world.closings().iter().all(held), "{hold:?}: {:?}", world.closings());
        let attempts: Vec<_> = world.attempts(&drift()).iter().map(|a| a.settled).collect();
        assert_eq!(attempts, [Some(Settlement::NotCleared)], "{hold:?}");
        world.finish();
    }
}

fn when_opened(record: &Record, then: impl FnOnce()) {
    if matches!(record.body, Body::Opened { .. }) {
        then();
    }
}

fn reload(world: &mut World, change: fn(&mut crate::policy::Watch)) {
    let mut policy = policy();
    policy.watches.get_mut(&drift().watch).into_iter().for_each(change);
    world.send(Event::Policy(Arc::new(policy)));
}

#[test]
fn a_slow_gate_delays_and_does_not_forbid() {
    let mut world = World::well(Ms::secs(5));
    world.gate_takes = Ms(4500);
    world.host.fail();
    assert!(world.run_until(Ms::mins(1), |w| w.performed.len() == 1), "{:?}", world.holds(&api()));
    world.finish();
}

#[test]
fn an_http_outage_in_a_drifted_app_waits_for_the_drift() {
    let mut world = World::well(Ms::secs(5));
    world.host.missing = true;
    world.host.touched = world.now.wall;
    world.host.http = Http::Silent;
    assert!(world.run_until(Ms::mins(3), |w| w.is_down(&api())));
    assert!(world.holds(&api()).contains(&Hold::DependencyDown), "{:?}", world.holds(&api()));
    world.finish();
}

/// A remembered stop is that of its own run: who was started and stopped again while no engine ran was stopped anew.
#[test]
fn the_last_stop_is_the_one_that_is_respected() {
    let mut world = World::well(Ms::secs(5));
    world.host.stop();
    world.run_for(Ms::mins(20));
    world.memory = world.engine.as_ref().expect("it runs").memory();
    world.die(Tail::Kept);
    world.host.restart();
    world.run_for(Ms::secs(10));
    world.host.stop();
    world.boot();
    assert!(!world.run_until(Ms::mins(29), |w| !w.performed.is_empty()), "respected for thirty minutes");
    assert!(world.run_until(Ms::mins(3), |w| !w.performed.is_empty()), "and no longer");
    world.finish();
}

/// What concerns every watch is decided anew at once, and not at the next look.
#[test]
fn a_ledger_that_is_well_again_frees_at_once() {
    let mut world = World::well(Ms::secs(5));
    world.ledger_fails();
    world.host.fail();
    assert!(world.run_until(Ms::secs(30), |w| w.holds(&api()) == [Hold::LedgerUnwritable]));
    world.run_for(Ms::secs(20));
    let opened = |w: &World| w.count(|b| matches!(b, Body::Opened { .. }));
    assert_eq!(opened(&world), 0);
    world.ledger_heals();
    assert!(world.run_until(Ms(20), |w| opened(w) == 1), "{:?}", world.holds(&api()));
    world.finish();
}

/// Holds are recorded when they change, and at most every five seconds.
#[test]
fn a_hold_that_comes_and_goes_fills_no_ledger() {
    let mut world = World::well(Ms::secs(5));
    world.host.set_sentinel(HOST_SENTINEL, SentinelState::Absent);
    world.host.fail();
    assert!(world.run_until(Ms::secs(30), |w| w.holds(&api()) == [Hold::NoSentinel]));
    let held = |w: &World| w.count(|b| matches!(b, Body::Held { target, .. } if *target == api()));
    world.run_for(Ms::secs(20));
    let first = held(&world);
    world.run_for(Ms::mins(10));
    assert_eq!(held(&world), first, "the same is said once");
    for n in 0..30 {
        let locks = [LockState::Held { pid: None, command: None, age: None }, LockState::Free];
        world.host.lock = locks[n % 2].clone();
        world.tell(Event::Hint(crate::engine::Hint::Gates));
        world.run_for(Ms::secs(1));
    }
    let said = held(&world) - first;
    assert!((3..=6).contains(&said), "{said} in half a minute");
    world.finish();
}

/// On the timer path a process begins each minute: what it has not asked yet is no news.
#[test]
fn who_has_not_looked_yet_records_no_hold() {
    let mut world = World::well(Ms::secs(5));
    world.host.set_sentinel(HOST_SENTINEL, SentinelState::Absent);
    world.host.fail();
    assert!(world.run_until(Ms::secs(30), |w| w.holds(&api()) == [Hold::NoSentinel]));
    world.run_for(Ms::secs(20));
    let held = |w: &World| w.count(|b| matches!(b, Body::Held { target, .. } if *target == api()));
    let first = held(&world);
    world.gate_takes = Ms::secs(2);
    for _ in 0..3 {
        world.memory = world.engine.as_ref().expect("it runs").memory();
        world.die(Tail::Kept);
        world.boot();
        assert!(world.run_until(Ms::secs(1), |w| w.holds(&api()).contains(&Hold::GateUnknown)));
        world.run_for(Ms::mins(6));
        assert_eq!(world.holds(&api()), [Hold::NoSentinel]);
    }
    assert_eq!(held(&world), first);
    world.finish();
}

/// A signal is worth a look at what it may mean, and at nothing else.
#[test]
fn a_hint_has_what_it_names_looked_at() {
    use crate::ask::AskKey;
    use crate::engine::Hint;
    let (unit, gates) = (AskKey::Probe(api().watch, 0), [drift(), api()].map(|id| AskKey::Gate(id.watch)).to_vec());
    let named = |name: &str| Hint::Unit(crate::id::UnitName::new(name));
    let table = [
        (Hint::Units, vec![unit.clone()]),
        (Hint::Gates, gates),
        (named(super::policy::UNIT), vec![unit]),
        (named("other.service"), vec![]),
    ];
    for (hint, want) in table {
        let mut world = World::well(Ms::secs(5));
        world.run_for(Ms(1500));
        world.asked.clear();
        world.tell(Event::Hint(hint.clone()));
        let asked: Vec<AskKey> = world.asked.iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(asked, want, "{hint:?}");
    }
}
