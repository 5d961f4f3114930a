//! `bench`: what Hostward costs and how quickly it sees, beside a peer in the same sandbox and the same run. Medians
//! over many runs, raw figures in docs/benchmarks.md. Never a timed test: a goal that is missed is printed, not failed.

mod baseline;
mod check;
mod death;
mod engine;
mod host;
mod inside;
mod ledger;
mod report;
mod resident;
mod scrape;

use std::path::PathBuf;

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// SIGKILL of a unit's main process → the fact, stamped and on disk; beside systemd's own stamp
    DeathToFact,
    /// `hostward check`, exec to exit; beside `pip list`
    Check,
    /// Resident memory after a minute and after an incident; beside journald and a Python API
    Memory,
    /// A pass over 500 distributions; beside importlib.metadata
    Baseline,
    /// GET /metrics; beside a server that only writes the same bytes
    Scrape,
    /// CPU and context switches of an idle minute
    Idle,
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
        report.add(measure(case, &programs)?);
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
        ledger: release.join("examples/ledger_fold"),
        turns: release.join("examples/turns"),
    };
    for program in [&programs.hostward, &programs.pass, &programs.ledger, &programs.turns] {
        ensure!(program.is_file(), "the build left no '{}'", program.display());
    }
    Ok(programs)
}

fn measure(case: Case, programs: &Programs) -> Result<Vec<Figure>> {
    match case {
        Case::DeathToFact => death::measure(programs),
        Case::Check => check::measure(programs),
        Case::Memory => resident::memory(programs),
        Case::Baseline => baseline::measure(programs),
        Case::Scrape => scrape::measure(programs),
        Case::Idle => resident::idle(programs),
        Case::Ledger => ledger::measure(programs),
        Case::Engine => engine::measure(programs),
    }
}
