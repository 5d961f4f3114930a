//! An independent look at a plan: the brain checks before it records the intent, the actor before it acts.
//!
//! It trusts nothing that drafted the plan: it knows only the policy and the plan. What it refuses is a bug.

use std::path::Path;

use crate::id::{Resource, TargetId, UnitName};
use crate::plan::{Act, Back, Check, Launch, OnCrash, OnFail, Plan, Proof, Step, Stop, Unmount, When};
use crate::policy::Policy;

/// No plan has more steps than this: the longest drafted here has one for each command, two for each unit, and one.
const STEPS_MAX: usize = 96;

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("plan for '{0}': no such watch in this policy")]
    NoSuchWatch(String),
    #[error("plan heals nothing")]
    HealsNothing,
    #[error("plan has {0} steps; 1 to {STEPS_MAX} are allowed")]
    StepCount(usize),
    #[error("step {0}: the last step has no proof")]
    Unproved(usize),
    #[error("step {0}: an act without proof must be declared repeatable")]
    NotRepeatable(usize),
    #[error("step {0}: neither an act nor a proof")]
    Empty(usize),
    #[error("step {0}: a zero deadline, or a proof without checks, passes or time")]
    Unbounded(usize),
    #[error("step {0}: '{1}' is not declared in the configuration")]
    NotDeclared(usize, String),
    #[error("step {0}: touches '{1}', which the plan does not claim")]
    NotClaimed(usize, String),
    #[error("step {0}: proves by '{1}', which is not in this policy")]
    NoSuchProof(usize, TargetId),
    #[error("step {0}: stops units and does not give back each of them, whatever happens")]
    NotGivenBack(usize),
    #[error("step {0}: what it owes is proved by a watch, which may be gone by then")]
    BackByTarget(usize),
    #[error("step {0}: what it owes falls due after a step that does not come after it")]
    BackTooEarly(usize),
    #[error("step {0}: the last step may not be passed over")]
    LastGoesOn(usize),
}

pub fn check(policy: &Policy, plan: &Plan) -> Result<(), Flaw> {
    if !policy.watches.contains_key(&plan.watch) {
        return Err(Flaw::NoSuchWatch(plan.watch.to_string()));
    }
    if plan.heals.is_empty() {
        return Err(Flaw::HealsNothing);
    }
    if plan.steps.is_empty() || plan.steps.len() > STEPS_MAX {
        return Err(Flaw::StepCount(plan.steps.len()));
    }
    if plan.steps.last().is_some_and(|step| step.proof.is_none()) {
        return Err(Flaw::Unproved(plan.steps.len() - 1));
    }
    if plan.steps.last().is_some_and(|step| step.fail == OnFail::GoOn) {
        return Err(Flaw::LastGoesOn(plan.steps.len() - 1));
    }
    plan.steps.iter().enumerate().try_for_each(|(n, step)| check_step(policy, plan, n, step))
}

fn check_step(policy: &Policy, plan: &Plan, n: usize, step: &Step) -> Result<(), Flaw> {
    match (&step.act, &step.proof) {
        (None, None) => return Err(Flaw::Empty(n)),
        (Some(_), None) if step.crash != OnCrash::Again => return Err(Flaw::NotRepeatable(n)),
        (Some(_), _) if step.deadline.0 == 0 => return Err(Flaw::Unbounded(n)),
        _ => {}
    }
    if let Some(proof) = &step.proof {
        check_proof(policy, n, proof)?;
    }
    if let Some(act) = &step.act {
        check_act(policy, plan, n, act)?;
    }
    match (&step.act, &step.back) {
        (Some(Act::Stop(taken)), back) if !back.as_ref().is_some_and(|back| gives_back(back, taken)) => {
            Err(Flaw::NotGivenBack(n))
        }
        (_, None) => Ok(()),
        (act, Some(back)) => check_back(policy, plan, n, act.as_ref(), back),
    }
}

fn check_proof(policy: &Policy, n: usize, proof: &Proof) -> Result<(), Flaw> {
    if proof.checks.is_empty() || proof.passes == 0 || proof.within.0 == 0 {
        return Err(Flaw::Unbounded(n));
    }
    proof.checks.iter().try_for_each(|check| match check {
        Check::Target(target) if !policy.watches.contains_key(&target.watch) => {
            Err(Flaw::NoSuchProof(n, target.clone()))
        }
        _ => Ok(()),
    })
}

/// A debt that is never given up and names all that was stopped.
fn gives_back(back: &Back, stop: &Stop) -> bool {
    let all =
        |units: &[UnitName]| stop.units().all(|unit| units.contains(unit)) && units.len() == stop.units().count();
    matches!(back.when, When::Last | When::After(_))
        && back.tries == 0
        && matches!(&back.act, Act::Start(units) if all(units))
}

fn check_back(policy: &Policy, plan: &Plan, n: usize, act: Option<&Act>, back: &Back) -> Result<(), Flaw> {
    if back.deadline.0 == 0 {
        return Err(Flaw::Unbounded(n));
    }
    if back.proof.checks.iter().any(|check| matches!(check, Check::Target(_))) {
        return Err(Flaw::BackByTarget(n));
    }
    if let When::After(step) | When::Until(step) = back.when
        && (usize::from(step) < n || usize::from(step) >= plan.steps.len())
    {
        return Err(Flaw::BackTooEarly(n));
    }
    check_proof(policy, n, &back.proof)?;
    match (&back.act, act) {
        // The return of what the same step stops.
        (Act::Start(_), Some(Act::Stop(_))) => Ok(()),
        (other, _) => check_act(policy, plan, n, other),
    }
}

/// Each act must be one that the operator wrote down, and claimed by the plan.
fn check_act(policy: &Policy, plan: &Plan, n: usize, act: &Act) -> Result<(), Flaw> {
    // Most often it is the plan's own watch that declares it.
    let own = policy.watches.get(&plan.watch).into_iter();
    if !own.chain(policy.watches.values()).any(|watch| watch.spec.allows(act)) {
        return Err(Flaw::NotDeclared(n, act.to_string()));
    }
    let claimed = |resource: Resource| plan.touches.contains(&resource);
    let path = |path: &Path| (!claimed(Resource::Path(path.to_owned()))).then(|| path.display().to_string());
    let loose = match act {
        Act::Command(_) | Act::Gather(_) => None,
        Act::Restart(unit) | Act::Launch(Launch { unit, .. }) => {
            (!claimed(Resource::Unit(unit.clone()))).then(|| unit.to_string())
        }
        Act::Stop(stop) => {
            stop.units().find(|unit| !claimed(Resource::Unit((*unit).clone()))).map(ToString::to_string)
        }
        Act::Start(units) => {
            units.iter().find(|unit| !claimed(Resource::Unit((*unit).clone()))).map(ToString::to_string)
        }
        Act::Fence(at) | Act::Unfence(at) | Act::Unmount(Unmount { path: at, .. }) => path(at),
        Act::Bind(bind) => path(&bind.hot),
        Act::Abort(abort) => abort.points.iter().find_map(|point| path(point)),
    };
    loose.map_or(Ok(()), |what| Err(Flaw::NotClaimed(n, what)))
}

#[cfg(test)]
mod tests;
