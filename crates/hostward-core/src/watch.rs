//! The kinds of watch, dispatched by exhaustive enums: a new kind does not compile until each question is answered.
//!
//! A kind says how its observations are judged and how its plans are made, and nothing else.

pub mod baseline;
pub mod job;
mod quiesce;
pub mod service;
mod steps;
pub mod storage;
#[cfg(feature = "toy")]
pub mod toy;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::{Active, Answer, Pace, Probe};
use crate::hold::{Held, Hold, Lift};
use crate::id::{Resource, Rung, Str, TargetId, UnitName, WatchId};
use crate::judge::Sight;
use crate::plan::{Act, Basis, Plan};
use crate::policy::{Policy, Watch};
use crate::starvation::Starvation;
use crate::time::{Ms, Now};
use crate::world::{Live, World};

/// The declared part of a watch that is its kind's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    Service(service::Spec),
    Baseline(baseline::Spec),
    Storage(storage::Spec),
    Job(job::Spec),
    #[cfg(feature = "toy")]
    Toy(toy::Spec),
}

/// What a kind remembers between looks. Losing it costs time, never safety.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memo {
    Service(service::Memo),
    Baseline(baseline::Memo),
    Storage(storage::Memo),
    Job(job::Memo),
    #[cfg(feature = "toy")]
    Toy(toy::Memo),
}

/// The next rung made concrete, and what the kind itself has against it now.
#[derive(Clone, Debug)]
pub struct Draft {
    pub plan: Option<Plan>,
    pub holds: Vec<Held>,
}

impl Draft {
    pub fn plan(plan: Plan) -> Self {
        Draft { plan: Some(plan), holds: Vec::new() }
    }

    /// No rung fits: a person is told.
    pub fn none(why: impl Into<Str>) -> Self {
        let held = Held::new(Hold::NoRemedy, why, "a rung that fits", Lift::Operator("look into it".into()));
        Draft { plan: None, holds: vec![held] }
    }

    /// The rung fits, and what its plan must name has not been seen yet.
    pub fn unready(why: impl Into<Str>) -> Self {
        let held = Held::new(Hold::Confirming, why, "a look at it", Lift::Fact("the next look".into()));
        Draft { plan: None, holds: vec![held] }
    }

    #[must_use]
    pub fn held(mut self, hold: Option<Held>) -> Self {
        self.holds.extend(hold);
        self
    }
}

/// What a service's ladder reaches by `reconcile:NAME`, and one day `rollback:NAME`: the remedy of another watch, whatever
/// its kind, for the first of its targets that is down. None while all are well, or look well again.
pub(crate) fn lent(world: &World, of: &WatchId) -> Option<Draft> {
    let (watch, live) = world.watch(of)?;
    let mut targets = live.targets.iter();
    let (key, _) = targets.find(|(_, target)| target.verdict.down().is_some() && target.calls_for_remedy())?;
    Some(watch.spec.draft(world, &TargetId::new(of.clone(), key.clone()), live))
}

impl Memo {
    /// Since when a target waits, where its kind knows better than the verdict does.
    pub(crate) fn waits_since(&self, key: &str) -> Option<Now> {
        match self {
            Memo::Job(memo) => memo.waits_since(key),
            _ => None,
        }
    }

    /// Units that systemd says its unit cannot do without.
    pub fn told_needs(&self) -> &[UnitName] {
        match self {
            Memo::Service(memo) => memo.last.as_ref().map_or(&[], |unit| &unit.needs),
            Memo::Baseline(_) | Memo::Storage(_) | Memo::Job(_) => &[],
            #[cfg(feature = "toy")]
            Memo::Toy(_) => &[],
        }
    }
}

impl Spec {
    /// Units that it rests on, of which it is known whether they run.
    pub fn bases(&self, live: &Live) -> Vec<(UnitName, Active)> {
        match (self, &live.memo) {
            (Spec::Storage(_), Memo::Storage(memo)) => memo.bases(),
            (Spec::Job(spec), Memo::Job(memo)) => spec.asked.worker.clone().zip(memo.worker()).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What is asked, in order; an answer comes back under its number.
    pub fn probes(&self) -> Vec<Probe> {
        match self {
            Spec::Service(spec) => spec.probes(),
            Spec::Baseline(spec) => spec.probes(),
            Spec::Storage(spec) => spec.probes(),
            Spec::Job(spec) => spec.probes(),
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.probes(),
        }
    }

    /// How many they are. Each answer asks: the questions themselves, all made for that, were most of its cost.
    pub fn probes_count(&self) -> u16 {
        let count = match self {
            Spec::Service(spec) => spec.probes_count(),
            Spec::Baseline(spec) => spec.probes().len(),
            Spec::Storage(_) | Spec::Job(_) => 1,
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.probes().len(),
        };
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// How often probe `n` is asked.
    pub fn pace(&self, n: u16) -> Option<Pace> {
        match self {
            Spec::Service(spec) => spec.pace(n),
            Spec::Baseline(spec) => spec.probes().get(usize::from(n)).map(|probe| probe.pace),
            Spec::Storage(spec) => (n == 0).then(|| spec.pace()),
            Spec::Job(spec) => (n == 0).then(|| spec.pace()),
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.probes().get(usize::from(n)).map(|probe| probe.pace),
        }
    }

    /// How long after a look at `asked` time alone may change what it said, so that another one is made just then.
    pub fn ripens(&self, memo: &Memo, asked: Now) -> Option<Ms> {
        match (self, memo) {
            (Spec::Job(spec), Memo::Job(memo)) => spec.ripens(memo, asked),
            _ => None,
        }
    }

    pub fn memo(&self) -> Memo {
        match self {
            Spec::Service(_) => Memo::Service(service::Memo::default()),
            Spec::Baseline(_) => Memo::Baseline(baseline::Memo::default()),
            Spec::Storage(_) => Memo::Storage(storage::Memo::default()),
            Spec::Job(_) => Memo::Job(job::Memo::default()),
            #[cfg(feature = "toy")]
            Spec::Toy(_) => Memo::Toy(toy::Memo::default()),
        }
    }

    /// What the answer to probe `n` says.
    pub fn read(&self, memo: &mut Memo, n: u16, asked: Now, answer: &Answer, starvation: &Starvation) -> Vec<Sight> {
        match (self, memo) {
            (Spec::Service(spec), Memo::Service(memo)) => spec.read(memo, n, asked, answer, starvation),
            (Spec::Baseline(spec), Memo::Baseline(memo)) => spec.read(memo, n, answer),
            (Spec::Storage(spec), Memo::Storage(memo)) => spec.read(memo, asked, answer, starvation),
            (Spec::Job(spec), Memo::Job(memo)) => spec.read(memo, asked, answer),
            #[cfg(feature = "toy")]
            (Spec::Toy(spec), Memo::Toy(memo)) => spec.read(memo, answer),
            // A memo of another kind: the watch was redefined under the same name. It is begun anew at reload.
            _ => Vec::new(),
        }
    }

    /// The remedy for a target that is, or looks, down.
    pub fn draft(&self, world: &World, target: &TargetId, live: &Live) -> Draft {
        match (self, &live.memo) {
            (Spec::Service(spec), Memo::Service(memo)) => spec.draft(world, target, live, memo),
            (Spec::Baseline(spec), Memo::Baseline(memo)) => spec.draft(world, target, live, memo),
            (Spec::Storage(spec), Memo::Storage(memo)) => spec.draft(world, target, live, memo),
            (Spec::Job(spec), Memo::Job(memo)) => spec.draft(world, target, live, memo),
            #[cfg(feature = "toy")]
            (Spec::Toy(spec), Memo::Toy(memo)) => spec.draft(world, target, live, memo),
            _ => Draft::none("not looked at yet"),
        }
    }

    /// The operator wrote this act down.
    pub fn allows(&self, act: &Act) -> bool {
        match self {
            Spec::Service(spec) => matches!(act, Act::Restart(unit) if *unit == spec.unit),
            Spec::Baseline(spec) => spec.allows(act),
            Spec::Storage(spec) => spec.allows(act),
            Spec::Job(spec) => spec.allows(act),
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.allows(act),
        }
    }

    /// A state of its unit that somebody chose and that is respected.
    pub fn by_hand(&self, live: &Live, now: Now) -> Option<Held> {
        match (self, &live.memo) {
            (Spec::Service(spec), Memo::Service(memo)) => spec.by_hand(memo, now),
            _ => None,
        }
    }

    /// What a plan of this watch rests on, as it is now. Its own policy is always among it.
    pub fn basis(&self, live: &Live) -> Vec<Basis> {
        let mut basis = vec![Basis::policy(&live.digest)];
        if let (Spec::Baseline(_), Memo::Baseline(memo)) = (self, &live.memo) {
            basis.extend(memo.basis());
        }
        basis
    }

    /// The probe that tells what its plans rest on, beside the policy.
    pub fn rests_on(&self) -> Option<u16> {
        match self {
            Spec::Baseline(_) => Some(0),
            Spec::Service(_) | Spec::Storage(_) | Spec::Job(_) => None,
            #[cfg(feature = "toy")]
            Spec::Toy(_) => None,
        }
    }

    /// How old the last look may be that a plan begins on, for what changes without telling anybody.
    pub fn acts_within(&self) -> Option<Ms> {
        match self {
            Spec::Job(_) => Some(job::ACTS_WITHIN),
            Spec::Service(_) | Spec::Baseline(_) | Spec::Storage(_) => None,
            #[cfg(feature = "toy")]
            Spec::Toy(_) => None,
        }
    }

    pub fn needs(&self, policy: &Policy, watch: &Watch) -> Vec<Resource> {
        match self {
            Spec::Service(_) => service::needs(policy, watch),
            Spec::Baseline(_) => Vec::new(),
            Spec::Storage(spec) => spec.needs(),
            Spec::Job(spec) => spec.needs(),
            #[cfg(feature = "toy")]
            Spec::Toy(_) => Vec::new(),
        }
    }

    pub fn provides(&self) -> Vec<Resource> {
        match self {
            Spec::Service(spec) => vec![Resource::Unit(spec.unit.clone())],
            Spec::Baseline(spec) => vec![Resource::Path(spec.python.venv.clone())],
            Spec::Storage(spec) => spec.provides(),
            // Each job is its own: what a plan for one touches says nothing of the others.
            Spec::Job(_) => Vec::new(),
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.provides(),
        }
    }

    /// A target that is told of and that nothing is done about: a part of what the watch keeps.
    pub fn is_part(&self, key: &str) -> bool {
        match self {
            Spec::Service(spec) => spec.is_part(key),
            Spec::Baseline(_) => false,
            Spec::Storage(_) => storage::is_part(key),
            Spec::Job(_) => job::is_part(key),
            #[cfg(feature = "toy")]
            Spec::Toy(_) => false,
        }
    }

    /// The watch whose fault the state of a part is.
    pub fn cause(&self, key: &str) -> Option<&WatchId> {
        match self {
            Spec::Service(spec) => spec.cause(key),
            Spec::Baseline(_) | Spec::Storage(_) | Spec::Job(_) => None,
            #[cfg(feature = "toy")]
            Spec::Toy(_) => None,
        }
    }

    /// Every rung that may be charged to its targets: metrics count each from zero.
    pub fn rungs(&self) -> Vec<Rung> {
        match self {
            Spec::Service(spec) => spec.ladder.iter().filter_map(service::Step::rung).collect(),
            Spec::Baseline(_) => vec![Rung::new("reconcile")],
            Spec::Storage(_) => storage::Spec::rungs(),
            Spec::Job(_) => job::Spec::rungs(),
            #[cfg(feature = "toy")]
            Spec::Toy(_) => vec![Rung::new("mend"), Rung::new("replace")],
        }
    }

    /// The unit that it keeps, for kinds that keep one.
    pub fn unit(&self) -> Option<&UnitName> {
        match self {
            Spec::Service(spec) => Some(&spec.unit),
            Spec::Baseline(_) | Spec::Storage(_) | Spec::Job(_) => None,
            #[cfg(feature = "toy")]
            Spec::Toy(_) => None,
        }
    }

    /// After this long without an answer a verdict is no longer held.
    pub fn stale_after(&self) -> Ms {
        match self {
            Spec::Service(spec) => (spec.interval * 2).max(Ms::mins(2)),
            Spec::Baseline(spec) => spec.interval * 2,
            Spec::Storage(spec) => spec.stale_after(),
            Spec::Job(spec) => spec.stale_after(),
            #[cfg(feature = "toy")]
            Spec::Toy(spec) => spec.interval * 4,
        }
    }

    /// Trees in which somebody's package manager means hands off.
    pub fn trees(&self) -> Vec<PathBuf> {
        match self {
            Spec::Baseline(spec) => spec.trees(),
            Spec::Service(_) | Spec::Storage(_) | Spec::Job(_) => Vec::new(),
            #[cfg(feature = "toy")]
            Spec::Toy(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
