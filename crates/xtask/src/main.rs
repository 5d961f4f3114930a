//! `cargo xtask`: the project's own helpers. What CI runs is what a developer runs.

#![forbid(unsafe_code)]

mod bench;
mod demo;
mod run;
mod setup;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Hostward's helpers for its developers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Install the Debian packages that the tests need and this machine lacks; starts no service
    Setup,
    /// Everything that must hold before a merge: setup, fmt, clippy, tidy, build, all tests, alert rules
    Test(test::Options),
    /// Check the house rules that no compiler knows
    Tidy,
    /// Boot a sandbox, break the example API in it and watch Hostward repair it
    Demo,
    /// Play stories from seeds against the engine, with faults, and look at its laws after every event
    Sim(sim::Options),
    /// Measure against peers in the same sandbox
    Bench(bench::Options),
    /// What `bench` runs inside a sandbox, beside what it measures
    #[command(name = "__inside", hide = true)]
    Inside(bench::Inside),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::setup(),
        Task::Test(options) => test::test(options),
        Task::Tidy => tidy::tidy(),
        Task::Demo => demo::demo(),
        Task::Sim(options) => sim::sim(&options),
        Task::Bench(options) => bench::bench(options),
        Task::Inside(task) => bench::inside(&task),
    }
}
