//! What the simulator remembers of what it saw, apart from the engine: the laws judge by this and by the host's truth.
//!
//! It is kept in real time, which no wall clock and no reboot bends. When records are lost with the engine, what they
//! told is forgotten here too: nobody can be held to what no disk kept. What was *done* is never forgotten.

pub mod told;

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::ask::{AskKey, Question};
use hostward_core::engine::{Effect, Event};
use hostward_core::id::{Resource, RunId, Rung, Str, TargetId, WatchId};
use hostward_core::ledger::{Body, Closing, Origin, Record, Settlement};
use hostward_core::plan::Plan;
use hostward_core::policy::Policy;
use hostward_core::run::{At, Outcome, StepEnd, Ticket};
use hostward_core::time::{Ms, Now};
use std::sync::Arc;

use told::Told;

/// Abnormal starts that are remembered.
const STARTS_KEPT: usize = 8;
/// safety.md, "safe mode": the third abnormal start within ten minutes.
const ABNORMAL_MAX: usize = 3;
const ABNORMAL_WINDOW: Ms = Ms::mins(10);

/// One charged try at one target.
#[derive(Clone, Debug)]
pub struct Try {
    pub run: RunId,
    pub rung: Rung,
    pub reason: Str,
    pub at: Ms,
    pub settled: Option<Settlement>,
    pub proved: bool,
}

/// One run, open or closed.
#[derive(Clone, Debug)]
pub struct Run {
    pub plan: Arc<Plan>,
    pub origin: Origin,
    pub opened: Ms,
    pub closed: Option<Closing>,
    /// When its last step ended, or it was opened: its next step's leave is asked for from then on.
    pub leave: Ms,
    pub begun: BTreeMap<At, Begun>,
}

/// One place of a plan, as far as it came.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    /// When it was last begun, and the record that says so.
    pub at: Ms,
    pub seq: u64,
    /// The record of its first beginning.
    pub first: Option<u64>,
    /// Each time that it was really performed.
    pub performed: Vec<Ms>,
    /// When its last try's outcome was lost: the engine died, or its word said so.
    pub lost: Option<Ms>,
    pub word: Option<Outcome>,
    pub end: Option<StepEnd>,
}

#[derive(Debug, Default)]
pub struct Book {
    pub runs: BTreeMap<RunId, Run>,
    pub tries: BTreeMap<TargetId, Vec<Try>>,
    pub charges: Vec<(Ms, RunId, u32)>,
    /// Questions under way.
    pub asked: BTreeMap<AskKey, (Now, Arc<Question>)>,
    pub told: BTreeMap<AskKey, Told>,
    /// When we last had our hand on what a watch keeps, or on what that needs.
    pub touched: BTreeMap<WatchId, Ms>,
    /// The ledger was lost or damaged, and nobody has looked since.
    pub damaged: Option<Ms>,
    pub frozen: BTreeMap<RunId, Vec<Resource>>,
    pub paused: BTreeMap<Option<WatchId>, (Ms, Ms)>,
    pub ledger_bad: Option<Ms>,
    /// The engine that runs is the third within ten minutes whose predecessor died without a word.
    pub safe: bool,
    /// When a probe last lied, and when an answer last took longer than its owner needed for it.
    pub lied: Option<Ms>,
    pub slowed: Option<Ms>,
    /// The wall clock jumped ahead once: what was stamped in an earlier boot, before this, is of no known age.
    pub jumped: bool,
    pub doubt: Option<Ms>,
    /// When PID 1 could last not be told of an undo, or a record not be written.
    pub hindered: Option<Ms>,
    /// When the last engine ended.
    pub began: Ms,
    /// When the one that runs began.
    pub alive: Ms,
    pub saved: Option<Ms>,
    /// Plans that an operator has given his word for.
    pub word: BTreeMap<String, Ms>,
    /// Turns in the second under way.
    pub turns: (u64, u32),
    /// Wakes in the second under way.
    pub wakes: (u64, u32),
    /// The last time of each give-back's beginning.
    pub returning: BTreeMap<(RunId, u16), Ms>,
    /// Where each run is in the middle, for what a new engine will say.
    amid: BTreeMap<RunId, At>,
}

impl Book {
    /// What the engine is told.
    pub fn hear(&mut self, real: Ms, event: &Event) {
        let second = real.0 / 1000;
        let count = |(at, n): (u64, u32)| if at == second { (second, n + 1) } else { (second, 1) };
        self.turns = count(self.turns);
        if matches!(event, Event::Wake) {
            self.wakes = count(self.wakes);
        }
        match event {
            Event::Answered { key, asked, answer } if self.asked.get(key).is_some_and(|(at, _)| at == asked) => {
                self.asked.remove(key);
                self.told.entry(key.clone()).or_default().take(real, *asked, answer);
            }
            Event::Ended(ticket, outcome) => self.word_of(real, *ticket, outcome),
            Event::LedgerBad(_) => self.ledger_bad = Some(real),
            Event::LedgerGood => self.ledger_bad = None,
            // A watch that is removed asks no more; should it come back, its questions are new ones.
            Event::Policy(policy) => {
                self.asked.retain(|key, _| key.watch().is_none_or(|watch| policy.watches.contains_key(watch)));
            }
            _ => {}
        }
    }

    fn word_of(&mut self, real: Ms, ticket: Ticket, outcome: &Outcome) {
        let Some(begun) = self.runs.get_mut(&ticket.run).and_then(|run| run.begun.get_mut(&ticket.at)) else {
            return;
        };
        if begun.performed.len() != usize::from(ticket.tries) || begun.end.is_some() {
            return;
        }
        if matches!(outcome, Outcome::Lost(_)) {
            // Said twice, it was lost when it was said first.
            begun.lost.get_or_insert(real);
        }
        begun.word = Some(outcome.clone());
    }

    /// What the engine wants, just before it is done. `policy` is the one in force.
    pub fn note(&mut self, real: Ms, effect: &Effect, policy: &Policy) {
        match effect {
            Effect::Ask { key, asked, question, .. } => {
                self.asked.insert(key.clone(), (*asked, Arc::clone(question)));
                self.told.entry(key.clone()).or_default().asked = real;
            }
            Effect::Append(record) => self.record(real, record, policy),
            Effect::Perform { ticket, plan, .. } => {
                self.touch(real, plan, policy);
                if let Some(run) = self.runs.get_mut(&ticket.run) {
                    let begun = run.begun.entry(ticket.at).or_default();
                    begun.performed.push(real);
                    (begun.lost, begun.word) = (None, None);
                }
            }
            Effect::Cancel(ticket) => {
                if let Some(begun) = self.runs.get_mut(&ticket.run).and_then(|r| r.begun.get_mut(&ticket.at)) {
                    begun.lost.get_or_insert(real);
                }
            }
            _ => {}
        }
    }

    fn touch(&mut self, real: Ms, plan: &Plan, policy: &Policy) {
        let clashes = |all: Vec<Resource>| all.iter().any(|a| plan.touches.iter().any(|b| a.clashes(b)));
        for (id, watch) in &policy.watches {
            if clashes(watch.spec.provides()) || clashes(watch.spec.needs(policy, watch)) {
                self.touched.insert(id.clone(), real);
            }
        }
    }

    fn record(&mut self, real: Ms, record: &Record, policy: &Policy) {
        match &record.body {
            Body::Opened { plan, origin } => self.opened(real, RunId(record.seq), plan, *origin),
            Body::Began { run, step, .. } => self.began(real, record.seq, *run, At::Go(*step)),
            Body::Returning { run, step } => {
                self.returning.insert((*run, *step), real);
                self.began(real, record.seq, *run, At::Back(*step));
            }
            Body::Ended { run, step, end } => self.ended(real, *run, At::Go(*step), end),
            Body::Returned { run, step, end, .. } => self.ended(real, *run, At::Back(*step), end),
            Body::Closed { run, result } => self.closed(real, *run, result, policy),
            Body::Settled { run, target, result } => self.settled(*run, target, *result),
            Body::Damaged { .. } => self.damaged = Some(real),
            Body::Cleared => self.damaged = None,
            Body::Paused { watch, span, .. } => {
                self.paused.insert(watch.clone(), (real, *span));
            }
            Body::Resumed { watch } => {
                self.paused.remove(watch);
            }
            Body::Unstuck { watch } => {
                let meant = |run: &RunId| {
                    self.runs.get(run).is_none_or(|run| watch.as_ref().is_none_or(|w| *w == run.plan.watch))
                };
                let freed: Vec<RunId> = self.frozen.keys().filter(|run| meant(run)).copied().collect();
                for run in &freed {
                    self.frozen.remove(run);
                }
            }
            Body::Stopped | Body::Started { .. } | Body::Noted { .. } | Body::Turned { .. } | Body::Held { .. } => {}
        }
    }

    fn opened(&mut self, real: Ms, run: RunId, plan: &Plan, origin: Origin) {
        for heal in &plan.heals {
            let (rung, reason) = (heal.rung.clone(), heal.reason.clone());
            let one = Try { run, rung, reason, at: real, settled: None, proved: false };
            self.tries.entry(heal.target.clone()).or_default().push(one);
        }
        self.charges.push((real, run, plan.cost));
        let plan = Arc::new(plan.clone());
        let opened = Run { plan, origin, opened: real, closed: None, leave: real, begun: BTreeMap::new() };
        self.runs.insert(run, opened);
    }

    fn began(&mut self, real: Ms, seq: u64, run: RunId, at: At) {
        self.amid.insert(run, at);
        if let Some(run) = self.runs.get_mut(&run) {
            let begun = run.begun.entry(at).or_default();
            (begun.at, begun.seq, begun.end) = (real, seq, None);
            begun.first.get_or_insert(seq);
        }
    }

    fn ended(&mut self, real: Ms, run: RunId, at: At, end: &StepEnd) {
        self.amid.remove(&run);
        if let Some(run) = self.runs.get_mut(&run) {
            run.leave = real;
            run.begun.entry(at).or_default().end = Some(end.clone());
        }
        self.told.retain(|key, _| !matches!(key, AskKey::Proof(of, _) if *of == run));
        self.asked.retain(|key, _| !matches!(key, AskKey::Proof(of, _) if *of == run));
    }

    fn closed(&mut self, real: Ms, id: RunId, result: &Closing, policy: &Policy) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.closed = Some(result.clone());
        let plan = Arc::clone(&run.plan);
        self.touch(real, &plan, policy);
        if matches!(result, Closing::Stuck { .. }) {
            self.frozen.insert(id, plan.touches.clone());
        }
        for heal in &plan.heals {
            if *result == Closing::Proved {
                let tries = self.tries.get_mut(&heal.target).into_iter().flatten();
                tries.filter(|one| one.run == id).for_each(|one| one.proved = true);
            } else {
                self.settled(id, &heal.target, Settlement::NotCleared);
            }
        }
    }

    fn settled(&mut self, run: RunId, target: &TargetId, result: Settlement) {
        let Some(one) = self.tries.get_mut(target).into_iter().flatten().find(|one| one.run == run) else { return };
        one.settled = Some(result);
    }

    /// Attempts at a target in a row that did not clear, as far as they are settled. Counted anew each time: a death may
    /// lose a settlement, and the next engine then settles the same attempt again.
    pub fn row(&self, target: &TargetId) -> u32 {
        let settled = self.tries.get(target).into_iter().flatten().rev().filter_map(|one| one.settled);
        u32::try_from(settled.take_while(|settled| *settled != Settlement::Cleared).count()).unwrap_or(u32::MAX)
    }

    /// Runs that are not closed.
    pub fn open(&self) -> impl Iterator<Item = (&RunId, &Run)> {
        self.runs.iter().filter(|(_, run)| run.closed.is_none())
    }

    /// The engine is gone, and every record after `last`.
    pub fn die(&mut self, last: u64) {
        self.asked.clear();
        self.ledger_bad = None;
        let gone: Vec<RunId> = self.runs.keys().filter(|run| run.0 > last).copied().collect();
        for run in gone {
            self.runs.remove(&run);
            self.charges.retain(|(_, of, _)| *of != run);
            self.tries.values_mut().for_each(|tries| tries.retain(|one| one.run != run));
            self.frozen.remove(&run);
        }
        // An intent that went with its record is none: the next engine's is the first.
        for begun in self.runs.values_mut().flat_map(|run| run.begun.values_mut()) {
            begun.first = begun.first.filter(|first| *first <= last);
        }
    }

    /// An engine begins from these records: what they do not say, it cannot know.
    pub fn begin(&mut self, real: Ms, now: Now, records: &[Record], damaged: bool) {
        if damaged {
            self.runs.clear();
            self.tries.clear();
            self.charges.clear();
            self.frozen.clear();
            self.paused.clear();
        }
        self.asked.clear();
        self.alive = real;
        self.safe = abnormal(records, now) >= ABNORMAL_MAX;
        self.replay(records);
        for (id, run) in &mut self.runs {
            run.leave = real;
            if let Some(begun) = self.amid.get(id).and_then(|at| run.begun.get_mut(at)) {
                begun.lost = Some(real);
                begun.word = None;
            }
        }
    }

    /// What the surviving records say of runs whose later records were lost.
    fn replay(&mut self, records: &[Record]) {
        self.amid.clear();
        let mut closed: BTreeSet<RunId> = BTreeSet::new();
        let mut settled: BTreeMap<(RunId, TargetId), Settlement> = BTreeMap::new();
        let mut pauses = BTreeSet::new();
        let mut ends: BTreeMap<(RunId, At), Option<StepEnd>> = BTreeMap::new();
        let damage = self.damaged.take();
        for record in records {
            match &record.body {
                Body::Began { run, step, .. } => {
                    self.amid.insert(*run, At::Go(*step));
                    ends.insert((*run, At::Go(*step)), None);
                }
                Body::Returning { run, step } => {
                    self.amid.insert(*run, At::Back(*step));
                    ends.insert((*run, At::Back(*step)), None);
                }
                Body::Ended { run, step, end } => {
                    self.amid.remove(run);
                    ends.insert((*run, At::Go(*step)), Some(end.clone()));
                }
                Body::Returned { run, step, end, .. } => {
                    self.amid.remove(run);
                    ends.insert((*run, At::Back(*step)), Some(end.clone()));
                }
                Body::Closed { run, .. } => drop(closed.insert(*run)),
                Body::Settled { run, target, result } => drop(settled.insert((*run, target.clone()), *result)),
                Body::Paused { watch, .. } => drop(pauses.insert(watch.clone())),
                Body::Resumed { watch } => drop(pauses.remove(watch)),
                Body::Damaged { .. } => self.damaged = damage.or(Some(Ms::ZERO)),
                Body::Cleared => self.damaged = None,
                _ => {}
            }
        }
        self.paused.retain(|watch, _| pauses.contains(watch));
        for (id, run) in &mut self.runs {
            if !closed.contains(id) {
                run.closed = None;
            }
            for (at, begun) in &mut run.begun {
                begun.end = ends.get(&(*id, *at)).cloned().flatten();
            }
        }
        for (target, tries) in &mut self.tries {
            for one in tries {
                let open = !closed.contains(&one.run);
                let known = settled.get(&(one.run, target.clone())).copied();
                one.settled = if open { None } else { known.or(one.settled.filter(|_| !one.proved)) };
            }
        }
    }
}

/// How many engines within ten minutes, the one that begins now included, found that the one before had said no last
/// word. Of the newest eight: after a clock that went back older ones look new.
fn abnormal(records: &[Record], now: Now) -> usize {
    let (mut running, mut found) = (false, Vec::new());
    for record in records {
        match record.body {
            Body::Started { .. } => {
                found.extend(running.then_some(record.at));
                running = true;
            }
            Body::Stopped => running = false,
            _ => {}
        }
    }
    let own = usize::from(running);
    let newest = found.iter().rev().take(STARTS_KEPT - own);
    newest.filter(|at| now.since(**at) < ABNORMAL_WINDOW).count() + own
}
