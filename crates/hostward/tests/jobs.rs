//! Jobs, asked of the real program's children: what a provider's run may and may not do, and what of a job's files is read.

#[path = "support/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::{
    Answer, Fault, Folder, Found, JobReading, JobState, JobsQ, JobsReading, Listing, LockState, Look, OutputQ,
    Provider, Reading, RunnerQ, Source, Write,
};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use hostward_host::child::Children;
use hostward_host::http;
use hostward_host::jobs::Jobs;
use hostward_host::paths::Lookers;
use rustix::fs::FlockOperation;
use script::script;
use tempfile::TempDir;

/// Somebody else, whom every host has.
const NOBODY: &str = "nobody";

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_hostward").into()
}

fn jobs() -> Jobs {
    Jobs::new(Children::new(program()), Lookers::new(program()), http::Client::default())
}

fn q(from: Provider) -> JobsQ {
    JobsQ {
        from,
        words: BTreeMap::new(),
        progress: Vec::new(),
        runner: RunnerQ::default(),
        output: None,
        worker: None,
        disk: None,
        answer: Ms::secs(20),
    }
}

fn command(program: &Path) -> Listing {
    Listing { run: vec![text(program)], user: None, env: None, timeout: Ms::secs(20) }
}

fn text(path: &Path) -> Str {
    path.to_str().unwrap().into()
}

/// Without a bus.
async fn ask(jobs: &Jobs, q: &JobsQ) -> Answer {
    jobs.ask(q, Duration::from(q.deadline()), Err(Fault::BusAway("none here".into()))).await
}

async fn reading(jobs: &Jobs, q: &JobsQ) -> JobsReading {
    match ask(jobs, q).await {
        Ok(Reading::Jobs(reading)) => *reading,
        other => panic!("{other:?}"),
    }
}

async fn listed(listing: Listing) -> Result<Vec<JobReading>, Fault> {
    match ask(&jobs(), &q(Provider::Command(listing))).await? {
        Reading::Jobs(reading) => Ok(reading.jobs),
        other => panic!("{other:?}"),
    }
}

async fn unreadable(script_text: &str, change: impl FnOnce(&mut Listing)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut listing = command(&script(dir.path(), script_text));
    change(&mut listing);
    match listed(listing).await {
        Err(Fault::Unreadable(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

fn counts(job: &JobReading) -> Vec<Option<u64>> {
    let count = |found: &Found| match found {
        Found::Count(measure) => Some(measure.count),
        _ => None,
    };
    job.progress.iter().map(count).collect()
}

#[tokio::test]
async fn a_provider_is_run_as_its_user_with_its_environment_and_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(
        dir.path(),
        r#"echo noise >&2
        printf '{"jobs": [{"id": "%s", "group": "%s", "state": "running", "progress": 7}]}' "$(id -un)" "$WHO""#,
    );
    // Only root may read it.
    let env = dir.path().join("env");
    fs::write(&env, "# who\nWHO='a-group'\nPATH=/usr/bin:/bin\n").unwrap();
    fs::set_permissions(&env, Permissions::from_mode(0o600)).unwrap();
    let listing = Listing { user: Some(NOBODY.into()), env: Some(env.clone()), ..command(&program) };
    let found = listed(listing.clone()).await.unwrap();
    let job = &found[0];
    assert_eq!((&*job.id, job.group.as_deref(), job.state), (NOBODY, Some("a-group"), JobState::Running));
    fs::remove_file(&env).unwrap();
    assert!(matches!(listed(listing).await, Err(Fault::Config(why)) if why.contains("does not exist")));
}

#[tokio::test]
async fn a_provider_that_fails_is_told_by_what_it_complains_and_never_by_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join("env");
    fs::write(&env, "DATABASE_URL=postgres://u:hunter2@db/jobs\nODD=sesame\n").unwrap();
    let env = |listing: &mut Listing| listing.env = Some(env.clone());
    let why = unreadable("echo '[]'; echo \"no route to $DATABASE_URL, $ODD\" >&2; exit 3", env).await;
    assert!(why.ends_with("exited with 3: no route to ***, ***"), "{why}");
    let why = unreadable("kill -9 $$", |_| {}).await;
    assert!(why.ends_with("was killed by signal 9"), "{why}");
    let why = unreadable("echo '{\"jobs\": [{\"id\": \"a\"'", |_| {}).await;
    assert!(why.contains("the list of jobs"), "{why}");
    let why =
        unreadable("while :; do echo '                                                   '; done", |_| {}).await;
    assert!(why.ends_with("printed more than 4 MiB"), "{why}");
}

#[tokio::test]
async fn a_megabyte_of_jobs_and_of_complaints_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let program = script(
        dir.path(),
        r#"head -c 1000000 /dev/zero | tr '\0' e >&2
        echo '['; i=0
        while [ $i -lt 900 ]; do
            printf '{"id": "%d", "state": "pending", "more": "%1000s"},' $i x; i=$((i + 1))
        done
        echo '{"id": "last", "state": "pending"}]'"#,
    );
    assert_eq!(listed(command(&program)).await.unwrap().len(), 901);
}

#[tokio::test]
async fn a_provider_that_takes_too_long_ends_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let text = format!("setsid sleep 1000 & echo $! > {0}; echo $$ >> {0}; sleep 1000", pids.display());
    let listing = Listing { timeout: Ms::secs(2), ..command(&script(dir.path(), &text)) };
    assert_eq!(listed(listing).await, Err(Fault::Timeout));
    let pids = fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "it had started");
    for pid in pids.lines() {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z"), "{pid} lives: {state}");
    }
}

/// The program, as the first process of a namespace of its own: what it may look below is the root of process 1, which not
/// every host of a test lets it see.
fn first_of_its_own(dir: &Path) -> PathBuf {
    let unshare = format!("exec unshare --pid --fork --kill-child --mount-proc {} \"$@\"", program().display());
    script(dir, &unshare)
}

/// Jobs as folders, each with a log and a lock.
struct Folders {
    _programs: TempDir,
    dir: TempDir,
    q: JobsQ,
    jobs: Jobs,
}

impl Folders {
    fn new(names: &[&str]) -> Folders {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for name in names {
            fs::create_dir_all(dir.path().join(name).join("logs")).unwrap();
        }
        let from = Provider::Directory(Folder { at: dir.path().to_owned(), state: None });
        let progress = vec![Source::Log { files: "logs/*.log".into(), count: r"done (\d+)".into() }];
        let runner = RunnerQ { lock: Some("{output}/.lock".into()), ..RunnerQ::default() };
        let programs = tempfile::tempdir().unwrap();
        let lookers = Lookers::new(first_of_its_own(programs.path()));
        let jobs = Jobs::new(Children::new(program()), lookers, http::Client::default());
        Folders { _programs: programs, dir, q: JobsQ { progress, runner, ..q(from) }, jobs }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn lock(&self, job: &str) -> File {
        let lock = File::create(self.at(job).join(".lock")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        lock
    }

    fn add(&self, log: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.at(log)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn look(&self) -> Vec<JobReading> {
        reading(&self.jobs, &self.q).await.jobs
    }
}

#[tokio::test]
async fn a_folder_runs_while_its_lock_is_held_and_its_log_tells_how_far_it_has_come() {
    let folders = Folders::new(&["a", "b"]);
    let lock = folders.lock("a");
    folders.add("a/logs/1.log", "done 5\ndone 6\n");
    let found = folders.look().await;
    assert_eq!((found[0].state, counts(&found[0])), (JobState::Running, vec![Some(6)]));
    assert!(matches!(found[0].runner.lock, Some(LockState::Held { .. })));
    assert_eq!((found[1].state, found[1].progress.len()), (JobState::Pending, 0), "nobody runs it");
    folders.add("a/logs/1.log", "noise\ndone");
    assert_eq!(counts(&folders.look().await[0]), [Some(6)]);
    folders.add("a/logs/1.log", " 7\n");
    assert_eq!(counts(&folders.look().await[0]), [Some(7)]);
    // Rotated, as logrotate's copytruncate does it, and then as its create does.
    fs::write(folders.at("a/logs/1.log"), "done 8\n").unwrap();
    assert_eq!(counts(&folders.look().await[0]), [Some(8)]);
    fs::rename(folders.at("a/logs/1.log"), folders.at("a/logs/1.log.1")).unwrap();
    folders.add("a/logs/1.log", "begun\n");
    assert_eq!(counts(&folders.look().await[0]), [None], "the new one has no number yet");
    folders.add("a/logs/1.log", "done 9\n");
    assert_eq!(counts(&folders.look().await[0]), [Some(9)]);
    drop(lock);
    assert_eq!(folders.look().await[0].state, JobState::Pending);
}

/// Of a sparse file of 10 GB, the end.
#[tokio::test]
async fn a_huge_log_costs_what_its_end_costs() {
    let folders = Folders::new(&["a"]);
    let _lock = folders.lock("a");
    folders.add("a/logs/1.log", "done 1\n");
    File::options().write(true).open(folders.at("a/logs/1.log")).unwrap().set_len(10_000_000_000).unwrap();
    folders.add("a/logs/1.log", "\ndone 2\n");
    assert_eq!(counts(&folders.look().await[0]), [Some(2)]);
    folders.add("a/logs/1.log", "done 3\n");
    assert_eq!(counts(&folders.look().await[0]), [Some(3)]);
}

/// A job's folder is its user's: what only root may read is not read for it, whatever a link of its says.
#[tokio::test]
async fn a_link_to_what_is_roots_is_read_as_the_jobs_user() {
    let mut folders = Folders::new(&["a"]);
    let _lock = folders.lock("a");
    fs::write(folders.at("secret"), "done 42\n").unwrap();
    std::os::unix::fs::symlink(folders.at("secret"), folders.at("a/logs/1.log")).unwrap();
    assert_eq!(counts(&folders.look().await[0]), [Some(42)], "links are gone along");
    fs::set_permissions(folders.at("secret"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(counts(&folders.look().await[0]), [Some(42)], "root reads it");
    folders.q.output = Some(OutputQ { user: Some(NOBODY.into()), write: Write::Access });
    let found = folders.look().await;
    assert!(matches!(found[0].progress[0], Found::Failed { errno: 13, .. }), "{:?}", found[0].progress);
    assert!(matches!(&found[0].look, Some(Look::Failed { errno: 13, .. })), "{:?}", found[0].look);
}

#[tokio::test]
async fn the_folders_of_those_that_run_failed_or_come_next_are_looked_at() {
    let mut folders = Folders::new(&["runs", "failed", "next"]);
    fs::set_permissions(folders.at("next"), Permissions::from_mode(0o755)).unwrap();
    let job = |id: &str, state: &str, at: &str| {
        format!(r#"{{"id": "{id}", "state": "{state}", "output": "{}"}}"#, folders.at(at).display())
    };
    let mut list =
        vec![job("runs", "running", "runs"), job("failed", "failed", "failed"), job("gone", "failed", "no")];
    // The first has no folder yet, and the ninth is not looked at.
    list.push(job("0", "pending", "no"));
    list.extend((1..9).map(|n| job(&n.to_string(), "retryable", "next")));
    let list = script(&folders.at("runs"), &format!("echo '[{}]'", list.join(",")));
    folders.q.from = Provider::Command(command(&list));
    folders.q.progress.clear();
    folders.q.runner.lock = None;
    folders.q.output = Some(OutputQ { user: Some(NOBODY.into()), write: Write::Canary });
    fs::set_permissions(folders.at("runs"), Permissions::from_mode(0o777)).unwrap();
    let found = folders.look().await;
    let errno = |job: &JobReading| match &job.look {
        None => "none".to_owned(),
        Some(Look::Answered(_)) => "0".to_owned(),
        Some(Look::Failed { errno, .. }) => errno.to_string(),
        Some(other) => format!("{other:?}"),
    };
    let found: Vec<String> = found.iter().map(|job| format!("{} {}", job.id, errno(job))).collect();
    let next = ["1 13", "2 13", "3 13", "4 13", "5 13", "6 13", "7 13", "8 none"];
    assert_eq!(found[..4], ["runs 0", "failed 0", "gone 2", "0 none"], "where nothing runs nothing is written");
    assert_eq!(found[4..], next);
}

/// /tmp and /run/lock: root may not open another's file there to create it, and does not.
#[tokio::test]
async fn a_lock_of_another_user_in_a_sticky_folder_is_probed_and_one_that_cannot_be_counts_as_held() {
    let mut folders = Folders::new(&["a"]);
    let sticky = folders.at("sticky");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, Permissions::from_mode(0o1777)).unwrap();
    folders.q.from = Provider::Command(command(&script(
        &folders.at("a"),
        r#"echo '[{"id": "a", "state": "retryable"}, {"id": "b", "state": "retryable"}, {"id": "c", "state": "retryable"}]'"#,
    )));
    folders.q.progress.clear();
    folders.q.runner.lock = Some(format!("{}/{{id}}.lock", sticky.display()).into());
    let lock = File::create(sticky.join("a.lock")).unwrap();
    std::os::unix::fs::chown(sticky.join("a.lock"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(sticky.join("a.lock"), Permissions::from_mode(0o600)).unwrap();
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    File::create(sticky.join("b.lock")).unwrap();
    let locks =
        |found: Vec<JobReading>| -> Vec<Option<LockState>> { found.into_iter().map(|job| job.runner.lock).collect() };
    let found = locks(folders.look().await);
    assert!(matches!(found[0], Some(LockState::Held { .. })), "{found:?}");
    assert_eq!(found[1..], [Some(LockState::Free), Some(LockState::Free)]);
    assert!(!sticky.join("c.lock").exists(), "it is never created");
    drop(lock);
    assert_eq!(locks(folders.look().await)[0], Some(LockState::Free));
    // Its folder's user may not read it: nobody knows.
    folders.q.output = Some(OutputQ { user: Some("daemon".into()), write: Write::Never });
    let found = locks(folders.look().await);
    assert!(matches!(found[0], Some(LockState::Unreadable(_))), "{found:?}");
}

#[tokio::test]
async fn a_process_is_told_while_it_lives_and_who_has_the_argument() {
    let dir = tempfile::tempdir().unwrap();
    let argument = format!("--job-of-{}=a", std::process::id());
    let mut child = std::process::Command::new("sh")
        .args(["-c", "echo; read line", "sh", &argument])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It runs when it says something.
    std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let list = format!(r#"[{{"id": "a", "state": "failed", "pid": {}, "progress": 5}}]"#, child.id());
    let mut q = q(Provider::Command(command(&script(dir.path(), &format!("echo '{list}'")))));
    q.progress = vec![Source::Provided, Source::Bytes { files: "x".into() }];
    q.runner.argument = Some(format!("--job-of-{}={{id}}", std::process::id()).into());
    let jobs = jobs();
    let found = reading(&jobs, &q).await.jobs.remove(0);
    let pid = |process: &Option<hostward_core::ask::Process>| process.as_ref().map(|process| process.pid);
    assert_eq!((pid(&found.runner.process), pid(&found.runner.mentioned)), (Some(child.id()), Some(child.id())));
    assert_eq!(counts(&found), [Some(5), None]);
    assert!(matches!(&found.progress[1], Found::Unasked(Fault::Config(why)) if why.contains("has no output")));
    child.kill().unwrap();
    child.wait().unwrap();
    let found = reading(&jobs, &q).await.jobs.remove(0);
    assert_eq!((found.runner.pid, found.runner.process), (Some(child.id()), None));
    assert_eq!(found.progress, [], "it neither runs nor has anybody who runs it");
}

#[tokio::test]
async fn without_a_bus_units_are_not_known_and_everything_else_is() {
    let mut folders = Folders::new(&["a"]);
    let _lock = folders.lock("a");
    folders.add("a/logs/1.log", "done 5\n");
    folders.q.runner.unit = Some("crawl@{id}.service".into());
    folders.q.worker = Some(hostward_core::id::UnitName::new("worker.service"));
    folders.q.progress.push(Source::Status { count: r"(\d+)".into() });
    let reading = reading(&folders.jobs, &folders.q).await;
    let (unit, state) = reading.jobs[0].runner.unit.clone().unwrap();
    assert_eq!((unit.as_str(), matches!(state, Err(Fault::BusAway(_)))), ("crawl@a.service", true));
    assert!(matches!(reading.worker, Some(Err(Fault::BusAway(_)))));
    assert!(matches!(reading.closures[..], [(_, Err(Fault::BusAway(_)))]));
    assert_eq!(counts(&reading.jobs[0]), [Some(5), None]);
    folders.q.from = Provider::Units("crawl@*.service".into());
    assert!(matches!(ask(&folders.jobs, &folders.q).await, Err(Fault::BusAway(_))));
}

#[tokio::test]
async fn a_page_is_asked_for_each_job_and_its_number_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut asked = [0; 1024];
            let n = std::io::Read::read(&mut stream, &mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..n]).into_owned();
            let (status, body) = match asked.split(' ').nth(1).unwrap() {
                "/jobs/a%3Fx" => ("200 OK", r#"{"crawl": {"pages": 12}}"#),
                "/jobs/b" => ("200 OK", r#"{"crawl": {}}"#),
                _ => ("503 Service Unavailable", r#"{"crawl": {"pages": 9}}"#),
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let list =
        r#"[{"id": "a?x", "state": "running"}, {"id": "b", "state": "running"}, {"id": "c", "state": "running"}]"#;
    let mut q = q(Provider::Command(command(&script(dir.path(), &format!("echo '{list}'")))));
    let url = format!("http://127.0.0.1:{port}/jobs/{{id}}").into();
    q.progress = vec![Source::Http { url, pointer: "/crawl/pages".into() }];
    let found = reading(&jobs(), &q).await.jobs;
    assert_eq!(found.iter().map(counts).collect::<Vec<_>>(), [[Some(12)], [None], [None]]);
    assert!(matches!(found[1].progress[0], Found::Nothing(_)), "{:?}", found[1].progress);
    assert!(matches!(found[2].progress[0], Found::Unasked(_)), "who counts is ill, and not the job");
}
