//! A foreign flock: whether somebody holds it, and who.
//!
//! The lock itself is tried: shared, without waiting, let go at once. /proc/locks is read only to name who holds it: it
//! misses locks made in a pid namespace and those whose maker has ended (a child inherited the descriptor), and each read
//! of it waits for every processor of the host (8 ms here; percpu_down_write in the kernel's fs/locks.c), while nobody
//! there takes a lock. The file is never created: its existence proves nothing. Rule: deploy.md, "Lock".

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, LockState};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use rustix::fs::{FileType, FlockOperation, OFlags, Stat};
use rustix::io::Errno;

use crate::paths::{Links, open_below};
use crate::{files, mask};

/// USER_HZ, the unit of /proc/PID/stat's times: 100 on every architecture that systemd runs on (proc_pid_stat(5)).
const TICKS_A_SECOND: u64 = 100;
/// starttime is field 22 of /proc/PID/stat; counted from 0 behind the command's closing parenthesis.
const STARTTIME_AFTER_COMMAND: usize = 19;

/// /proc/locks, read when the first lock is held. Who takes one after that is not named.
pub(crate) struct Table {
    proc: PathBuf,
    holders: OnceCell<Holders>,
}

impl Table {
    pub(crate) fn of(proc: &Path) -> Table {
        Table { proc: proc.to_owned(), holders: OnceCell::new() }
    }

    /// The process that is named for a lock of this kind on this device and inode; 0 when it is in another pid namespace.
    pub(super) fn holder(&self, kind: &str, stat: &Stat) -> Option<u32> {
        let read = || Holders::read(&fs::read_to_string(self.proc.join("locks")).unwrap_or_default());
        self.holders.get_or_init(read).of(kind, stat)
    }
}

/// By kind and file, as proc_locks(5) writes them: a host may have thousands of locks, and we look for hundreds.
struct Holders(BTreeMap<String, u32>);

impl Holders {
    fn read(table: &str) -> Holders {
        let mut holders = BTreeMap::new();
        for line in table.lines() {
            // "1: FLOCK ADVISORY WRITE 1234 08:01:131073 0 EOF"; a waiter has "->" in the second place.
            let mut words = line.split_ascii_whitespace().skip(1);
            let (Some(kind), Some(pid), Some(file)) = (words.next(), words.nth(2), words.next()) else { continue };
            // The first of those who share it.
            holders.entry(format!("{kind} {file}")).or_insert_with(|| pid.parse().unwrap_or(0));
        }
        Holders(holders)
    }

    fn of(&self, kind: &str, stat: &Stat) -> Option<u32> {
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        self.0.get(&format!("{kind} {major:02x}:{minor:02x}:{}", stat.st_ino)).copied()
    }
}

/// `path` is below `root`. Of who holds it, the process alone is told: [`known`] tells the rest.
pub(crate) fn probe(root: BorrowedFd<'_>, locks: &Table, path: &Path) -> Result<LockState, Fault> {
    let open = |flags: OFlags| open_below(root, path, flags | OFlags::NOFOLLOW, Links::Followed);
    // Before it is opened in earnest, which alone may do something to a device.
    let stat = match open(OFlags::PATH).and_then(rustix::fs::fstat) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(LockState::Free),
        Err(e) => return unreadable(path, e),
    };
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(LockState::Unreadable(format!("lock '{}' is not a regular file", path.display()).into()));
    }
    let file = match open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(LockState::Free),
        Err(e) => return unreadable(path, e),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Closing would let go too; this is sooner, and a failure of it changes nothing.
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
            Ok(LockState::Free)
        }
        Err(Errno::WOULDBLOCK) => {
            let pid = locks.holder("FLOCK", &stat).filter(|pid| *pid != 0);
            Ok(LockState::Held { pid, command: None, age: None })
        }
        Err(e) => unreadable(path, e),
    }
}

/// The lock's own state is "cannot be read"; only our own exhaustion makes the whole question unanswered.
fn unreadable(path: &Path, errno: Errno) -> Result<LockState, Fault> {
    match files::fault("lock", path, errno.into()) {
        Fault::Denied(text) | Fault::Unreadable(text) => Ok(LockState::Unreadable(text)),
        fault => Err(fault),
    }
}

/// With what /proc still knows of the holder. It may end while we look: then it is held by somebody unknown.
pub(super) fn known(proc: &Path, state: LockState) -> LockState {
    let LockState::Held { pid: Some(pid), .. } = state else { return state };
    let dir = proc.join(pid.to_string());
    if !dir.exists() {
        return LockState::Held { pid: None, command: None, age: None };
    }
    LockState::Held { pid: Some(pid), command: command(&dir), age: age(&dir) }
}

pub(super) fn command(dir: &Path) -> Option<Str> {
    let argv = fs::read(dir.join("cmdline")).ok()?;
    let argv = String::from_utf8_lossy(&argv);
    let shown = mask::command(argv.trim_end_matches('\0').split('\0'));
    (!shown.is_empty()).then_some(shown)
}

pub(super) fn age(dir: &Path) -> Option<Ms> {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Ms::secs(u64::try_from(up.tv_sec).ok()?);
    Some(up.saturating_sub(started(dir)?))
}

/// Since this host was booted.
pub(crate) fn started(dir: &Path) -> Option<Ms> {
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    // The command may hold spaces and parentheses: the last one closes it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(STARTTIME_AFTER_COMMAND)?.parse().ok()?;
    Some(Ms(ticks.saturating_mul(1000) / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    use rustix::fs::Mode;

    use super::*;

    const PROC: &str = "/proc";

    fn probed(proc: &Path, path: &Path) -> LockState {
        let root = rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap();
        known(proc, probe(root.as_fd(), &Table::of(proc), path).unwrap())
    }

    fn state(path: &Path) -> LockState {
        probed(Path::new(PROC), path)
    }

    #[test]
    fn a_lock_is_held_while_another_process_holds_it_and_free_again_when_that_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        fs::write(&path, "").unwrap();
        assert_eq!(state(&path), LockState::Free, "its existence proves nothing");
        // --no-fork: the process that holds the lock is the one that we kill.
        let mut child = Command::new("flock")
            .args(["--no-fork", "-x"])
            .arg(&path)
            .args(["sh", "-c", "echo held; read line", "sh", "--password=hunter2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        let LockState::Held { pid, command, age } = state(&path) else { panic!("not held: {:?}", state(&path)) };
        // On a file system whose /proc/locks names another device (overlayfs, btrfs) the holder stays unknown.
        if let Some(pid) = pid {
            assert_eq!(pid, child.id());
            assert_eq!(command.as_deref(), Some("sh -c echo held; read line sh --password=***"));
            assert!(age.is_some_and(|age| age < Ms::mins(10)), "{age:?}");
        }
        // Without /proc/locks the flock itself tells.
        let blind = probed(dir.path(), &path);
        assert_eq!(blind, LockState::Held { pid: None, command: None, age: None });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(state(&path), LockState::Free);
    }

    #[test]
    fn we_never_keep_the_lock_that_we_probe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        let file = fs::File::create(&path).unwrap();
        assert_eq!(state(&path), LockState::Free);
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
        assert!(matches!(state(&path), LockState::Held { .. }));
        rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
        assert_eq!(state(&path), LockState::Free);
    }

    #[test]
    fn what_is_no_regular_file_is_unreadable_and_what_is_missing_is_free_and_stays_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink(at("file"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for name in ["dir", "link", "fifo"] {
            assert!(matches!(state(&at(name)), LockState::Unreadable(_)), "{name}");
        }
        assert_eq!(state(&at("none")), LockState::Free);
        assert!(!at("none").exists());
        // Root may read it all the same.
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o000)).unwrap();
        let denied = matches!(state(&at("file")), LockState::Unreadable(_));
        assert_eq!(denied, !rustix::process::geteuid().is_root());
    }

    #[test]
    fn the_table_of_locks_is_read_by_kind_and_file_and_waiters_hold_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "").unwrap();
        let stat = rustix::fs::lstat(&path).unwrap();
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        let at = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
        let cases = [
            (format!("1: FLOCK  ADVISORY  WRITE 77 {at} 0 EOF\n"), Some(77)),
            (format!("1: POSIX  ADVISORY  WRITE 77 {at} 0 EOF\n"), None),
            (format!("1: -> FLOCK  ADVISORY  WRITE 77 {at} 0 EOF\n"), None),
            (format!("1: FLOCK  ADVISORY  WRITE 77 {at}9 0 EOF\n"), None),
            (format!("1: FLOCK  ADVISORY  READ 5 00:00:1 0 EOF\n2: FLOCK ADVISORY READ 78 {at} 0 EOF\n"), Some(78)),
            (format!("1: FLOCK  ADVISORY  READ 79 {at} 0 EOF\n2: FLOCK ADVISORY READ 80 {at} 0 EOF\n"), Some(79)),
            (format!("1: FLOCK  ADVISORY  WRITE 0 {at} 0 EOF\n"), Some(0)),
            (String::new(), None),
        ];
        for (table, pid) in cases {
            assert_eq!(Holders::read(&table).of("FLOCK", &stat), pid, "{table}");
        }
    }
}
