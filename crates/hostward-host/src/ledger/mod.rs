//! The ledger on disk: an append-only file of framed lines, and the lock that lets one engine write it.
//!
//! It knows nothing of what a record means: a payload is one line of bytes. What it promises is the contract's
//! "The ledger" (safety.md): what was reported durable is read back after any crash, a torn tail is told from
//! damage in the middle, and a full disk costs nothing but time. It never judges, never repairs a frame, and
//! never deletes one: damage is kept aside under another name.

mod frame;
mod lock;
mod writer;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use frame::MAX_PAYLOAD;
pub use lock::{EngineLock, LockError, engine_lock};
use rustix::fs::{Mode, OFlags};
pub use writer::{AppendError, LedgerEvent, MAX_WAITING, Writer};

/// The file's name below the state directory.
pub const LEDGER: &str = "ledger";

/// What the file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Sequence number and payload, in order, up to the first frame that is not whole.
    pub frames: Vec<(u64, Vec<u8>)>,
    pub tail: Tail,
}

/// How the file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// After a whole frame; NULs of reserved space may follow.
    Clean,
    /// The last frame is incomplete and nothing valid follows it: a crash in the middle of an append. It was never
    /// reported durable. A reader beside a live writer may see one for a moment.
    Torn { offset: u64, bytes: u64 },
    /// A frame is wrong and valid ones follow it: no crash of ours explains that.
    Damaged { offset: u64, reason: String },
}

/// An operation on a file of the ledger failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} '{}'", path.display())]
pub struct FileError {
    /// `read`, `create`, `rename`, ...
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl FileError {
    fn new(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> FileError {
        FileError { doing, path: path.to_owned(), source: source.into() }
    }
}

/// Every frame below `dir`, in order. Needs no lock: history is read with the daemon dead or alive. A ledger that does
/// not exist yet is empty.
pub fn read(dir: &Path) -> Result<Loaded, FileError> {
    let path = dir.join(LEDGER);
    let fail = |e: io::Error| FileError::new("read", &path, e);
    match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => {
            let mut bytes = Vec::new();
            File::from(fd).read_to_end(&mut bytes).map_err(fail)?;
            Ok(frame::parse(&bytes).loaded)
        }
        Err(rustix::io::Errno::NOENT) => Ok(Loaded { frames: Vec::new(), tail: Tail::Clean }),
        Err(e) => Err(fail(e.into())),
    }
}

/// Keeps the ledger that `lock` guards aside as `ledger.damaged-WALL`: its frames are whole, and yet its reader can make
/// nothing of them. One that does not exist is no error.
pub fn set_aside(lock: &EngineLock) -> Result<(), FileError> {
    let path = lock.dir().join(LEDGER);
    match path.symlink_metadata() {
        Ok(_) => writer::set_aside(lock.dir(), &path).and_then(|()| sync_dir(lock.dir())),
        Err(_) => Ok(()),
    }
}

/// Make names below `dir` durable: created, renamed, removed ones.
fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| FileError::new("fsync", dir, e))
}
