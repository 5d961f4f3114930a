//! The service watch beside systemd: what systemd does itself is left to it, what only a probe sees is found, and nothing
//! that goes on meanwhile makes it act twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, QUICK_HOST, Sandbox, Tiny, span};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn guard<'a>(sandbox: &'a Sandbox, watches: &[String]) -> Result<Guard<'a>> {
    let config = format!("{QUICK_HOST}{}", watches.concat());
    let guard = Guard::install_with(sandbox, &config)?;
    sandbox.sh("systemctl start hostward")?;
    Ok(guard)
}

fn wait_up(sandbox: &Sandbox, guard: &Guard<'_>, watch: &str) -> Result<()> {
    sandbox.wait_until(&format!("{watch} to be judged up"), secs(30), || Ok(guard.up(watch)? == Some(true)))?;
    Ok(())
}

const QUICK: &str = "confirm = { runs = 2, age = \"1s\" }\nstart_grace = \"1s\"\n";

#[test]
fn what_is_alive_and_does_not_serve_is_restarted_once() -> Result<()> {
    let sandbox = Sandbox::boot("sigstop")?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "Restart=on-failure\n")?;
    let guard = guard(&sandbox, &[api.config(QUICK)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    let pid = api.pid()?;
    api.signal("STOP")?;
    guard.wait_reason("service.api", "probe_silent", secs(20))?;
    assert_eq!(sandbox.property("api.service", "SubState")?, "running", "systemd sees nothing");
    api.wait_answers(secs(20))?;
    wait_up(&sandbox, &guard, "service.api")?;
    ensure!(api.pid()? != pid);
    assert_eq!(guard.records("opened")?.len(), 1);
    Ok(())
}

/// A hundred deaths of a unit that systemd starts again: each start is systemd's.
#[test]
fn a_unit_that_systemd_restarts_is_left_to_it() -> Result<()> {
    let sandbox = Sandbox::boot("onfailure")?;
    let api =
        Tiny::install(&sandbox, "api", 8101, "StartLimitIntervalSec=0", "Restart=on-failure\nRestartSec=50ms\n")?;
    let guard = guard(&sandbox, &[api.config(QUICK)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    for death in 0..100 {
        let started = || Ok(api.restarts()? == death && api.pid()? != "0");
        sandbox.wait_until("systemd to start it again", secs(20), started)?;
        api.signal("KILL")?;
    }
    sandbox.wait_until("the last start", secs(20), || Ok(api.restarts()? == 100))?;
    wait_up(&sandbox, &guard, "service.api")?;
    ensure!(guard.records("opened")?.is_empty(), "{:#?}", guard.records("opened")?);
    assert_eq!(api.restarts()?, 100, "a restart of ours begins to count anew");
    ensure!(guard.records("noted")?.len() <= 20, "at most ten deaths a minute are told");
    Ok(())
}

/// Its start takes longer than everything that the watch waits for: the proof, the confirmation, the grace.
#[test]
fn a_start_of_25_s_is_restarted_at_most_once() -> Result<()> {
    let sandbox = Sandbox::boot("slow")?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "")?;
    let confirm = "confirm = { runs = 2, age = \"10s\" }\nstart_grace = \"1s\"\n";
    let guard = guard(&sandbox, &[api.config(confirm)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    api.starts_in(25)?;
    api.signal("STOP")?;
    sandbox.wait_until("the restart", secs(60), || Ok(guard.records("opened")?.len() == 1))?;
    sandbox.wait_until("it to be up", secs(90), || Ok(api.answers()? && guard.up("service.api")? == Some(true)))?;
    guard.sandbox().never("a second restart", secs(10), || Ok(guard.records("opened")?.len() > 1))?;
    assert_eq!(guard.records("opened")?.len(), 1);
    Ok(())
}

/// Fifty units that end and are started again each second, beside one that had an incident before.
#[test]
fn fifty_units_that_flap_push_nothing_out() -> Result<()> {
    let sandbox = Sandbox::boot("flapping")?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "")?;
    let flap = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 0.5\nExecStopPost=/bin/false\n\
                Restart=always\nRestartSec=500ms\n";
    sandbox.write("/etc/systemd/system/flap@.service", "0644", flap)?;
    let watch = |n: u32| format!("[service.flap{n}]\nunit = \"flap@{n}.service\"\n");
    sandbox.sh("systemctl daemon-reload")?;
    let guard = guard(&sandbox, &[api.config(QUICK)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    api.signal("STOP")?;
    sandbox.wait_until("the incident", secs(30), || Ok(guard.records("closed")?.len() == 1))?;
    let before = guard.records("opened")?;

    let units = |n: u32| format!("flap@{n}.service");
    sandbox.sh(&format!("systemctl start --no-block {}", (0..50).map(units).collect::<Vec<_>>().join(" ")))?;
    let watches: String = (0..50).map(watch).collect();
    guard.configure(&format!("{QUICK_HOST}{}{watches}", api.config(QUICK)))?;
    guard.run(&["reload"])?.ok()?;
    guard.wait_reason("service.flap49", "crash_looping", secs(60))?;
    let pid = guard.life()?;
    let resident = guard.resident_kib()?;
    let flapped = span(secs(30), secs(600));
    sandbox.never("a remedy for what systemd restarts", flapped, || {
        std::thread::sleep(secs(1));
        Ok(guard.records("opened")?.len() > before.len())
    })?;
    assert_eq!(guard.records("opened")?, before, "what was before is still told");
    assert_eq!(guard.life()?, pid);
    let after = guard.resident_kib()?;
    ensure!(after < resident + 2048, "it grew from {resident} KiB to {after} KiB");
    let noted = guard.records("noted")?.len();
    // What came before it took less than two minutes.
    let minutes = usize::try_from(flapped.as_secs() / 60)? + 2;
    ensure!(noted <= 51 * 10 * minutes, "{noted} facts in {minutes} minutes");
    eprintln!("{noted} facts in {minutes} minutes, {resident} KiB before, {after} KiB after");
    Ok(())
}

/// PID 1 executes itself anew and the bus dies while systemd is still stopping what it was told to restart.
#[test]
fn a_restart_outlives_the_manager_and_the_bus() -> Result<()> {
    let sandbox = Sandbox::boot("reexec")?;
    let slow = "ExecStop=/bin/sleep 4\nTimeoutStopSec=30\n";
    let api = Tiny::install(&sandbox, "api", 8101, "", slow)?;
    let guard = guard(&sandbox, &[api.config(QUICK)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    api.answer(500, "{}")?;
    sandbox.wait_until("the stop", secs(30), || Ok(sandbox.property("api.service", "SubState")? == "stop"))?;
    sandbox.sh("rm /run/api/answer; systemctl daemon-reexec; systemctl kill --signal=KILL dbus.service")?;
    api.wait_answers(secs(40))?;
    wait_up(&sandbox, &guard, "service.api")?;
    sandbox.wait_until("its end", secs(60), || Ok(guard.records("closed")?.len() == 1))?;
    let closed = guard.records("closed")?;
    assert_eq!(closed[0]["body"]["closed"]["result"], "proved", "{closed:#?}");
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    Ok(())
}

/// `systemctl` has a socket of systemd's own: what is down is known without a bus, and nothing is done about it before one
/// is there to be asked who may forbid it.
#[test]
fn without_a_bus_what_is_down_is_known_and_left_alone() -> Result<()> {
    let sandbox = Sandbox::boot("nobus")?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "")?;
    let guard = guard(&sandbox, &[api.config(QUICK)])?;
    wait_up(&sandbox, &guard, "service.api")?;
    sandbox.sh("systemctl stop dbus.service dbus.socket")?;
    api.signal("KILL")?;
    let killed = |noted: &Value| noted["body"]["noted"]["fact"] == "main process killed 9";
    sandbox.wait_until("what became of it", secs(60), || Ok(guard.records("noted")?.iter().any(killed)))?;
    guard.wait_held("service.api", "gate_unknown", secs(90))?;
    sandbox.never("a restart without a bus", secs(10), || {
        Ok(sandbox.property("api.service", "ActiveState")? != "failed")
    })?;
    sandbox.sh("systemctl start dbus.socket dbus.service")?;
    api.wait_answers(secs(90))?;
    wait_up(&sandbox, &guard, "service.api")?;
    Ok(())
}
