//! What a path is asked: it is opened, tells its space, lists, and may be written to.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use hostward_core::ask::{Call, Look, PathQ, Space, Write};
use rustix::fs::{Access as Want, AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::below::{Links, open_below};

/// Ours by its name: what is left of one that was killed is removed by the next.
const CANARY: &str = ".hostward-canary";

/// All that is asked of a path, until something fails.
pub(super) fn look(root: BorrowedFd<'_>, q: &PathQ, links: Links) -> Look {
    let failed = |call| move |e: Errno| Look::Failed { call, errno: e.raw_os_error(), why: why(e).into() };
    let all = || {
        let folder = open(root, q, links).map_err(failed(Call::Open))?;
        let space = space(&folder).map_err(failed(Call::Statvfs))?;
        list(&folder).map_err(failed(Call::List))?;
        match q.write {
            Write::Never => {}
            Write::Access => access(&folder).map_err(failed(Call::Access))?,
            Write::Canary => canary(&folder).map_err(failed(Call::Write))?,
        }
        Ok(Look::Answered(space))
    };
    all().unwrap_or_else(|failed| failed)
}

fn why(e: Errno) -> String {
    io::Error::from(e).to_string()
}

/// A hot path without symbolic links: mountinfo knows the real path alone, and behind a link lies another mount than the one
/// whose child this is.
fn open(root: BorrowedFd<'_>, q: &PathQ, links: Links) -> Result<OwnedFd, Errno> {
    open_below(root, &q.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK, links)
}

fn space(folder: &OwnedFd) -> Result<Space, Errno> {
    let found = rustix::fs::fstatvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space {
        used_bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        free_bytes: bytes(found.f_bavail),
        used_inodes: found.f_files.saturating_sub(found.f_ffree),
        free_inodes: found.f_favail,
    })
}

/// The first entries: a dead FUSE mount may still answer statvfs from what the kernel remembers.
fn list(folder: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    RawDir::new(folder, &mut buffer).next().map_or(Ok(()), |entry| entry.map(drop))
}

fn access(folder: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::accessat(folder, ".", Want::WRITE_OK | Want::EXEC_OK, AtFlags::EACCESS)
}

fn canary(folder: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, CANARY, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, CANARY, flags, Mode::RUSR | Mode::WUSR)?;
    let written = rustix::io::write(&file, b"hostward\n").and_then(|_| rustix::fs::fsync(&file));
    drop(file);
    let removed = rustix::fs::unlinkat(folder, CANARY, AtFlags::empty());
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;

    use rustix::fs::CWD;
    use tempfile::TempDir;

    use super::*;

    fn at(dir: &TempDir, path: &str, write: Write) -> Look {
        let root = rustix::fs::openat(CWD, dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        look(root.as_fd(), &PathQ { path: path.into(), bind: None, user: None, write }, Links::Refused)
    }

    fn errno(look: Look) -> (Call, i32) {
        match look {
            Look::Failed { call, errno, .. } => (call, errno),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_answers_and_nothing_is_left_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("srv/hot")).unwrap();
        for write in [Write::Never, Write::Access, Write::Canary] {
            let Look::Answered(space) = at(&dir, "/srv/hot", write) else { panic!("{write:?}") };
            assert!(space.used_bytes + space.free_bytes > 0, "{space:?}");
        }
        assert!(matches!(at(&dir, "/", Write::Never), Look::Answered(_)));
        assert_eq!(fs::read_dir(dir.path().join("srv/hot")).unwrap().count(), 0);
    }

    #[test]
    fn what_one_that_was_killed_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CANARY), "").unwrap();
        assert!(matches!(at(&dir, "/", Write::Canary), Look::Answered(_)));
        assert!(!dir.path().join(CANARY).exists());
        fs::create_dir(dir.path().join(CANARY)).unwrap();
        assert_eq!(errno(at(&dir, "/", Write::Canary)), (Call::Write, Errno::ISDIR.raw_os_error()));
    }

    #[test]
    fn a_jobs_folder_may_lie_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data/jobs/7")).unwrap();
        std::os::unix::fs::symlink("/data/jobs", dir.path().join("srv")).unwrap();
        let root = rustix::fs::openat(CWD, dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let q = PathQ { path: "/srv/7".into(), bind: None, user: None, write: Write::Canary };
        assert!(matches!(look(root.as_fd(), &q, Links::Followed), Look::Answered(_)));
        assert_eq!(errno(look(root.as_fd(), &q, Links::Refused)), (Call::Open, Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn what_is_no_folder_is_told_by_its_errno() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        for (path, expected) in
            [("/none", Errno::NOENT), ("/file", Errno::NOTDIR), ("/loop", Errno::LOOP), ("/link/x", Errno::LOOP)]
        {
            assert_eq!(errno(at(&dir, path, Write::Never)), (Call::Open, expected.raw_os_error()), "{path}");
        }
    }
}
