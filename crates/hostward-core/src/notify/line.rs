//! One notifier's line: what it was told, what it is owed, how often, and when it is tried again.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::{Event, Rule, Severity, Topic};
use crate::id::Str;
use crate::ledger::CHARGES_KEPT;
use crate::time::{Ms, Now};
use crate::world::World;

/// By then a remedy is under way or held, and what depends on the cause has fallen as well: one message says it all.
const GATHER: Ms = Ms::secs(5);
/// The end of a trouble is told once the remedy's own end is known, but not later than this.
const SETTLE_MAX: Ms = Ms::mins(2);
/// After a failed try; doubles with each, without jitter: one host, a handful of notifiers.
const BACKOFF: Ms = Ms::secs(5);
const BACKOFF_MAX: Ms = Ms::mins(10);

/// Something that is, or was, wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub(super) account: Account,
    pub(super) opened: Now,
    pub(super) over: Option<Now>,
    /// The most that it ever mattered.
    pub(super) worst: Severity,
}

/// What a notifier was last told of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) severity: Severity,
    pub(super) at: Now,
    pub(super) reminders: u32,
    pub(super) over: bool,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    Sent,
    /// It did not arrive.
    Failed,
    /// It may have arrived: nobody said so in time.
    Unclear,
}

/// Since the start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub failed: u64,
    /// Beyond the limit: told as a number.
    pub summed: u64,
    /// Given up: too many, or too old.
    pub dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    /// From the configuration.
    #[serde(skip)]
    pub(super) rule: Rule,
    pub(super) marks: BTreeMap<Topic, Mark>,
    sent: VecDeque<Now>,
    /// Messages that became a number, and how many numbers were told.
    pub(super) more: u32,
    pub(super) sums: u64,
    /// The message that was begun and whose end is not known.
    pub(super) begun: Option<String>,
    #[serde(skip)]
    under_way: Option<Letter>,
    #[serde(skip)]
    failures: u32,
    #[serde(skip)]
    failed: Option<Now>,
    #[serde(skip)]
    pub(super) counts: Counts,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    About(Topic, Mark),
    More(u32),
}

/// Whether a line is to be told of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Now(Mark),
    /// At this boot time, if nothing changes.
    At(Ms),
    Never,
}

impl Line {
    pub(super) fn owed(&self, now: Now, topic: Topic, trouble: &Trouble) -> Owed {
        let (rule, mark) = (&self.rule, self.marks.get(&topic));
        if !rule.hears_of(trouble.account.watches()) {
            return Owed::Never;
        }
        let heard = trouble.worst >= rule.severity;
        let fresh = Mark { severity: trouble.worst, at: now, reminders: 0, over: trouble.over.is_some() };
        match (trouble.over, mark) {
            (_, Some(Mark { over: true, .. })) => Owed::Never,
            (Some(over), None) if !heard || over.since(trouble.opened) < rule.after => Owed::Never,
            (Some(over), _) if trouble.account.is_tried() => from(now, over, SETTLE_MAX, fresh),
            (Some(_), _) => Owed::Now(fresh),
            (None, None) if heard => from(now, trouble.opened, rule.after.max(GATHER), fresh),
            (None, None) => Owed::Never,
            (None, Some(mark)) if trouble.worst > mark.severity => Owed::Now(fresh),
            (None, Some(mark)) => match rule.remind {
                Some(remind) if trouble.calls() => {
                    from(now, mark.at, remind, Mark { reminders: mark.reminders.saturating_add(1), ..fresh })
                }
                _ => Owed::Never,
            },
        }
    }

    /// The boot time before which nothing is tried; none while something is on its way.
    pub(super) fn ready(&self, now: Now) -> Option<Ms> {
        if self.under_way.is_some() {
            return None;
        }
        let backoff = (BACKOFF * (1u64 << self.failures.saturating_sub(1).min(16))).min(BACKOFF_MAX);
        Some(self.failed.map_or(now.up, |failed| now.reach(failed, backoff)))
    }

    /// The boot time at which the limit lets one more through.
    pub(super) fn room(&self, now: Now) -> Ms {
        let limit = self.rule.limit;
        let cost = usize::try_from(limit.cost).unwrap_or(usize::MAX);
        let within = self.sent.iter().filter(|at| now.since(**at) < limit.per);
        match within.rev().nth(cost.saturating_sub(1)) {
            Some(at) => now.reach(*at, limit.per),
            None => now.up,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// The message's id is written down before it is sent. True: an earlier try of it may have arrived.
    pub(super) fn begin(&mut self, letter: Letter, id: &str) -> bool {
        let again = self.begun.as_deref() == Some(id);
        self.begun = Some(id.to_owned());
        self.under_way = Some(letter);
        again
    }

    pub(super) fn end(&mut self, now: Now, delivered: Delivered) {
        let Some(letter) = self.under_way.take() else { return };
        if delivered != Delivered::Unclear {
            self.begun = None;
        }
        if delivered != Delivered::Sent {
            self.failures = self.failures.saturating_add(1);
            self.failed = Some(now);
            self.counts.failed += 1;
            return;
        }
        (self.failures, self.failed) = (0, None);
        self.counts.sent += 1;
        self.sent.push_back(now);
        while self.sent.len() > CHARGES_KEPT {
            self.sent.pop_front();
        }
        match letter {
            Letter::About(topic, mark) => {
                self.marks.insert(topic, Mark { at: now, ..mark });
            }
            Letter::More(told) => {
                self.more = self.more.saturating_sub(told);
                self.sums += 1;
            }
        }
    }

    /// Beyond the limit: it counts as told. What is only called to mind is not even counted.
    pub(super) fn sum_up(&mut self, topic: Topic, mark: Mark) {
        self.marks.insert(topic, mark);
        if mark.reminders == 0 {
            self.add(1);
            self.counts.summed += 1;
        }
    }

    /// What was told of an earlier trouble of this name says nothing about the new one.
    pub(super) fn forget(&mut self, topic: Topic) {
        self.marks.remove(&topic);
    }

    /// It was not told, and is no longer there to be told.
    pub(super) fn drop(&mut self, topic: Topic) {
        self.marks.remove(&topic);
        self.add(1);
        self.counts.dropped += 1;
    }

    pub(super) fn add(&mut self, more: u32) {
        self.more = self.more.saturating_add(more);
    }
}

impl Trouble {
    pub(super) fn new(account: Account) -> Trouble {
        Trouble { opened: account.since, worst: account.severity(), over: None, account }
    }

    pub(super) fn follow(&mut self, account: Account, world: &World) {
        self.account.follow(account, &world.state);
        self.worst = self.worst.max(self.account.severity());
    }

    /// It is no longer there. True: that is news.
    pub(super) fn end(&mut self, world: &World) -> bool {
        self.account.settle(world);
        let news = self.over.is_none();
        self.over.get_or_insert(world.now);
        news
    }

    pub(super) fn name(&self, topic: Topic) -> Str {
        self.account.watch.as_ref().map_or_else(|| topic.to_string().into(), |watch| watch.as_str().into())
    }

    /// Worth being called to mind: nobody has said that he knows, or only a person lifts what holds it.
    fn calls(&self) -> bool {
        !self.account.paused || self.account.event == Event::Held
    }
}

fn from(now: Now, since: Now, span: Ms, mark: Mark) -> Owed {
    let at = now.reach(since, span);
    if at <= now.up { Owed::Now(mark) } else { Owed::At(at) }
}
