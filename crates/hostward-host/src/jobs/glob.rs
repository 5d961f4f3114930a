//! The files that a pattern names: `*` and `?` within a segment, as a shell reads them; a leading dot is matched by nothing
//! but itself.
//!
//! Bounded by what is read, not by what matches: a folder of a million files is told, not walked.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::paths::{Links, open_below};

/// Entries of folders that one pattern may read.
const ENTRIES_MAX: usize = 10_000;
const BUFFER: usize = 32 << 10;

/// What kept a pattern from being followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Failed(Errno),
    TooMany,
}

/// A regular file that matches; links were gone along.
#[derive(Clone)]
pub(super) struct Match {
    pub(super) path: PathBuf,
    pub(super) stat: Stat,
}

/// The part of a pattern that has no wildcard: what is touched whatever it matches.
pub(super) fn fixed(pattern: &Path) -> PathBuf {
    pattern.components().take_while(|part| !is_wild(part.as_os_str())).collect()
}

/// Every file of it. What fails is only told when nothing matches: a folder of others beside ours is no obstacle.
pub(super) fn files(root: BorrowedFd<'_>, pattern: &Path) -> Result<Vec<Match>, Obstacle> {
    let mut walk = Walk { root, read: 0, failed: None, found: Vec::new() };
    let parts: Vec<&OsStr> = pattern.components().map(std::path::Component::as_os_str).collect();
    walk.below(PathBuf::new(), &parts)?;
    match (walk.found.is_empty(), walk.failed) {
        (true, Some(errno)) => Err(Obstacle::Failed(errno)),
        _ => Ok(walk.found),
    }
}

struct Walk<'r> {
    root: BorrowedFd<'r>,
    read: usize,
    failed: Option<Errno>,
    found: Vec<Match>,
}

impl Walk<'_> {
    fn below(&mut self, mut at: PathBuf, parts: &[&OsStr]) -> Result<(), Obstacle> {
        let wild = parts.iter().position(|part| is_wild(part)).unwrap_or(parts.len());
        at.extend(&parts[..wild]);
        let Some((pattern, rest)) = parts[wild..].split_first() else {
            self.end(at);
            return Ok(());
        };
        for name in self.names(&at, pattern)? {
            self.below(at.join(OsStr::from_bytes(&name)), rest)?;
        }
        Ok(())
    }

    fn end(&mut self, path: PathBuf) {
        match self.open(&path, OFlags::PATH).and_then(rustix::fs::fstat) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => self.found.push(Match { path, stat }),
            Ok(_) => {}
            Err(e) => self.fail(e),
        }
    }

    /// In their order by name, so that of equals always the same one is taken.
    fn names(&mut self, at: &Path, pattern: &OsStr) -> Result<Vec<Vec<u8>>, Obstacle> {
        let folder = match self.open(at, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK) {
            Ok(folder) => folder,
            Err(e) => {
                self.fail(e);
                return Ok(Vec::new());
            }
        };
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&folder, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    self.fail(e);
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.read += 1;
            if self.read > ENTRIES_MAX {
                return Err(Obstacle::TooMany);
            }
            if matches(pattern.as_bytes(), name) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_below(self.root, path, flags, Links::Followed)
    }

    /// What is not there does not match; that is no failure.
    fn fail(&mut self, errno: Errno) {
        if !matches!(errno, Errno::NOENT | Errno::NOTDIR) {
            self.failed.get_or_insert(errno);
        }
    }
}

fn is_wild(part: &OsStr) -> bool {
    part.as_bytes().iter().any(|b| matches!(b, b'*' | b'?'))
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // The last star is the only one that is ever gone back to: linear in practice, and no stack.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

impl Obstacle {
    pub(super) fn why(&self) -> String {
        match self {
            Obstacle::Failed(errno) => io::Error::from(*errno).to_string(),
            Obstacle::TooMany => format!("its folders have more than {ENTRIES_MAX} entries"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;

    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("a.log", "a.log", true),
            ("*.log", "a.log", true),
            ("*.log", ".log", false),
            (".*", ".log", true),
            ("*.log", "a.log.1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("run-??.log", "run-07.log", true),
            ("run-??.log", "run-7.log", false),
            ("*", "x", true),
            ("**", "x", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn regular_files_behind_links_too_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["jobs/a/logs", "jobs/b/logs", "jobs/c", "elsewhere"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["jobs/a/logs/1.log", "jobs/b/logs/1.log", "jobs/b/logs/x", "elsewhere/far.log", "jobs/file"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        fs::create_dir(dir.path().join("jobs/b/logs/folder.log")).unwrap();
        // Absolute, below the root that is looked from.
        std::os::unix::fs::symlink("/elsewhere/far.log", dir.path().join("jobs/b/logs/link.log")).unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("jobs/b/logs/broken.log")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let found = |pattern: &str| {
            let found = files(root.as_fd(), Path::new(pattern)).unwrap();
            found.into_iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            found("/jobs/*/logs/*.log"),
            ["/jobs/a/logs/1.log", "/jobs/b/logs/1.log", "/jobs/b/logs/link.log"]
        );
        assert_eq!(found("/jobs/a/logs/1.log"), ["/jobs/a/logs/1.log"]);
        for none in ["/jobs/z/logs/*.log", "/jobs/a/logs/2.log", "/jobs/file/*.log", "/jobs/a/logs/1.log/x", "/jobs"]
        {
            assert!(found(none).is_empty(), "{none}");
        }
        assert_eq!(fixed(Path::new("/jobs/*/logs/x.log")), Path::new("/jobs"));
    }

    #[test]
    fn a_crowded_folder_is_told_and_not_walked() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..=ENTRIES_MAX {
            fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(files(root.as_fd(), Path::new("/*.log")).err(), Some(Obstacle::TooMany));
        fs::remove_file(dir.path().join("0")).unwrap();
        assert!(files(root.as_fd(), Path::new("/*.log")).unwrap().is_empty());
    }
}
