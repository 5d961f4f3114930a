//! Who falls together, and when the first of them may be tried.

use std::sync::Arc;

use super::*;
use crate::fixture::{self, at, falls, plan, target};
use crate::id::RunId;
use crate::ledger::Origin;
use crate::run::OpenRun;
use crate::watch::{Spec, storage};

const NOW: Ms = Ms::hours(100);

/// Who fell, and how many seconds before now.
type Falls<'a> = &'a [(&'a str, u64)];

fn fallen(ago: Falls) -> World {
    let names: Vec<&str> = ago.iter().map(|(name, _)| *name).collect();
    let mut world = fixture::world(at(NOW), &names);
    for (name, secs) in ago {
        let (id, fell) = (target(name), at(NOW.saturating_sub(Ms::secs(*secs))));
        falls(&mut world, &id, fell);
        let turn = Turn::Down { reason: "failed".into(), detail: "it".into(), blame: None };
        world.state.targets.entry(id).or_default().turn = Some((turn, fell));
    }
    world.storm = Storm::of(&world);
    world
}

fn members(world: &World) -> Vec<&str> {
    world.storm.members.iter().map(|id| id.watch.name()).collect()
}

fn lift(world: &World, name: &str) -> Option<Lift> {
    let mut held = Vec::new();
    storm(world, &target(name), &mut held);
    held.pop().map(|held| held.lift)
}

#[test]
fn three_that_fall_within_half_a_minute_of_each_other_are_a_storm() {
    let table: [(Falls, &[&str]); 6] = [
        (&[("a", 70), ("b", 40), ("c", 10)], &["a", "b", "c"]),
        (&[("a", 71), ("b", 40), ("c", 10)], &[]),
        (&[("a", 20), ("b", 10)], &[]),
        (&[("a", 500), ("b", 20), ("c", 10), ("d", 0)], &["b", "c", "d"]),
        (&[("a", 520), ("b", 510), ("c", 500), ("d", 0)], &["a", "b", "c"]),
        (&[("a", 520), ("b", 510), ("c", 500), ("d", 3), ("e", 2), ("f", 1)], &["a", "b", "c", "d", "e", "f"]),
    ];
    for (ago, want) in table {
        assert_eq!(members(&fallen(ago)), want, "{ago:?}");
    }
}

/// Whose fault is known, and who is up again, is no part of it.
#[test]
fn only_causes_that_are_down_count() {
    let three = [("a", 3), ("b", 2), ("c", 1)];
    let mut blamed = fallen(&three);
    let turn = Turn::Down { reason: "failed".into(), detail: "it".into(), blame: Some(target("b")) };
    blamed.state.targets.entry(target("a")).or_default().turn = Some((turn, at(NOW)));
    assert_eq!(Storm::of(&blamed), Storm::default());
    let mut risen = fallen(&three);
    let before = risen.storm.clone();
    risen.live.get_mut(&target("a").watch).expect("it is watched").targets.clear();
    assert_eq!(Storm::of(&risen), Storm::default());
    assert_eq!(before.changed(&Storm::default()), ["a", "b", "c"].map(target));
    assert!(before.changed(&before).is_empty());
}

/// The paths of one mount go down together: that is one cause, whatever their number.
#[test]
fn many_targets_of_one_watch_are_one_cause() {
    let mut world = fallen(&[("a", 3), ("b", 2)]);
    let one = target("a");
    let (down, brake) = (world.live[&one.watch].targets[&one.key].clone(), world.state.targets[&one].clone());
    let spec = storage::Spec {
        paths: Vec::new(),
        manifest: None,
        disks: Vec::new(),
        interval: Ms::secs(60),
        deadline: Ms::secs(10),
        confirm_runs: 2,
        confirm_age: Ms::secs(120),
        remedy: storage::Remedy::default(),
    };
    let policy = Arc::make_mut(&mut world.policy);
    policy.watches.get_mut(&one.watch).expect("it is declared").spec = Spec::Storage(spec);
    for key in ["/srv/1", "/srv/2", "/srv/3"] {
        world.live.get_mut(&one.watch).expect("it is watched").targets.insert(key.into(), down.clone());
        world.state.targets.insert(TargetId::new(one.watch.clone(), key), brake.clone());
    }
    assert_eq!(Storm::of(&world), Storm::default());
}

/// Two minutes after the last, ten after the first at most; then one at a time.
#[test]
fn a_storm_is_waited_out_and_then_healed_one_by_one() {
    let mut world = fallen(&[("a", 30), ("b", 20), ("c", 10)]);
    assert_eq!(lift(&world, "a"), Some(Lift::At(NOW + Ms::secs(110))));
    assert_eq!(lift(&world, "d"), None);
    world.now = at(NOW + Ms(109_999));
    assert!(matches!(lift(&world, "a"), Some(Lift::At(_))));
    world.now = at(NOW + Ms::secs(110));
    assert_eq!(lift(&world, "a"), None);
    world.state.runs.insert(RunId(1), OpenRun::new(plan("b"), Origin::Daemon, world.now));
    assert!(matches!(lift(&world, "a"), Some(Lift::Fact(_))));
    let names: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    let long: Vec<(&str, u64)> = names.iter().map(String::as_str).zip((0..30).map(|n| n * 20)).collect();
    assert_eq!(lift(&fallen(&long), "s0"), Some(Lift::At(NOW + Ms::secs(20))));
}
