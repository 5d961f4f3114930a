//! Notify: who is told of what, and when. Pure: the world goes in, messages and the time of the next one come out; the
//! edge delivers them and says how that went. Nothing here flows back into a decision.
//!
//! What is owed is never a queue. It is the difference between the troubles that there are (by the ledger's fold) and the
//! marks of what each notifier was told, so a restart derives it again and a notifier that was dead hears the newest word,
//! not the oldest. Rules:
//!
//! * An incident, a cause with its dependents, is told once; once more if it becomes worse; once when it is over. One that
//!   is over before it was told is told in one message.
//! * What is held by something that only a person lifts, and what nobody has paused, is called to mind again.
//! * Beyond its rate a notifier hears a number: "and 7 more".

mod account;
mod desk;
mod line;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hold::Held;
use crate::id::{RunId, Rung, Str, WatchId};
use crate::ledger::Settlement;
use crate::policy::Budget;
use crate::time::{Ms, Now};

pub use desk::Desk;
pub use line::{Counts, Delivered};

/// How much it matters. Ordered: a notifier hears its own severity and what is above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is over.
    Info,
    /// Something is wrong, and is being worked on.
    #[default]
    Warning,
    /// A person is needed.
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    pub fn label(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// What a message says. The closed set: each is a word of the webhook's documented shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An incident is open, and is being worked on.
    Down,
    /// A remedy was tried and did not clear it.
    NotCleared,
    /// It is held by what only a person lifts, or no remedy fits.
    Held,
    /// An undo goes on failing: what we took is not given back yet.
    UndoFailed,
    /// An undo was given up: what it touched is frozen.
    Stuck,
    /// The ledger was set aside, and caps count as spent.
    LedgerDamaged,
    /// The daemon died too often and only observes.
    SafeMode,
    /// It is over.
    Cleared,
    /// What the rate of this notifier did not let through, as a number.
    More,
    /// `hostward notify test`.
    Test,
}

impl Event {
    pub const ALL: [Event; 10] = [
        Event::Down,
        Event::NotCleared,
        Event::Held,
        Event::UndoFailed,
        Event::Stuck,
        Event::LedgerDamaged,
        Event::SafeMode,
        Event::Cleared,
        Event::More,
        Event::Test,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Event::Down => "down",
            Event::NotCleared => "not_cleared",
            Event::Held => "held",
            Event::UndoFailed => "undo_failed",
            Event::Stuck => "stuck",
            Event::LedgerDamaged => "ledger_damaged",
            Event::SafeMode => "safe_mode",
            Event::Cleared => "cleared",
            Event::More => "more",
            Event::Test => "test",
        }
    }

    pub fn severity(self) -> Severity {
        match self {
            Event::Cleared | Event::Test => Severity::Info,
            Event::Down | Event::More => Severity::Warning,
            Event::NotCleared
            | Event::Held
            | Event::UndoFailed
            | Event::Stuck
            | Event::LedgerDamaged
            | Event::SafeMode => Severity::Critical,
        }
    }
}

/// What can be wrong, each until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Topic {
    Ledger,
    SafeMode,
    /// What this run took is not given back.
    Undo(RunId),
    /// By the record that opened it.
    Incident(u64),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Ledger => f.write_str("ledger"),
            Topic::SafeMode => f.write_str("safe-mode"),
            Topic::Undo(run) => write!(f, "undo-{run}"),
            Topic::Incident(n) => write!(f, "incident-{n}"),
        }
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> String {
        topic.to_string()
    }
}

impl TryFrom<String> for Topic {
    type Error = String;

    fn try_from(text: String) -> Result<Topic, String> {
        let number = |n: &str| n.parse::<u64>().ok();
        let topic = match text.rsplit_once('-') {
            _ if text == "ledger" => Some(Topic::Ledger),
            _ if text == "safe-mode" => Some(Topic::SafeMode),
            Some(("undo", n)) => number(n).map(|n| Topic::Undo(RunId(n))),
            Some(("incident", n)) => number(n).map(Topic::Incident),
            _ => None,
        };
        topic.ok_or_else(|| format!("'{text}' is no topic"))
    }
}

/// What one notifier wants to hear, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// None: of every watch. What concerns the whole host is heard by all.
    pub watches: Vec<Pattern>,
    /// The least severity. The end of what was told is told whatever this says.
    pub severity: Severity,
    /// What is over sooner is not told at all.
    pub after: Ms,
    pub remind: Option<Ms>,
    /// Messages in a rolling window; its cost is one each.
    pub limit: Budget,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            watches: Vec::new(),
            severity: Severity::default(),
            after: Ms::ZERO,
            remind: None,
            limit: Budget { cost: 20, per: Ms::hours(1) },
        }
    }
}

impl Rule {
    fn hears_of<'a>(&self, watches: impl IntoIterator<Item = &'a WatchId>) -> bool {
        let mut watches = watches.into_iter().peekable();
        let meant = |watch: &WatchId| self.watches.iter().any(|pattern| pattern.matches(watch));
        self.watches.is_empty() || watches.peek().is_none() || watches.any(meant)
    }
}

/// `service.*`: a watch's name in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(Str);

impl Pattern {
    pub fn new(text: impl Into<Str>) -> Pattern {
        Pattern(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, watch: &WatchId) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return *self.0 == *watch.as_str() };
        let Some(mut left) = watch.as_str().strip_prefix(head) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let tail = parts.pop().unwrap_or_default();
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = left.get(at + part.len()..).unwrap_or_default();
        }
        left.ends_with(tail)
    }
}

/// One remedy that was tried, and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    pub run: RunId,
    pub rung: Rung,
    pub came_to: Came,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    UnderWay,
    /// Every step was proved; whether it stays up is not known yet.
    Proved,
    #[serde(untagged)]
    To(Settlement),
}

impl Came {
    pub fn label(self) -> &'static str {
        match self {
            Came::UnderWay => "under_way",
            Came::Proved => "proved",
            Came::To(settlement) => settlement.label(),
        }
    }
}

/// Everything that one message says. The edge gives it its shape: JSON, a mail, a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same for each try of the same message: what a receiver tells duplicates by.
    pub id: String,
    pub event: Event,
    /// Of what it is about: the end of something critical is still `info`.
    pub severity: Severity,
    pub at: Now,
    /// None: the whole host.
    pub watch: Option<WatchId>,
    /// `down`, `unknown`, `up`, ...
    pub condition: Str,
    pub reason: Str,
    pub detail: Str,
    pub since: Now,
    pub until: Option<Now>,
    /// Down because of it.
    pub dependents: Vec<WatchId>,
    /// Need it, and are not down.
    pub needed_by: Vec<WatchId>,
    pub did: Vec<Try>,
    /// What an operator lifts first.
    pub held: Vec<Held>,
    /// What to do next.
    pub next: Str,
    /// The how-manieth time it is called to mind; 0: it is told for the first time.
    pub reminder: u32,
    /// An earlier try of it may have arrived.
    pub again: bool,
    /// How many messages it stands for, beside itself.
    pub more: u32,
    /// What else is open of what this notifier was told.
    pub open: Vec<Str>,
}
