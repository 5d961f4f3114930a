//! N1, nothing is wrong: a healthy host that is starved of processor time, a storm of log lines, and an owner who restarts
//! their service all day, are nobody's business.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostward_tests::{BootOptions, Cgroup, ExampleApp, Guard, Reconcile, RestartSec, Sandbox, Starved, Tiny, span};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of its own quota, so that the other tests on this machine go on.
const LOG_STORM: &str =
    "[Service]\nCPUQuota=30%\nExecStart=/bin/sh -c 'while :; do echo a line; logger another; done'\n";
const QUICK: &str = "confirm = { runs = 2, age = \"1s\" }\nstart_grace = \"1s\"\n";
/// Milliseconds, of 50 a second of which the storm takes most: the answer is late also by a time-out that starvation
/// stretches four times.
const TOO_MUCH: u32 = 100;
const RESTARTS: u32 = 200;
/// What every path allocates once is allocated before the count begins.
const WARM: u32 = 10;
const GROWTH_MAX_KIB: u64 = 2048;

#[test]
fn two_hundred_restarts_by_hand_on_a_starved_host_are_no_incident() -> Result<()> {
    let sandbox = Sandbox::boot_with("n1", &BootOptions { cgroup: Cgroup::Hybrid, ..BootOptions::default() })?;
    Starved::install(&sandbox)?;
    sandbox.write("/etc/systemd/system/log-storm.service", "0644", LOG_STORM)?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let calm = Tiny::install(&sandbox, "calm", 8101, "", Starved::SETTING)?;
    let guard = Guard::install_with(&sandbox, &(Guard::quick_config(Reconcile::Pip) + &calm.config(QUICK)))?;
    Starved::put(&sandbox, "hostward")?;
    guard.start()?;
    sandbox.wait_until("calm to be up", secs(30), || Ok(guard.up("service.calm")? == Some(true)))?;
    let life = guard.life()?;
    sandbox.sh("systemctl start log-storm storm")?;
    sandbox.wait_until("the starvation to be measured", secs(60), || starved(&guard))?;
    calm.answers_cost(TOO_MUCH)?;
    sandbox.wait_until("calm not to answer in time", secs(60), || Ok(!calm.answers_within(4)?))?;

    let owner = Owner { app: &app, calm: &calm, guard: &guard, every: span(secs(120), secs(600)) / RESTARTS };
    owner.restarts(WARM)?;
    let before = guard.resident_kib()?;
    owner.restarts(RESTARTS - WARM)?;
    let after = guard.resident_kib()?;
    ensure!(starved(&guard)?, "it was starved to the end");
    for storm in ["log-storm", "storm"] {
        assert_eq!(sandbox.property(storm, "ActiveState")?, "active", "{storm} blew to the end");
    }
    // Without the storm nothing excuses it any more.
    calm.answers_cost(0)?;
    sandbox.sh("systemctl stop log-storm storm")?;
    guard.wait_up()?;

    ensure!(guard.records("opened")?.is_empty(), "a remedy for nothing");
    let turned = guard.records("turned")?;
    let downs: Vec<_> = turned.iter().filter(|record| record["body"]["turned"]["to"] != "up").collect();
    ensure!(downs.is_empty(), "a verdict for nothing: {downs:#?}");
    assert_eq!(guard.status()?["view"]["incidents_total"], 0);
    assert_eq!(guard.life()?, life);
    ensure!(after < before + GROWTH_MAX_KIB, "it grew from {before} KiB to {after} KiB");
    eprintln!("{RESTARTS} restarts, {before} KiB before, {after} KiB after");
    Ok(())
}

fn starved(guard: &Guard<'_>) -> Result<bool> {
    Ok(!guard.status()?["view"]["starved"].is_null())
}

struct Owner<'a> {
    app: &'a ExampleApp<'a>,
    calm: &'a Tiny<'a>,
    guard: &'a Guard<'a>,
    every: Duration,
}

impl Owner<'_> {
    /// Each time the service is well again before the next. The calm one answers in time now and then: what does not for
    /// five minutes, while our own listener does, is not well.
    fn restarts(&self, times: u32) -> Result<()> {
        for n in 0..times {
            let began = Instant::now();
            match n % 20 {
                17 => self.calm.answers_cost(0)?,
                19 => self.calm.answers_cost(TOO_MUCH)?,
                _ => {}
            }
            self.guard.sandbox().sh(&format!("systemctl restart {}", ExampleApp::UNIT))?;
            self.app.wait_healthy(1, secs(20))?;
            self.guard.never_acts(self.every.saturating_sub(began.elapsed()))?;
        }
        Ok(())
    }
}
