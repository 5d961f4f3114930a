//! Textfiles of others that carry our families: node_exporter keeps one of two values and says nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use hostward_core::id::Str;

/// More than any collector's directory holds, and little to read.
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Every `*.prom` beside `ours` that carries a family whose name begins with one of `families`. A directory or file that
/// cannot be read carries nothing: the collector can't read it either.
pub(super) fn scan(ours: &Path, families: &[Str]) -> Vec<PathBuf> {
    let Some(entries) = ours.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let mut rivals: Vec<PathBuf> = entries
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
    let Ok(file) = fs::File::open(path) else { return false };
    let ours =
        |line: &str| families.iter().any(|prefix| line.starts_with(&**prefix)) || line.starts_with("hostward_");
    BufReader::new(file.take(FILE_BYTES_MAX)).lines().map_while(Result::ok).any(|line| ours(&line))
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
}
