//! The death of a unit that others stand on, and when one of those is judged down for it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::ClockId;

use super::kills::numbers;
use super::tail::{Ledger, clock};

/// Whom to kill, and who falls with it.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    unit: String,
    /// `storage.NAME#/path`
    target: String,
    #[arg(long, default_value = "/var/lib/hostward/ledger")]
    ledger: PathBuf,
}

/// Nanoseconds from kill(2) to the end of the millisecond that the verdict is stamped with.
pub(super) fn fall(options: &Options) -> Result<u64> {
    let mut ledger = Ledger::open(&options.ledger)?;
    ledger.skip()?;
    let pid = numbers("MainPID", std::slice::from_ref(&options.unit))?.into_iter().next().unwrap_or_default();
    let pid = Pid::from_raw(i32::try_from(pid)?).with_context(|| format!("{} has no main process", options.unit))?;
    let killed = clock(ClockId::Boottime);
    kill_process(pid, Signal::KILL).with_context(|| format!("kill {}", options.unit))?;
    let (_, _, stamp) = ledger.wait_for(&options.target, |record| {
        let turned = &record["body"]["turned"];
        turned["target"].as_str() == Some(&options.target) && turned["to"]["down"].is_object()
    })?;
    let judged = (stamp + 1) * 1_000_000;
    ensure!(judged >= killed, "{} fell before the kill", options.target);
    Ok(judged - killed)
}
