//! First run and exports: what `init` prints loads, what `/metrics` says Prometheus accepts, and the textfile is whole.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn init_prints_a_configuration_that_loads_and_sees_the_host() -> Result<()> {
    let sandbox = Sandbox::boot("init")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    let guard = Guard::install_with(&sandbox, "")?;
    sandbox.sh("mkdir /tmp/first; hostward init > /tmp/first/hostward.toml")?;
    let first = sandbox.read("/tmp/first/hostward.toml")?;
    for line in ["mode     = \"observe\"", "unit = \"example-api.service\"", "venv = \"/opt/example/.venv\""] {
        ensure!(first.contains(line), "init leaves out '{line}':\n{first}");
    }
    guard.run(&["config", "check", "/tmp/first"])?.ok()?;
    let check = guard.run(&["--config", "/tmp/first", "check"])?;
    assert_eq!(check.code(), Some(0), "a healthy host is seen as healthy: {check:?}");
    // The reconcile that it suggests is a comment; made real, it must load as well.
    sandbox.sh("sed -i -E '/^# (\\[baseline|run |user |then )/s/^# //' /tmp/first/hostward.toml")?;
    guard.run(&["config", "check", "/tmp/first"])?.ok()?;
    Ok(())
}

#[test]
fn prometheus_accepts_what_we_export_and_both_ways_say_the_same() -> Result<()> {
    let sandbox = Sandbox::boot("exports")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    let guard = Guard::install(&sandbox, Reconcile::Pip)?;
    guard.start()?;
    let metrics = guard.metrics()?;
    accepted(&metrics)?;
    let families = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect()
    };
    sandbox.wait_until("the textfile to say what /metrics says", SOON, || {
        Ok(families(&sandbox.read(Guard::TEXTFILE).unwrap_or_default()) == families(&metrics))
    })?;
    accepted(&sandbox.read(Guard::TEXTFILE)?)?;
    for line in sandbox.read(Guard::TEXTFILE)?.lines().filter(|line| !line.starts_with('#')) {
        let ours = line.starts_with("hostward_") || line.starts_with("healtharchive_drift_auto_reconcile_");
        ensure!(ours, "a family in the textfile without our prefix would collide: {line}");
    }
    ensure!(metrics.contains("healtharchive_drift_auto_reconcile_enabled 1"), "{metrics}");
    let probed = "hostward_probe_duration_seconds_bucket{watch=\"service.api\",le=\"30\"} ";
    ensure!(metrics.lines().any(|line| line.starts_with(probed) && !line.ends_with(" 0")), "{metrics}");
    assert_eq!(sandbox.sh(&format!("stat -c %a {}", Guard::TEXTFILE))?.trim(), "644", "the collector can read it");
    Ok(())
}

/// `promtool check metrics` finds no fault.
fn accepted(text: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start promtool: `cargo xtask setup` installs it with Debian's prometheus")?;
    promtool.stdin.take().context("promtool's stdin")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    // The fleet's own names are what they are; only ours must follow the rules. "us" in one of them is ourselves, not a
    // microsecond.
    let known = ["healtharchive_", "hostward_watch_stopped_by_us metric names should not contain abbreviated units"];
    let faults: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| !known.iter().any(|known| line.starts_with(known)))
        .map(str::to_owned)
        .collect();
    ensure!(faults.is_empty(), "promtool finds fault: {faults:#?}");
    Ok(())
}
