//! The desk: all troubles, all lines, and the one message a line that is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::account::{self, Account};
use super::line::{Letter, Line, Mark, Owed, Trouble};
use super::{Counts, Delivered, Message, Rule, Topic};
use crate::id::Str;
use crate::time::{Ms, Now};
use crate::world::World;

/// More at once are told as a number.
const TROUBLES_MAX: usize = 64;
/// What is over for so long is told as a number.
const KEPT: Ms = Ms::hours(24);
/// What holds a remedy is looked up this often, while something is open: it costs as much as a decision.
const WEIGH_EVERY: Ms = Ms::secs(1);

/// Serialised, it is the file of what was told. Losing that file means only: what is open is told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desk {
    /// Records, and incidents among them, when last looked. None: never.
    seen: Option<Seen>,
    troubles: BTreeMap<Topic, Trouble>,
    lines: BTreeMap<Str, Line>,
    /// There was no place for them: they were told as a number.
    passed_over: BTreeSet<Topic>,
    #[serde(skip)]
    weighed: Option<Now>,
    #[serde(skip)]
    looked: bool,
    #[serde(skip)]
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    seq: u64,
    incidents: u64,
}

impl Desk {
    /// Who is to be told, by name. What a notifier was told before is kept if it is among them.
    pub fn declare(&mut self, rules: &BTreeMap<Str, Rule>) {
        self.lines.retain(|name, _| rules.contains_key(name));
        for (name, rule) in rules {
            self.lines.entry(name.clone()).or_default().rule = rule.clone();
        }
        self.changed = true;
    }

    /// Looks at what is wrong. Cheap when no record was added since.
    pub fn look(&mut self, world: &World) {
        let now = world.now;
        let seen = Seen { seq: world.state.seq, incidents: world.state.incidents };
        if !self.looked || self.seen != Some(seen) {
            self.follow(world, seen);
            self.looked = true;
        }
        if self.weighed.is_none_or(|at| now.since(at) >= WEIGH_EVERY) {
            self.weighed = Some(now);
            self.weigh(world);
        }
        self.sweep(now);
    }

    /// One message for each notifier that is free and due. Each is marked as begun: save, send, and say how it ended.
    pub fn letters(&mut self, now: Now) -> Vec<(Str, Message)> {
        let names: Vec<Str> = self.lines.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.letter(now, &name).map(|message| (name, message))).collect()
    }

    pub fn ended(&mut self, now: Now, name: &str, delivered: Delivered) {
        if let Some(line) = self.lines.get_mut(name) {
            line.end(now, delivered);
            self.changed = true;
        }
    }

    /// The boot time at which something is due, if nothing happens before.
    pub fn next_due(&self, now: Now) -> Option<Ms> {
        let due = |line: &Line| {
            let ready = line.ready(now)?;
            let owed = self.troubles.iter().filter_map(|(topic, trouble)| match line.owed(now, *topic, trouble) {
                Owed::Now(_) => Some(now.up),
                Owed::At(at) => Some(at),
                Owed::Never => None,
            });
            let more = (line.more > 0).then(|| line.room(now));
            owed.chain(more).min().map(|at| at.max(ready))
        };
        self.lines.values().filter_map(due).min()
    }

    /// What was said of it may be on its way for the last time: it must be on the disk before.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// For each notifier: what became of its messages, and how many it is owed now.
    pub fn counts(&self, now: Now) -> impl Iterator<Item = (&Str, Counts, usize)> {
        self.lines.iter().map(move |(name, line)| {
            let owed =
                |(topic, trouble): &(&Topic, &Trouble)| matches!(line.owed(now, **topic, trouble), Owed::Now(_));
            (name, line.counts, self.troubles.iter().filter(owed).count() + usize::from(line.more > 0))
        })
    }

    /// Something is on its way.
    pub fn is_sending(&self) -> bool {
        self.lines.values().any(|line| !line.is_idle())
    }

    /// Nothing is open that this notifier would be told of.
    pub fn is_calm(&self, name: &str) -> bool {
        let Some(line) = self.lines.get(name) else { return true };
        let open = |trouble: &Trouble| {
            let rule = &line.rule;
            trouble.over.is_none() && trouble.worst >= rule.severity && rule.hears_of(trouble.account.watches())
        };
        !self.troubles.values().any(open)
    }

    fn follow(&mut self, world: &World, seen: Seen) {
        let mut accounts = account::all(world);
        if self.seen.is_some_and(|before| seen.seq < before.seq || seen.incidents < before.incidents) {
            // Another ledger, whose numbers begin anew: what was told of the old one says nothing about it.
            *self = Desk { lines: std::mem::take(&mut self.lines), ..Desk::default() };
            self.lines.values_mut().for_each(|line| line.marks.clear());
        }
        for (topic, trouble) in &mut self.troubles {
            match accounts.get(topic) {
                Some(_) if trouble.over.is_some() => {}
                Some(account) => trouble.follow(account.clone(), world),
                None => self.changed |= trouble.end(world),
            }
        }
        self.passed_over.retain(|topic| accounts.contains_key(topic));
        let known = |topic: &Topic| self.troubles.get(topic).is_some_and(|trouble| trouble.over.is_none());
        accounts.retain(|topic, _| !known(topic) && !self.passed_over.contains(topic));
        self.count_unseen(&accounts, seen);
        for (topic, account) in accounts {
            self.open(topic, account, world);
        }
        self.seen = Some(seen);
    }

    /// Incidents that came and went while nobody looked: `hostward history` knows them.
    fn count_unseen(&mut self, news: &BTreeMap<Topic, Account>, seen: Seen) {
        let Some(before) = self.seen else { return };
        // An incident's number is that of the record that opened it.
        let fresh = news.keys().filter(|topic| matches!(topic, Topic::Incident(n) if *n > before.seq)).count();
        let opened = seen.incidents.saturating_sub(before.incidents);
        let unseen = u32::try_from(opened.saturating_sub(fresh as u64)).unwrap_or(u32::MAX);
        if unseen > 0 {
            self.lines.values_mut().for_each(|line| line.add(unseen));
            self.changed = true;
        }
    }

    fn open(&mut self, topic: Topic, account: Account, world: &World) {
        self.changed = true;
        if self.troubles.len() >= TROUBLES_MAX {
            let over = self.troubles.iter().find(|(_, trouble)| trouble.over.is_some()).map(|(topic, _)| *topic);
            let Some(over) = over else {
                self.passed_over.insert(topic);
                self.lines.values_mut().for_each(|line| line.drop(topic));
                return;
            };
            self.drop(world.now, over);
        }
        self.lines.values_mut().for_each(|line| line.forget(topic));
        self.troubles.insert(topic, Trouble::new(account));
        self.weighed = None;
    }

    /// What an operator must lift makes it worse, and what he lifted names another next step.
    fn weigh(&mut self, world: &World) {
        for trouble in self.troubles.values_mut().filter(|trouble| trouble.over.is_none()) {
            let Some(cause) = &trouble.account.cause else { continue };
            let paused = world.state.pauses_of(&cause.watch, world.now).next().is_some();
            let held = account::holds(world, cause);
            trouble.account.paused = paused;
            trouble.account.hold(held);
            trouble.worst = trouble.worst.max(trouble.account.severity());
        }
    }

    /// What is over and owed to nobody goes; what nobody could be told in a day becomes a number.
    fn sweep(&mut self, now: Now) {
        let gone: BTreeSet<Topic> = self
            .troubles
            .iter()
            .filter(|(topic, trouble)| {
                let Some(over) = trouble.over else { return false };
                let owed = |line: &Line| !line.is_idle() || line.owed(now, **topic, trouble) != Owed::Never;
                now.since(over) >= KEPT || !self.lines.values().any(owed)
            })
            .map(|(topic, _)| *topic)
            .collect();
        for topic in gone {
            self.drop(now, topic);
        }
    }

    fn drop(&mut self, now: Now, topic: Topic) {
        let Some(trouble) = self.troubles.remove(&topic) else { return };
        for line in self.lines.values_mut() {
            if line.owed(now, topic, &trouble) == Owed::Never {
                line.marks.remove(&topic);
            } else {
                line.drop(topic);
            }
        }
        self.changed = true;
    }

    fn letter(&mut self, now: Now, name: &str) -> Option<Message> {
        let line = self.lines.get_mut(name)?;
        if line.ready(now)? > now.up {
            return None;
        }
        let mut due: Vec<(Topic, Mark, &Trouble)> = self
            .troubles
            .iter()
            .filter_map(|(topic, trouble)| match line.owed(now, *topic, trouble) {
                Owed::Now(mark) => Some((*topic, mark, trouble)),
                Owed::At(_) | Owed::Never => None,
            })
            .collect();
        due.sort_by_key(|(topic, mark, trouble)| (std::cmp::Reverse(mark.severity), trouble.opened, *topic));
        if line.room(now) > now.up {
            for (topic, mark, _) in due {
                line.sum_up(topic, mark);
                self.changed = true;
            }
            return None;
        }
        let more = line.more;
        let (letter, topic, mut message) = match due.first() {
            _ if more > 0 => (Letter::More(more), None, Message::of_more(now, line.sums, more)),
            Some((topic, mark, trouble)) => {
                let message = Message::about(now, *topic, trouble, mark.reminders);
                (Letter::About(*topic, *mark), Some(*topic), message)
            }
            None => return None,
        };
        message.again = line.begin(letter, &message.id);
        let told = |topic: &Topic| line.marks.get(topic).is_some_and(|mark| !mark.over);
        let others =
            self.troubles.iter().filter(|(of, trouble)| Some(**of) != topic && trouble.over.is_none() && told(of));
        message.open = others.map(|(topic, trouble)| trouble.name(*topic)).collect();
        self.changed = true;
        Some(message)
    }
}
