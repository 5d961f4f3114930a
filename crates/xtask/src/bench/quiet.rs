//! `quiet-bus`: what the daemon asks of D-Bus, and what that costs PID 1 and the bus, while nothing changes; beside a
//! monitor that polls.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{Sandbox, install_hostward};

use super::spent::{System, unit_cpu};
use super::{Figure, Programs, host};

const UNITS: usize = 200;
const POLLED_EVERY: &str = "5";
/// As long as a unit's interval: each is looked at once.
const WINDOW: Duration = Duration::from_mins(1);
const SETTLED: Duration = Duration::from_secs(15);
const GOAL_SHARE: f64 = 0.1;

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-quiet", programs)?;
    host::idle_units(&sandbox, UNITS)?;
    let mut config = String::new();
    for n in 0..UNITS {
        write!(config, "[service.w{n:04}]\nunit = \"idle@{n:04}.service\"\n")?;
    }
    install_hostward(&sandbox, &programs.hostward, &config)?;
    let bus = sandbox.property("dbus.service", "MainPID")?;
    let idle = window(&sandbox, &bus)?;

    sandbox.sh("systemctl start hostward")?;
    std::thread::sleep(SETTLED);
    let began = unit_cpu(&sandbox, "hostward.service")?;
    let ours = window(&sandbox, &bus)?;
    let spent = unit_cpu(&sandbox, "hostward.service")? - began;
    let calls = calls(&sandbox)?;
    sandbox.sh("systemctl stop hostward")?;

    let units = format!("$(seq -f 'idle@%04g.service' 0 {})", UNITS - 1);
    sandbox.sh(&format!("systemd-run --quiet --unit=poller {} {POLLED_EVERY} {units}", host::POLLER))?;
    std::thread::sleep(SETTLED);
    let polled = window(&sandbox, &bus)?;

    let figure = |what: &str, unit: &'static str, value: f64| Figure::one("quiet-bus", what, unit, value);
    let cost = |system: &System| (system.init - idle.init) + (system.bus - idle.bus);
    let peer = cost(&polled);
    Ok(vec![
        figure("D-Bus calls a minute, 200 units", "calls", calls),
        figure("CPU a minute of PID 1 and the bus, caused by us", "s", cost(&ours))
            .goal(peer * GOAL_SHARE)
            .peer("GetAll of each unit each 5 s", peer),
        figure("... of PID 1 alone", "s", ours.init - idle.init).peer("the poller", polled.init - idle.init),
        figure("... of the bus alone", "s", ours.bus - idle.bus).peer("the poller", polled.bus - idle.bus),
        figure("CPU a minute of the daemon and its children", "s", spent),
        figure("CPU a minute of PID 1 and the bus, nobody there", "s", idle.init + idle.bus),
    ])
}

fn window(sandbox: &Sandbox, bus: &str) -> Result<System> {
    let before = System::read(sandbox, bus)?;
    std::thread::sleep(WINDOW);
    Ok(System::read(sandbox, bus)?.since(&before).scaled(60.0))
}

/// Method calls that went over the system bus in a minute: a window of its own, for who listens costs the bus much.
fn calls(sandbox: &Sandbox) -> Result<f64> {
    let seconds = WINDOW.as_secs();
    let listen = format!(
        "timeout {seconds} busctl monitor --json=short --match=type=method_call >/run/calls || true; grep -c . /run/calls || true"
    );
    let said = sandbox.sh(&listen)?;
    said.trim().parse().with_context(|| format!("read the count '{said}'"))
}
