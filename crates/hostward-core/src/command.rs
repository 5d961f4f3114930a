//! What a person, a timer or the control socket may ask of the engine.

use serde::{Deserialize, Serialize};

use crate::hold::Held;
use crate::id::{RunId, Str, WatchId};
use crate::ledger::Closing;
use crate::plan::PlanHash;
use crate::time::Ms;
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// What is known now.
    View,
    /// Look afresh, at one watch or at all, and say what was seen. Decides nothing of its own.
    Look {
        watch: Option<WatchId>,
    },
    /// One whole cycle of a watch and its app's others: look, judge, and see any run through to its end. Waits up to
    /// `patience` for what is being confirmed.
    Cycle {
        watch: WatchId,
        patience: Ms,
    },
    /// An operator has looked: with no watch named at a damaged ledger, so that caps count again from here; and at what
    /// is stuck of the watch, or of every watch.
    Clear {
        #[serde(default)]
        watch: Option<WatchId>,
    },
    /// Maintenance: no forward step of the watch, or of any, for so long.
    Pause {
        watch: Option<WatchId>,
        span: Ms,
        reason: Str,
    },
    Resume {
        watch: Option<WatchId>,
    },
    /// Carry out the very plan that was shown, if all that it rests on still holds, and see it through to its end.
    Apply {
        plan: PlanHash,
        patience: Ms,
    },
}

/// No pause is longer: a forgotten one ends.
pub const PAUSE_MAX: Ms = Ms::hours(24 * 30);

/// Which order a reply belongs to; the caller's to choose.
pub type OrderId = u64;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    View(Box<View>),
    NoSuchWatch { asked: WatchId, known: Vec<WatchId> },
    Refused { why: Str },
    Applied(Box<Applied>),
}

/// What became of `hostward apply`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It was carried out: how it ended.
    Ran { run: RunId, closing: Closing },
    /// It began, and goes on past the caller's patience.
    Runs { run: RunId },
    /// What it rests on has moved since it was shown: what, what it was, what it is.
    Moved { what: Str, was: Str, is: Str },
    /// Nobody proposes it now. These plans are.
    Unknown { proposed: Vec<PlanHash> },
    /// It stands as it was shown, and these hold it.
    Held { holds: Vec<Held> },
}
