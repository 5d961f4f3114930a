//! `storage`: hot paths on a real sshfs, seen to fall and left to hang; and passes over many that are well.

mod held;
mod passes;

use std::time::Duration;

use anyhow::Result;
use hostward_tests::{Guard, HotPaths, QUICK_HOST, Sandbox};

use super::report::median;
use super::{Figure, Programs, host};
use held::Held;

const FALLS: usize = 20;
const GOAL_VERDICT_MS: f64 = 50.0;
/// The default is a look each minute, which nobody has waited for who is judged in milliseconds.
const SELDOM: [(&str, &str); 2] =
    [("interval = \"1s\"", "interval = \"1h\""), ("runs = 2, age = \"1s\"", "runs = 1, age = \"0s\"")];

const SCRAPES: &str = "1000";
const GOAL_SCRAPE_P99_MS: f64 = 2.0;
const JUDGED_WITHIN: Duration = Duration::from_secs(30);
/// Looks, of one a second, after which what is allocated once has been.
const WARM: Duration = Duration::from_mins(1);
/// As n1 and d6 bound it.
const GROWTH_MAX_MB: f64 = 2.0;

pub(super) fn measure(programs: &Programs, hangs: Duration) -> Result<Vec<Figure>> {
    let mut figures = falls(programs)?;
    figures.extend(passes::measure(programs)?);
    figures.extend(hung(programs, hangs)?);
    Ok(figures)
}

/// Kills the base's unit again and again; nobody but the unit tells of it, for a look is an hour away.
fn falls(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-falls", programs)?;
    let hot = HotPaths::install(&sandbox)?;
    let mut config = format!("{QUICK_HOST}{}", HotPaths::LOOKING_ON);
    for (was, is) in SELDOM {
        anyhow::ensure!(config.contains(was), "the watch no longer has '{was}'");
        config = config.replace(was, is);
    }
    let guard = start(&sandbox, programs, &config)?;
    let mut nanos = Vec::with_capacity(FALLS);
    for fall in 0..FALLS {
        if fall > 0 {
            hot.unmount()?;
            hot.mount()?;
            wait_well(&guard)?;
        }
        nanos.push(host::inside(&sandbox, &["fall", "box.service", "storage.hot#/srv/box"])?);
    }
    let figure =
        Figure::many("storage", "death of the base's unit to the verdict on its path", "ms", &host::millis(&nanos));
    Ok(vec![figure.goal(GOAL_VERDICT_MS)])
}

/// What was down is up again at its second good look: asked for, it does not wait for the pace of a watch that is down.
fn wait_well(guard: &Guard<'_>) -> Result<()> {
    guard.sandbox().wait_until("the paths to be up again", JUDGED_WITHIN, || {
        guard.run(&["check", "storage.hot"])?;
        guard.has_metric("hostward_watch_up{watch=\"storage.hot\"} 1")
    })?;
    Ok(())
}

/// Scrapes, and what the daemon holds, before a server stops to answer and after that has lasted a while.
fn hung(programs: &Programs, hangs: Duration) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-hung", programs)?;
    let hot = HotPaths::install(&sandbox)?;
    let guard = start(&sandbox, programs, &format!("{QUICK_HOST}{}", HotPaths::LOOKING_ON))?;
    let quiet = scrapes(&sandbox)?;
    std::thread::sleep(WARM);
    let before = Held::read(&sandbox)?;

    hot.signal_server("STOP")?;
    guard.wait_path("/srv/box", "hung")?;
    let beside = scrapes(&sandbox)?;
    std::thread::sleep(hangs);
    let after = Held::read(&sandbox)?;

    let scrape = |what: &str, [ours, floor]: &[Vec<f64>; 2]| {
        let figure =
            Figure::many("storage", format!("GET /metrics, {what}"), "ms", ours).goal_p99(GOAL_SCRAPE_P99_MS);
        [
            figure.peer("the same bytes from memory", median(floor)),
            Figure::many("storage", "... the same bytes from memory", "ms", floor),
        ]
    };
    let mut figures = Vec::from(scrape("nothing hangs", &quiet));
    figures.extend(scrape("a mount hangs", &beside));
    let minutes = hangs.as_secs() / 60;
    let held = |what: &str, unit: &'static str, after: f64, before: f64| {
        Figure::one("storage", format!("{what} after {minutes} min of it"), unit, after).peer("before", before)
    };
    figures.extend([
        held("VmRSS", "MB", after.resident_mb, before.resident_mb).goal(before.resident_mb + GROWTH_MAX_MB),
        held("children", "processes", after.children, before.children).goal(before.children + 1.0),
        // The child's end is waited for by a descriptor.
        held("descriptors", "descriptors", after.descriptors, before.descriptors).goal(before.descriptors + 1.0),
        held("threads", "threads", after.threads, before.threads).goal(before.threads),
    ]);
    Ok(figures)
}

fn start<'a>(sandbox: &'a Sandbox, programs: &Programs, config: &str) -> Result<Guard<'a>> {
    let guard = Guard::install_binary(sandbox, &programs.hostward, config)?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("the watch to be up", JUDGED_WITHIN, || Ok(guard.up("storage.hot")? == Some(true)))?;
    Ok(guard)
}

fn scrapes(sandbox: &Sandbox) -> Result<[Vec<f64>; 2]> {
    let nanos: [Vec<u64>; 2] = host::inside(sandbox, &["scrapes", SCRAPES, "127.0.0.1:9469"])?;
    Ok(nanos.map(|nanos| host::millis(&nanos)))
}
