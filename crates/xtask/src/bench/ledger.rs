//! `ledger`: recovery from a ledger of 64 MB, eight times what one file grows to, beside programs that read the same file.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::host::{self, Disk};
use super::report::median;
use super::{Figure, Programs};

const BYTES: u64 = 64 << 20;
const RUNS: &str = "15";
const PEER_RUNS: usize = 5;
const GOAL_MS: f64 = 1000.0;
/// The daemon's MemoryMax is 64 MB.
const GOAL_MB: f64 = 16.0;

/// The least that Python needs to read the records.
const PEER: &str = "
import json, sys
count = 0
for line in open(sys.argv[1], 'rb'):
    json.loads(line.split(b' ', 2)[2])
    count += 1
assert count > 100000
";

#[derive(Deserialize)]
struct Folds {
    nanos: Vec<u64>,
    vm_hwm_kb: u32,
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let disk = Disk::make()?;
    let dir = disk.path();
    let file = dir.join("ledger");
    let made = Command::new(&programs.ledger).arg("make").arg(dir).arg(BYTES.to_string()).status()?;
    ensure!(made.success(), "no ledger was made in '{}'", dir.display());
    let megabytes = f64::from(u32::try_from(file.metadata()?.len() / 1000)?) / 1000.0;

    // In turn, so that what others do to the machine meets all of them.
    let (mut sums, mut loads) = (Vec::new(), Vec::new());
    for _ in 0..PEER_RUNS {
        sums.push(timed(Command::new("sha256sum").arg(&file))?);
        loads.push(timed(Command::new("python3").args(["-c", PEER]).arg(&file))?);
    }
    let folds = Command::new(&programs.ledger).arg("fold").arg(dir).arg(RUNS).output()?;
    ensure!(folds.status.success(), "the fold failed: {}", String::from_utf8_lossy(&folds.stderr));
    let folds: Folds = serde_json::from_slice(&folds.stdout).context("read the folds' times")?;
    let times = host::millis(&folds.nanos);
    let rate = megabytes / (median(&times) / 1000.0);
    let what = format!("recovery from {megabytes:.0} MB");
    Ok(vec![
        Figure::many("ledger", &what, "ms", &times).goal(GOAL_MS).peer("sha256sum", median(&sums)),
        Figure::many("ledger", &what, "ms", &times).peer("Python's json.loads", median(&loads)),
        Figure::one("ledger", "the same as a rate", "MB/s", rate),
        Figure::one("ledger", "VmHWM during it", "MB", f64::from(folds.vm_hwm_kb) / 1000.0).goal(GOAL_MB),
    ])
}

/// Milliseconds, exec to exit.
fn timed(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let done = command.output()?;
    let took = started.elapsed();
    ensure!(done.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&done.stderr));
    Ok(took.as_secs_f64() * 1000.0)
}
