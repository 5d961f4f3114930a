//! An engine driven in virtual time against a scene: what it asks is answered, what it does is done, and all that it
//! recorded is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::world::refold;
use crate::ask::{Answer, Question};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::hold::Hold;
use crate::id::{TargetId, WatchId};
use crate::ledger::{Body, Closing, Origin, Record};
use crate::plan::{Act, Arm, Plan};
use crate::policy::Policy;
use crate::run::Outcome;
use crate::time::{Ms, Now};
use crate::view::TargetView;

/// What the host is like.
pub(super) trait Scene {
    fn answer(&mut self, now: Now, question: &Question) -> Answer;
    fn act(&mut self, now: Now, act: &Act) -> Outcome;
}

const ANSWERED_AFTER: Ms = Ms(5);
const DURABLE_AFTER: Ms = Ms(2);
const ACT_TAKES: Ms = Ms::secs(1);

pub(super) struct Stage<S> {
    pub(super) now: Now,
    pub(super) scene: S,
    pub(super) policy: Arc<Policy>,
    pub(super) engine: Engine,
    pub(super) records: Vec<Record>,
    /// Every act that was performed, in words.
    pub(super) did: Vec<String>,
    pub(super) armed: Vec<Arm>,
    /// The engine dies once so many effects have taken place.
    pub(super) dies_after: Option<usize>,
    pub(super) effects: usize,
    queue: BTreeMap<(Ms, u64), Event>,
    ids: u64,
}

impl<S: Scene> Stage<S> {
    pub(super) fn new(now: Now, policy: Policy, scene: S) -> Stage<S> {
        let policy = Arc::new(policy);
        let (engine, effects) = begun(now, &policy, &[]);
        let mut stage = Stage {
            now,
            scene,
            policy,
            engine,
            records: Vec::new(),
            did: Vec::new(),
            armed: Vec::new(),
            dies_after: None,
            effects: 0,
            queue: BTreeMap::new(),
            ids: 0,
        };
        stage.take(effects);
        stage
    }

    /// Killed, and begun anew a second later from what was recorded, with no memory of what was seen.
    pub(super) fn dies(&mut self) {
        self.queue.clear();
        self.now = self.now.plus(Ms::secs(1));
        let (engine, effects) = begun(self.now, &self.policy, &self.records);
        self.engine = engine;
        self.take(effects);
    }

    fn later(&mut self, after: Ms, event: Event) {
        self.ids += 1;
        self.queue.insert((self.now.up + after, self.ids), event);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if self.dies_after == Some(self.effects) {
                self.dies_after = None;
                return self.dies();
            }
            self.effects += 1;
            match effect {
                Effect::Ask { key, asked, question, .. } => {
                    let answer = self.scene.answer(self.now, &question);
                    self.later(ANSWERED_AFTER, Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => {
                    self.later(DURABLE_AFTER, Event::Durable(record.seq));
                    self.records.push(record);
                }
                Effect::Perform { ticket, plan, arm } => {
                    let (act, _) = ticket.act(&plan).expect("it has an act");
                    self.did.push(act.to_string());
                    self.armed.extend(arm);
                    let outcome = self.scene.act(self.now, act);
                    self.later(ACT_TAKES, Event::Ended(ticket, outcome));
                }
                Effect::Adopt { tickets, .. } => {
                    for (ticket, _) in tickets {
                        self.later(ANSWERED_AFTER, Event::Ended(ticket, Outcome::Lost("nobody remembers it".into())));
                    }
                }
                Effect::Reply(..) | Effect::Arm(_) | Effect::Disarm(_) | Effect::Cancel(_) | Effect::Release(_) => {}
            }
        }
    }

    /// True: it came to be so.
    pub(super) fn run_until(&mut self, span: Ms, is: impl Fn(&Stage<S>) -> bool) -> bool {
        let end = self.now.up + span;
        while !is(self) {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.next_wakeup().map(|at| at.max(self.now.up));
            let Some(next) = queued.into_iter().chain(wake).min().filter(|next| *next <= end) else {
                self.now = self.now.plus(end.saturating_sub(self.now.up));
                return false;
            };
            self.now = self.now.plus(next.saturating_sub(self.now.up));
            let event = if queued == Some(next) { self.queue.pop_first().map(|(_, event)| event) } else { None };
            let effects = self.engine.handle(self.now, event.unwrap_or(Event::Wake));
            self.take(effects);
        }
        true
    }

    pub(super) fn run_for(&mut self, span: Ms) {
        self.run_until(span, |_| false);
    }

    pub(super) fn plans(&self) -> Vec<&Plan> {
        let opened = self.records.iter().filter_map(|record| match &record.body {
            Body::Opened { plan, .. } => Some(&**plan),
            _ => None,
        });
        opened.collect()
    }

    pub(super) fn closings(&self) -> Vec<&Closing> {
        let closed = self.records.iter().filter_map(|record| match &record.body {
            Body::Closed { result, .. } => Some(result),
            _ => None,
        });
        closed.collect()
    }

    pub(super) fn target(&self, id: &TargetId) -> Option<TargetView> {
        let view = self.engine.view();
        view.watch(&id.watch)?.targets.iter().find(|target| target.id == *id).cloned()
    }

    /// What holds it, and what the first hold says.
    pub(super) fn holds(&self, id: &TargetId) -> (Vec<Hold>, String) {
        let holds = self.target(id).map(|target| target.holds).unwrap_or_default();
        let said = holds.first().map(|held| held.value.to_string()).unwrap_or_default();
        (holds.iter().map(|held| held.hold).collect(), said)
    }

    pub(super) fn is_looked_at(&self, id: &WatchId) -> bool {
        self.engine.view().watch(id).is_some_and(|watch| !watch.targets.is_empty())
    }
}

fn begun(now: Now, policy: &Arc<Policy>, records: &[Record]) -> (Engine, Vec<Effect>) {
    Engine::new(Begin {
        now,
        boot_id: "5ca1ab1e".into(),
        policy: Arc::clone(policy),
        rejected: None,
        state: refold(records),
        memory: Memory::default(),
        damaged: None,
        origin: Origin::Daemon,
    })
}
