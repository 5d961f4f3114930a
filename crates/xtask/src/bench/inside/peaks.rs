//! What the children that look at files hold at most, while a command runs that makes a daemon start them.
//!
//! They live for milliseconds: each is looked at again and again until it is gone, so what it held last is missed, at most.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::bench::spent;

/// Whose children, and meanwhile what.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    unit: String,
    /// The hidden subcommand that is what they are
    subcommand: String,
    command: Vec<String>,
}

const LOOK_EVERY: Duration = Duration::from_micros(200);

/// In kB.
pub(super) fn peak(options: &Options) -> Result<u64> {
    let (program, words) = options.command.split_first().context("there is no command")?;
    let mut command = Command::new(program)
        .args(words)
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("start '{program}'"))?;
    let processes = format!("/sys/fs/cgroup/system.slice/{}/cgroup.procs", options.unit);
    let mut most = None;
    let status = loop {
        for pid in fs::read_to_string(&processes).with_context(|| format!("read '{processes}'"))?.lines() {
            most = most.max(held(pid, &options.subcommand));
        }
        if let Some(status) = command.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    ensure!(status.success(), "'{program}': {status}");
    most.with_context(|| format!("no '{}' of {} was seen", options.subcommand, options.unit))
}

/// None: it is no such child, or none any more.
fn held(pid: &str, subcommand: &str) -> Option<u64> {
    // Before: until it is another program, a child's memory is its parent's.
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let is_one = command.split('\0').nth(1) == Some(subcommand);
    let status = is_one.then(|| fs::read_to_string(format!("/proc/{pid}/status")).ok())??;
    spent::field(&status, "VmHWM")
}
