//! What the engine was told, line by line, so that it can be told again.
//!
//! A line is `{"now":..,"event":..}`; where an engine begins, `{"begin":..}`, and where it dies, `{"dies":true}`.

use std::fmt::Debug;

use hostward_core::engine::{Begin, Effect, Event};
use hostward_core::time::Now;
use serde::Serialize;

use crate::rng::keyed;

/// How much of a run is kept.
#[derive(Debug, Default)]
pub enum Trace {
    /// Nothing but a quick checksum of when and what.
    #[default]
    Off,
    /// A checksum over every byte of every event and effect.
    Checked,
    Kept(Vec<String>),
}

#[derive(Serialize)]
struct Line<'a> {
    now: Now,
    event: &'a Event,
}

impl Trace {
    pub fn event(&mut self, now: Now, event: &Event) {
        if let Trace::Kept(lines) = self {
            lines.push(serde_json::to_string(&Line { now, event }).unwrap_or_default());
        }
    }

    pub fn begin(&mut self, begin: &Begin) {
        if let Trace::Kept(lines) = self {
            lines.push(serde_json::json!({ "begin": begin }).to_string());
        }
    }

    pub fn dies(&mut self) {
        if let Trace::Kept(lines) = self {
            lines.push(r#"{"dies":true}"#.to_owned());
        }
    }

    /// Mixes what happened into a checksum.
    pub fn stir(&self, hash: u64, now: Now, name: &str, what: &impl Debug) -> u64 {
        let hash = keyed(hash ^ now.wall.0.rotate_left(17), name, now.up.0);
        if matches!(self, Trace::Checked) { keyed(hash, &format!("{what:?}"), 0) } else { hash }
    }

    pub fn stir_effect(&self, hash: u64, name: &str, what: &Effect) -> u64 {
        if matches!(self, Trace::Checked) { keyed(hash, &format!("{what:?}"), 1) } else { keyed(hash, name, 1) }
    }
}

impl Trace {
    pub fn into_lines(self) -> Vec<String> {
        if let Trace::Kept(lines) = self { lines } else { Vec::new() }
    }
}
