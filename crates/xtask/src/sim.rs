//! `sim`: the real engine in a simulated world. The simulator is a workspace of its own, because its core has a kind of
//! watch more than the one that ships.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hostward_tests::target_dir;

use crate::run::{cargo, program, read, run};

/// Passed on to the simulator; `cargo xtask sim -- --help` lists what it takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask sim -- --seed 1 --steps 1000000\n  cargo xtask sim -- --world FILE")]
pub(crate) struct Options {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

const MANIFEST: &str = "crates/hostward-sim/Cargo.toml";

/// The seeds that every run of the tests plays: each once broke a law, or reaches what others seldom do.
pub(crate) const FIXED: [&str; 4] = ["--seed", "1", "--seeds", "120"];

/// How many stories nobody has played before: some twenty seconds.
const FRESH: &str = "100";

/// Incidents that happened to somebody, and what no story from seeds has.
const WORLDS: [&str; 6] = [
    "crates/hostward-sim/worlds/D9.toml",
    "crates/hostward-sim/worlds/P1.toml",
    "crates/hostward-sim/worlds/P7.toml",
    "crates/hostward-sim/worlds/asker.toml",
    "crates/hostward-sim/worlds/saver.toml",
    "crates/hostward-sim/worlds/upgrades.toml",
];

pub(crate) fn sim(options: &Options) -> Result<()> {
    build(&[])?;
    play(options.arguments.iter().map(String::as_str))
}

/// A workspace of its own, so what looks at ours does not see it. Dependencies are checked where ours are.
pub(crate) fn lint() -> Result<()> {
    run(cargo(["fmt", "--manifest-path", MANIFEST, "--check"]))?;
    let mut clippy = cargo(["clippy", "--quiet", "--manifest-path", MANIFEST, "--all-targets", "--target-dir"]);
    clippy.arg(target_dir()).args(["--features", "planted", "--", "-D", "warnings"]);
    run(clippy)
}

/// What the tests play: stories from seeds, named worlds, and every bug that can be planted.
pub(crate) fn fixed() -> Result<()> {
    build(&["--features", "planted"])?;
    play(FIXED.into_iter().chain(["--quiet"]))?;
    play(["--quiet", "--world"].into_iter().chain(WORLDS))?;
    play(["--planted", "--quiet"].into_iter())?;
    let fresh = fresh()?.to_string();
    println!("fresh stories: --seed {fresh} --seeds {FRESH}");
    play(["--seed", &fresh, "--seeds", FRESH, "--quiet"].into_iter())
}

/// Each commit is played by stories that no other was, and by the same ones wherever it is tested.
fn fresh() -> Result<u64> {
    let commit = read(program("git", ["rev-parse", "--short=12", "HEAD"]))?;
    u64::from_str_radix(commit.trim(), 16).with_context(|| format!("read the commit '{}'", commit.trim()))
}

/// What a benchmark plays: built as what ships is, without debug assertions. Where it is.
pub(crate) fn release() -> Result<PathBuf> {
    build(&["--release"])?;
    Ok(folder().join("release/hostward-sim"))
}

/// For the tests one build of all: with no bug planted, the core that has them is the one that ships.
fn build(more: &[&str]) -> Result<()> {
    let mut build = cargo(["build", "--quiet", "--manifest-path", MANIFEST, "--target-dir"]);
    build.arg(folder()).args(more);
    run(build)
}

fn play<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<()> {
    let simulator = folder().join("debug/hostward-sim");
    run(program(&simulator.to_string_lossy(), arguments))
}

fn folder() -> PathBuf {
    target_dir().join("sim")
}
