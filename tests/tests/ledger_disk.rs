//! The ledger's disk: full in the middle, and one that stops answering.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A file system of its own for the state.
fn with_disk(sandbox: &Sandbox) -> Result<()> {
    let mount = "mkdir -p /var/lib/hostward; truncate -s 8M /var/disk; mkfs.ext4 -q /var/disk
        mount -o loop /var/disk /var/lib/hostward";
    sandbox.sh(mount)?;
    Ok(())
}

/// The numbers of all records; they must follow each other.
fn numbers(guard: &Guard) -> Result<Vec<u64>> {
    let history = guard.json(&["history"])?;
    let records = history.as_array().cloned().unwrap_or_default();
    let seqs: Vec<u64> = records.iter().filter_map(|record| record["seq"].as_u64()).collect();
    ensure!(seqs == (1..=seqs.len() as u64).collect::<Vec<u64>>(), "records are missing or twice: {seqs:?}");
    Ok(seqs)
}

#[test]
fn a_disk_that_fills_holds_before_a_record_is_lost_and_its_end_is_noticed() -> Result<()> {
    let sandbox = Sandbox::boot("full-disk")?;
    with_disk(&sandbox)?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    sandbox.sh("dd if=/dev/zero of=/var/lib/hostward/filler bs=4k status=none 2>/dev/null || true")?;
    ensure!(guard.has_metric("hostward_ledger_writable 1")?, "what is reserved still takes records");

    // An operator with much to say, until little is left of what was reserved.
    let say = "hostward pause service.api --for 1s --reason \"$(head -c 60000 /dev/zero | tr '\\0' x)\"";
    let mut said = 0;
    sandbox.wait_until("the disk to be said full", secs(60), || {
        sandbox.sh(say)?;
        said += 1;
        guard.has_metric("hostward_ledger_writable 0")
    })?;
    ensure!((5..20).contains(&said), "{said} records of 60 kB went into a reserve of 1 MiB");
    let durable = numbers(&guard)?.len();
    ensure!(guard.records("paused")?.len() == said, "nothing was lost before it was said");
    ensure!(guard.run(&["status"])?.stdout.contains("No space left"), "status says why");
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    guard.wait_held("baseline.app", "ledger_unwritable", secs(5))?;
    guard.never_acts(secs(4))?;

    sandbox.sh("rm /var/lib/hostward/filler")?;
    sandbox.wait_until("the disk to be said good", secs(10), || guard.has_metric("hostward_ledger_writable 1"))?;
    app.wait_healthy(2, secs(60))?;
    guard.kill_and_wait()?;
    ensure!(numbers(&guard)?.len() > durable, "and it went on from there");
    ensure!(guard.has_metric("hostward_ledger_damaged 0")?, "{}", guard.metrics()?);
    assert_eq!(guard.records("damaged")?.len(), 0);
    Ok(())
}

#[test]
fn a_disk_that_does_not_answer_holds_and_blocks_nobody() -> Result<()> {
    let sandbox = Sandbox::boot("stalled-disk")?;
    with_disk(&sandbox)?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &Guard::quick_config(Reconcile::Pip))?;
    guard.start()?;
    // Should this test fail, nothing may stay frozen.
    sandbox.sh("systemd-run --quiet --on-active=90 --timer-property=AccuracySec=1 fsfreeze -u /var/lib/hostward")?;
    sandbox.sh("fsfreeze -f /var/lib/hostward")?;
    // A fact, which waits for the disk; systemd starts the unit again.
    sandbox.sh("systemctl kill --signal=KILL example-api")?;
    sandbox.wait_until("the disk to be said bad", secs(20), || guard.has_metric("hostward_ledger_writable 0"))?;
    let status = guard.run(&["status"])?.stdout;
    ensure!(status.contains("s for the disk"), "{status}");
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(20))?;
    guard.wait_held("baseline.app", "ledger_unwritable", secs(5))?;
    guard.never_acts(secs(2))?;

    sandbox.sh("fsfreeze -u /var/lib/hostward")?;
    sandbox.wait_until("the disk to be said good", secs(10), || guard.has_metric("hostward_ledger_writable 1"))?;
    app.wait_healthy(2, secs(60))?;
    numbers(&guard)?;
    Ok(())
}
