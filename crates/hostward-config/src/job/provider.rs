//! `[job.NAME.provider]`: where the list of jobs comes from.

use std::collections::BTreeMap;

use hostward_core::ask::{Folder, JobState, Listing, Provider};
use hostward_core::id::Str;
use hostward_core::time::Ms;

use super::{env_file, progress, template};
use crate::commands;
use crate::finding::{Finding, did_you_mean, shown};
use crate::reader::Reader;
use crate::scalar;

const KINDS: [&str; 3] = ["run", "units", "directory"];
/// A list that takes longer is not one to be asked for each few minutes.
const LISTED_WITHIN: Ms = Ms::secs(30);

pub(super) struct From {
    pub(super) provider: Provider,
    pub(super) words: BTreeMap<Str, JobState>,
}

pub(super) fn read(table: &mut Reader<'_>) -> Option<From> {
    let mut table = table.need_table("provider", "run, units or directory")?;
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| table.has(kind)).collect();
    if kinds.len() != 1 {
        let found = if kinds.is_empty() { "none".to_owned() } else { kinds.join(" and ") };
        let finding = Finding::error(format!("[{}] has one of {}, not {found}", table.path(), KINDS.join(", ")));
        table.push(table.at(), finding.help("run = [\"/opt/example/bin/jobs\", \"--json\"] prints them as JSON"));
        return None;
    }
    let listing = listing(&mut table);
    let units = table.get("units", &scalar::Scalar { example: "\"import@*.service\"", ..scalar::TEXT });
    if let Some(said) = &units
        && !(said.value.ends_with(".service") && said.value.contains('*'))
    {
        let finding = Finding::error(format!("{} is no pattern of services", shown(&said.value)));
        table.push(&said.at, finding.help("write it as systemctl does: \"import@*.service\""));
    } else if let Some(said) = &units
        && said.value.starts_with(['*', '?', '['])
    {
        let finding = Finding::error(format!("{} may be any service of this host", shown(&said.value)));
        table.push(&said.at, finding.help("jobs are stopped: begin with a word of their own, \"import@*.service\""));
    }
    let directory = directory(&mut table);
    let words = words(&mut table);
    table.finish();
    let provider = match (listing, units, directory) {
        (Some(listing), ..) => Provider::Command(listing),
        (_, Some(units), _) => Provider::Units(units.value),
        (.., Some(folder)) => Provider::Directory(folder),
        _ => return None,
    };
    Some(From { provider, words })
}

fn listing(table: &mut Reader<'_>) -> Option<Listing> {
    let run = table.value("run").and_then(|words| commands::argv(&words));
    let run: Option<Vec<Str>> = run.map(|words| words.into_iter().map(|word| word.value).collect());
    // Only a command has these.
    if !table.has("run") {
        return None;
    }
    let user = table.get("user", &scalar::USER).map(|said| said.value);
    let env = env_file(table);
    let timeout = table.or("deadline", &scalar::PERIOD, LISTED_WITHIN);
    Some(Listing { run: run?, user, env, timeout })
}

fn directory(table: &mut Reader<'_>) -> Option<Folder> {
    let at = table.get("directory", &scalar::PATH)?;
    let told = table.has("state");
    let state = table.table("state").and_then(|mut table| {
        let file = table.need("file", &scalar::Scalar { example: "\"state.json\"", ..scalar::TEXT });
        if let Some(said) = &file
            && (said.value.starts_with('/') || said.value.contains('{') || template::FILE(&said.value).is_err())
        {
            let finding = Finding::error(format!("{} is no file below a job's folder", shown(&said.value)));
            table.push(&said.at, finding.help("each job's own, by the same name: \"state.json\""));
        }
        let pointer = progress::pointer(&mut table, "\"/state\"");
        table.finish();
        Some((file?.value, pointer?))
    });
    // One that was refused must not look like none.
    (state.is_some() == told).then_some(Folder { at: at.value, state })
}

/// `states = { running = ["crawling"] }`: the provider's words for ours.
fn words(table: &mut Reader<'_>) -> BTreeMap<Str, JobState> {
    let mut words: BTreeMap<Str, JobState> = BTreeMap::new();
    let Some(states) = table.value("states") else { return words };
    for (name, said) in states.entries() {
        let labels = JobState::ALL.map(JobState::label);
        let Some(state) = JobState::ALL.into_iter().find(|state| state.label() == name) else {
            let help = did_you_mean(name, labels).unwrap_or_else(|| format!("known are: {}", labels.join(", ")));
            said.complain(Finding::error(format!("{} is no state of ours", shown(name))).help(help));
            continue;
        };
        for word in said.items("the provider's words for it").unwrap_or_default() {
            let Some(word) = word.scalar(&scalar::TEXT) else { continue };
            if words.insert(word.value.clone(), state).is_some_and(|other| other != state) {
                let finding = Finding::error(format!("{} means two states", shown(&word.value)));
                said.push(&word.at, finding.help("keep it in one of the lists"));
            }
        }
    }
    words
}
