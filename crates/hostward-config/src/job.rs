//! `[job.NAME]`.

mod progress;
mod provider;
mod template;

use std::path::{Path, PathBuf};

use hostward_core::ask::{Folder, JobsQ, OutputQ, Place, Provider, RunnerQ, Source, Write};
use hostward_core::id::{Str, WatchId};
use hostward_core::policy::{Brakes, Watch};
use hostward_core::time::Ms;
use hostward_core::watch;
use hostward_core::watch::job::{Queue, Rate, Remedy, Spec};

use crate::common;
use crate::draft::Draft;
use crate::finding::Finding;
use crate::reader::Reader;
use crate::scalar;
use crate::storage::writing;

/// watches.md, "job", Caps. A job that was taken up must show for ten minutes that it was worth it.
pub(crate) const BRAKES: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 6, soak: Ms::mins(10) };

pub(crate) fn read(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<Watch> {
    let common = common::read(&mut table, id, draft, BRAKES);
    let interval = table.or("interval", &scalar::PERIOD, Ms::mins(5));
    let stalled_after = table.or("stalled_after", &scalar::PERIOD, Ms::hours(1));
    let respect_stop = table.or("respect_stop", &scalar::SPAN_OR_FOREVER, Ms::mins(30));
    let worker = table.get("worker", &scalar::UNIT).map(|said| said.value);
    let disk = table.get("disk", &scalar::PATH).map(|said| said.value);
    let answer = table.or("deadline", &scalar::PERIOD, Ms::secs(10));
    let from = provider::read(&mut table);
    let progress = progress::read(&mut table, from.as_ref().map(|from| &from.provider));
    let agree = agree(&mut table, &progress);
    let queue = table.table("queue").and_then(|table| queue(table, id, disk.as_deref()));
    let runner = runner(&mut table, from.as_ref().map(|from| &from.provider), &progress, queue.as_ref());
    let output = table.table("output").map(output);
    let degraded = table.table("degraded").map(degraded);
    let remedy = remedy(&mut table);
    table.finish();
    let provider::From { provider, words } = from?;
    let asked = JobsQ { from: provider, words, progress, runner, output, worker, disk, answer };
    let spec = Spec { asked, interval, stalled_after, agree, degraded, remedy, queue, respect_stop };
    Some(common.watch(watch::Spec::Job(spec)))
}

fn agree(table: &mut Reader<'_>, sources: &[Source]) -> u32 {
    let agree = table.integer("agree", 1..=4).unwrap_or(1);
    let (all, effort) = (sources.len(), sources.iter().filter(|source| matches!(source, Source::Effort(_))).count());
    if agree as usize > all.max(1) {
        let finding = Finding::error(format!("{agree} counters are to agree, of {all}"));
        table.push(table.at(), finding.help(format!("add [[{}.progress]], or lower `agree`", table.path())));
    } else if effort > 0 && agree as usize <= effort {
        let finding = Finding::error("what a job spends is no progress without a counter that rises");
        let help =
            format!("agree = {}, and a counter beside it: one of those that agree is no `effort` then", effort + 1);
        table.push(table.at(), finding.help(help));
    }
    agree
}

/// `[job.NAME.runner]`
fn runner(table: &mut Reader<'_>, from: Option<&Provider>, progress: &[Source], queue: Option<&Queue>) -> RunnerQ {
    let mut runner = RunnerQ::default();
    if let Some(mut table) = table.table("runner") {
        runner.unit = template::get(&mut table, "unit", template::UNIT);
        runner.lock = template::get(&mut table, "lock", template::FILE);
        runner.argument = template::get(&mut table, "argument", template::WORD);
        if let (Some(_), None) = (&runner.argument, &runner.lock) {
            let finding = Finding::error("an argument on somebody's command line alone tells nothing");
            table.push(table.at(), finding.help("add `lock`: who mentions the job counts while that is held"));
        }
        table.finish();
    }
    if let (None, Some(Provider::Directory(Folder { state: None, .. }))) = (&runner.lock, from) {
        let finding = Finding::error("nothing tells which of the folders' jobs run");
        let help = format!("add [{}.runner] with lock = \".lock\", or `state` to its provider", table.path());
        table.push(table.at(), finding.help(help));
    }
    if let (Some(_), None, Some(_)) = (&runner.unit, &runner.lock, queue) {
        let finding =
            Finding::warning("what the queue starts does not run in `unit`, and would look as if nobody ran it");
        let help = "leave `unit` out: the queue's own units are looked at then; or add `lock`";
        table.push(table.at(), finding.help(help));
    }
    // What the queue starts is found again by its name.
    if let (None, Some(queue)) = (&runner.unit, queue) {
        runner.unit = Some(format!("{}{{id}}.service", queue.prefix).into());
    }
    let own = runner.unit.is_some() || matches!(from, Some(Provider::Units(_)));
    let of_unit = |source: &&Source| matches!(source, Source::Status { .. } | Source::Effort(_));
    if let Some(source) = progress.iter().find(of_unit).filter(|_| !own) {
        let finding = Finding::error(format!("`{}` is of a job's own unit, and no job has one", source.label()));
        let help = format!("add [{}.runner] with unit = \"crawl@{{id}}.service\"", table.path());
        table.push(table.at(), finding.help(help));
    }
    runner
}

/// `[job.NAME.output]`
fn output(mut table: Reader<'_>) -> OutputQ {
    let (user, write) = writing(&mut table);
    if user.is_none() && write == Write::Canary {
        let finding = Finding::error("root would write wherever a job says that its folder is");
        table.push(table.at(), finding.help("add user = \"crawl\": whom the jobs run as"));
    }
    table.finish();
    OutputQ { user, write }
}

/// `[job.NAME.degraded]`
fn degraded(mut table: Reader<'_>) -> Rate {
    let rate = Rate {
        per_minute: table.integer("per_minute", 1..=1_000_000).unwrap_or(2),
        runs: table.integer("runs", 1..=100).unwrap_or(6),
        within: table.or("within", &scalar::PERIOD, Ms::mins(5)),
    };
    table.finish();
    rate
}

/// `[job.NAME.remedy]`
fn remedy(table: &mut Reader<'_>) -> Remedy {
    let none = Remedy {
        retry: None,
        recover: None,
        record: None,
        user: None,
        env: None,
        guard: Ms::mins(10),
        per_day: 3,
        gain: 10,
    };
    let Some(mut table) = table.table("remedy") else { return none };
    let remedy = Remedy {
        retry: template::command(&mut table, "retry"),
        recover: template::command(&mut table, "recover"),
        record: template::command(&mut table, "record"),
        user: table.get("user", &scalar::USER).map(|said| said.value),
        env: env_file(&mut table),
        guard: table.or("guard", &scalar::SPAN, none.guard),
        per_day: table.integer("per_day", 1..=48).unwrap_or(none.per_day),
        gain: u64::from(table.integer("gain", 1..=1_000_000_000).unwrap_or(10)),
    };
    table.finish();
    remedy
}

fn env_file(table: &mut Reader<'_>) -> Option<PathBuf> {
    table.get("env_file", &scalar::PATH).map(|said| said.value)
}

/// `[job.NAME.queue]`
fn queue(mut table: Reader<'_>, id: &WatchId, disk: Option<&Path>) -> Option<Queue> {
    if !table.has("wanted") {
        let missing = Finding::error(format!("[{}] has no `wanted`", table.path()));
        table.push(table.at(), missing.help("add wanted = 2: so many jobs should run at once"));
    }
    if !table.has("start") {
        let missing = Finding::error(format!("[{}] has no `start`", table.path()));
        let help = "add start = [\"/opt/example/bin/run-job\", \"{id}\"]: it runs one job to its end";
        table.push(table.at(), missing.help(help));
    }
    if disk.is_none() {
        let doubt = Finding::warning("jobs are started however full the disk is that they write to");
        table.push(table.at(), doubt.help("add disk = \"/srv\" to the watch: a folder on it"));
    }
    let wanted = table.integer("wanted", 1..=64);
    let start = template::command(&mut table, "start");
    let used = table.integer("used", 1..=100).unwrap_or(88);
    let per_day = table.integer("per_day", 1..=48).unwrap_or(3);
    table.finish();
    let prefix: Str = format!("hostward-job-{}-", id.name()).into();
    Some(Queue { wanted: wanted?, start: start?, used, per_day, prefix })
}

/// Names that may stand in braces, for people.
fn names() -> String {
    Place::NAMES.map(|name| format!("{{{name}}}")).join(", ")
}
