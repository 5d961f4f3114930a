//! Holds as the host knows them: since when each really stands, whatever the engine believes.

use hostward_core::ask::{Active, GateQ, SystemState};
use hostward_core::hold::Hold;
use hostward_core::id::{TargetId, WatchId};
use hostward_core::ledger::Origin;
use hostward_core::policy::Mode;
use hostward_core::time::Ms;
use hostward_core::watch::Spec;

use crate::scenario::{What, policy};
use crate::sim::Sim;
use crate::truth::Truth;

/// A system that is still starting after this long is taken for one that runs (safety.md, "SystemState").
const START_PATIENCE: Ms = Ms::mins(10);

/// A hold, and since when it stands.
pub(super) type Standing = (Hold, Ms);

/// Every ending hold of a watch that stands now.
pub(super) fn ending(sim: &Sim, watch: &WatchId, by: Origin) -> Vec<Standing> {
    let mut found = Vec::new();
    let Some(engine) = &sim.engine else { return found };
    let policy = &engine.world().policy;
    let Some(declared) = policy.watches.get(watch) else { return found };
    let changed = sim.changed.get(watch).copied().unwrap_or(Ms::ZERO);
    match policy.mode(declared) {
        Mode::Act => {}
        Mode::Propose if by == Origin::Apply => {}
        Mode::Propose => found.push((Hold::ProposeOnly, changed)),
        Mode::Observe => found.push((Hold::ObserveOnly, changed)),
    }
    for (of, (at, span)) in &sim.book.paused {
        let meant = of.as_ref().is_none_or(|of| of == watch);
        // Across a reboot whose wall clock jumped nobody can know how long it has stood.
        let known = sim.book.doubt.is_none_or(|doubt| doubt < *at);
        if meant && known && sim.real() < *at + *span {
            found.push((Hold::Maintenance, *at));
        }
    }
    found.extend(sim.book.ledger_bad.map(|at| (Hold::LedgerUnwritable, at)));
    if sim.book.safe {
        found.push((Hold::SafeMode, Ms::ZERO));
    }
    let gate = policy.gate(declared);
    let booted = sim.now().up >= START_PATIENCE;
    let raised = |what: &What| raised(watch, &gate, what, booted);
    found.extend(sim.host.active.0.iter().filter_map(|(_, what, since)| Some((raised(what)?, *since))));
    found
}

/// What one fault forbids to a watch with this gate.
fn raised(watch: &WatchId, gate: &GateQ, what: &What, booted: bool) -> Option<Hold> {
    let named = |name: &str| name.is_empty() || name == watch.as_str();
    let sentinel = |name: &str| match name.strip_prefix("app.") {
        Some(app) => policy::app_sentinel(app),
        None => policy::sentinel(&WatchId::new(name)),
    };
    let own_lock = |app: &String| gate.lock.as_deref() == Some(&policy::lock(app));
    let hold = match what {
        What::NoHostSentinel => Hold::NoSentinel,
        What::NoSentinel(name) | What::BadSentinel(name) if gate.sentinels.contains(&sentinel(name)) => {
            Hold::NoSentinel
        }
        What::DeployLock(app) | What::LockUnreadable(app) if own_lock(app) => Hold::DeployInProgress,
        What::Operator(env) if gate.trees.iter().any(|tree| tree.starts_with(policy::tree(env))) => {
            Hold::OperatorActive
        }
        What::OldActor(app) if gate.replaces.contains(&policy::old_actor(app)) => Hold::OldActor,
        What::Rival if gate.textfile.is_some() => Hold::OldActor,
        What::System(SystemState::Starting) if booted => return None,
        What::System(state) if *state != SystemState::Running => Hold::SystemState,
        What::Blind(name) | What::Mute(name) if named(name) => Hold::GateUnknown,
        What::BusAway => Hold::GateUnknown,
        _ => return None,
    };
    Some(hold)
}

/// Since when the unit of a watch is as somebody chose it, and will stay so for now: masked, disabled, or stopped by hand
/// within its respite.
pub(super) fn chosen(sim: &Sim, watch: &WatchId) -> Option<Ms> {
    let declared = sim.engine.as_ref()?.world().policy.watches.get(watch)?;
    let Spec::Service(spec) = &declared.spec else { return None };
    let unit = sim.host.unit(&spec.unit)?;
    let by = |what: &What| match what {
        What::Mask(name) => *name == unit.plan.name && unit.masked,
        What::Disable(name) => *name == unit.plan.name && unit.disabled && unit.active == Active::Inactive,
        _ => false,
    };
    let forbidden = sim.host.active.0.iter().find(|(_, what, _)| by(what)).map(|(.., since)| *since);
    forbidden.or(unit.by_hand.filter(|at| sim.real().saturating_sub(*at) < spec.respect_stop))
}

/// Since when a target is really down; none while it is well.
pub(crate) fn truth<'a>(sim: &'a Sim, target: &TargetId) -> Option<&'a Truth> {
    sim.truth.iter().find(|truth| truth.id == *target)
}
