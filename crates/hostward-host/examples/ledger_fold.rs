//! A ledger made, and folded again and again: what `cargo xtask bench ledger` measures.
//!
//! `make DIR BYTES` leaves one file of that size, as a host would that never rotates. `fold DIR RUNS` prints, as JSON, the
//! nanoseconds of each fold and the most memory that was resident.

use std::error::Error;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use hostward_core::id::{RunId, Rung, TargetId, WatchId};
use hostward_core::ledger::{Body, Closing, Origin, Record, State, Turn};
use hostward_core::plan::{Heal, OnCrash, OnFail, Plan, Step};
use hostward_core::time::{Ms, Now};
use hostward_host::ledger::{LEDGER, LedgerEvent, Limits, MAX_WAITING, Writer, engine_lock, fold};

/// Watches that take turns.
const TARGETS: u64 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", dir, bytes] => make(Path::new(dir), bytes.parse()?),
        ["fold", dir, runs] => measure(Path::new(dir), runs.parse()?),
        _ => Err("make DIR BYTES, or fold DIR RUNS".into()),
    }
}

fn make(dir: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let (tell, told) = channel();
    let lock = engine_lock(dir)?;
    let whole = Limits { rotate_at: u64::MAX / 2, generations: 0 };
    let tell = move |event| drop(tell.send(event));
    let writer = Writer::open(&lock, &fold(dir, &|_| Now::default())?, whole, tell)?;
    let mut seq = 0;
    let mut open = None;
    while dir.join(LEDGER).metadata()?.len() < bytes {
        for _ in 0..MAX_WAITING {
            seq += 1;
            let record = Record { seq, at: at(seq), body: body(seq, &mut open) };
            writer.append(seq, &serde_json::to_vec(&record)?)?;
        }
        while told.recv()? != LedgerEvent::Durable(seq) {}
    }
    Ok(())
}

fn measure(dir: &Path, runs: usize) -> Result<(), Box<dyn Error>> {
    let mut nanos = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        let folded = fold(dir, &|state: &State| Now { boot: state.boot + 1, ..Now::default() })?;
        nanos.push(u64::try_from(started.elapsed().as_nanos())?);
        if let Some(why) = folded.condition.unusable() {
            return Err(why.into());
        }
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let most: u64 = most.trim().trim_end_matches(" kB").parse()?;
    println!("{{\"nanos\": {nanos:?}, \"vm_hwm_kb\": {most}}}");
    Ok(())
}

fn at(seq: u64) -> Now {
    Now { boot: 1, up: Ms::secs(seq), wall: Ms::secs(1_750_000_000 + seq) }
}

/// What an incident leaves: facts, a verdict, its holds, a run with one step, the settled attempt, up again.
fn body(seq: u64, open: &mut Option<RunId>) -> Body {
    let n = seq / 10 % TARGETS;
    let target = TargetId::new(WatchId::new(format!("service.app-{n}")), format!("app-{n}.service"));
    let run = open.unwrap_or(RunId(seq));
    match seq % 10 {
        _ if seq == 1 => Body::Started { boot_id: "a boot".into(), version: "0".into() },
        0..=2 => {
            let fact = format!("main process exited 1; automatic restart {}", seq % 10);
            Body::Noted { target, fact: fact.into(), missed: 0 }
        }
        3 => {
            let detail = "3 automatic restarts within 1m, last exited 1".into();
            let to = Turn::Down { reason: "crash_looping".into(), detail, blame: None };
            Body::Turned { target, to, incident: Some(seq) }
        }
        4 => Body::Held { target, holds: vec!["settling".into()], would: None },
        5 => {
            *open = Some(RunId(seq));
            Body::Opened { plan: Box::new(plan(target)), origin: Origin::Daemon }
        }
        6 => Body::Began { run, step: 0, again: false },
        7 => Body::Ended { run, step: 0, end: hostward_core::run::StepEnd::Done },
        8 => Body::Closed { run, result: Closing::Proved },
        _ => Body::Turned { target, to: Turn::Up, incident: None },
    }
}

fn plan(target: TargetId) -> Plan {
    let rung = Rung::new("restart");
    Plan {
        watch: target.watch.clone(),
        rung: rung.clone(),
        heals: vec![Heal::new(target, rung, "crash_looping")],
        touches: Vec::new(),
        cost: 1,
        basis: Vec::new(),
        why: "it restarts again and again".into(),
        steps: vec![Step {
            act: None,
            deadline: Ms::secs(90),
            proof: None,
            crash: OnCrash::Again,
            back: None,
            unless: None,
            fail: OnFail::Unwind,
        }],
    }
}
