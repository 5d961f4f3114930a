//! The ledger on disk: an append-only file of framed lines, the older ones that it replaced, and the lock that lets one
//! engine write it.
//!
//! What it promises is the contract's "The ledger" (safety.md): what was reported durable is read back after any crash, a
//! torn tail is told from damage in the middle, and a full disk costs nothing but time. A file begins with a snapshot and
//! goes on with records; reading it holds one frame and the state in memory, however long it is. It never repairs a
//! frame, and never goes on with a file that it cannot read to its end: that one is kept aside under another name.

mod appender;
mod fold;
mod format;
mod frame;
mod history;
mod lock;
mod place;
#[cfg(test)]
mod testing;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use fold::{Condition, Folded, fold};
pub use format::FORMAT;
pub use frame::{MAX_PAYLOAD, MAX_SNAPSHOT};
pub use history::History;
pub use lock::{EngineLock, LockError, engine_lock};
pub use place::LEDGER;
use place::sync_dir;
pub use writer::{AppendError, LedgerEvent, MAX_WAITING, Writer};

/// How much is kept. With today's numbers at most 40 MiB, more than 100,000 records: a year of a quiet host, and at the
/// highest rate of facts (ten a minute and target) a day of seven targets that never stop failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after which a new file is begun: read within a fifth of a second at the next start.
    pub rotate_at: u64,
    /// Older files kept as history.
    pub generations: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { rotate_at: 8 << 20, generations: 4 }
    }
}

/// How a file ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tail {
    /// After a whole frame; NULs of reserved space may follow.
    #[default]
    Clean,
    /// The last frame is incomplete and nothing valid follows it: a crash in the middle of an append. It was never
    /// reported durable. A reader beside a live writer may see one for a moment.
    Torn { offset: u64, bytes: u64 },
    /// A frame is wrong and valid ones follow it, or was written whole: no crash of ours explains that.
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
