//! D9, for ever again: a reconcile that fails for good ends at its brakes, and never pulls, never migrates.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const BRAKES: &str = "brakes = { cooldown = \"2s\", plateau = \"20s\", per_hour = 3, per_day = 64, soak = \"3s\" }\n";
const NOT_CLEARED: &str =
    r#"hostward_watch_attempts_total{remedy="reconcile",result="not_cleared",watch="baseline.app"} 3"#;
const FAILED: &str =
    r#"healtharchive_drift_auto_reconcile_last_result{reason="reconcile_script_failed",result="fail"} 1"#;

/// Puts a witness in the place of each program that must not run.
const WITNESSES: &str = r#"
for program in /usr/bin/git /usr/bin/alembic /usr/local/bin/git /usr/local/bin/alembic /opt/example/.venv/bin/alembic; do
    printf '#!/bin/sh\necho "$0 $*" >>/var/log/witness\nexit 1\n' >"$program.new"
    chmod 0755 "$program.new"
    mv "$program.new" "$program"
done
touch /var/log/witness; chmod 0666 /var/log/witness
"#;

#[test]
fn a_reconcile_that_fails_for_good_ends_at_its_brakes() -> Result<()> {
    let sandbox = Sandbox::boot("d9")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    app.remove_wheel()?;
    let config = Guard::quick_config(Reconcile::Pip).replace("brakes.soak = \"3s\"\n", BRAKES);
    let guard = Guard::install_with(&sandbox, &config)?;
    guard.start()?;
    app.break_by_updating_code_without_install()?;
    let refs = "head -c 100 /opt/example/.git/refs/heads/main /opt/example/.git/refs/tags/*";
    let before = sandbox.sh(refs)?;
    sandbox.sh(WITNESSES)?;

    let mut cooled = false;
    sandbox.wait_until("three attempts that did not clear", secs(60), || {
        cooled |= guard.held("baseline.app", "cooldown")?.is_some();
        guard.has_metric(NOT_CLEARED)
    })?;
    ensure!(cooled, "no cooldown between the attempts");
    for closed in guard.records("closed")? {
        let why = closed["body"]["closed"]["result"]["unproved"]["why"].to_string();
        ensure!(why.contains("exited 1") && why.contains("ratelimiting"), "closed for another reason: {closed:#}");
    }
    let capped = guard.wait_held("baseline.app", "target_cap", secs(5))?;
    assert_eq!(capped, "3 attempts within an hour");
    assert_eq!(guard.run(&["trigger", "baseline.app"])?.code(), Some(3), "a remedy failed");
    ensure!(guard.has_metric(FAILED)?, "{}", guard.metrics()?);

    // Past the cooldown only the cap holds it.
    sandbox.wait_until("the cooldown to pass", secs(15), || Ok(guard.held("baseline.app", "cooldown")?.is_none()))?;
    sandbox.never("a fourth attempt", secs(5), || Ok(guard.records("opened")?.len() > 3))?;
    guard.wait_held("baseline.app", "target_cap", secs(5))?;
    ensure!(guard.has_metric(NOT_CLEARED)?, "{}", guard.metrics()?);
    assert_eq!(sandbox.sh(refs)?, before, "a newer revision");
    assert_eq!(sandbox.read("/var/log/witness")?, "", "git or alembic ran");
    Ok(())
}
