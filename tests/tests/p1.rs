//! P1, the busy host: time-outs under a CPU storm are nobody's fault. Nothing healthy is restarted, and what is really
//! broken on the same host is repaired.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{BootOptions, Cgroup, ExampleApp, Guard, Reconcile, RestartSec, Sandbox, Tiny};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Everything in it shares 50 ms of processor time a second with four that never rest: who wakes waits for the next second.
const SLICE: &str = "[Slice]\nCPUQuota=5%\nCPUQuotaPeriodSec=1s\n";
const STORM: &str = "[Service]\nSlice=starved.slice\nExecStart=/bin/sh -c 'for n in 1 2 3 4; do (while :; do :; done) & done; wait'\n";
const STARVED: &str = "[Service]\nSlice=starved.slice\n";
const QUICK: &str = "confirm = { runs = 2, age = \"1s\" }\nstart_grace = \"1s\"\n";

fn watches_of(guard: &Guard<'_>) -> Result<Vec<String>> {
    let opened = guard.records("opened")?;
    Ok(opened.iter().filter_map(|r| r["body"]["opened"]["plan"]["watch"].as_str().map(str::to_owned)).collect())
}

#[test]
fn a_starved_host_is_left_alone_and_what_is_broken_on_it_repaired() -> Result<()> {
    let sandbox = Sandbox::boot_with("p1", &BootOptions { cgroup: Cgroup::Hybrid, ..BootOptions::default() })?;
    sandbox.write("/etc/systemd/system/starved.slice", "0644", SLICE)?;
    sandbox.write("/etc/systemd/system/storm.service", "0644", STORM)?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let calm = Tiny::install(&sandbox, "calm", 8101, "", "Slice=starved.slice\n")?;
    let stuck = Tiny::install(&sandbox, "stuck", 8102, "", "")?;
    let config = Guard::quick_config(Reconcile::Pip);
    let guard = Guard::install_with(&sandbox, &format!("{config}{}{}", calm.config(QUICK), stuck.config(QUICK)))?;
    sandbox.write("/etc/systemd/system/hostward.service.d/starved.conf", "0644", STARVED)?;
    sandbox.sh("systemctl daemon-reload")?;
    guard.start()?;
    sandbox.wait_until("all to be up", secs(30), || {
        Ok(guard.up("service.calm")? == Some(true) && guard.up("service.stuck")? == Some(true))
    })?;
    calm.answers_cost(40)?;
    let pid = calm.pid()?;

    sandbox.sh("systemctl start storm")?;
    sandbox.wait_until("the starvation to be measured", secs(60), || {
        Ok(!guard.status()?["view"]["starved"].is_null())
    })?;
    stuck.signal("STOP")?;
    app.break_by_updating_code_without_install()?;
    let mut silent = 0;
    sandbox.never("a remedy for what is well", secs(120), || {
        silent += u32::from(!calm.answers()?);
        Ok(watches_of(&guard)?.iter().any(|watch| watch == "service.calm"))
    })?;
    ensure!(silent > 0, "the storm was none: it answered each time");
    ensure!(!guard.status()?["view"]["starved"].is_null(), "it was starved to the end");

    sandbox.sh("systemctl stop storm")?;
    app.wait_healthy(2, secs(240))?;
    stuck.wait_answers(secs(120))?;
    sandbox.wait_until("all to be up again", secs(120), || {
        let up = |watch: &str| Ok::<_, anyhow::Error>(guard.up(watch)? == Some(true));
        Ok(up("service.calm")? && up("service.stuck")? && up("service.api")? && up("baseline.app")?)
    })?;
    assert_eq!(calm.pid()?, pid, "it was never restarted");
    let mut acted = watches_of(&guard)?;
    acted.sort();
    assert_eq!(acted, ["baseline.app", "service.stuck"]);
    Ok(())
}
