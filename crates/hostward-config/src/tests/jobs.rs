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

/// Each block of the page is a configuration of its own, to be copied.
#[test]
fn what_the_page_gives_to_be_copied_loads_without_a_warning() {
    let page = include_str!("../../../../docs/usage/jobs.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let watches: Vec<String> = blocks
        .flat_map(|block| {
            let loaded = good(block);
            assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
            loaded.policy.watches.into_keys().map(|id| id.to_string())
        })
        .collect();
    assert_eq!(watches, ["job.crawl", "job.encode", "job.import", "job.render", "job.scan"]);
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
        (COUNTED.into(), "1:7 [job.x] has no [job.x.provider] | add [job.x.provider] with run, units or directory"),
        (
            given("deadline = \"30s\""),
            "3:8 [job.x.provider] has one of run, units, directory, not none | run = [\"/opt/example/bin/jobs\", \"--json\"] prints them as JSON",
        ),
        (
            run("units = \"a@*.service\""),
            "3:8 [job.x.provider] has one of run, units, directory, not run and units | run = [\"/opt/example/bin/jobs\", \"--json\"] prints them as JSON",
        ),
        (
            given("run = [\"jobs\"]"),
            "4:8 `jobs` is not an absolute path | commands run without a shell or PATH: write the program's whole path",
        ),
        (
            given("units = \"import@7.service\""),
            "4:9 `import@7.service` is no pattern of services | write it as systemctl does: \"import@*.service\"",
        ),
        (
            given("units = \"*.service\""),
            "4:9 `*.service` may be any service of this host | jobs are stopped: begin with a word of their own, \"import@*.service\"",
        ),
        (
            folder("user = \"crawl\"\nstate = { file = \"s\", pointer = \"/s\" }"),
            "5:1 unknown key `user` in [job.x.provider] | known are: run, units, directory, state, states",
        ),
        (
            folder(""),
            "1:7 nothing tells which of the folders' jobs run | add [job.x.runner] with lock = \".lock\", or `state` to its provider",
        ),
        (
            folder("state = { pointer = \"/state\" }"),
            "5:1 [job.x.provider.state] has no `file` | add file = \"state.json\"",
        ),
        (
            folder("state = { file = \"/run/{id}.json\", pointer = \"/state\" }"),
            "5:18 `/run/{id}.json` is no file below a job's folder | each job's own, by the same name: \"state.json\"",
        ),
        (
            folder("state = { file = \"state.json\", pointer = \"state\" }"),
            "5:42 `state` is no pointer to one value | RFC 6901, without wildcards: \"/state\"",
        ),
        (run("states = { runing = [\"crawling\"] }"), "5:21 `runing` is no state of ours | did you mean `running`?"),
        (
            run("states = { running = \"crawling\" }"),
            "5:22 `running` must be a list, not text | write [..] with the provider's words for it in it",
        ),
        (
            run("states = { running = [\"crawling\"], done = [\"over\", \"crawling\"] }"),
            "5:23 `crawling` means two states | keep it in one of the lists",
        ),
    ]);
}

#[test]
fn counters_that_are_refused() {
    let given = |progress: &str| format!("{RUN}[[job.x.progress]]\n{progress}\n");
    let units = |progress: &str| format!("{UNITS}[[job.x.progress]]\n{progress}\n");
    check(&[
        (
            RUN.into(),
            "1:6 nothing tells how far a job has come | add [[job.x.progress]]: what has no counter would be stalled after `stalled_after`",
        ),
        (
            given("count = '(\\d+)'"),
            "3:1 [[job.x.progress]] has one of log, state, http, bytes, status, provided, effort, not none | log = \"logs/*.log\" with count = 'done (\\d+)'; a table for each counter",
        ),
        (
            given("log = \"*.log\"\nbytes = \"out\"\ncount = '(\\d+)'"),
            "3:1 [[job.x.progress]] has one of log, state, http, bytes, status, provided, effort, not log and bytes | log = \"logs/*.log\" with count = 'done (\\d+)'; a table for each counter",
        ),
        (given("log = \"*.log\""), "3:1 [job.x.progress] has no `count` | add count = 'crawled=(\\d+)'"),
        (
            given("log = \"*.log\"\ncount = 'done \\d+'"),
            "5:9 `done \\d+` has no group that is the number | put it in parentheses: 'crawled=(\\d+)'",
        ),
        (
            given("log = \"*.log\"\ncount = 'done (\\d+'"),
            "5:9 `done (\\d+` is no pattern: unclosed group | write it as the crate regex reads it: 'crawled=(\\d+)'",
        ),
        (
            given("log = \"*.log\"\ncount = '(\\w{900}){900}'"),
            "5:9 `(\\w{900}){900}` is no pattern: Compiled regex exceeds size limit of 1048576 bytes | write it as the crate regex reads it: 'crawled=(\\d+)'",
        ),
        (
            given("log = \"../*.log\"\ncount = '(\\d+)'"),
            "4:7 `log` cannot be `../*.log` | name a file, absolute or below the job's output folder, without ..",
        ),
        (
            given("log = \"{out}/*.log\"\ncount = '(\\d+)'"),
            "4:7 nothing is known as {out} | known are: {id}, {group}, {output}",
        ),
        (
            given("state = \"state.json\"\npointer = \"done\""),
            "5:11 `done` is no pointer to one value | RFC 6901, without wildcards: \"/progress/done\"",
        ),
        (
            given("state = \"state.json\"\npointer = \"/jobs/*/done\""),
            "5:11 `/jobs/*/done` is no pointer to one value | RFC 6901, without wildcards: \"/progress/done\"",
        ),
        (
            given("http = \"127.0.0.1/{id}\"\npointer = \"/done\""),
            "4:8 `http` cannot be `127.0.0.1/{id}` | write it whole: http://127.0.0.1:9000/jobs/{id}",
        ),
        (
            given("bytes = \"out/*\"\ncount = '(\\d+)'"),
            "5:1 unknown key `count` in [job.x.progress] | known are: log, state, bytes, http, status, provided, effort",
        ),
        (
            given("status = true\ncount = '(\\d+)'"),
            "1:6 `status` is of a job's own unit, and no job has one | add [job.x.runner] with unit = \"crawl@{id}.service\"",
        ),
        (
            given("provided = \"yes\""),
            "4:12 `provided` must be true or false, not text | write provided = true, without quotes",
        ),
        (given("provided = false"), "3:1 a counter with provided = false is none | leave [[job.x.progress]] out"),
        (
            units("log = \"logs/*.log\"\ncount = '(\\d+)'"),
            "3:1 `logs/*.log` needs more than a unit tells of a job | its unit gives {id} alone: \"/srv/jobs/{id}/logs/*.log\"",
        ),
        (
            units("bytes = \"/srv/{group}/*\""),
            "3:1 `/srv/{group}/*` needs more than a unit tells of a job | its unit gives {id} alone: \"/srv/jobs/{id}/logs/*.log\"",
        ),
        (
            format!("{RUN}{COUNTED}[job.x]\nagree = 2"),
            "5:6 2 counters are to agree, of 1 | add [[job.x.progress]], or lower `agree`",
        ),
        (
            units("effort = \"cpu\""),
            "1:6 what a job spends is no progress without a counter that rises | agree = 2, and a counter beside it: one of those that agree is no `effort` then",
        ),
        (units("effort = \"heat\""), "4:10 `heat` is no effort | known are: cpu, io"),
    ]);
}

#[test]
fn runners_remedies_and_queues_that_are_refused() {
    let with = |more: &str| format!("{RUN}{COUNTED}{more}\n");
    let queue = |more: &str| with(&format!("[job.x]\ndisk = \"/srv\"\n[job.x.queue]\n{more}"));
    check(&[
        (
            with("[job.x.runner]\nunit = \"crawl.service\""),
            "6:8 `unit` cannot be `crawl.service` | it names the same unit for each job: put {id} into it",
        ),
        (
            with("[job.x.runner]\nunit = \"crawl@{id}\""),
            "6:8 `unit` cannot be `crawl@{id}` | write the unit's whole name: crawl@{id}.service",
        ),
        (
            with("[job.x.runner]\nunit = \"{id}.service\""),
            "6:8 `unit` cannot be `{id}.service` | any unit could be a job's: begin with a word of its own",
        ),
        (
            with("[job.x.output]\nwrite = \"canary\""),
            "5:8 root would write wherever a job says that its folder is | add user = \"crawl\": whom the jobs run as",
        ),
        (
            with("[job.x.remedy]\nretry = [\"/bin/sh\", \"-c\", \"mark {id}\"]"),
            "6:27 the shell would read what a job is called as a part of its script | pass it as an argument: [\"/bin/sh\", \"-c\", \"mark \\\"$1\\\"\", \"sh\", \"{id}\"]",
        ),
        (with("[job.x.runner]\nunit = \"crawl@{di}.service\""), "6:8 nothing is known as {di} | did you mean `id`?"),
        (
            with("[job.x.runner]\nargument = \"--job={id}\""),
            "5:8 an argument on somebody's command line alone tells nothing | add `lock`: who mentions the job counts while that is held",
        ),
        (
            with("[job.x.runner]\nlock = \".lock\"\nargument = \"--job\""),
            "7:12 `argument` cannot be `--job` | it would be the same for each job: put {id} into it",
        ),
        (
            with("[job.x.remedy]\nretry = [\"/opt/retry\", \"all\"]"),
            "6:9 `retry` does not say which job it is for | add \"{id}\" to its words",
        ),
        (
            with("[job.x.remedy]\nretry = [\"/opt/{id}/retry\"]"),
            "6:10 the program itself is the same for each job | write its path, and {id} among its arguments",
        ),
        (
            with("[job.x.remedy]\nretry = [\"/opt/retry\", \"{id}\", \"{grup}\"]"),
            "6:32 nothing is known as {grup} | did you mean `group`?",
        ),
        (
            with("[job.x.remedy]\nretry = [\"retry\", \"{id}\"]"),
            "6:10 `retry` is not an absolute path | commands run without a shell or PATH: write the program's whole path",
        ),
        (
            with("[job.x.remedy]\nrecovery = [\"/opt/retry\", \"{id}\"]"),
            "6:1 unknown key `recovery` in [job.x.remedy] | did you mean `recover`?",
        ),
        (with("[job.x.remedy]\nper_day = 0"), "6:11 `per_day` is out of range: `0` | from 1 to 48"),
        (
            queue("start = [\"/opt/run\", \"{id}\"]"),
            "7:8 [job.x.queue] has no `wanted` | add wanted = 2: so many jobs should run at once",
        ),
        (
            queue("wanted = 2"),
            "7:8 [job.x.queue] has no `start` | add start = [\"/opt/example/bin/run-job\", \"{id}\"]: it runs one job to its end",
        ),
        (
            queue("wanted = 65\nstart = [\"/opt/run\", \"{id}\"]"),
            "8:10 `wanted` is out of range: `65` | from 1 to 64",
        ),
        (
            queue("wanted = 2\nstart = [\"/opt/run\"]"),
            "9:9 `start` does not say which job it is for | add \"{id}\" to its words",
        ),
    ]);
}

#[test]
fn a_queue_that_looks_at_no_disk_is_doubted() {
    let text = format!("{RUN}{COUNTED}[job.x.queue]\nwanted = 2\nstart = [\"/opt/run\", \"{{id}}\"]\n");
    let said: Vec<String> = good(&text).warnings.iter().map(line).collect();
    let want = "5:8 jobs are started however full the disk is that they write to | \
                add disk = \"/srv\" to the watch: a folder on it";
    assert_eq!(said, [want]);
    assert!(good(&format!("{text}[job.x]\ndisk = \"/srv\"\n")).warnings.is_empty());
}

#[test]
fn a_queue_whose_units_nobody_looks_at_is_doubted() {
    let queue = "[job.x]\ndisk = \"/srv\"\n[job.x.queue]\nwanted = 2\nstart = [\"/opt/run\", \"{id}\"]\n";
    let text = format!("{RUN}{COUNTED}{queue}[job.x.runner]\nunit = \"crawl@{{id}}.service\"\n");
    let said: Vec<String> = good(&text).warnings.iter().map(line).collect();
    let want = "5:6 what the queue starts does not run in `unit`, and would look as if nobody ran it | \
                leave `unit` out: the queue's own units are looked at then; or add `lock`";
    assert_eq!(said, [want]);
    assert!(good(&format!("{text}lock = \".lock\"\n")).warnings.is_empty());
}

#[test]
fn two_queues_have_no_unit_in_common() {
    let text = format!(
        "{RUN}{COUNTED}[job.x]\ndisk = \"/srv\"\n[job.x.queue]\nwanted = 2\nstart = [\"/opt/run\", \"{{id}}\"]\n"
    );
    let other = |name: &str| format!("{text}{}", text.replace("job.x", name));
    check(&[(
        other("job.x-y"),
        "14:6 jobs of [job.x-y] and of [job.x] may have the same unit | rename one of them: a job's unit is called hostward-job-NAME-ID",
    )]);
    assert!(good(&other("job.xy")).warnings.is_empty());
}
