//! The leave to act: asked once for all whom the same permits, and as often as it must be new.

use std::path::PathBuf;
use std::sync::Arc;

use super::policy::{HOST_SENTINEL, WATCH_SENTINEL, api, service_only};
use super::world::World;
use crate::ask::{Active, AskKey, SentinelState};
use crate::engine::Event;
use crate::hold::Hold;
use crate::id::{TargetId, UnitName, WatchId};
use crate::policy::Policy;
use crate::time::{Ms, Now};
use crate::watch::Spec;

const MANY: usize = 20;

fn nth(n: usize) -> TargetId {
    TargetId::new(WatchId::new(format!("service.s{n:03}").as_str()), format!("s{n:03}.service"))
}

/// Twenty services that the host's sentinel permits, and one with a sentinel of its own.
fn many() -> Policy {
    let mut policy = service_only();
    let (watch, mut own) = (policy.watches[&api().watch].clone(), policy.watches[&api().watch].clone());
    own.sentinel = Some(PathBuf::from(WATCH_SENTINEL));
    policy.watches.insert(api().watch, own);
    for n in 0..MANY {
        let mut watch = watch.clone();
        let Spec::Service(spec) = &mut watch.spec else { unreachable!("it is a service") };
        spec.unit = UnitName::new(&*nth(n).key);
        spec.http.clear();
        policy.watches.insert(nth(n).watch, watch);
    }
    policy
}

fn world(policy: Policy) -> World {
    let mut world = World::new(Ms(100));
    world.policy = Arc::new(policy);
    world.boot();
    world.run_for(Ms::secs(40));
    world.asked.clear();
    world
}

fn gates(world: &World) -> usize {
    world.asked.iter().filter(|(_, key)| matches!(key, AskKey::Gate(_))).count()
}

fn looked_at(world: &World, n: usize) -> Option<Now> {
    let engine = world.engine.as_ref()?;
    engine.world().gate(&nth(n).watch).map(|(asked, _)| asked)
}

#[test]
fn a_leave_that_many_share_is_asked_once_for_all() {
    let mut world = world(many());
    world.run_for(Ms::mins(10));
    // Twice a minute, and as often for the one that has another.
    assert!((38..=42).contains(&gates(&world)), "{} times", gates(&world));
    for n in 0..MANY {
        let asked = looked_at(&world, n).expect("nobody's leave is unknown");
        assert!(world.now.since(asked) <= Ms::secs(31), "{n}: {}", world.now.since(asked));
    }
}

#[test]
fn what_one_look_shows_holds_all_who_share_it() {
    let mut world = world(many());
    world.host.set_sentinel(HOST_SENTINEL, SentinelState::Absent);
    world.run_for(Ms::secs(1));
    assert_eq!(gates(&world), 2, "one for the twenty, one for the other");
    world.host.unit.active = Active::Failed;
    world.host.unit.main_pid = None;
    world.run_for(Ms::mins(5));
    assert!(world.performed.is_empty());
    for n in 0..MANY {
        assert!(world.is_down(&nth(n)) && world.holds(&nth(n)).contains(&Hold::NoSentinel), "{n}");
    }
}

/// It had asked for all of them, and is gone before it is answered.
#[test]
fn who_shares_a_leave_with_a_watch_that_goes_asks_for_itself() {
    let mut world = world(many());
    world.gate_takes = Ms::secs(4);
    assert!(
        world.run_until(Ms::mins(1), |world| world.asked.iter().any(|(_, key)| *key == AskKey::Gate(nth(0).watch)))
    );
    let mut fewer = many();
    fewer.watches.remove(&nth(0).watch);
    world.policy = Arc::new(fewer);
    world.tell(Event::Policy(Arc::clone(&world.policy)));
    world.run_for(Ms::mins(3));
    for n in 1..MANY {
        let asked = looked_at(&world, n).expect("nobody's leave is unknown");
        assert!(world.now.since(asked) <= Ms::secs(40), "{n}: {}", world.now.since(asked));
    }
}
