//! Bugs that were planted: the simulator must find each of them, or its laws prove nothing (docs/design/simulation.md).
//!
//! Without the feature `planted`, which no build that ships has, [`planted`] is a constant `false`: every site vanishes.

use std::fmt;

/// One bug, at one place of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    WindowEdge,
    ChargedLate,
    UndoSkipped,
    UndoHeld,
    HoldOnce,
    UnknownIsDown,
    DamageForgotten,
    BlindRepeat,
    WallCooldown,
    ClosureForgotten,
    HoldEachOther,
    TrueBefore,
    OldLook,
    AskersBrake,
    UndoNotPushed,
}

impl Bug {
    pub const ALL: [Bug; 15] = [
        Bug::WindowEdge,
        Bug::ChargedLate,
        Bug::UndoSkipped,
        Bug::UndoHeld,
        Bug::HoldOnce,
        Bug::UnknownIsDown,
        Bug::DamageForgotten,
        Bug::BlindRepeat,
        Bug::WallCooldown,
        Bug::ClosureForgotten,
        Bug::HoldEachOther,
        Bug::TrueBefore,
        Bug::OldLook,
        Bug::AskersBrake,
        Bug::UndoNotPushed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Bug::WindowEdge => "window_edge",
            Bug::ChargedLate => "charged_late",
            Bug::UndoSkipped => "undo_skipped",
            Bug::UndoHeld => "undo_held",
            Bug::HoldOnce => "hold_once",
            Bug::UnknownIsDown => "unknown_is_down",
            Bug::DamageForgotten => "damage_forgotten",
            Bug::BlindRepeat => "blind_repeat",
            Bug::WallCooldown => "wall_cooldown",
            Bug::ClosureForgotten => "closure_forgotten",
            Bug::HoldEachOther => "hold_each_other",
            Bug::TrueBefore => "true_before",
            Bug::OldLook => "old_look",
            Bug::AskersBrake => "askers_brake",
            Bug::UndoNotPushed => "undo_not_pushed",
        }
    }

    pub fn says(self) -> &'static str {
        match self {
            Bug::WindowEdge => "The budget's window ends a millisecond early.",
            Bug::ChargedLate => "The budget is charged when a run closes, after its acts.",
            Bug::UndoSkipped => "What a step took is not given back when a later step's proof did not come in time.",
            Bug::UndoHeld => "A give-back waits until no ending hold stands.",
            Bug::HoldOnce => "Ending holds are looked at before the first step only.",
            Bug::UnknownIsDown => "A look that could not be made counts as one that said \"down\".",
            Bug::DamageForgotten => "After damage to the ledger all caps begin anew.",
            Bug::BlindRepeat => "After a crash the step under way is begun again before anybody looked.",
            Bug::WallCooldown => "Cooldowns are measured by the wall clock.",
            Bug::ClosureForgotten => "Only the unit that was stopped is given back, not what stopped along with it.",
            Bug::HoldEachOther => "Two that need the same cause wait for each other.",
            Bug::TrueBefore => "A restart is proved by a process that ran before it.",
            Bug::OldLook => "Looks from before our own last act count as evidence after it.",
            Bug::AskersBrake => "Only who asks for a plan is braked, not everybody whom it heals.",
            Bug::UndoNotPushed => "PID 1's undo is armed with the stop, and never pushed ahead.",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(not(feature = "planted"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// From now on the engines of this thread have this bug, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

// The one global state of the core: a bug that had to be handed to each site would be a parameter of the code that ships.
#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}
