//! The engine: one event in, effects out, time an argument.
//!
//! `handle` takes one event, then turns the crank until nothing moves: runs go on, attempts settle, plans that nothing
//! holds begin, orders are answered, due questions are asked. The daemon, the timer path and the tests all drive this.

mod applying;
mod asking;
mod deciding;
mod doubts;
mod judging;
mod orders;
mod returning;
mod running;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ask::{Answer, AskKey, Question};
use crate::command::{Command, OrderId, Reply};
use crate::graph::Graph;
use crate::hold::Storm;
use crate::id::{RunId, Str, TargetId, UnitName, WatchId};
use crate::judge::Target;
use crate::ledger::{Body, Brake, Origin, Record, State};
use crate::plan::{Arm, Plan, short_digest};
use crate::policy::Policy;
use crate::run::{Outcome, Ticket};
use crate::starvation::{Lag, Starvation};
use crate::time::{Ms, Now};
use crate::view::View;
use crate::watch::Memo;
use crate::world::{Live, Start, World};

use applying::{Apply, Shown};
use asking::Asks;
use doubts::Doubts;
use orders::Order;
use running::Runs;

/// A turn that still moves after this many rounds is a bug; it goes on at the next event.
const ROUNDS_MAX: usize = 64;
/// This many abnormal starts within ten minutes, this one included, are safe mode.
const ABNORMAL_MAX: usize = 3;
const ABNORMAL_WINDOW: Ms = Ms::mins(10);

/// What happened. Written down, it is what `hostward replay` reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The answer to what was asked at this very moment; an older one is to a question that is no more.
    Answered {
        key: AskKey,
        asked: Now,
        answer: Answer,
    },
    Hint(Hint),
    /// The actor's word on a ticket.
    Ended(Ticket, Outcome),
    /// Every record up to this one is on disk.
    Durable(u64),
    LedgerBad(Str),
    LedgerGood,
    /// How late our own timers are.
    Lag(Lag),
    /// Time has passed.
    Wake,
    Order(OrderId, Command),
    /// A configuration was loaded.
    Policy(Arc<Policy>),
    /// A configuration was refused; the one in force stays.
    Rejected(Str),
}

/// Something may have changed: worth a look, never evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    Unit(UnitName),
    /// Signals were missed: every unit is looked at again.
    Units,
    /// A sentinel came or went.
    Gates,
    /// Something was mounted or unmounted.
    Mounts,
}

/// What is wanted of the world.
#[derive(Debug)]
pub enum Effect {
    Ask {
        key: AskKey,
        asked: Now,
        question: Arc<Question>,
        deadline: Ms,
    },
    Append(Record),
    /// `arm`: first of all, what PID 1 is to undo should we be gone. An act whose undo cannot be armed is not made.
    Perform {
        ticket: Ticket,
        plan: Arc<Plan>,
        arm: Option<Arm>,
    },
    /// The same without an act: the run lives, its undo is pushed ahead.
    Arm(Arm),
    Disarm(RunId),
    Cancel(Ticket),
    /// The outcome is durable: what the ticket left behind may go.
    Release(Ticket),
    /// After a start: say what became of these, stop every other step of ours, and disarm every undo but these runs'.
    /// No runs: the ledger that knew them is lost, and every undo is left to PID 1.
    Adopt {
        tickets: Vec<(Ticket, Arc<Plan>)>,
        runs: Option<Vec<RunId>>,
    },
    Reply(OrderId, Reply),
}

/// Evidence that outlives the process, so that one-minute processes can confirm. Losing it means only: later.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    watches: BTreeMap<WatchId, Remembered>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    /// Of the watch's declaration: evidence for another one is no evidence.
    spec: Str,
    memo: Memo,
    targets: BTreeMap<Str, Target>,
}

#[derive(Debug)]
pub struct Engine {
    world: World,
    origin: Origin,
    asks: Asks,
    runs: Runs,
    orders: Vec<Order>,
    applies: Vec<Apply>,
    shown: Shown,
    durable: u64,
    /// Targets whose holds were recorded, when.
    held_at: BTreeMap<TargetId, Now>,
    out: Vec<Effect>,
    doubts: Doubts,
    /// When the first hold of each ill target passes.
    lifts: BTreeMap<TargetId, Ms>,
    /// Targets with an attempt that is not settled.
    unsettled: BTreeSet<TargetId>,
    /// Watches that could not be seen: their verdicts age.
    blind: BTreeSet<WatchId>,
    /// Somebody fell or rose since the storm was last reckoned.
    stirred: bool,
}

/// How an engine begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    pub now: Now,
    pub boot_id: Str,
    pub policy: Arc<Policy>,
    /// The configuration on disk was refused and `policy` is the last good one.
    pub rejected: Option<Str>,
    pub state: State,
    pub memory: Memory,
    /// The ledger had to be set aside.
    pub damaged: Option<Str>,
    pub origin: Origin,
}

impl Engine {
    /// Begins where the ledger left off; open runs are observed before they go on.
    pub fn new(begin: Begin) -> (Engine, Vec<Effect>) {
        let world = World {
            now: begin.now,
            policy: Arc::new(Policy::default()),
            config_error: begin.rejected.clone(),
            rejected: begin.rejected,
            start: Start::Normal,
            state: begin.state,
            ledger_bad: None,
            live: BTreeMap::new(),
            graph: Graph::default(),
            starvation: Starvation::default(),
            storm: Storm::default(),
            ill: BTreeSet::new(),
        };
        let mut engine = Engine {
            world,
            origin: begin.origin,
            asks: Asks::default(),
            runs: Runs::default(),
            orders: Vec::new(),
            applies: Vec::new(),
            shown: Shown::default(),
            durable: 0,
            held_at: BTreeMap::new(),
            out: Vec::new(),
            doubts: Doubts::default(),
            lifts: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            blind: BTreeSet::new(),
            stirred: true,
        };
        let open = |(id, brake): (&TargetId, &Brake)| brake.unsettled().then(|| id.clone());
        engine.unsettled = engine.world.state.targets.iter().filter_map(open).collect();
        let version = env!("CARGO_PKG_VERSION").into();
        engine.record(Body::Started { boot_id: begin.boot_id, version });
        if let Some(why) = begin.damaged {
            engine.record(Body::Damaged { why });
        }
        let abnormal = engine.world.state.abnormal_starts_within(begin.now, ABNORMAL_WINDOW);
        if abnormal >= ABNORMAL_MAX && begin.origin != Origin::Look {
            engine.world.start = Start::Safe(abnormal);
        }
        engine.adopt_policy(&begin.policy);
        engine.recall(begin.memory);
        engine.recover_runs();
        engine.turn();
        let out = std::mem::take(&mut engine.out);
        (engine, out)
    }

    /// One event, one turn.
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.world.now = now;
        match event {
            Event::Answered { key, asked, answer } => self.answered(&key, asked, answer),
            Event::Hint(hint) => self.hint(&hint),
            Event::Ended(ticket, outcome) => self.act_ended(ticket, outcome),
            Event::Durable(seq) => self.durable = self.durable.max(seq),
            Event::LedgerBad(why) => {
                self.world.ledger_bad = Some(why);
                self.doubts.all();
            }
            Event::LedgerGood => {
                self.world.ledger_bad = None;
                self.doubts.all();
            }
            Event::Lag(lag) => {
                self.world.starvation.note(now, lag);
                self.doubts.all();
            }
            Event::Wake => {}
            Event::Order(id, command) => self.order(id, command),
            Event::Policy(policy) => {
                self.world.rejected = None;
                self.world.config_error = None;
                self.adopt_policy(&policy);
            }
            Event::Rejected(why) => self.world.config_error = Some(why),
        }
        self.turn();
        std::mem::take(&mut self.out)
    }

    /// The boot time at which the engine wants to be woken, if nothing happens before.
    pub fn next_wakeup(&self) -> Option<Ms> {
        // A cycle that is late waits for its run, not for time.
        let until = self.orders.iter().map(Order::until).chain(self.applies.iter().map(Apply::until));
        let orders = until.filter(|until| *until > self.world.now.up);
        let soaks = self.unsettled().map(|(_, _, end)| end);
        let lifts = self.lifts.values().copied().filter(|lift| *lift > self.world.now.up);
        let undecided = self.doubts.more().then_some(self.world.now.up + Ms(1));
        let lifts = lifts.chain(undecided);
        self.asks.next_due().into_iter().chain(self.runs.next_due()).chain(lifts).chain(orders).chain(soaks).min()
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn view(&self) -> View {
        View::of(&self.world)
    }

    /// An orderly end: what the ledger should say last.
    pub fn stop(&mut self, now: Now) -> Vec<Effect> {
        self.world.now = now;
        self.record(Body::Stopped);
        std::mem::take(&mut self.out)
    }

    pub fn memory(&self) -> Memory {
        let remembered = |(id, live): (&WatchId, &Live)| {
            let (spec, memo, targets) = (live.digest.clone(), live.memo.clone(), live.targets.clone());
            (id.clone(), Remembered { spec, memo, targets })
        };
        Memory { watches: self.world.live.iter().map(remembered).collect() }
    }

    /// How an engine would begin that is to go on from here: what a recording is begun with in the middle.
    pub fn begin_here(&self) -> Begin {
        Begin {
            now: self.world.now,
            boot_id: self.world.state.boot_id.as_str().into(),
            policy: Arc::clone(&self.world.policy),
            rejected: self.world.rejected.clone(),
            state: self.world.state.clone(),
            memory: self.memory(),
            damaged: None,
            origin: self.origin,
        }
    }

    fn recall(&mut self, memory: Memory) {
        let now = self.world.now;
        for (id, remembered) in memory.watches {
            let Some(live) = self.world.live.get_mut(&id).filter(|live| live.digest == remembered.spec) else {
                continue;
            };
            // Stamps of a boot that has not been: the memory is of another ledger.
            if remembered.targets.values().any(|target| !now.not_before(target.newest())) {
                continue;
            }
            live.memo = remembered.memo;
            live.targets = remembered.targets;
            // Nobody looked while nobody ran: the streak goes on, and is acted upon only after a look of our own.
            live.targets.values_mut().for_each(|target| target.touched = Some(now));
            self.world.reckon(&id);
            self.blind.insert(id);
        }
    }

    /// The one way to change state: apply, then have it appended.
    fn record(&mut self, body: Body) -> u64 {
        let record = Record { seq: self.world.state.seq + 1, at: self.world.now, body };
        let seq = record.seq;
        if let Body::Closed { run, result } = &record.body {
            self.shown.close(*run, result);
        }
        let applied = self.world.state.apply(&record);
        assert!(applied.is_ok(), "our own record does not fit our own state: {applied:?}");
        self.note_record(&record.body);
        self.out.push(Effect::Append(record));
        seq
    }

    /// Keeps what is reckoned from the records, and not from all of the state each turn.
    fn note_record(&mut self, body: &Body) {
        self.doubts.record(&self.world, body);
        let concerned: Vec<TargetId> = match body {
            Body::Turned { .. } => {
                self.stirred = true;
                return;
            }
            Body::Opened { plan, .. } => plan.heals.iter().map(|heal| heal.target.clone()).collect(),
            Body::Settled { target, .. } => vec![target.clone()],
            // Its run is gone from the state: whoever waited for it is asked.
            Body::Closed { .. } => self.unsettled.iter().cloned().collect(),
            _ => return,
        };
        for id in concerned {
            let open = self.world.state.targets.get(&id).is_some_and(Brake::unsettled);
            if open {
                self.unsettled.insert(id)
            } else {
                self.unsettled.remove(&id)
            };
        }
    }

    fn adopt_policy(&mut self, policy: &Arc<Policy>) {
        let old = std::mem::replace(&mut self.world.policy, Arc::clone(policy));
        let kept = |id: &WatchId| old.watches.get(id).map(|w| &w.spec) == policy.watches.get(id).map(|w| &w.spec);
        self.world.live.retain(|id, _| kept(id));
        for (id, watch) in &policy.watches {
            let live = self.world.live.entry(id.clone()).or_insert_with(|| Live::new(watch));
            live.digest = short_digest(watch);
            // The old gate's answer is to another question.
            if old.watches.get(id).is_none_or(|was| old.gate(was) != policy.gate(watch)) {
                live.forget_gate();
            }
        }
        self.world.graph = Graph::of(policy);
        for id in policy.watches.keys() {
            self.world.learn(id);
        }
        self.world.ill.retain(|id| policy.watches.contains_key(&id.watch));
        for id in policy.watches.keys() {
            self.world.reckon(id);
        }
        (self.stirred, self.lifts) = (true, BTreeMap::new());
        self.doubts.all();
        self.asks.declare(policy, self.world.now);
    }

    /// Turns until nothing moves any more.
    fn turn(&mut self) {
        self.doubts.turn();
        for _ in 0..ROUNDS_MAX {
            let before = (self.world.state.seq, self.out.len());
            self.age();
            self.drive_runs();
            self.settle();
            self.consider();
            self.answer_orders();
            self.answer_applies();
            self.ask_due();
            if before == (self.world.state.seq, self.out.len()) {
                break;
            }
        }
    }
}
