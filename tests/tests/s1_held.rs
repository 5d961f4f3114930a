//! S1 with a sentinel absent: the same detection, no act, and everybody is told why; then the sentinel comes, and it heals.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DISABLED: &str = "healtharchive_drift_auto_reconcile_enabled 0";
const ENABLED: &str = "healtharchive_drift_auto_reconcile_enabled 1";
const SKIPPED: &str = r#"healtharchive_drift_auto_reconcile_last_result{reason="disabled",result="skip"} 1"#;

#[test]
fn without_the_baselines_sentinel_with_a_restart_every_five_seconds() -> Result<()> {
    detects_and_does_not_act("s1-held-five", RestartSec::Five, Guard::DRIFT_SENTINEL, secs(10))
}

#[test]
fn without_the_baselines_sentinel_with_a_restart_every_hundred_milliseconds() -> Result<()> {
    detects_and_does_not_act("s1-held-fast", RestartSec::Default100ms, Guard::DRIFT_SENTINEL, secs(10))
}

#[test]
fn without_the_hosts_sentinel() -> Result<()> {
    detects_and_does_not_act("s1-held-host", RestartSec::Default100ms, Guard::GLOBAL_SENTINEL, secs(5))
}

fn detects_and_does_not_act(name: &str, restart: RestartSec, sentinel: &str, still: Duration) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let app = ExampleApp::install(&sandbox, restart)?;
    // With a tree that counts as quiet after a second, an act would follow the verdict at once.
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.forbid(sentinel)?;
    guard.start()?;
    let broke = Instant::now();
    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the first crash to be a fact", secs(5), || Ok(!guard.records("noted")?.is_empty()))?;
    guard.wait_reason("service.api", "crash_looping", secs(20).saturating_sub(broke.elapsed()))?;
    guard.wait_reason("baseline.app", "drift", secs(10))?;
    let said = guard.wait_held("baseline.app", "no_sentinel", secs(5))?;
    assert_eq!(said, format!("{sentinel} is absent"));
    guard.never_acts(still)?;
    ensure!(!app.has_dependency()?, "something installed the package");

    ensure!(guard.has_metric(DISABLED)? && guard.has_metric(SKIPPED)?, "{}", guard.metrics()?);
    sandbox.wait_until("the textfile to say so, too", secs(20), || {
        Ok(guard.has_in_textfile(DISABLED)? && guard.has_in_textfile(SKIPPED)?)
    })?;
    ensure!(guard.has_metric(r#"hostward_watch_hold{hold="no_sentinel",watch="baseline.app"} 1"#)?, "the dashboard");
    let explained = guard.run(&["explain", "baseline.app"])?;
    ensure!(explained.stdout.contains(sentinel), "explain does not name {sentinel}: {}", explained.stdout);
    assert_eq!(explained.code(), Some(1), "unhealthy and held");

    let watch: &[&str] = if sentinel == Guard::DRIFT_SENTINEL { &["baseline.app"] } else { &[] };
    guard.run(&[&["enable"], watch].concat())?.ok()?;
    app.wait_healthy(2, secs(60))?;
    guard.wait_up()?;
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    ensure!(guard.has_metric(ENABLED)?, "enabled by now");
    Ok(())
}
