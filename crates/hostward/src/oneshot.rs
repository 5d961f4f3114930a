//! One engine for one verb: the whole cycle of the timer path when no daemon runs, and the looks of `check`, `plan`,
//! `status` and `explain`, which never act and write nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use hostward_core::command::{Command, Reply};
use hostward_core::engine::Begin;
use hostward_core::id::Str;
use hostward_core::ledger::{Origin, Record};
use hostward_core::policy::Policy;
use hostward_host::child::Children;
use hostward_host::ledger::EngineLock;
use tokio::sync::mpsc;

use crate::actor::Actor;
use crate::bus::Bus;
use crate::drive::{Drive, always_written};
use crate::edge::{self, EVENTS_MAX, Edge, Hands};
use crate::exit::{self, Exit};
use crate::eyes::{Eyes, Files};
use crate::metrics;
use crate::status::{self, Health, Status};
use crate::store::{self, Paths};
use crate::words::Words;

/// Looks once, at one watch or at all, with the ledger's memory and without its lock.
pub(crate) async fn look(paths: &Paths, policy: Policy, command: Command) -> Result<Reply> {
    // Not root: what was done before is not known, what is can still be seen.
    let folded = store::read_ledger(paths).unwrap_or_default();
    let (clock, boot_id) = store::clock(&folded.state)?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let bus = Bus::start(events.clone());
    let eyes = Eyes::new(bus, Files::Here);
    let edge = Edge { events, eyes, hands: None, replies: BTreeMap::new(), recording: None };
    let begin = Begin {
        now: clock.now(),
        boot_id,
        policy: Arc::new(policy),
        rejected: None,
        memory: store::load_memory(paths),
        damaged: folded.condition.unusable().map(Str::from),
        state: folded.state,
        origin: Origin::Look,
    };
    let mut drive = Drive::begin(begin, clock, edge, inbox, always_written(), &mut |_| {});
    drive.until(command, &mut |_| {}).await.context("the engine gave no reply")
}

/// A reply as `status --json` prints it.
pub(crate) fn status_of(reply: Reply) -> Result<Status> {
    match reply {
        Reply::View(view) => {
            Ok(Status { version: status::VERSION, daemon: None, idle: None, health: Health::default(), view: *view })
        }
        Reply::NoSuchWatch { asked, known } => Err(no_such_watch(&asked, &known)),
        Reply::Refused { why } => Err(anyhow::anyhow!("{why}")),
        Reply::Applied(_) => Err(anyhow::anyhow!("the engine answered another order")),
    }
}

/// Names what there is, and the nearest.
pub(crate) fn no_such_watch(
    asked: &hostward_core::id::WatchId,
    known: &[hostward_core::id::WatchId],
) -> anyhow::Error {
    let known: Vec<&str> = known.iter().map(hostward_core::id::WatchId::as_str).collect();
    exit::error(Exit::Usage, format!("no watch '{asked}' is configured; there are: {}", known.join(", ")))
}

/// One order carried out with the same engine, lock and ledger as the daemon's: a whole cycle, most often. Gives the
/// engine's reply, and what is known after it.
pub(crate) async fn carry_out(
    paths: &Paths,
    lock: &EngineLock,
    loaded: hostward_config::Loaded,
    command: Command,
) -> Result<(Reply, Status)> {
    let (tell, written) = edge::ledger_word();
    let opened = store::open_ledger(paths, lock, tell)?;
    let (clock, boot_id) = store::clock(&opened.folded.state)?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let bus = Bus::start(events.clone());
    let policy = Arc::new(loaded.policy);
    let actor = Actor::new(bus.clone(), policy.clone(), paths.evidence());
    // Not here: a thread that hangs in the kernel would keep this process, and with it the engine's lock.
    let program = std::env::current_exe().context("find our own program")?;
    let hands = Hands::new(actor, opened.writer);
    let eyes = Eyes::new(bus, Files::Child(Children::new(program)));
    let edge = Edge { events, eyes, hands: Some(hands), replies: BTreeMap::new(), recording: None };
    let mut words = Words::of_open(&opened.folded.state);
    let begin = Begin {
        now: clock.now(),
        boot_id,
        policy,
        rejected: None,
        memory: store::load_memory_beside(paths, &opened.folded),
        damaged: opened.folded.condition.unusable().map(Str::from),
        state: opened.folded.state,
        origin: Origin::Trigger,
    };
    let mut say = |record: &Record| {
        let (_, watch, says) = words.of(record);
        let watch = watch.map(|w| format!("{w}: ")).unwrap_or_default();
        eprintln!("{watch}{says}");
    };
    let mut drive = Drive::begin(begin, clock, edge, inbox, written, &mut say);
    let reply = drive.until(command, &mut say).await.context("the engine gave no reply");
    if let Err(error) = store::save_memory(paths, &drive.memory()) {
        eprintln!("hostward: the evidence could not be kept: {error:#}");
    }
    let reply = reply?;
    let status = status_of(Reply::View(Box::new(drive.view())))?;
    if let Some(textfile) = &loaded.export.textfile {
        let ledger_not_rotated = drive.ledger_problem().is_some();
        let health = Health { textfile_ok: Some(true), ledger_not_rotated, ..Health::default() };
        let text = metrics::text(&status.view, &health, drive.durations())?;
        if let Err(error) = store::replace(textfile, text.as_bytes(), 0o644) {
            eprintln!("hostward: metrics.textfile: {error:#}");
        }
    }
    let unwritten = drive.stop(&mut say);
    anyhow::ensure!(unwritten == 0, "{unwritten} records could not be written to the ledger");
    Ok((reply, status))
}
