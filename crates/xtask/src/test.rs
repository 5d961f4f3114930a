//! `test`: everything that must hold before a merge, the cheapest first.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hostward_tests::{repository, target_dir};

use crate::run::{cargo, program, run, succeeds};

/// What to leave out, and what to build.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Which build of the binary the real-systemd tests install
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Take the Debian packages for granted
    #[arg(long)]
    no_setup: bool,
    /// Play for ten minutes the scenarios that last ten minutes; the default plays two of them, or less
    #[arg(long)]
    full: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

pub(crate) fn test(options: Options) -> Result<()> {
    let started = Instant::now();
    if !options.no_setup {
        step("setup", crate::setup::setup)?;
    }
    step("fmt", || run(cargo(["fmt", "--all", "--check"])))?;
    step("clippy", || run(cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    step("fmt and clippy of the simulator", crate::sim::lint)?;
    step("tidy", crate::tidy::tidy)?;
    step("build", || run(cargo(["build", "--package", "hostward", "--profile", options.profile.name()])))?;
    step("tests", || workspace_tests(options))?;
    step("simulator", crate::sim::fixed)?;
    step("alert rules", alert_rules)?;
    eprintln!("xtask: all of it holds, {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn step(name: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    act().with_context(|| format!("step '{name}' failed"))?;
    eprintln!("xtask: {name}: ok, {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn workspace_tests(options: Options) -> Result<()> {
    // What a crashed run left behind would only take memory, but take it all the same.
    run(program("tests/sandbox/sandbox", ["sweep"]))?;
    let mut tests = if succeeds(cargo(["nextest", "--version"])) {
        // In a sandbox they wait for most of their time: one more than there are CPUs keeps these busy.
        let threads = std::thread::available_parallelism().map_or(2, |cpus| cpus.get() + 1).to_string();
        let profile = if options.full { "full" } else { "default" };
        cargo(["nextest", "run", "--workspace", "--profile", profile, "--test-threads", &threads])
    } else {
        eprintln!("xtask: no cargo-nextest; `cargo test` runs the same tests, more slowly");
        cargo(["test", "--workspace"])
    };
    tests.env("HOSTWARD_BIN", target_dir().join(options.profile.folder()).join("hostward"));
    if options.full {
        tests.env("HOSTWARD_TEST_FULL", "1");
    }
    run(tests)
}

fn alert_rules() -> Result<()> {
    let folder = repository().join("packaging/prometheus");
    let mut rules = Vec::new();
    let mut proofs = Vec::new();
    for entry in std::fs::read_dir(&folder).context("list the folder 'packaging/prometheus'")? {
        let path = entry?.path();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".test.yml") {
            proofs.push(name);
        } else if name.ends_with(".rules.yml") {
            rules.push(name);
        }
    }
    anyhow::ensure!(
        !rules.is_empty() && !proofs.is_empty(),
        "no alert rules, or no tests of them, in 'packaging/prometheus'"
    );
    run(program("promtool", ["check", "rules"].into_iter().chain(rules.iter().map(String::as_str))))?;
    run(program("promtool", ["test", "rules"].into_iter().chain(proofs.iter().map(String::as_str))))
}
