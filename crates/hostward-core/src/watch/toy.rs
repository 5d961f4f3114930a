//! A kind for the simulator only: things that break and are mended while what holds them stands still.
//!
//! It stands in for kinds that take something away before they act: many targets a watch, a stop with its closure, a
//! fence around what could not be mended, a courtesy that may fail, a way back, a step that nobody may repeat.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Draft;
use super::steps::{prove_step, stop_step};
use crate::ask::{Answer, ClosureReading, Pace, Probe, Question, Reading};
use crate::hold::{Circuit, circuit, tried};
use crate::id::{Resource, Rung, Str, TargetId, UnitName};
use crate::judge::{Code, Confirm, Reason, Seen, Shown, Sight};
use crate::plan::{Act, Back, Basis, Check, Command, Heal, OnCrash, OnFail, Plan, Proof, Step, Stop, Want, When};
use crate::time::Ms;
use crate::world::{Live, World};

/// Its dearest act is what a remount will be.
const COST: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub root: PathBuf,
    /// Each is a target, and a path below the root.
    pub keys: Vec<Str>,
    /// What must stand still while one is mended.
    pub holder: Option<UnitName>,
    pub interval: Ms,
    /// What a crash in the middle of the mending means.
    pub crash: OnCrash,
    /// To replace it comes before mending it.
    pub replaces: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ToyQ {
    pub root: PathBuf,
    pub keys: Vec<Str>,
    pub holder: Option<UnitName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToyReading {
    pub broken: Vec<Str>,
    pub fenced: Vec<Str>,
    pub holder: Option<ClosureReading>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    last: Option<ToyReading>,
}

impl Spec {
    fn question(&self, keys: Vec<Str>) -> Arc<Question> {
        Arc::new(Question::Toy(ToyQ { root: self.root.clone(), keys, holder: self.holder.clone() }))
    }

    pub(super) fn probes(&self) -> Vec<Probe> {
        vec![Probe {
            question: self.question(self.keys.clone()),
            pace: Pace { every: self.interval, confirm_every: self.interval.min(Ms::secs(5)) },
            deadline: Ms::secs(5),
        }]
    }

    pub(super) fn provides(&self) -> Vec<Resource> {
        vec![Resource::Path(self.root.clone())]
    }

    pub(super) fn read(&self, memo: &mut Memo, answer: &Answer) -> Vec<Sight> {
        let confirm = Confirm { runs: 2, age: Ms::secs(4), quiet: None };
        let sight = |key: &Str, seen| Sight { key: key.clone(), shown: Shown::Seen(seen), confirm, fact: None };
        match answer {
            Ok(Reading::Toy(reading)) => {
                memo.last = Some(reading.clone());
                let seen = |key: &Str| match (reading.broken.contains(key), reading.fenced.contains(key)) {
                    (true, _) => Seen::Down(Reason::new(Code::Failed, "it is broken")),
                    (false, true) => Seen::Down(Reason::new(Code::Inactive, "it is fenced")),
                    (false, false) => Seen::Up,
                };
                self.keys.iter().map(|key| sight(key, seen(key))).collect()
            }
            Ok(_) => Vec::new(),
            Err(fault) => self.keys.iter().map(|key| sight(key, Seen::Unknown(fault.clone()))).collect(),
        }
    }

    pub(super) fn allows(&self, act: &Act) -> bool {
        let below = |path: &Path| self.keys.iter().any(|key| path == self.path(key));
        match act {
            Act::Command(command) => {
                let [verb, key] = command.argv.as_slice() else { return false };
                ["/toy/mend", "/toy/replace", "/toy/greet", "/toy/unmend"].contains(&&**verb)
                    && self.keys.contains(key)
            }
            Act::Stop(stop) => Some(&stop.unit) == self.holder.as_ref(),
            Act::Fence(path) | Act::Unfence(path) => below(path),
            _ => false,
        }
    }

    fn path(&self, key: &Str) -> PathBuf {
        self.root.join(&**key)
    }

    pub(super) fn draft(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        let Some(reading) = &memo.last else { return Draft::unready("it was not looked at") };
        let reason = world.target(target).and_then(|t| t.verdict.down().or(t.suspect())).map(|reason| reason.code);
        let Some(reason) = reason.map(|code| Str::from(code.label())) else { return Draft::none("nothing is wrong") };
        let brake = world.state.targets.get(target);
        let limits = world.policy.watches.get(&target.watch).map(|watch| watch.brakes);
        let worn = |rung: &Rung| match (brake, limits) {
            (Some(brake), Some(limits)) => match circuit(world.now, brake, rung, &reason, limits, COST) {
                Circuit::Closed => (Ms::ZERO, tried(world.now, brake, rung)),
                Circuit::Open(until) => (until, tried(world.now, brake, rung)),
            },
            _ => (Ms::ZERO, 0),
        };
        let rungs = if self.replaces { ["replace", "mend"] } else { ["mend", "replace"] };
        let rung = rungs.map(Rung::new).into_iter().min_by_key(worn);
        let Some(rung) = rung else { return Draft::none("no rung") };
        let path = self.path(&target.key);
        let stop = match (&self.holder, &reading.holder) {
            (Some(unit), Some(closure)) if closure.active => {
                Some(Stop { unit: unit.clone(), closure: closure.members.clone(), wakes: None })
            }
            _ => None,
        };
        let units = stop.iter().flat_map(Stop::units).cloned().map(Resource::Unit);
        let touches = std::iter::once(Resource::Path(path.clone())).chain(units).collect();
        let why = format!("{} is broken", path.display()).into();
        let steps = self.steps(target, &rung, &path, reading, stop);
        let heals = vec![Heal::new(target.clone(), rung.clone(), reason)];
        let basis = vec![Basis::policy(&live.digest)];
        Draft::plan(Plan { watch: target.watch.clone(), rung, heals, touches, cost: COST, basis, why, steps })
    }

    fn steps(
        &self,
        target: &TargetId,
        rung: &Rung,
        path: &Path,
        reading: &ToyReading,
        stop: Option<Stop>,
    ) -> Vec<Step> {
        let fact = |question, want| Proof {
            checks: vec![Check::Fact(question, want)],
            passes: 1,
            every: Ms(500),
            within: Ms::secs(10),
            soak: Ms::ZERO,
        };
        let mount = || Arc::new(Question::Mount(path.to_path_buf()));
        let fence = || Back {
            unless: None,
            when: When::Failed,
            act: Act::Fence(path.to_path_buf()),
            deadline: Ms::secs(10),
            proof: fact(mount(), Want::Fenced),
            tries: 0,
        };
        let plain = |act, proof, crash| Step {
            act: Some(act),
            deadline: Ms::secs(10),
            proof: Some(proof),
            crash,
            back: None,
            unless: None,
            fail: OnFail::Unwind,
        };
        let command = |verb: &str| {
            let argv = vec![format!("/toy/{verb}").into(), target.key.clone()];
            Act::Command(Command { argv, user: None, dir: None, env: None })
        };
        let whole = || fact(self.question(vec![target.key.clone()]), Want::NoDrift);
        let mut steps: Vec<Step> =
            stop.into_iter().map(|stop| stop_step(stop, Some(Ms::secs(2)), When::Last)).collect();
        if reading.fenced.contains(&target.key) {
            let mut lift = plain(Act::Unfence(path.to_path_buf()), fact(mount(), Want::NotFenced), OnCrash::Again);
            lift.back = Some(fence());
            steps.push(lift);
        }
        let mut mend = plain(command(rung.as_str()), whole(), self.crash);
        // What was replaced is put back when it did not help; what could not be mended is fenced.
        mend.back = Some(if rung.as_str() == "replace" {
            Back { act: command("unmend"), proof: fact(mount(), Want::NotFenced), tries: 2, ..fence() }
        } else {
            fence()
        });
        steps.push(mend);
        let mut greet = plain(command("greet"), whole(), OnCrash::Unwind);
        greet.fail = OnFail::GoOn;
        steps.push(greet);
        steps.push(prove_step(vec![Check::Target(target.clone())], Ms::secs(30)));
        steps
    }
}
