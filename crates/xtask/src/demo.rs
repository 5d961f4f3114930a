//! `demo`: scenario S1 before your eyes, on a real systemd: a real API breaks the way a real one broke, and heals itself.
//!
//! Nothing of it touches this machine: it all happens in a sandbox that is gone when the demo ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox, target_dir};
use serde_json::Value;

use crate::run::{cargo, run};

/// Crash-looping within 20 s, quiet for 20 s, a rebuild and its proof.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// Long enough for detection, and for nothing to happen after it.
const OBSERVED_FOR: Duration = Duration::from_secs(12);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn demo() -> Result<()> {
    crate::setup::setup()?;
    run(cargo(["build", "--package", "hostward"]))?;
    let binary = target_dir().join("debug/hostward");
    ensure!(binary.is_file(), "the build left no '{}'", binary.display());
    Story::tell()
}

/// Prints what happens, and when.
struct Story<'a> {
    sandbox: &'a Sandbox,
    guard: &'a Guard<'a>,
    /// Since the break.
    started: Instant,
    broke_wall_ms: u64,
    /// Records told already.
    told: u64,
}

impl Story<'_> {
    fn tell() -> Result<()> {
        println!("\n== A host like yours: systemd, an API in a virtual environment, and Hostward ==\n");
        let sandbox = Sandbox::boot("demo")?;
        println!("a sandbox is up, its PID 1 is {}", sandbox.sh("ps -o comm= -p 1")?.trim());
        let app = ExampleApp::install(&sandbox, RestartSec::Five)?;
        let guard = Guard::install(&sandbox, Reconcile::Pip)?;
        guard.start()?;
        print!("$ hostward status\n{}", guard.run(&["status"])?.stdout);
        healed(&sandbox, &app, &guard)?;
        drop(sandbox);
        forbidden()?;
        println!("\nThat was a sandbox: nothing of it is left. Next: README.md, \"Install\".");
        Ok(())
    }

    fn begin<'a>(sandbox: &'a Sandbox, guard: &'a Guard<'a>, app: &ExampleApp) -> Result<Story<'a>> {
        let told = last_seq(guard)?;
        let broke_wall_ms = u64::try_from(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .context("a clock before 1970")?
                .as_millis(),
        )?;
        app.break_by_updating_code_without_install()?;
        Ok(Story { sandbox, guard, started: Instant::now(), broke_wall_ms, told })
    }

    /// Tells every record that came since, each at its own time.
    fn catch_up(&mut self) -> Result<()> {
        let history = self.guard.json(&["history"])?;
        let lines = self.guard.run(&["history"])?.stdout;
        let records = history.as_array().cloned().unwrap_or_default();
        for (record, line) in records.iter().zip(lines.lines()) {
            let seq = record["seq"].as_u64().unwrap_or(0);
            if seq <= self.told {
                continue;
            }
            self.told = seq;
            let at = record["at"]["wall"].as_u64().unwrap_or(0).saturating_sub(self.broke_wall_ms);
            // Without its number and its clock: the elapsed time says it better here.
            let says = line.get(22..).unwrap_or(line).trim();
            println!("{:>6.2} s  {says}", Duration::from_millis(at).as_secs_f64());
        }
        Ok(())
    }

    fn until(&mut self, what: &str, within: Duration, done: impl Fn(&Guard) -> Result<bool>) -> Result<()> {
        loop {
            self.catch_up()?;
            if done(self.guard)? {
                return self.catch_up();
            }
            if self.started.elapsed() > within {
                eprintln!("{}", self.sandbox.journal_tail());
                anyhow::bail!("waited {within:?} for {what}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The incident, healed.
fn healed(sandbox: &Sandbox, app: &ExampleApp, guard: &Guard) -> Result<()> {
    println!("\n== The API's code is updated, its new dependency is not installed (13 hours of outage, once) ==\n");
    let mut story = Story::begin(sandbox, guard, app)?;
    story.until("the API to be healed", HEALED_WITHIN, |guard| {
        let both_up = guard.up("service.api")? == Some(true) && guard.up("baseline.app")? == Some(true);
        Ok(both_up && !guard.records("closed")?.is_empty())
    })?;
    app.wait_healthy(2, Duration::from_secs(5))?;
    println!("\n$ curl http://127.0.0.1:8001/api/health\n{}", app.health()?.unwrap_or(Value::Null));
    println!("\n$ hostward explain baseline.app\n{}", guard.run(&["explain", "baseline.app"])?.stdout);
    println!("$ curl http://127.0.0.1:9469/metrics | grep ...");
    show_metrics(guard, &["hostward_watch_up", "hostward_watch_attempts_total", "hostward_incidents_total"])?;
    Ok(())
}

/// The same without leave to act.
fn forbidden() -> Result<()> {
    println!("\n== Another host, the same break, its sentinel absent: seen, planned, not done ==\n");
    let sandbox = Sandbox::boot("demo")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    let guard = Guard::install(&sandbox, Reconcile::Pip)?;
    guard.forbid(Guard::DRIFT_SENTINEL)?;
    guard.start()?;
    let mut story = Story::begin(&sandbox, &guard, &app)?;
    story.until("the drift to be held", HEALED_WITHIN, |guard| {
        Ok(guard.up("service.api")? == Some(false) && guard.holds("baseline.app")? == ["no_sentinel"])
    })?;
    let held = Instant::now();
    while held.elapsed() < OBSERVED_FOR / 4 {
        story.catch_up()?;
        std::thread::sleep(LOOK_EVERY);
    }
    ensure!(guard.records("opened")?.is_empty(), "something was done without leave");
    println!("\n$ hostward plan baseline.app\n{}", guard.run(&["plan", "baseline.app"])?.stdout);
    show_metrics(&guard, &["healtharchive_drift_auto_reconcile"])?;
    println!("\n$ hostward history --last 12\n{}", guard.run(&["history", "--last", "12"])?.stdout);
    Ok(())
}

fn show_metrics(guard: &Guard, families: &[&str]) -> Result<()> {
    for line in guard.metrics()?.lines().filter(|line| families.iter().any(|family| line.starts_with(family))) {
        println!("{line}");
    }
    Ok(())
}

fn last_seq(guard: &Guard) -> Result<u64> {
    let history = guard.json(&["history"])?;
    Ok(history.as_array().and_then(|records| records.last()).and_then(|last| last["seq"].as_u64()).unwrap_or(0))
}
