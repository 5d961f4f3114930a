//! Deaths, and when each is a fact.
//!
//! The kill is stamped immediately before kill(2). The record's own stamp is the engine's: whole milliseconds, so its end
//! is taken. That it is on disk is seen from outside: the ledger's length is looked at every 50 µs, and once it has
//! grown, an fdatasync of our own has returned. That adds to the daemon's own, so it is an upper bound.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whom to kill, and how often.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// `NAME` of watch and unit is this and two digits
    prefix: String,
    units: usize,
    rounds: usize,
    /// Start them again before each round: nobody else does
    #[arg(long)]
    start: bool,
    #[arg(long, default_value = "/var/lib/hostward/ledger")]
    ledger: PathBuf,
}

/// Nanoseconds since each kill.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::bench) struct Deaths {
    /// To the end of the millisecond that the record is stamped with.
    pub(in crate::bench) stamped: Vec<u64>,
    /// To the record's bytes in the file.
    pub(in crate::bench) seen: Vec<u64>,
    /// To its bytes on the disk.
    pub(in crate::bench) on_disk: Vec<u64>,
    /// To systemd's own ExecMainExitTimestamp; only with `--start`, for a restart forgets it.
    pub(in crate::bench) systemd: Vec<u64>,
}

const LOOK_EVERY: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_secs(10);
/// After a round's starts, and between two kills, so that a restart after 100 ms is over: deaths come one at a time.
const CALM: Duration = Duration::from_secs(1);
const GAP: Duration = Duration::from_millis(250);

pub(super) fn kills(options: &Options) -> Result<Deaths> {
    let mut deaths = Deaths::default();
    let mut ledger = Ledger::open(options)?;
    let names: Vec<_> = (0..options.units).map(|n| format!("{}{n:02}", options.prefix)).collect();
    for _ in 0..options.rounds {
        if options.start {
            systemctl("start", &names)?;
        }
        std::thread::sleep(CALM);
        ledger.skip()?;
        let mut killed = Vec::with_capacity(names.len());
        for (name, pid) in names.iter().zip(numbers("MainPID", &names)?) {
            killed.push(kill(name, pid, &mut ledger, &mut deaths)?);
            std::thread::sleep(GAP);
        }
        if options.start {
            for (micros, killed) in numbers("ExecMainExitTimestampMonotonic", &names)?.into_iter().zip(killed) {
                deaths.systemd.push((micros * 1000).saturating_sub(killed));
            }
        }
    }
    Ok(deaths)
}

/// Returns the monotonic clock at the kill.
fn kill(name: &str, pid: u64, ledger: &mut Ledger, deaths: &mut Deaths) -> Result<u64> {
    let pid = Pid::from_raw(i32::try_from(pid)?).with_context(|| format!("{name} has no main process"))?;
    let monotonic = clock(ClockId::Monotonic);
    let killed = clock(ClockId::Boottime);
    kill_process(pid, Signal::KILL).with_context(|| format!("kill {name}"))?;
    let (seen, on_disk, stamp) = ledger.wait_for(name)?;
    let stamped = (stamp + 1) * 1_000_000;
    ensure!(stamped >= killed, "{name}: its record is older than the kill");
    deaths.stamped.push(stamped - killed);
    deaths.seen.push(seen - killed);
    deaths.on_disk.push(on_disk - killed);
    Ok(monotonic)
}

/// The ledger, read from outside.
struct Ledger {
    file: File,
    read: u64,
}

impl Ledger {
    fn open(options: &Options) -> Result<Self> {
        let file = File::open(&options.ledger).with_context(|| format!("open '{}'", options.ledger.display()))?;
        Ok(Self { file, read: 0 })
    }

    fn skip(&mut self) -> Result<()> {
        self.read = self.file.metadata()?.len();
        Ok(())
    }

    /// Waits for a fact or a turn of `service.NAME`: when it was seen, when it was on disk, its stamp in milliseconds.
    fn wait_for(&mut self, name: &str) -> Result<(u64, u64, u64)> {
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for a record of {name}");
            if self.file.metadata()?.len() == self.read {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let seen = clock(ClockId::Boottime);
            self.file.sync_data()?;
            let on_disk = clock(ClockId::Boottime);
            if let Some(stamp) = self.news()?.iter().find_map(|record| stamp_of(record, name)) {
                return Ok((seen, on_disk, stamp));
            }
        }
    }

    /// Whole records that were not read before.
    fn news(&mut self) -> Result<Vec<Value>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += u64::try_from(whole)?;
        let text = std::str::from_utf8(&bytes[..whole])?;
        // Sequence number, checksum, record.
        let records = text.lines().filter_map(|line| line.splitn(3, ' ').nth(2));
        records.map(|json| serde_json::from_str(json).with_context(|| format!("read the record {json}"))).collect()
    }
}

fn stamp_of(record: &Value, name: &str) -> Option<u64> {
    let body = &record["body"];
    let news = body.get("noted").or(body.get("turned"))?;
    let watch = news["target"].as_str()?.split('#').next()?;
    (watch == format!("service.{name}")).then(|| record["at"]["up"].as_u64())?
}

fn clock(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn systemctl(verb: &str, names: &[String]) -> Result<()> {
    let status = Command::new("systemctl").arg(verb).args(names).status()?;
    ensure!(status.success(), "systemctl {verb}: {status}");
    Ok(())
}

/// A numeric property of each unit, in order.
fn numbers(property: &str, names: &[String]) -> Result<Vec<u64>> {
    let show = Command::new("systemctl").args(["show", "--value", "--property", property]).args(names).output()?;
    let text = String::from_utf8(show.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.len() == names.len(), "systemctl show {property}: {} values", numbers.len());
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::stamp_of;

    #[test]
    fn a_record_belongs_to_the_watch_that_it_names() {
        let record = json!({"at": {"up": 7}, "body": {"noted": {"target": "service.no-01#no-01.service"}}});
        assert_eq!(stamp_of(&record, "no-01"), Some(7));
        assert_eq!(stamp_of(&record, "no-0"), None);
        assert_eq!(stamp_of(&json!({"at": {"up": 7}, "body": "stopped"}), "no-01"), None);
    }
}
