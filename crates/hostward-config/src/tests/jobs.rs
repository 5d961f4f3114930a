//! `[job.NAME]`: what is read, and what is refused.

use std::collections::BTreeMap;

use hostward_core::ask::{Folder, JobState, JobsQ, Listing, OutputQ, Provider, RunnerQ, Source, Write};
use hostward_core::id::{Str, UnitName, WatchId};
use hostward_core::policy::{Brakes, Watch};
use hostward_core::time::Ms;
use hostward_core::watch::Spec;
use hostward_core::watch::job::{self, Queue, Rate, Remedy};

use super::{bad, good, line};

fn watch(text: &str, name: &str) -> Watch {
    good(text).policy.watches.remove(&WatchId::new(name)).expect("it is declared")
}

fn job(text: &str, name: &str) -> job::Spec {
    match watch(text, name).spec {
        Spec::Job(spec) => spec,
        other => panic!("{other:?}"),
    }
}

fn words(words: &[&str]) -> Vec<Str> {
    words.iter().map(|word| Str::from(*word)).collect()
}

const UNITS: &str = "[job.x.provider]\nunits = \"import@*.service\"\n";
const RUN: &str = "[job.x.provider]\nrun = [\"/opt/jobs\"]\n";
const COUNTED: &str = "[[job.x.progress]]\nprovided = true\n";

fn no_remedy() -> Remedy {
    Remedy {
        retry: None,
        recover: None,
        record: None,
        user: None,
        env: None,
        guard: Ms::mins(10),
        per_day: 3,
        gain: 10,
    }
}

#[test]
fn the_least_watch_has_every_default() {
    let asked = JobsQ {
        from: Provider::Units("import@*.service".into()),
        words: BTreeMap::new(),
        progress: vec![Source::Status { count: r"rows=(\d+)".into() }],
        runner: RunnerQ::default(),
        output: None,
        worker: None,
        disk: None,
        answer: Ms::secs(10),
    };
    let spec = job::Spec {
        asked,
        interval: Ms::mins(5),
        stalled_after: Ms::hours(1),
        agree: 1,
        degraded: None,
        remedy: no_remedy(),
        queue: None,
        respect_stop: Ms::mins(30),
    };
    let text = format!("{UNITS}[[job.x.progress]]\nstatus = true\ncount = 'rows=(\\d+)'\n");
    let brakes =
        Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 6, soak: Ms::mins(10) };
    assert_eq!((job(&text, "job.x"), watch(&text, "job.x").brakes), (spec, brakes));
}

#[test]
fn tables_that_are_there_and_empty_have_their_defaults() {
    let text = format!(
        "{RUN}{COUNTED}[job.x]\ndisk = \"/srv\"\n[job.x.output]\n[job.x.degraded]\n[job.x.remedy]\n\
         [job.x.queue]\nwanted = 2\nstart = [\"/opt/run\", \"{{id}}\"]\n"
    );
    let spec = job(&text, "job.x");
    let listing = Listing { run: words(&["/opt/jobs"]), user: None, env: None, timeout: Ms::secs(30) };
    assert_eq!(spec.asked.from, Provider::Command(listing));
    assert_eq!(spec.asked.output, Some(OutputQ { user: None, write: Write::Never }));
    assert_eq!(spec.degraded, Some(Rate { per_minute: 2, runs: 6, within: Ms::mins(5) }));
    assert_eq!(spec.remedy, no_remedy());
    let queue = Queue {
        wanted: 2,
        start: words(&["/opt/run", "{id}"]),
        used: 88,
        per_day: 3,
        prefix: "hostward-job-x-".into(),
    };
    assert_eq!(spec.queue, Some(queue));
    // What it starts is found again by its name.
    assert_eq!(spec.asked.runner.unit.as_deref(), Some("hostward-job-x-{id}.service"));
}

#[test]
fn the_crawl_reads_as_it_says() {
    let spec = job(include_str!("../../../../examples/jobs/hostward.toml"), "job.crawl");
    let run = words(&["/opt/crawl/bin/jobs", "list", "--json"]);
    let (user, env) = (Some("crawl".into()), Some("/etc/crawl/env".into()));
    let states = [
        ("crawling", JobState::Running),
        ("queued", JobState::Pending),
        ("finished", JobState::Done),
        ("cancelled", JobState::Done),
    ];
    let asked = JobsQ {
        from: Provider::Command(Listing { run, user: user.clone(), env: env.clone(), timeout: Ms::secs(30) }),
        words: states.into_iter().map(|(word, state)| (word.into(), state)).collect(),
        progress: vec![Source::Log { files: "logs/*.log".into(), count: r"crawled=(\d+)".into() }],
        runner: RunnerQ { unit: Some("crawl@{id}.service".into()), lock: Some(".lock".into()), argument: None },
        output: Some(OutputQ { user: user.clone(), write: Write::Access }),
        worker: Some(UnitName::new("crawl-worker.service")),
        disk: None,
        answer: Ms::secs(10),
    };
    let verb = |verb| Some(words(&["/opt/crawl/bin/jobs", verb, "{id}"]));
    let remedy =
        Remedy { retry: verb("retry"), recover: verb("recover"), record: verb("record"), user, env, ..no_remedy() };
    assert_eq!((spec.asked, spec.remedy), (asked, remedy));
    assert_eq!((spec.interval, spec.stalled_after), (Ms::mins(5), Ms::hours(1)));
}

#[test]
fn the_queue_reads_as_it_says() {
    let spec = job(include_str!("../../../../examples/queue/hostward.toml"), "job.import");
    let state = Some(("state.json".into(), "/state".into()));
    assert_eq!(spec.asked.from, Provider::Directory(Folder { at: "/srv/imports".into(), state }));
    let progress = [
        Source::State { file: "state.json".into(), pointer: "/rows".into() },
        Source::Bytes { files: "out/*.parquet".into() },
    ];
    assert_eq!((&spec.asked.progress[..], spec.asked.disk), (&progress[..], Some("/srv".into())));
    let queue = Queue {
        wanted: 2,
        start: words(&["/opt/import/bin/run", "{output}"]),
        used: 85,
        per_day: 3,
        prefix: "hostward-job-import-".into(),
    };
    assert_eq!(spec.queue, Some(queue));
}

#[test]
fn every_kind_of_counter() {
    let text = format!(
        "{RUN}[[job.x.progress]]\nlog = \"*.log\"\ncount = '(\\d+)'\n\
         [[job.x.progress]]\nhttp = \"http://127.0.0.1:9000/jobs/{{id}}\"\npointer = \"/done\"\n\
         [[job.x.progress]]\nbytes = \"{{output}}/out/*\"\n{COUNTED}[job.x]\nagree = 2\n"
    );
    let spec = job(&text, "job.x");
    let progress = [
        Source::Log { files: "*.log".into(), count: r"(\d+)".into() },
        Source::Http { url: "http://127.0.0.1:9000/jobs/{id}".into(), pointer: "/done".into() },
        Source::Bytes { files: "{output}/out/*".into() },
        Source::Provided,
    ];
    assert_eq!((&spec.asked.progress[..], spec.agree), (&progress[..], 2));
}

/// The only error of each text.
fn check(table: &[(String, &str)]) {
    let said = |text: &str| bad(text).errors.iter().map(line).collect::<Vec<String>>();
    let wrong = table.iter().filter_map(|(text, want)| {
        let said = said(text);
        (said != [*want]).then(|| format!("{text}\n{said:#?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn providers_that_are_refused() {
    let given = |provider: &str| format!("{COUNTED}[job.x.provider]\n{provider}\n");
    let run = |more: &str| given(&format!("run = [\"/opt/jobs\"]\n{more}"));
    let folder = |more: &str| given(&format!("directory = \"/srv/jobs\"\n{more}"));
    check(&[
        (COUNTED.into(), ""),
        (given("deadline = \"30s\""), ""),
        (run("units = \"a@*.service\""), ""),
        (given("run = [\"jobs\"]"), ""),
        (given("units = \"import@7.service\""), ""),
        (folder("user = \"crawl\""), ""),
        (folder(""), ""),
        (folder("state = { pointer = \"/state\" }"), ""),
        (folder("state = { file = \"/run/{id}.json\", pointer = \"/state\" }"), ""),
        (folder("state = { file = \"state.json\", pointer = \"state\" }"), ""),
        (run("states = { runing = [\"crawling\"] }"), ""),
        (run("states = { running = \"crawling\" }"), ""),
        (run("states = { running = [\"crawling\"], done = [\"over\", \"crawling\"] }"), ""),
    ]);
}

#[test]
fn counters_that_are_refused() {
    let given = |progress: &str| format!("{RUN}[[job.x.progress]]\n{progress}\n");
    let units = |progress: &str| format!("{UNITS}[[job.x.progress]]\n{progress}\n");
    check(&[
        (RUN.into(), ""),
        (given("count = '(\\d+)'"), ""),
        (given("log = \"*.log\"\nbytes = \"out\"\ncount = '(\\d+)'"), ""),
        (given("log = \"*.log\""), ""),
        (given("log = \"*.log\"\ncount = 'done \\d+'"), ""),
        (given("log = \"*.log\"\ncount = 'done (\\d+'"), ""),
        (given("log = \"*.log\"\ncount = '(\\w{900}){900}'"), ""),
        (given("log = \"../*.log\"\ncount = '(\\d+)'"), ""),
        (given("log = \"{out}/*.log\"\ncount = '(\\d+)'"), ""),
        (given("state = \"state.json\"\npointer = \"done\""), ""),
        (given("state = \"state.json\"\npointer = \"/jobs/*/done\""), ""),
        (given("http = \"127.0.0.1/{id}\"\npointer = \"/done\""), ""),
        (given("bytes = \"out/*\"\ncount = '(\\d+)'"), ""),
        (given("status = true\ncount = '(\\d+)'"), ""),
        (given("provided = \"yes\""), ""),
        (units("log = \"logs/*.log\"\ncount = '(\\d+)'"), ""),
        (units("bytes = \"/srv/{group}/*\""), ""),
        (format!("{RUN}{COUNTED}[job.x]\nagree = 2"), ""),
    ]);
}

#[test]
fn runners_remedies_and_queues_that_are_refused() {
    let with = |more: &str| format!("{RUN}{COUNTED}{more}\n");
    let queue = |more: &str| with(&format!("[job.x]\ndisk = \"/srv\"\n[job.x.queue]\n{more}"));
    check(&[
        (with("[job.x.runner]\nunit = \"crawl.service\""), ""),
        (with("[job.x.runner]\nunit = \"crawl@{id}\""), ""),
        (with("[job.x.runner]\nunit = \"crawl@{di}.service\""), ""),
        (with("[job.x.runner]\nargument = \"--job={id}\""), ""),
        (with("[job.x.runner]\nlock = \".lock\"\nargument = \"--job\""), ""),
        (with("[job.x.remedy]\nretry = [\"/opt/retry\", \"all\"]"), ""),
        (with("[job.x.remedy]\nretry = [\"/opt/{id}/retry\"]"), ""),
        (with("[job.x.remedy]\nretry = [\"/opt/retry\", \"{id}\", \"{grup}\"]"), ""),
        (with("[job.x.remedy]\nretry = [\"retry\", \"{id}\"]"), ""),
        (with("[job.x.remedy]\nrecovery = [\"/opt/retry\", \"{id}\"]"), ""),
        (with("[job.x.remedy]\nper_day = 0"), ""),
        (queue("start = [\"/opt/run\", \"{id}\"]"), ""),
        (queue("wanted = 2"), ""),
        (queue("wanted = 65\nstart = [\"/opt/run\", \"{id}\"]"), ""),
        (queue("wanted = 2\nstart = [\"/opt/run\"]"), ""),
    ]);
}

#[test]
fn a_queue_that_looks_at_no_disk_is_doubted() {
    let text = format!("{RUN}{COUNTED}[job.x.queue]\nwanted = 2\nstart = [\"/opt/run\", \"{{id}}\"]\n");
    let said: Vec<String> = good(&text).warnings.iter().map(line).collect();
    assert_eq!(said, [""]);
    assert!(good(&format!("{text}[job.x]\ndisk = \"/srv\"\n")).warnings.is_empty());
}
