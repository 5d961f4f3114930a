//! The baseline watch: an environment that must hold what its lock file says.
//!
//! Drift counts after two fresh passes over a tree that nobody is changing. The remedy rebuilds the environment of the
//! *deployed* revision with the operator's commands; it never fetches a newer one and never migrates.
//! (watches.md, "baseline", where each number comes from.)

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Draft;
use super::quiesce;
use super::steps::{prove_step, restart_step, stop_step};
use crate::ask::{
    Answer, ClosureReading, Fault, Interpreter, Pace, Probe, PythonQ, PythonReading, Question, Reading, WantList,
};
use crate::hold::{Held, Hold, Lift};
use crate::id::{Resource, Rung, Str, TargetId, UnitName, WatchId};
use crate::judge::{Code, Confirm, Quiet, Reason, Seen, Shown, Sight};
use crate::plan::{
    self, Act, Basis, COST_RECONCILE, Check, Command, Heal, OnCrash, OnFail, Plan, Proof, Step, Stop, Want,
};
use crate::time::Ms;
use crate::world::{Live, World};

/// `[baseline.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub python: PythonQ,
    /// Default 5 min. A pass older than two of these is Unknown.
    pub interval: Ms,
    /// Drift counts after two passes over a tree that was quiet this long. Default 60 s.
    pub quiet: Ms,
    /// The same while a unit of the app is down. Default 20 s.
    pub urgent_quiet: Ms,
    pub reconcile: Option<Reconcile>,
}

/// `[baseline.NAME.reconcile]`: rebuild the environment of the deployed revision. Never pulls, never migrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The operator's commands, in order; each must use the declared lock and start with an absolute path.
    pub run: Vec<Vec<Str>>,
    /// Whom they run as. Default root.
    pub user: Option<Str>,
    pub dir: Option<PathBuf>,
    /// For each command. Default 15 min.
    pub deadline: Ms,
    pub when: When,
    /// Units that must not run while the environment changes below them: stopped first, with what stops along, and
    /// started again whatever happens.
    #[serde(default)]
    pub quiesce: Vec<UnitName>,
    /// `then.restart`: those that are down are restarted afterwards.
    pub restart: Vec<UnitName>,
    /// `then.prove`: the watch that must be up at the end.
    pub prove: Option<WatchId>,
    /// How long that may take. Default 2 min.
    pub prove_within: Ms,
}

/// When a drift may be reconciled in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Only while a unit of the app is down: installing below a healthy one could break it.
    #[default]
    UnitDown,
    AnyDrift,
}

impl Spec {
    /// Where an operator's pip or git would be at work: the tree, the environment, and the lock's directory.
    pub fn trees(&self) -> Vec<PathBuf> {
        let mut trees = vec![self.python.venv.clone()];
        trees.extend(self.python.tree.clone());
        trees.extend(self.python.wants.iter().filter_map(|want| match want {
            WantList::Requirements(file) | WantList::UvLock(file) | WantList::Pyproject(file) => {
                file.parent().map(PathBuf::from)
            }
            WantList::Inline(_) => None,
        }));
        trees
    }
}

/// The target's key: one environment a baseline.
const KEY: &str = "python";
/// A pass while it is not clean, so that a confirmed drift is not a stale one.
const CONFIRM_EVERY: Ms = Ms::secs(5);
/// A native pass over a venv takes milliseconds; a disk that needs longer is a fault of its own.
const PASS_DEADLINE: Ms = Ms::secs(20);
/// A handful of D-Bus calls.
const CLOSURE_DEADLINE: Ms = Ms::secs(10);

/// The last pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    pub last: Option<PythonReading>,
    /// What stops with each unit of `quiesce`.
    #[serde(default)]
    closures: BTreeMap<UnitName, ClosureReading>,
}

impl Memo {
    pub(super) fn basis(&self) -> Vec<Basis> {
        let Some(last) = &self.last else { return Vec::new() };
        let revision = last.revision.clone().unwrap_or_else(|| "not a git checkout".into());
        vec![
            Basis { what: "revision".into(), value: revision },
            Basis { what: "lock".into(), value: last.wants_digest.chars().take(12).collect::<String>().into() },
        ]
    }
}

impl Spec {
    fn question(&self) -> Arc<Question> {
        Arc::new(Question::Python(self.python.clone()))
    }

    pub(super) fn probes(&self) -> Vec<Probe> {
        let probe = |question, deadline| Probe {
            question,
            pace: Pace { every: self.interval, confirm_every: CONFIRM_EVERY.min(self.interval) },
            deadline,
        };
        let closure = |unit: &UnitName| probe(Arc::new(Question::Closure(unit.clone())), CLOSURE_DEADLINE);
        std::iter::once(probe(self.question(), PASS_DEADLINE)).chain(self.quiesce().iter().map(closure)).collect()
    }

    fn quiesce(&self) -> &[UnitName] {
        self.reconcile.as_ref().map_or(&[], |reconcile| &reconcile.quiesce)
    }

    pub(super) fn allows(&self, act: &Act) -> bool {
        self.reconcile.as_ref().is_some_and(|reconcile| match act {
            Act::Command(c) => reconcile.run.contains(&c.argv) && reconcile.user == c.user && reconcile.dir == c.dir,
            Act::Restart(unit) => reconcile.restart.contains(unit),
            Act::Stop(stop) => reconcile.quiesce.contains(stop.declared()),
            _ => false,
        })
    }

    pub(super) fn read(&self, memo: &mut Memo, n: u16, answer: &Answer) -> Vec<Sight> {
        let (seen, touched) = match answer {
            // The environment is the first question; what stops with each quiesced unit follows, and is no verdict.
            Ok(Reading::Closure(closure)) => {
                if let Some(unit) = usize::from(n).checked_sub(1).and_then(|n| self.quiesce().get(n)) {
                    memo.closures.insert(unit.clone(), closure.clone());
                }
                let shown = Shown::Seen(Seen::Up);
                return vec![Sight { key: KEY.into(), shown, confirm: Confirm::AT_ONCE, fact: None }];
            }
            Ok(Reading::Python(reading)) => {
                memo.last = Some(reading.clone());
                (judge(reading), reading.touched)
            }
            Ok(_) => (Seen::Unknown(Fault::Probe("another question's answer".into())), Ms::ZERO),
            Err(fault) => (Seen::Unknown(fault.clone()), Ms::ZERO),
        };
        let quiet = Some(Quiet { touched, calm: self.quiet, urgent: self.urgent_quiet });
        let confirm = Confirm { runs: 2, age: Ms::ZERO, quiet };
        vec![Sight { key: KEY.into(), shown: Shown::Seen(seen), confirm, fact: None }]
    }

    pub(super) fn draft(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        let Some(reconcile) = &self.reconcile else {
            return Draft::none("no reconcile is declared for this baseline");
        };
        let Some(reason) = world.target(target).and_then(|t| t.verdict.down().or(t.suspect())) else {
            return Draft::none("nothing is wrong");
        };
        let down: Vec<&UnitName> = reconcile.restart.iter().filter(|unit| world.unit_down(unit)).collect();
        let stops = match self.stops(memo) {
            Ok(stops) => stops,
            Err(none) => return *none,
        };
        let mut basis = vec![Basis::policy(&live.digest)];
        basis.extend(memo.basis());
        let rung = Rung::new("reconcile");
        let units = down.iter().copied().chain(stops.iter().flat_map(|(stop, _)| stop.units()));
        let app = world.policy.watches.get(&target.watch).and_then(|watch| watch.app.clone());
        let touches = std::iter::once(Resource::Path(self.python.venv.clone()))
            .chain(app.map(Resource::App))
            .chain(units.map(|unit| Resource::Unit(unit.clone())))
            .collect();
        let healthy = down.is_empty() && reconcile.when == When::UnitDown;
        let plan = Plan {
            watch: target.watch.clone(),
            rung: rung.clone(),
            heals: vec![Heal::new(target.clone(), rung, reason.code.label())],
            touches,
            cost: COST_RECONCILE,
            basis,
            why: format!("{} has drifted: {}", self.python.venv.display(), reason.detail).into(),
            steps: self.steps(world, reconcile, stops, &down),
        };
        Draft::plan(plan).held(healthy.then(units_healthy))
    }

    fn stops(&self, memo: &Memo) -> Result<Vec<(Stop, Ms)>, Box<Draft>> {
        quiesce::stops(self.quiesce(), |unit| memo.closures.get(unit))
    }

    /// What must stand still is stopped; then the operator's commands; a restart for each unit that is down; the proof of
    /// all of it. What was stopped returns as soon as the environment is whole.
    fn steps(&self, world: &World, reconcile: &Reconcile, stops: Vec<(Stop, Ms)>, down: &[&UnitName]) -> Vec<Step> {
        let no_drift = || Check::Fact(self.question(), Want::NoDrift);
        let last = reconcile.run.len().saturating_sub(1);
        let whole = u16::try_from(stops.len() + last).unwrap_or(u16::MAX);
        let stops = stops.into_iter().map(|(stop, timeout)| stop_step(stop, Some(timeout), plan::When::After(whole)));
        let commands = reconcile.run.iter().enumerate().map(|(n, argv)| Step {
            act: Some(Act::Command(Command {
                argv: argv.clone(),
                user: reconcile.user.clone(),
                dir: reconcile.dir.clone(),
                env: None,
            })),
            deadline: reconcile.deadline,
            // Only the last command owes the whole environment. Installing from a lock again changes nothing, so each
            // may run again after a crash.
            proof: (n == last).then(|| Proof {
                checks: vec![no_drift()],
                passes: 1,
                every: Ms::secs(2),
                within: Ms::secs(30),
                soak: Ms::ZERO,
            }),
            crash: OnCrash::Again,
            back: None,
            unless: None,
            fail: OnFail::Unwind,
        });
        let restarts = down.iter().map(|unit| restart_step(unit, stop_timeout(world, unit)));
        let proved = reconcile.prove.as_ref().and_then(|id| {
            let unit = world.policy.watches.get(id)?.spec.unit()?;
            Some(Check::Target(TargetId::new(id.clone(), unit.as_str())))
        });
        let checks = std::iter::once(no_drift()).chain(proved).collect();
        let end = prove_step(checks, reconcile.prove_within);
        stops.chain(commands).chain(restarts).chain([end]).collect()
    }
}

fn units_healthy() -> Held {
    Held::new(
        Hold::UnitsHealthy,
        "no unit of the app is down",
        "a unit is down, or when = \"any-drift\"",
        Lift::Operator("install during a deploy, or set when = \"any-drift\"".into()),
    )
}

fn stop_timeout(world: &World, unit: &UnitName) -> Option<Ms> {
    world.live.values().find_map(|live| match &live.memo {
        super::Memo::Service(memo) => {
            let last = memo.last.as_ref()?;
            let here = live.targets.keys().any(|key| **key == *unit.as_str());
            here.then_some(last.stop_timeout)
        }
        super::Memo::Baseline(_) | super::Memo::Storage(_) | super::Memo::Job(_) => None,
        #[cfg(feature = "toy")]
        super::Memo::Toy(_) => None,
    })
}

fn judge(reading: &PythonReading) -> Seen {
    match &reading.interpreter {
        Interpreter::Gone(why) => Seen::Down(Reason::new(Code::InterpreterGone, why.clone())),
        Interpreter::NoEnvironment => {
            Seen::Down(Reason::new(Code::NoEnvironment, "there is no environment at this path"))
        }
        Interpreter::Version(_) => match (reading.unmet.first(), reading.unmet_total) {
            (None, 0) => Seen::Up,
            (None, n) => Seen::Down(Reason::new(Code::Drift, format!("{n} requirements are not met"))),
            (Some(first), 1) => Seen::Down(Reason::new(Code::Drift, first.to_string())),
            (Some(first), n) => Seen::Down(Reason::new(Code::Drift, format!("{first}, and {} more", n - 1))),
        },
    }
}

#[cfg(test)]
mod tests;
