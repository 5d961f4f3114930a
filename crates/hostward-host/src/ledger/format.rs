//! What the frames say: the header that each file begins with, and the records behind it, of this version and others.
//!
//! The header carries the format's number, so that a file is judged by its first line, and the snapshot: the state that
//! the records behind it go on from. Its form is fixed for all versions: an object with the number `format`.

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::ledger::{Record, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MAX_SNAPSHOT;

/// What this version writes, and the newest that it reads.
///
/// It rises with every change that an older version would misread: a record that no longer means the same, a field that
/// must not be overlooked. A new field that may be overlooked, with a default, is no new format. Format 1 had no header:
/// its first frame is record 1, and its records read as today's, whose younger fields all have a default.
pub const FORMAT: u32 = 2;

#[derive(Deserialize)]
struct Number {
    format: u32,
    #[serde(default)]
    by: String,
}

#[derive(Serialize, Deserialize)]
struct Header<S> {
    format: u32,
    /// The version that wrote it, for people.
    by: String,
    state: S,
}

/// What a file's first frame is.
#[derive(Debug)]
pub(super) enum First {
    Snapshot(Box<State>),
    /// A file of format 1 begins with its first record.
    Record(Box<Record>),
}

/// Why a whole frame cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A later version wrote it.
    Newer(String),
    Damaged(String),
}

/// The header's payload. None: the state is larger than any frame may be.
pub(super) fn header(state: &State) -> Option<Vec<u8>> {
    let header = Header { format: FORMAT, by: env!("CARGO_PKG_VERSION").to_owned(), state };
    serde_json::to_vec(&header).ok().filter(|json| json.len() <= MAX_SNAPSHOT)
}

pub(super) fn first(seq: u64, payload: &[u8]) -> Result<First, Unreadable> {
    let Ok(Number { format, by }) = serde_json::from_slice(payload) else {
        return record(seq, payload).map(|record| First::Record(Box::new(record)));
    };
    if format > FORMAT {
        let by = if by.is_empty() { String::new() } else { format!(", written by hostward {by}") };
        return Err(Unreadable::Newer(format!("it has format {format}{by}, and this version understands {FORMAT}")));
    }
    let header: Header<State> = serde_json::from_slice(payload).map_err(|e| unreadable("the snapshot", &e))?;
    if header.state.seq != seq {
        let reason = format!("the snapshot of record {} stands under number {seq}", header.state.seq);
        return Err(Unreadable::Damaged(reason));
    }
    Ok(First::Snapshot(Box::new(header.state)))
}

/// Fields that it does not know are passed over; what it must not pass over, a later version says by a new format.
pub(super) fn record(seq: u64, payload: &[u8]) -> Result<Record, Unreadable> {
    serde_json::from_slice(payload).map_err(|e| unreadable(&format!("record {seq}"), &e))
}

/// A kind of record, act or question that this version has no name for is a later version's, whatever the header says.
fn unreadable(what: &str, error: &serde_json::Error) -> Unreadable {
    let said = error.to_string();
    if said.starts_with("unknown variant") {
        // What we would have known instead is of no use to whoever reads this.
        let said = said.split(", expected").next().unwrap_or_default();
        return Unreadable::Newer(format!("{what} is of a later version: {said}"));
    }
    Unreadable::Damaged(format!("{what} cannot be read: {said}"))
}

/// Which units the open plans of a file name, as far as that can be told from frames of any version.
#[derive(Debug, Default)]
pub(super) struct Names {
    runs: BTreeMap<u64, BTreeSet<String>>,
}

impl Names {
    pub(super) fn see(&mut self, seq: u64, payload: &[u8]) {
        let Ok(json) = serde_json::from_slice::<Value>(payload) else { return };
        if let Some(runs) = json.pointer("/state/runs").and_then(Value::as_object) {
            let known = runs.iter().filter_map(|(run, open)| Some((run.parse().ok()?, open)));
            self.runs.extend(known.map(|(run, open)| (run, units(open))));
        }
        if let Some(opened) = json.pointer("/body/opened") {
            self.runs.insert(seq, units(opened));
        }
        if let Some(run) = json.pointer("/body/closed/run").and_then(Value::as_u64) {
            self.runs.remove(&run);
        }
    }

    pub(super) fn into_set(self) -> BTreeSet<String> {
        self.runs.into_values().flatten().collect()
    }
}

/// Every word that looks like a unit's name.
fn units(json: &Value) -> BTreeSet<String> {
    const SUFFIXES: [&str; 6] = [".service", ".socket", ".timer", ".mount", ".target", ".path"];
    let unit = |text: &str| !text.contains(' ') && SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    match json {
        Value::String(text) if unit(text) => [text.clone()].into(),
        Value::Array(items) => items.iter().flat_map(units).collect(),
        Value::Object(fields) => fields.values().flat_map(units).collect(),
        _ => BTreeSet::new(),
    }
}
