//! Laws about acts: what must have been so before one is made.

use std::collections::BTreeSet;

use hostward_core::ask::AskKey;
use hostward_core::engine::Effect;
use hostward_core::id::TargetId;
use hostward_core::ledger::{Body, Origin, Record};
use hostward_core::plan::{Check, Plan};
use hostward_core::run::{At, Ticket};
use hostward_core::time::Ms;

use super::{Moment, Verdict, stands};
use crate::scenario::What;
use crate::sim::Sim;

/// How long the looks for a step's leave, and then the disk, may take before they are asked for again: the core's
/// `LOOK_PATIENCE` and `GATE_FRESH`, and a little.
const LEAVE_LASTS: Ms = Ms::secs(33);
/// A unit is looked at once a minute at least; what was chosen for it is known by then.
const RESYNC: Ms = Ms::secs(80);
/// What was down is known to be well again after its slowest look and the looks that "up" takes.
const MEMORY: Ms = Ms::mins(11);

pub(super) fn performed<'a>(moment: &'a Moment<'_>) -> Option<(Ticket, &'a Plan)> {
    match moment {
        Moment::Effect(Effect::Perform { ticket, plan, .. }) => Some((*ticket, plan)),
        _ => None,
    }
}

pub(super) fn opened<'a>(moment: &'a Moment<'_>) -> Option<(&'a Record, &'a Plan, Origin)> {
    match moment {
        Moment::Effect(Effect::Append(record)) => match &record.body {
            Body::Opened { plan, origin } => Some((record, plan, *origin)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn no_act_without_durable_intent(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((ticket, _)) = performed(moment) else { return Ok(()) };
    let durable = sim.disk.durable.checked_sub(1).and_then(|n| sim.disk.records.get(n)).map_or(0, |r| r.seq);
    let run = sim.book.runs.get(&ticket.run).ok_or_else(|| format!("{ticket:?} of a run that was never opened"))?;
    let intent = match ticket.at {
        At::Go(_) => run.begun.get(&ticket.at).map(|begun| begun.seq),
        // What it gives back was taken by the first try of a step: a second one may have been intended and never made.
        At::Back(step) => run.begun.get(&At::Go(step)).and_then(|begun| begun.first),
    };
    let intent = intent.unwrap_or(u64::MAX);
    if intent > durable {
        return Err(format!("{ticket:?} is performed; its intent {intent} is not durable, {durable} is"));
    }
    let tries = run.begun.get(&ticket.at).map_or(0, |begun| begun.performed.len());
    if matches!(ticket.at, At::Go(_)) && tries >= usize::from(ticket.tries) {
        return Err(format!("{ticket:?} is performed for the {}. time under one intent", tries + 1));
    }
    Ok(())
}

pub(super) fn charged_before_act(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((ticket, plan)) = performed(moment) else { return Ok(()) };
    let (Some(engine), At::Go(_)) = (&sim.engine, ticket.at) else { return Ok(()) };
    let state = &engine.world().state;
    for heal in &plan.heals {
        let brake = state.targets.get(&heal.target);
        if !brake.is_some_and(|brake| brake.attempts.iter().any(|attempt| attempt.run == ticket.run)) {
            return Err(format!("{ticket:?} is performed and not charged to {}", heal.target));
        }
    }
    let opened = state.runs.get(&ticket.run).map(|run| run.opened);
    let charged = |(at, cost): &(hostward_core::time::Now, u32)| Some(*at) == opened && *cost == plan.cost;
    if !state.charges.iter().any(charged) {
        return Err(format!("{ticket:?} is performed and not charged to the host's budget"));
    }
    Ok(())
}

pub(super) fn charged_once(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { records: true, .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    for (target, brake) in &engine.world().state.targets {
        let runs: BTreeSet<_> = brake.attempts.iter().map(|attempt| attempt.run).collect();
        if runs.len() < brake.attempts.len() {
            return Err(format!("{target}: {} attempts by {} runs", brake.attempts.len(), runs.len()));
        }
    }
    Ok(())
}

pub(super) fn no_act_on_unknown(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Some((_, plan, _)), Some(engine)) = (opened(moment), &sim.engine) else { return Ok(()) };
    let Some(target) = asked_for(sim, plan) else { return Ok(()) };
    let Some(watch) = engine.world().policy.watches.get(&target.watch) else { return Ok(()) };
    let oldest = sim.real().saturating_sub(watch.spec.stale_after() + Ms::mins(1));
    let down = probes(sim, &target).filter_map(|told| told.down).max();
    match down {
        Some(at) if at >= oldest => Ok(()),
        Some(at) => Err(format!("{target} is acted on; it was last seen down at {at}, before {oldest}")),
        None => Err(format!("{target} is acted on; no look ever said that it is down")),
    }
}

/// The target for whose sake a plan was opened: of those that it heals, one that is down by the looks.
fn asked_for(sim: &Sim, plan: &Plan) -> Option<TargetId> {
    let seen = |heal: &&hostward_core::plan::Heal| probes(sim, &heal.target).any(|told| told.down.is_some());
    plan.heals.iter().find(seen).or(plan.heals.first()).map(|heal| heal.target.clone())
}

pub(super) fn probes<'a>(sim: &'a Sim, target: &'a TargetId) -> impl Iterator<Item = &'a crate::book::told::Told> {
    let own = move |key: &AskKey| matches!(key, AskKey::Probe(watch, _) if *watch == target.watch);
    sim.book.told.iter().filter(move |(key, _)| own(key)).map(|(_, told)| told)
}

pub(super) fn no_old_evidence(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    let Some(target) = asked_for(sim, plan) else { return Ok(()) };
    let Some(touched) = sim.book.touched.get(&target.watch) else { return Ok(()) };
    let down = probes(sim, &target).filter_map(|told| told.down).max().unwrap_or(Ms::ZERO);
    if down < *touched {
        return Err(format!("{target} is acted on by a look of {down}; we had our hand on it at {touched}"));
    }
    Ok(())
}

pub(super) fn no_act_while_an_ending_hold_stands(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((ticket, plan)) = performed(moment) else { return Ok(()) };
    let (At::Go(_), Some(run)) = (ticket.at, sim.book.runs.get(&ticket.run)) else { return Ok(()) };
    let leave = run.leave.max(sim.real().saturating_sub(LEAVE_LASTS));
    for watch in plan.permitted_by() {
        for (hold, since) in stands::ending(sim, watch, run.origin) {
            if since < leave {
                let hold = hold.label();
                return Err(format!("{ticket:?}: {hold} of {watch} stands since {since}, its leave is of {leave}"));
            }
        }
    }
    Ok(())
}

pub(super) fn respects_what_somebody_chose(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    for watch in plan.permitted_by() {
        if let Some(since) = stands::chosen(sim, watch)
            && since + RESYNC < sim.real()
        {
            return Err(format!("{watch} is acted on; its owner chose its state at {since}"));
        }
    }
    Ok(())
}

pub(super) fn no_remedy_for_the_healthy(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    let recent = |at: &Ms| sim.real().saturating_sub(*at) < MEMORY;
    // On a starved host a time-out still counts after five minutes, or at once when nobody has told us of the lag yet.
    let starved = sim.host.active.any(|what| matches!(what, What::Starve { .. }));
    let blind_to_lag = starved
        && sim.engine.as_ref().is_some_and(|e| {
            e.world().starvation.starved(e.world().now).is_none() || e.world().starvation.echoes(Ms::secs(2))
        });
    let slow = sim.host.active.any(|what| matches!(what, What::Slow { .. }));
    if sim.book.lied.as_ref().is_some_and(recent)
        || sim.book.slowed.as_ref().is_some_and(recent)
        || slow
        || blind_to_lag
    {
        return Ok(());
    }
    let ill = |target: &TargetId| {
        stands::truth(sim, target).is_none_or(|truth| truth.down.is_some() || truth.last.as_ref().is_some_and(recent))
    };
    if plan.heals.iter().any(|heal| ill(&heal.target)) {
        return Ok(());
    }
    Err(format!("{}: all that it heals is well, and has been", plan.why))
}

pub(super) fn no_blind_repeat(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((ticket, plan)) = performed(moment) else { return Ok(()) };
    let (At::Go(n), true) = (ticket.at, ticket.tries > 1) else { return Ok(()) };
    let begun = sim.book.runs.get(&ticket.run).and_then(|run| run.begun.get(&ticket.at));
    let Some(begun) = begun else { return Ok(()) };
    let Some(lost) = begun.lost else {
        return Err(format!("{ticket:?} is repeated, though its outcome was not lost"));
    };
    let Some(proof) = plan.steps.get(usize::from(n)).and_then(|step| step.proof.as_ref()) else { return Ok(()) };
    // A look that says anything at all but what the proof wants.
    let looked = (0u16..).zip(&proof.checks).any(|(check, of)| match of {
        Check::Fact(..) => {
            let told = sim.book.told.get(&AskKey::Proof(ticket.run, check));
            told.is_some_and(|told| told.last.is_some_and(|(asked, _)| asked >= lost))
        }
        Check::Target(target) => probes(sim, target).any(|told| told.asked >= lost),
    });
    if looked { Ok(()) } else { Err(format!("{ticket:?} is repeated, and nobody looked since {lost}")) }
}

pub(super) fn stuck_is_left_alone(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    let clash =
        sim.book.frozen.iter().find(|(_, touches)| touches.iter().any(|a| plan.touches.iter().any(|b| a.clashes(b))));
    clash.map_or(Ok(()), |(run, _)| Err(format!("{} touches what run {run} left stuck", plan.watch)))
}
