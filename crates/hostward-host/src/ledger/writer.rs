//! The writing side: a bounded queue and a thread of its own, so that neither loop nor scrape ever waits for a disk.
//!
//! The thread commits in groups: everything that waits is written with one write and made durable with one
//! fdatasync, and only then reported. A group that fails is taken back (the file is cut to the last good offset
//! through a *new* descriptor: after a failed fsync the old one would report success for pages it has dropped),
//! stays queued, and is tried again every second. Space is reserved ahead, so that a disk that others filled still
//! takes our records.

use std::collections::VecDeque;
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use rustix::io::Errno;

use super::{EngineLock, FileError, LEDGER, Loaded, MAX_PAYLOAD, Tail, frame, sync_dir};

/// How many records may wait for the disk; beyond it the caller learns that the ledger is unwritable.
pub const MAX_WAITING: usize = 1024;
/// Reserved ahead at a time: some thousands of records.
const RESERVE_BYTES: u64 = 1 << 20;
/// At most this much in one write, so that one group's buffer stays bounded.
const GROUP_BYTES: usize = 4 << 20;
/// How many names are tried for a damaged file within one second.
const ASIDE: u64 = 100;
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What the thread tells. It is called from the writer's thread and must not block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// Every record up to and including this sequence number is on the disk.
    Durable(u64),
    /// Appends fail, and are tried again until [`LedgerEvent::Recovered`]. Told once an outage.
    Failed(String),
    /// Appends go through again.
    Recovered,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("{MAX_WAITING} records wait for the ledger's disk")]
    Full,
    #[error("record {seq} does not follow {last}")]
    Sequence { seq: u64, last: u64 },
    #[error("record {0} is longer than {MAX_PAYLOAD} bytes")]
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
    /// Open the ledger that `lock` guards. A torn tail is cut off, and reported; a damaged file is kept aside as
    /// `ledger.damaged-WALL` and a new one begun, so that the caller can read `tail` as what it found.
    pub fn open(
        lock: &EngineLock,
        report: impl FnMut(LedgerEvent) + Send + 'static,
    ) -> Result<(Writer, Loaded), FileError> {
        let dir = lock.dir();
        let path = dir.join(LEDGER);
        let mut file = open_file(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| FileError::new("read", &path, e))?;
        let frame::Parsed { loaded, mut end } = frame::parse(&bytes);
        if let Tail::Damaged { .. } = loaded.tail {
            set_aside(dir, &path)?;
            (file, end) = (open_file(&path)?, 0);
        } else if end < bytes.len() as u64 {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| FileError::new("truncate", &path, e))?;
        }
        sync_dir(dir)?;
        let last = if end == 0 { None } else { loaded.frames.last().map(|(seq, _)| *seq) };
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { frames: VecDeque::new(), last, ended: false }),
            wake: Condvar::new(),
        });
        let appender = Appender { path: path.clone(), file, end, reserved: end, suspect: false };
        let run =
            Run { shared: shared.clone(), appender, report: Box::new(report), failing: false, _lock: lock.clone() };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || run.run())
            .map_err(|e| FileError::new("start the writer of", &path, e))?;
        Ok((Writer { shared, thread: Some(thread) }, loaded))
    }

    /// Queue one record. Never blocks on the disk; that it is durable is reported later. Sequence numbers rise by
    /// one; the first of a new file may be any.
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
            Some(last) if seq != last.wrapping_add(1) => return Err(AppendError::Sequence { seq, last }),
            _ if queue.frames.len() >= MAX_WAITING => return Err(AppendError::Full),
            _ => {}
        }
        queue.last = Some(seq);
        queue.frames.push_back((seq, frame::encode(seq, payload)));
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Records that are not durable yet.
    pub fn waiting(&self) -> usize {
        self.shared.lock().frames.len()
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

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// Encoded, in order; the front ones may be under way, and leave only when durable.
    frames: VecDeque<(u64, Vec<u8>)>,
    last: Option<u64>,
    ended: bool,
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
        while let Some((last, count, group)) = self.next_group() {
            // Rotation, with its snapshot, has its place here: between two groups, with nothing under way.
            match self.appender.append(&group) {
                Ok(()) => {
                    self.shared.lock().frames.drain(..count);
                    if std::mem::take(&mut self.failing) {
                        (self.report)(LedgerEvent::Recovered);
                    }
                    (self.report)(LedgerEvent::Durable(last));
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let text = format!("append to '{}': {e}", self.appender.path.display());
                        (self.report)(LedgerEvent::Failed(text));
                    }
                    if last_try {
                        return;
                    }
                    last_try = self.wait_to_retry();
                }
            }
        }
    }

    /// Everything that waits, up to the group's limit: its last sequence number, how many, their bytes. None: the end.
    fn next_group(&self) -> Option<(u64, usize, Vec<u8>)> {
        let mut queue = self.shared.lock();
        while queue.frames.is_empty() {
            if queue.ended {
                return None;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut last, mut count, mut group) = (0, 0, Vec::new());
        for (seq, bytes) in &queue.frames {
            if count > 0 && group.len() + bytes.len() > GROUP_BYTES {
                break;
            }
            group.extend_from_slice(bytes);
            (last, count) = (*seq, count + 1);
        }
        Some((last, count, group))
    }

    /// True when the writer was told to end, now or in the meantime.
    fn wait_to_retry(&self) -> bool {
        let queue = self.shared.lock();
        let waited = self.shared.wake.wait_timeout_while(queue, RETRY_EVERY, |queue| !queue.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

/// The file and how far it is good.
struct Appender {
    path: PathBuf,
    file: File,
    /// Everything before it is durable.
    end: u64,
    /// Blocks are allocated up to here.
    reserved: u64,
    /// An append failed: what lies beyond `end` is unknown, and the descriptor is not to be trusted.
    suspect: bool,
}

impl Appender {
    fn append(&mut self, group: &[u8]) -> io::Result<()> {
        if self.suspect {
            self.take_back()?;
        }
        self.suspect = true;
        self.reserve(group.len() as u64);
        self.file.write_all_at(group, self.end)?;
        self.file.sync_data()?;
        self.end += group.len() as u64;
        self.suspect = false;
        Ok(())
    }

    /// A failure here is no failure: without a reservation the write itself decides.
    fn reserve(&mut self, bytes: u64) {
        if self.end + bytes <= self.reserved {
            return;
        }
        let ahead = bytes + RESERVE_BYTES;
        if fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.end, ahead).is_ok() {
            self.reserved = self.end + ahead;
        }
    }

    /// Cut what a failed append left, through a new descriptor. Cutting also returns what was reserved.
    fn take_back(&mut self) -> io::Result<()> {
        self.file = File::from(open(&self.path, flags(), Mode::RUSR | Mode::WUSR)?);
        self.file.set_len(self.end)?;
        self.reserved = self.end;
        Ok(())
    }
}

fn flags() -> OFlags {
    OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

fn open_file(path: &Path) -> Result<File, FileError> {
    let fd = open(path, flags() | OFlags::CREATE, Mode::RUSR | Mode::WUSR);
    let file = fd.map(File::from).map_err(|e| FileError::new("open", path, e))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| FileError::new("chmod", path, e))?;
    Ok(file)
}

/// Keep a file that cannot be used under a name that nothing else has.
pub(super) fn set_aside(dir: &Path, path: &Path) -> Result<(), FileError> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside =
        (wall..wall + ASIDE).map(|n| dir.join(format!("ledger.damaged-{n}"))).find(|p| p.symlink_metadata().is_err());
    let aside = aside.ok_or_else(|| FileError::new("find a free name to set aside", path, Errno::EXIST))?;
    std::fs::rename(path, &aside).map_err(|e| FileError::new("set aside", path, e))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
