//! `recover`: SIGKILL of a main process to the next one. `black-holes`: the same while 32 probes hang.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{Sandbox, install_hostward};

use super::inside::{Deaths, Returns};
use super::report::median;
use super::{Figure, Programs, host, monit};

/// A unit that was repaired is left alone until its soak is over: each dies once a part.
const DEATHS: usize = 30;
const BESIDE_HOLES: usize = 30;
/// Of the peer, whose figure is hundreds of times larger.
const PEERS: usize = 20;
/// With its cycle of twenty seconds.
const PEERS_BESIDE_HOLES: usize = 4;
/// A proof takes 3 s, and three that are down at once would be a storm.
const GAP_MS: &str = "4500";
const PEER_GAP_MS: &str = "1200";

const GOAL_FACT_MS: f64 = 10.0;
/// Of the peer's median.
const GOAL_SHARE: f64 = 1.0 / 20.0;
/// Of the quiet run's figure.
const GOAL_WITH_HOLES: f64 = 1.2;

const HOLES: usize = 32;
const PEER_HOLES: usize = 4;
const FIRST_HOLE: usize = 7000;
/// Told by the facts alone, so that they may die often: a target's facts are limited to ten a minute.
const WATCHED: usize = 12;
const ROUNDS: &str = "9";

/// A target of its own, so that no watch above has to wait for it: nothing is ever done about it.
const HOLES_WATCH: &str = "[service.holes]\nunit = \"holes.service\"\nmode = \"observe\"\nstart_grace = \"0s\"\n\
                           confirm = { runs = 2, age = \"5s\" }\n";

pub(super) fn recover(programs: &Programs) -> Result<Vec<Figure>> {
    let disk = host::Disk::make()?;
    let sandbox = host::boot_on(&disk, "bench-recover", programs)?;
    install(&sandbox, programs, DEATHS)?;
    let ours = ours(&sandbox, 0, DEATHS)?;
    sandbox.sh("systemctl stop hostward")?;
    monit::start(&sandbox, 1, &processes(PEERS))?;
    let peer: Returns = host::inside(&sandbox, &["revive", "no-", "0", &PEERS.to_string(), PEER_GAP_MS])?;
    let peer = host::millis(&peer.returned);

    let stage = |what: &str, nanos: &[u64]| Figure::many("recover", what, "ms", &host::millis(nanos));
    Ok(vec![
        stage("kill to a new main process", &ours.returned)
            .goal(median(&peer) * GOAL_SHARE)
            .peer("monit, 1 s cycle", median(&peer)),
        stage("... to the fact's stamp", &ours.noted).goal(GOAL_FACT_MS),
        stage("... to the verdict", &ours.turned),
        stage("... to the run", &ours.opened),
        stage("... to the step's intent", &ours.began),
        Figure::many("recover", "monit: kill to a new main process", "ms", &peer),
    ])
}

pub(super) fn black_holes(programs: &Programs) -> Result<Vec<Figure>> {
    let disk = host::Disk::make()?;
    let sandbox = host::boot_on(&disk, "bench-holes", programs)?;
    install(&sandbox, programs, DEATHS + BESIDE_HOLES)?;
    // The facts last: those units stay down, and what dies next to them would be held as a storm.
    let quiet = (ours(&sandbox, 0, DEATHS)?, facts(&sandbox)?);

    // So small a backlog that the holes which never accept soon let nobody connect either.
    sandbox.sh("sysctl -qw net.core.somaxconn=1")?;
    sandbox.sh(&format!("systemd-run --quiet --unit=holes {} __inside holes {HOLES} {FIRST_HOLE}", host::SELF))?;
    configure(&sandbox, DEATHS + BESIDE_HOLES, &holes_watch()?)?;
    sandbox.sh(&format!("systemctl start {}; systemctl restart hostward", names("told-", WATCHED)))?;
    // Down together with what dies next it would be a storm, which is waited out.
    sandbox.wait_until("the holes are judged", Duration::from_mins(2), || {
        Ok(sandbox.exec(["grep", "--quiet", "probe_silent", "/var/lib/hostward/ledger"])?.status.success())
    })?;
    std::thread::sleep(Duration::from_secs(35));
    let beside = (ours(&sandbox, DEATHS, DEATHS + BESIDE_HOLES)?, facts(&sandbox)?);

    sandbox.sh("systemctl stop hostward")?;
    monit::start(&sandbox, 1, &(processes(PEERS) + &peer_holes()?))?;
    std::thread::sleep(Duration::from_secs(2));
    let to = PEERS_BESIDE_HOLES.to_string();
    let peer: Returns = host::inside(&sandbox, &["revive", "no-", "0", &to, PEER_GAP_MS])?;

    let mut figures = pair("kill to the fact's stamp", &quiet.1.stamped, &beside.1.stamped);
    figures.extend(pair("kill to a new main process", &quiet.0.returned, &beside.0.returned));
    let what = format!("monit with {PEER_HOLES} holes: kill to a new main process");
    figures.push(Figure::many("black-holes", what, "ms", &host::millis(&peer.returned)));
    Ok(figures)
}

/// The same without the holes and beside them.
fn pair(what: &str, quiet: &[u64], beside: &[u64]) -> Vec<Figure> {
    let quiet = host::millis(quiet);
    let before = Figure::many("black-holes", format!("{what}, quiet"), "ms", &quiet);
    let after = Figure::many("black-holes", format!("{what}, {HOLES} holes"), "ms", &host::millis(beside));
    let (goal, goal_p99) = (before.median() * GOAL_WITH_HOLES, before.p99() * GOAL_WITH_HOLES);
    let after = after.goal(goal).goal_p99(goal_p99).peer("quiet", before.median());
    vec![before, after]
}

/// Units that nobody restarts, in two fleets: of one the daemon brings back what dies, of the other it only tells.
fn install(sandbox: &Sandbox, programs: &Programs, deaths: usize) -> Result<()> {
    for (prefix, units) in [("no-", deaths), ("told-", WATCHED)] {
        for n in 0..units {
            let name = format!("{prefix}{n:02}");
            // The pid file is for the peer.
            let unit = format!(
                "[Unit]\nStartLimitIntervalSec=0\n\
                 [Service]\nExecStart=/bin/sh -c 'echo $$$$ >/run/{name}.pid; exec sleep infinity'\n"
            );
            sandbox.write(&format!("/etc/systemd/system/{name}.service"), "0644", unit)?;
        }
    }
    install_hostward(sandbox, &programs.hostward, "")?;
    configure(sandbox, deaths, "")?;
    let (no, told) = (names("no-", deaths), names("told-", WATCHED));
    sandbox.sh(&format!("touch /etc/hostward/enabled; systemctl start {no} {told} hostward"))?;
    sandbox.wait_until("every watch is judged", Duration::from_secs(20), || {
        Ok(sandbox.exec(["hostward", "status"])?.status.success())
    })?;
    Ok(())
}

fn names(prefix: &str, units: usize) -> String {
    (0..units).map(|n| format!("{prefix}{n:02}")).collect::<Vec<_>>().join(" ")
}

fn configure(sandbox: &Sandbox, deaths: usize, more: &str) -> Result<()> {
    let mut config = "[host]\nsettle = \"0s\"\nbudget = \"256 per 1h\"\n".to_owned();
    for n in 0..deaths {
        write!(config, "[service.no-{n:02}]\nunit = \"no-{n:02}.service\"\n")?;
    }
    for n in 0..WATCHED {
        write!(config, "[service.told-{n:02}]\nunit = \"told-{n:02}.service\"\nmode = \"observe\"\n")?;
    }
    hostward_tests::write_config(sandbox, &(config + more))
}

fn holes_watch() -> Result<String> {
    let mut config = HOLES_WATCH.to_owned();
    for n in 0..HOLES {
        let url = format!("http://127.0.0.1:{}/", FIRST_HOLE + n);
        write!(config, "[[service.holes.probe.http]]\nurl = \"{url}\"\nevery = \"10s\"\ntimeout = \"5s\"\n")?;
    }
    Ok(config)
}

fn ours(sandbox: &Sandbox, from: usize, to: usize) -> Result<Returns> {
    let (from, to) = (from.to_string(), to.to_string());
    host::inside(sandbox, &["revive", "no-", &from, &to, GAP_MS, "--ledger", "/var/lib/hostward/ledger"])
        .context("kill and see it brought back")
}

fn facts(sandbox: &Sandbox) -> Result<Deaths> {
    host::inside(sandbox, &["kills", "told-", &WATCHED.to_string(), ROUNDS, "--start"])
}

/// What monit is told of the units: the pid file that each writes.
fn processes(units: usize) -> String {
    let check = |n: usize| {
        format!(
            "check process no-{n:02} with pidfile /run/no-{n:02}.pid\n  \
             start program = \"/bin/systemctl start no-{n:02}\"\n"
        )
    };
    (0..units).map(check).collect()
}

fn peer_holes() -> Result<String> {
    let mut checks = String::new();
    for n in 0..PEER_HOLES {
        let port = FIRST_HOLE + n;
        writeln!(checks, "check host hole-{n} with address 127.0.0.1")?;
        writeln!(checks, "  if failed port {port} protocol http with timeout 5 seconds then alert")?;
    }
    Ok(checks)
}
