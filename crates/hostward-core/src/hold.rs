//! Hold: every reason not to act now, all of them, each with its value, its threshold and when it could lift.
//!
//! All of them judge whether a plan may begin. The ending ones are looked at again, afresh, before every forward step.
//! (safety.md, "Holds".)

mod brakes;
mod cause;
mod gate;
mod host;
mod lock;
mod queue;
mod storm;

use serde::{Deserialize, Serialize};

use crate::ask::Answer;
use crate::id::{Str, TargetId};
use crate::judge::{Seen, Target};
use crate::ledger::Origin;
use crate::plan::{Heal, Plan};
use crate::planted::{Bug, planted};
use crate::time::{Ms, Now};
use crate::world::{Start, World};

pub(crate) use brakes::{Circuit, circuit, tried};
pub(crate) use cause::{CAUSE_PATIENCE, causes};
pub use lock::{HeldLock, LockSeen, LockView};
pub(crate) use queue::queue;
pub use storm::Storm;

/// A gate that was asked for this long ago may open a run; its first step asks again. Longer than the question's own
/// deadline, or a slow edge would never be fresh.
pub const GATE_FRESH: Ms = Ms::secs(6);
/// A relapse within this long of being cleared counts against the daily cap.
pub const RELAPSE_WINDOW: Ms = Ms::hours(1);

/// The closed set: each is a label of `hostward_watch_hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    NoSentinel,
    ObserveOnly,
    ProposeOnly,
    Maintenance,
    Confirming,
    Settling,
    Recovering,
    Unsettled,
    Cooldown,
    TargetCap,
    CircuitOpen,
    BudgetSpent,
    DependencyDown,
    Unreachable,
    DeployInProgress,
    OperatorActive,
    OldActor,
    SystemState,
    Pressure,
    Storm,
    Claimed,
    LedgerUnwritable,
    LedgerDamaged,
    SafeMode,
    Stuck,
    BasisMoved,
    GateUnknown,
    UnitsHealthy,
    SiblingActive,
    DiskFull,
    NoRemedy,
}

impl Hold {
    pub const ALL: [Hold; 31] = [
        Hold::NoSentinel,
        Hold::ObserveOnly,
        Hold::ProposeOnly,
        Hold::Maintenance,
        Hold::Confirming,
        Hold::Settling,
        Hold::Recovering,
        Hold::Unsettled,
        Hold::Cooldown,
        Hold::TargetCap,
        Hold::CircuitOpen,
        Hold::BudgetSpent,
        Hold::DependencyDown,
        Hold::Unreachable,
        Hold::DeployInProgress,
        Hold::OperatorActive,
        Hold::OldActor,
        Hold::SystemState,
        Hold::Pressure,
        Hold::Storm,
        Hold::Claimed,
        Hold::LedgerUnwritable,
        Hold::LedgerDamaged,
        Hold::SafeMode,
        Hold::Stuck,
        Hold::BasisMoved,
        Hold::GateUnknown,
        Hold::UnitsHealthy,
        Hold::SiblingActive,
        Hold::DiskFull,
        Hold::NoRemedy,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Hold::NoSentinel => "no_sentinel",
            Hold::ObserveOnly => "observe_only",
            Hold::ProposeOnly => "propose_only",
            Hold::Maintenance => "maintenance",
            Hold::Confirming => "confirming",
            Hold::Settling => "settling",
            Hold::Recovering => "recovering",
            Hold::Unsettled => "unsettled",
            Hold::Cooldown => "cooldown",
            Hold::TargetCap => "target_cap",
            Hold::CircuitOpen => "circuit_open",
            Hold::BudgetSpent => "budget_spent",
            Hold::DependencyDown => "dependency_down",
            Hold::Unreachable => "unreachable",
            Hold::DeployInProgress => "deploy_in_progress",
            Hold::OperatorActive => "operator_active",
            Hold::OldActor => "old_actor",
            Hold::SystemState => "system_state",
            Hold::Pressure => "pressure",
            Hold::Storm => "storm",
            Hold::Claimed => "claimed",
            Hold::LedgerUnwritable => "ledger_unwritable",
            Hold::LedgerDamaged => "ledger_damaged",
            Hold::SafeMode => "safe_mode",
            Hold::Stuck => "stuck",
            Hold::BasisMoved => "basis_moved",
            Hold::GateUnknown => "gate_unknown",
            Hold::UnitsHealthy => "units_healthy",
            Hold::SiblingActive => "sibling_active",
            Hold::DiskFull => "disk_full",
            Hold::NoRemedy => "no_remedy",
        }
    }

    pub fn named(label: &str) -> Option<Hold> {
        Hold::ALL.into_iter().find(|hold| hold.label() == label)
    }

    /// Passes by itself, without a look that could fail, while a remedy saves up for its turn.
    pub fn beside_budget(self) -> bool {
        matches!(self, Hold::Settling | Hold::Unsettled | Hold::Cooldown | Hold::Storm | Hold::Claimed)
    }

    /// Passes by itself within seconds or minutes: a cause held only by these is being acted on.
    pub fn passing(self) -> bool {
        matches!(
            self,
            Hold::Confirming
                | Hold::Settling
                | Hold::Recovering
                | Hold::Unsettled
                | Hold::Cooldown
                | Hold::Storm
                | Hold::Claimed
        )
    }
}

/// When a hold could lift. The least `At` sets the engine's timer, so `explain` cannot disagree with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lift {
    /// Boot time.
    At(Ms),
    /// When this is seen.
    Fact(Str),
    /// When somebody does this.
    Operator(Str),
}

/// One reason not to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub hold: Hold,
    /// What is: `seen 1 time over 2s`.
    pub value: Str,
    /// What must be: `2 times over 10s`.
    pub threshold: Str,
    pub lift: Lift,
}

impl Held {
    pub fn new(hold: Hold, value: impl Into<Str>, threshold: impl Into<Str>, lift: Lift) -> Self {
        Held { hold, value: value.into(), threshold: threshold.into(), lift }
    }
}

/// Leave for one step of one plan. Only [`permit`] makes it, nothing copies it: no permit, no act.
#[derive(Debug)]
pub struct Permit {
    step: u16,
}

impl Permit {
    pub fn step(&self) -> u16 {
        self.step
    }
}

/// Looks at the ending holds before a forward step. The gate's answer must have been asked for at `since` or later.
pub fn permit(world: &World, plan: &Plan, step: u16, since: Now, by: Origin) -> Result<Permit, Vec<Held>> {
    let mut held = Vec::new();
    if !(planted(Bug::HoldOnce) && step > 0) {
        ending(world, plan, Some(since), by, &mut held);
    }
    if held.is_empty() { Ok(Permit { step }) } else { Err(held) }
}

/// Everything that keeps `plan` from beginning for the sake of `target`.
pub fn begin(world: &World, target: &TargetId, plan: &Plan) -> Vec<Held> {
    let mut held = Vec::new();
    for heal in &plan.heals {
        evidence(world, &heal.target, &mut held);
        if planted(Bug::AskersBrake) && heal.target != *target {
            continue;
        }
        if let Some(brake) = world.state.targets.get(&heal.target)
            && let Some(watch) = world.policy.watches.get(&heal.target.watch)
        {
            brakes::brakes(world.now, brake, heal, watch.brakes, plan.cost, &mut held);
        }
    }
    held.extend(causes(world, target, &plan.heals));
    host::host(world, target, plan, &mut held);
    ending(world, plan, None, Origin::Daemon, &mut held);
    held.dedup();
    held
}

/// Nothing is lacking of it and no brake of its own holds it: a plan for another target may heal it along.
pub(crate) fn chargeable(world: &World, heal: &Heal, cost: u32) -> bool {
    let mut held = Vec::new();
    evidence(world, &heal.target, &mut held);
    if let Some(brake) = world.state.targets.get(&heal.target)
        && let Some(watch) = world.policy.watches.get(&heal.target.watch)
    {
        brakes::brakes(world.now, brake, heal, watch.brakes, cost, &mut held);
    }
    let down = |target: &Target| target.verdict.down().is_some() && target.suspect().is_some();
    held.is_empty() && world.target(&heal.target).is_some_and(down)
}

/// Holds that also end a run which has begun. All others would trip a plan over itself.
fn ending(world: &World, plan: &Plan, since: Option<Now>, by: Origin, held: &mut Vec<Held>) {
    for watch in plan.permitted_by() {
        gate::gate(world, watch, since, by, held);
        gate::operator(world, watch, held);
    }
    // The step that killed us three times is not taken a fourth time.
    if let Start::Safe(count) = world.start {
        let lift = Lift::Operator("find why the daemon died, then restart it".into());
        held.push(Held::new(Hold::SafeMode, format!("{count} abnormal starts in 10 min"), "fewer than 3", lift));
    }
    if let Some(why) = &world.ledger_bad {
        let lift = Lift::Fact("a record written".into());
        held.push(Held::new(Hold::LedgerUnwritable, why.clone(), "an intent is durable before its act", lift));
    }
    if let Err((what, was, is)) = world.basis(plan) {
        let (value, threshold) = (format!("{what} is now {is}"), format!("{what} {was}, as planned"));
        held.push(Held::new(Hold::BasisMoved, value, threshold, Lift::Fact("a new plan".into())));
    }
}

/// What the looks themselves still lack.
fn evidence(world: &World, id: &TargetId, held: &mut Vec<Held>) {
    let Some(target) = world.target(id) else { return };
    let now = world.now;
    if !target.fresh() {
        held.push(Held::new(
            Hold::Recovering,
            "not looked at since our own last act",
            "a fresh look",
            Lift::Fact("the next look".into()),
        ));
        return;
    }
    // A healed dependent of the plan may be up already: nothing is missing of it.
    if target.suspect().is_none() {
        return;
    }
    let lacking = unconfirmed(world, id, target);
    let sure = lacking.is_empty();
    held.extend(lacking);
    if target.verdict.down().is_none() {
        if sure {
            held.push(Held::new(Hold::Confirming, "not judged down", "down", Lift::Fact("the next look".into())));
        }
        return;
    }
    let settle = world.policy.host.settle;
    if now.since(target.since) < settle {
        let value = format!("down for {}", now.since(target.since));
        held.push(Held::new(Hold::Settling, value, settle.to_string(), Lift::At(now.reach(target.since, settle))));
    }
}

/// What each question that says "down" still lacks; nothing once one of them lacks nothing. A probe that no longer says
/// anything, because its unit does not even run, would lack it for ever.
fn unconfirmed(world: &World, id: &TargetId, target: &Target) -> Vec<Held> {
    let (now, urgent) = (world.now, world.urgent(id));
    let next = || Lift::Fact("the next look".into());
    let mut lacking = Vec::new();
    for aspect in target.aspects.values().filter(|aspect| matches!(aspect.raw, Some(Seen::Down(_)))) {
        lacking.push(match (aspect.unconfirmed(now, urgent), &aspect.fault) {
            (Some((value, threshold, lift)), _) => Held::new(Hold::Confirming, value, threshold, lift),
            // It was seen down, and the newest look could not be made: what we know of it is old.
            (None, Some(fault)) => {
                let value = format!("the newest look failed: {fault}");
                Held::new(Hold::Confirming, value, "a fresh look", next())
            }
            (None, None) => return Vec::new(),
        });
    }
    lacking
}

/// Leave for it was not looked up at all yet: nothing is known, which is no news.
pub(crate) fn unasked(world: &World, plan: &Plan) -> bool {
    plan.permitted_by().into_iter().any(|id| world.gate(id).is_none())
}

/// The gate is not fresh and nothing else holds: look it up once before anything is decided by it.
pub fn stale_gate(now: Now, gate: Option<(Now, &Answer)>) -> bool {
    gate.is_none_or(|(asked, _)| now.since(asked) > GATE_FRESH)
}

#[cfg(test)]
mod tests;
