//! What there is only once: who may have it, and when it is free again.

use super::*;
use crate::ask::{Answer, GateReading};
use crate::fixture::{self, at, plan, target, watch};
use crate::id::{AppName, RunId};
use crate::ledger::{Attempt, Origin, Stuck};
use crate::run::OpenRun;
use crate::starvation::Lag;

const NOW: Ms = Ms::hours(100);

fn world() -> World {
    fixture::world(at(NOW), &["a", "b", "c"])
}

fn ago(span: Ms) -> Now {
    at(NOW.saturating_sub(span))
}

/// What holds a restart of `a`.
fn held(world: &World, plan: &Plan, hold: Hold) -> Option<Lift> {
    let mut found = Vec::new();
    host(world, &target("a"), plan, &mut found);
    found.into_iter().find(|held| held.hold == hold).map(|held| held.lift)
}

#[expect(clippy::unnecessary_wraps, reason = "nothing may hold")]
fn until(span: Ms) -> Option<Lift> {
    Some(Lift::At(NOW + span))
}

fn running(world: &mut World, plan: Plan) {
    let id = RunId(world.state.runs.len() as u64 + 1);
    world.state.runs.insert(id, OpenRun::new(plan, Origin::Daemon, at(NOW)));
}

/// So long ago, so much.
type Charges<'a> = &'a [(Ms, u32)];

/// Twelve an hour: what was charged within it, and the plan's own cost.
#[test]
fn a_budget_is_spent_within_its_window_and_freed_by_the_oldest_charges() {
    let table: [(Charges, u32, Option<Lift>); 7] = [
        (&[(Ms::mins(59), 5), (Ms::mins(30), 6)], 1, None),
        (&[(Ms::mins(59), 5), (Ms::mins(30), 7)], 1, until(Ms::mins(1))),
        (&[(Ms::mins(60), 5), (Ms::mins(30), 7)], 5, None),
        (&[(Ms::mins(59), 5), (Ms::mins(30), 7)], 5, until(Ms::mins(1))),
        (&[(Ms::mins(59), 1), (Ms::mins(40), 4), (Ms::mins(30), 7)], 5, until(Ms::mins(20))),
        (&[(Ms::mins(59), 1), (Ms::mins(40), 4), (Ms::mins(30), 7)], 6, until(Ms::mins(30))),
        // More than there ever is.
        (&[], 13, until(Ms::mins(60))),
    ];
    for (charges, cost, lift) in table {
        let mut world = world();
        world.state.charges = charges.iter().map(|(span, cost)| (ago(*span), *cost)).collect();
        assert_eq!(held(&world, &Plan { cost, ..plan("a") }, Hold::BudgetSpent), lift, "{charges:?}, then {cost}");
    }
    let mut full = world();
    full.state.charges = (0..CHARGES_KEPT).map(|_| (ago(Ms::mins(1)), 0)).collect();
    assert!(held(&full, &plan("a"), Hold::BudgetSpent).is_some(), "one more would push out one that counts");
}

#[test]
fn two_plans_run_together_when_they_touch_nothing_in_common() {
    let app = || Resource::App(AppName::new("shop"));
    let of_app = || Plan { touches: vec![app()], ..plan("b") };
    let claimed = |plans: Vec<Plan>, in_app: bool| {
        let mut world = world();
        for plan in plans {
            running(&mut world, plan);
        }
        if in_app {
            let policy = std::sync::Arc::make_mut(&mut world.policy);
            policy.watches.values_mut().for_each(|watch| watch.app = Some(AppName::new("shop")));
        }
        held(&world, &plan("a"), Hold::Claimed).is_some()
    };
    assert!(!claimed(vec![], false));
    assert!(!claimed(vec![plan("b")], false));
    assert!(claimed(vec![plan("a")], false), "the same unit");
    assert!(claimed(vec![plan("b"), plan("c")], false), "no more than two");
    assert!(!claimed(vec![of_app()], false), "another's app");
    assert!(claimed(vec![of_app()], true), "its own app");
    assert!(!claimed(vec![plan("b")], true));
}

/// All caps count as spent: one trial a plateau, counted from the damage or from the last attempt after it.
#[test]
fn damage_leaves_one_trial_a_plateau_to_each_that_is_healed() {
    let damaged = |damage: Ms, last: Option<Ms>| {
        let mut world = world();
        world.state.damaged = Some((ago(damage), "torn".into()));
        if let Some(last) = last {
            let (run, rung) = (RunId(1), plan("a").rung);
            let attempt = Attempt {
                run,
                rung,
                at: ago(last),
                proved: None,
                settled: None,
                reason: "it".into(),
                fell: None,
                about: Vec::new(),
                mark: None,
            };
            world.state.targets.entry(target("a")).or_default().attempts.push_back(attempt);
        }
        held(&world, &plan("a"), Hold::LedgerDamaged)
    };
    assert_eq!(damaged(Ms::mins(29), None), until(Ms::mins(1)));
    assert_eq!(damaged(Ms::mins(30), None), None);
    assert_eq!(damaged(Ms::mins(60), Some(Ms::mins(29))), until(Ms::mins(1)));
    assert_eq!(damaged(Ms::mins(60), Some(Ms::mins(30))), None);
    assert_eq!(damaged(Ms::mins(29), Some(Ms::mins(50))), until(Ms::mins(1)), "one before it is no trial");
    let mut asked = world();
    asked.state.damaged = Some((ago(Ms::mins(60)), "torn".into()));
    let (run, rung) = (RunId(1), plan("a").rung);
    let tried = Attempt {
        run,
        rung,
        at: ago(Ms::mins(29)),
        proved: None,
        settled: None,
        reason: "it".into(),
        fell: None,
        about: Vec::new(),
        mark: None,
    };
    asked.state.targets.entry(target("a")).or_default().attempts.push_back(tried);
    let mut found = Vec::new();
    host(&asked, &target("b"), &plan("a"), &mut found);
    let braked = |held: &Held| held.hold == Hold::LedgerDamaged;
    assert!(found.iter().any(braked), "what is healed is braked, whoever asks");
    let mut world = world();
    world.state.damaged = Some((ago(Ms::mins(29)), "torn".into()));
    // Who asks is braked, and who is healed of the plan's own watch.
    let mut other = plan("b");
    assert!(held(&world, &other, Hold::LedgerDamaged).is_some());
    world.state.damaged = None;
    other.watch = watch("c");
    assert_eq!(held(&world, &other, Hold::LedgerDamaged), None);
}

#[test]
fn what_is_stuck_is_touched_by_nobody() {
    let stuck = |touches| Stuck { run: RunId(1), watch: watch("b"), touches, why: "it".into(), at: at(NOW) };
    for (touched, is_held) in [("a", true), ("b", false)] {
        let mut world = world();
        world.state.stuck.push(stuck(plan(touched).touches));
        assert_eq!(held(&world, &plan("a"), Hold::Stuck).is_some(), is_held, "{touched}");
    }
}

/// A rebuild waits until the host has its strength again; a restart may be what gives it back.
#[test]
fn what_adds_load_waits_on_a_starved_host() {
    let command = crate::plan::Command { argv: vec!["/bin/true".into()], user: None, dir: None, env: None };
    let mut rebuild = plan("a");
    rebuild.steps[0].act = Some(Act::Command(command));
    for (late, lift) in [(Ms(999), None), (Ms(1000), until(Ms::secs(59)))] {
        let mut world = world();
        world.starvation.note(ago(Ms::secs(1)), Lag { late, echo: None });
        assert_eq!(held(&world, &rebuild, Hold::Pressure), lift, "{late}");
        assert_eq!(held(&world, &plan("a"), Hold::Pressure), None, "a restart");
    }
}

#[test]
fn nothing_is_tried_that_cannot_do_without_what_does_not_answer() {
    for (unreachable, is_held) in [(Some("no route".into()), true), (None, false)] {
        let mut world = world();
        let answer: Answer = Ok(Reading::Gate(GateReading { unreachable, ..GateReading::default() }));
        world.live.get_mut(&watch("a")).expect("it is watched").gate = Some((at(NOW), answer));
        assert_eq!(held(&world, &plan("a"), Hold::Unreachable).is_some(), is_held);
        assert_eq!(held(&world, &plan("b"), Hold::Unreachable), None, "another's");
    }
}
