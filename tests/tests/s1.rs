//! S1, missing dependency: code was updated without its install step; the API crash-loops and never reaches `failed`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn heals_itself_with_a_restart_every_five_seconds() -> Result<()> {
    heals_itself("s1-five", RestartSec::Five)
}

#[test]
fn heals_itself_with_a_restart_every_hundred_milliseconds() -> Result<()> {
    heals_itself("s1-fast", RestartSec::Default100ms)
}

fn heals_itself(name: &str, restart: RestartSec) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let app = ExampleApp::install(&sandbox, restart)?;
    let guard = Guard::install(&sandbox, Reconcile::Pip)?;
    guard.start()?;
    let broke = Instant::now();
    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the first crash to be a fact", secs(5), || Ok(!guard.records("noted")?.is_empty()))?;
    sandbox.wait_until("crash-looping", secs(20).saturating_sub(broke.elapsed()), || {
        Ok(guard.reason("service.api")?.as_deref() == Some("crash_looping"))
    })?;
    ensure!(guard.records("opened")?.is_empty(), "acted before the tree was quiet");
    sandbox.wait_until("the drift to be named", secs(30), || {
        Ok(guard.reason("baseline.app")?.as_deref() == Some("drift"))
    })?;
    app.wait_healthy(2, secs(90))?;
    sandbox.wait_until("both watches up", secs(30), || {
        Ok(guard.up("service.api")? == Some(true) && guard.up("baseline.app")? == Some(true))
    })?;

    let opened = guard.records("opened")?;
    ensure!(opened.len() == 1, "one attempt, not {}: {opened:#?}", opened.len());
    let plan = &opened[0]["body"]["opened"]["plan"];
    assert_eq!(plan["rung"], "reconcile", "no restart rung for what systemd restarts itself");
    let closed = guard.records("closed")?;
    assert_eq!(closed[0]["body"]["closed"]["result"], "proved");
    assert_eq!(guard.status()?["view"]["incidents_total"], 1, "one incident, its cause and its dependent together");
    let down = guard.records("turned")?;
    let blamed = down.iter().any(|r| r["body"]["turned"]["to"]["down"]["blame"] == "baseline.app#python");
    ensure!(blamed, "the drift is named as the cause: {down:#?}");
    assert_eq!(sandbox.sh("git -C /opt/example -c safe.directory=* describe --tags")?.trim(), "revision-2");
    ensure!(guard.metrics()?.contains("healtharchive_drift_auto_reconcile_enabled 1"), "the fleet's own name");
    for watch in ["service.api", "baseline.app"] {
        for span in ["detect", "clear"] {
            let once = format!("hostward_watch_time_to_{span}_seconds_count{{watch=\"{watch}\"}} 1");
            ensure!(guard.has_metric(&once)?, "{once} is not in\n{}", guard.metrics()?);
        }
    }
    Ok(())
}
