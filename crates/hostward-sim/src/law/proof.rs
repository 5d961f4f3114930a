//! The law of proof: a step is done when a fresh look says so, and says what was not so before the act.

use hostward_core::ask::AskKey;
use hostward_core::engine::Effect;
use hostward_core::ledger::Body;
use hostward_core::plan::{Check, Proof};
use hostward_core::run::{At, StepEnd};
use hostward_core::time::Ms;

use super::acts::probes;
use super::{Moment, Verdict};
use crate::book::Begun;
use crate::book::told::{may_be_down, proves};
use crate::sim::Sim;

pub(super) fn no_success_without_fresh_proof(sim: &Sim, moment: &Moment<'_>) -> Verdict {
    let Moment::Effect(Effect::Append(record)) = moment else { return Ok(()) };
    let (run, at) = match &record.body {
        Body::Ended { run, step, end: StepEnd::Done } => (*run, At::Go(*step)),
        Body::Returned { run, step, end: StepEnd::Done, .. } => (*run, At::Back(*step)),
        _ => return Ok(()),
    };
    let Some(known) = sim.book.runs.get(&run) else { return Ok(()) };
    let (At::Go(n) | At::Back(n)) = at;
    let Some(step) = known.plan.steps.get(usize::from(n)) else { return Ok(()) };
    let proof = match at {
        At::Go(_) => step.proof.as_ref(),
        At::Back(_) => step.back.as_ref().map(|back| &back.proof),
    };
    let (Some(proof), Some(begun)) = (proof, known.begun.get(&at)) else { return Ok(()) };
    let acts = matches!(at, At::Back(_)) || step.act.is_some();
    let since = begun.performed.last().copied().unwrap_or(begun.at).max(begun.at);
    checks(sim, proof, run, since, acts.then_some(begun)).map_err(|why| format!("{at:?} of run {run} is done: {why}"))
}

fn checks(sim: &Sim, proof: &Proof, run: hostward_core::id::RunId, since: Ms, acted: Option<&Begun>) -> Verdict {
    for (n, check) in (0u16..).zip(&proof.checks) {
        match check {
            Check::Fact(question, want) => {
                let told = sim.book.told.get(&AskKey::Proof(run, n));
                let Some(reading) = told.and_then(|told| told.since(since)) else {
                    return Err(format!("nobody looked at {question:?} since {since}"));
                };
                if !proves(*want, reading, before_the_act(sim, acted)) {
                    return Err(format!("{want:?} is not what was seen, or was so before the act: {reading:?}"));
                }
            }
            Check::Target(target) => {
                let mut looks = probes(sim, target).peekable();
                if looks.peek().is_none() {
                    return Err(format!("{target} has no looks"));
                }
                for told in looks {
                    match told.since(since) {
                        None => return Err(format!("{target} was not looked at since {since}: {told:?}")),
                        Some(reading) if clearly_down(reading) => {
                            return Err(format!("{target} was seen down: {reading:?}"));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
    Ok(())
}

/// A crash loop's counter stays up for a while after it was cured: it alone denies nothing.
fn clearly_down(reading: &hostward_core::ask::Reading) -> bool {
    match reading {
        hostward_core::ask::Reading::Unit(unit) => !unit.running(),
        // Which of a toy's keys is meant is not told here.
        hostward_core::ask::Reading::Toy(_) => false,
        other => may_be_down(other),
    }
}

/// The boot time of the last try's act; none when it was made in another boot, or never: then any start is later.
fn before_the_act(sim: &Sim, acted: Option<&Begun>) -> Option<Ms> {
    let begun = acted?;
    let performed = *begun.performed.last()?;
    // An engine that was not there when the act was made knows of its intent alone.
    let performed = if sim.book.began >= performed { begun.at } else { performed };
    let clock = sim.host.clock;
    (performed >= clock.booted).then(|| performed.saturating_sub(clock.booted))
}
