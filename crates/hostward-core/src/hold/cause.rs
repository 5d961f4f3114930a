//! Causes: what a target needs and what is down comes first; but nobody waits for ever for a cause that nobody can cure.

use super::{Held, Hold, Lift};
use crate::id::TargetId;
use crate::judge::{Code, Target};
use crate::plan::Heal;
use crate::planted::{Bug, planted};
use crate::time::{Ms, Now};
use crate::watch::Spec;
use crate::world::{Proposal, World};

/// A cause that nobody cured for this long no longer holds its dependents.
pub(crate) const CAUSE_PATIENCE: Ms = Ms::mins(10);

/// A need that is down, looks so, or was not looked at since the target fell: the cause comes first.
pub(crate) fn causes(world: &World, target: &TargetId, heals: &[Heal]) -> Vec<Held> {
    let mut held = Vec::new();
    let Some(fell) = world.target(target).and_then(Target::fell) else { return held };
    if planted(Bug::HoldEachOther) {
        held.extend(siblings(world, target));
    }
    for cause in world.causes(target) {
        if heals.iter().any(|heal| heal.target == cause) {
            continue;
        }
        let Some(state) = world.target(&cause) else { continue };
        let unasked = state.aspects.is_empty() || state.aspects.values().any(|a| !a.asked.not_before(fell));
        let value = match (state.verdict.down(), state.suspect()) {
            (Some(reason), _) => format!("{} is down ({})", cause.watch, reason.detail),
            (None, Some(reason)) => format!("{} looks down ({})", cause.watch, reason.detail),
            // A cause that cannot be seen is not known to be one: after an answer, even "unknown", it no longer holds.
            (None, None) if unasked => format!("{} was not looked at since", cause.watch),
            _ => continue,
        };
        let kept_down = state.verdict.down().is_some_and(|reason| keeps_down(world, &cause, target, reason.code));
        if !kept_down && given_up(world, &cause, state.verdict.down().is_some(), target, fell) {
            continue;
        }
        let lift = Lift::Fact(format!("{} is up", cause.watch).into());
        held.push(Held::new(Hold::DependencyDown, value, "the cause first", lift));
    }
    held
}

/// The bug that makes those wait for each other that need the same.
fn siblings(world: &World, target: &TargetId) -> Vec<Held> {
    let down = |other: &TargetId| world.target(other).is_some_and(|t| t.verdict.down().is_some());
    let others = world.causes(target).into_iter().flat_map(|cause| world.dependents(&cause));
    let lift = |other: &TargetId| Lift::Fact(format!("{} is up", other.watch).into());
    let held = |other: TargetId| Held::new(Hold::DependencyDown, "another one is down", "it first", lift(&other));
    others.filter(|other| other != target && down(other)).map(held).collect()
}

/// A cause that nobody can act on, or that was not cured in ten minutes, no longer holds: its dependent gets one attempt
/// of its own ladder a plateau.
fn given_up(world: &World, cause: &TargetId, judged: bool, target: &TargetId, fell: Now) -> bool {
    let Some(watch) = world.policy.watches.get(&target.watch) else { return false };
    let last = world.state.targets.get(target).and_then(|brake| brake.attempts.back());
    let turn = last.is_none_or(|last| world.now.since(last.at) >= watch.brakes.plateau);
    let waited = world.now.since(fell) >= CAUSE_PATIENCE;
    let acting = world.claims().any(|plan| plan.heals.iter().any(|heal| heal.target == *cause));
    turn && !acting && !saves(world, cause) && (waited || judged && !world.can_act_soon(cause))
}

/// A start would do harm for as long as the cause is down, however long that is: a writer whose storage is lost, and
/// whatever systemd starts such a writer for.
fn keeps_down(world: &World, cause: &TargetId, target: &TargetId, reason: Code) -> bool {
    let spec = |id: &TargetId| world.policy.watches.get(&id.watch).map(|watch| &watch.spec);
    let told = || world.live.get(&target.watch).map_or(&[][..], |live| live.memo.told_needs());
    match (spec(cause), spec(target).and_then(Spec::unit)) {
        (Some(Spec::Storage(storage)), Some(unit)) => storage.keeps_down(unit, reason),
        (Some(Spec::Service(writer)), Some(_)) => told().contains(&writer.unit) && kept_down(world, cause),
        _ => false,
    }
}

/// One of its own causes keeps it down. No circle of needs is among the causes, so this ends.
fn kept_down(world: &World, target: &TargetId) -> bool {
    let down = |cause: &TargetId| world.target(cause)?.verdict.down().map(|reason| reason.code);
    world.causes(target).iter().any(|cause| down(cause).is_some_and(|code| keeps_down(world, cause, target, code)))
}

/// The cause waits for nothing but budget: its dependents must not spend it on what does not help, again and again.
fn saves(world: &World, cause: &TargetId) -> bool {
    let Some(Proposal { plan: Some(plan), holds, .. }) = world.alone(cause) else { return false };
    let spent = holds.iter().any(|held| held.hold == Hold::BudgetSpent);
    spent && world.affords(&plan) && holds.iter().all(|held| held.hold == Hold::BudgetSpent || held.hold.passing())
}

#[cfg(test)]
mod tests;
