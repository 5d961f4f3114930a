//! Reads a Python environment and what is declared for it, and names the difference.
//!
//! Native: no interpreter is started, nothing is written, no environment variable is consulted. It says which
//! requirements are unmet; whether that is drift is the core's to judge. Rules: watches.md, "baseline"; PEP 503
//! (names), 440 (versions), 508 (requirements and markers), 376 (`*.dist-info`); pip's requirements file format;
//! uv's lock file.

mod dists;
mod env;
mod requirements;
#[cfg(test)]
mod tests;
mod tree;
mod uvlock;
mod wants;

use std::collections::BTreeSet;

use hostward_core::ask::{Answer, PythonQ, PythonReading, Reading, Unmet};

use crate::files;
use dists::Dists;
use env::Environment;
use tree::Tree;
use wants::Wants;

/// What a reading names at most; `unmet_total` counts them all (`ask.rs`).
const MAX_UNMET: usize = 100;

/// Reads the environment. Blocks on the disk: call it in a child (`child::ask`).
///
/// A [`Fault`](hostward_core::ask::Fault) means that the difference is not known: something was not permitted, or
/// not understood.
pub fn read(q: &PythonQ) -> Answer {
    let environment = Environment::look(&q.venv)?;
    let dists = Dists::read(&environment.sites)?;
    let mut wants = Wants::new(&environment.markers);
    for list in &q.wants {
        wants.add(list)?;
    }
    let tree = q.tree.as_deref().map(Tree::look).transpose()?.unwrap_or_default();

    let mut touched = wants.touched.max(tree.touched);
    for site in &environment.sites {
        touched = touched.max(files::modified("site-packages", site)?.unwrap_or_default());
    }
    let mut unmet: BTreeSet<Unmet> = BTreeSet::new();
    for (name, specifiers) in wants.required() {
        unmet.extend(dists.judge(name, specifiers)?);
    }
    Ok(Reading::Python(PythonReading {
        interpreter: environment.interpreter,
        installed: count(dists.len()),
        required: count(wants.required().count()),
        unmet_total: count(unmet.len()),
        unmet: unmet.into_iter().take(MAX_UNMET).collect(),
        touched,
        revision: tree.revision,
        wants_digest: wants.digest(),
    }))
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// PEP 503: lower case, runs of `-`, `_` and `.` as one `-`.
fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.trim().chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.push(c.to_ascii_lowercase()),
        }
    }
    normal
}
