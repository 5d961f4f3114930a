//! What the daemon says of itself beside the engine's view, and the shape that `status --json` prints.

use hostward_core::id::WatchId;
use hostward_core::view::{View, WatchView};
use serde::{Deserialize, Serialize};

use crate::notify::Tally;

/// Version of this shape; it rises when a field changes meaning or goes.
pub(crate) const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Health {
    /// None: no textfile is configured.
    pub(crate) textfile_ok: Option<bool>,
    pub(crate) log_lines_dropped: u64,
    /// Killed probes that hang in the kernel.
    #[serde(default)]
    pub(crate) probes_hung: u32,
    /// What became of messages to people.
    #[serde(default)]
    pub(crate) notifiers: Vec<Tally>,
    /// No new file of the ledger could be begun.
    #[serde(default)]
    pub(crate) ledger_not_rotated: bool,
    /// What keeps an export from working, each with what to do.
    pub(crate) problems: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: u32,
    /// The daemon's process; none when it does not run and this process looked by itself.
    pub(crate) daemon: Option<u32>,
    /// There is no configuration: up, idle.
    pub(crate) idle: Option<String>,
    pub(crate) health: Health,
    pub(crate) view: View,
}

impl Status {
    /// The watches that a verb is about: one, or all.
    pub(crate) fn scope<'a>(&'a self, watch: Option<&'a WatchId>) -> impl Iterator<Item = &'a WatchView> {
        self.view.watches.iter().filter(move |view| watch.is_none_or(|id| view.id == *id))
    }
}
