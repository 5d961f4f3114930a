//! Apply: the very plan that an operator was shown, begun at his word.
//!
//! His word stands for `mode = "act"` and for nothing else: every other hold still holds. The plan is found by its hash,
//! which covers its steps and the facts that it rests on; a hash that is no longer proposed says which of them moved.
//! Everything is looked at afresh first: a process that was begun for this one order knows nothing yet.

use std::collections::VecDeque;

use super::{Effect, Engine};
use crate::ask::AskKey;
use crate::command::{Applied, OrderId, Reply};
use crate::hold::{Held, Hold, Lift};
use crate::id::{RunId, TargetId, WatchId};
use crate::ledger::{Closing, Origin};
use crate::plan::{Plan, PlanHash};
use crate::time::{Ms, Now};

/// Plans that were shown and are remembered, to tell what moved since.
const SHOWN_KEPT: usize = 32;

#[derive(Debug)]
pub(super) struct Apply {
    id: OrderId,
    plan: PlanHash,
    since: Now,
    until: Ms,
    run: Option<RunId>,
}

impl Apply {
    pub(super) fn until(&self) -> Ms {
        self.until
    }
}

/// What was shown to the operator, and how the last runs ended.
#[derive(Debug, Default)]
pub(super) struct Shown {
    plans: VecDeque<(PlanHash, Plan)>,
    closed: VecDeque<(RunId, Closing)>,
}

impl Shown {
    pub(super) fn close(&mut self, run: RunId, closing: &Closing) {
        self.closed.push_back((run, closing.clone()));
        keep_last(&mut self.closed);
    }
}

fn keep_last<T>(queue: &mut VecDeque<T>) {
    queue.drain(..queue.len().saturating_sub(SHOWN_KEPT));
}

impl Engine {
    pub(super) fn show(&mut self, plan: &Plan) {
        let known = self.shown.plans.iter().any(|(_, shown)| shown == plan);
        if !known {
            self.shown.plans.push_back((plan.hash(), plan.clone()));
            keep_last(&mut self.shown.plans);
        }
    }

    pub(super) fn apply(&mut self, id: OrderId, plan: PlanHash, patience: Ms) {
        let now = self.world.now;
        let watches: Vec<WatchId> = self.world.policy.watches.keys().cloned().collect();
        for watch in watches {
            self.demand_watch(&watch, now);
            self.demand(&AskKey::Gate(watch), now);
        }
        self.applies.push(Apply { id, plan, since: now, until: now.up + patience, run: None });
    }

    pub(super) fn answer_applies(&mut self) {
        for mut apply in std::mem::take(&mut self.applies) {
            match self.applied(&mut apply) {
                Some(applied) => self.out.push(Effect::Reply(apply.id, Reply::Applied(Box::new(applied)))),
                None => self.applies.push(apply),
            }
        }
    }

    /// None: not decided yet.
    fn applied(&mut self, apply: &mut Apply) -> Option<Applied> {
        let now = self.world.now;
        let late = now.up >= apply.until;
        if let Some(run) = apply.run {
            let closing = self.shown.closed.iter().find(|(id, _)| *id == run).map(|(_, closing)| closing.clone());
            return match closing {
                Some(closing) => Some(Applied::Ran { run, closing }),
                None => late.then_some(Applied::Runs { run }),
            };
        }
        if !late && !self.looked_since(self.world.policy.watches.keys(), apply.since) {
            return None;
        }
        let Some((target, plan, holds)) = self.proposed(&apply.plan) else {
            return Some(self.moved(&apply.plan));
        };
        // Looks that are under way are waited for; whatever else holds is said at once.
        let waits = |held: &Held| held.hold.passing() && !matches!(held.lift, Lift::At(at) if at > apply.until);
        if !late && !holds.is_empty() && holds.iter().all(waits) {
            return None;
        }
        if !holds.is_empty() {
            return Some(Applied::Held { holds });
        }
        let before = self.world.state.seq;
        self.open(plan, Origin::Apply);
        if self.world.state.seq > before {
            apply.run = self.world.state.targets.get(&target).and_then(|b| b.attempts.back()).map(|a| a.run);
        } else if late {
            return Some(Applied::Held { holds: vec![no_gate()] });
        }
        None
    }

    /// The plan of that hash as it is proposed now, and what holds it beside the missing leave.
    fn proposed(&self, hash: &PlanHash) -> Option<(TargetId, Plan, Vec<Held>)> {
        self.world.ill.iter().find_map(|id| {
            let proposal = self.world.propose(id)?;
            let plan = proposal.plan.filter(|plan| plan.hash() == *hash)?;
            let holds = proposal.holds.into_iter().filter(|held| held.hold != Hold::ProposeOnly).collect();
            Some((id.clone(), plan, holds))
        })
    }

    fn moved(&self, hash: &PlanHash) -> Applied {
        let proposed: Vec<Plan> =
            self.world.ill.iter().filter_map(|id| self.world.propose(id)).filter_map(|p| p.plan).collect();
        let unknown = || Applied::Unknown { proposed: proposed.iter().map(Plan::hash).collect() };
        let Some((_, plan)) = self.shown.plans.iter().find(|(shown, _)| shown == hash) else { return unknown() };
        if let Err((what, was, is)) = self.world.basis(plan) {
            return Applied::Moved { what, was, is };
        }
        let healed = |id: &TargetId| self.world.target(id).is_some_and(|t| t.suspect().is_none());
        if let Some(heal) = plan.heals.iter().find(|heal| healed(&heal.target)) {
            let what = format!("{}", heal.target.watch).into();
            return Applied::Moved { what, was: plan.why.clone(), is: "up".into() };
        }
        match proposed.iter().find(|now| now.heals.iter().any(|h| plan.heals.contains(h))) {
            Some(now) => Applied::Moved { what: "the plan".into(), was: said(plan), is: said(now) },
            None => unknown(),
        }
    }
}

fn said(plan: &Plan) -> crate::id::Str {
    let acts: Vec<String> = plan.steps.iter().filter_map(|step| Some(step.act.as_ref()?.to_string())).collect();
    format!("{}: {}", plan.why, acts.join(", then ")).into()
}

fn no_gate() -> Held {
    let lift = Lift::Fact("the next look".into());
    Held::new(Hold::GateUnknown, "no fresh look came in time", "sentinel, lock and system state are known", lift)
}
