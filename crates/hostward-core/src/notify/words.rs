//! A message in words: a title of a line, and a text that answers what, since when, what was done or why not, what next.

use std::fmt::Write as _;

use super::account::Account;
use super::line::Trouble;
use super::{Came, Event, Message, Topic, Try};
use crate::hold::{Held, Hold, Lift};
use crate::id::WatchId;
use crate::ledger::Settlement;
use crate::time::Now;

/// A text names so many holds; `hostward explain` names them all.
const HELD_SHOWN: usize = 3;

impl Message {
    pub(super) fn about(now: Now, topic: Topic, trouble: &Trouble, reminder: u32) -> Message {
        let Trouble { account, over, opened, .. } = trouble;
        let event = if over.is_some() { Event::Cleared } else { account.event };
        let mut id = format!("{topic}/{}", event.label());
        if reminder > 0 {
            let _ = write!(id, "/{reminder}");
        }
        Message {
            id,
            event,
            severity: event.severity(),
            at: now,
            watch: account.watch.clone(),
            condition: account.condition.clone(),
            reason: account.reason.clone(),
            detail: account.detail.clone(),
            since: *opened,
            until: *over,
            dependents: account.dependents.iter().cloned().collect(),
            needed_by: account.needed_by.iter().cloned().collect(),
            did: account.tries.clone(),
            held: account.held.clone(),
            next: next(event, account).into(),
            reminder,
            again: false,
            more: 0,
            open: Vec::new(),
        }
    }

    pub(super) fn of_more(now: Now, sum: u64, more: u32) -> Message {
        let detail = "beyond the limit of this notifier, or nobody could be told in time";
        let next = "hostward status; hostward history";
        Message { id: format!("more/{sum}"), more, ..Message::plain(now, Event::More, detail, next) }
    }

    /// `hostward notify test`.
    pub fn test(now: Now) -> Message {
        let detail = "this is a test: nothing is wrong, and nothing was done";
        Message::plain(now, Event::Test, detail, "nothing: it arrived")
    }

    fn plain(now: Now, event: Event, detail: &str, next: &str) -> Message {
        Message {
            id: event.label().to_owned(),
            event,
            severity: event.severity(),
            at: now,
            watch: None,
            condition: event.label().into(),
            reason: event.label().into(),
            detail: detail.into(),
            since: now,
            until: None,
            dependents: Vec::new(),
            needed_by: Vec::new(),
            did: Vec::new(),
            held: Vec::new(),
            next: next.into(),
            reminder: 0,
            again: false,
            more: 0,
            open: Vec::new(),
        }
    }

    /// One line; control characters never reach a header or a push.
    pub fn title(&self, host: &str) -> String {
        let watch = self.watch.as_ref().map_or("", WatchId::as_str);
        let says = match self.event {
            Event::Down => format!("{watch} is {} ({})", self.condition, self.reason),
            Event::NotCleared => format!("{watch} is still {}: {}", self.condition, came_to(&self.did)),
            Event::Held => match self.held.first() {
                Some(held) => format!("{watch} is {} and needs you: {}", self.condition, held.hold.label()),
                None => format!("{watch} is {} and needs you", self.condition),
            },
            Event::UndoFailed => format!("{watch}: what was stopped does not start again"),
            Event::Stuck => format!("{watch} is stuck: an undo was given up"),
            Event::LedgerDamaged => "the ledger was damaged: little is repaired".to_owned(),
            Event::SafeMode => "safe mode: Hostward only observes".to_owned(),
            Event::Cleared => self.cleared(watch),
            Event::More => format!("and {} more", self.more),
            Event::Test => "a test message".to_owned(),
        };
        let reminder = if self.reminder > 0 { "still: " } else { "" };
        let title = format!("[{host}] {reminder}{says}");
        title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: &str| {
            let _ = writeln!(out, "{text}");
        };
        line(&self.detail);
        match (self.event, self.until) {
            (Event::More | Event::Test, _) => {}
            (_, Some(until)) => line(&format!("It lasted {}.", until.since(self.since))),
            (_, None) => line(&format!("Since {} ago.", self.at.since(self.since))),
        }
        if !self.dependents.is_empty() {
            line(&format!("Because of it: {}.", list(&self.dependents)));
        }
        if !self.needed_by.is_empty() && self.until.is_none() {
            line(&format!("Needed by: {}.", list(&self.needed_by)));
        }
        for tried in &self.did {
            line(&format!("Tried: {} (run {}): {}.", tried.rung, tried.run, tried.came_to.words()));
        }
        for held in self.held.iter().take(HELD_SHOWN) {
            line(&format!("Held: {}: {}; {}.", held.hold.label(), held.value, lifts(held)));
        }
        if let Some(more @ 1..) = self.held.len().checked_sub(HELD_SHOWN) {
            line(&format!("And {more} more holds."));
        }
        line(&format!("Next: {}", self.next));
        if !self.open.is_empty() {
            line(&format!("Also open: {}.", self.open.join(", ")));
        }
        if self.again {
            line("Sent again: an earlier try of this message may have arrived.");
        }
        out
    }

    fn cleared(&self, watch: &str) -> String {
        let lasted = self.until.map(|until| until.since(self.since)).unwrap_or_default();
        let by = match self.did.last() {
            Some(tried) if matches!(tried.came_to, Came::Proved | Came::To(Settlement::Cleared)) => {
                format!("cleared by {}", tried.rung)
            }
            Some(_) => "not by what was tried".to_owned(),
            None => "by itself, or by hand".to_owned(),
        };
        match &*self.condition {
            "up" => format!("{watch} is up again after {lasted}, {by}"),
            "not_watched" => format!("{watch} is no longer watched"),
            _ if watch.is_empty() => format!("over: {}", self.reason.replace('_', " ")),
            _ => format!("{watch}: over: {}", self.reason.replace('_', " ")),
        }
    }
}

impl Came {
    fn words(self) -> &'static str {
        match self {
            Came::UnderWay => "under way",
            Came::Proved => "proved; it must stay up for its soak",
            Came::To(Settlement::Cleared) => "cleared it",
            Came::To(Settlement::NotCleared) => "did not clear it",
            Came::To(Settlement::Relapsed) => "had cleared it, and it fell again",
            Came::To(Settlement::Undone) => "did not clear it, and put everything back",
            Came::To(Settlement::UndoFailed) => "did not clear it, and could not put everything back",
        }
    }
}

fn came_to(did: &[Try]) -> String {
    match did.iter().rev().find(|tried| tried.came_to != Came::UnderWay) {
        Some(tried) => format!("{} {}", tried.rung, tried.came_to.words()),
        None => "nothing was tried".to_owned(),
    }
}

fn lifts(held: &Held) -> String {
    match &held.lift {
        Lift::At(_) => "lifts by itself".to_owned(),
        Lift::Fact(fact) => format!("lifts with {fact}"),
        Lift::Operator(what) => format!("lifts when you {what}"),
    }
}

fn next(event: Event, account: &Account) -> String {
    let watch = account.watch.as_ref().map_or("", WatchId::as_str);
    match event {
        Event::Held if account.held.iter().any(|held| held.hold == Hold::ProposeOnly) => {
            format!("hostward plan {watch}, then hostward apply PLAN")
        }
        Event::UndoFailed => format!("hostward status names the unit: start it, or hostward clear {watch}"),
        Event::Stuck => format!("look at what it froze, then hostward clear {watch}"),
        Event::LedgerDamaged => "look at ledger.damaged-* in /var/lib/hostward, then hostward clear".to_owned(),
        Event::SafeMode => "journalctl -u hostward, then systemctl restart hostward".to_owned(),
        Event::Cleared if watch.is_empty() => "nothing".to_owned(),
        Event::Cleared => format!("nothing; hostward history {watch} says what happened"),
        _ => format!("hostward explain {watch}"),
    }
}

fn list(watches: &[WatchId]) -> String {
    let names: Vec<&str> = watches.iter().map(WatchId::as_str).collect();
    names.join(", ")
}
