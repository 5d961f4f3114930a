//! Everything that is known at one moment: the policy, the fold, and the evidence. Stages read it; only the engine
//! changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ask::Answer;
use crate::check::check;
use crate::hold::{self, Held};
use crate::id::{Str, TargetId, UnitName, WatchId};
use crate::judge::Target;
use crate::ledger::State;
use crate::plan::Plan;
use crate::policy::{Policy, Watch};
use crate::time::Now;
use crate::watch::{Draft, Memo, Spec};

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
    /// When it was asked for, and what the edge said of everything that may forbid an act.
    pub gate: Option<(Now, Answer)>,
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

    pub fn gate(&self, id: &WatchId) -> Option<(Now, &Answer)> {
        self.live.get(id)?.gate.as_ref().map(|(asked, answer)| (*asked, answer))
    }

    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        self.live.iter().flat_map(|(watch, live)| {
            live.targets.iter().map(|(key, target)| (TargetId::new(watch.clone(), key.clone()), target))
        })
    }

    /// Plans that are being executed.
    pub fn claims(&self) -> impl Iterator<Item = &Plan> {
        self.state.runs.values().map(|run| &run.plan)
    }

    /// The remedy for `target`, and what holds it; nothing for a target that is up or recovering.
    pub fn propose(&self, target: &TargetId) -> Option<Proposal> {
        let state = self.target(target)?;
        if state.suspect().is_none() && (state.verdict.down().is_none() || state.fresh()) {
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
            Some((watch, live)) => watch.spec.draft(self, target, watch, live),
            None => Draft::none("the watch is gone from the configuration"),
        }
    }

    /// Targets of other watches that provide what this one needs.
    pub fn causes(&self, id: &TargetId) -> Vec<TargetId> {
        let Some(watch) = self.policy.watches.get(&id.watch) else { return Vec::new() };
        let needs = watch.spec.needs(&self.policy, watch);
        let provides = |(other, watch): (&WatchId, &Watch)| {
            let met = watch.spec.provides().iter().any(|p| needs.iter().any(|n| n.clashes(p)));
            (met && *other != id.watch).then(|| other.clone())
        };
        let others: Vec<WatchId> = self.policy.watches.iter().filter_map(provides).collect();
        others
            .into_iter()
            .filter_map(|other| Some((other.clone(), self.live.get(&other)?)))
            .flat_map(|(other, live)| live.targets.keys().map(move |key| TargetId::new(other.clone(), key.clone())))
            .collect()
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
        self.targets().any(|(other, target)| target.verdict.down().is_some() && self.causes(&other).contains(id))
    }

    /// A watched unit that is, or looks, down.
    pub fn unit_down(&self, unit: &UnitName) -> bool {
        self.live.iter().any(|(id, live)| {
            let watches_it = self.policy.watches.get(id).is_some_and(|w| w.spec.unit() == Some(unit));
            watches_it && live.targets.values().any(|t| t.verdict.down().is_some() || t.suspect().is_some())
        })
    }

    /// The cause is being acted on, or will be as soon as passing holds pass.
    pub fn can_act_soon(&self, cause: &TargetId) -> bool {
        match self.propose(cause) {
            Some(Proposal { plan: Some(_), holds, .. }) => holds.iter().all(|held| held.hold.passing()),
            _ => false,
        }
    }

    /// The first fact that a plan rests on and that moved: what, what it was, what it is.
    pub fn basis(&self, plan: &Plan) -> Result<(), (Str, Str, Str)> {
        let is = match self.watch(&plan.watch) {
            Some((watch, live)) => watch.spec.basis(watch, live),
            None => Vec::new(),
        };
        for was in &plan.basis {
            let value = is.iter().find(|b| b.what == was.what).map_or_else(|| "gone".into(), |b| b.value.clone());
            if value != was.value {
                return Err((was.what.clone(), was.value.clone(), value));
            }
        }
        Ok(())
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
    pub fn new(spec: &Spec) -> Self {
        Live { memo: spec.memo(), targets: BTreeMap::new(), gate: None }
    }
}
