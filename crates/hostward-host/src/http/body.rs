//! What a body says: an excerpt, and the values that JSON pointers name.
//!
//! Never keeps the body: a reading is bounded (64 values a pick, 200 characters a text). Rule: RFC 6901, with a whole
//! segment `*` for every member or element.

use serde_json::Value;

use hostward_core::ask::{HttpReading, Picked};
use hostward_core::id::Str;

use crate::mask;

/// Values of one pick.
const MAX_PICKED: usize = 64;
/// Characters of an excerpt or a text.
const MAX_TEXT: usize = 200;

pub(super) fn reading(status: u16, body: &[u8], picks: &[Str]) -> HttpReading {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let picked = picks.iter().map(|pick| value.as_ref().map_or_else(Vec::new, |value| pointed(value, pick)));
    let excerpt = mask::clip(&String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT * 4)]), MAX_TEXT);
    HttpReading::Answered { status, picked: picked.collect(), json: value.is_some(), excerpt }
}

fn pointed(root: &Value, pointer: &str) -> Vec<Picked> {
    let mut here = vec![root];
    let mut segments = pointer.split('/');
    // A pointer is empty or starts with a slash.
    if segments.next() != Some("") {
        return Vec::new();
    }
    for segment in segments {
        let name = segment.replace("~1", "/").replace("~0", "~");
        here = here.into_iter().flat_map(|value| step(value, segment, &name)).collect();
    }
    here.into_iter().take(MAX_PICKED).map(picked).collect()
}

/// The body's cap bounds what a wildcard can reach.
fn step<'a>(value: &'a Value, segment: &str, name: &str) -> Vec<&'a Value> {
    match (value, segment) {
        (Value::Array(items), "*") => items.iter().collect(),
        (Value::Object(members), "*") => members.values().collect(),
        (Value::Array(items), _) => index(name).and_then(|i| items.get(i)).into_iter().collect(),
        (Value::Object(members), _) => members.get(name).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// RFC 6901, 4: no leading zeros, no sign.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    digits.then(|| name.parse().ok()).flatten()
}

fn picked(value: &Value) -> Picked {
    match value {
        Value::Null => Picked::Null,
        Value::Bool(b) => Picked::Bool(*b),
        Value::Number(n) => Picked::Number(n.to_string().into()),
        Value::String(s) => Picked::Text(s.chars().take(MAX_TEXT).collect::<String>().into()),
        Value::Array(items) => Picked::Array(items.len()),
        Value::Object(members) => Picked::Object(members.len()),
    }
}
