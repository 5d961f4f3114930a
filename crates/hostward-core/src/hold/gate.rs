//! What the edge last saw of everything that may forbid an act: sentinels, mode, lock, operators, the system's state.

use super::{Held, Hold, Lift};
use crate::ask::{Fault, GateQ, GateReading, LockState, Operator, Reading, SentinelState, SystemState};
use crate::id::WatchId;
use crate::ledger::Origin;
use crate::policy::Mode;
use crate::time::{Ms, Now};
use crate::world::World;

/// A system that is still starting after this long is taken for one that runs.
const START_PATIENCE: Ms = Ms::mins(10);
/// A deploy ends within minutes; a lock held for longer is said to be stale, and still respected.
const DEPLOY_LOCK_STALE: Ms = Ms::mins(30);
/// A package manager that holds its lock for longer waits for an answer that nobody gives.
const DPKG_LOCK_STALE: Ms = Ms::mins(30);

/// Sentinels, mode, deploy lock, operators, system state: what the edge last saw.
pub(super) fn gate(world: &World, id: &WatchId, since: Option<Now>, by: Origin, held: &mut Vec<Held>) {
    let Some(watch) = world.policy.watches.get(id) else { return };
    for pause in world.state.pauses_of(id, world.now) {
        let value = format!("paused: {}", pause.reason);
        let lift = Lift::At(world.now.reach(pause.at, pause.span));
        held.push(Held::new(Hold::Maintenance, value, "not paused; or `hostward resume`", lift));
    }
    let mode = if world.rejected.is_some() { Mode::Observe } else { world.policy.mode(watch) };
    match mode {
        Mode::Act => {}
        Mode::Propose if by == Origin::Apply => {}
        Mode::Propose => held.push(Held::new(
            Hold::ProposeOnly,
            "mode = propose",
            "mode = act",
            Lift::Operator("`hostward apply PLAN`, or set mode = \"act\" and reload".into()),
        )),
        Mode::Observe => {
            let value = world.rejected.clone().unwrap_or_else(|| "mode = observe".into());
            let lift = Lift::Operator("correct the configuration, set mode = \"act\", and reload".into());
            held.push(Held::new(Hold::ObserveOnly, value, "mode = act", lift));
        }
    }
    let question = world.policy.gate(watch);
    match world.gate(id) {
        Some((asked, answer)) if since.is_none_or(|since| asked.not_before(since)) => match answer {
            Ok(Reading::Gate(reading)) => gate_reading(world.now, &question, reading, held),
            Ok(_) => gate_unknown(&Fault::Probe("another question's answer".into()), held),
            Err(fault) => gate_unknown(fault, held),
        },
        _ => gate_unknown(&Fault::Probe("not looked up yet".into()), held),
    }
}

/// A state of its unit that somebody chose. Not while a plan of ours has its hands on it: then it is our own doing.
pub(super) fn operator(world: &World, id: &WatchId, held: &mut Vec<Held>) {
    let Some((watch, live)) = world.watch(id) else { return };
    let ours = watch.spec.unit().is_some_and(|unit| world.touches(unit));
    if !ours {
        held.extend(watch.spec.by_hand(live, world.now));
    }
}

/// dpkg's lock, held for so long, was forgotten by somebody; a person is told, and the host is not left to itself.
fn left_behind(operator: &Operator) -> bool {
    operator.command.starts_with("dpkg") && operator.age.is_some_and(|age| age >= DPKG_LOCK_STALE)
}

fn gate_unknown(fault: &Fault, held: &mut Vec<Held>) {
    let lift = Lift::Fact("the next look".into());
    held.push(Held::new(Hold::GateUnknown, fault.to_string(), "sentinel, lock and system state are known", lift));
}

fn gate_reading(now: Now, question: &GateQ, reading: &GateReading, held: &mut Vec<Held>) {
    for (path, state) in question.sentinels.iter().zip(&reading.sentinels) {
        let path = path.display();
        let (value, lift) = match state {
            SentinelState::Present => continue,
            SentinelState::Absent => (format!("{path} is absent"), format!("create {path}, or `hostward enable`")),
            SentinelState::NotAFile => (format!("{path} is no regular file"), format!("make {path} a regular file")),
            SentinelState::NotRoots => {
                (format!("{path} is not root's alone"), format!("chown root:root {path} and chmod 0644 it"))
            }
        };
        held.push(Held::new(Hold::NoSentinel, value, "a regular file of root's", Lift::Operator(lift.into())));
    }
    match &reading.lock {
        None | Some(LockState::Free) => {}
        Some(LockState::Held { pid, command, age }) => {
            let by = match (pid, command) {
                (Some(pid), Some(command)) => format!("held by {command} (pid {pid})"),
                (Some(pid), None) => format!("held by pid {pid}"),
                (None, _) => "held".to_owned(),
            };
            let stale = if age.is_some_and(|age| age >= DEPLOY_LOCK_STALE) { ", for more than 30 min" } else { "" };
            let lift = Lift::Fact("the lock is free".into());
            held.push(Held::new(Hold::DeployInProgress, format!("{by}{stale}"), "the deploy lock is free", lift));
        }
        Some(LockState::Unreadable(why)) => {
            let lift = Lift::Operator(format!("make the lock readable: {why}").into());
            held.push(Held::new(
                Hold::DeployInProgress,
                format!("cannot be read: {why}"),
                "the deploy lock is free",
                lift,
            ));
        }
    }
    if let Some(operator) = reading.operators.iter().find(|operator| !left_behind(operator)) {
        let value = format!("{} (pid {})", operator.command, operator.pid);
        let lift = Lift::Fact("it ends".into());
        held.push(Held::new(Hold::OperatorActive, value, "nobody changes the tree", lift));
    }
    if let Some(unit) = reading.old_actors.first() {
        let lift = Lift::Operator(format!("systemctl disable --now {unit}").into());
        held.push(Held::new(Hold::OldActor, format!("{unit} is still enabled or active"), "one actor", lift));
    }
    if let Some(file) = reading.rivals.first() {
        let file = file.display();
        let lift = Lift::Operator(format!("remove {file} and whatever writes it").into());
        held.push(Held::new(Hold::OldActor, format!("{file} carries our metric families"), "one actor", lift));
    }
    // A boot that never ends, because of one stuck job, must not hold for ever.
    let booted = reading.system == SystemState::Starting && now.up >= START_PATIENCE;
    if reading.system != SystemState::Running && !booted {
        let value = format!("the system is {:?}", reading.system).to_lowercase();
        held.push(Held::new(Hold::SystemState, value, "running", Lift::Fact("it runs".into())));
    }
}
