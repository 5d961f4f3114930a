//! `[notify.NAME]` and `[notify.deadman]`: who is told of what, by which way.
//!
//! A URL or token is a secret, and a secret never stands in the configuration: only where it is kept does. One that was
//! written here all the same is hidden wherever its line is shown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hostward_core::ask::Secret;
use hostward_core::id::{Str, WatchId};
use hostward_core::ledger::CHARGES_KEPT;
use hostward_core::notify::{Pattern, Rule, Severity};
use hostward_core::policy::Budget;
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::draft::Draft;
use crate::finding::{Finding, Findings, Said, did_you_mean, shown};
use crate::reader::{Reader, Value};
use crate::scalar::{self, Complaint, Scalar};
use crate::spans;

/// Everybody who is told, and the ping that says that somebody is still there to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub notifiers: BTreeMap<Str, Notifier>,
    pub deadman: Option<Deadman>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifier {
    pub rule: Rule,
    pub way: Way,
}

/// How a message is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A POST of JSON; `token` is sent as a bearer's.
    Webhook {
        url: Secret,
        token: Option<Secret>,
    },
    /// URL/start, URL, URL/fail; with `every`, URL as long as nothing is open.
    Healthchecks {
        url: Secret,
        every: Option<Ms>,
    },
    Ntfy {
        url: Secret,
        token: Option<Secret>,
        tags: Vec<Str>,
    },
    Sendmail {
        to: Vec<Str>,
        from: Option<Str>,
        program: PathBuf,
    },
}

impl Way {
    pub fn label(&self) -> &'static str {
        match self {
            Way::Webhook { .. } => "webhook",
            Way::Healthchecks { .. } => "healthchecks",
            Way::Ntfy { .. } => "ntfy",
            Way::Sendmail { .. } => "sendmail",
        }
    }

    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Way::Webhook { url, token } | Way::Ntfy { url, token, .. } => std::iter::once(url).chain(token).collect(),
            Way::Healthchecks { url, .. } => vec![url],
            Way::Sendmail { .. } => Vec::new(),
        }
    }
}

/// Pinged by the decision loop itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadman {
    pub url: Secret,
    pub every: Ms,
}

const DEADMAN: &str = "deadman";
/// Each has a task, and a place in every turn.
const NOTIFIERS_LIMIT: usize = 16;
/// The loop turns at least this often, and only a turn pings.
const EVERY_LEAST: Ms = Ms::secs(15);
const REMIND_LEAST: Ms = Ms::mins(1);
/// What is no secret, and may be shown where it is wrong.
const SHOWN: [&str; 6] = ["severity", "watches", "after", "remind", "limit", "every"];

pub(crate) fn read(file: &mut Reader<'_>, draft: &mut Draft) {
    for (name, table) in file.named("notify") {
        table.hide_texts(&SHOWN);
        if !crate::draft::once(&table, draft.notify_at.get(name.value)) {
            continue;
        }
        draft.notify_at.insert(name.value.into(), name.at.clone());
        if name.value == DEADMAN {
            draft.notify.deadman = deadman(table);
            continue;
        }
        if draft.notify.notifiers.len() == NOTIFIERS_LIMIT {
            let finding = Finding::error(format!("more than the limit of {NOTIFIERS_LIMIT} notifiers"));
            table.push(&name.at, finding.help("one webhook may pass messages on to many"));
        }
        if let Some(notifier) = notifier(table, draft) {
            draft.notify.notifiers.insert(name.value.into(), notifier);
        }
    }
}

/// A filter that no watch passes is a spelling mistake.
pub(crate) fn check(draft: &Draft, findings: &Findings) {
    let watches = || draft.watches.keys().map(WatchId::as_str);
    for Said { value: pattern, at } in draft.filters.iter().filter(|_| !draft.torn) {
        if draft.watches.keys().any(|watch| pattern.matches(watch)) {
            continue;
        }
        let kinds: Vec<String> = draft.watches.keys().map(|watch| format!("{}.*", watch.kind())).collect();
        let help =
            did_you_mean(pattern.as_str(), watches().chain(kinds.iter().map(String::as_str))).unwrap_or_else(|| {
                "name a watch as service.api, all of a kind as service.*, or leave `watches` out".into()
            });
        findings.push(at, Finding::error(format!("no watch is meant by {}", shown(pattern.as_str()))).help(help));
    }
}

/// In a file that is no TOML: what may be a secret on the line of an error.
pub(crate) fn unread(text: &str, offset: usize) -> Option<std::ops::Range<usize>> {
    let before = text.get(..offset)?;
    let begin = before.rfind('\n').map_or(0, |n| n + 1);
    let end = text.get(offset..)?.find('\n').map_or(text.len(), |n| offset + n);
    let line = text.get(begin..end)?;
    let header = text.get(..end)?.lines().rev().find(|line| line.trim_start().starts_with('['));
    let of_notify = |line: &str| line.trim_start().trim_start_matches('[').trim_start().starts_with("notify");
    let ours = header.is_some_and(of_notify);
    let value = line.find('=').map_or(begin, |n| begin + n + 1);
    (ours || of_notify(line)).then_some(value..end)
}

fn deadman(mut table: Reader<'_>) -> Option<Deadman> {
    let url = secret(&mut table, "url", Must::BeThere);
    let every = table.or("every", &EVERY, Ms::mins(1));
    table.finish();
    Some(Deadman { url: url?, every })
}

fn notifier(mut table: Reader<'_>, draft: &mut Draft) -> Option<Notifier> {
    let default = Rule::default();
    let watches = table.list("watches", &PATTERN).unwrap_or_default();
    draft.filters.extend(watches.iter().cloned());
    let rule = Rule {
        watches: watches.into_iter().map(|said| said.value).collect(),
        severity: table.or("severity", &SEVERITY, default.severity),
        after: table.or("after", &scalar::SPAN, default.after),
        remind: table.get("remind", &REMIND).map(|said| said.value),
        limit: table.or("limit", &LIMIT, default.limit),
    };
    let ways = [webhook(&mut table), healthchecks(&mut table), ntfy(&mut table), sendmail(&mut table)];
    let named: Vec<Option<Way>> = ways.into_iter().flatten().collect();
    let one = match named.len() {
        1 => None,
        0 => Some((format!("[{}] says no way", table.path()), "add webhook, healthchecks, ntfy or sendmail")),
        _ => Some((format!("[{}] says more than one way", table.path()), "give each a [notify.NAME] of its own")),
    };
    if let Some((message, help)) = one {
        table.push(table.at(), Finding::error(message).help(help));
    }
    table.finish();
    Some(Notifier { rule, way: named.into_iter().next()?? })
}

/// None: it is not there. Some(None): it is, and is wrong.
type Named = Option<Option<Way>>;

fn webhook(table: &mut Reader<'_>) -> Named {
    let mut way = table.table("webhook")?;
    let (url, token) = (secret(&mut way, "url", Must::BeThere), secret(&mut way, "token", Must::Not));
    way.finish();
    Some(url.map(|url| Way::Webhook { url, token }))
}

fn healthchecks(table: &mut Reader<'_>) -> Named {
    let mut way = table.table("healthchecks")?;
    let url = secret(&mut way, "url", Must::BeThere);
    let every = way.get("every", &EVERY).map(|said| said.value);
    way.finish();
    Some(url.map(|url| Way::Healthchecks { url, every }))
}

fn ntfy(table: &mut Reader<'_>) -> Named {
    let mut way = table.table("ntfy")?;
    let (url, token) = (secret(&mut way, "url", Must::BeThere), secret(&mut way, "token", Must::Not));
    let tags = way.list("tags", &TAG).unwrap_or_default().into_iter().map(|said| said.value).collect();
    way.finish();
    Some(url.map(|url| Way::Ntfy { url, token, tags }))
}

fn sendmail(table: &mut Reader<'_>) -> Named {
    let mut way = table.table("sendmail")?;
    if !way.has("to") {
        let missing = Finding::error(format!("[{}] has no `to`", way.path()));
        way.push(way.at(), missing.help("add to = [\"root\"]"));
    }
    let to: Vec<Str> = way.list("to", &MAIL).unwrap_or_default().into_iter().map(|said| said.value).collect();
    let from = way.get("from", &MAIL).map(|said| said.value);
    let program = way.or("program", &scalar::PATH, PathBuf::from("/usr/sbin/sendmail"));
    way.finish();
    Some((!to.is_empty()).then_some(Way::Sendmail { to, from, program }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    BeThere,
    Not,
}

/// `{ credential = NAME }` or `{ file = PATH }`.
fn secret(table: &mut Reader<'_>, key: &'static str, must: Must) -> Option<Secret> {
    let example = "{ credential = \"NAME\" } (LoadCredential=), or { file = \"/etc/hostward/NAME\" } of mode 0600";
    let Some(value) = table.value(key) else {
        if must == Must::BeThere {
            let missing = Finding::error(format!("[{}] has no `{key}`", table.path()));
            table.push(table.at(), missing.help(format!("add {key} = {example}")));
        }
        return None;
    };
    if matches!(value.node(), DeValue::String(_)) {
        return written_out(&value, key, example);
    }
    let mut table = table.table(key)?;
    let credential = table.get("credential", &scalar::CREDENTIAL).map(|said| Secret::Credential(said.value));
    let file = table.get("file", &SECRET_FILE).map(|said| Secret::File(said.value));
    if table.has("credential") == table.has("file") {
        let finding = Finding::error(format!("`{key}` is kept in one place"));
        table.push(table.at(), finding.help(format!("write {key} = {example}")));
    }
    table.finish();
    credential.or(file)
}

fn written_out(value: &Value<'_>, key: &str, example: &str) -> Option<Secret> {
    let finding = Finding::error(format!("`{key}` is a secret, and does not belong into the configuration"));
    value.complain(finding.help(format!("keep it apart: {key} = {example}")));
    None
}

const PATTERN: Scalar<Pattern> =
    Scalar { expected: "a watch's name", example: "[\"service.*\"]", parse: |text| Ok(Pattern::new(text)) };
const SEVERITY: Scalar<Severity> =
    Scalar { expected: "a severity", example: "\"critical\"", parse: |text| severity(text) };
const EVERY: Scalar<Ms> =
    Scalar { expected: "a span of time", example: "\"1min\"", parse: |text| at_least(text, EVERY_LEAST) };
const REMIND: Scalar<Ms> =
    Scalar { expected: "a span of time", example: "\"4h\"", parse: |text| at_least(text, REMIND_LEAST) };
const LIMIT: Scalar<Budget> = Scalar { expected: "a rate", example: "\"20 per 1h\"", parse: |text| limit(text) };
const SECRET_FILE: Scalar<PathBuf> = Scalar {
    expected: "an absolute path",
    example: "\"/etc/hostward/webhook.url\"",
    parse: |text| secret_file(text),
};
const TAG: Scalar<Str> =
    Scalar { expected: "a tag", example: "[\"warning\"]", parse: |text| word("tag", text, "_-+") };
const MAIL: Scalar<Str> =
    Scalar { expected: "an address", example: "\"root\"", parse: |text| word("address", text, "._%+-=@") };

fn severity(text: &str) -> Result<Severity, Complaint> {
    scalar::choice("severity", text, &Severity::ALL.map(|severity| (severity.label(), severity)))
}

fn at_least(text: &str, least: Ms) -> Result<Ms, Complaint> {
    let span = spans::duration(text)?;
    if span < least {
        return Err(Complaint::new(format!("{} is too short", shown(text)), format!("at least {least}")));
    }
    Ok(span)
}

fn limit(text: &str) -> Result<Budget, Complaint> {
    let limit = spans::budget(text).map_err(|complaint| {
        let nothing = text.split_once(" per ").is_some_and(|(n, _)| n.trim().parse() == Ok(0_u32));
        if nothing { Complaint::new("a limit of nothing", "take the notifier out instead") } else { complaint }
    })?;
    if usize::try_from(limit.cost).is_ok_and(|cost| cost > CHARGES_KEPT) {
        return Err(Complaint::new(format!("{} is out of range", shown(text)), format!("at most {CHARGES_KEPT}")));
    }
    Ok(limit)
}

fn secret_file(text: &str) -> Result<PathBuf, Complaint> {
    // Not as it was written: it may be the secret itself.
    let help = "write the whole path, as in /etc/hostward/webhook.url";
    let path = scalar::path(text).map_err(|_| Complaint::new("this is no path of a secret", help))?;
    match scalar::WORLD_WRITABLE.iter().find(|dir| path.starts_with(dir)) {
        Some(dir) => Err(Complaint::new(format!("a secret in {dir}"), "keep it in /etc/hostward, root's, mode 0600")),
        None => Ok(path),
    }
}

fn word(what: &str, text: &str, beside: &str) -> Result<Str, Complaint> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || beside.contains(c);
    if text.is_empty() || text.len() > 254 || text.starts_with('-') || !text.chars().all(allowed) {
        return Err(Complaint::new(format!("this is no {what}"), format!("letters, digits and {beside}")));
    }
    Ok(text.into())
}
