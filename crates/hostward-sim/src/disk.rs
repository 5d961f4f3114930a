//! The disk that the ledger is on: it takes its time, fills up, and lies about what it keeps.
//!
//! Records are committed in groups by a thread of their own, as `hostward_host::ledger::Writer` does: a group that fails
//! stays queued and is tried again every second.

use hostward_core::ledger::Record;
use hostward_core::time::Ms;

use crate::scenario::fault::Tail;

/// As `Writer::MAX_WAITING`: past it the file no longer tells all.
pub const WAITING_MAX: usize = 1024;
pub const RETRY_EVERY: Ms = Ms::secs(1);

#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Everything that was handed over, in order.
    pub records: Vec<Record>,
    /// How many of them were said to be durable.
    pub durable: usize,
    /// How many of them a power cut would leave.
    pub physical: usize,
    /// A group is under way: it ends with this many.
    pub writing: Option<usize>,
    pub failing: bool,
    /// More waited than is kept.
    pub overflowed: bool,
    /// Its middle is unreadable: the next engine will find out.
    pub damaged: bool,
}

impl Disk {
    pub fn append(&mut self, record: Record) {
        self.overflowed |= self.records.len() - self.durable >= WAITING_MAX;
        if !self.overflowed {
            self.records.push(record);
        }
    }

    /// The writer's process is gone. How many records are left.
    pub fn die(&mut self, tail: Tail, full: bool) -> usize {
        let written = self.writing.take().unwrap_or(self.durable);
        let keep = match tail {
            Tail::Lost => self.durable,
            _ if full => self.durable,
            Tail::Kept => written,
            Tail::Torn => written.saturating_sub(1).max(self.durable),
        };
        self.cut(keep)
    }

    /// The power goes.
    pub fn power_cut(&mut self) -> usize {
        self.writing = None;
        let keep = self.physical;
        self.cut(keep)
    }

    fn cut(&mut self, keep: usize) -> usize {
        self.records.truncate(keep);
        self.durable = self.records.len();
        self.physical = self.physical.min(self.durable);
        self.failing = false;
        self.overflowed = false;
        self.durable
    }

    /// Set aside: a new file is begun.
    pub fn set_aside(&mut self) {
        *self = Disk::default();
    }
}
