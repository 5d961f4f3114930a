//! `check`: exec to exit of `hostward check`, beside `pip list` in the same environment, in turn with it.

use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{ExampleApp, Sandbox};

use super::report::median;
use super::{Figure, Programs, host};

const RUNS: &str = "60";
const DISTRIBUTIONS: usize = 100;
/// pip and setuptools, and the example's own.
const THERE_ALREADY: usize = 3;
const GOAL_MS: f64 = 20.0;

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-check", programs)?;
    let (app, guard) = host::example(&sandbox, programs)?;
    host::distributions(&sandbox, ExampleApp::VENV, ExampleApp::LOCK, DISTRIBUTIONS - THERE_ALREADY)?;
    app.wait_healthy(1, Duration::from_secs(20))?;
    let without = figure(&sandbox, "without the daemon")?.goal(GOAL_MS);
    guard.start()?;
    let with = figure(&sandbox, "through the daemon")?;
    Ok(vec![without, with])
}

fn figure(sandbox: &Sandbox, what: &str) -> Result<Figure> {
    let pip = format!("{}/bin/python -m pip --disable-pip-version-check list", ExampleApp::VENV);
    let nanos: Vec<Vec<u64>> = host::inside(sandbox, &["timed", RUNS, "/usr/bin/hostward check", &pip])?;
    let [check, pip] = nanos.as_slice() else { anyhow::bail!("timed {} commands, not two", nanos.len()) };
    let pip = median(&host::millis(pip));
    let check = host::millis(check);
    check.first().context("nothing was timed")?;
    Ok(Figure::many("check", what, "ms", &check).peer("pip list", pip))
}
