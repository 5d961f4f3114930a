//! Who lets whom go first.

use std::sync::Arc;

use super::*;
use crate::ask::{GateReading, Reading, SentinelState};
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::id::RunId;
use crate::ledger::{Attempt, Settlement};
use crate::policy::Mode;
use crate::time::{Ms, Now};

const NOW: Ms = Ms::hours(100);

fn ago(span: Ms) -> Now {
    at(NOW.saturating_sub(span))
}

fn attempt(span: Ms) -> Attempt {
    Attempt {
        run: RunId(1),
        rung: plan("a").rung,
        at: ago(span),
        proved: None,
        settled: Some(Settlement::NotCleared),
        reason: "failed".into(),
        fell: None,
        about: Vec::new(),
        mark: None,
    }
}

/// `a` was tried so long ago; `b` has waited for the budget for so long, and there would be enough for `a`.
fn world(tried: Option<Ms>, waits: Option<Ms>) -> World {
    let mut world = fixture::world(at(NOW), &["a", "b"]);
    for live in world.live.values_mut() {
        let open = GateReading { sentinels: vec![SentinelState::Present], ..GateReading::default() };
        live.gate = Some((at(NOW), Ok(Reading::Gate(open))));
    }
    for name in ["a", "b"] {
        falls(&mut world, &target(name), ago(Ms::hours(2)));
    }
    world.state.targets.entry(target("a")).or_default().attempts.extend(tried.map(attempt));
    world.state.targets.entry(target("b")).or_default().queued = waits.map(ago);
    world
}

fn held(world: &World) -> bool {
    queue(world, &target("a"), &plan("a")).is_some_and(|held| held.hold == Hold::BudgetSpent)
}

#[test]
fn each_goes_once_before_the_one_who_waits() {
    let (short, long) = (Some(Ms::mins(5)), Some(Ms::mins(10)));
    let table = [
        (None, long, false, "it was never tried"),
        (long, short, false, "it was tried before the other one began to wait"),
        (short, short, false, "at the same moment"),
        (short, long, true, "it has had its turn"),
        (short, None, false, "nobody waits"),
    ];
    for (tried, waits, is_held, why) in table {
        assert_eq!(held(&world(tried, waits)), is_held, "{why}");
    }
}

#[test]
fn who_could_not_go_anyway_is_not_let_go_first() {
    let waiting = || world(Some(Ms::mins(5)), Some(Ms::mins(10)));
    assert!(held(&waiting()));

    let mut observed = waiting();
    Arc::make_mut(&mut observed.policy).watches.get_mut(&watch("b")).expect("it is declared").mode = Mode::Observe;
    assert!(!held(&observed), "nobody may act on it");

    let mut gone = waiting();
    Arc::make_mut(&mut gone.policy).watches.remove(&watch("b"));
    assert!(!held(&gone), "it is no longer declared");

    let mut up = waiting();
    up.ill.remove(&target("b"));
    assert!(!held(&up), "it is well again");

    let mut dear = waiting();
    Arc::make_mut(&mut dear.policy).host.budget.cost = 0;
    assert!(!held(&dear), "no budget is ever enough for it");
}

/// On the timer path each minute's process begins so: whose look takes longest must not be passed by meanwhile.
#[test]
fn who_was_not_looked_at_yet_keeps_his_place() {
    let waiting = || world(Some(Ms::mins(5)), Some(Ms::mins(10)));

    let mut begun = waiting();
    let live = begun.live.get_mut(&watch("b")).expect("it is declared");
    live.targets.values_mut().for_each(|target| target.touched = Some(at(NOW)));
    assert!(held(&begun), "its own look is still to come");

    let mut unasked = waiting();
    unasked.live.get_mut(&watch("b")).expect("it is declared").gate = None;
    assert!(held(&unasked), "its gate is still to be asked");

    let mut blind = waiting();
    let fault = Err(crate::ask::Fault::Timeout);
    blind.live.get_mut(&watch("b")).expect("it is declared").gate = Some((at(NOW), fault));
    assert!(!held(&blind), "it was asked, and nobody can say");
}

#[test]
fn who_waits_is_not_held_by_itself_nor_by_who_waits_for_it() {
    let mut both = world(Some(Ms::mins(5)), Some(Ms::mins(10)));
    both.state.targets.entry(target("a")).or_default().queued = Some(ago(Ms::mins(4)));
    assert!(held(&both));
    assert_eq!(queue(&both, &target("b"), &plan("b")), None);

    let mut healing = plan("a");
    healing.heals.extend(plan("b").heals);
    assert_eq!(queue(&both, &target("a"), &healing), None, "the plan heals it too");
}

/// Two that rebuild one thing would wait for each other if its tries were theirs.
#[test]
fn what_else_a_plan_heals_is_no_try_of_who_asks() {
    let mut world = world(None, Some(Ms::mins(10)));
    let rebuilt = world.state.targets.entry(target("c")).or_default();
    rebuilt.queued = None;
    rebuilt.attempts.push_back(attempt(Ms::mins(5)));
    let mut plan = plan("a");
    plan.heals.extend(fixture::plan("c").heals);
    assert_eq!(queue(&world, &target("a"), &plan), None);
}

/// Budget is among what holds it, and the rest passes: its turn comes. A cooldown alone may be long: others go meanwhile.
#[test]
fn it_saves_up_while_budget_is_lacking_and_not_while_it_only_cools_down() {
    for (spent, is_held) in [(12, true), (0, false)] {
        let mut cooling = world(Some(Ms::mins(5)), Some(Ms::mins(10)));
        cooling.state.charges.push_back((ago(Ms::mins(30)), spent));
        cooling.state.targets.entry(target("b")).or_default().attempts.push_back(attempt(Ms::secs(30)));
        assert_eq!(held(&cooling), is_held, "{spent} spent");
    }
}
