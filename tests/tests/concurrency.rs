//! More than one at once: two engines, several callers, a bus that dies, an operator at work, a deploy under way.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const BUSY: Option<i32> = Some(75);

fn trigger(sandbox: &Sandbox) -> Result<Child> {
    let mut command = sandbox.command(["hostward", "trigger", "baseline.app"]);
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

#[test]
fn a_daemon_and_three_callers_act_once() -> Result<()> {
    let sandbox = Sandbox::boot("triggers")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the loop", secs(10), || Ok(app.restarts()? >= 3))?;
    let callers = (0..3).map(|_| trigger(&sandbox)).collect::<Result<Vec<_>>>()?;
    for mut caller in callers {
        assert_eq!(caller.wait()?.code(), Some(0), "each is answered when the cycle is through, and it healed");
    }
    app.wait_healthy(2, secs(10))?;
    guard.wait_up()?;
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt for all of them");
    assert_eq!(guard.run(&["run"])?.code(), BUSY, "a second daemon");
    Ok(())
}

#[test]
fn two_cycles_without_a_daemon_are_one_too_many() -> Result<()> {
    let sandbox = Sandbox::boot("two-engines")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let slow = Reconcile::Slow { seconds: 3 };
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(slow))?;
    guard.run(&["trigger", "baseline.app"])?.ok()?;
    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the loop", secs(10), || Ok(app.restarts()? >= 3))?;

    let mut callers = [trigger(&sandbox)?, trigger(&sandbox)?];
    let refused = sandbox.wait_for("one of them to be refused", secs(10), || {
        Ok(callers.iter_mut().position(|caller| caller.try_wait().ok().flatten().is_some()))
    })?;
    assert_eq!(callers[refused].wait()?.code(), BUSY);
    let daemon = guard.run(&["run"])?;
    assert_eq!(daemon.code(), BUSY, "a daemon does not push in either: {daemon:?}");
    ensure!(daemon.stderr.contains("hostward status"), "what to do instead: {}", daemon.stderr);
    ensure!(callers[1 - refused].try_wait()?.is_none(), "the other ended before it was to be disturbed");
    assert_eq!(callers[1 - refused].wait()?.code(), Some(0), "it healed");
    app.wait_healthy(2, secs(60))?;
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    Ok(())
}

#[test]
fn it_outlives_the_bus_and_a_manager_that_executes_itself_anew() -> Result<()> {
    let sandbox = Sandbox::boot("bus")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    let life = guard.life()?;
    let bus = sandbox.property("dbus.service", "MainPID")?;
    sandbox.sh("systemctl kill --signal=KILL dbus.service")?;
    sandbox.wait_until("the bus to be another one", secs(20), || {
        // Whoever connects starts it by its socket.
        let answers = sandbox.exec(["busctl", "--timeout=2", "status"])?.status.success();
        Ok(answers && sandbox.property("dbus.service", "MainPID")? != bus)
    })?;
    sandbox.sh("systemctl daemon-reexec; systemctl daemon-reload")?;

    app.break_by_updating_code_without_install()?;
    // No signal may be missing: a crash is a fact at once, not at the next resync in a minute.
    sandbox.wait_until("a crash to be a fact", secs(15), || Ok(!guard.records("noted")?.is_empty()))?;
    app.wait_healthy(2, secs(60))?;
    guard.wait_up()?;
    assert_eq!(guard.records("opened")?.len(), 1);
    assert_eq!(guard.life()?, life, "it died of it");
    Ok(())
}

/// Whoever comes in the last seconds before a run is opened ends it before its first step, and the attempt stays counted.
/// This is about those who were there before.
fn seen(guard: &Guard) -> Result<()> {
    guard.run(&["check"])?.ok()?;
    Ok(())
}

#[test]
fn an_operator_at_work_is_not_disturbed() -> Result<()> {
    let sandbox = Sandbox::boot("operator")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    let work = "cp /bin/sleep /usr/local/bin/pip
        systemd-run --quiet --unit=operator --property=WorkingDirectory=/opt/example /usr/local/bin/pip 600";
    sandbox.sh(work)?;
    seen(&guard)?;
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    let held = guard.wait_held("baseline.app", "operator_active", secs(10))?;
    ensure!(held.contains("pip 600"), "it does not say who: {held}");
    guard.never_acts(secs(5))?;
    ensure!(!app.has_dependency()?, "installed below the operator's hands");
    sandbox.sh("systemctl stop operator")?;
    app.wait_healthy(2, secs(60))?;
    assert_eq!(guard.records("opened")?.len(), 1);
    Ok(())
}

#[test]
fn a_deploy_under_way_is_not_disturbed() -> Result<()> {
    let sandbox = Sandbox::boot("deploy")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    let has = |rest: &str| guard.has_metric(&format!("healtharchive_drift_auto_reconcile_{rest}"));
    ensure!(has("deploy_lock_present 0")?, "nobody deploys");
    sandbox.sh(&format!("systemd-run --quiet --unit=deploy flock {} sleep 600", Guard::DEPLOY_LOCK))?;
    seen(&guard)?;
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    let held = guard.wait_held("baseline.app", "deploy_in_progress", secs(10))?;
    ensure!(held.starts_with("held"), "{held}");
    guard.never_acts(secs(5))?;
    ensure!(has("deploy_lock_present 1")? && has("enabled 1")?, "{}", guard.metrics()?);
    ensure!(has(r#"last_result{reason="deploy_lock_held",result="skip"} 1"#)?, "{}", guard.metrics()?);

    sandbox.sh("systemctl stop deploy")?;
    // The file stays: its existence means nothing.
    sandbox.sh(&format!("test -e {}", Guard::DEPLOY_LOCK))?;
    app.wait_healthy(2, secs(60))?;
    guard.wait_up()?;
    assert_eq!(guard.records("opened")?.len(), 1);
    ensure!(has("deploy_lock_present 0")?, "{}", guard.metrics()?);
    Ok(())
}
