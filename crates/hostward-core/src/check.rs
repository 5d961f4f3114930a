//! An independent look at a plan: the brain checks before it records the intent, the actor before it acts.
//!
//! It trusts nothing that drafted the plan: it knows only the policy and the plan. What it refuses is a bug.

use crate::id::{Resource, TargetId, UnitName};
use crate::plan::{Act, Check, OnCrash, Plan, Step};
use crate::policy::Policy;
use crate::watch::Spec;

/// No plan has more steps than this: the longest drafted here has one for each command, two for each unit, and one.
const STEPS_MAX: usize = 64;

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
    NotClaimed(usize, UnitName),
    #[error("step {0}: proves by '{1}', which is not in this policy")]
    NoSuchProof(usize, TargetId),
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
        if proof.checks.is_empty() || proof.passes == 0 || proof.within.0 == 0 {
            return Err(Flaw::Unbounded(n));
        }
        for check in &proof.checks {
            if let Check::Target(target) = check
                && !policy.watches.contains_key(&target.watch)
            {
                return Err(Flaw::NoSuchProof(n, target.clone()));
            }
        }
    }
    match &step.act {
        None => Ok(()),
        Some(act) => check_act(policy, plan, n, act),
    }
}

/// Each act must be one that the operator wrote down, and claimed by the plan.
fn check_act(policy: &Policy, plan: &Plan, n: usize, act: &Act) -> Result<(), Flaw> {
    let declared = policy.watches.values().any(|watch| match (&watch.spec, act) {
        (Spec::Baseline(spec), Act::Command(command)) => spec
            .reconcile
            .as_ref()
            .is_some_and(|r| r.run.contains(&command.argv) && r.user == command.user && r.dir == command.dir),
        (Spec::Baseline(spec), Act::Restart(unit)) => {
            spec.reconcile.as_ref().is_some_and(|r| r.restart.contains(unit))
        }
        (Spec::Service(spec), Act::Restart(unit)) => spec.unit == *unit,
        (Spec::Service(_), Act::Command(_)) => false,
    });
    if !declared {
        return Err(Flaw::NotDeclared(n, act.to_string()));
    }
    match act {
        Act::Restart(unit) if !plan.touches.contains(&Resource::Unit(unit.clone())) => {
            Err(Flaw::NotClaimed(n, unit.clone()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
