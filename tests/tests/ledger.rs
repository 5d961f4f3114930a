//! What is remembered: a ledger that was damaged, a daemon that dies again and again, a history without either.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_damaged_ledger_is_set_aside_and_holds_until_somebody_looked() -> Result<()> {
    let sandbox = Sandbox::boot("damaged")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    sandbox.sh("systemctl stop hostward")?;
    // One byte of the second of its frames.
    let flip = "at=$(head -n 1 /var/lib/hostward/ledger | wc -c)
        printf '\\377' | dd of=/var/lib/hostward/ledger bs=1 seek=$((at + 20)) conv=notrunc status=none";
    sandbox.sh(flip)?;
    let dead = guard.run(&["history"])?;
    assert_eq!(dead.code(), Some(0), "{dead:?}");
    ensure!(dead.stderr.contains("damaged"), "history of a damaged ledger: {}", dead.stderr);

    guard.start()?;
    sandbox.sh("ls /var/lib/hostward/ledger.damaged-*")?;
    assert_eq!(guard.records("damaged")?.len(), 1);
    ensure!(guard.has_metric("hostward_ledger_damaged 1")?, "{}", guard.metrics()?);
    ensure!(guard.run(&["status"])?.stdout.contains("hostward clear"), "status says what to do");
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    guard.wait_held("baseline.app", "ledger_damaged", secs(5))?;
    guard.never_acts(secs(5))?;

    guard.run(&["clear"])?.ok()?;
    ensure!(guard.has_metric("hostward_ledger_damaged 0")?, "{}", guard.metrics()?);
    app.wait_healthy(2, secs(60))?;
    Ok(())
}

#[test]
fn the_third_death_within_ten_minutes_is_safe_mode() -> Result<()> {
    let sandbox = Sandbox::boot("safe-mode")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    for death in 1..=3 {
        ensure!(guard.has_metric("hostward_safe_mode 0")?, "safe mode before death {death}");
        guard.kill_and_wait()?;
    }
    ensure!(guard.has_metric("hostward_safe_mode 1")?, "{}", guard.metrics()?);
    ensure!(guard.run(&["status"])?.stdout.contains("safe mode"), "status says so");
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    guard.wait_held("baseline.app", "safe_mode", secs(5))?;
    guard.never_acts(secs(5))?;

    // With the daemon dead, what it knew is still told.
    sandbox.sh("systemctl stop hostward")?;
    let history = guard.run(&["history", "baseline.app"])?;
    assert_eq!(history.code(), Some(0), "{history:?}");
    ensure!(history.stdout.contains("down, drift") && history.stdout.contains("held: "), "{}", history.stdout);
    let status = guard.run(&["status"])?;
    ensure!(status.stdout.contains("not running"), "{}", status.stdout);
    assert_eq!(status.code(), Some(1), "still down");
    // A good end is no death, and an operator's restart is a new beginning only once the deaths are old.
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("the daemon to answer", secs(10), || guard.has_metric("hostward_safe_mode 1"))?;
    Ok(())
}
