//! One counter of a job's, read from files: only in a child, for they may hang.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hostward_core::ask::{Fault, Found, Measure};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use regex::bytes::Regex;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::entries;
use super::glob::{self, Match, Obstacle};
use super::tail::{self, Mark};
use crate::paths::{Links, open_below};

/// Of a state file.
const STATE_MAX: u64 = 1 << 20;
/// The clock of a file server may be ahead of ours by so much.
const AHEAD_MAX_SECS: u64 = 300;

/// A counter, its texts filled for one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Counter {
    /// Of the files that match, the newest: how far it was read before.
    Log {
        files: PathBuf,
        count: Str,
        mark: Option<Mark>,
    },
    State {
        file: PathBuf,
        pointer: Str,
    },
    Bytes {
        files: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountAsk {
    pub(crate) user: Option<Str>,
    /// What is touched whatever the pattern matches.
    pub(crate) at: PathBuf,
    pub(crate) counter: Counter,
}

impl CountAsk {
    pub(super) fn new(user: Option<Str>, counter: Counter) -> CountAsk {
        let at = match &counter {
            Counter::Log { files, .. } | Counter::Bytes { files } => glob::fixed(files),
            Counter::State { file, .. } => file.clone(),
        };
        CountAsk { user, at, counter }
    }
}

/// Compiled once: all jobs of a watch have the same ones.
#[derive(Default)]
pub(crate) struct Patterns(RefCell<BTreeMap<Str, Result<Regex, Fault>>>);

impl Patterns {
    fn compiled(&self, text: &Str) -> Result<Regex, Fault> {
        let compile = || tail::pattern(text).map_err(|e| Fault::Config(format!("pattern '{text}': {e}").into()));
        self.0.borrow_mut().entry(text.clone()).or_insert_with(compile).clone()
    }
}

/// What it says, and where the next look goes on.
pub(crate) fn count(root: BorrowedFd<'_>, patterns: &Patterns, asked: &Counter) -> (Found, Option<Mark>) {
    let counted = match asked {
        Counter::Log { files, count, mark } => {
            return match log(root, patterns, files, count, mark.as_ref()) {
                Ok((found, mark)) => (found, Some(mark)),
                Err(found) => (found, None),
            };
        }
        Counter::State { file, pointer } => state(root, file, pointer),
        Counter::Bytes { files } => bytes(root, files),
    };
    (counted.unwrap_or_else(|nothing| nothing), None)
}

fn log(
    root: BorrowedFd<'_>,
    patterns: &Patterns,
    files: &Path,
    count: &Str,
    mark: Option<&Mark>,
) -> Result<(Found, Mark), Found> {
    let pattern = patterns.compiled(count).map_err(Found::Unasked)?;
    let found = matching(root, files)?;
    let newest = newest(found).ok_or_else(|| no_file(files))?;
    let (file, stat) = open(root, &newest.path).map_err(|e| unopened(&newest.path, e))?;
    let (count, mark) = tail::read(&file, &stat, &pattern, mark).map_err(|e| failed_io(&e))?;
    let found = match count {
        Some(count) => measured(count, newest.path, &stat),
        None => Found::Nothing(format!("no line of '{}' matches", newest.path.display()).into()),
    };
    Ok((found, mark))
}

/// A clock that was set back leaves files of a time to come, which would be the newest for as long as that.
fn newest(found: Vec<Match>) -> Option<Match> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let to_come = |stat: &Stat| u64::try_from(stat.st_mtime).is_ok_and(|at| at > now + AHEAD_MAX_SECS);
    found.into_iter().max_by_key(|found| {
        let stat = &found.stat;
        (!to_come(stat), stat.st_mtime, stat.st_mtime_nsec)
    })
}

fn state(root: BorrowedFd<'_>, path: &Path, pointer: &str) -> Result<Found, Found> {
    let (file, stat) = match open(root, path) {
        Ok(opened) => opened,
        Err(e) => return Err(unopened(path, e)),
    };
    let count = pointed(&file, pointer).map_err(|unread| unread.found(path))?;
    Ok(measured(
        entries::count(&count).ok_or_else(|| nothing(path, &format!("{count} is no count")))?,
        path.into(),
        &stat,
    ))
}

/// The number at a pointer of a JSON file.
fn pointed(file: &File, pointer: &str) -> Result<serde_json::Number, Unread> {
    let value = json(file)?;
    match value.pointer(pointer) {
        Some(serde_json::Value::Number(number)) => Ok(number.clone()),
        Some(_) => Err(Unread::Odd(format!("what is at {pointer} is no number"))),
        None => Err(Unread::Odd(format!("there is nothing at {pointer}"))),
    }
}

/// Why a JSON file says nothing.
pub(super) enum Unread {
    Failed(io::Error),
    Odd(String),
}

impl Unread {
    fn found(self, path: &Path) -> Found {
        match self {
            Unread::Failed(e) => failed_io(&e),
            Unread::Odd(why) => nothing(path, &why),
        }
    }
}

pub(super) fn json(file: &File) -> Result<serde_json::Value, Unread> {
    let mut text = Vec::new();
    file.take(STATE_MAX + 1).read_to_end(&mut text).map_err(Unread::Failed)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > STATE_MAX) {
        return Err(Unread::Odd(format!("it is longer than {} KiB", STATE_MAX >> 10)));
    }
    // Its writer may be in the middle of it: serde_json says so, and shows nothing of it.
    serde_json::from_slice(&text).map_err(|e| Unread::Odd(format!("it is no JSON: {e}")))
}

fn bytes(root: BorrowedFd<'_>, files: &Path) -> Result<Found, Found> {
    let found = matching(root, files)?;
    let newest = found.iter().map(|found| touched(&found.stat)).max().ok_or_else(|| no_file(files))?;
    let sum = found.iter().filter_map(|found| u64::try_from(found.stat.st_size).ok()).fold(0, u64::saturating_add);
    Ok(Found::Count(Measure { count: sum, file: None, touched: Some(newest) }))
}

fn matching(root: BorrowedFd<'_>, files: &Path) -> Result<Vec<Match>, Found> {
    glob::files(root, files).map_err(|obstacle| match obstacle {
        Obstacle::Failed(errno) => failed(errno),
        Obstacle::TooMany => {
            Found::Unasked(Fault::Unreadable(format!("'{}': {}", files.display(), obstacle.why()).into()))
        }
    })
}

/// A regular file, behind a link or not. What it was when it was listed may be something else by now.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path) -> Result<(File, Stat), Errno> {
    // Before it is opened in earnest, which alone may do something to a device.
    let before = rustix::fs::fstat(open_below(root, path, OFlags::PATH, Links::Followed)?)?;
    if !FileType::from_raw_mode(before.st_mode).is_file() {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_below(root, path, flags, Links::Followed)?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode).is_file() { Ok((file.into(), stat)) } else { Err(Errno::INVAL) }
}

fn measured(count: u64, file: PathBuf, stat: &Stat) -> Found {
    Found::Count(Measure { count, file: Some(file), touched: Some(touched(stat)) })
}

fn touched(stat: &Stat) -> Ms {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    Ms(seconds.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000))
}

fn nothing(path: &Path, why: &str) -> Found {
    Found::Nothing(format!("'{}': {why}", path.display()).into())
}

/// EINVAL is [`open`]'s own word for what is no regular file.
fn unopened(path: &Path, errno: Errno) -> Found {
    match errno {
        Errno::NOENT | Errno::NOTDIR => no_file(path),
        Errno::INVAL => nothing(path, "it is no regular file"),
        errno => failed(errno),
    }
}

fn no_file(path: &Path) -> Found {
    Found::Nothing(format!("there is no file '{}'", path.display()).into())
}

fn failed(errno: Errno) -> Found {
    failed_io(&errno.into())
}

fn failed_io(e: &io::Error) -> Found {
    Found::Failed { errno: e.raw_os_error().unwrap_or(Errno::IO.raw_os_error()), why: e.to_string().into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use rustix::fs::Mode;
    use tempfile::TempDir;

    use super::*;

    fn counted(dir: &TempDir, counter: &Counter) -> (Found, Option<Mark>) {
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        count(root.as_fd(), &Patterns::default(), counter)
    }

    fn logs(mark: Option<Mark>) -> Counter {
        Counter::Log { files: "/job/*.log".into(), count: r"done (\d+)".into(), mark }
    }

    fn write(dir: &TempDir, name: &str, text: &str, age: u64) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }

    fn number(found: &Found) -> Option<u64> {
        match found {
            Found::Count(measure) => Some(measure.count),
            _ => None,
        }
    }

    #[test]
    fn the_newest_log_by_mtime_tells_and_names_itself() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(counted(&dir, &logs(None)).0, Found::Nothing(_)), "no folder yet");
        write(&dir, "job/z-old.log", "done 9\n", 1000);
        write(&dir, "job/a-new.log", "done 3\n", 10);
        let (found, mark) = counted(&dir, &logs(None));
        let Found::Count(measure) = &found else { panic!("{found:?}") };
        assert_eq!((measure.count, measure.file.as_deref()), (3, Some(Path::new("/job/a-new.log"))));
        let touched = measure.touched.unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let age = u64::try_from(now.as_millis()).unwrap() - touched.0;
        assert!((10_000..1_000_000).contains(&age), "{age}");
        // Rotated: the newest is another file, of which nothing was read.
        write(&dir, "job/b-newer.log", "begun\n", 0);
        let (found, mark) = counted(&dir, &logs(mark));
        assert!(matches!(&found, Found::Nothing(why) if why.contains("b-newer")), "{found:?}");
        write(&dir, "job/b-newer.log", "begun\ndone 4\n", 0);
        assert_eq!(number(&counted(&dir, &logs(mark)).0), Some(4));
    }

    #[test]
    fn a_log_of_a_time_to_come_is_not_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "job/old.log", "done 9\n", 1000);
        let file = File::options().write(true).open(dir.path().join("job/old.log")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_hours(2)).unwrap();
        assert_eq!(number(&counted(&dir, &logs(None)).0), Some(9), "while there is no other");
        write(&dir, "job/new.log", "done 3\n", 10);
        assert_eq!(number(&counted(&dir, &logs(None)).0), Some(3));
    }

    #[test]
    fn a_pattern_that_is_none_is_the_configurations_fault() {
        let dir = tempfile::tempdir().unwrap();
        let counter = Counter::Log { files: "/*.log".into(), count: "(".into(), mark: None };
        assert!(matches!(counted(&dir, &counter).0, Found::Unasked(Fault::Config(_))));
    }

    #[test]
    fn a_state_file_is_pointed_into() {
        let dir = tempfile::tempdir().unwrap();
        let state = |pointer: &str| Counter::State { file: "/state.json".into(), pointer: pointer.into() };
        assert!(matches!(counted(&dir, &state("/n")).0, Found::Nothing(_)));
        for (text, pointer, expected) in [
            (r#"{"a": {"n": 12}}"#, "/a/n", Some(12)),
            (r#"{"n": 12.9}"#, "/n", Some(12)),
            (r#"{"n": -1}"#, "/n", None),
            (r#"{"n": "12"}"#, "/n", None),
            (r#"{"n": 1"#, "/n", None),
            ("7", "", Some(7)),
        ] {
            write(&dir, "state.json", text, 0);
            assert_eq!(number(&counted(&dir, &state(pointer)).0), expected, "{text}");
        }
        write(&dir, "state.json", &" ".repeat(2 << 20), 0);
        assert!(matches!(counted(&dir, &state("/n")).0, Found::Nothing(why) if why.contains("longer")));
    }

    #[test]
    fn bytes_add_up_and_what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "job/1.part", "12345", 0);
        write(&dir, "job/2.part", "123", 0);
        let bytes = |files: &str| counted(&dir, &Counter::Bytes { files: files.into() }).0;
        assert_eq!(number(&bytes("/job/*.part")), Some(8));
        assert!(matches!(bytes("/job/*.none"), Found::Nothing(_)));
        // Opening it would wait for a writer for ever.
        let fifo = dir.path().join("job/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let state = Counter::State { file: "/job/fifo".into(), pointer: "".into() };
        assert!(matches!(counted(&dir, &state).0, Found::Nothing(why) if why.contains("no regular file")));
    }
}
