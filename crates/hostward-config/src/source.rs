//! The files that make up a configuration: which are read, in which order, and how much of each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::finding::{Finding, Findings};

/// Far above any fleet's needs; a file beyond it is a mistake, and must not fill our memory.
const FILE_LIMIT: usize = 1 << 20;
/// Files in all `conf.d` together.
const FILES_LIMIT: usize = 512;

/// One file and its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: Arc<str>,
}

impl Source {
    pub(crate) fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Source { path: path.into(), text: text.into() }
    }

    pub(crate) fn check_size(&self, findings: &mut Findings) {
        if self.text.len() > FILE_LIMIT {
            findings.file(&self.path, too_large(), Some("split it into files in conf.d".into()));
        }
    }
}

/// Every file in reading order: `hostward.toml`, then `conf.d` by name. None: there is no `hostward.toml`.
///
/// A file that cannot be read is reported and left out.
pub(crate) fn collect(dirs: &[PathBuf], findings: &mut Findings) -> Option<Vec<Source>> {
    // lstat: a dangling link is a mistake to be reported, not an absence.
    let main = dirs.iter().map(|dir| dir.join("hostward.toml")).find(|path| path.symlink_metadata().is_ok())?;
    let mut fragments: BTreeMap<_, PathBuf> = BTreeMap::new();
    for dir in dirs {
        for path in fragments_of(&dir.join("conf.d"), findings) {
            fragments.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
        }
    }
    if fragments.len() > FILES_LIMIT {
        let message = format!("{} files in conf.d are more than the limit of {FILES_LIMIT}", fragments.len());
        findings.file(&main, message, Some("join some of them".into()));
    }
    let paths = std::iter::once(main).chain(fragments.into_values().take(FILES_LIMIT));
    Some(paths.filter_map(|path| read(path, findings)).collect())
}

fn fragments_of(dir: &Path, findings: &mut Findings) -> Vec<PathBuf> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            findings.file(dir, format!("cannot be listed: {error}"), None);
            return Vec::new();
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => findings.file(dir, format!("cannot be listed: {error}"), None),
        }
    }
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "toml") && !hidden(path));
    paths
}

fn read(path: PathBuf, findings: &mut Findings) -> Option<Source> {
    let bytes = match read_bytes(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.file(&path, format!("cannot be read: {error}"), None);
            return None;
        }
    };
    if bytes.len() > FILE_LIMIT {
        findings.file(&path, too_large(), Some("split it into files in conf.d".into()));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source { path, text: text.into() }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let source = Source::new(path, &String::from_utf8_lossy(error.as_bytes()));
            let finding = Finding::error("this is not UTF-8").help("save the file as UTF-8");
            findings.at_offset(&source, valid, finding);
            None
        }
    }
}

/// At most one byte more than the limit. Only regular files are opened: a FIFO would block for ever.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // systemd's way to mask a file of the same name in a later directory.
    if path.is_symlink() && fs::canonicalize(path)? == Path::new("/dev/null") {
        return Ok(Vec::new());
    }
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large() -> String {
    "larger than 1 MiB".to_owned()
}
