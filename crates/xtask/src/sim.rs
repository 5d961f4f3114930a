//! `sim`: the real engine in a simulated world. The simulator is a workspace of its own, because its core has a kind of
//! watch more than the one that ships.

use anyhow::Result;
use clap::Args;
use hostward_tests::target_dir;

use crate::run::{cargo, program, run};

/// Passed on to the simulator; `cargo xtask sim -- --help` lists what it takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask sim -- --seed 1 --steps 1000000\n  cargo xtask sim -- --world FILE")]
pub(crate) struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// The seeds that every run of the tests plays: each once broke a law, or reaches what others seldom do.
const FIXED: [&str; 4] = ["--seed", "1", "--seeds", "120"];

/// Incidents that happened to somebody, and what no story from seeds has.
const WORLDS: [&str; 4] = [
    "crates/hostward-sim/worlds/D9.toml",
    "crates/hostward-sim/worlds/P1.toml",
    "crates/hostward-sim/worlds/P7.toml",
    "crates/hostward-sim/worlds/asker.toml",
];

pub(crate) fn sim(options: &Options) -> Result<()> {
    build()?;
    play(options.arguments.iter().map(String::as_str))
}

/// What the tests play: stories from seeds, named worlds, and every bug that can be planted.
pub(crate) fn fixed() -> Result<()> {
    build()?;
    play(FIXED.into_iter().chain(["--quiet"]))?;
    play(["--quiet", "--world"].into_iter().chain(WORLDS))?;
    play(["--planted", "--quiet"].into_iter())
}

/// One build for all of it: with no bug planted, the core that has them is the one that ships.
fn build() -> Result<()> {
    let manifest = ["build", "--quiet", "--manifest-path", "crates/hostward-sim/Cargo.toml", "--features", "planted"];
    let mut build = cargo(manifest);
    build.arg("--target-dir").arg(folder());
    run(build)
}

fn play<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<()> {
    let simulator = folder().join("debug/hostward-sim");
    run(program(&simulator.to_string_lossy(), arguments))
}

fn folder() -> std::path::PathBuf {
    target_dir().join("sim")
}
