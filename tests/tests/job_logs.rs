//! Logs as they grow in life: of gigabytes, and rotated while they are read.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Jobs, Sandbox, repository};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Memory of the daemon and of each of its children, a fortieth of the log: who reads the log whole is refused it.
const LIMITED: &str = "[Service]\nLimitDATA=256M\n";
const OWN: &str = "[Service]\nExecStart=\nExecStart=/opt/work/rotating /srv/work/big\n";
const ROTATIONS: u64 = 600;
/// Its counter was seen to move across many of them.
const FOLLOWED: u64 = 50_000;

#[test]
fn a_log_of_ten_gigabytes_is_read_at_its_end_while_it_is_rotated() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-logs")?;
    let jobs = Jobs::install(&sandbox)?;
    let program = std::fs::read(repository().join("tests/fixtures/jobs/rotating.py")).context("read the fixture")?;
    sandbox.write("/opt/work/rotating", "0755", program)?;
    sandbox.write("/etc/systemd/system/crawl@big.service.d/rotates.conf", "0644", OWN)?;
    sandbox.write("/etc/systemd/system/hostward.service.d/limited.conf", "0644", LIMITED)?;
    jobs.add("big", "running")?;
    sandbox.sh("systemctl daemon-reload; systemctl start crawl@big")?;
    let guard = Guard::started(&sandbox, &Jobs::config())?;
    let count = || Ok::<_, anyhow::Error>(guard.job_target("job/big")?["job"]["count"].as_u64().unwrap_or(0));
    let noted = |name: &str| -> Result<u64> { Ok(sandbox.read(&format!("/srv/work/big/{name}"))?.trim().parse()?) };
    ensure!(sandbox.sh("stat -c %s /srv/work/big/logs/crawl.log")?.trim().parse::<u64>()? > 10 << 30);
    sandbox.wait_until("its last line to be read", secs(30), || Ok(count()? == 41))?;
    guard.wait_job("job/big", "up")?;

    sandbox.write("/srv/work/big/go", "0644", "")?;
    let mut last = 41;
    sandbox.wait_until("it to be rotated again and again", secs(120), || {
        let (state, now) = (guard.job_state("job/big")?, count()?);
        ensure!(state == "up", "it counts, and is {state}");
        ensure!(now >= last && now <= noted("written")?, "{last}, then {now} of {}", noted("written")?);
        last = now;
        Ok(noted("rotated")? >= ROTATIONS && last > FOLLOWED)
    })?;

    // It is rotated on and on, and gets nowhere.
    sandbox.write("/srv/work/big/stall", "0644", "")?;
    guard.wait_job("job/big", "stalled")?;
    ensure!(guard.life()?.1 == "0", "neither the daemon nor a child needed more");
    ensure!(guard.resident_kib()? < 64 << 10, "{} KiB", guard.resident_kib()?);
    Ok(())
}
