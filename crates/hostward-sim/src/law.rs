//! The laws: what must hold after every event, whatever goes wrong. One function a law, named for what it forbids or
//! demands; where each comes from is said beside it in [`ALL`].
//!
//! They judge by the simulator's own book and by the host's truth, not by what the engine believes.

mod acts;
mod brakes;
pub(crate) mod debts;
mod expected;
mod proof;
mod stands;
mod turns;

use hostward_core::engine::Effect;
use hostward_core::id::RunId;
use hostward_core::time::{Ms, Now};

use crate::sim::Sim;

/// When a law is looked at.
#[derive(Debug)]
pub enum Moment<'a> {
    /// Just before this is done.
    Effect(&'a Effect),
    /// A turn is over and its effects are on their way.
    Turn { event: &'static str, wanted: usize, records: bool },
    /// A timer of PID 1's has just started what this run stopped; it had been armed at that time.
    Undo { run: RunId, armed: Ms },
    /// The story is over.
    End,
}

pub type Verdict = Result<(), String>;

#[derive(Debug)]
pub struct Law {
    pub name: &'static str,
    /// What it says, and the page that says so.
    pub says: &'static str,
    holds: fn(&Sim, &Moment<'_>) -> Verdict,
}

/// A law that was broken.
#[derive(Clone, Debug)]
pub struct Breach {
    pub law: &'static str,
    pub why: String,
    pub at: Now,
    pub real: Ms,
    pub step: u64,
}

macro_rules! laws {
    ($($module:ident :: $name:ident, $says:literal;)*) => {
        pub const ALL: &[Law] = &[$(Law { name: stringify!($name), says: $says, holds: $module::$name }),*];
    };
}

laws! {
    acts::no_act_without_durable_intent, "No forward act without a durable intent that precedes it (architecture, Invariants).";
    acts::charged_before_act, "An attempt is charged to the budget and to each target it heals before its act (safety, Attempts).";
    acts::charged_once, "An attempt is charged once, whatever crashes (safety, Attempts).";
    acts::no_act_on_unknown, "A plan begins on a look that said \"down\", not on one that could not be made (safety, From observation).";
    acts::no_old_evidence, "Nothing seen before our own last touch is evidence (core, decision 7).";
    acts::no_act_while_an_ending_hold_stands, "A hold that stood when a forward step's leave was asked for ends it (safety, Holds).";
    acts::respects_what_somebody_chose, "A masked, disabled or stopped unit is its owner's decision (safety, OperatorActive).";
    acts::no_remedy_for_the_healthy, "What is well and looks well is left alone (testing, Negative control).";
    acts::no_blind_repeat, "After a crash no step is repeated before the world was observed (architecture, Invariants).";
    acts::stuck_is_left_alone, "What an undo gave up is touched by nobody before an operator has looked (safety, Stuck).";
    proof::no_success_without_fresh_proof, "Only a look that was asked for after the act, and that was false before it, ends a step (core, 2 and 3).";
    brakes::caps_per_hour_hard, "Hourly caps are hard (safety, TargetCap).";
    brakes::budget_never_exceeded, "The host's budget is never exceeded in its rolling window (safety, BudgetSpent).";
    brakes::plateau_single_trials, "Past the daily cap there is one trial a plateau (safety, TargetCap).";
    brakes::cooldown_is_kept, "Cooldowns are kept, whatever the wall clock does (safety, Cooldown and Attempts).";
    brakes::circuit_is_open, "A rung that failed three times in a row waits for its single trial (safety, CircuitOpen).";
    brakes::one_attempt_until_settled, "One attempt at a time until it is settled (core, decision 8).";
    brakes::damage_spends_all_caps, "A damaged ledger leaves one trial a plateau until it is cleared (safety, LedgerDamaged).";
    brakes::brakes_follow_the_healed, "Brakes follow what is healed, not who asked (core, decision 5).";
    brakes::claims_disjoint, "At most two plans run, and they touch nothing in common (safety, Claimed).";
    debts::nothing_left_stopped, "What a plan stopped is owed by an open run, and returns (architecture, Invariants).";
    debts::undo_is_armed, "While something is stopped by us, PID 1 has a timer that starts it (safety, Undo).";
    debts::undo_is_pushed_ahead, "PID 1's undo does not go off while a run goes forward and its engine can push it (safety, Undo).";
    debts::undo_waits_for_nothing, "A give-back that fell due is tried, whatever holds (safety, Holds).";
    debts::stops_only_what_it_gives_back, "What stops along is in the plan and is given back (safety, The stop closure).";
    turns::one_question_a_key, "At most one question is outstanding for each key (architecture, Invariants).";
    turns::refold_equals_state, "The live state is the fold of the records (core, decision 1).";
    turns::wakes_in_the_future, "After a turn the next wake-up lies ahead: the engine never spins (testing, Simulator).";
    turns::turns_are_bounded, "One turn wants a bounded number of things, and a second has a bounded number of turns (architecture, Invariants).";
    turns::queues_are_bounded, "No unbounded queue (architecture, Invariants).";
    turns::no_hold_outlives_its_lift, "A hold that was to lift at a time has lifted at that time (safety, Holds).";
    turns::no_cycle_among_holds, "No two wait for each other (testing, Simulator).";
    expected::as_expected, "What a named world expects of each of its watches (worlds/*.toml).";
    turns::orders_are_answered, "Whoever gives an order gets a reply in time (architecture, Invariants).";
}

/// Breaches that are found elsewhere than by a function above.
pub const OTHERS: &[(&str, &str)] = &[
    ("the_core_never_panics", "An assertion of the core's own failed."),
    (
        "all_is_well_in_the_end",
        "Once nothing goes wrong any more every target is well, or held by an operator's choice (testing, Simulator).",
    ),
    ("same_seed_same_effects", "The same events give the same effects, byte for byte (core's first page)."),
];

/// Which laws are in force: all, or one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Laws {
    pub only: Option<&'static str>,
}

impl Laws {
    pub fn only(name: &str) -> Option<Laws> {
        let names = ALL.iter().map(|law| law.name).chain(OTHERS.iter().map(|(name, _)| *name));
        let only = names.into_iter().find(|known| *known == name)?;
        Some(Laws { only: Some(only) })
    }

    pub fn has(self, name: &str) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    pub fn check(self, sim: &Sim, moment: &Moment<'_>) -> Option<(&'static str, String)> {
        let in_force = ALL.iter().filter(|law| self.has(law.name));
        in_force.into_iter().find_map(|law| (law.holds)(sim, moment).err().map(|why| (law.name, why)))
    }
}
