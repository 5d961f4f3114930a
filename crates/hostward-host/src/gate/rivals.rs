//! Textfiles of others that carry our families: node_exporter keeps one of two values and says nothing.
//!
//! The directory may be anybody's. So only regular files are opened, and never by a link: to open what a link leads to
//! may hang (a FIFO, a dead mount) or act (/dev/watchdog). A rival behind a link is therefore not noticed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use hostward_core::id::Str;
use rustix::fs::{FileType, Mode, OFlags};

/// More than any collector's directory holds, and little to read.
const ENTRIES_MAX: usize = 4096;
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Every `*.prom` beside `ours` that carries a family whose name begins with one of `families`. A directory or file that
/// cannot be read carries nothing: the collector can't read it either.
pub(super) fn scan(ours: &Path, families: &[Str]) -> Vec<PathBuf> {
    let Some(entries) = ours.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let mut rivals: Vec<PathBuf> = entries
        .take(ENTRIES_MAX)
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != ours && path.extension().is_some_and(|ext| ext == "prom"))
        .take(FILES_MAX)
        .filter(|path| carries(path, families))
        .collect();
    rivals.sort();
    rivals
}

fn carries(path: &Path, families: &[Str]) -> bool {
    let Some(file) = open(path) else { return false };
    let prefixes: Vec<&[u8]> = families.iter().map(|prefix| prefix.as_bytes()).chain([&b"hostward_"[..]]).collect();
    let ours = |line: Vec<u8>| prefixes.iter().any(|prefix| line.trim_ascii_start().starts_with(prefix));
    // Bytes, not text: one line that is not UTF-8 must not hide the others.
    BufReader::new(file.take(FILE_BYTES_MAX)).split(b'\n').map_while(Result::ok).any(ours)
}

/// A regular file, as far as `lstat` can tell before it is opened, and `fstat` after.
fn open(path: &Path) -> Option<fs::File> {
    let regular = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode).is_file();
    if !rustix::fs::lstat(path).is_ok_and(regular) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    rustix::fs::fstat(&file).is_ok_and(regular).then(|| fs::File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_file_with_our_families_is_a_rival() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ours = file("hostward.prom", "hostward_watch_up 1\n");
        file("node.prom", "# HELP hostward_watch_up said in a comment\nnode_load1 0.5\n");
        file("old.prom.tmp", "example_drift_enabled 1\n");
        let old = file("old.prom", "# TYPE example_drift_enabled gauge\nexample_drift_enabled 1\n");
        assert_eq!(scan(&ours, &["example_drift".into()]), [old]);
        assert_eq!(scan(&ours, &["other".into()]), Vec::<PathBuf>::new());
        assert_eq!(scan(&dir.path().join("gone/hostward.prom"), &[]), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened_and_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // Without a writer the open of a FIFO waits for ever: then this test does not end.
        rustix::fs::mknodat(rustix::fs::CWD, at("a.prom"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        fs::create_dir(at("b.prom")).unwrap();
        fs::write(at("elsewhere"), "hostward_watch_up 1\n").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("c.prom")).unwrap();
        std::os::unix::fs::symlink(at("a.prom"), at("d.prom")).unwrap();
        fs::write(at("e.prom"), b"node_x{y=\"\xff\"} 1\n  hostward_watch_up 1\n").unwrap();
        let beyond = vec![b'\n'; usize::try_from(FILE_BYTES_MAX).unwrap()];
        fs::write(at("f.prom"), [&beyond[..], b"hostward_watch_up 1\n"].concat()).unwrap();
        assert_eq!(scan(&at("hostward.prom"), &[]), [at("e.prom")]);
    }
}
