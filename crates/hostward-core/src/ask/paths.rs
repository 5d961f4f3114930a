//! What is asked of hot paths: the mount that each lies on, and whether it answers.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Active, ClosureReading, Fault};
use crate::id::{Str, UnitName};
use crate::time::Ms;

/// All paths of one watch in one go: those that share a mount share a child, and one mount is never asked by two.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PathsQ {
    pub paths: Vec<PathQ>,
    pub manifest: Option<ManifestQ>,
    /// File systems whose space is measured, each by a path on it.
    pub disks: Vec<PathBuf>,
    /// Units whose state is told beside: those that keep the mounts below, and those that a remedy refreshes. A change of
    /// one is a reason to look.
    pub units: Vec<UnitName>,
    /// Units that a remedy stops: what stops with each.
    #[serde(default)]
    pub holders: Vec<UnitName>,
}

impl PathsQ {
    /// One path by itself, for a proof.
    pub fn one(path: PathQ) -> PathsQ {
        PathsQ { paths: vec![path], ..PathsQ::default() }
    }

    /// A pass over many paths may take so many times what one answer may: the deadline of the question is that of the
    /// pass.
    pub const PASS: u64 = 6;
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PathQ {
    /// Absolute, without symbolic links: it is compared with what mountinfo says.
    pub path: PathBuf,
    /// The folder that is to be bound to it.
    pub bind: Option<PathBuf>,
    /// Who looks. Default root, whom a FUSE mount of another user refuses.
    pub user: Option<Str>,
    pub write: Write,
}

/// Whether writing is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    #[default]
    Never,
    /// The kernel is asked whether one may; nothing is written.
    Access,
    /// A file is created, written, synced and removed.
    Canary,
}

/// A file with two columns, read anew at each look: what is bound (cold), and where (hot).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestQ {
    pub file: PathBuf,
    /// A hot path outside these is refused.
    pub roots: Vec<PathBuf>,
    /// For each hot path.
    pub user: Option<Str>,
    pub write: Write,
}

/// What was found of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathsReading {
    /// Those that are declared, then those of the manifest.
    pub paths: Vec<PathReading>,
    pub manifest: Option<ManifestReading>,
    pub disks: Vec<PathReading>,
    pub units: Vec<(UnitName, Result<Active, Fault>)>,
    #[serde(default)]
    pub holders: Vec<(UnitName, Result<ClosureReading, Fault>)>,
    /// The mounts that bound folders come from, each asked once, where no path of this question is that mount.
    #[serde(default)]
    pub under: Vec<PathReading>,
    /// Of each FUSE connection that hangs: who else would be cut off with it.
    #[serde(default)]
    pub connections: Vec<Connection>,
    /// Where fences of ours stand, on the whole host.
    #[serde(default)]
    pub fences: Vec<PathBuf>,
}

/// A FUSE connection: every mount of its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `MAJOR:MINOR`.
    pub device: Str,
    pub points: Vec<PathBuf>,
}

/// How the manifest read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestReading {
    /// Lines that name a path to be watched.
    pub entries: u32,
    /// Lines that are refused, in their order; at most 20, `refused_total` counts them all.
    pub refused: Vec<Refused>,
    pub refused_total: u32,
    /// Why the file as a whole could not be read: then its entries are not known.
    pub unread: Option<Fault>,
}

/// A line that names nothing to be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// From 1.
    pub line: u32,
    pub why: Str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReading {
    pub path: PathBuf,
    /// What it lies on, in the mount namespace of PID 1, our own fence left out; none: that could not be read.
    pub on: Option<On>,
    /// Our fence lies over it, and is what the look saw.
    #[serde(default)]
    pub fenced: bool,
    /// An automount lies at its mount point: systemd mounts there what is asked for, and when.
    #[serde(default)]
    pub automount: bool,
    /// The folder that is to be bound to it, when one is, and what that lies on.
    #[serde(default)]
    pub cold: Option<PathBuf>,
    pub bind: Option<On>,
    pub look: Look,
}

/// A path's place among the mounts, by mountinfo alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct On {
    /// The mount's number, of which the kernel gives one that has become free to the next mount.
    #[serde(default)]
    pub id: u64,
    /// Where the mount is that it lies on.
    pub point: PathBuf,
    /// `MAJOR:MINOR`: mounts that share it are one file system.
    pub device: Str,
    /// The path within that file system.
    pub folder: PathBuf,
    pub source: Str,
    pub fstype: Str,
    /// The mount, or the file system below it, is read-only.
    pub read_only: bool,
    /// Requests that wait for a FUSE server, by /sys/fs/fuse/connections/MINOR/waiting; none: it is not FUSE, or not to
    /// be known.
    pub waiting: Option<u32>,
}

impl On {
    /// The mount itself, wherever on it a path lies.
    pub fn mark(&self) -> Mark {
        Mark { id: self.id, device: self.device.clone(), source: self.source.clone() }
    }

    /// The same folder of the same file system.
    pub fn same(&self, other: &On) -> bool {
        (&self.device, &self.folder) == (&other.device, &other.folder)
    }

    /// The mount that `path` itself would lie on, or one further out: what is bound from there to `path` is the very disk
    /// that a hot path keeps its writers off.
    pub fn beneath(&self, path: &Path) -> bool {
        path.starts_with(&self.point)
    }
}

/// One very mount, as it was seen. What is mounted there later is another, though it come from the same source: unless the
/// kernel gave both its numbers once more, which a look at whether it answers is needed to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub id: u64,
    pub device: Str,
    pub source: Str,
}

/// What became of the look itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// It opened, told its space, and listed.
    Answered(Space),
    /// One of its calls failed.
    Failed { call: Call, errno: i32, why: Str },
    /// The child that looked did not come back: it was killed at its deadline, or is stuck since an earlier look.
    Stuck { at: PathBuf, age: Ms },
    /// It could not be asked at all.
    Unasked(Fault),
}

impl Look {
    /// There is no such folder.
    pub fn is_absent(&self) -> bool {
        /// errno(3).
        const ENOENT: i32 = 2;
        matches!(self, Look::Failed { call: Call::Open, errno: ENOENT, .. })
    }
}

/// The call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Open,
    Statvfs,
    List,
    /// faccessat(2) for writing.
    Access,
    /// Anything that is done to the canary.
    Write,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Open => "open",
            Call::Statvfs => "statvfs",
            Call::List => "list",
            Call::Access => "access",
            Call::Write => "write",
        })
    }
}

/// statvfs(3), as df(1) counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    pub used_bytes: u64,
    /// What an ordinary user may still write.
    pub free_bytes: u64,
    pub used_inodes: u64,
    /// Zero of both: the file system does not count them.
    pub free_inodes: u64,
}
