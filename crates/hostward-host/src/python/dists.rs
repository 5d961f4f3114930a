//! What is installed: the distributions of every site-packages directory, by normalised name.
//!
//! Reads the head of each `*.dist-info/METADATA` (Name, Version), nothing else; the directory's name where that file
//! is missing. Legacy `*.egg-info` and `*.egg-link` count as installed too.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, Unmet};
use pep440_rs::{Operator, Version, VersionSpecifiers};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::normalise;
use super::wants::say;
use crate::files::{fault, unreadable};

/// Name and Version stand in the first lines: one read of this size is nearly always enough.
const FIRST_READ: usize = 2048;
/// The head of a METADATA file: its description comes after the blank line.
const MAX_HEAD: usize = 256 * 1024;
/// Far above any environment seen (a few hundred): a directory beyond this is something else.
const MAX_DISTS: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Dists(BTreeMap<String, Dist>);

#[derive(Debug)]
struct Dist {
    /// Which directory it was found in: the first on the search path hides the rest.
    site: usize,
    /// As installed. More than one: an upgrade was interrupted. Empty text: not known (an `*.egg-link`).
    versions: Vec<String>,
}

impl Dists {
    pub(super) fn read(sites: &[PathBuf]) -> Result<Dists, Fault> {
        let mut dists = Dists::default();
        for (n, site) in sites.iter().enumerate() {
            dists.read_site(n, site)?;
        }
        Ok(dists)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is wrong with a requirement, if anything.
    pub(super) fn judge(&self, name: &str, specifiers: &VersionSpecifiers) -> Result<Option<Unmet>, Fault> {
        let unmet = |found: Option<String>| {
            Some(Unmet { name: name.into(), wanted: say(specifiers).into(), found: found.map(Into::into) })
        };
        let Some(dist) = self.0.get(name) else { return Ok(unmet(None)) };
        for version in &dist.versions {
            if !satisfies(name, version, specifiers)? {
                return Ok(unmet(Some(dist.versions.join(" and "))));
            }
        }
        Ok(None)
    }

    fn read_site(&mut self, n: usize, site: &Path) -> Result<(), Fault> {
        let failed = |e| fault("site-packages", site, e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(site, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        for entry in fs::read_dir(site).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // `~ip`: what pip leaves of a distribution that it could not remove.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('~')) else { continue };
            let found = if let Some(stem) = name.strip_suffix(".dist-info") {
                Some(identify(&dir, site, &format!("{name}/METADATA"), stem)?)
            } else if let Some(stem) = name.strip_suffix(".egg-info") {
                let is_dir = entry.file_type().map_err(failed)?.is_dir();
                let head = if is_dir { format!("{name}/PKG-INFO") } else { name.to_owned() };
                Some(identify(&dir, site, &head, stem.split("-py").next().unwrap_or(stem))?)
            } else {
                name.strip_suffix(".egg-link").map(|stem| (normalise(stem), String::new()))
            };
            if let Some((name, version)) = found {
                self.insert(n, name, version);
            }
            if self.0.len() > MAX_DISTS {
                return Err(unreadable(format!("site-packages '{}' holds over {MAX_DISTS}", site.display())));
            }
        }
        Ok(())
    }

    fn insert(&mut self, site: usize, name: String, version: String) {
        let dist = self.0.entry(name).or_insert_with(|| Dist { site, versions: Vec::new() });
        if dist.site == site && !dist.versions.contains(&version) {
            dist.versions.push(version);
            dist.versions.sort();
        }
    }
}

/// Prereleases count, since it is installed: the specifier is not choosing.
fn satisfies(name: &str, version: &str, specifiers: &VersionSpecifiers) -> Result<bool, Fault> {
    if version.is_empty() || specifiers.is_empty() {
        return Ok(true);
    }
    let installed: Version =
        version.parse().map_err(|_| unreadable(format!("version '{version}' of the installed {name} (PEP 440)")))?;
    // `2` is in `==2.0.*` and not in `==2.8.*`: the crate compares only the segments that are there, so give it zeros.
    let release = installed.release().iter().copied().chain(std::iter::repeat(0));
    let padded = installed.clone().with_release(release.take(installed.release().len().max(5)));
    Ok(specifiers.iter().all(|s| match s.operator() {
        Operator::ExactEqual => s.contains(&installed),
        _ => s.contains(&padded),
    }))
}

/// Name and version: from the metadata's head, else from the directory's name (`name-version`).
fn identify(dir: &OwnedFd, site: &Path, metadata: &str, stem: &str) -> Result<(String, String), Fault> {
    let failed = |e: Errno| fault("distribution's metadata", &site.join(metadata), e.into());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let head = match rustix::fs::openat(dir, metadata, flags, Mode::empty()) {
        Ok(file) => head(&file).map_err(failed)?,
        Err(Errno::NOENT | Errno::NOTDIR) => Vec::new(),
        Err(e) => return Err(failed(e)),
    };
    if let (Some(name), Some(version)) = (field(&head, b"name"), field(&head, b"version")) {
        return Ok((normalise(&name), version));
    }
    match stem.rsplit_once('-') {
        Some((name, version)) if !name.is_empty() => Ok((normalise(name), version.to_owned())),
        _ => {
            Err(unreadable(format!("distribution '{}' says neither name nor version", site.join(metadata).display())))
        }
    }
}

/// Reads until both fields are there, or the head ends.
fn head(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut head = vec![0; FIRST_READ];
    let mut filled = 0;
    loop {
        let n = rustix::io::read(file, &mut head[filled..])?;
        filled += n;
        let read = &head[..filled];
        let whole = n == 0 || filled >= MAX_HEAD || read.windows(2).any(|w| w == b"\n\n");
        if whole || (field(read, b"name").is_some() && field(read, b"version").is_some()) {
            head.truncate(filled);
            return Ok(head);
        }
        head.resize((filled * 2).max(FIRST_READ), 0);
    }
}

/// A header's value: a whole line of the head only, so that a cut line is never half a version.
fn field(head: &[u8], key: &[u8]) -> Option<String> {
    let lines = head.split_inclusive(|b| *b == b'\n');
    let lines = lines.take_while(|line| line.ends_with(b"\n") && !line.trim_ascii().is_empty());
    for line in lines {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        if line[..colon].eq_ignore_ascii_case(key) {
            let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned();
            return (!value.is_empty()).then_some(value);
        }
    }
    None
}
