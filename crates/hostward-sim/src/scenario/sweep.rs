//! One story told many times: each time something else goes wrong at another of its effects.

use std::collections::BTreeMap;

use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};

use super::fault::Side;
use super::{Fault, Scenario, What, When};

/// `[[sweep]]`: one thing that goes wrong, at every effect of some names that the story has without it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    pub what: What,
    #[serde(default)]
    pub lasts: Ms,
    /// The names of effects ([`crate::sim::effect_name`]).
    pub effects: Vec<String>,
    pub sides: Vec<Side>,
    /// An attempt that is ended by a hold is charged, and another one follows: so many more than expected are no fault.
    #[serde(default)]
    pub more: usize,
}

/// The stories of a sweep. `counts`: how often each effect came in the story itself.
pub fn stories(story: &Scenario, counts: &BTreeMap<&'static str, u32>) -> Vec<Scenario> {
    let mut told = Vec::new();
    for sweep in &story.sweep {
        for name in &sweep.effects {
            for nth in 1..=counts.get(name.as_str()).copied().unwrap_or(0) {
                told.extend(sweep.sides.iter().map(|side| told_with(story, sweep, name, nth, *side)));
            }
        }
    }
    told
}

fn told_with(story: &Scenario, sweep: &Sweep, name: &str, nth: u32, side: Side) -> Scenario {
    let mut told = story.clone();
    told.name = format!("{}: {} {side:?} {name} {nth}", story.name, sweep.what.name()).to_lowercase();
    let at = When::Effect { name: name.to_owned(), nth, side };
    told.faults.push(Fault { at, lasts: sweep.lasts, what: sweep.what.clone() });
    told.expect.iter_mut().for_each(|expect| expect.most = expect.most.saturating_add(sweep.more));
    told.sweep.clear();
    told
}
