//! Configuration: reads `hostward.toml` and `conf.d/*.toml`, and gives the core a [`Policy`] that passed every check.
//!
//! Every error is found in one go, with its file, line and column, what was expected, and what was probably meant. The
//! files are walked as spanned trees and not deserialised by serde: tagged and flattened enums lose their spans, and
//! serde stops at the first error. (docs/usage/configuration.md says what may be written.)
//!
//! Invariants: reading is all the I/O there is; whether a path, unit or user exists is never asked, so that a
//! configuration can be checked anywhere; no input makes it panic.

#![forbid(unsafe_code)]

mod assertion;
mod baseline;
mod commands;
mod common;
mod component;
mod cross;
mod draft;
mod finding;
mod host;
mod job;
mod notify;
mod probe;
mod reader;
mod remedy;
mod scalar;
mod service;
mod source;
mod spans;
mod storage;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hostward_core::policy::Policy;
use serde::{Deserialize, Serialize};

pub use finding::{ConfigError, Rejected, Related};
pub use notify::{Deadman, Notifier, Notify, Way};
pub use spans::span;

use draft::Draft;
use finding::Findings;
use source::Source;

/// Where a configuration is looked for, the first before the others, as systemd does it.
pub const SEARCH: [&str; 3] = ["/etc/hostward", "/run/hostward", "/usr/lib/hostward"];

/// A whole configuration that passed every check.
#[derive(Clone, Debug, Serialize)]
pub struct Loaded {
    pub policy: Policy,
    pub export: Export,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<ConfigError>,
    /// The files it came from, in the order in which they were read.
    pub sources: Vec<PathBuf>,
}

/// What leaves the daemon beside its acts: `[metrics]`, `[notify]`. No decision reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub listen: Option<SocketAddr>,
    pub textfile: Option<PathBuf>,
    /// `host.record`: how many bytes of what is observed are kept for `hostward replay`; none: nothing is.
    #[serde(default)]
    pub record: Option<u64>,
    #[serde(default)]
    pub notify: Notify,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no `hostward.toml`: the daemon is up, idle, and says so.
    #[error("no configuration: no hostward.toml in {}", listed(.looked))]
    Absent { looked: Vec<PathBuf> },
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl LoadError {
    /// As rustc prints errors; one that has no place in a file is a line.
    pub fn render(&self, colour: bool) -> String {
        match self {
            LoadError::Absent { .. } => format!("{self}\n"),
            LoadError::Rejected(rejected) => rejected.render(colour),
        }
    }

    /// Each error with its place; none when there is no file.
    pub fn errors(&self) -> &[ConfigError] {
        match self {
            LoadError::Absent { .. } => &[],
            LoadError::Rejected(rejected) => &rejected.errors,
        }
    }
}

/// Reads `DIR/hostward.toml` and `DIR/conf.d/*.toml`.
pub fn load(dir: &Path) -> Result<Loaded, LoadError> {
    load_from(&[dir.to_owned()])
}

/// The same over several directories, the first before the others: the first `hostward.toml` counts, and a file in
/// `conf.d` masks those of the same name in later directories.
pub fn load_from(dirs: &[PathBuf]) -> Result<Loaded, LoadError> {
    let mut findings = Findings::default();
    let Some(sources) = source::collect(dirs, &mut findings) else {
        return Err(LoadError::Absent { looked: dirs.to_vec() });
    };
    Ok(assemble(&sources, &findings)?)
}

/// The same from texts: each with the name that errors call it by, `hostward.toml` first.
pub fn parse(texts: &[(&str, &str)]) -> Result<Loaded, Rejected> {
    let mut findings = Findings::default();
    let sources: Vec<Source> = texts.iter().map(|(name, text)| Source::new(name, text)).collect();
    for source in &sources {
        source.check_size(&mut findings);
    }
    assemble(&sources, &findings)
}

fn assemble(sources: &[Source], findings: &Findings) -> Result<Loaded, Rejected> {
    let mut draft = Draft::default();
    for (file, source) in sources.iter().enumerate() {
        draft.read(file, &source.text, findings);
    }
    let (policy, export) = draft.finish(findings);
    let (errors, warnings) = findings.resolve(sources);
    if errors.is_empty() {
        Ok(Loaded { policy, export, warnings, sources: sources.iter().map(|s| s.path.clone()).collect() })
    } else {
        Err(Rejected { errors })
    }
}

impl Loaded {
    /// The warnings, as rustc prints them; empty when there are none.
    pub fn render_warnings(&self, colour: bool) -> String {
        finding::render(&self.warnings, colour)
    }
}

fn listed(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}
