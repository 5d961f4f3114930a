//! What was there before us: an old actor that still acts, files that still report, units that cannot fail.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const OLD_TIMER: &str = "[Timer]\nOnCalendar=2100-01-01\n[Install]\nWantedBy=timers.target\n";
const RIVAL: &str = "/var/lib/prometheus/node-exporter/old.prom";

/// The example with an old actor that it replaces.
fn install(sandbox: &Sandbox) -> Result<Guard<'_>> {
    let replaces = "tree = \"/opt/example\"\nreplaces = [\"old-reconcile.timer\"]\n";
    let config = Guard::quick_config(Reconcile::Pip).replace("tree = \"/opt/example\"\n", replaces);
    sandbox.write("/etc/systemd/system/old-reconcile.timer", "0644", OLD_TIMER)?;
    let nothing = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
    sandbox.write("/etc/systemd/system/old-reconcile.service", "0644", nothing)?;
    let guard = Guard::install_with(sandbox, &config)?;
    sandbox.sh("systemctl enable --now --quiet old-reconcile.timer")?;
    Ok(guard)
}

#[test]
fn beside_an_old_actor_nothing_is_done() -> Result<()> {
    let sandbox = Sandbox::boot("old-actor")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = install(&sandbox)?;
    guard.start()?;
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    let held = guard.wait_held("baseline.app", "old_actor", secs(10))?;
    ensure!(held.contains("old-reconcile.timer"), "{held}");
    guard.never_acts(secs(3))?;
    // Stopped, it would be back after the next boot.
    sandbox.sh("systemctl stop old-reconcile.timer")?;
    guard.never_acts(secs(6))?;
    // Off; but something still writes its metrics.
    sandbox.write(RIVAL, "0644", "healtharchive_drift_auto_reconcile_enabled 0\n")?;
    sandbox.sh("systemctl disable --quiet old-reconcile.timer")?;
    sandbox.wait_until("the rival textfile to be the reason", secs(15), || {
        Ok(guard.held("baseline.app", "old_actor")?.is_some_and(|held| held.contains(RIVAL)))
    })?;
    guard.never_acts(secs(3))?;
    sandbox.sh(&format!("rm {RIVAL}"))?;
    app.wait_healthy(2, secs(60))?;
    assert_eq!(guard.records("opened")?.len(), 1);
    Ok(())
}

#[test]
fn doctor_says_what_would_keep_it_from_working() -> Result<()> {
    let sandbox = Sandbox::boot("doctor")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = install(&sandbox)?;
    sandbox.write(RIVAL, "0644", "healtharchive_drift_auto_reconcile_enabled 0\n")?;
    sandbox.write(
        "/etc/systemd/system/always.service",
        "0644",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    )?;
    sandbox.sh("systemctl daemon-reload")?;
    let more = "\n[service.always]\nunit = \"always.service\"\n[service.missing]\nunit = \"missing.service\"\n";
    guard.configure(&(sandbox.read("/etc/hostward/hostward.toml")? + more))?;

    let doctor = guard.run(&["doctor"])?;
    assert_eq!(doctor.code(), Some(1), "{doctor:?}");
    let found = guard.json(&["doctor"])?;
    let findings = found.as_array().cloned().unwrap_or_default();
    let problems =
        ["old-reconcile.timer is still enabled", RIVAL, "always.service runs /bin/true", "missing.service"];
    for problem in problems {
        let of = |finding: &&serde_json::Value| finding["says"].as_str().is_some_and(|says| says.contains(problem));
        let finding = findings.iter().find(of).unwrap_or(&serde_json::Value::Null);
        assert_eq!(finding["grade"], "problem", "{problem}: {found:#}");
        ensure!(finding["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "nothing to do about {finding:#}");
        ensure!(doctor.stdout.contains(problem), "not said to people: {}", doctor.stdout);
    }

    sandbox.sh(&format!("rm {RIVAL}; systemctl disable --now --quiet old-reconcile.timer"))?;
    guard.configure(&Guard::quick_config(Reconcile::Pip))?;
    let well = guard.run(&["doctor"])?;
    assert_eq!(well.code(), Some(0), "{well:?}");
    Ok(())
}
