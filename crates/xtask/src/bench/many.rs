//! `units-5000`: five thousand units. First five hundred of them watched, then all, as the units that five hundred
//! services need beside their own.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{Sandbox, install_hostward, write_config};
use serde_json::Value;

use super::inside::Deaths;
use super::spent::{System, megabytes, unit_cpu};
use super::{Figure, Programs, host};

const UNITS: usize = 5000;
const WATCHES: usize = 500;
const WATCHED: [usize; 2] = [500, 5000];
/// As long as a unit's interval: each is looked at once.
const WINDOW: Duration = Duration::from_mins(1);
const SETTLED: Duration = Duration::from_secs(15);
const GOAL_FACT_MS: f64 = 10.0;
const VICTIMS: usize = 12;
const ROUNDS: &str = "5";
const HOSTWARD: &str = "hostward.service";

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let disk = host::Disk::make()?;
    let sandbox = host::boot_on(&disk, "bench-many", programs)?;
    host::idle_units(&sandbox, UNITS)?;
    for n in 0..VICTIMS {
        let unit = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\n";
        sandbox.write(&format!("/etc/systemd/system/no-{n:02}.service"), "0644", unit)?;
    }
    install_hostward(&sandbox, &programs.hostward, "")?;
    let mut figures = Vec::new();
    for watched in WATCHED {
        figures.extend(watch(&sandbox, watched)?);
    }
    Ok(figures)
}

/// Everything of so many units watched.
fn watch(sandbox: &Sandbox, watched: usize) -> Result<Vec<Figure>> {
    write_config(sandbox, &config(watched / WATCHES)?)?;
    sandbox.sh("rm -f /var/lib/hostward/*; systemctl start hostward")?;
    let targets = WATCHES + VICTIMS;
    let mut full = 0.0;
    sandbox.wait_until("every watch is judged", Duration::from_mins(3), || {
        Ok(first_state(sandbox, targets)?.inspect(|took| full = *took).is_some())
    })?;
    std::thread::sleep(SETTLED);

    let bus = sandbox.property("dbus.service", "MainPID")?;
    let (system, ours) = (System::read(sandbox, &bus)?, unit_cpu(sandbox, HOSTWARD)?);
    std::thread::sleep(WINDOW);
    let ours = unit_cpu(sandbox, HOSTWARD)? - ours;
    let system = System::read(sandbox, &bus)?.since(&system).scaled(60.0);

    let deaths: Deaths = host::inside(sandbox, &["kills", "no-", &VICTIMS.to_string(), ROUNDS, "--start"])?;
    let resident = megabytes(sandbox, HOSTWARD, "VmRSS")?;
    sandbox.sh("systemctl stop hostward")?;
    let one = |what: &str, unit: &'static str, value: f64| {
        Figure::one("units-5000", format!("{watched} of {UNITS}: {what}"), unit, value)
    };
    let fact = format!("{watched} of {UNITS}: kill to the fact's stamp");
    Ok(vec![
        one("start to the last first verdict", "s", full),
        one("CPU of a minute, a resync: the daemon and its children", "s", ours),
        one("... PID 1", "s", system.init),
        one("... dbus-daemon", "s", system.bus),
        Figure::many("units-5000", fact, "ms", &host::millis(&deaths.stamped)).goal(GOAL_FACT_MS),
        one("VmRSS", "MB", resident),
    ])
}

/// Five hundred services, each of its own unit and `each - 1` others, and those that are killed.
fn config(each: usize) -> Result<String> {
    let mut config = "[host]\nmode = \"observe\"\n".to_owned();
    for n in 0..VICTIMS {
        write!(config, "[service.no-{n:02}]\nunit = \"no-{n:02}.service\"\n")?;
    }
    for n in 0..WATCHES {
        write!(config, "[service.w{n:04}]\nunit = \"idle@{n:04}.service\"\n")?;
        for other in 1..each {
            let unit = WATCHES * other + n;
            write!(config, "[[service.w{n:04}.probe.unit]]\nunit = \"idle@{unit:04}.service\"\n")?;
        }
    }
    Ok(config)
}

/// Seconds from the daemon's first record to the last target's first verdict, once each of them has one.
fn first_state(sandbox: &Sandbox, targets: usize) -> Result<Option<f64>> {
    let ledger = sandbox.sh("cut -d' ' -f3- /var/lib/hostward/ledger | grep -aE '\"(started|turned)\"' || true")?;
    let mut stamps = Vec::new();
    for line in ledger.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("read the record {line}"))?;
        stamps.push(record["at"]["up"].as_f64().context("a record has its moment")?);
    }
    let first_and_last = stamps.first().zip(stamps.last());
    Ok(first_and_last.filter(|_| stamps.len() > targets).map(|(first, last)| (last - first) / 1000.0))
}
