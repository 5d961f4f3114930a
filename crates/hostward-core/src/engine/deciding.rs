//! Deciding: attempts settle, and plans that nothing holds begin.

use super::Engine;
use crate::ask::AskKey;
use crate::hold::{self, Hold, Lift, Storm};
use crate::id::{RunId, Str, TargetId, WatchId};
use crate::judge::{Target, Verdict};
use crate::ledger::{Body, Origin, Settlement};
use crate::plan::Plan;
use crate::time::Ms;
use crate::world::Proposal;

impl Engine {
    /// Attempts that were proved and wait for their soak: target, run, and the boot time of its end.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (TargetId, RunId, Ms)> + '_ {
        let known = self.unsettled.iter().filter(|id| self.judgeable(id));
        known.filter_map(|id| Some((id, self.world.state.targets.get(id)?))).flat_map(move |(id, brake)| {
            let soak = self.world.policy.watches.get(&id.watch).map_or(Ms::mins(1), |watch| watch.brakes.soak);
            brake.attempts.iter().filter(|a| a.settled.is_none()).filter_map(move |attempt| {
                Some((id.clone(), attempt.run, self.world.now.reach(attempt.proved?, soak)))
            })
        })
    }

    /// A new process says nothing of a soak before it has looked, nor does one that has not yet looked as often as "up"
    /// takes; of a watch that is gone it never will.
    pub(super) fn judgeable(&self, id: &TargetId) -> bool {
        let told = |target: &Target| target.verdict != Verdict::Pending && !target.recovering();
        let judged = self.world.target(id).is_some_and(told);
        judged || !self.world.policy.watches.contains_key(&id.watch)
    }

    pub(super) fn settle(&mut self) {
        let due: Vec<_> = self.unsettled().filter(|(_, _, end)| *end <= self.world.now.up).collect();
        for (target, run, _) in due {
            let up = self.world.target(&target).is_some_and(|t| matches!(t.verdict, Verdict::Up));
            let result = if up { Settlement::Cleared } else { Settlement::NotCleared };
            self.record(Body::Settled { run, target, result });
        }
    }

    /// Looks at every target that is, or looks, down: begins what nothing holds, records what does.
    pub(super) fn consider(&mut self) {
        if std::mem::take(&mut self.stirred) {
            let storm = Storm::of(&self.world);
            // Who stays in it finds its later end when the earlier one is reached.
            for id in storm.changed(&self.world.storm) {
                self.doubts.watch(&self.world, &id.watch);
            }
            self.world.storm = storm;
        }
        self.lifts.retain(|id, _| self.world.ill.contains(id));
        for id in self.doubts.take(&self.world) {
            self.lifts.remove(&id);
            if self.world.claims().any(|plan| plan.heals.iter().any(|heal| heal.target == id)) {
                continue;
            }
            let Some(proposal) = self.world.propose(&id) else { continue };
            self.wait_for(&proposal);
            match proposal.plan {
                Some(plan) if proposal.holds.is_empty() => self.open(plan, self.origin),
                _ => self.record_held(&proposal),
            }
        }
    }

    /// What would lift a hold is asked for, or sets the timer.
    pub(super) fn wait_for(&mut self, proposal: &Proposal) {
        let ats = proposal.holds.iter().filter_map(|held| match held.lift {
            Lift::At(at) => Some(at),
            _ => None,
        });
        let now = self.world.now.up;
        let lift = ats.filter(|at| *at > now).min();
        self.doubts.decided(&proposal.target, now, lift);
        if let Some(lift) = lift {
            self.lifts.insert(proposal.target.clone(), lift);
        }
        if proposal.holds.iter().any(|held| held.hold == Hold::DependencyDown)
            && let Some(fell) = self.world.target(&proposal.target).and_then(Target::fell)
        {
            for cause in self.world.causes(&proposal.target) {
                self.demand_watch(&cause.watch, fell);
            }
        }
        if let Some(touched) = self.world.target(&proposal.target).and_then(|t| t.touched) {
            self.demand_watch(&proposal.target.watch, touched);
        }
        self.hurry_gate(&proposal.target.watch);
    }

    /// Only on what was seen lately, on a fresh gate, and only after the independent checker.
    pub(super) fn open(&mut self, plan: Plan, origin: Origin) {
        if self.origin == Origin::Look {
            return;
        }
        let within = self.world.policy.watches.get(&plan.watch).and_then(|watch| watch.spec.acts_within());
        if within.is_some_and(|within| self.renew(&plan.watch, within)) {
            return;
        }
        let now = self.world.now;
        let stale = |id: &&WatchId| hold::stale_gate(now, self.world.gate(id));
        let stale: Vec<WatchId> = plan.permitted_by().into_iter().filter(stale).cloned().collect();
        if !stale.is_empty() {
            for id in stale {
                self.demand(&AskKey::Gate(id), now);
            }
            return;
        }
        let flaw = crate::check::check(&self.world.policy, &plan).err();
        assert!(flaw.is_none(), "drafted a plan that its checker refuses: {flaw:?}");
        let seq = self.record(Body::Opened { plan: Box::new(plan), origin });
        self.runs.check(RunId(seq), now);
    }

    /// Once for each different set of holds, at most every five seconds.
    pub(super) fn record_held(&mut self, proposal: &Proposal) {
        let now = self.world.now;
        let mut labels: Vec<Str> = proposal.holds.iter().map(|held| held.hold.label().into()).collect();
        labels.sort();
        labels.dedup();
        let judged = self.world.target(&proposal.target).is_some_and(|t| t.verdict.down().is_some());
        let known = self.world.state.targets.get(&proposal.target).is_some_and(|brake| brake.held == labels);
        let recent = self.held_at.get(&proposal.target).is_some_and(|at| now.since(*at) < Ms::secs(5));
        // What recovers is not held from anything.
        let recovering = proposal.holds.iter().any(|held| held.hold == Hold::Recovering);
        // A new process has looked nowhere yet: that is no news, and on the timer path it would be one each minute.
        let unasked = proposal.plan.as_ref().is_some_and(|plan| hold::unasked(&self.world, plan));
        if labels.is_empty() || recovering || unasked || !judged || known || recent {
            return;
        }
        self.held_at.insert(proposal.target.clone(), now);
        if let Some(plan) = &proposal.plan {
            self.show(plan);
        }
        let leave = |hold: Hold| matches!(hold, Hold::NoSentinel | Hold::ObserveOnly | Hold::ProposeOnly);
        let only_leave = proposal.holds.iter().all(|held| leave(held.hold));
        let would = proposal.plan.as_ref().filter(|_| only_leave).map(|plan| plan.rung.clone());
        self.record(Body::Held { target: proposal.target.clone(), holds: labels, would });
    }
}
