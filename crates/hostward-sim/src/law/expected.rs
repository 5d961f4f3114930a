//! What a named world expects of its watches. Stories from seeds expect nothing but the laws.

use hostward_core::time::Ms;

use super::acts::opened;
use super::{Moment, Verdict};
use crate::book::Try;
use crate::scenario::Expect;
use crate::sim::Sim;
use crate::truth::Truth;

pub(super) fn as_expected(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    sim.scenario.expect.iter().try_for_each(|expect| match moment {
        Moment::Effect(_) => at_most(sim, expect, moment),
        Moment::Turn { .. } => not_forgotten(sim, expect),
        Moment::End => in_the_end(sim, expect),
        Moment::Undo { .. } => Ok(()),
    })
}

fn truths<'a>(sim: &'a Sim, expect: &'a Expect) -> impl Iterator<Item = &'a Truth> {
    sim.truth.iter().filter(|truth| truth.id.watch.as_str() == expect.watch)
}

/// Everything that was tried for a watch's sake, the oldest first for each target.
fn tries<'a>(sim: &'a Sim, expect: &'a Expect) -> impl Iterator<Item = &'a Try> {
    truths(sim, expect).filter_map(|truth| sim.book.tries.get(&truth.id)).flatten()
}

fn at_most(sim: &Sim, expect: &Expect, moment: &Moment<'_>) -> Verdict {
    let Some((_, plan, _)) = opened(moment) else { return Ok(()) };
    let healed = plan.heals.iter().any(|heal| heal.target.watch.as_str() == expect.watch);
    let before = tries(sim, expect).count();
    if healed && before >= expect.most {
        return Err(format!(
            "{}: remedy {}, {} were expected at most: {}",
            expect.watch,
            before + 1,
            expect.most,
            plan.why
        ));
    }
    Ok(())
}

fn not_forgotten(sim: &Sim, expect: &Expect) -> Verdict {
    let last = tries(sim, expect).map(|one| one.at).max().unwrap_or(Ms::ZERO);
    for since in truths(sim, expect).filter_map(|truth| truth.down) {
        let down = sim.real().saturating_sub(since);
        if expect.down.is_some_and(|longest| down > longest) {
            return Err(format!("{} is down for {down}", expect.watch));
        }
        let idle = sim.real().saturating_sub(since.max(last));
        if expect.every.is_some_and(|every| idle > every) {
            return Err(format!("{} is down, and nothing was tried for {idle}", expect.watch));
        }
    }
    Ok(())
}

fn in_the_end(sim: &Sim, expect: &Expect) -> Verdict {
    let tried = tries(sim, expect).count();
    if tried < expect.least {
        return Err(format!("{}: {tried} remedies, {} were expected at least", expect.watch, expect.least));
    }
    match truths(sim, expect).find_map(|truth| truth.down) {
        Some(since) if expect.up => Err(format!("{} is down since {since}", expect.watch)),
        _ => Ok(()),
    }
}
