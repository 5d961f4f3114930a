//! `tidy`: the house rules that no compiler knows. All findings at once.

mod crates;
mod metrics;
mod text;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hostward_tests::repository;

use crate::run::{cargo, program, read};

/// A tracked text file.
pub(crate) struct Tracked {
    /// Relative to the root of the checkout.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tracked {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

pub(crate) fn tidy() -> Result<()> {
    let files = tracked()?;
    let mut findings = crates::findings()?;
    findings.extend(text::findings(&files));
    findings.extend(metrics::findings(&files));
    findings.extend(example_findings()?);
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    bail!("{} findings", findings.len())
}

/// Also the files that are not committed yet, so that a finding comes before the commit.
fn tracked() -> Result<Vec<Tracked>> {
    let names = read(program("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files = Vec::new();
    for path in names.split_terminator('\0') {
        let full = repository().join(path);
        // A file that was deleted and not committed yet is still listed; a symbolic link's target is listed itself.
        if !full.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("read '{path}'"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(Tracked { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

/// Every example is a configuration that loads.
fn example_findings() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(repository().join("examples")) else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    for entry in entries {
        let path = entry.context("list the folder 'examples'")?.path();
        if !path.is_dir() {
            continue;
        }
        let mut check = cargo(["run", "--quiet", "--package", "hostward", "--", "config", "check"]);
        check.arg(&path);
        if let Err(error) = read(check) {
            findings.push(format!("{}: does not load: {error:#}", path.display()));
        }
    }
    Ok(findings)
}
