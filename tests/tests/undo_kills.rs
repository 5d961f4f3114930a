//! P7 whole: the daemon is killed at every boundary of a plan that stops a worker. Whatever moment it dies in, the worker
//! and all that went down with it run in the end, the environment is whole, and the attempt counts once.
//!
//! Told in loops: each turn begins with an empty ledger, for the third death within ten minutes is safe mode. A record is
//! seen within a millisecond of its write, so that the delays behind it lie before, in and behind what follows from it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Sandbox, Worker, side_by_side, worker_config};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const KILL_AT: &str = include_str!("../fixtures/worker/kill_at.py");
const MICROSECONDS: [u32; 5] = [0, 2_000, 6_000, 15_000, 40_000];
/// The goal is one second; a loaded machine may take more.
const DECIDES_WITHIN_MS: u64 = 15_000;

struct Host<'a> {
    guard: Guard<'a>,
    worker: Worker<'a>,
}

impl<'a> Host<'a> {
    fn install(sandbox: &'a Sandbox) -> Result<Self> {
        let worker = Worker::install(sandbox, "crunch")?;
        let guard = Guard::install_with(sandbox, &worker_config(&["crunch"]))?;
        // Time enough to see what stands how while nobody of ours is alive.
        sandbox.write("/etc/systemd/system/hostward.service.d/slow.conf", "0644", "[Service]\nRestartSec=300ms\n")?;
        sandbox.write("/usr/local/lib/kill_at.py", "0644", KILL_AT)?;
        sandbox.sh("systemctl daemon-reload; systemctl start hostward; systemctl stop hostward")?;
        Ok(Self { guard, worker })
    }

    /// An empty ledger, no hooks, and a broken environment.
    fn anew(&self) -> Result<()> {
        let forget =
            "systemctl stop hostward; rm -f /var/lib/hostward/ledger* /var/lib/hostward/memory.json /run/crunch/*";
        self.guard.sandbox().sh(forget)?;
        self.worker.break_environment()
    }

    /// One incident, with a death so long after that record.
    fn killed_after(&self, kind: &str, step: &str, microseconds: u32) -> Result<()> {
        self.anew()?;
        let delay = microseconds.to_string();
        let words = ["python3", "/usr/local/lib/kill_at.py", kind, step, &delay, "crunch*.service"];
        let listed = self.guard.sandbox().exec(words.into_iter().chain(Guard::TRANSIENT))?.ok()?;
        armed(&self.worker, &listed)?;
        self.healed()
    }

    /// The end of every such story.
    fn healed(&self) -> Result<()> {
        let guard = &self.guard;
        let closed = guard.wait_closed(secs(60))?;
        assert_eq!(closed, "proved", "{:#?}", guard.ledger()?);
        ensure!(self.worker.whole()?, "it is said to be proved, and the environment is not whole");
        self.worker.wait_all_active(secs(5))?;
        guard
            .sandbox()
            .wait_until("the attempt to be settled", secs(30), || Ok(!guard.in_ledger("settled")?.is_empty()))?;
        assert_eq!(guard.in_ledger("opened")?.len(), 1, "one attempt: {:#?}", guard.ledger()?);
        assert_eq!(guard.in_ledger("settled")?.len(), 1, "settled once: {:#?}", guard.ledger()?);
        let view = guard.status()?["view"].clone();
        assert_eq!(view["budget_remaining"], 251, "charged once");
        assert_eq!(
            view["watches"][0]["targets"][0]["attempts"],
            serde_json::json!({ "reconcile": { "cleared": 1 } })
        );
        let first = self.worker.rebuilt()?.iter().filter(|step| *step == "first").count();
        ensure!(first <= 2, "a step may begin again once, and was begun {first} times");
        decided_soon(&guard.ledger()?)?;
        guard.wait_no_transient()
    }
}

/// While anything of ours is stopped and nobody of ours is alive, PID 1 has a timer to start it.
fn armed(worker: &Worker, listed: &str) -> Result<()> {
    let line = |unit: &str| listed.lines().find(|line| line.split_whitespace().next() == Some(unit));
    let runs = |unit: &String| line(unit).is_some_and(|line| line.contains(" active "));
    let stopped: Vec<String> = worker.units().into_iter().filter(|unit| !runs(unit)).collect();
    let waits = listed.lines().any(|line| line.contains(".timer") && line.contains("waiting"));
    ensure!(stopped.is_empty() || waits, "{stopped:?} stopped and nobody to start them:\n{listed}");
    Ok(())
}

/// What a new daemon does first about the run that it found.
fn decided_soon(ledger: &[Value]) -> Result<()> {
    let starts: Vec<usize> = (0..ledger.len()).filter(|n| !ledger[*n]["body"]["started"].is_null()).collect();
    let reborn = *starts.last().context("no start")?;
    ensure!(starts.len() == 2, "it died once: {ledger:#?}");
    if ledger[..reborn].iter().any(|record| !record["body"]["closed"].is_null()) {
        return Ok(());
    }
    let kinds = ["began", "ended", "returning", "returned", "closed"];
    let of_run = |record: &&Value| kinds.iter().any(|kind| !record["body"][*kind].is_null());
    let next = ledger[reborn..].iter().find(of_run).context("the run was not taken up")?;
    let at = |record: &Value| record["at"]["up"].as_u64().context("a stamp");
    let took = at(next)? - at(&ledger[reborn])?;
    eprintln!("decided {took} ms after its start: {}", next["body"]);
    ensure!(took < DECIDES_WITHIN_MS, "the first decision came {took} ms after the start: {ledger:#?}");
    Ok(())
}

/// Each boundary in a sandbox of its own.
fn killed_after_each(name: &str, boundaries: &[(&str, &str)]) -> Result<()> {
    side_by_side(boundaries, |(kind, step)| {
        let sandbox = Sandbox::boot(name)?;
        let host = Host::install(&sandbox)?;
        for microseconds in MICROSECONDS {
            let at = || format!("killed {microseconds} us after '{kind}' of step {step}");
            host.killed_after(kind, step, microseconds).with_context(at)?;
        }
        Ok(())
    })
}

#[test]
fn killed_before_and_in_the_stop() -> Result<()> {
    killed_after_each("kill-stop", &[("opened", "-"), ("began", "0")])
}

#[test]
fn killed_when_all_is_stopped() -> Result<()> {
    killed_after_each("kill-stopped", &[("ended", "0"), ("began", "1")])
}

#[test]
fn killed_between_the_commands() -> Result<()> {
    killed_after_each("kill-between", &[("ended", "1"), ("began", "2")])
}

#[test]
fn killed_in_the_give_back() -> Result<()> {
    killed_after_each("kill-back", &[("ended", "2"), ("returning", "0")])
}

#[test]
fn killed_behind_the_give_back() -> Result<()> {
    killed_after_each("kill-returned", &[("returned", "0"), ("began", "3")])
}

#[test]
fn killed_at_the_end() -> Result<()> {
    killed_after_each("kill-end", &[("ended", "3"), ("closed", "-")])
}
