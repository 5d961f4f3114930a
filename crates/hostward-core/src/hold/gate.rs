//! What the edge last saw of everything that may forbid an act: sentinels, mode, lock, operators, the system's state.

use super::{Held, HeldLock, Hold, Lift};
use crate::ask::{Fault, GateQ, GateReading, Operator, Reading, SentinelState, SystemState};
use crate::id::WatchId;
use crate::ledger::Origin;
use crate::policy::Mode;
use crate::time::{Ms, Now};
use crate::world::World;

/// A system that is still starting after this long is taken for one that runs.
const START_PATIENCE: Ms = Ms::mins(10);
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
            Ok(Reading::Gate(reading)) => {
                let lock = world.live.get(id).and_then(|live| live.lock.held());
                gate_reading(world.now, &question, reading, lock, held);
            }
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

fn deploy_lock(now: Now, lock: &HeldLock) -> Held {
    let shown = lock.view(now);
    let stale = if shown.stale { format!(", for {}", shown.held_for) } else { String::new() };
    let lift = match lock.unreadable() {
        Some(why) => Lift::Operator(format!("make the lock readable: {why}").into()),
        None => Lift::Fact("the lock is free".into()),
    };
    Held::new(Hold::DeployInProgress, format!("{}{stale}", shown.says), "the deploy lock is free", lift)
}

fn gate_reading(now: Now, question: &GateQ, reading: &GateReading, lock: Option<&HeldLock>, held: &mut Vec<Held>) {
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
    held.extend(lock.map(|lock| deploy_lock(now, lock)));
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

#[cfg(test)]
mod tests;
