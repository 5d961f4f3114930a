//! The disk that the ledger is on: it takes its time, fills up, and lies about what it keeps.
//!
//! Records are committed in groups by a thread of their own, as `hostward_host::ledger::Writer` does: a group that fails
//! stays queued and is tried again every second.

use hostward_core::ledger::{BadRecord, Record, State};
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
    /// How many of the records were read once already, and what they come to: a ledger is rotated, so that no engine
    /// reads from the very first one. On the timer path that is once a minute.
    read: (usize, State),
}

impl Disk {
    pub fn append(&mut self, record: Record) {
        self.overflowed |= self.records.len() - self.durable >= WAITING_MAX;
        if !self.overflowed {
            self.records.push(record);
        }
    }

    /// What an engine finds that begins: all that is kept, each record as it was written.
    pub fn fold(&mut self) -> Result<State, BadRecord> {
        let (count, mut state) = std::mem::take(&mut self.read);
        for record in &self.records[count..] {
            state.apply(&through_json(record))?;
        }
        self.read = (self.records.len(), state.clone());
        Ok(state)
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
        if keep < self.read.0 {
            self.read = (0, State::default());
        }
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

/// What was written is what is read.
fn through_json(record: &Record) -> Record {
    let json = serde_json::to_vec(record).expect("a record serialises");
    serde_json::from_slice(&json).expect("a record reads back")
}
