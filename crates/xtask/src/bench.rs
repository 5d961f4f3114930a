//! `bench`: what Hostward costs and how quickly it sees, beside a peer in the same sandbox and the same run. Medians
//! over many runs, raw figures in docs/benchmarks.md. Never a timed test: a goal that is missed is printed, not failed.

mod baseline;
mod check;
mod checks;
mod death;
mod engine;
mod host;
mod inside;
mod jobs;
mod ledger;
mod looks;
mod many;
mod monit;
mod quiet;
mod recover;
mod report;
mod resident;
mod scrape;
mod spent;
mod storage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use hostward_tests::target_dir;

use crate::run::{cargo, run};
use report::{Figure, Report};

pub(crate) use inside::{Inside, inside};

/// What to measure.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// One case; all of them when none is named
    #[arg(value_enum)]
    case: Option<Case>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// How long the mount of `storage` hangs
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// SIGKILL of a unit's main process → the fact, stamped and on disk; beside systemd's own stamp
    DeathToFact,
    /// SIGKILL of a unit's main process → a new one; beside monit
    Recover,
    /// The same while 32 probes hang; beside the quiet run, and monit with four
    BlackHoles,
    /// `hostward check`, exec to exit; beside `pip list`
    Check,
    /// Resident memory after a minute and after an incident; beside journald and a Python API
    Memory,
    /// CPU of HTTP and exec checks; beside monit
    ChecksCpu,
    /// Resident memory with 500 watches; beside monit
    #[value(name = "rss-500")]
    Rss500,
    /// A pass over 500 distributions; beside importlib.metadata
    Baseline,
    /// GET /metrics; beside a server that only writes the same bytes
    Scrape,
    /// CPU and context switches of an idle minute
    Idle,
    /// D-Bus calls, and CPU of PID 1 and the bus, of a quiet minute; beside a monitor that polls
    QuietBus,
    /// First state, resync, death and memory among 5,000 units, 500 and all of them watched
    #[value(name = "units-5000")]
    Units5000,
    /// Death of a base to the verdict on its paths, a thousand binds, and a mount that hangs; beside the moment before
    Storage,
    /// A pass over 200 jobs, what a log of 10 GB costs, and a stall to the verdict; beside a script of cron's
    Jobs,
    /// Recovery from a ledger of 64 MB; beside sha256sum and Python's json.loads
    Ledger,
    /// Turns of the engine with 500 watches, and of the simulator
    Engine,
}

/// The release build's programs.
#[derive(Debug)]
struct Programs {
    hostward: PathBuf,
    /// `python::read` in a loop.
    pass: PathBuf,
    /// GetAll of each unit, for ever.
    poller: PathBuf,
    /// A ledger made and folded.
    ledger: PathBuf,
    /// An engine turned with 500 watches.
    turns: PathBuf,
}

pub(crate) fn bench(options: Options) -> Result<()> {
    crate::setup::setup()?;
    let programs = build()?;
    let cases = options.case.map_or_else(|| Case::value_variants().to_vec(), |case| vec![case]);
    let mut report = Report::begin(options.case.and_then(|case| case.to_possible_value()), &programs.hostward)?;
    for case in cases {
        report.add(measure(case, &programs, options.minutes)?);
    }
    report.print(options.json)
}

fn build() -> Result<Programs> {
    run(cargo(["build", "--release", "--package", "hostward"]))?;
    run(cargo(["build", "--release", "--package", "hostward-host", "--examples"]))?;
    let release = target_dir().join("release");
    let programs = Programs {
        hostward: release.join("hostward"),
        pass: release.join("examples/python_pass"),
        poller: release.join("examples/poller"),
        ledger: release.join("examples/ledger_fold"),
        turns: release.join("examples/turns"),
    };
    for program in [&programs.hostward, &programs.pass, &programs.poller, &programs.ledger, &programs.turns] {
        ensure!(program.is_file(), "the build left no '{}'", program.display());
    }
    Ok(programs)
}

fn measure(case: Case, programs: &Programs, minutes: u64) -> Result<Vec<Figure>> {
    match case {
        Case::DeathToFact => death::measure(programs),
        Case::Recover => recover::recover(programs),
        Case::BlackHoles => recover::black_holes(programs),
        Case::Check => check::measure(programs),
        Case::Memory => resident::memory(programs),
        Case::ChecksCpu => checks::cpu(programs),
        Case::Rss500 => checks::resident(programs),
        Case::Baseline => baseline::measure(programs),
        Case::Scrape => scrape::measure(programs),
        Case::Idle => resident::idle(programs),
        Case::QuietBus => quiet::measure(programs),
        Case::Units5000 => many::measure(programs),
        Case::Storage => storage::measure(programs, Duration::from_mins(minutes)),
        Case::Jobs => jobs::measure(programs),
        Case::Ledger => ledger::measure(programs),
        Case::Engine => engine::measure(programs),
    }
}
