//! S1 on the timer path: no daemon; a timer, or a person, has one whole cycle after the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SERVICE: &str = "hostward-watch@baseline.app.service";
const TIMER: &str = "hostward-watch@baseline.app.timer";
/// The shipped timer, sixty times as fast.
const HURRIED: &str = "[Timer]\nOnBootSec=\nOnActiveSec=1s\nOnUnitActiveSec=5s\nAccuracySec=1ms\n";

#[test]
fn the_timer_heals_with_a_restart_every_five_seconds() -> Result<()> {
    the_timer_heals("s1-timer-five", RestartSec::Five)
}

#[test]
fn the_timer_heals_with_a_restart_every_hundred_milliseconds() -> Result<()> {
    the_timer_heals("s1-timer-fast", RestartSec::Default100ms)
}

fn the_timer_heals(name: &str, restart: RestartSec) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let app = ExampleApp::install(&sandbox, restart)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    assert_eq!(guard.run(&["trigger", "baseline.app"])?.code(), Some(0), "healthy");
    guard.forbid(Guard::DRIFT_SENTINEL)?;
    sandbox.write(&format!("/etc/systemd/system/{TIMER}.d/hurried.conf"), "0644", HURRIED)?;
    sandbox.sh(&format!("systemctl daemon-reload; systemctl start {TIMER}"))?;
    app.break_by_updating_code_without_install()?;

    sandbox.wait_until("the verdicts", secs(60), || {
        let turned = guard.records("turned")?;
        let judged = |reason: &str| turned.iter().any(|r| r["body"]["turned"]["to"]["down"]["reason"] == reason);
        Ok(judged("crash_looping") && judged("drift"))
    })?;
    sandbox.wait_until("a cycle to end as unhealthy and held", secs(60), || {
        Ok(sandbox.property(SERVICE, "ExecMainStatus")? == "1")
    })?;
    assert_eq!(sandbox.property(SERVICE, "Result")?, "success", "held is an answer, not a failure of the unit");
    ensure!(guard.has_in_textfile("healtharchive_drift_auto_reconcile_enabled 0")?, "written by the timer path");
    stop_timer(&sandbox)?;
    let held = guard.run(&["trigger", "baseline.app"])?;
    assert_eq!(held.code(), Some(1), "{held:?}");
    let explained = guard.run(&["explain", "baseline.app"])?.stdout;
    ensure!(explained.contains(Guard::DRIFT_SENTINEL), "it does not name the sentinel: {explained}");
    ensure!(guard.records("opened")?.is_empty() && !app.has_dependency()?, "acted without the sentinel");

    guard.run(&["enable", "baseline.app"])?.ok()?;
    sandbox.sh(&format!("systemctl start {TIMER}"))?;
    app.wait_healthy(2, secs(90))?;
    // Its soak is judged by a later run of the timer: what one process did, another finishes.
    sandbox.wait_until("the attempt to be settled", secs(40), || {
        Ok(guard.records("settled")?.iter().any(|record| record["body"]["settled"]["result"] == "cleared"))
    })?;
    stop_timer(&sandbox)?;
    assert_eq!(guard.run(&["trigger", "baseline.app"])?.code(), Some(0), "healed");
    let opened = guard.records("opened")?;
    ensure!(opened.len() == 1, "one attempt, not {}: {opened:#?}", opened.len());
    assert_eq!(opened[0]["body"]["opened"]["origin"], "trigger");
    ensure!(guard.records("started")?.len() >= 4, "each cycle is an engine of its own");
    ensure!(guard.has_in_textfile("healtharchive_drift_auto_reconcile_enabled 1")?, "written by the timer path");
    Ok(())
}

/// Returns when the cycle that was under way has ended, and has not failed.
fn stop_timer(sandbox: &Sandbox) -> Result<()> {
    sandbox.sh(&format!("systemctl stop {TIMER}"))?;
    sandbox.wait_until("the last cycle to end", secs(70), || {
        Ok(["inactive", "failed"].contains(&sandbox.property(SERVICE, "ActiveState")?.as_str()))
    })?;
    assert_eq!(sandbox.property(SERVICE, "ActiveState")?, "inactive", "the unit failed");
    Ok(())
}
