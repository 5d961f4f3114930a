//! The engine: one event in, effects out, time an argument.
//!
//! `handle` takes one event, then turns the crank until nothing moves: runs go on, attempts settle, plans that nothing
//! holds begin, orders are answered, due questions are asked. The daemon, the timer path and the tests all drive this.

mod asking;
mod orders;
mod running;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ask::{Answer, AskKey, Question};
use crate::command::{Command, OrderId, Reply};
use crate::hold::{self, Hold, Lift, RELAPSE_WINDOW};
use crate::id::{RunId, Str, TargetId, UnitName, WatchId};
use crate::judge::{Sight, Target, Verdict};
use crate::ledger::{Body, Origin, Record, Settlement, State, Turn};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::run::{Outcome, Ticket};
use crate::time::{Ms, Now};
use crate::view::View;
use crate::watch::Memo;
use crate::world::{Live, Proposal, Start, World};

use asking::Asks;
use orders::Order;
use running::Runs;

/// A turn that still moves after this many rounds is a bug; it goes on at the next event.
const ROUNDS_MAX: usize = 64;
/// This many abnormal starts within ten minutes, this one included, are safe mode.
const ABNORMAL_MAX: usize = 3;
const ABNORMAL_WINDOW: Ms = Ms::mins(10);
/// Facts recorded a minute and target; more are counted.
const NOTES_A_MINUTE: usize = 10;

/// What happened.
#[derive(Debug)]
pub enum Event {
    Answered {
        key: AskKey,
        answer: Answer,
    },
    Hint(Hint),
    /// The actor's word on a ticket.
    Ended(Ticket, Outcome),
    /// Every record up to this one is on disk.
    Durable(u64),
    LedgerBad(Str),
    LedgerGood,
    /// Time has passed.
    Wake,
    Order(OrderId, Command),
    /// A configuration was loaded.
    Policy(Arc<Policy>),
    /// A configuration was refused; the one in force stays.
    Rejected(Str),
}

/// Something may have changed: worth a look, never evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    Unit(UnitName),
    /// Signals were missed: every unit is looked at again.
    Units,
    /// A sentinel came or went.
    Gates,
}

/// What is wanted of the world.
#[derive(Debug)]
pub enum Effect {
    Ask {
        key: AskKey,
        question: Arc<Question>,
        deadline: Ms,
    },
    Append(Record),
    Perform {
        ticket: Ticket,
        plan: Arc<Plan>,
    },
    Cancel(Ticket),
    /// The outcome is durable: what the ticket left behind may go.
    Release(Ticket),
    /// After a start: say what became of these, and stop everything else of ours.
    Adopt(Vec<(Ticket, Arc<Plan>)>),
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
    durable: u64,
    /// Targets whose holds were recorded, when.
    held_at: BTreeMap<TargetId, Now>,
    out: Vec<Effect>,
    /// The least lift of the last round.
    lift: Option<Ms>,
}

/// How an engine begins.
#[derive(Debug)]
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
        };
        let mut engine = Engine {
            world,
            origin: begin.origin,
            asks: Asks::default(),
            runs: Runs::default(),
            orders: Vec::new(),
            durable: 0,
            held_at: BTreeMap::new(),
            out: Vec::new(),
            lift: None,
        };
        let version = env!("CARGO_PKG_VERSION").into();
        engine.record(Body::Started { boot_id: begin.boot_id, version });
        if let Some(why) = begin.damaged {
            engine.record(Body::Damaged { why });
        }
        let abnormal = engine.world.state.abnormal_starts_within(begin.now, ABNORMAL_WINDOW);
        if abnormal >= ABNORMAL_MAX && begin.origin == Origin::Daemon {
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
            Event::Answered { key, answer } => self.answered(&key, answer),
            Event::Hint(hint) => self.hint(&hint),
            Event::Ended(ticket, outcome) => self.act_ended(ticket, outcome),
            Event::Durable(seq) => self.durable = self.durable.max(seq),
            Event::LedgerBad(why) => self.world.ledger_bad = Some(why),
            Event::LedgerGood => self.world.ledger_bad = None,
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
        let orders = self.orders.iter().map(Order::until).filter(|until| *until > self.world.now.up);
        let soaks = self.unsettled().map(|(_, _, end)| end);
        self.asks.next_due().into_iter().chain(self.runs.next_due()).chain(self.lift).chain(orders).chain(soaks).min()
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
            let spec = self.world.policy.watches.get(id).map(crate::plan::short_digest)?;
            Some((id.clone(), Remembered { spec, memo: live.memo.clone(), targets: live.targets.clone() }))
        };
        Memory { watches: self.world.live.iter().filter_map(remembered).collect() }
    }

    fn recall(&mut self, memory: Memory) {
        for (id, remembered) in memory.watches {
            let same = self.world.policy.watches.get(&id).map(crate::plan::short_digest) == Some(remembered.spec);
            if let (true, Some(live)) = (same, self.world.live.get_mut(&id)) {
                live.memo = remembered.memo;
                live.targets = remembered.targets;
            }
        }
    }

    /// The one way to change state: apply, then have it appended.
    fn record(&mut self, body: Body) -> u64 {
        let record = Record { seq: self.world.state.seq + 1, at: self.world.now, body };
        let seq = record.seq;
        let applied = self.world.state.apply(&record);
        assert!(applied.is_ok(), "our own record does not fit our own state: {applied:?}");
        self.out.push(Effect::Append(record));
        seq
    }

    fn adopt_policy(&mut self, policy: &Arc<Policy>) {
        let old = std::mem::replace(&mut self.world.policy, Arc::clone(policy));
        let kept = |id: &WatchId| old.watches.get(id).map(|w| &w.spec) == policy.watches.get(id).map(|w| &w.spec);
        self.world.live.retain(|id, _| kept(id));
        for (id, watch) in &policy.watches {
            self.world.live.entry(id.clone()).or_insert_with(|| Live::new(&watch.spec));
        }
        self.asks.declare(policy, self.world.now);
    }

    /// Turns until nothing moves any more.
    fn turn(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = (self.world.state.seq, self.out.len());
            self.age();
            self.drive_runs();
            self.settle();
            self.consider();
            self.answer_orders();
            self.ask_due();
            if before == (self.world.state.seq, self.out.len()) {
                break;
            }
        }
    }

    /// Verdicts that nobody renewed become unknown.
    fn age(&mut self) {
        let now = self.world.now;
        let mut turned = Vec::new();
        for (id, live) in &mut self.world.live {
            let Some(watch) = self.world.policy.watches.get(id) else { continue };
            let stale_after = watch.spec.stale_after();
            for (key, target) in &mut live.targets {
                let mut aged = false;
                for aspect in target.aspects.values_mut() {
                    aged |= aspect.age(now, stale_after);
                }
                if aged {
                    turned.push(TargetId::new(id.clone(), key.clone()));
                }
            }
        }
        for target in turned {
            self.judge(&target);
        }
    }

    /// Takes the looks of one answer into account.
    fn see(&mut self, id: &WatchId, n: u16, asked: Now, sights: Vec<Sight>) {
        for sight in sights {
            let target_id = TargetId::new(id.clone(), sight.key.clone());
            let urgent = self.world.urgent(&target_id);
            let probes = self.world.policy.watches.get(id).map_or(0, |w| w.spec.probes().len());
            let Some(live) = self.world.live.get_mut(id) else { return };
            let target = live.targets.entry(sight.key).or_insert_with(|| Target::new(asked));
            for probe in 0..u16::try_from(probes).unwrap_or(u16::MAX) {
                target.aspects.entry(probe).or_insert_with(|| crate::judge::Aspect::new(asked));
            }
            if let Some(aspect) = target.aspects.get_mut(&n) {
                aspect.look(asked, sight.seen, sight.confirm, urgent);
            }
            if let Some(fact) = sight.fact {
                self.note(&target_id, fact);
            }
            self.judge(&target_id);
        }
    }

    /// Records a fact, at most ten a minute; what is left out is counted.
    fn note(&mut self, id: &TargetId, fact: Str) {
        let now = self.world.now;
        let live = self.world.live.get_mut(&id.watch);
        let Some(target) = live.and_then(|live| live.targets.get_mut(&id.key)) else { return };
        while target.noted.front().is_some_and(|at| now.since(*at) >= Ms::mins(1)) {
            target.noted.pop_front();
        }
        if target.noted.len() >= NOTES_A_MINUTE {
            target.missed = target.missed.saturating_add(1);
            return;
        }
        target.noted.push_back(now);
        let missed = std::mem::take(&mut target.missed);
        self.record(Body::Noted { target: id.clone(), fact, missed });
    }

    /// One verdict from all looks; a change is recorded, and what follows from it is asked for.
    fn judge(&mut self, id: &TargetId) {
        let now = self.world.now;
        let Some(target) = self.world.live.get_mut(&id.watch).and_then(|l| l.targets.get_mut(&id.key)) else {
            return;
        };
        let verdict = target.judged();
        if std::mem::discriminant(&verdict) != std::mem::discriminant(&target.verdict) {
            target.since = now;
        }
        target.verdict = verdict.clone();
        let turn = match verdict {
            Verdict::Pending => return,
            Verdict::Up => Turn::Up,
            Verdict::Unknown(fault) => Turn::Unknown { fault: fault.to_string().into() },
            Verdict::Down(reason) => {
                Turn::Down { reason: reason.code.label().into(), detail: reason.detail, blame: self.world.blame(id) }
            }
        };
        let last = self.world.state.targets.get(id).and_then(|brake| brake.turn.as_ref()).map(|(turn, _)| turn);
        if last.is_some_and(|last| same_turn(last, &turn)) {
            return;
        }
        let incident = matches!(turn, Turn::Down { .. }).then(|| self.incident(id));
        let fell = matches!(turn, Turn::Down { .. }) && !matches!(last, Some(Turn::Down { .. }));
        self.record(Body::Turned { target: id.clone(), to: turn, incident });
        if fell {
            self.relapse(id);
            for cause in self.world.causes(id) {
                self.demand_watch(&cause.watch, now);
            }
        }
    }

    /// The open incident of this target, of its cause, or of something that needs it; else a new one, named by the
    /// record that opens it.
    fn incident(&self, id: &TargetId) -> u64 {
        let open = |other: &TargetId| self.world.state.targets.get(other).and_then(|brake| brake.incident);
        let dependents = || self.world.targets().filter(|(other, _)| self.world.causes(other).contains(id));
        open(id)
            .or_else(|| self.world.causes(id).iter().find_map(open))
            .or_else(|| dependents().find_map(|(other, _)| open(&other)))
            .unwrap_or(self.world.state.seq + 1)
    }

    /// Down again within the hour of an attempt that had cleared it.
    fn relapse(&mut self, id: &TargetId) {
        let now = self.world.now;
        let last = self.world.state.targets.get(id).and_then(|brake| brake.attempts.back());
        let relapsed = last.and_then(|last| {
            let proved = last.proved?;
            let cleared = matches!(last.settled, None | Some(Settlement::Cleared));
            (cleared && now.since(proved) < RELAPSE_WINDOW).then_some(last.run)
        });
        if let Some(run) = relapsed {
            self.record(Body::Settled { run, target: id.clone(), result: Settlement::Relapsed });
        }
    }

    /// Attempts that were proved and wait for their soak: target, run, and the boot time of its end.
    fn unsettled(&self) -> impl Iterator<Item = (TargetId, RunId, Ms)> + '_ {
        self.world.state.targets.iter().filter(|(id, _)| self.judgeable(id)).flat_map(move |(id, brake)| {
            let soak = self.world.policy.watches.get(&id.watch).map_or(Ms::mins(1), |watch| watch.brakes.soak);
            brake.attempts.iter().filter(|a| a.settled.is_none()).filter_map(move |attempt| {
                Some((id.clone(), attempt.run, self.world.now.reach(attempt.proved?, soak)))
            })
        })
    }

    /// A new process says nothing of a soak before it has looked; of a watch that is gone it never will.
    fn judgeable(&self, id: &TargetId) -> bool {
        let judged = self.world.target(id).is_some_and(|target| target.verdict != Verdict::Pending);
        judged || !self.world.policy.watches.contains_key(&id.watch)
    }

    fn settle(&mut self) {
        let due: Vec<_> = self.unsettled().filter(|(_, _, end)| *end <= self.world.now.up).collect();
        for (target, run, _) in due {
            let up = self.world.target(&target).is_some_and(|t| matches!(t.verdict, Verdict::Up));
            let result = if up { Settlement::Cleared } else { Settlement::NotCleared };
            self.record(Body::Settled { run, target, result });
        }
    }

    /// Looks at every target that is, or looks, down: begins what nothing holds, records what does.
    fn consider(&mut self) {
        self.lift = None;
        let ill: Vec<TargetId> = self
            .world
            .targets()
            .filter(|(_, target)| target.verdict.down().is_some() || target.suspect().is_some())
            .map(|(id, _)| id)
            .collect();
        for id in ill {
            if self.world.claims().any(|plan| plan.heals.iter().any(|heal| heal.target == id)) {
                continue;
            }
            let Some(proposal) = self.world.propose(&id) else { continue };
            self.wait_for(&proposal);
            match proposal.plan {
                Some(plan) if proposal.holds.is_empty() => self.open(plan),
                _ => self.record_held(&proposal),
            }
        }
    }

    /// What would lift a hold is asked for, or sets the timer.
    fn wait_for(&mut self, proposal: &Proposal) {
        let ats = proposal.holds.iter().filter_map(|held| match held.lift {
            Lift::At(at) => Some(at),
            _ => None,
        });
        self.lift = self.lift.into_iter().chain(ats).filter(|at| *at > self.world.now.up).min();
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
    }

    /// Only on a fresh gate, and only after the independent checker.
    fn open(&mut self, plan: Plan) {
        if self.origin == Origin::Look {
            return;
        }
        let now = self.world.now;
        let mut gates: Vec<WatchId> = plan.heals.iter().map(|heal| heal.target.watch.clone()).collect();
        gates.push(plan.watch.clone());
        let stale: Vec<WatchId> = gates.into_iter().filter(|id| hold::stale_gate(now, self.world.gate(id))).collect();
        if !stale.is_empty() {
            for id in stale {
                self.demand(&AskKey::Gate(id), now);
            }
            return;
        }
        let flaw = crate::check::check(&self.world.policy, &plan).err();
        assert!(flaw.is_none(), "drafted a plan that its checker refuses: {flaw:?}");
        let origin = self.origin;
        let seq = self.record(Body::Opened { plan: Box::new(plan), origin });
        self.runs.check(RunId(seq), now);
    }

    /// Once for each different set of holds, at most every five seconds.
    fn record_held(&mut self, proposal: &Proposal) {
        let now = self.world.now;
        let mut labels: Vec<Str> = proposal.holds.iter().map(|held| held.hold.label().into()).collect();
        labels.sort();
        labels.dedup();
        let judged = self.world.target(&proposal.target).is_some_and(|t| t.verdict.down().is_some());
        let known = self.world.state.targets.get(&proposal.target).is_some_and(|brake| brake.held == labels);
        let recent = self.held_at.get(&proposal.target).is_some_and(|at| now.since(*at) < Ms::secs(5));
        // What recovers is not held from anything.
        let recovering = proposal.holds.iter().any(|held| held.hold == Hold::Recovering);
        if labels.is_empty() || recovering || !judged || known || recent {
            return;
        }
        self.held_at.insert(proposal.target.clone(), now);
        self.record(Body::Held { target: proposal.target.clone(), holds: labels });
    }
}

/// Nothing new. A cause is often seen only after its dependent fell: its name is news, its going is not.
fn same_turn(last: &Turn, to: &Turn) -> bool {
    match (last, to) {
        (Turn::Up, Turn::Up) | (Turn::Unknown { .. }, Turn::Unknown { .. }) => true,
        (Turn::Down { reason: last, blame: known, .. }, Turn::Down { reason, blame, .. }) => {
            last == reason && (known.is_some() || blame.is_none())
        }
        _ => false,
    }
}
