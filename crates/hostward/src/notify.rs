//! Notifications, the edge: the core's desk says who is told what and when; here its memory is kept on the disk, its
//! messages go out beside the loop, and how that went comes back.
//!
//! Invariant: nothing here is waited for by a turn. A notifier that is dead, a disk that hangs and a secret that cannot be
//! read cost a task of their own.

mod beats;
mod deliver;
mod shape;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostward_config::{Notifier, Notify};
use hostward_core::id::Str;
use hostward_core::notify::{Delivered, Desk, Message};
use hostward_core::time::Now;
use hostward_core::world::World;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::journal::{Journal, Level};
use crate::store;
use beats::Beats;
pub(crate) use deliver::{Courier, Outcome};

/// A message waits this long for its intent to be on the disk. Beyond that a duplicate after a crash is the lesser evil.
const SAVE_MAX: Duration = Duration::from_secs(5);
/// The daemon's end waits so long for what is on its way.
const FINISH_MAX: Duration = Duration::from_millis(1500);
/// What is due at once is due at the next turn: never a spin.
const PAUSE: Duration = Duration::from_millis(20);
/// One letter and one beat a notifier, and a save.
const DONE_MAX: usize = 64;

/// What became of one notifier's messages since the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) notifier: Str,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) summed: u64,
    pub(crate) dropped: u64,
    /// Owed now, and not delivered.
    pub(crate) pending: usize,
}

/// Something outside came to its end, or its time.
#[derive(Debug)]
pub(crate) enum Happened {
    Delivered(Str, Outcome),
    Beaten(Str, Outcome),
    Saved(u64, Result<(), String>),
    Due,
}

#[derive(Debug)]
pub(crate) struct Notices {
    desk: Desk,
    config: Notify,
    file: PathBuf,
    courier: Arc<Courier>,
    done: mpsc::Sender<Happened>,
    inbox: mpsc::Receiver<Happened>,
    /// How many states of the desk were to be saved, and up to which one that was tried.
    wanted: u64,
    saved: watch::Sender<u64>,
    saving: bool,
    unsaved: Option<String>,
    beats: Beats,
    /// What is wrong with whom.
    failing: std::collections::BTreeMap<Str, String>,
    due: Option<Instant>,
}

impl Notices {
    /// What was told before is read; without it all that is open is told again.
    pub(crate) fn start(state: &Path, config: Notify) -> Notices {
        let file = state.join("notified.json");
        let told = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (done, inbox) = mpsc::channel(DONE_MAX);
        let mut notices = Notices {
            desk: told.unwrap_or_default(),
            config: Notify::default(),
            file,
            courier: Arc::new(Courier::new()),
            done,
            inbox,
            wanted: 0,
            saved: watch::channel(0).0,
            saving: false,
            unsaved: None,
            beats: Beats::default(),
            failing: std::collections::BTreeMap::new(),
            due: None,
        };
        notices.configure(config);
        notices
    }

    pub(crate) fn configure(&mut self, config: Notify) {
        self.desk.declare(&config.notifiers.iter().map(|(name, of)| (name.clone(), of.rule.clone())).collect());
        self.beats.configure(&config);
        self.failing.retain(|name, _| config.notifiers.contains_key(name));
        self.courier.forget();
        self.config = config;
    }

    /// Cancel-safe: nothing is taken from the inbox before it is returned.
    pub(crate) async fn next(&mut self) -> Happened {
        let due = self.due;
        let time = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(happened) = self.inbox.recv() => happened,
            () = time => Happened::Due,
        }
    }

    pub(crate) fn take(&mut self, now: Now, happened: Happened, journal: &Journal) {
        match happened {
            Happened::Due => {}
            Happened::Saved(state, how) => {
                self.saving = false;
                self.unsaved = how.err();
                self.saved.send_replace(state);
            }
            Happened::Delivered(name, outcome) => {
                self.desk.ended(now, &name, outcome.delivered());
                self.say(&name, outcome, journal);
            }
            Happened::Beaten(name, outcome) => {
                self.beats.ended(&name, outcome.delivered());
                self.say(&name, outcome, journal);
            }
        }
    }

    /// What is due is begun.
    pub(crate) fn turn(&mut self, now: Now, world: &World) {
        if self.config == Notify::default() {
            return;
        }
        self.desk.look(world);
        let letters = self.desk.letters(now);
        self.save();
        for (name, message) in letters {
            self.send(name, message);
        }
        let left = |at: hostward_core::time::Ms| Duration::from(at.saturating_sub(now.up)).max(PAUSE);
        self.due = self.desk.next_due(now).map(|at| Instant::now() + left(at));
    }

    /// The engine has completed a turn: nothing else makes a ping, as nothing else feeds the watchdog.
    pub(crate) fn turned(&mut self) {
        for (name, way) in self.beats.due(&self.config, |name| self.desk.is_calm(name)) {
            let (courier, done) = (Arc::clone(&self.courier), self.done.clone());
            tokio::spawn(async move {
                let outcome = courier.beat(&way).await;
                // Nobody listens: we are ending.
                let _ = done.send(Happened::Beaten(name, outcome)).await;
            });
        }
    }

    pub(crate) fn tallies(&self, now: Now) -> Vec<Tally> {
        let letters = self.desk.counts(now).map(|(notifier, counts, pending)| (notifier.clone(), counts, pending));
        let mut tallies: Vec<Tally> = letters
            .map(|(notifier, counts, pending)| Tally {
                sent: counts.sent + self.beats.counts(&notifier).0,
                failed: counts.failed + self.beats.counts(&notifier).1,
                notifier,
                summed: counts.summed,
                dropped: counts.dropped,
                pending,
            })
            .collect();
        if self.config.deadman.is_some() {
            let (sent, failed) = self.beats.counts(beats::DEADMAN);
            tallies.push(Tally { notifier: beats::DEADMAN.into(), sent, failed, summed: 0, dropped: 0, pending: 0 });
        }
        tallies
    }

    /// Each with what to do.
    pub(crate) fn problems(&self) -> Vec<String> {
        let failing =
            self.failing.iter().map(|(name, why)| format!("notify.{name}: {why}; `hostward notify test {name}`"));
        let unsaved = self.unsaved.iter().map(|why| format!("notify: what was told could not be kept: {why}"));
        failing.chain(unsaved).collect()
    }

    /// The end: what is on its way may still arrive, and what is known by then is kept.
    pub(crate) async fn finish(mut self, now: Now, journal: &Journal) {
        self.save();
        let wait = async {
            while self.desk.is_sending() || self.saving {
                let Some(happened) = self.inbox.recv().await else { return };
                self.take(now, happened, journal);
                self.save();
            }
        };
        let _ = tokio::time::timeout(FINISH_MAX, wait).await;
    }

    fn send(&self, name: Str, message: Message) {
        let Some(Notifier { way, .. }) = self.config.notifiers.get(&name).cloned() else { return };
        let (courier, done) = (Arc::clone(&self.courier), self.done.clone());
        let (mut saved, wanted) = (self.saved.subscribe(), self.wanted);
        tokio::spawn(async move {
            let kept = saved.wait_for(|saved| *saved >= wanted);
            let _ = tokio::time::timeout(SAVE_MAX, kept).await;
            let outcome = courier.deliver(&way, &message).await;
            let _ = done.send(Happened::Delivered(name, outcome)).await;
        });
    }

    /// One save at a time, on a thread; the next one takes what is newest then.
    fn save(&mut self) {
        self.wanted += u64::from(self.desk.take_changed());
        if self.saving || *self.saved.borrow() >= self.wanted {
            return;
        }
        self.saving = true;
        let (file, state, done) = (self.file.clone(), self.wanted, self.done.clone());
        let json = serde_json::to_vec(&self.desk);
        tokio::task::spawn_blocking(move || {
            let kept = json.map_err(anyhow::Error::new).and_then(|json| store::replace(&file, &json, 0o600));
            // A full inbox makes this thread wait, never the loop.
            let _ = done.blocking_send(Happened::Saved(state, kept.map_err(|e| format!("{e:#}"))));
        });
    }

    /// Once when it begins to fail, once when it works again.
    fn say(&mut self, name: &Str, outcome: Outcome, journal: &Journal) {
        match outcome {
            Outcome::Sent(_) => {
                if self.failing.remove(name).is_some() {
                    journal.say(Level::Notice, &format!("notify.{name} works again"));
                }
            }
            Outcome::Failed(why) | Outcome::Unclear(why) => {
                if self.failing.insert(name.clone(), why.clone()).is_none() {
                    journal.say(Level::Warning, &format!("notify.{name}: {why}; tried again, ever more slowly"));
                }
            }
        }
    }
}

impl Outcome {
    fn delivered(&self) -> Delivered {
        match self {
            Outcome::Sent(_) => Delivered::Sent,
            Outcome::Failed(_) => Delivered::Failed,
            Outcome::Unclear(_) => Delivered::Unclear,
        }
    }
}
