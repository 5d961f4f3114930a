//! What a person, a timer or the control socket may ask of the engine.

use serde::{Deserialize, Serialize};

use crate::id::WatchId;
use crate::time::Ms;
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// What is known now.
    View,
    /// Look afresh, at one watch or at all, and say what was seen. Decides nothing of its own.
    Look { watch: Option<WatchId> },
    /// One whole cycle of a watch and its app's others: look, judge, and see any run through to its end. Waits up to
    /// `patience` for what is being confirmed.
    Cycle { watch: WatchId, patience: Ms },
    /// An operator has looked at a damaged ledger: caps count again from here.
    Clear,
}

/// Which order a reply belongs to; the caller's to choose.
pub type OrderId = u64;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    View(Box<View>),
    NoSuchWatch { asked: WatchId, known: Vec<WatchId> },
}
