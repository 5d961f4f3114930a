//! One scenario, played to its end.

use std::collections::BTreeMap;

use crate::calm;
use crate::coverage::Coverage;
use crate::law::{Breach, Laws, Moment};
use crate::scenario::Scenario;
use crate::sim::Sim;
use crate::trace::Trace;
use hostward_core::time::Ms;

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    pub breach: Option<Breach>,
    pub coverage: Coverage,
    pub steps: u64,
    /// How often each effect was wanted.
    pub counts: BTreeMap<&'static str, u32>,
    pub lasted: Ms,
    pub hash: u64,
    pub lines: Vec<String>,
    /// What the engine knew at its end, for whoever wants to understand it.
    pub state: String,
}

pub fn play(scenario: &Scenario, laws: Laws, trace: Trace) -> Outcome {
    let trace_kept = matches!(trace, Trace::Kept(_));
    let begin = crate::clock::Clock::new(Ms::mins(6)).real;
    let mut sim = Sim::new(scenario.clone(), laws, trace);
    sim.run_for(scenario.trouble);
    if sim.breach.is_none()
        && let Err(why) = calm::settle(&mut sim)
    {
        sim.blame("all_is_well_in_the_end", why);
    }
    if sim.breach.is_none() {
        sim.check(&Moment::End);
    }
    let known = match (&trace_kept, &sim.engine) {
        (true, Some(engine)) => format!("{:#?}\n\n{:#?}", engine.world().live, engine.world().state),
        _ => String::new(),
    };
    Outcome {
        state: known,
        lasted: sim.real().saturating_sub(begin),
        breach: sim.breach,
        coverage: sim.coverage,
        steps: sim.steps,
        counts: sim.counts,
        hash: sim.hash,
        lines: sim.trace.into_lines(),
    }
}

/// The same scenario twice: the same events must give the same effects, byte for byte.
pub fn play_twice(scenario: &Scenario, laws: Laws) -> Outcome {
    let first = play(scenario, laws, Trace::Checked);
    let second = play(scenario, laws, Trace::Checked);
    if first.hash == second.hash || first.breach.is_some() || !laws.has("same_seed_same_effects") {
        return first;
    }
    let why = format!("{:x} the first time, {:x} the second", first.hash, second.hash);
    let at = hostward_core::time::Now::default();
    let breach = Breach { law: "same_seed_same_effects", why, at, real: first.lasted, step: first.steps };
    Outcome { breach: Some(breach), ..first }
}
