//! `death-to-fact`: SIGKILL of a main process to the record of it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hostward_tests::{Sandbox, install_hostward};

use super::inside::Deaths;
use super::report::median;
use super::{Figure, Programs, host};

/// A target's facts are limited to ten a minute: many targets, each killed a few times.
const NO: Victims = Victims { prefix: "no-", restart: "no", units: 12, rounds: 9 };
/// Each of these deaths is two facts: the end, and systemd's restart.
const ALWAYS: Victims = Victims { prefix: "always-", restart: "always\nRestartSec=100ms", units: 24, rounds: 5 };
const GOAL_MS: f64 = 10.0;

struct Victims {
    prefix: &'static str,
    restart: &'static str,
    units: usize,
    rounds: usize,
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    // Before the sandbox, so that it goes after it.
    let disk = host::Disk::make()?;
    let sandbox = host::boot_on(&disk, "bench-death", programs)?;
    let mut config = "[host]\nsentinel = \"/etc/hostward/enabled\"\nmode = \"observe\"\n".to_owned();
    for victims in [NO, ALWAYS] {
        for name in victims.names() {
            write!(config, "[service.{name}]\nunit = \"{name}.service\"\n")?;
            sandbox.write(&format!("/etc/systemd/system/{name}.service"), "0644", victims.unit())?;
        }
    }
    install_hostward(&sandbox, &programs.hostward, &config)?;
    sandbox.sh(&format!(
        "systemctl daemon-reload; systemctl start {} {}; systemctl start hostward",
        NO.names().join(" "),
        ALWAYS.names().join(" ")
    ))?;
    sandbox.wait_until("every watch is judged", Duration::from_secs(20), || {
        Ok(sandbox.exec(["hostward", "status"])?.status.success())
    })?;
    let mut figures = Vec::new();
    for victims in [NO, ALWAYS] {
        figures.extend(victims.kill(&sandbox)?);
    }
    Ok(figures)
}

impl Victims {
    fn names(&self) -> Vec<String> {
        (0..self.units).map(|n| format!("{}{n:02}", self.prefix)).collect()
    }

    fn unit(&self) -> String {
        let restart = self.restart;
        format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep infinity\nRestart={restart}\n")
    }

    fn kill(&self, sandbox: &Sandbox) -> Result<Vec<Figure>> {
        let (units, rounds) = (self.units.to_string(), self.rounds.to_string());
        let mut arguments = vec!["kills", self.prefix, &units, &rounds];
        if self.restart == "no" {
            arguments.push("--start");
        }
        let deaths: Deaths = host::inside(sandbox, &arguments)?;
        let figure = |what: &str, nanos: &[u64]| {
            let what = format!("Restart={}: {what}", self.restart.lines().next().unwrap_or_default());
            Figure::many("death-to-fact", what, "ms", &host::millis(nanos))
        };
        let stamped = figure("to the record's stamp", &deaths.stamped).goal(GOAL_MS);
        let stamped = match deaths.systemd.as_slice() {
            [] => stamped,
            nanos => stamped.peer("systemd's own stamp", median(&host::millis(nanos))),
        };
        Ok(vec![stamped, figure("to the file", &deaths.seen), figure("to the disk", &deaths.on_disk).goal(GOAL_MS)])
    }
}
