//! `memory` and `idle`: what the daemon costs while nothing happens, and holds after something did.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Sandbox};

use super::spent::{System, megabytes, on_cpu, sum, unit_cpu};
use super::{Figure, Programs, host};

const IDLE: Duration = Duration::from_mins(1);
const DAY_SECONDS: f64 = 86_400.0;
const GOAL_MB: f64 = 8.0;
const HEALED_WITHIN: Duration = Duration::from_mins(4);
const HOSTWARD: &str = "hostward.service";

pub(super) fn memory(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-memory", programs)?;
    let (app, guard) = host::example(&sandbox, programs)?;
    guard.start()?;
    std::thread::sleep(IDLE);
    let mut figures = resident(&sandbox, "after 60 s idle")?;
    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the incident to be healed", HEALED_WITHIN, || {
        let up = guard.up("service.api")? == Some(true) && guard.up("baseline.app")? == Some(true);
        Ok(up && !guard.records("closed")?.is_empty())
    })?;
    figures.extend(resident(&sandbox, "after an incident, healed")?);
    Ok(figures)
}

fn resident(sandbox: &Sandbox, when: &str) -> Result<Vec<Figure>> {
    let figure = |field: &str| -> Result<Figure> {
        Ok(Figure::one("memory", format!("{field} {when}"), "MB", megabytes(sandbox, HOSTWARD, field)?))
    };
    let api = megabytes(sandbox, ExampleApp::UNIT, "VmRSS")?;
    let journald = megabytes(sandbox, "systemd-journald.service", "VmRSS")?;
    Ok(vec![
        figure("VmRSS")?.goal(GOAL_MB).peer("the Python API it guards", api),
        figure("RssAnon")?,
        figure("VmHWM")?.peer("journald's VmRSS", journald),
    ])
}

pub(super) fn idle(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-idle", programs)?;
    let (_, guard) = host::example(&sandbox, programs)?;
    let bus = sandbox.property("dbus.service", "MainPID")?;
    let system = System::read(&sandbox, &bus)?;
    std::thread::sleep(IDLE);
    let without = System::read(&sandbox, &bus)?.since(&system).scaled(DAY_SECONDS);
    guard.start()?;
    let pid = sandbox.property(HOSTWARD, "MainPID")?;
    // What starting left to do is done by then.
    std::thread::sleep(IDLE / 6);
    let (system, daemon) = (System::read(&sandbox, &bus)?, Daemon::read(&sandbox, &pid)?);
    std::thread::sleep(IDLE);
    let (after, with) =
        (Daemon::read(&sandbox, &pid)?, System::read(&sandbox, &bus)?.since(&system).scaled(DAY_SECONDS));
    ensure!(daemon.threads == after.threads, "a thread began or ended meanwhile: what it did is not counted");
    let a_day = DAY_SECONDS / (after.at - daemon.at);
    let figure = |what: &str, unit: &'static str, value: f64| Figure::one("idle", what, unit, value);
    Ok(vec![
        figure("CPU a day, the daemon and its children", "s", (after.unit - daemon.unit) * a_day),
        figure("CPU a day, the daemon alone", "s", (after.on_cpu - daemon.on_cpu) * a_day),
        figure("CPU of 60 s, utime + stime", "s", after.ticks - daemon.ticks),
        figure("context switches of 60 s", "switches", after.switches - daemon.switches),
        figure("CPU a day, PID 1", "s", with.init).peer("without Hostward", without.init),
        figure("CPU a day, dbus-daemon", "s", with.bus).peer("without Hostward", without.bus),
    ])
}

/// What the daemon has spent since its start: CPU in seconds.
#[derive(Debug)]
struct Daemon {
    /// Seconds since the boot.
    at: f64,
    /// The unit's, with every child.
    unit: f64,
    /// The process's threads: schedstat, nanoseconds.
    on_cpu: f64,
    /// The process's utime and stime, in ticks of 10 ms.
    ticks: f64,
    switches: f64,
    threads: String,
}

impl Daemon {
    fn read(sandbox: &Sandbox, pid: &str) -> Result<Self> {
        Ok(Self {
            at: sum(sandbox, "/proc/uptime", "{print $1}")?,
            unit: unit_cpu(sandbox, HOSTWARD)?,
            on_cpu: on_cpu(sandbox, pid)?,
            ticks: sum(sandbox, &format!("/proc/{pid}/stat"), "{print ($14 + $15) / 100}")?,
            switches: sum(sandbox, &format!("/proc/{pid}/task/*/status"), "/ctxt_switches/ {n += $2} END {print n}")?,
            threads: sandbox.sh(&format!("ls /proc/{pid}/task"))?,
        })
    }
}
