//! `bench`: ratios against a peer in the same sandbox and the same run, medians over many. Never a timed test.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

/// Which case to measure.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    case: Case,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Case {
    /// SIGKILL of a unit → fact recorded → new main PID; peer: monit at 1 s
    KillToRestart,
    /// The same with 32 HTTP probes that never answer; peer: monit with four
    BlackHoleProbes,
    /// A oneshot cycle, exec to exit; peer: a Python script of the same job
    OneshotCycle,
    /// CPU for a day of all watches at the reference cadence; peer: the scripts
    CpuDay,
    /// Resident memory with 500 checks; peers: monit, node_exporter
    Memory,
    /// A scrape with 500 targets; peer: node_exporter
    Scrape,
    /// 5,000 units and 5,000 checks: linear, and D-Bus silent when nothing changes
    Scale,
    /// CPU of PID 1 and of the bus caused by us; peer: a poller
    BusLoad,
    /// Rollback to a retained release; peer: relink and restart
    Rollback,
}

pub(crate) fn bench(options: Options) -> Result<()> {
    bail!("the case {:?} has no measurement yet", options.case)
}
