//! Jobs that count for a while and then stand still, one after the other, and when each is judged stalled for it.
//!
//! What counts is when the last number was written, and not when somebody saw it: the moment before that write is taken.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tail::{Ledger, clock};

/// Whose jobs, and when they stop to count.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// `job.NAME`
    watch: String,
    /// The log of each, `job/ID`'s being the one in the folder `ID`
    #[arg(long)]
    log: Vec<PathBuf>,
    #[arg(long)]
    stalled_after_ms: u64,
    /// Until the first stops
    #[arg(long)]
    warm_ms: u64,
    /// From one's stop to the next's
    #[arg(long)]
    gap_ms: u64,
    #[arg(long, default_value = "/var/lib/hostward/ledger")]
    ledger: PathBuf,
}

/// Nanoseconds since each had stood still for as long as it may.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::bench) struct Standstills {
    /// To the end of the millisecond that the verdict's record is stamped with.
    pub(in crate::bench) judged: Vec<u64>,
    /// The same of the record that says why its plan is held.
    pub(in crate::bench) decided: Vec<u64>,
}

const COUNT_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(3);

/// One job, in nanoseconds since the boot.
#[derive(Debug)]
struct Job {
    target: String,
    log: File,
    stops: u64,
    counted: u64,
    judged: Option<u64>,
    decided: Option<u64>,
}

pub(super) fn standstill(options: &Options) -> Result<Standstills> {
    let mut ledger = Ledger::open(&options.ledger)?;
    ledger.skip()?;
    let begun = clock(ClockId::Boottime);
    let opened = (0..).zip(&options.log).map(|(n, log)| {
        let stops = begun + (options.warm_ms + n * options.gap_ms) * 1_000_000;
        Job::open(&options.watch, log, stops)
    });
    let mut jobs: Vec<Job> = opened.collect::<Result<_>>()?;
    let started = Instant::now();
    for count in 2u64.. {
        for job in &mut jobs {
            job.count(count)?;
        }
        for record in ledger.news()? {
            for job in &mut jobs {
                job.note(&record);
            }
        }
        let waiting = jobs.iter().find(|job| job.decided.is_none());
        let Some(waiting) = waiting else { break };
        ensure!(started.elapsed() < PATIENCE, "nothing was decided within {PATIENCE:?} of {waiting:?}");
        std::thread::sleep(COUNT_EVERY);
    }
    let mut stood = Standstills::default();
    for job in &jobs {
        let expired = job.counted + options.stalled_after_ms * 1_000_000;
        let since = |at: Option<u64>| -> Result<u64> {
            at.and_then(|at| at.checked_sub(expired)).with_context(|| format!("it was not stalled yet: {job:?}"))
        };
        stood.judged.push(since(job.judged)?);
        stood.decided.push(since(job.decided)?);
    }
    Ok(stood)
}

impl Job {
    fn open(watch: &str, log: &Path, stops: u64) -> Result<Job> {
        let id = log.ancestors().nth(2).and_then(Path::file_name).and_then(|id| id.to_str());
        let id = id.with_context(|| format!("'{}' is no job's log", log.display()))?;
        let file = File::options().append(true).open(log).with_context(|| format!("open '{}'", log.display()))?;
        let target = format!("{watch}#job/{id}");
        Ok(Job { target, log: file, stops, counted: 0, judged: None, decided: None })
    }

    fn count(&mut self, count: u64) -> Result<()> {
        let now = clock(ClockId::Boottime);
        if now < self.stops {
            self.log.write_all(format!("page done\ncount {count}\n").as_bytes())?;
            self.counted = now;
        }
        Ok(())
    }

    fn note(&mut self, record: &Value) {
        let body = &record["body"];
        let ours = |kind: &str| body[kind]["target"].as_str() == Some(&self.target);
        let at = record["at"]["up"].as_u64().map(|up| (up + 1) * 1_000_000);
        if ours("turned") && body["turned"]["to"]["down"]["reason"] == "stalled" {
            self.judged = self.judged.or(at);
        }
        // Before the verdict a plan may be held as one that waits for it.
        if ours("held") && self.judged.is_some() {
            self.decided = self.decided.or(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Job;

    #[test]
    fn a_decision_is_what_follows_the_verdict_on_that_very_job() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("007/logs/1.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "").unwrap();
        let mut job = Job::open("job.slow", &log, 0).unwrap();
        let target = "job.slow#job/007";
        for (up, body) in [
            (1, json!({"held": {"target": target}})),
            (2, json!({"turned": {"target": "job.slow#job/008", "to": {"down": {"reason": "stalled"}}}})),
            (3, json!({"turned": {"target": target, "to": "up"}})),
            (4, json!({"turned": {"target": target, "to": {"down": {"reason": "stalled"}}}})),
            (5, json!({"held": {"target": "job.slow#job/008"}})),
            (6, json!({"held": {"target": target}})),
            (7, json!({"held": {"target": target}})),
        ] {
            job.note(&json!({"at": {"up": up}, "body": body}));
        }
        assert_eq!((job.judged, job.decided), (Some(5_000_000), Some(7_000_000)));
    }
}
