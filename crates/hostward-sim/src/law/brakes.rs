//! Laws about brakes: how often anything may be tried. All spans are of time that really passed.

use hostward_core::id::TargetId;
use hostward_core::ledger::Settlement;
use hostward_core::plan::{COST_RESTART, Plan};
use hostward_core::policy::Brakes;
use hostward_core::time::Ms;

use super::acts::{opened, performed};
use super::{Moment, Verdict};
use crate::book::Try;
use crate::sim::Sim;

const DAY: Ms = Ms::hours(24);
/// Attempts in a row after which a rung is no remedy.
const CIRCUIT: usize = 3;
/// A plan whose cost is more than a restart's is tried once a day when its circuit is open.
const RETRY: Ms = Ms::hours(24);

/// Each target that a plan which is being opened heals, with its limits and its tries so far.
fn healed<'a>(
    sim: &'a Sim,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a TargetId, &'a hostward_core::plan::Heal, Brakes, &'a [Try])> {
    let policy = sim.engine.as_ref().map(|engine| &engine.world().policy);
    plan.heals.iter().filter_map(move |heal| {
        let brakes = policy?.watches.get(&heal.target.watch)?.brakes;
        let tries = sim.book.tries.get(&heal.target).map_or(&[][..], Vec::as_slice);
        Some((&heal.target, heal, brakes, tries))
    })
}

fn ago(sim: &Sim, one: &Try) -> Ms {
    sim.real().saturating_sub(one.at)
}

/// Across a reboot whose wall clock jumped forward nobody can know how long it took.
fn doubtful(sim: &Sim, since: Ms) -> bool {
    sim.book.doubt.is_some_and(|at| at >= since)
}

pub(super) fn caps_per_hour_hard(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for (target, _, brakes, tries) in healed(sim, plan) {
        let recent = tries.iter().filter(|one| ago(sim, one) < Ms::hours(1) && !doubtful(sim, one.at)).count();
        if recent >= brakes.per_hour as usize {
            return Err(format!("{target}: attempt {} within an hour, {} are allowed", recent + 1, brakes.per_hour));
        }
    }
    Ok(())
}

pub(super) fn budget_never_exceeded(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Some((_, plan, _)), Some(engine)) = (opened(moment), &sim.engine) else { return Ok(()) };
    let budget = engine.world().policy.host.budget;
    let within = |at: &Ms| sim.real().saturating_sub(*at) < budget.per && !doubtful(sim, *at);
    let spent: u32 = sim.book.charges.iter().filter(|(at, ..)| within(at)).map(|(.., cost)| cost).sum();
    if spent + plan.cost > budget.cost {
        return Err(format!("{spent} spent within {}, {} more, of {}", budget.per, plan.cost, budget.cost));
    }
    Ok(())
}

fn failed(one: &Try) -> bool {
    one.settled != Some(Settlement::Cleared)
}

pub(super) fn plateau_single_trials(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for (target, _, brakes, tries) in healed(sim, plan) {
        let failures =
            tries.iter().filter(|one| ago(sim, one) < DAY && failed(one) && !doubtful(sim, one.at)).count();
        let last = tries.last().map(|one| ago(sim, one));
        if failures >= brakes.per_day as usize && last.is_some_and(|last| last < brakes.plateau) {
            return Err(format!("{target}: past {} a day, {last:?} after the last", brakes.per_day));
        }
    }
    Ok(())
}

pub(super) fn cooldown_is_kept(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for (target, _, brakes, tries) in healed(sim, plan) {
        let Some(last) = tries.last() else { continue };
        let row = sim.book.row(target);
        let doublings = row.saturating_sub(1).min(32);
        let wait = (brakes.cooldown * (1u64 << doublings)).min(brakes.plateau);
        if ago(sim, last) < wait && !doubtful(sim, last.at) {
            return Err(format!("{target}: {} after the last, which failed {row} times in a row", ago(sim, last)));
        }
    }
    Ok(())
}

pub(super) fn circuit_is_open(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for (target, heal, brakes, tries) in healed(sim, plan) {
        let same = || tries.iter().rev().filter(|one| one.rung == heal.rung && one.reason == heal.reason);
        let row = same().take(CIRCUIT).take_while(|one| failed(one) && one.settled.is_some()).count();
        let retry = if plan.cost <= COST_RESTART { brakes.plateau } else { RETRY.max(brakes.plateau) };
        let Some(last) = same().next() else { continue };
        if row >= CIRCUIT && ago(sim, last) < retry && !doubtful(sim, last.at) {
            return Err(format!("{target}: {} failed {row} times in a row, last {} ago", heal.rung, ago(sim, last)));
        }
    }
    Ok(())
}

pub(super) fn one_attempt_until_settled(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for (target, _, _, tries) in healed(sim, plan) {
        if let Some(open) = tries.iter().find(|one| one.settled.is_none()) {
            return Err(format!("{target}: run {} is not settled", open.run));
        }
    }
    Ok(())
}

pub(super) fn damage_spends_all_caps(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Some((_, plan, _)), Some(at)) = (opened(moment), sim.book.damaged) else { return Ok(()) };
    for (target, _, brakes, tries) in healed(sim, plan) {
        let since = tries.last().map_or(at, |last| last.at.max(at));
        if sim.real().saturating_sub(since) < brakes.plateau && !doubtful(sim, since) {
            return Err(format!("{target}: the ledger was damaged, its last trial or the damage was at {since}"));
        }
    }
    Ok(())
}

pub(super) fn brakes_follow_the_healed(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    if let Some((record, plan, _)) = opened(moment) {
        // A command of an environment's own heals that environment, whoever asked.
        let Some(engine) = &sim.engine else { return Ok(()) };
        let commands = plan.steps.iter().filter_map(|step| step.act.as_ref());
        for act in commands.filter(|act| matches!(act, hostward_core::plan::Act::Command(_))) {
            let owners = engine.world().policy.watches.iter().filter(|(_, watch)| watch.spec.allows(act));
            let healed = |id: &hostward_core::id::WatchId| plan.heals.iter().any(|heal| heal.target.watch == *id);
            let mut owners = owners.map(|(id, _)| id).peekable();
            if owners.peek().is_some() && !owners.any(healed) {
                return Err(format!("record {}: {act} is charged to none of its owners", record.seq));
            }
        }
    }
    let Some((ticket, plan)) = performed(moment) else { return Ok(()) };
    let Some(engine) = &sim.engine else { return Ok(()) };
    for heal in &plan.heals {
        let brake = engine.world().state.targets.get(&heal.target);
        if !brake.is_some_and(|brake| brake.attempts.iter().any(|attempt| attempt.run == ticket.run)) {
            return Err(format!("{ticket:?} heals {}, which is not charged", heal.target));
        }
    }
    Ok(())
}

pub(super) fn claims_disjoint(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    let others: Vec<_> = sim.book.open().collect();
    if let Some((run, _)) = others.iter().find(|(_, other)| other.plan.clashes(plan)) {
        return Err(format!("{} touches what run {run} touches", plan.watch));
    }
    if others.len() >= 2 { Err(format!("{} is the third plan at a time", plan.watch)) } else { Ok(()) }
}
