//! The queue for the host's budget: what is cheap, and tried again and again, must not eat for ever what somebody dearer
//! saves up for.
//!
//! While a remedy waits for nothing but budget, each other target gets one try. Then the charges leave the window, and
//! who waits is served. Two never wait for each other: who is held by another one was itself tried after that one began to
//! wait, and began to wait later still. What else its plan heals does not count, or that would be no order.

use super::{Held, Hold, Lift, unasked};
use crate::id::TargetId;
use crate::plan::Plan;
use crate::world::{Proposal, World};

pub(crate) fn queue(world: &World, target: &TargetId, plan: &Plan) -> Option<Held> {
    let tried = world.state.targets.get(target)?.attempts.back()?.at;
    let healed = |id: &TargetId| plan.heals.iter().any(|heal| heal.target == *id);
    let waiting = world.ill.iter().filter_map(|id| Some((id, world.state.targets.get(id)?.queued?)));
    let mut before = waiting.filter(|(id, since)| !since.not_before(tried) && !healed(id));
    let (first, since) = before.find(|(id, _)| saves_up(world, id))?;
    let value = format!("{} has waited for {}", first.watch, world.now.since(since));
    let lift = Lift::Fact(format!("{} is tried", first.watch).into());
    Some(Held::new(Hold::BudgetSpent, value, "one try each while another one saves up", lift))
}

/// Nothing else is in its way, and its turn can come at all. While only its own cooldown is, others may go.
fn saves_up(world: &World, id: &TargetId) -> bool {
    let Some(Proposal { plan: Some(plan), holds, .. }) = world.alone(id) else { return false };
    let by = |hold: Hold| holds.iter().any(|held| held.hold == hold);
    // A process that has just begun has not looked at it yet: others must not use that moment, minute after minute.
    let unseen = |hold: Hold| hold == Hold::Recovering || hold == Hold::GateUnknown && unasked(world, &plan);
    let passes = |hold: Hold| hold == Hold::BudgetSpent || hold.beside_budget() || unseen(hold);
    let passing = holds.iter().all(|held| passes(held.hold));
    world.affords(&plan) && passing && (by(Hold::BudgetSpent) || !by(Hold::Cooldown))
}

#[cfg(test)]
mod tests;
