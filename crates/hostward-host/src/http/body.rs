//! What a body says: an excerpt, and the values that JSON pointers name.
//!
//! Never keeps the body: a reading is bounded (64 values a pick, 200 characters a text). Rule: RFC 6901, with a whole
//! segment `*` for every member or element.

use std::borrow::Cow;

use serde_json::Value;

use hostward_core::ask::{HttpAnswer, HttpQ, Picked, TlsReading};
use hostward_core::id::Str;

use super::Response;
use crate::mask;
use crate::veil::Veil;

/// Values of one pick.
const MAX_PICKED: usize = 64;
/// Characters of an excerpt or a text.
const MAX_TEXT: usize = 200;

/// Components of one body; `ask.rs` promises it.
const MAX_COMPONENTS: usize = 64;
/// Of a component's name, which becomes a label.
const MAX_NAME: usize = 64;

pub(super) fn answer(q: &HttpQ, response: &Response, veil: &Veil) -> HttpAnswer {
    let body = &response.body;
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let picked = |pick: &Str| {
        let values = value.as_ref().map_or_else(Vec::new, |value| pointed(value, pick));
        values.into_iter().take(MAX_PICKED).map(|(_, value)| picked_in(value, veil)).collect()
    };
    let all = q.components.iter().flat_map(|pointer| value.as_ref().map_or_else(Vec::new, |v| pointed(v, pointer)));
    let (safe, unsafe_names): (Vec<_>, Vec<_>) = all.partition(|(name, _)| is_label(name));
    let components =
        safe.iter().take(MAX_COMPONENTS).map(|(name, value)| (Str::from(&**name), picked_in(value, veil)));
    let left = safe.len().saturating_sub(MAX_COMPONENTS) + unsafe_names.len();
    let text = String::from_utf8_lossy(body);
    let shown = |name: &Str| {
        let value = response.headers.get(&**name)?;
        Some(mask::clip(&veil.hide(&String::from_utf8_lossy(value.as_bytes())), MAX_TEXT))
    };
    HttpAnswer {
        status: response.status,
        picked: q.picks.iter().map(picked).collect(),
        json: value.is_some(),
        excerpt: veil.excerpt(&text, MAX_TEXT),
        cut: response.cut,
        texts: q.texts.iter().map(|wanted| text.contains(&**wanted)).collect(),
        shown: q.shown.iter().map(shown).collect(),
        components: components.collect(),
        components_left: u32::try_from(left).unwrap_or(u32::MAX),
        tls: response.certificate.as_ref().map(|certificate| TlsReading {
            not_after: certificate.not_after,
            distrust: certificate.distrust.clone(),
        }),
    }
}

fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(allowed)
}

/// What a pointer names, each with the member that its last wildcard stands for.
fn pointed<'a>(root: &'a Value, pointer: &str) -> Vec<(Cow<'a, str>, &'a Value)> {
    let mut here = vec![(Cow::Borrowed(""), root)];
    let mut segments = pointer.split('/');
    // A pointer is empty or starts with a slash.
    if segments.next() != Some("") {
        return Vec::new();
    }
    for segment in segments {
        let name = segment.replace("~1", "/").replace("~0", "~");
        here = here.into_iter().flat_map(|at| step(at, segment, &name)).collect();
    }
    here
}

/// The body's cap bounds what a wildcard can reach.
fn step<'a>(at: (Cow<'a, str>, &'a Value), segment: &str, name: &str) -> Vec<(Cow<'a, str>, &'a Value)> {
    let (member, value) = at;
    match (value, segment) {
        (Value::Array(items), "*") => {
            items.iter().enumerate().map(|(n, item)| (n.to_string().into(), item)).collect()
        }
        (Value::Object(members), "*") => members.iter().map(|(key, item)| (key.into(), item)).collect(),
        (Value::Array(items), _) => {
            index(name).and_then(|i| items.get(i)).map(|item| (member, item)).into_iter().collect()
        }
        (Value::Object(members), _) => members.get(name).map(|item| (member, item)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// RFC 6901, 4: no leading zeros, no sign.
fn index(name: &str) -> Option<usize> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    digits.then(|| name.parse().ok()).flatten()
}

fn picked_in(value: &Value, veil: &Veil) -> Picked {
    match value {
        Value::Null => Picked::Null,
        Value::Bool(b) => Picked::Bool(*b),
        Value::Number(n) => Picked::Number(n.to_string().into()),
        Value::String(s) => Picked::Text(veil.hide(s).chars().take(MAX_TEXT).collect::<String>().into()),
        Value::Array(items) => Picked::Array(items.len()),
        Value::Object(members) => Picked::Object(members.len()),
    }
}
