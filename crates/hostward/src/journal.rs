//! The daemon's log: lines on stderr with journald's priority prefix, written by a thread of its own.
//!
//! A journald that stops reading blocks its writers; the decision loop must not be one of them. Lines that do not fit
//! are dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use hostward_core::time::{Ms, Now};

/// Lines waiting for journald.
const WAITING_MAX: usize = 256;
/// A line a transition, at most this many a minute and watch.
const A_MINUTE: usize = 10;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

#[derive(Debug)]
pub(crate) struct Journal {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    recent: BTreeMap<String, VecDeque<Now>>,
    /// Under systemd a line carries its priority; on a terminal that would be noise.
    prefixed: bool,
}

impl Journal {
    pub(crate) fn start() -> std::io::Result<Journal> {
        let (lines, queue) = sync_channel::<String>(WAITING_MAX);
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            let mut out = std::io::stderr();
            for line in queue {
                // With stderr closed there is nobody to tell.
                let _ = writeln!(out, "{line}");
            }
        })?;
        let prefixed = std::env::var_os("JOURNAL_STREAM").is_some();
        Ok(Journal { lines, dropped: Arc::default(), recent: BTreeMap::new(), prefixed })
    }

    pub(crate) fn say(&self, level: Level, line: &str) {
        let line = line.replace('\n', " ");
        let line = if self.prefixed { format!("<{}>{line}", level as u8) } else { line };
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A line about one watch, unless it has said enough for this minute.
    pub(crate) fn say_of(&mut self, now: Now, watch: &str, level: Level, line: &str) {
        let recent = self.recent.entry(watch.to_owned()).or_default();
        while recent.front().is_some_and(|at| now.since(*at) >= Ms::mins(1)) {
            recent.pop_front();
        }
        if recent.len() >= A_MINUTE {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        recent.push_back(now);
        self.say(level, line);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
