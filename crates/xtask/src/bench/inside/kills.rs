//! Deaths, and when each is a fact.
//!
//! The kill is stamped immediately before kill(2). The record's own stamp is the engine's: whole milliseconds, so its end
//! is taken. That it is on disk is seen from outside: the ledger's length is looked at every 50 µs, and once it has
//! grown, an fdatasync of our own has returned. That adds to the daemon's own, so it is an upper bound.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::tail::{Ledger, clock, is_of};

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

/// After a round's starts, and between two kills, so that a restart after 100 ms is over: deaths come one at a time.
const CALM: Duration = Duration::from_secs(1);
const GAP: Duration = Duration::from_millis(250);

pub(super) fn kills(options: &Options) -> Result<Deaths> {
    let mut deaths = Deaths::default();
    let mut ledger = Ledger::open(&options.ledger)?;
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
    let (seen, on_disk, stamp) = ledger.wait_for(name, |record| is_of(record, name))?;
    let stamped = (stamp + 1) * 1_000_000;
    ensure!(stamped >= killed, "{name}: its record is older than the kill");
    deaths.stamped.push(stamped - killed);
    deaths.seen.push(seen - killed);
    deaths.on_disk.push(on_disk - killed);
    Ok(monotonic)
}

pub(super) fn systemctl(verb: &str, names: &[String]) -> Result<()> {
    let status = Command::new("systemctl").arg(verb).args(names).status()?;
    ensure!(status.success(), "systemctl {verb}: {status}");
    Ok(())
}

/// A numeric property of each unit, in order.
pub(super) fn numbers(property: &str, names: &[String]) -> Result<Vec<u64>> {
    let show = Command::new("systemctl").args(["show", "--value", "--property", property]).args(names).output()?;
    let text = String::from_utf8(show.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.len() == names.len(), "systemctl show {property}: {} values", numbers.len());
    Ok(numbers)
}
