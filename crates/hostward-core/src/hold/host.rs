//! What the host has only once: its ledger, its budget, its strength, and each thing that a plan touches.

use super::{Held, Hold, Lift, storm};
use crate::ask::Reading;
use crate::id::{Resource, TargetId};
use crate::ledger::CHARGES_KEPT;
use crate::plan::{Act, OnFail, Plan, Step};
use crate::planted::{Bug, planted};
use crate::starvation::PRESSED;
use crate::time::{Ms, Now};
use crate::world::World;

/// Plans that may run together, when they touch nothing in common.
const PLANS_MAX: usize = 2;

pub(super) fn host(world: &World, target: &TargetId, plan: &Plan, held: &mut Vec<Held>) {
    damage(world, target, plan, held);
    stuck(world, plan, held);
    claimed(world, plan, held);
    budget(world, plan, held);
    pressure(world, plan, held);
    unreachable(world, plan, held);
    storm::storm(world, target, held);
}

/// With the ledger the counters are gone: all caps count as spent, and one trial a plateau is left; to whoever asks, and
/// to what is healed, whoever asks.
fn damage(world: &World, target: &TargetId, plan: &Plan, held: &mut Vec<Held>) {
    if planted(Bug::DamageForgotten) {
        return;
    }
    let Some((at, why)) = &world.state.damaged else { return };
    let healed = plan.heals.iter().map(|heal| &heal.target).filter(|id| id.watch == plan.watch);
    let waits = healed.chain([target]).filter_map(|id| {
        let plateau = world.policy.watches.get(&id.watch)?.brakes.plateau;
        let last = world.state.targets.get(id).and_then(|brake| brake.attempts.back()).map(|attempt| attempt.at);
        let since = last.filter(|last| last.not_before(*at)).unwrap_or(*at);
        (world.now.since(since) < plateau).then(|| (world.now.reach(since, plateau), plateau))
    });
    if let Some((until, plateau)) = waits.max() {
        let threshold = format!("one trial each {plateau}, until `hostward clear`");
        held.push(Held::new(Hold::LedgerDamaged, why.clone(), threshold, Lift::At(until)));
    }
}

fn stuck(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    let clash = |touches: &[Resource]| touches.iter().any(|a| plan.touches.iter().any(|b| a.clashes(b)));
    let frozen = world.state.stuck.iter().find(|stuck| clash(&stuck.touches));
    let frozen = frozen.map(|stuck| (&stuck.watch, stuck.run, &stuck.why));
    let failing = || {
        let mut open = world.state.runs.iter().filter(|(_, run)| clash(&run.plan.touches));
        open.find_map(|(id, run)| Some((&run.plan.watch, *id, run.stuck()?.1)))
    };
    if let Some((watch, run, why)) = frozen.or_else(failing) {
        let lift = Lift::Operator(format!("look at {watch}, then `hostward clear {watch}`").into());
        held.push(Held::new(Hold::Stuck, format!("the undo of run {run} failed: {why}"), "nothing is owed", lift));
    }
}

fn claimed(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    let app = world.policy.watches.get(&plan.watch).and_then(|watch| watch.app.as_ref());
    let has_app = |other: &Plan| other.touches.iter().any(|t| matches!(t, Resource::App(name) if Some(name) == app));
    let clash = world.claims().find(|other| other.clashes(plan) || has_app(other));
    let full = || world.claims().nth(PLANS_MAX - 1);
    let (value, threshold, other) = match (clash, full()) {
        (Some(other), _) => (format!("{} touches the same", other.watch), "disjoint plans".to_owned(), other),
        (None, Some(other)) => (format!("{PLANS_MAX} plans run"), format!("fewer than {PLANS_MAX}"), other),
        (None, None) => return,
    };
    let lift = Lift::Fact(format!("the plan of {} ends", other.watch).into());
    held.push(Held::new(Hold::Claimed, value, threshold, lift));
}

fn budget(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    let now = world.now;
    let budget = world.policy.host.budget;
    let per = if planted(Bug::WindowEdge) { budget.per.saturating_sub(Ms(1)) } else { budget.per };
    let charges: Vec<(Now, u32)> = world.state.charged_within(now, per).collect();
    let spent: u32 = charges.iter().map(|(_, cost)| cost).sum();
    if spent + plan.cost <= budget.cost && charges.len() < CHARGES_KEPT {
        return;
    }
    // Enough of the oldest must leave the window.
    let mut left = spent;
    let frees = charges.iter().find(|(_, cost)| {
        left -= cost;
        left + plan.cost <= budget.cost
    });
    let free_at = frees.map_or(now.up + per, |(at, _)| now.reach(*at, per));
    let value = format!("{spent} spent, {} needed", plan.cost);
    held.push(Held::new(Hold::BudgetSpent, value, format!("{} per {}", budget.cost, budget.per), Lift::At(free_at)));
}

/// A rebuild beside everything else that wants the processor makes an outage longer. A restart adds nothing: it may be
/// the very cgroup that starves the rest.
fn pressure(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    // A courtesy is passed over when it takes too long.
    let loads = |step: &Step| matches!(step.act, Some(Act::Command(_))) && step.fail == OnFail::Unwind;
    let adds_load = plan.steps.iter().any(loads);
    if adds_load
        && let Some((late, until)) = world.starvation.starved(world.now)
        && late >= PRESSED
    {
        let threshold = format!("timers less than {PRESSED} late");
        held.push(Held::new(Hold::Pressure, format!("our own timers are {late} late"), threshold, Lift::At(until)));
    }
}

/// What the remedy cannot do without does not answer: nothing is tried, so nothing is charged.
fn unreachable(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    if let Some((_, Ok(Reading::Gate(gate)))) = world.gate(&plan.watch)
        && let Some(why) = &gate.unreachable
    {
        held.push(Held::new(Hold::Unreachable, why.clone(), "it answers", Lift::Fact("it answers".into())));
    }
}

#[cfg(test)]
mod tests;
