//! Laws about what we took: it is owed, armed with PID 1, and given back whatever happens.

use hostward_core::engine::Effect;
use hostward_core::id::UnitName;
use hostward_core::ledger::Body;
use hostward_core::plan::Act;
use hostward_core::run::{At, Next};
use hostward_core::time::Ms;

use super::acts::performed;
use super::{Moment, Verdict};
use crate::host::unit::Unit;
use crate::scenario::What;
use crate::sim::Sim;

/// The core's longest backoff, the longest give-back under way before it, and a little.
const RETRY: Ms = Ms::mins(12);

/// So long after its beginning an engine has told PID 1 what it takes over.
const TAKES_OVER: Ms = Ms::secs(1);

/// Units that an act of ours took down and that have not run since.
fn ours(sim: &Sim) -> impl Iterator<Item = &Unit> {
    sim.host.units.iter().filter(|unit| unit.by_us && !unit.masked)
}

fn armed(sim: &Sim, name: &UnitName) -> bool {
    sim.host.undos.values().any(|undo| undo.units.contains(name))
}

pub(super) fn nothing_left_stopped(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    if let Moment::Effect(Effect::Append(record)) = moment
        && let Body::Closed { run, .. } = record.body
        && let Some(known) = sim.book.runs.get(&run)
    {
        let stopped = known.plan.steps.iter().filter_map(|step| match &step.act {
            Some(Act::Stop(stop)) => Some(stop),
            _ => None,
        });
        for name in stopped.flat_map(|stop| std::iter::once(&stop.unit).chain(&stop.closure)) {
            if ours(sim).any(|unit| unit.name == *name) {
                return Err(format!("run {run} is closed, and {name} still stands as it stopped it"));
            }
        }
    }
    let (Moment::Turn { .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    let owed = engine.world().state.stopped();
    for unit in ours(sim) {
        if !owed.contains(&unit.name) && !armed(sim, &unit.name) && unit.job_free() {
            return Err(format!("{} was stopped by us; no open run owes it, and no timer starts it", unit.name));
        }
    }
    Ok(())
}

pub(super) fn undo_is_armed(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Moment::Turn { .. } = moment else { return Ok(()) };
    for unit in ours(sim) {
        if !armed(sim, &unit.name) && !sim.host.undone.contains(&unit.name) {
            return Err(format!("{} was stopped by us, and PID 1 has no timer for it", unit.name));
        }
    }
    Ok(())
}

/// An engine that is there, with a bus that answers and a ledger that takes its records, pushes ahead what is armed.
pub(super) fn undo_is_pushed_ahead(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Undo { run, armed }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    let Some(open) = engine.world().state.runs.get(run) else { return Ok(()) };
    let real = sim.real();
    let hindered = sim.host.active.any(hinders_undo) || sim.book.hindered.is_some_and(|at| at >= *armed);
    let new = real.saturating_sub(sim.book.alive) < TAKES_OVER;
    match open.next() {
        next @ (Next::Begin(_) | Next::Amid(At::Go(_))) if !hindered && !new => {
            let ago = real.saturating_sub(*armed);
            Err(format!("PID 1 undoes run {run} amid its forward steps ({next:?}); it was armed {ago} before"))
        }
        _ => Ok(()),
    }
}

/// While this lasts, nothing can be told to PID 1, or a run goes no further for want of a record.
pub(crate) fn hinders_undo(what: &What) -> bool {
    matches!(what, What::BusAway | What::ArmFails | What::DiskFull)
}

pub(super) fn undo_waits_for_nothing(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let (Moment::Turn { .. }, Some(engine)) = (moment, &sim.engine) else { return Ok(()) };
    for (id, run) in &engine.world().state.runs {
        let Next::Back(due) = run.next() else { continue };
        let since = sim.book.runs.get(id).map_or(Ms::ZERO, |known| known.leave);
        for step in due.iter().take(1) {
            let tried = sim.book.returning.get(&(*id, *step)).copied().unwrap_or(Ms::ZERO).max(since);
            let waited = sim.real().saturating_sub(tried.max(sim.book.began));
            if waited > RETRY {
                return Err(format!("run {id}: what step {step} took is owed, and was not given back for {waited}"));
            }
        }
    }
    Ok(())
}

pub(super) fn stops_only_what_it_gives_back(_: &Sim, moment: &Moment<'_>) -> Verdict {
    let Some((ticket, plan)) = performed(moment) else { return Ok(()) };
    let (At::Go(n), Some((Act::Stop(stop), _))) = (ticket.at, ticket.act(plan)) else { return Ok(()) };
    let back = plan.steps.get(usize::from(n)).and_then(|step| step.back.as_ref());
    let Some(Act::Start(units)) = back.map(|back| &back.act) else {
        return Err(format!("{ticket:?} stops {} and owes nothing", stop.unit));
    };
    // Not by the core's own list: it may be the one that forgets.
    let stops = std::iter::once(&stop.unit).chain(&stop.closure);
    stops
        .into_iter()
        .find(|unit| !units.contains(unit))
        .map_or(Ok(()), |unit| Err(format!("{ticket:?} stops {unit}, which is not given back")))
}
