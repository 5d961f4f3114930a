//! `[[job.NAME.progress]]`: the counters of a job.

use hostward_core::ask::Source;
use hostward_core::id::Str;
use regex::bytes::RegexBuilder;

use super::template;
use crate::finding::{Finding, shown};
use crate::reader::Reader;
use crate::scalar;

const SOURCES_MAX: usize = 4;
/// One of each, in the order of their names in the page.
const KINDS: [&str; 6] = ["log", "state", "http", "bytes", "status", "provided"];
/// Of a compiled pattern: it is matched by a child of about 3 MiB.
pub(super) const PATTERN_MAX: usize = 1 << 20;

pub(super) fn read(table: &mut Reader<'_>) -> Vec<Source> {
    table.tables("progress", SOURCES_MAX).into_iter().filter_map(source).collect()
}

fn source(mut table: Reader<'_>) -> Option<Source> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| table.has(kind)).collect();
    if kinds.len() != 1 {
        let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" and ") };
        let finding = Finding::error(format!("[[{}]] has one of {}, not {found}", table.path(), KINDS.join(", ")));
        table.push(
            table.at(),
            finding.help("log = \"logs/*.log\" with count = 'done (\\d+)'; a table for each counter"),
        );
    }
    let log = template::get(&mut table, "log", template::FILE);
    let state = template::get(&mut table, "state", template::FILE);
    let bytes = template::get(&mut table, "bytes", template::FILE);
    let http = template::get(&mut table, "http", URL);
    let status = table.flag("status").unwrap_or(false);
    let provided = table.flag("provided").unwrap_or(false);
    let count = if log.is_some() || status { pattern(&mut table) } else { None };
    let pointer = if state.is_some() || http.is_some() { pointer(&mut table) } else { None };
    table.finish();
    match (log, state, http, bytes) {
        (Some(files), ..) => Some(Source::Log { files, count: count? }),
        (_, Some(file), ..) => Some(Source::State { file, pointer: pointer? }),
        (_, _, Some(url), _) => Some(Source::Http { url, pointer: pointer? }),
        (_, _, _, Some(files)) => Some(Source::Bytes { files }),
        _ if status => Some(Source::Status { count: count? }),
        _ if provided => Some(Source::Provided),
        _ => None,
    }
}

const URL: template::Check = |text| {
    let plain = text.replace("{id}", "1").replace("{group}", "1");
    (scalar::URL.parse)(&plain).map(drop).map_err(|_| "write it whole: http://127.0.0.1:9000/jobs/{id}")
};

fn pattern(table: &mut Reader<'_>) -> Option<Str> {
    let said = table.need("count", &scalar::Scalar { example: "'crawled=(\\d+)'", ..scalar::TEXT })?;
    match RegexBuilder::new(&said.value).size_limit(PATTERN_MAX).build() {
        Ok(pattern) if pattern.captures_len() > 1 => {}
        Ok(_) => {
            let finding = Finding::error(format!("{} has no group that is the number", shown(&said.value)));
            table.push(&said.at, finding.help("put it in parentheses: 'crawled=(\\d+)'"));
        }
        Err(e) => {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or("it cannot be read").trim();
            table.push(&said.at, Finding::error(format!("{} is no pattern: {why}", shown(&said.value))));
        }
    }
    Some(said.value)
}

fn pointer(table: &mut Reader<'_>) -> Option<Str> {
    let said = table.need("pointer", &scalar::Scalar { example: "\"/progress/done\"", ..scalar::TEXT })?;
    if !said.value.starts_with('/') || said.value.split('/').any(|part| part == "*") {
        let finding = Finding::error(format!("{} is no pointer to one number", shown(&said.value)));
        table.push(&said.at, finding.help("RFC 6901, without wildcards: \"/progress/done\""));
    }
    Some(said.value)
}
