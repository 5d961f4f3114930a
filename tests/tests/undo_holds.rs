//! A hold that comes between two steps, while the worker stands still by our doing: no further forward step is taken, and
//! what was stopped runs again, whatever holds.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Sandbox, Worker, worker_config};
use serde_json::json;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "baseline.crunch";

struct Host<'a> {
    sandbox: &'a Sandbox,
    guard: Guard<'a>,
    worker: Worker<'a>,
}

impl<'a> Host<'a> {
    fn install(sandbox: &'a Sandbox) -> Result<Self> {
        let worker = Worker::install(sandbox, "crunch")?;
        let guard = Guard::install_with(sandbox, &worker_config(&["crunch"]))?;
        Ok(Self { sandbox, guard, worker })
    }

    /// A plan waits within its first command; everything of it is stopped.
    fn amid(&self) -> Result<()> {
        self.worker.hold_in_the_middle()?;
        self.worker.break_environment()?;
        self.sandbox.sh("systemctl start hostward")?;
        self.worker.wait_amid()
    }

    /// No forward step was taken after the first command; the attempt counts, once. Returns why.
    fn ended_there(&self) -> Result<String> {
        let closed = self.guard.wait_closed(secs(60))?;
        let first = closed["held"]["holds"][0].as_str().unwrap_or_default().to_owned();
        ensure!(closed["held"]["step"] == 2, "it did not end before the step behind the first command: {closed:#}");
        assert_eq!(self.worker.rebuilt()?, ["first"], "no forward step after it");
        ensure!(!self.worker.whole()?, "the second command ran");
        self.counted_once()?;
        self.guard.wait_no_transient()?;
        Ok(first)
    }

    /// Writes records that hold nothing when it returns.
    fn write_until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        self.sandbox.wait_until(what, secs(60), || {
            let reason = "the disk fills up, and this is a long reason to say so";
            self.guard.run(&["pause", WATCH, "--for", "2h", "--reason", reason])?;
            self.guard.run(&["resume", WATCH])?;
            done()
        })?;
        Ok(())
    }

    fn counted_once(&self) -> Result<()> {
        assert_eq!(self.guard.in_ledger("opened")?.len(), 1, "one attempt");
        let status = self.guard.status()?;
        let attempts = &hostward_tests::find(&status, WATCH)["targets"][0]["attempts"];
        assert_eq!(*attempts, json!({ "reconcile": { "not_cleared": 1 } }));
        assert_eq!(status["view"]["budget_remaining"], 251, "charged once");
        Ok(())
    }
}

/// The whole story of a hold that is raised by `raise` and says `expected`.
fn ends_with(name: &str, expected: &str, raise: impl FnOnce(&Host) -> Result<()>) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let host = Host::install(&sandbox)?;
    host.amid()?;
    raise(&host)?;
    host.worker.go_on()?;
    host.worker.wait_all_active(secs(30))?;
    let why = host.ended_there()?;
    ensure!(why.starts_with(expected), "it ended for another reason: {why}");
    Ok(())
}

#[test]
fn its_sentinel_goes() -> Result<()> {
    ends_with("hold-sentinel", "no_sentinel", |host| host.guard.forbid("/etc/crunch-enabled"))
}

#[test]
fn it_is_paused() -> Result<()> {
    ends_with("hold-pause", "maintenance", |host| {
        host.guard.run(&["pause", WATCH, "--for", "2h", "--reason", "moving the database"])?.ok()?;
        Ok(())
    })
}

#[test]
fn a_deploy_begins() -> Result<()> {
    ends_with("hold-deploy", "deploy_in_progress", |host| {
        host.sandbox.sh("systemd-run --quiet --unit=deploy flock /run/crunch.lock sleep 600")?;
        host.sandbox.wait_until("the deploy to hold its lock", secs(10), || {
            Ok(!host.sandbox.exec(["flock", "--nonblock", "/run/crunch.lock", "true"])?.status.success())
        })?;
        Ok(())
    })
}

#[test]
fn its_mode_becomes_observe() -> Result<()> {
    ends_with("hold-mode", "observe_only", |host| {
        let observe = worker_config(&["crunch"]).replace("mode     = \"act\"", "mode     = \"observe\"");
        host.guard.configure(&observe)?;
        host.guard.run(&["reload"])?.ok()?;
        Ok(())
    })
}

#[test]
fn its_watch_is_taken_out_of_the_configuration() -> Result<()> {
    let sandbox = Sandbox::boot("hold-gone")?;
    let host = Host::install(&sandbox)?;
    host.amid()?;
    host.guard.configure("[host]\nmode = \"act\"\n[service.other]\nunit = \"dbus.service\"\n")?;
    host.guard.run(&["reload"])?.ok()?;
    host.worker.go_on()?;
    host.worker.wait_all_active(secs(30))?;
    let closed = host.guard.wait_closed(secs(30))?;
    ensure!(!closed["held"].is_null(), "{closed:#}");
    assert_eq!(host.worker.rebuilt()?, ["first"], "no forward step after it");
    host.guard.wait_no_transient()
}

#[test]
fn the_worker_is_started_by_somebody() -> Result<()> {
    ends_with("hold-started", "basis_moved: crunch.service was started meanwhile", |host| {
        host.sandbox.sh("systemctl start crunch.service")?;
        Ok(())
    })
}

/// Masked, it is the operator's. What needs it cannot run either, is owed until it can, and is started then.
#[test]
fn the_worker_is_masked_by_somebody() -> Result<()> {
    let sandbox = Sandbox::boot("hold-masked")?;
    let host = Host::install(&sandbox)?;
    host.amid()?;
    // `systemctl mask` refuses a unit whose file is in /etc.
    sandbox.sh("mkdir -p /run/systemd/system.control; ln -s /dev/null /run/systemd/system.control/crunch.service
         systemctl daemon-reload")?;
    assert_eq!(sandbox.property("crunch.service", "LoadState")?, "masked");
    host.worker.go_on()?;
    sandbox.wait_until("what does not need the worker to run", secs(60), || {
        Ok(host.worker.active()? == ["crunch-part.service"])
    })?;
    sandbox.never("the worker was started", secs(3), || {
        Ok(sandbox.property("crunch.service", "ActiveState")? != "inactive")
    })?;
    let metric = format!("hostward_watch_stuck{{watch=\"{WATCH}\"}} 1");
    sandbox.wait_until("the debt to be said to be stuck", secs(90), || host.guard.has_metric(&metric))?;
    sandbox.sh(
        "rm /run/systemd/system.control/crunch.service; systemctl daemon-reload; systemctl start crunch.service",
    )?;
    host.worker.wait_all_active(secs(120))?;
    host.guard.wait_closed(secs(60))?;
    host.guard.wait_no_transient()?;
    assert_eq!(host.guard.in_ledger("opened")?.len(), 1, "one attempt");
    Ok(())
}

/// The disk is full while the worker stands still: no further step, for its intent could not be kept. What is under way
/// is still written down, for room is kept for that.
#[test]
fn the_ledgers_disk_is_full() -> Result<()> {
    with_a_full_disk(
        "hold-disk",
        |_| Ok(()),
        |host| {
            assert_eq!(host.guard.in_ledger("returned")?.len(), 1, "no room was kept for the outcome");
            Ok(())
        },
    )
}

/// The same when even that room is gone: the give-back needs no disk. What was done is written down when there is room
/// again, and counted once.
#[test]
fn the_ledger_takes_no_record_at_all() -> Result<()> {
    let exhaust = |host: &Host| {
        // The blocks that are reserved behind its end, and whatever the last page still takes.
        let ledger = "/var/lib/hostward/ledger";
        host.sandbox.sh(&format!(
            "fallocate --punch-hole --offset $(( ($(stat -c %s {ledger}) + 4095) / 4096 * 4096 )) --length 2M {ledger}
             {FILL}"
        ))?;
        host.write_until("a record that stays unwritten", || {
            let written = host.guard.ledger()?.last().and_then(|record| record["seq"].as_u64());
            Ok(host.guard.status()?["view"]["ledger_seq"].as_u64() > written.map(|seq| seq + 1))
        })?;
        Ok(())
    };
    with_a_full_disk("hold-no-disk", exhaust, |host| {
        ensure!(host.guard.in_ledger("returned")?.is_empty(), "the disk was not full after all");
        Ok(())
    })
}

const FILL: &str = "dd if=/dev/zero bs=4k status=none >>/var/lib/hostward/filler || true";

fn with_a_full_disk(
    name: &str,
    exhaust: impl FnOnce(&Host) -> Result<()>,
    meanwhile: impl FnOnce(&Host) -> Result<()>,
) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let host = Host::install(&sandbox)?;
    sandbox.sh("mkdir -p /var/lib/hostward; mount -t tmpfs -o size=512k,mode=0700 small /var/lib/hostward")?;
    host.amid()?;
    sandbox.sh(FILL)?;
    // A record tells, as soon as one needs another page.
    host.write_until("the ledger to be said to be unwritable", || {
        host.guard.has_metric("hostward_ledger_writable 0")
    })?;
    let status = host.guard.run(&["status"])?.stdout;
    ensure!(status.contains("No space left"), "{status}");
    exhaust(&host)?;
    host.worker.go_on()?;
    host.worker.wait_all_active(secs(30))?;
    assert_eq!(host.worker.rebuilt()?, ["first"], "a forward step without a durable intent");
    meanwhile(&host)?;

    sandbox.sh("rm /var/lib/hostward/filler")?;
    sandbox.wait_until("the ledger to be writable again", secs(30), || {
        host.guard.has_metric("hostward_ledger_writable 1")
    })?;
    let why = host.ended_there()?;
    ensure!(why.starts_with("ledger_unwritable"), "it ended for another reason: {why}");
    let journal = host.guard.journal()?;
    for line in ["the ledger cannot be written", "the ledger can be written again"] {
        ensure!(journal.contains(line), "not in the journal: {line}");
    }
    Ok(())
}
