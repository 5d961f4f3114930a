//! What forbids an act, as the edge last saw it.

use super::*;
use crate::ask::{Answer, LockState};
use crate::fixture::{self, at, watch};
use crate::policy::Policy;
use std::sync::Arc;

const NOW: Ms = Ms::hours(100);

fn world(answer: Option<Answer>) -> World {
    let mut world = fixture::world(at(NOW), &["a"]);
    let live = world.live.get_mut(&watch("a")).expect("it is watched");
    live.gate = answer.map(|answer| (at(NOW), answer));
    world
}

fn open() -> GateReading {
    GateReading { sentinels: vec![SentinelState::Present], ..GateReading::default() }
}

fn holds(world: &World, since: Option<Ms>, by: Origin) -> Vec<Hold> {
    let mut held = Vec::new();
    gate(world, &watch("a"), since.map(at), by, &mut held);
    held.into_iter().map(|held| held.hold).collect()
}

fn seen(reading: GateReading) -> Vec<Hold> {
    holds(&world(Some(Ok(Reading::Gate(reading)))), None, Origin::Daemon)
}

/// The lesser of the host's mode and the watch's; an operator's word stands for the last bit of it.
#[test]
fn a_mode_holds_whoever_may_not() {
    let table = [
        (Mode::Act, Mode::Act, None, None),
        (Mode::Act, Mode::Propose, Some(Hold::ProposeOnly), None),
        (Mode::Propose, Mode::Act, Some(Hold::ProposeOnly), None),
        (Mode::Act, Mode::Observe, Some(Hold::ObserveOnly), Some(Hold::ObserveOnly)),
        (Mode::Observe, Mode::Act, Some(Hold::ObserveOnly), Some(Hold::ObserveOnly)),
    ];
    for (host, own, daemon, apply) in table {
        let mut world = world(Some(Ok(Reading::Gate(open()))));
        let policy: &mut Policy = Arc::make_mut(&mut world.policy);
        policy.host.mode = host;
        policy.watches.values_mut().for_each(|watch| watch.mode = own);
        let by = |origin| holds(&world, None, origin);
        let want = [daemon, apply, daemon].map(|hold| hold.into_iter().collect::<Vec<_>>());
        assert_eq!([Origin::Daemon, Origin::Apply, Origin::Trigger].map(by), want, "{host:?}, {own:?}");
        world.rejected = Some("line 3".into());
        assert_eq!(holds(&world, None, Origin::Apply), [Hold::ObserveOnly], "a policy that was refused");
    }
}

#[test]
fn an_answer_that_is_missing_too_old_or_none_at_all_forbids() {
    let good = || world(Some(Ok(Reading::Gate(open()))));
    let unknown = [Hold::GateUnknown];
    assert_eq!(holds(&good(), Some(NOW), Origin::Daemon), []);
    assert_eq!(holds(&good(), Some(NOW + Ms(1)), Origin::Daemon), unknown, "asked for too early");
    assert_eq!(holds(&world(None), None, Origin::Daemon), unknown);
    assert_eq!(holds(&world(Some(Err(Fault::Timeout))), None, Origin::Daemon), unknown);
    assert_eq!(holds(&world(Some(Ok(Reading::Mount(None)))), None, Origin::Daemon), unknown);
}

#[test]
fn each_thing_that_the_edge_saw_holds_by_its_name() {
    use SentinelState::{Absent, NotAFile, NotRoots};
    let operator = |command: &str, age| Operator { pid: 7, command: command.into(), age };
    let operators =
        |command: &str, age: Option<Ms>| GateReading { operators: vec![operator(command, age)], ..open() };
    let half_an_hour = Ms::mins(30);
    let table = [
        (open(), vec![]),
        (GateReading { sentinels: vec![Absent], ..open() }, vec![Hold::NoSentinel]),
        (GateReading { sentinels: vec![NotAFile], ..open() }, vec![Hold::NoSentinel]),
        (GateReading { sentinels: vec![NotRoots], ..open() }, vec![Hold::NoSentinel]),
        (operators("pip install x", None), vec![Hold::OperatorActive]),
        (operators("pip install x", Some(Ms::hours(9))), vec![Hold::OperatorActive]),
        (operators("dpkg --configure -a", None), vec![Hold::OperatorActive]),
        (operators("dpkg --configure -a", Some(half_an_hour.saturating_sub(Ms(1)))), vec![Hold::OperatorActive]),
        (operators("dpkg --configure -a", Some(half_an_hour)), vec![]),
        (GateReading { old_actors: vec![crate::id::UnitName::new("old.timer")], ..open() }, vec![Hold::OldActor]),
        (GateReading { rivals: vec!["/x.prom".into()], ..open() }, vec![Hold::OldActor]),
        (GateReading { system: SystemState::Stopping, ..open() }, vec![Hold::SystemState]),
        (GateReading { system: SystemState::Maintenance, ..open() }, vec![Hold::SystemState]),
        // It has been starting for days.
        (GateReading { system: SystemState::Starting, ..open() }, vec![]),
    ];
    for (reading, want) in table {
        assert_eq!(seen(reading.clone()), want, "{reading:?}");
    }
    let both = GateReading {
        operators: vec![operator("dpkg --configure -a", Some(half_an_hour)), operator("uv sync", None)],
        ..open()
    };
    assert_eq!(seen(both), [Hold::OperatorActive], "the one behind it counts");
}

/// A lock that nobody can read is a person's to mend; one that is held is let go by its holder.
#[test]
fn a_lock_that_is_not_free_holds() {
    let held = LockState::Held { pid: None, command: None, age: None };
    for (lock, person) in
        [(held, Some(false)), (LockState::Unreadable("EACCES".into()), Some(true)), (LockState::Free, None)]
    {
        let mut world = world(None);
        let live = world.live.get_mut(&watch("a")).expect("it is watched");
        live.see_gate(at(NOW), Ok(Reading::Gate(GateReading { lock: Some(lock.clone()), ..open() })));
        let mut found = Vec::new();
        gate(&world, &watch("a"), None, Origin::Daemon, &mut found);
        let lock_holds = found.iter().find(|held| held.hold == Hold::DeployInProgress);
        assert_eq!(lock_holds.map(|held| matches!(held.lift, Lift::Operator(_))), person, "{lock:?}");
    }
}

#[test]
fn a_boot_is_waited_for_ten_minutes() {
    for (up, want) in [(Ms(599_999), vec![Hold::SystemState]), (Ms::mins(10), vec![])] {
        let mut world = world(Some(Ok(Reading::Gate(GateReading { system: SystemState::Starting, ..open() }))));
        world.now = at(up);
        assert_eq!(holds(&world, None, Origin::Daemon), want, "{up} after its start");
    }
}
