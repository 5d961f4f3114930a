//! `expect` of an HTTP probe.

use hostward_core::ask::Picked;
use hostward_core::expect::Test;
use hostward_core::id::Str;
use hostward_core::watch::service::{Statuses, tls_days};
use toml::de::DeValue;

use crate::finding::{Finding, did_you_mean, shown};
use crate::reader::{Reader, Value};
use crate::scalar::{Complaint, Scalar};

/// What a probe expects; a pick for each test.
#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) status: Statuses,
    pub(crate) picks: Vec<Str>,
    pub(crate) json: Vec<Test>,
    pub(crate) texts: Vec<Str>,
    pub(crate) shown: Vec<Str>,
    pub(crate) headers: Vec<Test>,
    pub(crate) tls_days: u32,
}

/// Each is evaluated on up to 64 values at every probe.
const ASSERTIONS_LIMIT: usize = 64;
/// Texts are looked for in the whole body.
const TEXTS_LIMIT: usize = 8;
/// The longest that an authority may still issue: CA/Browser Forum, Baseline Requirements, 6.3.2.
const TLS_DAYS_MAX: u32 = 398;

pub(crate) fn read(table: &mut Reader<'_>, url: Option<&str>) -> Expect {
    let mut said = Expect {
        status: Statuses::one(200),
        picks: Vec::new(),
        json: Vec::new(),
        texts: Vec::new(),
        shown: Vec::new(),
        headers: Vec::new(),
        tls_days: tls_days(),
    };
    let Some(mut expect) = table.table("expect") else { return said };
    if let Some(statuses) = expect.value("status").and_then(|value| statuses(&value)) {
        said.status = statuses;
    }
    if let Some(texts) = expect.value("text") {
        said.texts = self::texts(&texts);
    }
    if let Some(json) = expect.table("json") {
        assertions(&json, &mut said);
    }
    if let Some(header) = expect.table("header") {
        headers(&header, &mut said);
    }
    let plain = url.is_some_and(|url| !url.starts_with("https:"));
    if let Some(value) = expect.value("tls_days") {
        said.tls_days = value.integer(0..=TLS_DAYS_MAX).unwrap_or(said.tls_days);
        if plain {
            let finding = Finding::error("`tls_days` means something over https alone");
            value.complain(finding.help("write the URL with https://, or leave it out"));
        }
    }
    expect.finish();
    said
}

/// `200`, `"2xx"`, or a list of them.
fn statuses(value: &Value<'_>) -> Option<Statuses> {
    let items = match value.node() {
        DeValue::Array(_) => value.items("a status")?,
        _ => vec![value.clone()],
    };
    Some(Statuses(items.iter().filter_map(status).collect()))
}

fn status(value: &Value<'_>) -> Option<(u16, u16)> {
    let DeValue::String(text) = value.node() else {
        let one = value.integer(100..=599).and_then(|n| u16::try_from(n).ok())?;
        return Some((one, one));
    };
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    let Some(class) = class.filter(|class| (1..=5).contains(class)) else {
        let finding = Finding::error(format!("{} is no class of statuses", shown(text)));
        value.complain(finding.help("write 204, \"2xx\", or [\"2xx\", 401]"));
        return None;
    };
    Some((class * 100, class * 100 + 99))
}

fn texts(value: &Value<'_>) -> Vec<Str> {
    let items = match value.node() {
        DeValue::Array(_) => value.items("text that the body must have").unwrap_or_default(),
        _ => vec![value.clone()],
    };
    if let Some(one) = items.get(TEXTS_LIMIT) {
        one.complain(Finding::error(format!("`text` has more than {TEXTS_LIMIT} of them")).help("expect less of it"));
    }
    items.iter().filter_map(|item| item.scalar(&CONTAINED)).map(|said| said.value).collect()
}

const CONTAINED: Scalar<Str> = Scalar {
    expected: "text",
    example: "\"pong\"",
    parse: |text| {
        if text.is_empty() || text.len() > 1024 {
            return Err(Complaint::new("this cannot be looked for", "from 1 to 1024 bytes of text"));
        }
        Ok(text.into())
    },
};

/// `{ "content-type" = "application/json", etag = { exists = true } }`
fn headers(table: &Reader<'_>, said: &mut Expect) {
    for (name, value) in table.entries() {
        if !is_header(name.value) {
            let finding = Finding::error(format!("{} is no header's name", shown(name.value)));
            table.push(&name.at, finding.help("letters, digits and -, as in content-type"));
            continue;
        }
        match test(&value) {
            None => {}
            Some(test @ (Test::Eq(Picked::Text(_)) | Test::Ne(Picked::Text(_)) | Test::Has(_) | Test::Exists(_))) => {
                said.shown.push(name.value.to_ascii_lowercase().into());
                said.headers.push(test);
            }
            Some(_) => {
                let finding = Finding::error("a header is text");
                value.complain(finding.help("write \"VALUE\", { has = \"PART\" }, { ne = .. } or { exists = true }"));
            }
        }
    }
    if said.headers.len() > ASSERTIONS_LIMIT {
        let finding = Finding::error(format!("`header` has more than {ASSERTIONS_LIMIT} assertions"));
        table.push(table.at(), finding.help("expect less of it"));
    }
}

/// RFC 9110, 5.1, without the signs that nobody uses.
pub(crate) fn is_header(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 128 && name.chars().all(allowed)
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
pub(crate) fn pointer_fault(pointer: &str) -> Option<String> {
    if !pointer.starts_with('/') {
        return Some(format!("begin it with /: \"/{}\"", pointer.trim_start_matches('$').replace('.', "/")));
    }
    let mut tildes = pointer.match_indices('~');
    let stray = tildes.any(|(n, _)| !pointer[n + 1..].starts_with(['0', '1']));
    stray.then(|| "write ~ as ~0, and / within a name as ~1".to_owned())
}

const OPERATORS: [&str; 9] = ["eq", "ne", "lt", "gt", "exists", "all", "any", "has", "len"];

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
        "has" => operand.scalar(&CONTAINED).map(|said| Test::Has(said.value)),
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
pub(crate) fn picked(value: &Value<'_>) -> Option<Picked> {
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
