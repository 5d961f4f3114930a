//! P7 for storage: the daemon is killed between every two steps of the S2 plan, and once for good. Whatever moment it dies
//! in, the worker and what went down with it run in the end, every path is well or closed, and the attempt counts once.
//!
//! Told in loops, each with an empty ledger, for the third death within ten minutes is safe mode; and with the cooldown of
//! real life, so that what is seen at the end is what this one run left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox, side_by_side};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "storage.hot";
const KILL_AT: &str = include_str!("../fixtures/worker/kill_at.py");
/// Before, in and behind what follows from a record.
const MICROSECONDS: [u32; 3] = [0, 4_000, 25_000];

struct Host<'a> {
    sandbox: &'a Sandbox,
    hot: HotPaths<'a>,
    guard: Guard<'a>,
}

impl<'a> Host<'a> {
    fn install(sandbox: &'a Sandbox) -> Result<Self> {
        let hot = HotPaths::install(sandbox)?;
        hot.install_worker()?;
        let patient = HotPaths::config()
            .replace("brakes.cooldown = \"1s\"\n", "")
            .replace("brakes.plateau  = \"2s\"\n", "")
            .replace("budget   = \"256 per 1h\"", "budget   = \"12 per 1h\"");
        let guard = Guard::install_with(sandbox, &patient)?;
        // Time enough to see what stands how while nobody of ours is alive.
        sandbox.write("/etc/systemd/system/hostward.service.d/slow.conf", "0644", "[Service]\nRestartSec=300ms\n")?;
        sandbox.write("/usr/local/lib/kill_at.py", "0644", KILL_AT)?;
        sandbox.sh("systemctl daemon-reload; systemctl start hostward; systemctl stop hostward")?;
        Ok(Self { sandbox, hot, guard })
    }

    /// An empty ledger, and a base that has just died below healthy paths.
    fn anew(&self) -> Result<()> {
        self.sandbox.sh("systemctl stop hostward; rm -f /var/lib/hostward/ledger* /var/lib/hostward/memory.json
             systemctl stop hot-worker
             for path in jobs/a jobs/b box; do while umount -l /srv/$path; do :; done 2>/dev/null; done
             systemctl stop box; systemctl reset-failed")?;
        self.hot.mount()?;
        self.sandbox.sh("systemctl start hot-worker hot-needs")?;
        self.hot.kill_base()
    }

    fn killed_after(&self, kind: &str, step: &str, microseconds: u32) -> Result<()> {
        self.anew()?;
        let delay = microseconds.to_string();
        let words = ["python3", "/usr/local/lib/kill_at.py", kind, step, &delay, "hot-*.service"];
        let listed = self.sandbox.exec(words.into_iter().chain(Guard::TRANSIENT))?.ok()?;
        armed(&listed)?;
        self.safe_at_the_end()
    }

    /// The end of every such story.
    fn safe_at_the_end(&self) -> Result<()> {
        let closed = self.guard.wait_closed(secs(90))?;
        ensure!(self.hot.worker_runs()?, "the run is closed, and the worker does not run: {closed:#}");
        let state = self.hot.state()?;
        ensure!(state.iter().all(|state| state == "well" || state == "fenced"), "{state:?} after {closed:#}");
        ensure!(closed != "proved" || state.iter().all(|state| state == "well"), "{state:?} after {closed:#}");
        assert_eq!(self.guard.in_ledger("opened")?.len(), 1, "one attempt: {:#?}", self.guard.ledger()?);
        assert_eq!(self.guard.status()?["view"]["budget_remaining"], 9, "charged once");
        // Also when it looks well: the soak tells.
        self.sandbox.wait_until("the attempt to be settled, once", secs(30), || {
            let attempts = self.guard.attempts(WATCH, "/srv/box")?;
            let results = attempts["remount"].as_object().into_iter().flatten();
            Ok(results.filter_map(|(_, n)| n.as_u64()).sum::<u64>() == 1)
        })?;
        self.guard.wait_no_transient()
    }
}

/// While anything of ours is stopped and nobody of ours is alive, PID 1 has a timer to start it.
fn armed(listed: &str) -> Result<()> {
    let runs = |unit: &str| {
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(unit));
        line.is_some_and(|line| line.contains(" active "))
    };
    let stopped = ["hot-worker.service", "hot-needs.service"].iter().any(|unit| !runs(unit));
    let waits = listed.lines().any(|line| line.contains(".timer") && line.contains("waiting"));
    ensure!(!stopped || waits, "stopped, and nobody to start them:\n{listed}");
    Ok(())
}

/// So many boundaries to a sandbox.
const IN_ONE: usize = 3;

fn killed_after_each(name: &str, boundaries: &[(&str, &str)]) -> Result<()> {
    let deaths: Vec<_> = boundaries.iter().zip(MICROSECONDS.into_iter().cycle()).collect();
    side_by_side(deaths.chunks(IN_ONE), |deaths| {
        let sandbox = Sandbox::boot(name)?;
        let host = Host::install(&sandbox)?;
        for ((kind, step), microseconds) in deaths {
            let at = || format!("killed {microseconds} us after '{kind}' of step {step}");
            host.killed_after(kind, step, *microseconds).with_context(at)?;
        }
        Ok(())
    })
}

#[test]
fn killed_until_all_is_stopped() -> Result<()> {
    let boundaries = [("opened", "-"), ("began", "0"), ("ended", "0"), ("began", "1"), ("ended", "1")];
    killed_after_each("storage-kill-stop", &boundaries)
}

#[test]
fn killed_while_mounts_are_taken_off() -> Result<()> {
    let boundaries = [("began", "2"), ("ended", "2"), ("began", "3"), ("ended", "3"), ("began", "4"), ("ended", "4")];
    killed_after_each("storage-kill-off", &boundaries)
}

#[test]
fn killed_while_mounts_are_made() -> Result<()> {
    let steps = ["5", "6", "7", "8"];
    let boundaries: Vec<_> = steps.iter().flat_map(|step| [("began", *step), ("ended", *step)]).collect();
    killed_after_each("storage-kill-on", &boundaries)
}

#[test]
fn killed_while_it_is_proved_and_given_back() -> Result<()> {
    let boundaries = [
        ("began", "9"),
        ("ended", "9"),
        ("began", "10"),
        ("ended", "10"),
        ("returning", "1"),
        ("returned", "1"),
        ("closed", "-"),
    ];
    killed_after_each("storage-kill-end", &boundaries)
}

/// The daemon dies when a path is bare, and nothing starts it again. PID 1 closes the paths, and then starts who
/// writes there; the wait for it is shortened here by a drop-in, and by nothing else.
#[test]
fn pid_1_closes_what_is_bare_when_the_daemon_never_returns() -> Result<()> {
    let sandbox = Sandbox::boot("storage-gone")?;
    let host = Host::install(&sandbox)?;
    host.anew()?;
    sandbox.sh("mv /usr/bin/umount /usr/bin/umount.real")?;
    let script = "#!/bin/bash\ncase \"$*\" in */srv/jobs/b)\nmv /usr/bin/hostward /usr/bin/hostward.away
        kill -9 $(systemctl show --value --property MainPID hostward);;\nesac\nexec umount.real \"$@\"\n";
    sandbox.write("/usr/bin/umount", "0755", script)?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("nobody of ours to be alive", secs(60), || {
        Ok(sandbox.property("hostward", "ExecMainStatus")? == "203")
    })?;
    sandbox.sh("mv /usr/bin/umount.real /usr/bin/umount")?;
    let opened = || Ok(host.hot.state()? == ["fenced", "fenced", "bare"]);
    sandbox.wait_until("the last path to be bare", secs(20), opened)?;
    let timers = sandbox.sh("systemctl list-units --all --plain --no-legend 'hostward-undo-*.timer'")?;
    let timer = timers.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(timers.lines().count(), 1, "one undo: {timers}");
    let soon = "[Timer]\nOnStartupSec=\nOnActiveSec=1s\n";
    sandbox.write(&format!("/run/systemd/system/{timer}.d/soon.conf"), "0644", soon)?;
    sandbox.sh("systemctl daemon-reload")?;
    sandbox.wait_until("the worker to run", secs(30), || host.hot.worker_runs())?;
    assert_eq!(host.hot.state()?, ["fenced"; 3]);
    host.hot.nothing_beneath()?;
    assert_eq!(host.guard.in_ledger("started")?.len(), 1, "it was alive after all");

    sandbox.sh(&format!("rm -r /run/systemd/system/{timer}.d; mv /usr/bin/hostward.away /usr/bin/hostward"))?;
    host.safe_at_the_end()?;
    let began: Vec<Value> = host.guard.in_ledger("began")?;
    ensure!(began.iter().all(|record| record["body"]["began"]["step"].as_u64() <= Some(4)), "{began:#?}");
    Ok(())
}
