//! Deaths, and when somebody has brought the unit back.
//!
//! A new main process is seen as the one process of the unit's cgroup, which is looked at every 500 µs: a question to
//! systemd would be work for the one who is to start it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tail::{Ledger, clock};

/// Whom to kill, once each.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// `NAME` of watch and unit is this and two digits
    prefix: String,
    from: usize,
    to: usize,
    /// From one's return to the next's death, on average
    gap_ms: u64,
    /// Whose records tell what lies between; a peer has none
    #[arg(long)]
    ledger: Option<PathBuf>,
}

/// Nanoseconds since each kill.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::bench) struct Returns {
    /// To a new main process.
    pub(in crate::bench) returned: Vec<u64>,
    /// To the end of the millisecond that each of these records is stamped with: the fact, the verdict, the run, the
    /// first step's intent.
    pub(in crate::bench) noted: Vec<u64>,
    pub(in crate::bench) turned: Vec<u64>,
    pub(in crate::bench) opened: Vec<u64>,
    pub(in crate::bench) began: Vec<u64>,
}

const LOOK_EVERY: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_mins(2);
/// A proof takes 3 s: by then nothing of the return is under way any more.
const SETTLED: Duration = Duration::from_millis(500);

pub(super) fn revive(options: &Options) -> Result<Returns> {
    let mut returns = Returns::default();
    let mut ledger = options.ledger.as_deref().map(Ledger::open).transpose()?;
    for n in options.from..options.to {
        let name = format!("{}{n:02}", options.prefix);
        if let Some(ledger) = &mut ledger {
            ledger.skip()?;
        }
        let old = main_pid(&name).with_context(|| format!("{name} has no main process"))?;
        let killed = clock(ClockId::Boottime);
        kill_process(Pid::from_raw(old).context("a process has a number")?, Signal::KILL)?;
        wait_for_another(&name, old)?;
        returns.returned.push(clock(ClockId::Boottime) - killed);
        std::thread::sleep(SETTLED);
        if let Some(ledger) = &mut ledger {
            returns.stages(&ledger.news()?, &name, killed)?;
        }
        std::thread::sleep(gap(options.gap_ms, n).saturating_sub(SETTLED));
    }
    Ok(returns)
}

impl Returns {
    fn stages(&mut self, records: &[Value], name: &str, killed: u64) -> Result<()> {
        let of = |kind: &str, is: &dyn Fn(&Value) -> bool| {
            let record = records.iter().find(|record| record["body"].get(kind).is_some_and(is));
            record.with_context(|| format!("nothing was {kind} of {name}"))
        };
        let since = |record: &Value| -> Result<u64> {
            let stamp = record["at"]["up"].as_u64().context("a record has its moment")?;
            Ok(((stamp + 1) * 1_000_000).saturating_sub(killed))
        };
        let watch = format!("service.{name}");
        let ours = |target: &Value| target.as_str().and_then(|t| t.split('#').next()) == Some(watch.as_str());
        let opened = of("opened", &|body| body["plan"]["watch"].as_str() == Some(&watch))?;
        let run = &opened["seq"];
        self.noted.push(since(of("noted", &|body| ours(&body["target"]))?)?);
        self.turned.push(since(of("turned", &|body| ours(&body["target"]))?)?);
        self.opened.push(since(opened)?);
        self.began.push(since(of("began", &|body| &body["run"] == run)?)?);
        Ok(())
    }
}

fn wait_for_another(name: &str, old: i32) -> Result<()> {
    let started = Instant::now();
    while main_pid(name).is_none_or(|pid| pid == old) {
        ensure!(started.elapsed() < PATIENCE, "nobody brought {name} back within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The first process of its cgroup, which is gone while the unit is.
fn main_pid(name: &str) -> Option<i32> {
    let processes = fs::read_to_string(format!("/sys/fs/cgroup/system.slice/{name}.service/cgroup.procs")).ok()?;
    processes.lines().next()?.parse().ok()
}

/// Between a half of `mean` and one and a half, spread evenly, so that no death keeps step with a peer's cycle.
fn gap(mean: u64, n: usize) -> Duration {
    let golden = (n as u64 * 618) % 1000;
    Duration::from_millis(mean / 2 + mean * golden / 1000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Returns, gap};

    #[test]
    fn the_stages_are_of_the_unit_that_was_killed() {
        let record = |seq: u64, up: u64, body| json!({"seq": seq, "at": {"up": up}, "body": body});
        let records = [
            record(1, 9, json!({"noted": {"target": "service.no-00#no-00.service"}})),
            record(2, 10, json!({"noted": {"target": "service.no-01#no-01.service"}})),
            record(3, 11, json!({"turned": {"target": "service.no-01#no-01.service"}})),
            record(4, 20, json!({"opened": {"plan": {"watch": "service.no-01"}}})),
            record(5, 21, json!({"began": {"run": 1}})),
            record(6, 30, json!({"began": {"run": 4}})),
        ];
        let mut returns = Returns::default();
        returns.stages(&records, "no-01", 8_500_000).unwrap();
        let seen = [returns.noted, returns.turned, returns.opened, returns.began].concat();
        assert_eq!(seen, [2_500_000, 3_500_000, 12_500_000, 22_500_000]);
        assert!(Returns::default().stages(&records, "no-00", 0).is_err(), "it was never opened");
    }

    #[test]
    fn gaps_are_spread_around_their_mean() {
        let all: Vec<_> = (0..50).map(|n| gap(1000, n).as_millis()).collect();
        assert!(all.iter().all(|gap| (500..1500).contains(gap)));
        let mean = all.iter().sum::<u128>() / 50;
        assert!((900..1100).contains(&mean), "{mean}");
    }
}
