//! What the engine reckons from its records and keeps beside the state: storms, open attempts, and what a reload spares.

use std::sync::Arc;

use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::id::TargetId;
use crate::ledger::{Body, Closing, Origin, Settlement, State, Turn};
use crate::policy::{Mode, Policy};
use crate::time::Ms;

const NOW: Ms = Ms::hours(100);

fn engine(names: &[&str]) -> Engine {
    let policy = Arc::clone(&fixture::world(at(NOW), names).policy);
    let (state, memory) = (State::default(), Memory::default());
    let begin = Begin {
        now: at(NOW),
        boot_id: "1".into(),
        policy,
        rejected: None,
        state,
        memory,
        damaged: None,
        origin: Origin::Daemon,
    };
    Engine::new(begin).0
}

fn fell(engine: &mut Engine, id: &TargetId) {
    falls(&mut engine.world, id, at(NOW));
    let to = Turn::Down { reason: "failed".into(), detail: "it".into(), blame: None };
    engine.record(Body::Turned { target: id.clone(), to, incident: None });
}

#[test]
fn a_storm_is_seen_when_the_third_falls() {
    let mut engine = engine(&["a", "b", "c"]);
    let calm = engine.world.storm.clone();
    for (name, is_storm) in [("a", false), ("b", false), ("c", true)] {
        fell(&mut engine, &target(name));
        engine.turn();
        assert_eq!(engine.world.storm != calm, is_storm, "after {name}");
    }
}

/// An attempt is open from its intent until it is settled, by its soak or by how its run closed.
#[test]
fn an_attempt_that_is_settled_is_no_longer_waited_for() {
    let mut engine = engine(&["a", "b"]);
    let open = |engine: &Engine| engine.unsettled.iter().map(|id| id.watch.name().to_owned()).collect::<Vec<_>>();
    let opened = |name: &str| Body::Opened { plan: Box::new(plan(name)), origin: Origin::Daemon };
    let [a, b] = ["a", "b"].map(|name| crate::id::RunId(engine.record(opened(name))));
    assert_eq!(open(&engine), ["a", "b"]);
    engine.record(Body::Closed { run: a, result: Closing::Proved });
    assert_eq!(open(&engine), ["a", "b"], "it soaks");
    engine.record(Body::Closed { run: b, result: Closing::Held { step: 0, holds: Vec::new() } });
    assert_eq!(open(&engine), ["a"]);
    engine.record(Body::Settled { run: a, target: target("a"), result: Settlement::Cleared });
    assert!(open(&engine).is_empty());
}

/// What was seen of a watch outlives a reload that leaves its declaration as it was, and no other.
#[test]
fn a_reload_spares_what_is_declared_as_before() {
    type Change = fn(&mut Policy);
    // Whether its looks are spared, and its gate.
    let table: [(&str, Change, bool, bool); 4] = [
        ("nothing", |_| (), true, true),
        ("its brakes", |policy| of_a(policy).brakes.per_day = 9, true, true),
        ("its sentinel", |policy| of_a(policy).sentinel = Some("/etc/a".into()), true, false),
        ("its kind", |policy| of_a(policy).spec = fixture::baseline(), false, false),
    ];
    for (what, change, looks, gate) in table {
        let mut engine = engine(&["a", "b"]);
        fell(&mut engine, &target("a"));
        let live = engine.world.live.get_mut(&watch("a")).expect("it is watched");
        live.gate = Some((at(NOW), Err(crate::ask::Fault::Timeout)));
        let mut policy = (*engine.world.policy).clone();
        policy.host.mode = Mode::Observe;
        change(&mut policy);
        engine.handle(at(NOW), Event::Policy(Arc::new(policy)));
        let live = &engine.world.live[&watch("a")];
        assert_eq!((!live.targets.is_empty(), live.gate.is_some()), (looks, gate), "{what} changed");
    }
}

fn of_a(policy: &mut Policy) -> &mut crate::policy::Watch {
    policy.watches.get_mut(&watch("a")).expect("it is declared")
}

/// Ten facts a minute; what is left out is counted by the next that is not.
#[test]
fn facts_of_a_target_are_recorded_ten_a_minute() {
    let mut engine = engine(&["a"]);
    fell(&mut engine, &target("a"));
    engine.out.clear();
    for n in 0..25 {
        engine.world.now = at(NOW + Ms::secs(3 * n));
        engine.note(&target("a"), "it ended".into());
    }
    let noted = engine.out.iter().filter_map(|effect| match effect {
        Effect::Append(record) => match &record.body {
            Body::Noted { missed, .. } => Some((record.at.up.saturating_sub(NOW).0 / 1000, *missed)),
            _ => None,
        },
        _ => None,
    });
    let first = (0..10).map(|n| (3 * n, 0));
    let want: Vec<(u64, u32)> = first.chain([(60, 10), (63, 0), (66, 0), (69, 0), (72, 0)]).collect();
    assert_eq!(noted.collect::<Vec<_>>(), want);
}
