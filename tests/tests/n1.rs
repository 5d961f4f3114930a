//! N1, nothing is wrong: an owner who restarts their service all day, and a storm of log lines, are nobody's business.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const STORM: &str = "systemd-run --quiet --unit=storm --property=User=deploy \
                     sh -c 'while :; do echo a line of the storm; logger another; done'";
const RESTARTS: u32 = 30;
const GROWTH_MAX_KIB: u64 = 2048;

#[test]
fn thirty_restarts_by_hand_and_a_storm_of_log_lines_are_no_incident() -> Result<()> {
    let sandbox = Sandbox::boot("n1")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    let life = guard.life()?;
    sandbox.sh(STORM)?;
    // What every path allocates once is allocated before the count begins.
    restart(&sandbox, &app, 5)?;
    let before = resident_kib(&sandbox, &life.0)?;
    restart(&sandbox, &app, RESTARTS)?;
    let after = resident_kib(&sandbox, &life.0)?;
    guard.wait_up()?;

    assert_eq!(sandbox.property("storm.service", "ActiveState")?, "active", "the storm blew to the end");
    ensure!(guard.records("opened")?.is_empty(), "a remedy for nothing");
    let turned = guard.records("turned")?;
    let downs: Vec<_> = turned.iter().filter(|record| record["body"]["turned"]["to"] != "up").collect();
    ensure!(downs.is_empty(), "a verdict for nothing: {downs:#?}");
    assert_eq!(guard.status()?["view"]["incidents_total"], 0);
    assert_eq!(guard.life()?, life);
    ensure!(after < before + GROWTH_MAX_KIB, "it grew from {before} KiB to {after} KiB");
    Ok(())
}

fn restart(sandbox: &Sandbox, app: &ExampleApp, times: u32) -> Result<()> {
    for _ in 0..times {
        sandbox.sh(&format!("systemctl restart {}", ExampleApp::UNIT))?;
        app.wait_healthy(1, Duration::from_secs(20))?;
    }
    Ok(())
}

fn resident_kib(sandbox: &Sandbox, pid: &str) -> Result<u64> {
    let status = sandbox.read(&format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the daemon has no VmRSS")?;
    resident.trim().trim_end_matches(" kB").parse().with_context(|| format!("read '{resident}'"))
}
