//! Locks of other users in a folder that everybody writes to, as the kernel guards them on Debian.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Jobs, Sandbox, Sysctl};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of another user's, in /tmp: one is held, one is free, one is a FIFO in place of a lock; and one is not there.
const LOCKS: &str = "useradd --system other; touch /tmp/{held,free}.lock; mkfifo -m 0666 /tmp/fifo.lock
    chmod 0666 /tmp/{held,free}.lock; chown other: /tmp/{held,free,fifo}.lock
    systemd-run -q --unit=holder --uid=other flock /tmp/held.lock sleep infinity";

/// S9: with fs.protected_regular not even root opens such a lock with O_CREAT. Nobody asks for that.
#[test]
fn a_lock_in_a_sticky_folder_is_probed_and_never_created() -> Result<()> {
    let guarded = [Sysctl::set("fs.protected_regular", "2")?, Sysctl::set("fs.protected_fifos", "2")?];
    let sandbox = Sandbox::boot("jobs-sticky")?;
    let jobs = Jobs::install(&sandbox)?;
    sandbox.sh(LOCKS)?;
    let refused = sandbox.exec(["flock", "--nonblock", "/tmp/free.lock", "true"])?;
    ensure!(refused.status.success() == guarded[0].is_none(), "the kernel guards it when it can: {refused:?}");
    ensure!(refused.status.success() || refused.stderr.contains("Permission denied"), "{refused:?}");

    let all = ["held", "free", "fifo", "absent"];
    for id in all {
        jobs.add(id, "running")?;
        sandbox.write(&format!("/srv/work/{id}/unsaid"), "0644", "")?;
    }
    let config = Jobs::config()
        .replace("worker        = \"work.service\"\n", "mode = \"observe\"\n")
        .replace("unit = \"crawl@{id}.service\"", "lock = \"/tmp/{id}.lock\"");
    let before = sandbox.sh("ls -l /tmp/*.lock")?;
    let guard = Guard::started(&sandbox, &config)?;
    guard.wait_job("job/free", "orphaned")?;
    guard.wait_job("job/absent", "orphaned")?;
    // No counter: they are judged by who runs them, and then by their standing still.
    for id in ["held", "fifo"] {
        guard.wait_job(&format!("job/{id}"), "stalled")?;
    }
    sandbox.sh("systemctl kill --signal=KILL holder")?;
    guard.wait_job("job/held", "orphaned")?;
    sandbox
        .never("a lock that may not be probed was free", secs(3), || Ok(guard.job_state("job/fifo")? != "stalled"))?;
    ensure!(
        sandbox.sh("ls -l /tmp/*.lock")? == before,
        "before:\n{before}\nafter:\n{}",
        sandbox.sh("ls -l /tmp/*.lock")?
    );
    ensure!(guard.life()?.1 == "0", "the daemon lives on");
    Ok(())
}
