//! One engine at a time: the lock on `ledger.lock`.
//!
//! The lock is flock(2): like an OFD lock it belongs to the open file description, so a second handle in the same
//! process is refused too and no close of another descriptor drops it (POSIX record locks have neither virtue, and
//! rustix offers only those beside flock). The kernel drops it with the process, however that ends. The file lies
//! beside the ledger and is never unlinked: a lock file that is deleted and made anew locks nothing.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::{FileError, sync_dir};

/// Proof that this process is the one that writes below a directory. Dropping the last clone releases it.
#[derive(Clone, Debug)]
pub struct EngineLock {
    dir: PathBuf,
    /// Held open, never read: its description carries the lock.
    _file: Arc<File>,
}

impl EngineLock {
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The pid is what the holder wrote into the file: for people to read, not to act upon.
    #[error("another engine holds '{}'{}", path.display(), pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Busy { path: PathBuf, pid: Option<u32> },
    #[error("'{}' is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Take the lock of `dir`, which is made (0700) when it does not exist. Never waits.
pub fn engine_lock(dir: &Path) -> Result<EngineLock, LockError> {
    private_dir(dir)?;
    let path = dir.join("ledger.lock");
    let fail = |doing| {
        let path = path.clone();
        move |e: io::Error| FileError::new(doing, &path, e)
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| fail("open")(e.into()))?;
    let mut file = File::from(fd);
    let held = file.metadata().map_err(fail("stat"))?;
    if !held.is_file() {
        return Err(LockError::NotAFile(path));
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Busy { pid: told_pid(&mut file), path }),
        Err(e) => return Err(fail("lock")(e.into()).into()),
    }
    // Somebody who tidied the file away between our open and our lock has left us with a lock on nothing.
    let named = path.symlink_metadata().map_err(fail("stat"))?;
    if (named.dev(), named.ino()) != (held.dev(), held.ino()) {
        return Err(LockError::Busy { path, pid: None });
    }
    file.set_permissions(Permissions::from_mode(0o600)).map_err(fail("chmod"))?;
    // The pid is a courtesy: a disk too full for it must not keep the engine from running.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(EngineLock { dir: dir.to_owned(), _file: Arc::new(file) })
}

fn private_dir(dir: &Path) -> Result<(), FileError> {
    let fail = |doing| move |e: io::Error| FileError::new(doing, dir, e);
    if !dir.is_dir() {
        DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(fail("create"))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(fail("chmod"))
}

fn told_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_second_handle_is_refused_until_the_last_clone_of_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = engine_lock(&state).unwrap();
        let clone = lock.clone();
        drop(lock);
        let told = engine_lock(&state).unwrap_err();
        assert!(matches!(told, LockError::Busy { pid, .. } if pid == Some(std::process::id())), "{told}");
        drop(clone);
        engine_lock(&state).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&state), mode(&state.join("ledger.lock"))), (0o700, 0o600));
    }

    #[test]
    fn a_second_process_is_refused_and_a_killed_holder_releases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.lock");
        let try_lock = || Command::new("flock").args(["-n"]).arg(&path).arg("true").status().unwrap().success();
        let lock = engine_lock(dir.path()).unwrap();
        assert!(!try_lock(), "another process took a held lock");
        drop(lock);
        assert!(try_lock());

        let mut other = Command::new("flock")
            .arg("--no-fork")
            .arg(&path)
            .args(["sh", "-c", "echo held; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        assert!(matches!(engine_lock(dir.path()), Err(LockError::Busy { .. })));
        other.kill().unwrap();
        other.wait().unwrap();
        engine_lock(dir.path()).unwrap();
    }

    #[test]
    fn a_link_or_a_fifo_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.lock");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(engine_lock(dir.path()), Err(LockError::File(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(matches!(engine_lock(dir.path()), Err(LockError::NotAFile(_))));
    }
}
