//! Drill: a storage path is taken to be lost, and the whole line is played from the first look to the last: what would be
//! seen, judged, planned, done and proved. Nothing of the host is touched: its mounts are those of one real look, each act
//! is taken to succeed, and time is an argument.
//!
//! Gates are taken to be open and the ledger to be empty: a drill shows what would be done, and never whether it may be
//! now.

mod scene;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::ask::PathsReading;
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::hold::Held;
use crate::id::{Str, TargetId, WatchId};
use crate::judge::Verdict;
use crate::ledger::{Body, Closing, Origin, Record, State};
use crate::plan::{Plan, PlanHash};
use crate::policy::{Mode, Policy, Watch};
use crate::time::{Ms, Now};
use crate::view::View;
use crate::watch::Spec;

use scene::Scene;

/// What is taken to be wrong with the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wound {
    /// Its file server is gone: ENOTCONN.
    Stale,
    /// Its file server answers nobody any more.
    Hung,
    /// Nothing is mounted there.
    Missing,
}

impl fmt::Display for Wound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wound::Stale => "stale",
            Wound::Hung => "hung",
            Wound::Missing => "missing",
        })
    }
}

/// What is played, and on what.
#[derive(Clone, Debug)]
pub struct Drill {
    pub policy: Policy,
    pub watch: WatchId,
    pub path: Str,
    pub wound: Wound,
    /// The host as it was just seen, by the watch's own question.
    pub seen: PathsReading,
    /// What the clock says, for the stamps.
    pub wall: Ms,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Played {
    /// When the path was lost; the records' stamps count from there.
    pub began: Now,
    pub records: Vec<Record>,
    /// The first plan that was carried out.
    pub plan: Option<(PlanHash, Arc<Plan>)>,
    /// How that ended; none: nothing was begun within the hour.
    pub closing: Option<Closing>,
    /// What held it at the end.
    pub holds: Vec<Held>,
}

/// Why there is nothing to play.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDrill {
    #[error("'{0}' is no storage watch of this configuration")]
    NoStorage(WatchId),
    #[error("{path} is no path of {watch}; it has: {known}")]
    NoPath { watch: WatchId, path: Str, known: String },
    /// A drill over a real incident would show neither.
    #[error("{path} is not well as it is: {why}; `hostward plan {watch}` shows what would be done now")]
    Unwell { watch: WatchId, path: Str, why: Str },
}

/// An act of this host takes as long, in the mean; what hangs or waits takes what it takes.
const ACT_TAKES: Ms = Ms::secs(1);
const ANSWER_TAKES: Ms = Ms(5);
const RECORD_TAKES: Ms = Ms(2);
/// Longer than every default: a confirmation takes two minutes.
const PLAYED_FOR: Ms = Ms::hours(1);
/// Of a host that has been up for so long no boot is waited for.
const UP: Ms = Ms::hours(1);

impl Drill {
    pub fn play(self) -> Result<Played, NoDrill> {
        let target = TargetId::new(self.watch.clone(), self.path.clone());
        let policy = self.only_it()?;
        self.known()?;
        let mut stage = Stage::new(policy, Scene::new(self.seen.clone()), self.wall);
        stage.run(PLAYED_FOR, |stage| stage.verdict(&target).is_some_and(|verdict| *verdict != Verdict::Pending));
        let why = match stage.verdict(&target) {
            Some(Verdict::Up) => None,
            Some(Verdict::Down(reason)) => Some(reason.to_string().into()),
            Some(Verdict::Unknown(fault)) => Some(fault.to_string().into()),
            Some(Verdict::Pending) | None => Some("there is no verdict on it".into()),
        };
        if let Some(why) = why {
            return Err(NoDrill::Unwell { watch: self.watch, path: self.path, why });
        }
        stage.records.clear();
        let began = stage.now;
        stage.scene.lose(Path::new(&*self.path), self.wound);
        stage.run(PLAYED_FOR, |stage| stage.closing().is_some());
        let holds = stage
            .view()
            .watch(&target.watch)
            .and_then(|watch| watch.targets.iter().find(|shown| shown.id == target).map(|shown| shown.holds.clone()));
        let plan = stage.plan().map(|plan| (plan.hash(), Arc::new(plan.clone())));
        let closing = stage.closing().cloned();
        Ok(Played { began, plan, closing, holds: holds.unwrap_or_default(), records: stage.records })
    }

    /// This watch alone, allowed to act: of the others nothing is known here.
    fn only_it(&self) -> Result<Policy, NoDrill> {
        let no_storage = || NoDrill::NoStorage(self.watch.clone());
        let watch = self.policy.watches.get(&self.watch).ok_or_else(no_storage)?;
        if !matches!(watch.spec, Spec::Storage(_)) {
            return Err(no_storage());
        }
        let watch = Watch { mode: Mode::Act, needs: Vec::new(), reach: None, ..watch.clone() };
        let mut policy = Policy { watches: [(self.watch.clone(), watch)].into(), ..self.policy.clone() };
        policy.host.mode = Mode::Act;
        Ok(policy)
    }

    fn known(&self) -> Result<(), NoDrill> {
        let known: Vec<String> = self.seen.paths.iter().map(|seen| seen.path.display().to_string()).collect();
        if known.iter().any(|known| *known == *self.path) {
            return Ok(());
        }
        Err(NoDrill::NoPath { watch: self.watch.clone(), path: self.path.clone(), known: known.join(", ") })
    }
}

/// The real engine, and a host that is played.
struct Stage {
    now: Now,
    engine: Engine,
    scene: Scene,
    records: Vec<Record>,
    /// What is still to happen, in its order.
    queue: BTreeMap<(Ms, u64), Event>,
    queued: u64,
}

impl Stage {
    fn new(policy: Policy, scene: Scene, wall: Ms) -> Stage {
        let now = Now { boot: 1, up: UP, wall };
        let (engine, effects) = Engine::new(Begin {
            now,
            boot_id: "drill".into(),
            policy: Arc::new(policy),
            rejected: None,
            state: State::default(),
            memory: Memory::default(),
            damaged: None,
            origin: Origin::Daemon,
        });
        let mut stage = Stage { now, engine, scene, records: Vec::new(), queue: BTreeMap::new(), queued: 0 };
        stage.take(effects);
        stage
    }

    /// Until `is`, for `span` at most.
    fn run(&mut self, span: Ms, is: impl Fn(&Stage) -> bool) {
        let end = self.now.up + span;
        while !is(self) {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.next_wakeup().map(|at| at.max(self.now.up));
            let next = queued.into_iter().chain(wake).min().filter(|next| *next <= end);
            let Some(next) = next else { return };
            self.now = self.now.plus(next.saturating_sub(self.now.up));
            let event = match self.queue.first_entry() {
                Some(first) if queued == Some(next) => first.remove(),
                _ => Event::Wake,
            };
            let effects = self.engine.handle(self.now, event);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, deadline } => {
                    let answer = self.scene.answer(&question, self.now);
                    let takes = if self.scene.hangs(&question) { deadline } else { ANSWER_TAKES };
                    self.later(takes, Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => {
                    self.later(RECORD_TAKES, Event::Durable(record.seq));
                    self.records.push(record);
                }
                Effect::Perform { ticket, plan, .. } => {
                    // A ticket without an act is none that is performed.
                    let Some((act, _)) = ticket.act(&plan) else { continue };
                    let outcome = self.scene.act(act, self.now);
                    self.later(ACT_TAKES, Event::Ended(ticket, outcome));
                }
                // An undo is armed and pushed ahead as always, and nobody dies here.
                Effect::Arm(_)
                | Effect::Disarm(_)
                | Effect::Cancel(_)
                | Effect::Release(_)
                | Effect::Adopt { .. }
                | Effect::Reply(..) => {}
            }
        }
    }

    fn later(&mut self, after: Ms, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now.up + after, self.queued), event);
    }

    fn view(&self) -> View {
        self.engine.view()
    }

    fn verdict(&self, target: &TargetId) -> Option<&Verdict> {
        self.engine.world().target(target).map(|target| &target.verdict)
    }

    fn plan(&self) -> Option<&Plan> {
        self.records.iter().find_map(|record| match &record.body {
            Body::Opened { plan, .. } => Some(&**plan),
            _ => None,
        })
    }

    fn closing(&self) -> Option<&Closing> {
        self.records.iter().find_map(|record| match &record.body {
            Body::Closed { result, .. } => Some(result),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
