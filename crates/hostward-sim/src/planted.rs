//! The bugs that are planted in the core, and the stories that find them: a law that nothing can break proves nothing.

use std::time::{Duration, Instant};

use hostward_core::planted::{Bug, plant};

use crate::law::{Breach, Laws};
use crate::run::play;
use crate::scenario::Scenario;
use crate::scenario::generate::{barrage, scenario};
use crate::shrink::shrink;
use crate::trace::Trace;

/// A bug, a story that meets it, and the law that says so.
#[derive(Debug)]
pub struct Find {
    pub bug: Bug,
    pub story: fn(u64) -> Scenario,
    pub seed: u64,
    pub law: &'static str,
}

/// Found by playing seeds from 1 on until one broke.
pub const FINDS: &[Find] = &[
    Find { bug: Bug::WindowEdge, story: scenario, seed: 6, law: "budget_never_exceeded" },
    Find { bug: Bug::ChargedLate, story: scenario, seed: 1, law: "charged_before_act" },
    Find { bug: Bug::UndoSkipped, story: scenario, seed: 355, law: "nothing_left_stopped" },
    Find { bug: Bug::UndoHeld, story: scenario, seed: 58, law: "undo_waits_for_nothing" },
    Find { bug: Bug::HoldOnce, story: scenario, seed: 7, law: "no_act_while_an_ending_hold_stands" },
    Find { bug: Bug::UnknownIsDown, story: scenario, seed: 104, law: "no_act_on_unknown" },
    Find { bug: Bug::DamageForgotten, story: scenario, seed: 46, law: "damage_spends_all_caps" },
    Find { bug: Bug::BlindRepeat, story: scenario, seed: 17, law: "no_blind_repeat" },
    Find { bug: Bug::WallCooldown, story: barrage, seed: 12, law: "cooldown_is_kept" },
    Find { bug: Bug::ClosureForgotten, story: scenario, seed: 38, law: "stops_only_what_it_gives_back" },
    Find { bug: Bug::HoldEachOther, story: scenario, seed: 7, law: "no_cycle_among_holds" },
    Find { bug: Bug::TrueBefore, story: scenario, seed: 164, law: "no_success_without_fresh_proof" },
    Find { bug: Bug::OldLook, story: scenario, seed: 2, law: "no_old_evidence" },
    Find { bug: Bug::AskersBrake, story: asker, seed: 0, law: "cooldown_is_kept" },
    Find { bug: Bug::UndoNotPushed, story: upgrades, seed: 0, law: "undo_is_pushed_ahead" },
];

/// No story from seeds has it within a thousand: two who ask for one remedy within its cooldown.
fn asker(_: u64) -> Scenario {
    toml::from_str(include_str!("../worlds/asker.toml")).expect("a named world is a story")
}

/// Armed with the stop, an undo is good for that step alone: a run whose next one takes its time outlasts it.
fn upgrades(_: u64) -> Scenario {
    toml::from_str(include_str!("../worlds/upgrades.toml")).expect("a named world is a story")
}

/// What became of one bug's story.
#[derive(Debug)]
pub struct Found {
    pub bug: Bug,
    pub story: String,
    /// The law that was broken, at which step, and why; none: nobody saw the bug.
    pub breach: Option<Breach>,
    /// What the same story breaks without the bug: nothing, or the find proves nothing.
    pub control: Option<Breach>,
    pub took: Duration,
    /// Faults that the breach needs, of how many.
    pub faults: (usize, usize),
}

impl Find {
    /// Plays the story with its bug and without it; `small`: and shrinks it.
    pub fn play(&self, small: bool) -> Found {
        let story = (self.story)(self.seed);
        let control = play(&story, Laws::default(), Trace::Off).breach;
        let begun = Instant::now();
        let (breach, faults) = with(self.bug, || {
            let breach = play(&story, Laws::default(), Trace::Off).breach;
            let faults = breach.as_ref().filter(|_| small).map(|breach| needed(&story, breach));
            (breach, faults)
        });
        let took = begun.elapsed();
        let all = story.faults.len();
        Found { bug: self.bug, story: story.name, breach, control, took, faults: (faults.unwrap_or(all), all) }
    }
}

fn needed(story: &Scenario, breach: &Breach) -> usize {
    shrink(story, breach).faults.len()
}

fn with<T>(bug: Bug, act: impl FnOnce() -> T) -> T {
    plant(Some(bug));
    let done = act();
    plant(None);
    done
}
