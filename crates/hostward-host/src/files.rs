//! Bounded reads of regular files, with errors that name the noun.
//!
//! Never waits on a FIFO, never reads past a cap, never opens a terminal or device as though it were text. It may
//! block on a dead mount: that is why its callers run in a child (`child.rs`).

use std::io;
use std::path::Path;

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use hostward_core::time::Ms;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A file's bytes and when they were last changed (wall clock).
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    pub(crate) modified: Ms,
}

/// Reads a regular file of at most `cap` bytes. `noun` is what an operator calls it: "requirements file".
pub(crate) fn read(noun: &str, path: &Path, cap: usize) -> Result<Contents, Fault> {
    // O_NONBLOCK: a FIFO put in the file's place must not hang us before fstat can tell.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fault(noun, path, e.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|e| fault(noun, path, e.into()))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(unreadable(format!("{noun} '{}' is not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), limit), &mut bytes)
        .map_err(|e| fault(noun, path, e))?;
    if bytes.len() > cap {
        return Err(unreadable(format!("{noun} '{}' is longer than {} KiB", path.display(), cap / 1024)));
    }
    Ok(Contents { bytes, modified: millis(&stat) })
}

/// As [`read`]; a file that does not exist is `None`.
pub(crate) fn read_if_any(noun: &str, path: &Path, cap: usize) -> Result<Option<Contents>, Fault> {
    match rustix::fs::stat(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(fault(noun, path, e.into())),
        Ok(_) => read(noun, path, cap).map(Some),
    }
}

/// Reads a UTF-8 text; a byte order mark is dropped.
pub(crate) fn text(noun: &str, path: &Path, contents: Contents) -> Result<String, Fault> {
    let text = String::from_utf8(contents.bytes)
        .map_err(|_| unreadable(format!("{noun} '{}' is not UTF-8", path.display())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// When a path was last modified (wall clock); `None`: it does not exist.
pub(crate) fn modified(noun: &str, path: &Path) -> Result<Option<Ms>, Fault> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(Some(millis(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(fault(noun, path, e.into())),
    }
}

/// What an error of the file system means for the question: not permitted, our own exhaustion, or unreadable.
#[expect(clippy::needless_pass_by_value, reason = "called in map_err, where the error is at hand by value")]
pub(crate) fn fault(noun: &str, path: &Path, error: io::Error) -> Fault {
    let text: Str = format!("{noun} '{}': {error}", path.display()).into();
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM) => Fault::Denied(text),
        Some(errno) if is_exhaustion(errno) => Fault::Probe(text),
        _ => Fault::Unreadable(text),
    }
}

/// This process or host has run out of something: it says nothing about what was asked.
pub(crate) fn is_exhaustion(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN)
}

pub(crate) fn unreadable(text: impl Into<Str>) -> Fault {
    Fault::Unreadable(text.into())
}

fn millis(stat: &rustix::fs::Stat) -> Ms {
    let secs = u64::try_from(stat.st_mtime).unwrap_or(0);
    Ms(secs.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000))
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn an_error_is_said_as_denied_ours_or_unreadable_with_its_noun() {
        let of = |errno: Errno| fault("lock", Path::new("/a"), errno.into());
        for (errno, label) in [
            (Errno::ACCESS, "denied"),
            (Errno::PERM, "denied"),
            (Errno::MFILE, "probe"),
            (Errno::NFILE, "probe"),
            (Errno::IO, "unreadable"),
            (Errno::STALE, "unreadable"),
            (Errno::NOENT, "unreadable"),
        ] {
            assert_eq!(of(errno).label(), label, "{errno}");
            assert!(of(errno).to_string().contains("lock '/a'"), "{}", of(errno));
        }
    }

    #[test]
    fn only_a_regular_file_within_its_cap_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "12345").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        // Opening it for reading would wait for a writer for ever.
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(read("list", &at("file"), 5).unwrap().bytes, b"12345");
        assert!(matches!(read("list", &at("file"), 4), Err(Fault::Unreadable(t)) if t.contains("longer")));
        for name in ["dir", "fifo"] {
            assert!(
                matches!(read("list", &at(name), 5), Err(Fault::Unreadable(t)) if t.contains("regular")),
                "{name}"
            );
        }
        assert!(read_if_any("list", &at("none"), 5).unwrap().is_none());
        assert!(read_if_any("list", &at("file/below"), 5).unwrap().is_none());
        assert!(matches!(read("list", &at("none"), 5), Err(Fault::Unreadable(_))));
    }
}
