//! What may forbid an act, as far as files and /proc tell: sentinels, a foreign lock, operators at work.
//!
//! Never creates, writes or removes a file; holds a foreign lock, shared, for the time between two system calls.
//! It leaves `system` and `old_actors` at their defaults: the bus knows them, and the caller fills them in.
//! Rules: deploy.md, "Lock"; safety.md, "OperatorActive".

mod dpkg;
pub(crate) mod lock;
mod operators;
mod rivals;

use std::os::fd::AsFd as _;
use std::path::Path;

use hostward_core::ask::{Fault, GateQ, GateReading, LockState, SentinelState};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::files;
use lock::Table;

/// Looks everything up. Blocks on the disk: call it in a child (`child::ask`).
pub fn read(q: &GateQ) -> Result<GateReading, Fault> {
    read_beside(q, Path::new(dpkg::LOCK))
}

fn read_beside(q: &GateQ, dpkg: &Path) -> Result<GateReading, Fault> {
    let proc = Path::new("/proc");
    let mut operators = operators::scan(proc, &q.trees)?;
    operators.extend(dpkg::holder(proc, dpkg)?);
    Ok(GateReading {
        sentinels: q.sentinels.iter().map(|path| sentinel(path, ROOT)).collect::<Result<_, _>>()?,
        lock: q.lock.as_deref().map(|path| lock(proc, path)).transpose()?,
        operators,
        rivals: q.textfile.as_deref().map(|ours| rivals::scan(ours, &q.families)).unwrap_or_default(),
        ..GateReading::default()
    })
}

fn lock(proc: &Path, path: &Path) -> Result<LockState, Fault> {
    let here = Path::new("/");
    let root = rustix::fs::open(here, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|e| files::fault("root", here, e.into()))?;
    Ok(lock::known(proc, lock::probe(root.as_fd(), &Table::of(proc), path)?))
}

const ROOT: u32 = 0;
/// S_IWGRP | S_IWOTH.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// `owner` is root but in tests, which need not run as root.
fn sentinel(path: &Path, owner: u32) -> Result<SentinelState, Fault> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(SentinelState::Absent),
        Err(e) => return Err(files::fault("sentinel", path, e.into())),
    };
    Ok(if !FileType::from_raw_mode(stat.st_mode).is_file() {
        SentinelState::NotAFile
    } else if stat.st_uid != owner || stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        SentinelState::NotRoots
    } else {
        SentinelState::Present
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_regular_file_of_roots_that_nobody_else_can_write_is_present() {
        let dir = tempfile::tempdir().unwrap();
        let me = rustix::process::getuid().as_raw();
        let file = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        file("good", 0o644);
        file("group", 0o664);
        file("world", 0o646);
        fs::create_dir(dir.path().join("dir")).unwrap();
        symlink(dir.path().join("good"), dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        let cases = [
            ("good", me, SentinelState::Present),
            ("good", me + 1, SentinelState::NotRoots),
            ("group", me, SentinelState::NotRoots),
            ("world", me, SentinelState::NotRoots),
            ("dir", me, SentinelState::NotAFile),
            ("link", me, SentinelState::NotAFile),
            ("dangling", me, SentinelState::NotAFile),
            ("none", me, SentinelState::Absent),
            ("good/below", me, SentinelState::Absent),
        ];
        for (name, owner, state) in cases {
            assert_eq!(sentinel(&dir.path().join(name), owner), Ok(state), "{name}");
        }
    }

    #[test]
    fn what_is_not_asked_is_not_looked_up_and_the_bus_is_left_to_the_caller() {
        let nobody = Path::new("/nonexistent/lock-frontend");
        assert_eq!(read_beside(&GateQ::default(), nobody), Ok(GateReading::default()));
        let q = GateQ { sentinels: vec!["/nonexistent/a".into(), "/".into()], ..GateQ::default() };
        let reading = read_beside(&q, nobody).unwrap();
        assert_eq!(reading.sentinels, [SentinelState::Absent, SentinelState::NotAFile]);
        assert_eq!((reading.lock, reading.operators.len()), (None, 0));
    }
}
