//! `replay`: a recording run through the engine again, perhaps under another configuration.

use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hostward_core::replay::{Decision, Line, Played, Recording};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::Out;
use crate::exit::{self, Exit};
use crate::render;

#[derive(Serialize)]
struct Compared<'a> {
    events: usize,
    recorded: &'a Played,
    would: Option<&'a Played>,
    changed: bool,
}

/// Exit 0: the same decisions; 1: others; 4: the recording was cut off, and what is left of it was played.
pub(crate) fn replay(out: Out, file: &Path, config: Option<&Path>) -> Result<Exit> {
    let (lines, torn) = read(file)?;
    let recording = Recording::of(lines)
        .map_err(|e| exit::error(Exit::Usage, format!("{} is no recording: {e}", file.display())))?;
    let recorded = recording.play();
    let would = match config {
        Some(dir) => Some(recording.play_under(Arc::new(load(dir)?))),
        None => None,
    };
    let changed = would.as_ref().is_some_and(|would| says(would) != says(&recorded));
    let compared = Compared { events: recording.len(), recorded: &recorded, would: would.as_ref(), changed };
    out.print(&compared, || match &would {
        None => decisions(&recorded),
        Some(would) => difference(&recorded, would),
    })?;
    if let Some(torn) = torn {
        eprintln!("hostward: {}: {torn}; what stands before it was played", file.display());
        return Ok(Exit::Unknown);
    }
    Ok(if changed { Exit::Held } else { Exit::Ok })
}

fn load(dir: &Path) -> Result<hostward_core::policy::Policy> {
    let loaded =
        crate::store::load_config(dir).map_err(|error| exit::error(Exit::Usage, error.render(false).trim_end()))?;
    Ok(loaded.policy)
}

/// The whole lines, and what is wrong with the first that is not.
fn read(file: &Path) -> Result<(Vec<Line>, Option<String>)> {
    let open = std::fs::File::open(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => exit::error(Exit::Usage, format!("open {}: {e}", file.display())),
        _ => anyhow::Error::new(e).context(format!("open {}", file.display())),
    })?;
    let mut lines = Vec::new();
    for (n, line) in std::io::BufReader::new(open).lines().enumerate() {
        let line = line.with_context(|| format!("read {}, line {}", file.display(), n + 1))?;
        match serde_json::from_str(&line) {
            Ok(line) => lines.push(line),
            Err(error) => {
                return Ok((lines, Some(format!("line {} is cut off or no line of a recording ({error})", n + 1))));
            }
        }
    }
    Ok((lines, None))
}

fn says(played: &Played) -> Vec<&str> {
    played.decisions.iter().map(|decision| decision.says.as_str()).chain(played.ends.as_deref()).collect()
}

fn line(decision: &Decision) -> String {
    format!("{} {}", render::clock(decision.at.wall), decision.says)
}

fn decisions(played: &Played) -> String {
    let mut text: String = played.decisions.iter().map(|decision| line(decision) + "\n").collect();
    if text.is_empty() {
        text.push_str("nothing was decided\n");
    }
    if let Some(ends) = &played.ends {
        let _ = writeln!(text, "here it ends: {ends}");
    }
    text
}

/// What would no longer be decided (-) and what would be instead (+), in the order of time.
fn difference(recorded: &Played, would: &Played) -> String {
    let (old, new) = (says(recorded), says(would));
    let diff = TextDiff::from_slices(&old, &new);
    let mut text = String::new();
    let at = |played: &Played, n: Option<usize>| {
        let decision = n.and_then(|n| played.decisions.get(n));
        decision.map_or_else(String::new, |decision| render::clock(decision.at.wall) + " ")
    };
    for change in diff.iter_all_changes() {
        let (mark, at) = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => ('-', at(recorded, change.old_index())),
            ChangeTag::Insert => ('+', at(would, change.new_index())),
        };
        let _ = writeln!(text, "{mark} {at}{}", change.value());
    }
    if text.is_empty() { "every decision would be the same\n".to_owned() } else { text }
}
