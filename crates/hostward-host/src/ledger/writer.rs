//! The writing side: a bounded queue and a thread of its own, so that neither loop nor scrape ever waits for a disk.
//!
//! The thread commits in groups: everything that waits is written with one write and made durable with one
//! fdatasync, and only then reported. A group that fails is taken back (the file is cut to the last good offset
//! through a *new* descriptor: after a failed fsync the old one would report success for pages it has dropped),
//! stays queued, and is tried again every second. Space is reserved ahead, so that a disk that others filled still
//! takes our records.
//!
//! A file that has grown asks for a snapshot. The snapshot takes its place in the queue like a record, so that it stands
//! behind the very record that it is the fold of; the thread begins a new file with it.

use std::collections::VecDeque;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hostward_core::ledger::State;
use rustix::fs::{Mode, open};

use super::appender::{Appender, Sync};
use super::fold::{Folded, Place};
use super::place::{self, Keep, LEDGER};
use super::{EngineLock, FileError, Limits, MAX_PAYLOAD, format, frame, sync_dir};

/// How many records may wait for the disk; beyond it the caller learns that the ledger is unwritable.
pub const MAX_WAITING: usize = 1024;
/// At most this much in one write, so that one group's buffer stays bounded.
const GROUP_BYTES: usize = 4 << 20;
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What the thread tells. It is called from the writer's thread and must not block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// Every record up to and including this sequence number is on the disk.
    Durable(u64),
    /// Appends fail, or soon would: tried again until [`LedgerEvent::Recovered`]. Told once an outage.
    Failed(String),
    /// Appends go through again.
    Recovered,
    /// No new file could be begun: the old one goes on, and grows beyond its limit. Tried again when it has grown by as
    /// much again, and at the next start.
    NotRotated(String),
    /// A new file was begun.
    Rotated,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("{MAX_WAITING} records wait for the ledger's disk")]
    Full,
    #[error("record {seq} does not follow {last}")]
    Sequence { seq: u64, last: u64 },
    #[error("record {0}, or the snapshot after it, is longer than may be written")]
    TooLong(u64),
    #[error("record {0} holds a newline or a NUL: it is not one line")]
    NotALine(u64),
    #[error("the ledger's writer has ended")]
    Ended,
}

/// The queue's near end. Dropping it lets the thread finish what waits, once; [`Writer::close`] also waits for that.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Goes on with what was folded from the directory that `lock` guards: a torn tail is cut off; a file that cannot be
    /// used is kept aside, one of an older format as history, and a new one begun with `folded.state`.
    pub fn open(
        lock: &EngineLock,
        folded: &Folded,
        limits: Limits,
        report: impl FnMut(LedgerEvent) + Send + 'static,
    ) -> Result<Writer, FileError> {
        Writer::open_with(lock, folded, limits, Box::new(File::sync_data), Box::new(report))
    }

    fn open_with(
        lock: &EngineLock,
        folded: &Folded,
        limits: Limits,
        sync: Sync,
        report: Box<dyn FnMut(LedgerEvent) + Send>,
    ) -> Result<Writer, FileError> {
        let dir = lock.dir();
        let (file, first, end) = match folded.file {
            Place::Good { first, end } => (cut(lock, end)?, first, end),
            Place::None => begin(lock, &folded.state, Keep::Nothing)?,
            Place::Older { first } => begin(lock, &folded.state, Keep::Generation(first))?,
            Place::Aside(prefix) => begin(lock, &folded.state, Keep::Aside(prefix))?,
        };
        sync_dir(dir)?;
        place::prune(dir, limits.generations).map_err(|e| FileError::new("tidy", dir, e))?;
        let last = folded.state.seq;
        let queue = Queue { items: VecDeque::new(), last, ended: false, rotation: Rotation::NotYet };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new() });
        let appender = Appender::go_on(dir.to_owned(), file, (first, end), limits, sync);
        let run = Run { shared: shared.clone(), appender, report, failing: false, _lock: lock.clone() };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run.run())
            .map_err(|e| FileError::new("start the writer of", &dir.join(LEDGER), e))?;
        Ok(Writer { shared, thread: Some(thread) })
    }

    /// Queue one record. Never blocks on the disk; that it is durable is reported later. Sequence numbers rise by one.
    pub fn append(&self, seq: u64, payload: &[u8]) -> Result<(), AppendError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(AppendError::TooLong(seq));
        }
        if payload.iter().any(|b| matches!(b, b'\n' | 0)) {
            return Err(AppendError::NotALine(seq));
        }
        let mut queue = self.shared.lock();
        match queue.last {
            _ if queue.ended => return Err(AppendError::Ended),
            last if Some(seq) != last.checked_add(1) => return Err(AppendError::Sequence { seq, last }),
            _ if queue.items.len() >= MAX_WAITING => return Err(AppendError::Full),
            _ => {}
        }
        queue.last = seq;
        queue.push(seq, What::Record, frame::encode(seq, payload));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// The file has grown to its limit: a snapshot is asked for, once.
    pub fn wants_snapshot(&self) -> bool {
        self.shared.lock().rotation == Rotation::Due
    }

    /// The state after the last record that was queued: a new file begins with it. One that cannot be stored is not asked
    /// for again: the file grows.
    pub fn snapshot(&self, state: &State) -> Result<(), AppendError> {
        let payload = format::header(state);
        let mut queue = self.shared.lock();
        queue.rotation = Rotation::UnderWay;
        let payload = payload.ok_or(AppendError::TooLong(state.seq))?;
        if state.seq != queue.last {
            return Err(AppendError::Sequence { seq: state.seq, last: queue.last });
        }
        queue.push(state.seq, What::Snapshot, frame::encode(state.seq, &payload));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Records that are not durable yet.
    pub fn waiting(&self) -> usize {
        self.shared.lock().items.iter().filter(|item| item.what == What::Record).count()
    }

    /// How long the oldest record that is not durable yet has waited for the disk.
    pub fn oldest_waiting(&self) -> Option<Duration> {
        self.shared.lock().items.front().map(|item| item.since.elapsed())
    }

    /// Write what waits, trying once more if the disk fails, and end the thread. The number of records that could not
    /// be made durable is returned: zero is success. Blocks on the disk.
    pub fn close(mut self) -> usize {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread leaves its records in the queue, which is what is reported.
            let _ = thread.join();
        }
        self.waiting()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// The good file, its torn tail cut off.
fn cut(lock: &EngineLock, end: u64) -> Result<File, FileError> {
    let path = lock.dir().join(LEDGER);
    let fd = open(&path, place::flags(), Mode::empty());
    let file = fd.map(File::from).map_err(|e| FileError::new("open", &path, e))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| FileError::new("chmod", &path, e))?;
    // Without need it would return what the writer before us reserved, and on a full disk somebody else would have it.
    let length = file.metadata().map_err(|e| FileError::new("stat", &path, e))?.len();
    if length != end {
        file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| FileError::new("truncate", &path, e))?;
    }
    Ok(file)
}

fn begin(lock: &EngineLock, state: &State, keep: Keep) -> Result<(File, u64, u64), FileError> {
    let path = lock.dir().join(LEDGER);
    let fail = |e: std::io::Error| FileError::new("begin", &path, e);
    let payload = format::header(state).ok_or_else(|| fail(std::io::Error::other("the snapshot is too large")))?;
    let frame = frame::encode(state.seq, &payload);
    // On a full disk a small file is better than none: what is reserved is looked at by the thread.
    let file = place::replace(lock.dir(), &frame, keep, &mut |_| Ok(()), &mut |_| {}).map_err(fail)?;
    Ok((file, state.seq, frame.len() as u64))
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// In order; the front ones may be under way, and leave only when durable.
    items: VecDeque<Item>,
    last: u64,
    ended: bool,
    rotation: Rotation,
}

#[derive(Debug)]
struct Item {
    seq: u64,
    what: What,
    /// Encoded.
    bytes: Vec<u8>,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Record,
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    NotYet,
    Due,
    UnderWay,
}

impl Queue {
    fn push(&mut self, seq: u64, what: What, bytes: Vec<u8>) {
        self.items.push_back(Item { seq, what, bytes, since: Instant::now() });
    }
}

impl Shared {
    /// The queue is whole between any two statements, so a poisoned lock still guards a good one.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.wake.notify_one();
    }
}

/// What the thread does next.
enum Work {
    /// These bytes of so many records, up to this one.
    Append {
        last: u64,
        count: usize,
        group: Vec<u8>,
    },
    Rotate {
        seq: u64,
        frame: Vec<u8>,
    },
    /// Nothing waits; the disk was full when something last did.
    LookForRoom,
}

struct Run {
    shared: Arc<Shared>,
    appender: Appender,
    report: Box<dyn FnMut(LedgerEvent) + Send>,
    failing: bool,
    /// The lock lives as long as anything can still be written.
    _lock: EngineLock,
}

impl Run {
    fn run(mut self) {
        let mut last_try = false;
        self.look_for_room();
        while let Some(work) = self.next_work() {
            match work {
                Work::LookForRoom => self.look_for_room(),
                Work::Rotate { seq, frame } => self.rotate(seq, &frame),
                Work::Append { last, count, group } => match self.appender.append(&group) {
                    Ok(()) => self.appended(last, count),
                    Err(e) => {
                        self.failed(&e.to_string());
                        if last_try {
                            return;
                        }
                        last_try = self.wait_to_retry();
                    }
                },
            }
        }
    }

    fn appended(&mut self, last: u64, count: usize) {
        let mut queue = self.shared.lock();
        queue.items.drain(..count);
        if self.appender.grown() && queue.rotation == Rotation::NotYet {
            queue.rotation = Rotation::Due;
        }
        drop(queue);
        self.judge_room();
        (self.report)(LedgerEvent::Durable(last));
    }

    fn rotate(&mut self, seq: u64, frame: &[u8]) {
        let done = self.appender.rotate(seq, frame);
        let mut queue = self.shared.lock();
        queue.items.pop_front();
        queue.rotation = Rotation::NotYet;
        drop(queue);
        (self.report)(match done {
            Ok(()) => LedgerEvent::Rotated,
            Err(e) => LedgerEvent::NotRotated(format!("begin a new file in '{}': {e}", self.appender.dir.display())),
        });
    }

    fn look_for_room(&mut self) {
        self.appender.look_for_room();
        self.judge_room();
    }

    /// After an append or a look that went through: is there room for what may still have to be recorded?
    fn judge_room(&mut self) {
        match self.appender.low().map(str::to_owned) {
            Some(why) => self.failed(&why),
            None if std::mem::take(&mut self.failing) => (self.report)(LedgerEvent::Recovered),
            None => {}
        }
    }

    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.appender.dir.join(LEDGER);
            (self.report)(LedgerEvent::Failed(format!("append to '{}': {why}", path.display())));
        }
    }

    /// A snapshot, or every record that waits before one, up to the group's limit. None: the end.
    fn next_work(&self) -> Option<Work> {
        let mut queue = self.shared.lock();
        while queue.items.is_empty() {
            if queue.ended {
                return None;
            }
            if !self.failing {
                queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.shared.wake.wait_timeout(queue, RETRY_EVERY).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            if waited.1.timed_out() {
                return Some(Work::LookForRoom);
            }
        }
        let (mut last, mut count, mut group) = (0, 0, Vec::new());
        for item in &queue.items {
            match item.what {
                What::Snapshot if count == 0 => {
                    return Some(Work::Rotate { seq: item.seq, frame: item.bytes.clone() });
                }
                What::Snapshot => break,
                What::Record if count > 0 && group.len() + item.bytes.len() > GROUP_BYTES => break,
                What::Record => {
                    group.extend_from_slice(&item.bytes);
                    (last, count) = (item.seq, count + 1);
                }
            }
        }
        Some(Work::Append { last, count, group })
    }

    /// True when the writer was told to end, now or in the meantime.
    fn wait_to_retry(&self) -> bool {
        let queue = self.shared.lock();
        let waited = self.shared.wake.wait_timeout_while(queue, RETRY_EVERY, |queue| !queue.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
