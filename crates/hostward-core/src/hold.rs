//! Hold: every reason not to act now, all of them, each with its value, its threshold and when it could lift.
//!
//! All of them judge whether a plan may begin. The ending ones are looked at again, afresh, before every forward step.
//! (safety.md, "Holds".)

use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Fault, GateQ, GateReading, LockState, Reading, SentinelState, SystemState};
use crate::id::{Str, TargetId};
use crate::ledger::{Attempt, Brake, Settlement};
use crate::plan::{Heal, Plan};
use crate::policy::{Brakes, Mode};
use crate::time::{Ms, Now};
use crate::world::{Start, World};

/// A gate that was asked for this long ago may open a run; its first step asks again. Longer than the question's own
/// deadline, or a slow edge would never be fresh.
pub const GATE_FRESH: Ms = Ms::secs(6);
/// dpkg and pip finish, hung ones do not: after this an operator's process is alerted on, and still respected.
const DEPLOY_LOCK_STALE: Ms = Ms::mins(30);
/// A relapse within this long of being cleared counts against the daily cap.
pub const RELAPSE_WINDOW: Ms = Ms::hours(1);
/// A cause that nobody cured for this long no longer holds its dependents.
const CAUSE_PATIENCE: Ms = Ms::mins(10);

/// The closed set: each is a label of `hostward_watch_hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    NoSentinel,
    ObserveOnly,
    ProposeOnly,
    Confirming,
    Settling,
    Recovering,
    Unsettled,
    Cooldown,
    TargetCap,
    BudgetSpent,
    DependencyDown,
    DeployInProgress,
    OperatorActive,
    OldActor,
    SystemState,
    Claimed,
    LedgerUnwritable,
    LedgerDamaged,
    SafeMode,
    BasisMoved,
    GateUnknown,
    UnitsHealthy,
    NoRemedy,
}

impl Hold {
    pub const ALL: [Hold; 23] = [
        Hold::NoSentinel,
        Hold::ObserveOnly,
        Hold::ProposeOnly,
        Hold::Confirming,
        Hold::Settling,
        Hold::Recovering,
        Hold::Unsettled,
        Hold::Cooldown,
        Hold::TargetCap,
        Hold::BudgetSpent,
        Hold::DependencyDown,
        Hold::DeployInProgress,
        Hold::OperatorActive,
        Hold::OldActor,
        Hold::SystemState,
        Hold::Claimed,
        Hold::LedgerUnwritable,
        Hold::LedgerDamaged,
        Hold::SafeMode,
        Hold::BasisMoved,
        Hold::GateUnknown,
        Hold::UnitsHealthy,
        Hold::NoRemedy,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Hold::NoSentinel => "no_sentinel",
            Hold::ObserveOnly => "observe_only",
            Hold::ProposeOnly => "propose_only",
            Hold::Confirming => "confirming",
            Hold::Settling => "settling",
            Hold::Recovering => "recovering",
            Hold::Unsettled => "unsettled",
            Hold::Cooldown => "cooldown",
            Hold::TargetCap => "target_cap",
            Hold::BudgetSpent => "budget_spent",
            Hold::DependencyDown => "dependency_down",
            Hold::DeployInProgress => "deploy_in_progress",
            Hold::OperatorActive => "operator_active",
            Hold::OldActor => "old_actor",
            Hold::SystemState => "system_state",
            Hold::Claimed => "claimed",
            Hold::LedgerUnwritable => "ledger_unwritable",
            Hold::LedgerDamaged => "ledger_damaged",
            Hold::SafeMode => "safe_mode",
            Hold::BasisMoved => "basis_moved",
            Hold::GateUnknown => "gate_unknown",
            Hold::UnitsHealthy => "units_healthy",
            Hold::NoRemedy => "no_remedy",
        }
    }

    /// Passes by itself within seconds or minutes: a cause held only by these is being acted on.
    pub fn passing(self) -> bool {
        matches!(
            self,
            Hold::Confirming | Hold::Settling | Hold::Recovering | Hold::Unsettled | Hold::Cooldown | Hold::Claimed
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
pub fn permit(world: &World, plan: &Plan, step: u16, since: Now) -> Result<Permit, Vec<Held>> {
    let mut held = Vec::new();
    ending(world, plan, Some(since), &mut held);
    if held.is_empty() { Ok(Permit { step }) } else { Err(held) }
}

/// Everything that keeps `plan` from beginning for the sake of `target`.
pub fn begin(world: &World, target: &TargetId, plan: &Plan) -> Vec<Held> {
    let mut held = Vec::new();
    for heal in &plan.heals {
        evidence(world, &heal.target, &mut held);
        if let Some(brake) = world.state.targets.get(&heal.target)
            && let Some(watch) = world.policy.watches.get(&heal.target.watch)
        {
            brakes(world.now, brake, watch.brakes, &mut held);
        }
    }
    held.extend(causes(world, target, &plan.heals));
    shared(world, plan, &mut held);
    // Each target healed must be permitted by its own watch's gate and mode; the plan's own comes with `ending`.
    for watch in plan.heals.iter().map(|heal| &heal.target.watch).filter(|watch| **watch != plan.watch) {
        gate(world, watch, None, &mut held);
    }
    ending(world, plan, None, &mut held);
    held.dedup();
    held
}

/// Holds that also end a run which has begun. All others would trip a plan over itself.
fn ending(world: &World, plan: &Plan, since: Option<Now>, held: &mut Vec<Held>) {
    gate(world, &plan.watch, since, held);
    // The step that killed us three times is not taken a fourth time.
    if let Start::Safe(count) = world.start {
        let lift = Lift::Operator("find why the daemon died, then restart it".into());
        held.push(Held::new(Hold::SafeMode, format!("{count} abnormal starts in 10 min"), "fewer than 3", lift));
    }
    if let Some(why) = &world.ledger_bad {
        held.push(Held::new(
            Hold::LedgerUnwritable,
            why.clone(),
            "an intent is durable before its act",
            Lift::Fact("a record written".into()),
        ));
    }
    let moved = world.basis(plan).err();
    if let Some((what, was, is)) = moved {
        let lift = Lift::Fact("a new plan".into());
        held.push(Held::new(
            Hold::BasisMoved,
            format!("{what} is now {is}"),
            format!("{what} {was}, as planned"),
            lift,
        ));
    }
}

/// Sentinels, mode, deploy lock, operators, system state: what the edge last saw.
fn gate(world: &World, id: &crate::id::WatchId, since: Option<Now>, held: &mut Vec<Held>) {
    let Some(watch) = world.policy.watches.get(id) else { return };
    let mode = if world.rejected.is_some() { Mode::Observe } else { world.policy.mode(watch) };
    match mode {
        Mode::Act => {}
        Mode::Propose => held.push(Held::new(
            Hold::ProposeOnly,
            "mode = propose",
            "mode = act",
            Lift::Operator("set mode = \"act\" and reload".into()),
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
            Ok(Reading::Gate(reading)) => gate_reading(&question, reading, held),
            Ok(_) => gate_unknown(&Fault::Probe("another question's answer".into()), held),
            Err(fault) => gate_unknown(fault, held),
        },
        _ => gate_unknown(&Fault::Probe("not looked up yet".into()), held),
    }
}

fn gate_unknown(fault: &Fault, held: &mut Vec<Held>) {
    let lift = Lift::Fact("the next look".into());
    held.push(Held::new(Hold::GateUnknown, fault.to_string(), "sentinel, lock and system state are known", lift));
}

fn gate_reading(question: &GateQ, reading: &GateReading, held: &mut Vec<Held>) {
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
    if let Some(operator) = reading.operators.first() {
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
    if reading.system != SystemState::Running {
        let value = format!("the system is {:?}", reading.system).to_lowercase();
        held.push(Held::new(Hold::SystemState, value, "running", Lift::Fact("it runs".into())));
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
    let urgent = world.urgent(id);
    for aspect in target.aspects.values() {
        if let Some((value, threshold, lift)) = aspect.unconfirmed(now, urgent) {
            held.push(Held::new(Hold::Confirming, value, threshold, lift));
        }
    }
    if target.verdict.down().is_none() {
        if !held.iter().any(|h| h.hold == Hold::Confirming || h.hold == Hold::Recovering) {
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

/// Cooldown, caps, and the attempt that is not settled yet.
fn brakes(now: Now, brake: &Brake, limits: Brakes, held: &mut Vec<Held>) {
    if let Some(open) = brake.attempts.iter().find(|a| a.settled.is_none()) {
        let lift = match open.proved {
            Some(at) => Lift::At(now.reach(at, limits.soak)),
            None => Lift::Fact("the run closes".into()),
        };
        held.push(Held::new(
            Hold::Unsettled,
            format!("run {} is not settled", open.run),
            "one attempt at a time",
            lift,
        ));
    }
    let Some(last) = brake.attempts.back() else { return };
    let wait = cooldown(limits, brake.failures);
    if now.since(last.at) < wait {
        let value = format!("last attempt {} ago", now.since(last.at));
        held.push(Held::new(Hold::Cooldown, value, wait.to_string(), Lift::At(now.reach(last.at, wait))));
    }
    let hour = Ms::hours(1);
    let recent: Vec<&Attempt> = brake.attempts.iter().filter(|a| now.since(a.at) < hour).collect();
    if recent.len() >= limits.per_hour as usize
        && let Some(oldest) = recent.get(recent.len() - limits.per_hour as usize)
    {
        let lift = Lift::At(now.reach(oldest.at, hour));
        held.push(Held::new(
            Hold::TargetCap,
            format!("{} attempts within an hour", recent.len()),
            format!("{} an hour", limits.per_hour),
            lift,
        ));
    }
    let failed = |a: &&Attempt| now.since(a.at) < Ms::hours(24) && a.settled != Some(Settlement::Cleared);
    let failures = brake.attempts.iter().filter(failed).count();
    if failures >= limits.per_day as usize && now.since(last.at) < limits.plateau {
        held.push(Held::new(
            Hold::TargetCap,
            format!("{failures} attempts without effect within a day"),
            format!("{} a day, then one trial each {}", limits.per_day, limits.plateau),
            Lift::At(now.reach(last.at, limits.plateau)),
        ));
    }
}

/// Doubles with each failure, up to the plateau.
fn cooldown(limits: Brakes, failures: u32) -> Ms {
    let doublings = failures.saturating_sub(1).min(32);
    (limits.cooldown * (1u64 << doublings)).min(limits.plateau)
}

/// A need that is down, looks so, or was not looked at since the target fell: the cause comes first.
pub(crate) fn causes(world: &World, target: &TargetId, heals: &[Heal]) -> Vec<Held> {
    let mut held = Vec::new();
    let Some(fell) = world.target(target).and_then(crate::judge::Target::fell) else { return held };
    for cause in world.causes(target) {
        if heals.iter().any(|heal| heal.target == cause) {
            continue;
        }
        let Some(state) = world.target(&cause) else { continue };
        let unasked = state.aspects.is_empty() || state.aspects.values().any(|a| !a.asked.not_before(fell));
        let value = match (state.verdict.down(), state.suspect()) {
            (Some(reason), _) => format!("{} is down ({})", cause.watch, reason.detail),
            (None, Some(reason)) => format!("{} looks down ({})", cause.watch, reason.detail),
            // A cause that cannot be seen is not known to be one: after an answer, even "unknown", it no longer holds.
            (None, None) if unasked => format!("{} was not looked at since", cause.watch),
            _ => continue,
        };
        if given_up(world, &cause, state.verdict.down().is_some(), target, fell) {
            continue;
        }
        let lift = Lift::Fact(format!("{} is up", cause.watch).into());
        held.push(Held::new(Hold::DependencyDown, value, "the cause first", lift));
    }
    held
}

/// A cause that nobody can act on, or that was not cured in ten minutes, no longer holds: its dependent gets one attempt
/// of its own ladder a plateau.
fn given_up(world: &World, cause: &TargetId, judged: bool, target: &TargetId, fell: Now) -> bool {
    let Some(watch) = world.policy.watches.get(&target.watch) else { return false };
    let last = world.state.targets.get(target).and_then(|brake| brake.attempts.back());
    let turn = last.is_none_or(|last| world.now.since(last.at) >= watch.brakes.plateau);
    let waited = world.now.since(fell) >= CAUSE_PATIENCE;
    let acting = world.claims().any(|plan| plan.heals.iter().any(|heal| heal.target == *cause));
    turn && !acting && (waited || judged && !world.can_act_soon(cause))
}

/// What the host has only once: its ledger, its budget, and each thing that a plan touches.
fn shared(world: &World, plan: &Plan, held: &mut Vec<Held>) {
    let now = world.now;
    if let Some((_, why)) = &world.state.damaged {
        let lift = Lift::Operator("look at the set-aside ledger, then `hostward clear`".into());
        held.push(Held::new(Hold::LedgerDamaged, why.clone(), "caps count as spent until cleared", lift));
    }
    if let Some(other) = world.claims().find(|other| other.clashes(plan)) {
        let lift = Lift::Fact(format!("the plan of {} ends", other.watch).into());
        held.push(Held::new(Hold::Claimed, format!("{} touches the same", other.watch), "disjoint plans", lift));
    }
    let budget = world.policy.host.budget;
    let spent: u32 = world.state.charged_within(now, budget.per).map(|(_, cost)| cost).sum();
    if spent + plan.cost > budget.cost {
        let oldest = world.state.charged_within(now, budget.per).next();
        let lift = Lift::At(oldest.map_or(now.up + budget.per, |(at, _)| now.reach(at, budget.per)));
        let value = format!("{spent} spent, {} needed", plan.cost);
        held.push(Held::new(Hold::BudgetSpent, value, format!("{} per {}", budget.cost, budget.per), lift));
    }
}

/// The gate is not fresh and nothing else holds: look it up once before anything is decided by it.
pub fn stale_gate(now: Now, gate: Option<(Now, &Answer)>) -> bool {
    gate.is_none_or(|(asked, _)| now.since(asked) > GATE_FRESH)
}
