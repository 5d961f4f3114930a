//! What runs inside the sandbox, beside what is measured: entering it takes 16 ms, more than most figures.

mod fall;
mod kills;
mod peaks;
mod peers;
mod revive;
mod scrapes;
mod standstill;
mod tail;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

pub(super) use kills::Deaths;
pub(super) use revive::Returns;
pub(super) use standstill::Standstills;

/// A task, its answer printed as JSON.
#[derive(Clone, Debug, Args)]
pub(crate) struct Inside {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Kill main processes and wait for their records
    Kills(kills::Options),
    /// Kill a unit and wait for the verdict on what stands on it
    Fall(fall::Options),
    /// Let jobs count, and stop to, and wait for the verdict on each
    Standstill(standstill::Options),
    /// Run a command, and look what the children of a unit hold at most meanwhile
    Peak(peaks::Options),
    /// Kill main processes and wait for new ones
    Revive(revive::Options),
    /// Run commands in turn, exec to exit
    Timed {
        runs: usize,
        /// What each of them reads
        #[arg(long, default_value = "/dev/null")]
        stdin: PathBuf,
        /// As one word each, split at spaces
        commands: Vec<String>,
    },
    /// GET an address again and again, beside a server of the same bytes
    Scrapes { runs: usize, address: String },
    /// Answer HTTP until somebody ends it
    Server { port: u16 },
    /// Listen, and never answer
    Holes { count: u16, first: u16 },
}

pub(crate) fn inside(task: &Inside) -> Result<()> {
    let said = match &task.task {
        Task::Kills(options) => serde_json::to_string(&kills::kills(options)?),
        Task::Fall(options) => serde_json::to_string(&fall::fall(options)?),
        Task::Standstill(options) => serde_json::to_string(&standstill::standstill(options)?),
        Task::Peak(options) => serde_json::to_string(&peaks::peak(options)?),
        Task::Revive(options) => serde_json::to_string(&revive::revive(options)?),
        Task::Timed { runs, stdin, commands } => serde_json::to_string(&timed(*runs, stdin, commands)?),
        Task::Scrapes { runs, address } => serde_json::to_string(&scrapes::scrapes(*runs, address)?),
        Task::Server { port } => return peers::server(*port),
        Task::Holes { count, first } => return peers::holes(*count, *first),
    };
    println!("{}", said?);
    Ok(())
}

/// Nanoseconds of each run of each command; in turn, so that a busy moment meets all of them.
fn timed(runs: usize, stdin: &PathBuf, commands: &[String]) -> Result<Vec<Vec<u64>>> {
    let mut nanos = vec![Vec::with_capacity(runs); commands.len()];
    for run in 0..=runs {
        for (command, nanos) in commands.iter().zip(&mut nanos) {
            let mut words = command.split(' ');
            let input = File::open(stdin).with_context(|| format!("open '{}'", stdin.display()))?;
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words).stdin(input).stdout(Stdio::null());
            let started = Instant::now();
            let status = command.status().with_context(|| format!("start {command:?}"))?;
            let took = started.elapsed();
            ensure!(status.success(), "{command:?}: {status}");
            // The first run fills the page cache.
            if run > 0 {
                nanos.push(u64::try_from(took.as_nanos())?);
            }
        }
    }
    Ok(nanos)
}
