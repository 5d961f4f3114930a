//! Laws about the loop: bounded turns, wakes that lie ahead, a fold that is the state, holds that lift when they said.

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::engine::Effect;
use hostward_core::hold::{Hold, Lift};
use hostward_core::id::WatchId;
use hostward_core::ledger::{ATTEMPTS_KEPT, CHARGES_KEPT};
use hostward_core::time::Ms;

use super::{Moment, Verdict};
use crate::scenario::What;
use crate::sim::Sim;

/// Wakes within one second: each question, each run and each lift may have its own moment.
const WAKES_A_SECOND: u32 = 60;
const TURNS_A_SECOND: u32 = 400;
/// Things wanted in one turn, for each watch.
const WANTED_A_WATCH: usize = 16;
/// A cycle is seen through with its runs; each is bounded by its own steps.
const CYCLE_PATIENCE: Ms = Ms::hours(3);

pub(super) fn one_question_a_key(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Moment::Effect(Effect::Ask { key, question, .. }) = moment else { return Ok(()) };
    match sim.book.asked.get(key) {
        // A reload made it another question: the old answer goes nowhere.
        Some((_, other)) if other == question => Err(format!("{key:?} is asked while it is still under way")),
        _ => Ok(()),
    }
}

pub(super) fn refold_equals_state(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { records: true, .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    if engine.world().state == sim.shadow {
        Ok(())
    } else {
        Err("the live state is not the fold of the records".into())
    }
}

pub(super) fn wakes_in_the_future(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { event, .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    match engine.next_wakeup() {
        Some(at) if at <= sim.now().up => {
            Err(format!("after '{event}' at {} it wants to wake at {at}", sim.now().up))
        }
        _ => Ok(()),
    }
}

pub(super) fn turns_are_bounded(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { event, wanted, .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    let watches = engine.world().policy.watches.len();
    if *wanted > 32 + WANTED_A_WATCH * watches {
        return Err(format!("one turn after '{event}' wants {wanted} things"));
    }
    let storm = sim.host.active.any(|what| *what == What::HintStorm);
    if sim.book.wakes.1 > WAKES_A_SECOND || sim.book.turns.1 > TURNS_A_SECOND && !storm {
        return Err(format!("{} wakes and {} turns in a second", sim.book.wakes.1, sim.book.turns.1));
    }
    Ok(())
}

pub(super) fn queues_are_bounded(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { records: true, .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    let state = &engine.world().state;
    let attempts = state.targets.values().map(|brake| brake.attempts.len()).max().unwrap_or(0);
    // A service has its probe's name beside it, as a part.
    let known = sim.scenario.services.len() * 2 + sim.scenario.envs.len();
    let keys: u32 = sim.scenario.toys.iter().map(|toy| toy.keys).sum();
    let targets = known + keys as usize;
    if attempts > ATTEMPTS_KEPT || state.charges.len() > CHARGES_KEPT || state.targets.len() > targets {
        return Err(format!("{attempts} attempts, {} charges, {} targets", state.charges.len(), state.targets.len()));
    }
    if state.runs.len() > 2 {
        return Err(format!("{} runs at a time", state.runs.len()));
    }
    Ok(())
}

/// Looked at when the engine woke by itself: that is when a lift may be due.
fn holds(sim: &Sim, moment: &Moment<'_>) -> Vec<(WatchId, Vec<hostward_core::hold::Held>)> {
    let (Moment::Turn { event: "wake", .. }, Some(engine)) = (moment, &sim.engine) else { return Vec::new() };
    let world = engine.world();
    let healed = |id: &_| world.claims().any(|plan| plan.heals.iter().any(|heal| heal.target == *id));
    let ill = world.ill.iter().filter(|&id| !healed(id)).cloned();
    ill.filter_map(|id| Some((id.watch.clone(), world.propose(&id)?.holds))).collect()
}

pub(super) fn no_hold_outlives_its_lift(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let now = sim.now().up;
    for (watch, holds) in holds(sim, moment) {
        for held in holds {
            if let Lift::At(at) = held.lift
                && at <= now
            {
                return Err(format!("{watch} is held by {} at {now}; it was to lift at {at}", held.hold.label()));
            }
        }
    }
    Ok(())
}

pub(super) fn no_cycle_among_holds(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let mut waits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (watch, holds) in holds(sim, moment) {
        for held in holds {
            if let (Hold::DependencyDown, Lift::Fact(fact)) = (held.hold, &held.lift)
                && let Some(cause) = fact.strip_suffix(" is up")
            {
                waits.entry(watch.to_string()).or_default().insert(cause.to_owned());
            }
        }
    }
    for start in waits.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(at) = next.pop() {
            for cause in waits.get(at).into_iter().flatten() {
                if cause == start {
                    return Err(format!("{start} waits for itself, through {at}"));
                }
                if seen.insert(cause) {
                    next.push(cause);
                }
            }
        }
    }
    Ok(())
}

pub(super) fn orders_are_answered(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Moment::Turn { .. } = moment else { return Ok(()) };
    let late = sim.orders.iter().find(|(_, since)| sim.real().saturating_sub(**since) > CYCLE_PATIENCE);
    late.map_or(Ok(()), |(id, since)| Err(format!("order {id} of {since} has no reply")))
}
