//! `expect.status` and `expect.json` of an HTTP probe.

use hostward_core::ask::Picked;
use hostward_core::expect::Test;
use hostward_core::id::Str;
use toml::de::DeValue;

use crate::finding::{Finding, did_you_mean, shown};
use crate::reader::{Reader, Value};

/// What a probe expects; a pick for each test.
#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) status: u16,
    pub(crate) picks: Vec<Str>,
    pub(crate) json: Vec<Test>,
}

/// Each is evaluated on up to 64 values at every probe.
const ASSERTIONS_LIMIT: usize = 64;

pub(crate) fn read(table: &mut Reader<'_>) -> Expect {
    let mut said = Expect { status: 200, picks: Vec::new(), json: Vec::new() };
    let Some(mut expect) = table.table("expect") else { return said };
    if let Some(status) = expect.integer("status", 100..=599).and_then(|n| u16::try_from(n).ok()) {
        said.status = status;
    }
    if let Some(json) = expect.table("json") {
        assertions(&json, &mut said);
    }
    expect.finish();
    said
}

fn assertions(json: &Reader<'_>, said: &mut Expect) {
    let mut count = 0;
    for (pointer, value) in json.entries() {
        count += 1;
        if let Some(help) = pointer_fault(pointer.value) {
            let finding = Finding::error(format!("{} is not a JSON pointer", shown(pointer.value)));
            json.push(&pointer.at, finding.help(help));
        }
        if let Some(test) = test(&value) {
            said.picks.push(pointer.value.into());
            said.json.push(test);
        }
    }
    if count == 0 {
        json.push(json.at(), Finding::error("`json` is empty").help("leave it out, or name what must hold"));
    }
    if count > ASSERTIONS_LIMIT {
        let finding = Finding::error(format!("{count} assertions are more than the limit of {ASSERTIONS_LIMIT}"));
        json.push(json.at(), finding.help("a wildcard covers many: \"/checks/*/status\""));
    }
}

/// RFC 6901, with `*` for a whole segment. What is wrong with it, when something is.
fn pointer_fault(pointer: &str) -> Option<String> {
    if !pointer.starts_with('/') {
        return Some(format!("begin it with /: \"/{}\"", pointer.trim_start_matches('$').replace('.', "/")));
    }
    let mut tildes = pointer.match_indices('~');
    let stray = tildes.any(|(n, _)| !pointer[n + 1..].starts_with(['0', '1']));
    stray.then(|| "write ~ as ~0, and / within a name as ~1".to_owned())
}

const OPERATORS: [&str; 8] = ["eq", "ne", "lt", "gt", "exists", "all", "any", "len"];

/// A value, or a table with one operator.
fn test(value: &Value<'_>) -> Option<Test> {
    let DeValue::Table(table) = value.node() else { return picked(value).map(Test::Eq) };
    let operators = value.entries();
    let [(operator, operand)] = operators.as_slice() else {
        let finding = Finding::error(format!("an assertion has one operator, and this has {}", table.len()));
        value.complain(finding.help("write { gt = 3 }, or { all = \"ok\" }"));
        return None;
    };
    match *operator {
        "eq" => picked(operand).map(Test::Eq),
        "ne" => picked(operand).map(Test::Ne),
        "all" => picked(operand).map(Test::All),
        "any" => picked(operand).map(Test::Any),
        "lt" => number(operand).map(Test::Lt),
        "gt" => number(operand).map(Test::Gt),
        "len" => operand.integer(0..=u32::MAX).map(|n| Test::Len(n.into())),
        "exists" => {
            let DeValue::Boolean(exists) = operand.node() else {
                operand.wrong("true or false", "write { exists = true }");
                return None;
            };
            Some(Test::Exists(*exists))
        }
        unknown => {
            let help =
                did_you_mean(unknown, OPERATORS).unwrap_or_else(|| format!("known are: {}", OPERATORS.join(", ")));
            operand.complain(Finding::error(format!("unknown operator {}", shown(unknown))).help(help));
            None
        }
    }
}

/// A scalar as a JSON body would write it.
fn picked(value: &Value<'_>) -> Option<Picked> {
    match value.node() {
        DeValue::Boolean(b) => Some(Picked::Bool(*b)),
        DeValue::String(text) => Some(Picked::Text(text.as_ref().into())),
        DeValue::Integer(n) => {
            let number = i64::from_str_radix(n.as_str(), n.radix()).ok();
            if number.is_none() {
                value.complain(Finding::error("this number is too large").help("64 bits at most"));
            }
            number.map(|n| Picked::Number(n.to_string().into()))
        }
        DeValue::Float(_) => number(value).map(|n| Picked::Number(n.to_string().into())),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            value.wrong("text, a number, true or false", "name each member by a pointer of its own");
            None
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a threshold of more than 2^53 is compared as a float anyway")]
fn number(value: &Value<'_>) -> Option<f64> {
    let number = match value.node() {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
        DeValue::Float(n) => n.as_str().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    };
    if number.is_none() {
        value.wrong("a finite number", "write { gt = 3 }");
    }
    number
}
