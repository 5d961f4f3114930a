//! How long a steady look at so many jobs takes, each with a log that is read and a lock that is held: `jobs_pass JOBS
//! PASSES`. Prints microseconds of each pass, as JSON. The provider is a folder, so that no program of anybody's is in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hostward_core::ask::{Fault, Folder, Found, JobsQ, LockState, Provider, Reading, RunnerQ, Source};
use hostward_core::time::Ms;
use hostward_host::child::Children;
use hostward_host::jobs::Jobs;
use hostward_host::paths::{self, Lookers};
use rustix::fs::FlockOperation;

const ANSWER: Ms = Ms::secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| *word == paths::SUBCOMMAND) {
        return paths::answer_stdin();
    }
    let number = |n: usize, default: usize| words.get(n).and_then(|word| word.parse().ok()).unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let took = runtime.block_on(passes(number(0, 200), number(1, 20)));
    println!("{}", serde_json::json!(took));
    ExitCode::SUCCESS
}

async fn passes(count: usize, passes: usize) -> Vec<u128> {
    let dir = std::env::temp_dir().join(format!("jobs-pass-{}", std::process::id()));
    let log = |n: usize| dir.join(format!("job-{n}/logs/run.log"));
    let mut locks = Vec::new();
    for n in 0..count {
        fs::create_dir_all(dir.join(format!("job-{n}/logs"))).expect("a folder");
        fs::write(log(n), "page done\ncount 1\n".repeat(6000)).expect("a log");
        let lock = File::create(dir.join(format!("job-{n}/.lock"))).expect("a lock");
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
        locks.push(lock);
    }
    let q = JobsQ {
        from: Provider::Directory(Folder { at: dir.clone(), state: None }),
        words: BTreeMap::new(),
        progress: vec![Source::Log { files: "logs/*.log".into(), count: r"count (\d+)".into() }],
        runner: RunnerQ { lock: Some(".lock".into()), ..RunnerQ::default() },
        output: None,
        worker: None,
        disk: None,
        answer: ANSWER,
    };
    let ourselves = || "/proc/self/exe".into();
    let jobs =
        Jobs::new(Children::new(ourselves()), Lookers::new(ourselves()), hostward_host::http::Client::default());
    let mut took = Vec::new();
    for pass in 0..=passes {
        for n in 0..count {
            let mut log = File::options().append(true).open(log(n)).expect("a log");
            log.write_all(format!("page done\ncount {}\n", pass + 2).as_bytes()).expect("it is written");
        }
        let begun = Instant::now();
        let answer = jobs.ask(&q, Duration::from(q.deadline()), Err(Fault::BusAway("none here".into()))).await;
        let spent = begun.elapsed().as_micros();
        let Ok(Reading::Jobs(reading)) = answer else { panic!("{answer:?}") };
        assert_eq!(reading.jobs.len(), count);
        for job in &reading.jobs {
            let counted = job
                .progress
                .first()
                .is_some_and(|found| matches!(found, Found::Count(measure) if measure.count == pass as u64 + 2));
            let held = matches!(job.runner.lock, Some(LockState::Held { .. }));
            assert!(counted && held, "{job:?}");
        }
        // The first sight reads more.
        took.extend((pass > 0).then_some(spent));
    }
    fs::remove_dir_all(&dir).expect("it is removed");
    took
}
