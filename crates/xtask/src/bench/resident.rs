//! `memory` and `idle`: what the daemon costs while nothing happens, and holds after something did.

use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{ExampleApp, Sandbox};

use super::{Figure, Programs, host};

const IDLE: Duration = Duration::from_mins(1);
const DAY_SECONDS: f64 = 86_400.0;
const GOAL_MB: f64 = 8.0;
/// testing.md: all watches at the reference cadence, for a day.
const GOAL_DAY_SECONDS: f64 = 20.0;
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
    let megabytes = |unit: &str, field: &str| -> Result<f64> {
        let pid = sandbox.property(unit, "MainPID")?;
        let status = sandbox.read(&format!("/proc/{pid}/status"))?;
        Ok(number(&status, field).with_context(|| format!("read {field} of {unit}"))? * 1024.0 / 1e6)
    };
    let figure = |field: &str| -> Result<Figure> {
        Ok(Figure::one("memory", format!("{field} {when}"), "MB", megabytes(HOSTWARD, field)?))
    };
    let api = megabytes(ExampleApp::UNIT, "VmRSS")?;
    let journald = megabytes("systemd-journald.service", "VmRSS")?;
    Ok(vec![
        figure("VmRSS")?.goal(GOAL_MB).peer("the Python API it guards", api),
        figure("RssAnon")?,
        figure("VmHWM")?.peer("journald's VmRSS", journald),
    ])
}

pub(super) fn idle(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-idle", programs)?;
    let (_, guard) = host::example(&sandbox, programs)?;
    guard.start()?;
    // What starting left to do is done by then.
    std::thread::sleep(IDLE / 6);
    let before = Spent::read(&sandbox)?;
    std::thread::sleep(IDLE);
    let spent = Spent::read(&sandbox)?.since(before);
    let a_day = DAY_SECONDS / spent.seconds;
    let figure = |what: &str, unit: &'static str, value: f64| Figure::one("idle", what, unit, value);
    Ok(vec![
        figure("CPU a day, the daemon and its children", "s", spent.cgroup * a_day).goal(GOAL_DAY_SECONDS),
        figure("CPU a day, the daemon alone", "s", spent.daemon * a_day),
        figure("CPU of 60 s, utime + stime", "s", spent.ticks),
        figure("context switches of 60 s", "switches", spent.switches),
        figure("CPU a day, PID 1", "s", spent.init * a_day),
        figure("CPU a day, dbus-daemon", "s", spent.bus * a_day),
    ])
}

/// CPU seconds and counts since the start, all as floating numbers.
#[derive(Clone, Copy, Debug)]
struct Spent {
    seconds: f64,
    /// The unit's, with every child: systemd's CPUUsageNSec, from cpu.stat.
    cgroup: f64,
    /// The process's threads: schedstat, nanoseconds.
    daemon: f64,
    /// The process's utime and stime, in ticks of 10 ms.
    ticks: f64,
    switches: f64,
    init: f64,
    bus: f64,
}

impl Spent {
    fn read(sandbox: &Sandbox) -> Result<Self> {
        let pid = sandbox.property(HOSTWARD, "MainPID")?;
        let bus = sandbox.property("dbus.service", "MainPID")?;
        let sum = |file: &str, awk: &str| -> Result<f64> {
            let said = sandbox.sh(&format!("cat {file} | awk '{awk}'"))?;
            said.trim().parse().with_context(|| format!("read '{said}', of {file}"))
        };
        let on_cpu = |pid: &str| sum(&format!("/proc/{pid}/task/*/schedstat"), "{ns += $1} END {print ns / 1e9}");
        Ok(Self {
            seconds: sum("/proc/uptime", "{print $1}")?,
            cgroup: sandbox.property(HOSTWARD, "CPUUsageNSec")?.parse::<f64>().context("read CPUUsageNSec")? / 1e9,
            daemon: on_cpu(&pid)?,
            ticks: sum(&format!("/proc/{pid}/stat"), "{print ($14 + $15) / 100}")?,
            switches: sum(&format!("/proc/{pid}/task/*/status"), "/ctxt_switches/ {n += $2} END {print n}")?,
            init: on_cpu("1")?,
            bus: on_cpu(&bus)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            seconds: self.seconds - before.seconds,
            cgroup: self.cgroup - before.cgroup,
            daemon: self.daemon - before.daemon,
            ticks: self.ticks - before.ticks,
            switches: self.switches - before.switches,
            init: self.init - before.init,
            bus: self.bus - before.bus,
        }
    }
}

/// A field of /proc/PID/status, in kB.
fn number(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  7216 kB\n";
        assert_eq!(number(status, "VmRSS").map(|kb| kb.to_string()), Some("7216".to_owned()));
        assert_eq!(number(status, "Rss"), None);
    }
}
