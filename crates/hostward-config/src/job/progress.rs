//! `[[job.NAME.progress]]`: the counters of a job.

use hostward_core::ask::{Effort, Provider, Source};
use hostward_core::id::Str;
use regex::bytes::RegexBuilder;

use super::template;
use crate::finding::{Finding, shown};
use crate::reader::Reader;
use crate::scalar::{self, Scalar, choice};

const SOURCES_MAX: usize = 4;
/// One of each, in the order of their names in the page.
const KINDS: [&str; 7] = ["log", "state", "http", "bytes", "status", "provided", "effort"];
/// Of a compiled pattern: it is matched by a child of about 3 MiB.
pub(super) const PATTERN_MAX: usize = 1 << 20;

pub(super) fn read(table: &mut Reader<'_>, from: Option<&Provider>) -> Vec<Source> {
    if !table.has("progress") {
        let finding = Finding::error("nothing tells how far a job has come");
        let why = "what has no counter would be stalled after `stalled_after`";
        table.push(table.at(), finding.help(format!("add [[{}.progress]]: {why}", table.path())));
    }
    table.tables("progress", SOURCES_MAX).into_iter().filter_map(|table| source(table, from)).collect()
}

fn source(mut table: Reader<'_>, from: Option<&Provider>) -> Option<Source> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| table.has(kind)).collect();
    if kinds.len() != 1 {
        let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" and ") };
        let finding = Finding::error(format!("[[{}]] has one of {}, not {found}", table.path(), KINDS.join(", ")));
        table.push(
            table.at(),
            finding.help("log = \"logs/*.log\" with count = 'done (\\d+)'; a table for each counter"),
        );
        return None;
    }
    let log = template::get(&mut table, "log", template::FILE);
    let state = template::get(&mut table, "state", template::FILE);
    let bytes = template::get(&mut table, "bytes", template::FILE);
    let http = template::get(&mut table, "http", URL);
    let files = [&log, &state, &bytes];
    if let Some(file) = files.into_iter().flatten().find(|_| matches!(from, Some(Provider::Units(_))))
        && (!file.starts_with('/') || ["{output}", "{group}"].iter().any(|name| file.contains(name)))
    {
        let finding = Finding::error(format!("{} needs more than a unit tells of a job", shown(file)));
        table.push(table.at(), finding.help("its unit gives {id} alone: \"/srv/jobs/{id}/logs/*.log\""));
    }
    let status = is_set(&mut table, "status");
    let provided = is_set(&mut table, "provided");
    let effort = table.get("effort", &EFFORT).map(|said| said.value);
    let count = if log.is_some() || status { pattern(&mut table) } else { None };
    let pointer = if state.is_some() || http.is_some() { pointer(&mut table, "\"/progress/done\"") } else { None };
    table.finish();
    match (log, state, http, bytes) {
        (Some(files), ..) => Some(Source::Log { files, count: count? }),
        (_, Some(file), ..) => Some(Source::State { file, pointer: pointer? }),
        (_, _, Some(url), _) => Some(Source::Http { url, pointer: pointer? }),
        (_, _, _, Some(files)) => Some(Source::Bytes { files }),
        _ if status => Some(Source::Status { count: count? }),
        _ if provided => Some(Source::Provided),
        _ => effort.map(Source::Effort),
    }
}

const EFFORT: Scalar<Effort> = Scalar {
    expected: "what is spent",
    example: "\"cpu\"",
    parse: |text| choice("effort", text, &[("cpu", Effort::Cpu), ("io", Effort::Io)]),
};

/// A counter that is not to be read is left out: none at all must not look like one.
fn is_set(table: &mut Reader<'_>, key: &'static str) -> bool {
    let flag = table.flag(key);
    if flag == Some(false) {
        let finding = Finding::error(format!("a counter with {key} = false is none"));
        table.push(table.at(), finding.help(format!("leave [[{}]] out", table.path())));
    }
    flag.unwrap_or(false)
}

const URL: template::Check = |text| {
    let plain = text.replace("{id}", "1").replace("{group}", "1");
    (scalar::URL.parse)(&plain).map(drop).map_err(|_| "write it whole: http://127.0.0.1:9000/jobs/{id}")
};

fn pattern(table: &mut Reader<'_>) -> Option<Str> {
    let said = table.need("count", &Scalar { example: "'crawled=(\\d+)'", ..scalar::TEXT })?;
    match RegexBuilder::new(&said.value).size_limit(PATTERN_MAX).build() {
        Ok(pattern) if pattern.captures_len() > 1 => {}
        Ok(_) => {
            let finding = Finding::error(format!("{} has no group that is the number", shown(&said.value)));
            table.push(&said.at, finding.help("put it in parentheses: 'crawled=(\\d+)'"));
        }
        Err(e) => {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or("it cannot be read").trim_start_matches("error: ");
            let finding =
                Finding::error(format!("{} is no pattern: {}", shown(&said.value), why.trim_end_matches('.')));
            table.push(&said.at, finding.help("write it as the crate regex reads it: 'crawled=(\\d+)'"));
        }
    }
    Some(said.value)
}

pub(super) fn pointer(table: &mut Reader<'_>, example: &'static str) -> Option<Str> {
    let said = table.need("pointer", &Scalar { example, ..scalar::TEXT })?;
    if !said.value.starts_with('/') || said.value.split('/').any(|part| part == "*") {
        let finding = Finding::error(format!("{} is no pointer to one value", shown(&said.value)));
        table.push(&said.at, finding.help(format!("RFC 6901, without wildcards: {example}")));
    }
    Some(said.value)
}
