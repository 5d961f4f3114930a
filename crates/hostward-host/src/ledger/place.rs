//! The ledger's names below the state directory, and how one file takes the place of another.
//!
//! `ledger` is the one that is written. What it replaced stands beside it: `ledger.old-FIRST` are whole generations, by
//! the number of their first frame; `ledger.damaged-TIME` and `ledger.newer-TIME` could not be used. A file is complete
//! and synced under a name of its own before the old one gets its second name, and only then takes the first: whatever
//! kills us, `ledger` is either the old file or the new one.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::FileError;

/// The file's name below the state directory.
pub const LEDGER: &str = "ledger";
const NEW: &str = "ledger.new";
const OLD: &str = "ledger.old-";
/// Files that could not be used, by why.
pub(super) const DAMAGED: &str = "ledger.damaged-";
pub(super) const NEWER: &str = "ledger.newer-";

/// Unusable files kept: somebody should look at the newest; a disk that damages one a day must not be filled by them.
const ASIDE_KEPT: usize = 4;
/// How many names are tried for one file.
const NAMES: u64 = 100;

/// What becomes of the file that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// There is none.
    Nothing,
    /// It is whole, and goes on as history, by the number of its first frame.
    Generation(u64),
    /// It could not be used: [`DAMAGED`] or [`NEWER`].
    Aside(&'static str),
}

/// How far [`replace`] has come: where a test looks at what a kill would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Written,
    Synced,
    Kept,
    Renamed,
}

/// Puts a file that begins with `frame` in the ledger's place. `prepare` may reserve space for it. The directory is not
/// synced yet: until it is, nothing in the new file is durable.
pub(super) fn replace(
    dir: &Path,
    frame: &[u8],
    keep: Keep,
    prepare: &mut dyn FnMut(&File) -> io::Result<()>,
    reached: &mut dyn FnMut(Stage),
) -> io::Result<File> {
    let (new, ledger) = (dir.join(NEW), dir.join(LEDGER));
    let file = write_new(&new, frame, prepare, reached).inspect_err(|_| {
        // Whatever is left of it only takes room; a full disk is why we are here.
        let _ = fs::remove_file(&new);
    })?;
    match keep {
        Keep::Nothing => {}
        Keep::Generation(first) => second_name(&ledger, |n| match n {
            0 => dir.join(format!("{OLD}{first}")),
            n => dir.join(format!("{OLD}{first}-{n}")),
        })?,
        Keep::Aside(prefix) => {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            // The newest has the highest number, whatever the clock says: the lowest are the first to go.
            let last = numbered(dir, &[DAMAGED, NEWER])?.pop().map_or(0, |((number, _), _)| number);
            let from = wall.max(last.saturating_add(1));
            second_name(&ledger, |n| dir.join(format!("{prefix}{}", from.saturating_add(n))))?;
        }
    }
    reached(Stage::Kept);
    fs::rename(&new, &ledger)?;
    reached(Stage::Renamed);
    Ok(file)
}

fn write_new(
    new: &Path,
    frame: &[u8],
    prepare: &mut dyn FnMut(&File) -> io::Result<()>,
    reached: &mut dyn FnMut(Stage),
) -> io::Result<File> {
    // One that a kill left is of no use; a link in its place is not followed.
    match fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let fd = open(new, flags() | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    file.set_permissions(Permissions::from_mode(0o600))?;
    prepare(&file)?;
    file.write_all(frame)?;
    reached(Stage::Written);
    file.sync_all()?;
    reached(Stage::Synced);
    Ok(file)
}

/// A hard link, and not a rename: there is no moment at which the ledger has no file.
fn second_name(ledger: &Path, name: impl Fn(u64) -> PathBuf) -> io::Result<()> {
    for n in 0..NAMES {
        let to = name(n);
        match fs::hard_link(ledger, &to) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // We were killed between the two names: it has this one already.
                let (a, b) = (ledger.symlink_metadata()?, to.symlink_metadata()?);
                if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
                    return Ok(());
                }
            }
            done => return done,
        }
    }
    Err(Errno::EXIST.into())
}

/// Removes what is beyond the bounds, the oldest first. What cannot be removed is tried again next time.
pub(super) fn prune(dir: &Path, generations: usize) -> io::Result<()> {
    for (prefixes, kept) in [(&[OLD][..], generations), (&[DAMAGED, NEWER][..], ASIDE_KEPT)] {
        let files = named(dir, prefixes)?;
        for file in files.iter().take(files.len().saturating_sub(kept)) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// The older generations, oldest first.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<PathBuf>> {
    named(dir, &[OLD])
}

/// There was a ledger once: something of it is left.
pub(super) fn traces(dir: &Path) -> io::Result<bool> {
    named(dir, &[OLD, DAMAGED, NEWER]).map(|files| !files.is_empty())
}

fn named(dir: &Path, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(dir, prefixes)?.into_iter().map(|(_, path)| path).collect())
}

/// By the number behind the prefix, then by the one behind that.
fn numbered(dir: &Path, prefixes: &[&str]) -> io::Result<Vec<((u64, u64), PathBuf)>> {
    let number = |name: &str| -> Option<(u64, u64)> {
        let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
        let (first, second) = rest.split_once('-').unwrap_or((rest, "0"));
        Some((first.parse().ok()?, second.parse().ok()?))
    };
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(number) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn flags() -> OFlags {
    OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

/// None: there is no such file.
pub(super) fn open_to_read(path: &Path) -> Result<Option<File>, FileError> {
    match open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(FileError::new("read", path, e)),
    }
}

/// Make names below `dir` durable: created, renamed, removed ones.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| FileError::new("fsync", dir, e))
}
