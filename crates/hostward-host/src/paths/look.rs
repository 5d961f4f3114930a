//! The child's side: it touches the paths, one after the other, and says of each at once what came of it. Whatever hangs
//! here hangs nobody else.
//!
//! Paths are opened below PID 1's root, so that a daemon in a mount namespace of its own sees what the host sees.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use hostward_core::ask::{Call, Fault, Look, PathQ, Space, Write};
use nix::unistd::{Gid, Uid, User, initgroups, setegid, seteuid};
use rustix::fs::{Access as Want, AtFlags, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::manifest;
use super::{Said, Task};

/// The hidden subcommand that calls [`answer_stdin`].
pub const SUBCOMMAND: &str = "__look";

/// A task of a thousand paths is far smaller.
const TASK_MAX: u64 = 8 << 20;
/// The host's own root, whatever namespace we are in.
const ROOT: &str = "/proc/1/root";
/// Ours by its name: what is left of one that was killed is removed by the next.
const CANARY: &str = ".hostward-canary";

/// Reads a task from standard input, and writes a line to standard output for each thing that it asks.
pub fn answer_stdin() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The parent's standard error is the journal; the parent itself only sees that there was no answer.
            let _ = writeln!(io::stderr(), "hostward {SUBCOMMAND}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    let task: Task = serde_json::from_reader(io::stdin().lock().take(TASK_MAX))?;
    let say = |said: &Said| {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, said)?;
        out.write_all(b"\n")?;
        out.flush()
    };
    match task {
        Task::Manifest(q, declared) => say(&Said::Manifest(manifest::read(&q, &declared))),
        Task::Paths(paths) => {
            let root = rustix::fs::open(ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            paths.iter().try_for_each(|q| {
                say(&Said::Path(match &root {
                    Ok(root) => look_as(root.as_fd(), q),
                    Err(e) => Look::Unasked(Fault::Denied(format!("open {ROOT}: {e}").into())),
                }))
            })
        }
    }
}

fn look_as(root: BorrowedFd<'_>, q: &PathQ) -> Look {
    let Some(name) = q.user.as_deref() else { return look(root, q) };
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => return Look::Unasked(Fault::Config(format!("there is no user '{name}'").into())),
        Err(e) => return Look::Unasked(Fault::Probe(format!("look up user '{name}': {e}").into())),
    };
    match become_user(&user) {
        Ok(()) => {
            let look = look(root, q);
            // The next path is another's; one that cannot be looked at as it must be is not looked at at all.
            match become_root() {
                Ok(()) => look,
                Err(e) => Look::Unasked(Fault::Probe(format!("become root again: {e}").into())),
            }
        }
        Err(e) => Look::Unasked(Fault::Probe(format!("become user '{name}': {e}").into())),
    }
}

fn become_user(user: &User) -> nix::Result<()> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    initgroups(&name, user.gid)?;
    setegid(user.gid)?;
    seteuid(user.uid)
}

fn become_root() -> nix::Result<()> {
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    initgroups(c"root", Gid::from_raw(0))
}

/// All that is asked of a path, until something fails.
fn look(root: BorrowedFd<'_>, q: &PathQ) -> Look {
    let failed = |call| move |e: Errno| Look::Failed { call, errno: e.raw_os_error(), why: why(e).into() };
    let all = || {
        let folder = open(root, &q.path).map_err(failed(Call::Open))?;
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

/// Without symbolic links: mountinfo knows the real path alone, and behind a link lies another mount than the one whose
/// child this is.
fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, below, flags, Mode::empty(), resolve)
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

    use rustix::fs::CWD;
    use tempfile::TempDir;

    use super::*;

    fn at(dir: &TempDir, path: &str, write: Write) -> Look {
        let root = rustix::fs::openat(CWD, dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        look(root.as_fd(), &PathQ { path: path.into(), bind: None, user: None, write })
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
