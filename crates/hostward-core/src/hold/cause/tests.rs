//! Who waits for whom, and how long.

use super::*;
use crate::ask::{GateReading, Reading, SentinelState};
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::id::{RunId, UnitName};
use crate::ledger::{Attempt, Origin, Settlement};
use crate::policy::Mode;
use crate::run::OpenRun;

const NOW: Ms = Ms::hours(100);

/// `api` needs `db`; both fell so long ago, and nothing forbids to heal either.
fn fallen(ago: Ms) -> World {
    let mut world = fixture::world(at(NOW), &["api", "db", "other"]);
    world.graph.learn(&watch("api"), &[UnitName::new("db.service")]);
    for name in ["api", "db"] {
        falls(&mut world, &target(name), at(NOW.saturating_sub(ago)));
    }
    for live in world.live.values_mut() {
        let open = GateReading { sentinels: vec![SentinelState::Present], ..GateReading::default() };
        live.gate = Some((at(NOW), Ok(Reading::Gate(open))));
    }
    world
}

fn waits(world: &World) -> bool {
    let held = causes(world, &target("api"), &[]);
    assert!(held.iter().all(|held| held.hold == Hold::DependencyDown));
    !held.is_empty()
}

fn tried(world: &mut World, name: &str, ago: Ms) {
    let attempt = Attempt {
        run: RunId(1),
        rung: plan(name).rung,
        at: at(NOW.saturating_sub(ago)),
        proved: None,
        settled: Some(Settlement::NotCleared),
        reason: "failed".into(),
        fell: None,
        about: Vec::new(),
        mark: None,
    };
    world.state.targets.entry(target(name)).or_default().attempts.push_back(attempt);
}

fn mode(world: &mut World, name: &str, mode: Mode) {
    let policy = std::sync::Arc::make_mut(&mut world.policy);
    policy.watches.get_mut(&watch(name)).expect("it is declared").mode = mode;
}

#[test]
fn a_cause_that_is_being_cured_comes_first_for_ten_minutes() {
    let patience = Ms::mins(10);
    assert!(waits(&fallen(Ms::mins(1))));
    assert!(waits(&fallen(patience.saturating_sub(Ms(1)))));
    assert!(!waits(&fallen(patience)));
    assert!(causes(&fallen(Ms::mins(1)), &target("api"), &plan("db").heals).is_empty(), "the plan heals it too");
    assert!(causes(&fallen(Ms::mins(1)), &target("db"), &[]).is_empty(), "it needs nobody");
}

#[test]
fn a_cause_that_nobody_may_act_on_is_not_waited_for() {
    for (own, held) in [(Mode::Act, true), (Mode::Propose, false), (Mode::Observe, false)] {
        let mut world = fallen(Ms::mins(1));
        mode(&mut world, "db", own);
        assert_eq!(waits(&world), held, "{own:?}");
    }
    // Nor for one that only passes by itself later: it is being acted on.
    let mut cooling = fallen(Ms::mins(1));
    tried(&mut cooling, "db", Ms::secs(30));
    assert!(waits(&cooling));
}

/// One attempt of its own a plateau.
#[test]
fn who_has_had_its_turn_waits_on() {
    for (ago, held) in [(Ms::mins(30).saturating_sub(Ms(1)), true), (Ms::mins(30), false)] {
        let mut world = fallen(Ms::hours(1));
        tried(&mut world, "api", ago);
        assert_eq!(waits(&world), held, "tried {ago} ago");
    }
}

#[test]
fn a_cause_whose_plan_runs_is_waited_for_however_long_it_takes() {
    for (healed, held) in [("db", true), ("other", false)] {
        let mut world = fallen(Ms::hours(1));
        world.state.runs.insert(RunId(1), OpenRun::new(plan(healed), Origin::Daemon, at(NOW)));
        assert_eq!(waits(&world), held, "{healed}");
    }
}

/// Its dependents must not spend again and again what it waits for.
#[test]
fn a_cause_that_waits_for_budget_alone_is_waited_for() {
    let spent = || {
        let mut world = fallen(Ms::hours(1));
        world.state.charges.push_back((at(NOW.saturating_sub(Ms::mins(1))), 12));
        world
    };
    assert!(waits(&spent()));
    let mut cooling = spent();
    tried(&mut cooling, "db", Ms::secs(30));
    assert!(waits(&cooling), "and for what passes");
    let mut observed = spent();
    mode(&mut observed, "db", Mode::Observe);
    assert!(!waits(&observed), "budget is not all that it lacks");
    let mut cooling = fallen(Ms::hours(1));
    tried(&mut cooling, "db", Ms::secs(30));
    assert!(!waits(&cooling), "no budget is lacking");
    let mut poor = spent();
    std::sync::Arc::make_mut(&mut poor.policy).host.budget.cost = 0;
    assert!(!waits(&poor), "it can never be paid");
}
