//! P7, killed in the middle: PID 1 runs the step, so it outlives us; the next daemon takes it up again, or ends the run.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Long beside the two seconds after which systemd starts the daemon again.
const SLOW: Reconcile = Reconcile::Slow { seconds: 7 };

/// Breaks the app; returns when the rebuild sleeps in its middle, with the name of its unit.
fn amid_the_rebuild(sandbox: &Sandbox, app: &ExampleApp, guard: &Guard) -> Result<String> {
    guard.start()?;
    app.break_by_updating_code_without_install()?;
    let step = sandbox.wait_for("the rebuild to run", secs(40), || Ok(steps(sandbox)?.into_iter().next()))?;
    sandbox.wait_until("the rebuild to sleep", secs(5), || {
        Ok(sandbox.exec(["pgrep", "-u", "deploy", "-x", "sleep"])?.status.success())
    })?;
    ensure!(!app.has_dependency()?, "it is said to be in the middle, and has already installed");
    Ok(step)
}

/// Our transient units, running or ended.
fn steps(sandbox: &Sandbox) -> Result<Vec<String>> {
    let listed = sandbox.sh("systemctl list-units --all --plain --no-legend 'hostward-step-*'")?;
    Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn closed(sandbox: &Sandbox, guard: &Guard) -> Result<Value> {
    let closed =
        sandbox.wait_for("the run to close", secs(60), || Ok(guard.records("closed")?.into_iter().next()))?;
    Ok(closed["body"]["closed"]["result"].clone())
}

/// One run, one charge, nothing left behind.
fn one_attempt_and_no_trace(sandbox: &Sandbox, guard: &Guard) -> Result<()> {
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    assert_eq!(guard.status()?["view"]["budget_remaining"], 251, "charged once");
    sandbox.wait_until("nothing of ours to be left", secs(10), || Ok(steps(sandbox)?.is_empty()))?;
    Ok(())
}

#[test]
fn a_step_outlives_the_daemon_and_is_taken_up_again() -> Result<()> {
    let sandbox = Sandbox::boot("p7-adopt")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(SLOW))?;
    let step = amid_the_rebuild(&sandbox, &app, &guard)?;
    let invocation = sandbox.property(&step, "InvocationID")?;
    guard.kill_and_wait()?;
    assert_eq!(sandbox.property(&step, "InvocationID")?, invocation, "the same run of the same unit");
    assert_eq!(sandbox.property(&step, "ActiveState")?, "activating", "the kill came too late to prove anything");

    app.wait_healthy(2, secs(60))?;
    assert_eq!(closed(&sandbox, &guard)?, "proved");
    let again = guard.records("began")?.iter().filter(|record| record["body"]["began"]["again"] == true).count();
    assert_eq!(again, 0, "the step was begun again");
    one_attempt_and_no_trace(&sandbox, &guard)?;
    let cleared = r#"hostward_watch_attempts_total{remedy="reconcile",result="cleared",watch="baseline.app"} 1"#;
    sandbox.wait_until("the attempt to count as cleared", secs(20), || guard.has_metric(cleared))?;
    Ok(())
}

#[test]
fn a_step_that_was_killed_with_the_daemon_ends_the_run() -> Result<()> {
    let sandbox = Sandbox::boot("p7-killed")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(SLOW))?;
    let step = amid_the_rebuild(&sandbox, &app, &guard)?;
    let before = guard.life()?.0;
    sandbox.sh(&format!("systemctl kill --signal=KILL hostward; systemctl kill --signal=KILL {step}"))?;
    guard.wait_reborn(&before)?;

    let result = closed(&sandbox, &guard)?;
    ensure!(result["unproved"]["why"].as_str().is_some_and(|why| why.contains("killed 9")), "closed: {result:#}");
    guard.wait_held("baseline.app", "cooldown", secs(20))?;
    one_attempt_and_no_trace(&sandbox, &guard)?;
    let failed = r#"hostward_watch_attempts_total{remedy="reconcile",result="not_cleared",watch="baseline.app"} 1"#;
    ensure!(guard.has_metric(failed)?, "{}", guard.metrics()?);
    Ok(())
}

#[test]
fn a_step_that_is_gone_with_the_daemon_is_begun_again_once() -> Result<()> {
    let sandbox = Sandbox::boot("p7-gone")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(SLOW))?;
    let step = amid_the_rebuild(&sandbox, &app, &guard)?;
    let before = guard.life()?.0;
    let forget = format!("systemctl stop {step}; systemctl reset-failed {step} 2>/dev/null || true");
    sandbox.sh(&format!("systemctl kill --signal=KILL hostward; {forget}"))?;
    ensure!(steps(&sandbox)?.is_empty(), "the unit is still loaded: its end is known");
    guard.wait_reborn(&before)?;

    app.wait_healthy(2, secs(60))?;
    assert_eq!(closed(&sandbox, &guard)?, "proved");
    let began = guard.records("began")?;
    let first: Vec<_> = began.iter().filter(|record| record["body"]["began"]["step"] == 0).collect();
    assert_eq!(first.len(), 2, "begun, and once again: {began:#?}");
    assert_eq!(first[1]["body"]["began"]["again"], true);
    one_attempt_and_no_trace(&sandbox, &guard)
}

#[test]
fn a_sentinel_that_goes_in_the_middle_ends_the_run() -> Result<()> {
    ends_without_its_sentinel("p7-sentinel", |_| Ok(()))
}

#[test]
fn a_sentinel_that_goes_while_the_daemon_is_dead_ends_the_run() -> Result<()> {
    ends_without_its_sentinel("p7-sentinel-dead", |guard: &Guard<'_>| {
        guard.kill_and_wait()?;
        Ok(())
    })
}

fn ends_without_its_sentinel(name: &str, and: impl FnOnce(&Guard) -> Result<()>) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(SLOW))?;
    let step = amid_the_rebuild(&sandbox, &app, &guard)?;
    guard.forbid(Guard::DRIFT_SENTINEL)?;
    and(&guard)?;
    assert_eq!(sandbox.property(&step, "ActiveState")?, "activating", "what runs is not cut off");

    let result = closed(&sandbox, &guard)?;
    ensure!(result["held"]["holds"][0].as_str().is_some_and(|hold| hold.starts_with("no_sentinel")), "{result:#}");
    assert_eq!(result["held"]["step"], 1, "before the step behind the one that ran");
    let began = guard.records("began")?;
    assert_eq!(began.len(), 1, "no further forward step: {began:#?}");
    one_attempt_and_no_trace(&sandbox, &guard)?;
    sandbox.never("another run", secs(3), || Ok(guard.records("opened")?.len() > 1))
}
