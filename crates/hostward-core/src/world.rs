//! Everything that is known at one moment: the policy, the fold, and the evidence. Stages read it; only the engine
//! changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ask::{Answer, Fault, Reading};
use crate::check::check;
use crate::graph::Graph;
use crate::hold::{self, Held, Hold, LockSeen, Storm};
use crate::id::{Resource, Str, TargetId, UnitName, WatchId};
use crate::judge::Target;
use crate::ledger::State;
use crate::plan::{Plan, short_digest};
use crate::policy::{Policy, Watch};
use crate::starvation::Starvation;
use crate::time::Now;
use crate::watch::{Draft, Memo};

/// The engine's whole knowledge.
#[derive(Clone, Debug)]
pub struct World {
    pub now: Now,
    pub policy: Arc<Policy>,
    /// The configuration on disk was rejected at start: this policy is the last good one, and only observes.
    pub rejected: Option<Str>,
    /// Why the newest configuration on disk is not the one in force.
    pub config_error: Option<Str>,
    pub start: Start,
    pub state: State,
    /// Why the ledger cannot be written, when it cannot.
    pub ledger_bad: Option<Str>,
    pub live: BTreeMap<WatchId, Live>,
    /// Who needs whom.
    pub graph: Graph,
    pub starvation: Starvation,
    pub storm: Storm,
    /// Targets that are, or look, down.
    pub ill: BTreeSet<TargetId>,
}

/// How the engine came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Normal,
    /// After this many abnormal starts within ten minutes: observe, say so, act no further.
    Safe(usize),
}

/// The evidence of one watch.
#[derive(Clone, Debug)]
pub struct Live {
    pub memo: Memo,
    pub targets: BTreeMap<Str, Target>,
    /// Of the watch's declaration, as plans rest on it.
    pub digest: Str,
    /// When it was asked for, and what the edge said of everything that may forbid an act.
    pub gate: Option<(Now, Answer)>,
    /// Of the app's deploy lock, over all looks.
    pub lock: LockSeen,
}

/// A remedy for one target, and everything that holds it. The loop, the dry run and `explain` all read this.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub target: TargetId,
    /// None: no rung of the ladder fits.
    pub plan: Option<Plan>,
    /// Empty: it may begin.
    pub holds: Vec<Held>,
}

impl World {
    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.live.get(&id.watch)?.targets.get(&id.key)
    }

    pub fn watch(&self, id: &WatchId) -> Option<(&Watch, &Live)> {
        Some((self.policy.watches.get(id)?, self.live.get(id)?))
    }

    pub(crate) fn waits_since(&self, id: &TargetId) -> Option<Now> {
        self.live.get(&id.watch)?.memo.waits_since(&id.key)
    }

    pub fn gate(&self, id: &WatchId) -> Option<(Now, &Answer)> {
        self.live.get(id)?.gate.as_ref().map(|(asked, answer)| (*asked, answer))
    }

    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        self.live.iter().flat_map(|(watch, live)| {
            live.targets.iter().map(|(key, target)| (TargetId::new(watch.clone(), key.clone()), target))
        })
    }

    pub(crate) fn ill_of<'a>(&'a self, watch: &'a WatchId) -> impl Iterator<Item = &'a TargetId> + 'a {
        let first = TargetId::new(watch.clone(), "");
        self.ill.range(first..).take_while(move |id| id.watch == *watch)
    }

    /// Something of this watch was looked at, touched or forgotten: who of its targets is ill now?
    pub(crate) fn reckon(&mut self, watch: &WatchId) {
        let known: Vec<TargetId> = self.ill_of(watch).cloned().collect();
        for id in known {
            self.ill.remove(&id);
        }
        let ill = |target: &Target| target.verdict.down().is_some() || target.suspect().is_some();
        if let Some(live) = self.live.get(watch) {
            let keys = live.targets.iter().filter(|(_, target)| ill(target)).map(|(key, _)| key.clone());
            self.ill.extend(keys.map(|key| TargetId::new(watch.clone(), key)));
        }
    }

    /// The same after a look at one target alone.
    pub(crate) fn reckon_one(&mut self, id: &TargetId) {
        let target = self.live.get(&id.watch).and_then(|live| live.targets.get(&id.key));
        if target.is_some_and(|target| target.verdict.down().is_some() || target.suspect().is_some()) {
            self.ill.insert(id.clone());
        } else {
            self.ill.remove(id);
        }
    }

    /// Takes in what systemd said last of a watched unit's needs. True: that is news.
    pub(crate) fn learn(&mut self, id: &WatchId) -> bool {
        let Some(live) = self.live.get(id) else { return false };
        self.graph.learn(id, live.memo.told_needs())
    }

    /// Plans that are being executed.
    pub fn claims(&self) -> impl Iterator<Item = &Plan> {
        self.state.runs.values().map(|run| &run.plan)
    }

    /// The remedy for `target`, and what holds it; nothing for a target that is up or recovering.
    pub fn propose(&self, target: &TargetId) -> Option<Proposal> {
        let mut proposal = self.alone(target)?;
        let spent = proposal.holds.iter().any(|held| held.hold == Hold::BudgetSpent);
        if let Some(plan) = proposal.plan.as_ref().filter(|_| !spent) {
            proposal.holds.extend(hold::queue(self, target, plan));
        }
        Some(proposal)
    }

    /// The same, as if nobody else waited for the host's budget.
    pub(crate) fn alone(&self, target: &TargetId) -> Option<Proposal> {
        let state = self.target(target)?;
        if !state.calls_for_remedy() {
            return None;
        }
        let Draft { plan, mut holds } = self.checked(self.draft(target));
        if let Some(plan) = &plan {
            holds.extend(hold::begin(self, target, plan));
        } else {
            // While a cause may still be found, that no rung fits is not the last word.
            let causes = hold::causes(self, target, &[]);
            if !causes.is_empty() {
                holds = causes;
            }
        }
        Some(Proposal { target: target.clone(), plan, holds })
    }

    /// What the independent checker refuses is no plan: too many steps, most likely, which a person should know.
    fn checked(&self, draft: Draft) -> Draft {
        match draft.plan.as_ref().map(|plan| check(&self.policy, plan)) {
            Some(Err(flaw)) => Draft::none(format!("its plan is refused: {flaw}")),
            _ => draft,
        }
    }

    fn draft(&self, target: &TargetId) -> Draft {
        match self.watch(&target.watch) {
            Some((watch, live)) => watch.spec.draft(self, target, live),
            None => Draft::none("the watch is gone from the configuration"),
        }
    }

    /// Targets of other watches that provide what this one needs. Of a part: what the operator said that it shows.
    pub fn causes(&self, id: &TargetId) -> Vec<TargetId> {
        let spec = self.policy.watches.get(&id.watch).map(|watch| &watch.spec);
        match spec.filter(|spec| spec.is_part(&id.key)) {
            Some(spec) => spec.cause(&id.key).map_or(Vec::new(), |cause| self.kept_by(std::iter::once(cause))),
            None => self.kept_by(self.graph.causes(&id.watch)),
        }
    }

    /// Targets of other watches that need what this one provides.
    pub fn dependents(&self, id: &TargetId) -> Vec<TargetId> {
        if self.is_part(id) {
            return Vec::new();
        }
        self.kept_by(self.graph.dependents(&id.watch))
    }

    /// What is only told of, and remedied by nothing.
    pub fn is_part(&self, id: &TargetId) -> bool {
        self.policy.watches.get(&id.watch).is_some_and(|watch| watch.spec.is_part(&id.key))
    }

    /// The targets that these watches keep, without their parts.
    fn kept_by<'a>(&self, watches: impl Iterator<Item = &'a WatchId>) -> Vec<TargetId> {
        let live = watches.filter_map(|id| Some((id, self.live.get(id)?)));
        let targets =
            live.flat_map(|(id, live)| live.targets.keys().map(|key| TargetId::new(id.clone(), key.clone())));
        targets.filter(|id| !self.is_part(id)).collect()
    }

    /// The cause that is, or looks, down: whose fault this target's state is.
    pub fn blame(&self, id: &TargetId) -> Option<TargetId> {
        let down = |cause: &TargetId| {
            self.target(cause).is_some_and(|t| t.verdict.down().is_some() || t.suspect().is_some())
        };
        self.causes(id).into_iter().find(down)
    }

    /// Something that needs this target is down.
    pub fn urgent(&self, id: &TargetId) -> bool {
        let down = |other: &TargetId| self.target(other).is_some_and(|target| target.verdict.down().is_some());
        self.dependents(id).iter().any(down)
    }

    /// A watched unit that is, or looks, down.
    pub fn unit_down(&self, unit: &UnitName) -> bool {
        let ill = |target: &Target| target.verdict.down().is_some() || target.suspect().is_some();
        self.kept_by(self.graph.keepers(unit)).iter().any(|id| self.target(id).is_some_and(ill))
    }

    /// The host's budget is ever enough for it.
    pub(crate) fn affords(&self, plan: &Plan) -> bool {
        plan.cost <= self.policy.host.budget.cost
    }

    /// A plan of ours that is being executed has its hands on this unit.
    pub fn touches(&self, unit: &UnitName) -> bool {
        self.claims().any(|plan| plan.touches.iter().any(|t| matches!(t, Resource::Unit(touched) if touched == unit)))
    }

    /// The cause is being acted on, or will be as soon as passing holds pass.
    pub fn can_act_soon(&self, cause: &TargetId) -> bool {
        match self.alone(cause) {
            Some(Proposal { plan: Some(_), holds, .. }) => holds.iter().all(|held| held.hold.passing()),
            _ => false,
        }
    }

    /// The first fact that a plan rests on and that moved: what, what it was, what it is.
    pub fn basis(&self, plan: &Plan) -> Result<(), (Str, Str, Str)> {
        let Some((watch, live)) = self.watch(&plan.watch) else {
            return Err(("its watch".into(), "was declared".into(), "gone".into()));
        };
        let is = watch.spec.basis(live);
        // What cannot be read now was not confirmed by an older look.
        if let Some(fault) = self.blind(plan) {
            return Err(("what it rests on".into(), "was readable".into(), fault.to_string().into()));
        }
        for was in &plan.basis {
            let value = is.iter().find(|b| b.what == was.what).map_or_else(|| "gone".into(), |b| b.value.clone());
            if value != was.value {
                return Err((was.what.clone(), was.value.clone(), value));
            }
        }
        Ok(())
    }

    /// What a plan rests on could not be read the last time.
    pub fn blind(&self, plan: &Plan) -> Option<Fault> {
        let (watch, live) = self.watch(&plan.watch)?;
        let probe = watch.spec.rests_on()?;
        let mut aspects = live.targets.values().filter_map(|target| target.aspects.get(&probe));
        aspects.find_map(|aspect| aspect.fault.clone())
    }

    /// Watches of the same app, this one included.
    pub fn family(&self, id: &WatchId) -> Vec<WatchId> {
        let app = self.policy.watches.get(id).and_then(|w| w.app.clone());
        let same = |(other, watch): (&WatchId, &Watch)| {
            (other == id || app.is_some() && watch.app == app).then(|| other.clone())
        };
        self.policy.watches.iter().filter_map(same).collect()
    }
}

impl Live {
    pub fn new(watch: &Watch) -> Self {
        Live {
            memo: watch.spec.memo(),
            targets: BTreeMap::new(),
            digest: short_digest(watch),
            gate: None,
            lock: LockSeen::NotYet,
        }
    }

    /// Takes one answer of the edge's into account. A fault says nothing of the lock.
    pub(crate) fn see_gate(&mut self, asked: Now, answer: Answer) {
        if let Ok(Reading::Gate(reading)) = &answer {
            self.lock = std::mem::take(&mut self.lock).look(asked, reading.lock.as_ref());
        }
        self.gate = Some((asked, answer));
    }

    /// The question is another one from now on.
    pub(crate) fn forget_gate(&mut self) {
        (self.gate, self.lock) = (None, LockSeen::NotYet);
    }
}

#[cfg(test)]
mod tests;
