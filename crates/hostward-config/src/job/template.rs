//! Texts that are filled for each job: `crawl@{id}.service`.

use hostward_core::ask::Place;
use hostward_core::id::Str;

use super::names;
use crate::commands;
use crate::finding::{Finding, Place as At, Said, did_you_mean, shown};
use crate::reader::Reader;
use crate::scalar::{self, Scalar};

/// What a text must be, once it is filled.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

pub(super) const UNIT: Check = |text| {
    let (name, kind) = text.rsplit_once('.').unwrap_or((text, ""));
    match kind {
        // Whatever a provider says would be stopped: sshd.service is "{id}.service" of the job "sshd".
        "service" | "scope" if name.starts_with('{') => {
            Err("any unit could be a job's: begin with a word of its own")
        }
        "service" | "scope" if name.contains("{id}") => Ok(()),
        "service" | "scope" => Err("it names the same unit for each job: put {id} into it"),
        _ => Err("write the unit's whole name: crawl@{id}.service"),
    }
};

/// It was said, and what comes of it needs no further word.
struct Refused;

/// A file, below the job's output folder unless it is absolute.
pub(super) const FILE: Check = |text| {
    if text.is_empty() || text.split('/').any(|part| part == "..") {
        return Err("name a file, absolute or below the job's output folder, without ..");
    }
    Ok(())
};

pub(super) const WORD: Check = |text| {
    if text.contains("{id}") { Ok(()) } else { Err("it would be the same for each job: put {id} into it") }
};

pub(super) fn get(table: &mut Reader<'_>, key: &'static str, check: Check) -> Option<Str> {
    const TEXT: Scalar<Str> = Scalar { expected: "text", example: "\"{output}/lock\"", parse: scalar::TEXT.parse };
    let said = table.get(key, &TEXT)?;
    if braces(table, &said).is_ok()
        && let Err(help) = check(&said.value)
    {
        table.push(&said.at, Finding::error(format!("`{key}` cannot be {}", shown(&said.value))).help(help));
    }
    Some(said.value)
}

/// A command that is about one job.
pub(super) fn command(table: &mut Reader<'_>, key: &'static str) -> Option<Vec<Str>> {
    let value = table.value(key)?;
    let at: At = value.at();
    let words = commands::argv(&value)?;
    for word in &words {
        braces(table, word).ok()?;
    }
    if !words.iter().any(|word| ["{id}", "{output}"].iter().any(|name| word.value.contains(name))) {
        let finding = Finding::error(format!("`{key}` does not say which job it is for"));
        table.push(&at, finding.help("add \"{id}\" to its words"));
    }
    if let Some(program) = words.first().filter(|program| program.value.contains('{')) {
        let finding = Finding::error("the program itself is the same for each job");
        table.push(&program.at, finding.help("write its path, and {id} among its arguments"));
    }
    if commands::is_shell(&words)
        && let Some(script) = words.iter().skip_while(|word| !is_script_next(word)).nth(1)
        && script.value.contains('{')
    {
        let finding = Finding::error("the shell would read what a job is called as a part of its script");
        let help = "pass it as an argument: [\"/bin/sh\", \"-c\", \"mark \\\"$1\\\"\", \"sh\", \"{id}\"]";
        table.push(&script.at, finding.help(help));
    }
    Some(words.into_iter().map(|word| word.value).collect())
}

/// `-c`, or `-euc`: the next word is a script.
fn is_script_next(word: &Said<Str>) -> bool {
    word.value.starts_with('-') && !word.value.starts_with("--") && word.value.ends_with('c')
}

/// What looks like a name in braces and is none would be passed on as it is.
fn braces(table: &Reader<'_>, said: &Said<Str>) -> Result<(), Refused> {
    let named = said.value.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if let Some(name) = { named }.filter(plain).find(|name| !Place::NAMES.contains(name)) {
        let help = did_you_mean(name, Place::NAMES).unwrap_or_else(|| format!("known are: {}", names()));
        table.push(&said.at, Finding::error(format!("nothing is known as {{{name}}}")).help(help));
        return Err(Refused);
    }
    Ok(())
}
