//! Deaths that are placed by the plan's own parts: the command kills the daemon, the unit that stops does, the one that
//! returns does; and a daemon that never comes back, whose undo is PID 1's to do.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Sandbox, Worker, worker_config};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const KILL: &str = "kill -9 $(systemctl show --value --property MainPID hostward)\n";

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

    /// One incident whose hook runs `script` the first time it is come to. Returns how its run ended.
    fn killed_by(&self, hook: &str, script: &str) -> Result<Value> {
        self.sandbox.sh(
            "systemctl stop hostward; rm -f /var/lib/hostward/ledger* /var/lib/hostward/memory.json /run/crunch/*",
        )?;
        if self.worker.whole()? {
            self.worker.break_environment()?;
        }
        self.worker.hook(hook, &format!("rm /run/crunch/{hook}\n{script}"))?;
        self.sandbox.sh("systemctl start hostward")?;
        let closed = self.guard.wait_closed(secs(60))?;
        assert_eq!(self.guard.in_ledger("started")?.len(), 2, "it did not die at '{hook}'");
        self.worker.wait_all_active(secs(5))?;
        assert_eq!(self.guard.in_ledger("opened")?.len(), 1, "one attempt");
        assert_eq!(self.guard.status()?["view"]["budget_remaining"], 251, "charged once");
        self.guard.wait_no_transient()?;
        Ok(closed)
    }

    fn proved(&self, hook: &str) -> Result<()> {
        assert_eq!(self.killed_by(hook, KILL)?, "proved", "killed at '{hook}': {:#?}", self.guard.ledger()?);
        ensure!(self.worker.whole()?, "it is said to be proved, and the environment is not whole");
        Ok(())
    }
}

#[test]
fn a_unit_that_stops_or_returns_kills_the_daemon() -> Result<()> {
    let sandbox = Sandbox::boot("kill-units")?;
    let host = Host::install(&sandbox)?;
    // In the stop of the first that goes down with the worker, and in the worker's own, a moment before it is stopped.
    for hook in ["crunch-needs-stop", "crunch-stop"] {
        host.proved(hook)?;
    }
    // In the give-back: the worker starts; then what needs it does.
    for hook in ["crunch-start", "crunch-needs-start"] {
        host.proved(hook)?;
    }
    Ok(())
}

#[test]
fn a_command_that_kills_the_daemon() -> Result<()> {
    let sandbox = Sandbox::boot("kill-command")?;
    let host = Host::install(&sandbox)?;
    // Before anything was installed, and behind all of it.
    for hook in ["first-before", "first-after", "last-before", "last-after"] {
        host.proved(hook)?;
        let rebuilt = host.worker.rebuilt()?;
        ensure!(rebuilt == ["first", "last"], "the step outlived the daemon, and ran again: {rebuilt:?}");
    }
    // A command that dies with the daemon is not proved: the run ends there, and gives back.
    let closed = host.killed_by("last-before", &format!("{KILL}kill -9 0\n"))?;
    let why = closed["unproved"]["why"].as_str().unwrap_or_default();
    ensure!(why.contains("killed 9"), "{closed:#}");
    ensure!(!host.worker.whole()?, "it installed all the same");
    Ok(())
}

/// The daemon is gone and nothing starts it again. What it had armed fires; the wait for it, minutes long, is shortened
/// here by a drop-in, and by nothing else.
#[test]
fn pid_1_gives_back_when_the_daemon_never_returns() -> Result<()> {
    let sandbox = Sandbox::boot("binary-gone")?;
    let host = Host::install(&sandbox)?;
    host.worker.hold_in_the_middle()?;
    host.worker.break_environment()?;
    sandbox.sh("systemctl start hostward")?;
    host.worker.wait_amid()?;
    sandbox.sh("mv /usr/bin/hostward /usr/bin/hostward.away; systemctl kill --signal=KILL hostward")?;
    host.worker.go_on()?;
    sandbox.wait_until("nobody of ours to be alive", secs(20), || {
        Ok(sandbox.property("hostward", "ExecMainStatus")? == "203")
    })?;
    ensure!(host.worker.active()?.is_empty(), "somebody started it: {:?}", host.worker.active()?);
    let timers = sandbox.sh("systemctl list-units --all --plain --no-legend 'hostward-undo-*.timer'")?;
    let timer = timers.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(timers.lines().count(), 1, "one undo: {timers}");
    assert_eq!(sandbox.property(&timer, "SubState")?, "waiting");
    assert_eq!(sandbox.property(&timer, "LastTriggerUSec")?, "", "it has fired too early");

    let soon = "[Timer]\nOnStartupSec=\nOnActiveSec=1s\n";
    sandbox.write(&format!("/run/systemd/system/{timer}.d/soon.conf"), "0644", soon)?;
    sandbox.sh("systemctl daemon-reload")?;
    host.worker.wait_all_active(secs(30))?;
    assert_eq!(host.guard.in_ledger("started")?.len(), 1, "it was alive after all");

    // The one that comes back finds its work done: the run is ended, and nothing is begun anew.
    sandbox.sh(&format!("rm -r /run/systemd/system/{timer}.d; mv /usr/bin/hostward.away /usr/bin/hostward"))?;
    host.guard.wait_closed(secs(60))?;
    host.worker.wait_all_active(secs(10))?;
    assert_eq!(host.guard.in_ledger("opened")?.len(), 1, "one attempt");
    host.guard.wait_no_transient()
}
