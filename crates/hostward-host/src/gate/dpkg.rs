//! dpkg's lock: whoever holds it is changing what is installed on this host, and services restart below its hands.
//!
//! apt and dpkg hold POSIX record locks: the kernel is asked about the file by F_GETLK, which takes no lock and never
//! waits. Only who may not open it reads /proc/locks, which makes the whole kernel wait (`lock.rs`). The file is never
//! created. Rule: safety.md, "OperatorActive".

use std::path::Path;

use hostward_core::ask::{Fault, Operator};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType};

use super::{lock, operators};
use crate::files;

/// Held by apt and dpkg from the first to the last of what they do; `lock` beside it only while dpkg itself runs.
pub(super) const LOCK: &str = "/var/lib/dpkg/lock-frontend";

/// Who holds it; nobody on a host without dpkg. The age is its process's: the kernel does not tell a lock's.
pub(super) fn holder(proc: &Path, path: &Path) -> Result<Option<Operator>, Fault> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => stat,
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(files::fault("dpkg's lock", path, e.into())),
    };
    let held = match asked(path) {
        Ok(held) => held,
        Err(Errno::ACCESS) => lock::Table::of(proc).holder("POSIX", &stat),
        Err(e) => return Err(files::fault("dpkg's lock", path, e.into())),
    };
    let Some(pid) = held else { return Ok(None) };
    let dir = proc.join(pid.to_string());
    if operators::is_our_step(&dir) {
        return Ok(None);
    }
    let command = match lock::command(&dir) {
        Some(command) => format!("dpkg/apt: {command}"),
        None => "dpkg/apt".to_owned(),
    };
    Ok(Some(Operator { pid, command: command.into(), age: lock::age(&dir) }))
}

/// The process that F_GETLK names; 0 when it is in another pid namespace.
fn asked(path: &Path) -> Result<Option<u32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    let held = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(held.map(|lock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn whoever_holds_the_lock_is_an_operator_until_he_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock-frontend");
        let proc = Path::new("/proc");
        assert_eq!(holder(proc, &path), Ok(None), "no dpkg here");
        assert!(!path.exists(), "and none is made");
        fs::write(&path, "").unwrap();
        assert_eq!(holder(proc, &path), Ok(None), "its existence means nothing");
        let mut child = held(&path);
        let found = holder(proc, &path).unwrap().expect("it is held");
        assert_eq!(found.pid, child.id());
        // The core knows the lock's holder by this word.
        assert!(found.command.starts_with("dpkg/apt"), "{found:?}");
        assert!(found.command.contains("python3 -c") && found.age.is_some(), "{found:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(holder(proc, &path), Ok(None));
    }

    /// By a process of its own, as apt holds it.
    fn held(path: &Path) -> Child {
        let hold = "import fcntl, sys, time
f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)";
        let mut child = Command::new("python3").args(["-c", hold]).arg(path).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        child
    }

    #[test]
    fn what_is_no_regular_file_is_nobodys_and_our_own_step_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(holder(Path::new("/proc"), &fifo), Ok(None));
        let path = dir.path().join("lock-frontend");
        fs::write(&path, "").unwrap();
        let mut child = held(&path);
        let process = dir.path().join(child.id().to_string());
        fs::create_dir(&process).unwrap();
        let in_group = |group: &str| {
            fs::write(process.join("cgroup"), group).unwrap();
            holder(dir.path(), &path).unwrap().is_some()
        };
        assert!(in_group("0::/system.slice/apt-daily.service\n"));
        assert!(!in_group("0::/system.slice/hostward-step-12.service\n"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
