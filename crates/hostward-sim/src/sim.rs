//! The loop: virtual time, one event after the other, the real engine, its effects performed on the virtual host.

pub mod edge;
pub mod life;
pub mod strike;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hostward_core::ask::{Answer, AskKey, Question};
use hostward_core::engine::{Effect, Engine, Event, Memory};
use hostward_core::id::RunId;
use hostward_core::ledger::{Body, Record, State};
use hostward_core::plan::{Arm, Plan};
use hostward_core::policy::Policy;
use hostward_core::run::{At, Ticket};
use hostward_core::time::{Ms, Now};

use crate::book::Book;
use crate::coverage::Coverage;
use crate::disk::Disk;
use crate::host::Host;
use crate::law::{Breach, Laws, Moment};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::truth::Truth;

/// What comes to pass at a moment of real time.
#[derive(Debug)]
pub(crate) enum Due {
    /// The question is looked into, and its answer delivered so much later.
    Sample {
        life: u32,
        key: AskKey,
        asked: Now,
        question: Arc<Question>,
        then: Ms,
    },
    Tell {
        life: u32,
        event: Event,
    },
    Act {
        life: u32,
        ticket: Ticket,
        plan: Arc<Plan>,
        arm: Option<Arm>,
    },
    Arm {
        life: u32,
        arm: Arm,
    },
    Disarm {
        life: u32,
        run: RunId,
    },
    Adopt {
        life: u32,
        tickets: Vec<Ticket>,
        runs: Option<Vec<RunId>>,
    },
    Commit {
        life: u32,
        count: usize,
        tries: u32,
    },
    Strike(usize),
    Lift(usize),
    /// A fault that strikes again and again.
    Pulse(usize),
    Begin {
        life: u32,
    },
    /// The next of the one-minute processes.
    Timer {
        life: u32,
    },
}

#[derive(Debug)]
pub struct Sim {
    pub scenario: Scenario,
    pub host: Host,
    pub disk: Disk,
    /// The configuration on disk.
    pub policy: Arc<Policy>,
    /// When each watch's declaration last changed.
    pub changed: BTreeMap<hostward_core::id::WatchId, Ms>,
    pub engine: Option<Engine>,
    /// Which boot this is, as the running engine counts it.
    pub boot: u32,
    pub memory: Memory,
    /// There is evidence without a ledger: the ledger was taken away.
    pub remembered: bool,
    /// The fold of the records as they were appended.
    pub shadow: State,
    pub book: Book,
    pub coverage: Coverage,
    pub laws: Laws,
    pub trace: Trace,
    pub steps: u64,
    /// Over everything that the engine was told and wanted.
    pub hash: u64,
    /// The first law that was broken.
    pub breach: Option<Breach>,
    /// Orders that wait for their reply, since when.
    pub orders: BTreeMap<u64, Ms>,
    pub truth: Vec<Truth>,
    /// Nothing new goes wrong any more.
    pub calm: bool,
    pub(crate) life: u32,
    pub(crate) counts: BTreeMap<&'static str, u32>,
    /// Faults that wait for an effect.
    pub(crate) waiting: Vec<usize>,
    pub(crate) order_ids: u64,
    /// Questions that nobody answers, by the fault that keeps them.
    pub(crate) muted: Vec<(usize, AskKey, Now)>,
    queue: BTreeMap<(Ms, u64), Due>,
    ids: u64,
}

impl Sim {
    pub fn new(scenario: Scenario, laws: Laws, trace: Trace) -> Sim {
        let declared = Arc::new(scenario.policy());
        let mut sim = Sim {
            host: Host::new(&scenario),
            disk: Disk::default(),
            policy: declared,
            changed: BTreeMap::new(),
            engine: None,
            boot: 0,
            memory: Memory::default(),
            remembered: false,
            shadow: State::default(),
            book: Book::default(),
            coverage: Coverage::default(),
            laws,
            trace,
            steps: 0,
            hash: 0,
            breach: None,
            orders: BTreeMap::new(),
            truth: crate::truth::of(&scenario),
            calm: false,
            life: 0,
            counts: BTreeMap::new(),
            waiting: Vec::new(),
            order_ids: 0,
            muted: Vec::new(),
            queue: BTreeMap::new(),
            ids: 0,
            scenario,
        };
        sim.schedule_faults();
        sim.begin();
        sim
    }

    pub fn now(&self) -> Now {
        self.host.clock.now(self.boot)
    }

    pub fn real(&self) -> Ms {
        self.host.clock.real
    }

    /// Runs until so much time has passed, or a law is broken.
    pub fn run_for(&mut self, span: Ms) {
        let end = self.real() + span;
        while self.breach.is_none() && self.step(end) {}
        if self.breach.is_none() {
            self.host.clock.real = end;
        }
    }

    /// Runs at most so long, and stops after the event that ended what was to be waited for: a one-minute process may
    /// live for a few milliseconds.
    pub fn run_while(&mut self, span: Ms, goes_on: impl Fn(&Sim) -> bool) {
        let end = self.real() + span;
        while self.breach.is_none() && goes_on(self) && self.step(end) {}
    }

    /// The next thing happens. False: not before `end`.
    fn step(&mut self, end: Ms) -> bool {
        self.pass_on();
        let clock = self.host.clock;
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let hosts = self.host.next_due();
        let wake = self.engine.as_ref().and_then(Engine::next_wakeup).map(|up| clock.real_of(up));
        let Some(next) = [queued, hosts, wake].into_iter().flatten().min() else { return false };
        if next > end {
            return false;
        }
        self.host.clock.real = next.max(clock.real);
        if hosts.is_some_and(|at| at <= next) {
            self.host.advance();
            for (run, armed) in std::mem::take(&mut self.host.fired) {
                self.check(&Moment::Undo { run, armed });
            }
        } else if queued.is_some_and(|at| at <= next) {
            if let Some((_, due)) = self.queue.pop_first() {
                self.comes_due(due);
            }
        } else {
            self.tell(Event::Wake);
        }
        true
    }

    /// What happens on the host reaches the engine as hints and outcomes.
    fn pass_on(&mut self) {
        for hint in std::mem::take(&mut self.host.hints) {
            if self.hears() {
                self.later(Ms(1), |life| Due::Tell { life, event: Event::Hint(hint) });
            }
        }
        for (ticket, outcome) in std::mem::take(&mut self.host.told) {
            self.word(ticket, outcome);
        }
    }

    pub(crate) fn later(&mut self, after: Ms, due: impl FnOnce(u32) -> Due) {
        self.ids += 1;
        self.queue.insert((self.real() + after, self.ids), due(self.life));
    }

    pub(crate) fn at(&mut self, real: Ms, due: Due) {
        self.ids += 1;
        self.queue.insert((real.max(self.real()), self.ids), due);
    }

    fn comes_due(&mut self, due: Due) {
        let life = self.life;
        match due {
            Due::Strike(n) => self.strike(n),
            Due::Lift(n) => self.lift(n),
            Due::Pulse(n) => self.pulse(n),
            Due::Begin { life: of } if of == life => self.begin(),
            Due::Timer { life: of } if of == life => self.timer(),
            Due::Commit { life: of, count, tries } if of == life => self.commit(count, tries),
            Due::Tell { life: of, event } if of == life => self.tell(event),
            Due::Sample { life: of, key, asked, question, then } if of == life => {
                let answer = self.sample(&key, &question);
                self.answer_later(key, asked, answer, then);
            }
            Due::Act { life: of, ticket, plan, arm } if of == life => {
                if let Some((act, deadline)) = ticket.act(&plan) {
                    self.host.perform(ticket, act, deadline, arm.as_ref());
                }
            }
            Due::Arm { life: of, arm }
                if of == life
                    && !self.bus_away()
                    && !self.host.active.any(|w| *w == crate::scenario::What::ArmFails) =>
            {
                self.host.arm(&arm);
            }
            Due::Disarm { life: of, run } if of == life && !self.bus_away() => {
                self.host.undos.remove(&run);
            }
            Due::Adopt { life: of, tickets, runs } if of == life => self.host.adopt(&tickets, runs.as_deref()),
            // An engine that is no more.
            _ => {}
        }
    }

    fn answer_later(&mut self, key: AskKey, asked: Now, answer: Answer, then: Ms) {
        let event = Event::Answered { key, asked, answer };
        if then == Ms::ZERO {
            self.tell(event);
        } else {
            self.later(then, |life| Due::Tell { life, event });
        }
    }

    /// One event, one turn.
    pub fn tell(&mut self, event: Event) {
        let now = self.now();
        let Some(engine) = &mut self.engine else { return };
        self.steps += 1;
        self.trace.event(now, &event);
        let name = event_name(&event);
        self.hash = self.trace.stir(self.hash, now, name, &event);
        self.book.hear(self.host.clock.real, &event);
        let effects = match catch_unwind(AssertUnwindSafe(|| engine.handle(now, event))) {
            Ok(effects) => effects,
            Err(panic) => return self.panicked(&*panic),
        };
        let wanted = effects.len();
        let records = effects.iter().any(|effect| matches!(effect, Effect::Append(_)));
        self.perform(effects);
        self.turned(name, wanted, records);
    }

    /// A turn is over.
    pub(crate) fn turned(&mut self, event: &'static str, wanted: usize, records: bool) {
        for truth in &mut self.truth {
            truth.look(&self.host);
        }
        let Some(engine) = &self.engine else { return };
        if event == "wake" {
            self.coverage.proposals(engine);
        }
        if self.breach.is_none() {
            self.check(&Moment::Turn { event, wanted, records });
        }
        self.save_memory();
    }

    pub(crate) fn panicked(&mut self, panic: &(dyn std::any::Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        self.engine = None;
        self.blame("the_core_never_panics", text.to_owned());
    }

    pub(crate) fn blame(&mut self, law: &'static str, why: String) {
        if self.breach.is_none() && self.laws.has(law) {
            self.breach = Some(Breach { law, why, at: self.now(), real: self.real(), step: self.steps });
        }
    }

    pub(crate) fn check(&mut self, moment: &Moment<'_>) {
        if let Some((law, why)) = self.laws.check(self, moment) {
            self.blame(law, why);
        }
    }

    /// All effects of one turn, in order; a fault may strike before or after each of them.
    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        let life = self.life;
        for effect in effects {
            let name = effect_name(&effect);
            let nth = self.counts.entry(name).or_default();
            *nth += 1;
            let nth = *nth;
            self.strike_at(name, nth, crate::scenario::fault::Side::Before);
            if self.life != life || self.breach.is_some() {
                return;
            }
            self.hash = self.trace.stir_effect(self.hash, name, &effect);
            if !matches!(effect, Effect::Append(_) | Effect::Ask { .. } | Effect::Reply(..)) {
                self.trace.tell(self.real(), "effect", || format!("{effect:?}"));
            }
            self.check(&Moment::Effect(&effect));
            self.note(&effect);
            self.effect(effect);
            self.strike_at(name, nth, crate::scenario::fault::Side::After);
            if self.life != life || self.breach.is_some() {
                return;
            }
        }
    }

    fn note(&mut self, effect: &Effect) {
        if let Effect::Append(record) = effect {
            if let Err(bad) = self.shadow.apply(record) {
                self.blame("refold_equals_state", format!("the fold refuses {record:?}: {bad}"));
            }
            self.trace.tell(self.host.clock.real, "record", || format!("{} {:?}", record.seq, record.body));
            self.coverage.record(record);
            if let (Body::Unstuck { .. }, Some(engine)) = (&record.body, &self.engine) {
                // An operator said so: it is no longer owed.
                let owed = engine.world().state.stopped();
                self.host.units.iter_mut().for_each(|unit| unit.by_us &= owed.contains(&unit.name));
            }
        }
        let policy = self.engine.as_ref().map_or_else(|| Arc::clone(&self.policy), |e| Arc::clone(&e.world().policy));
        self.book.note(self.host.clock.real, effect, &policy);
    }
}

/// The name under which a fault may wait for an effect.
pub fn effect_name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Ask { .. } => "ask",
        Effect::Append(record) => record_name(record),
        Effect::Perform { ticket: Ticket { at: At::Go(_), .. }, .. } => "perform",
        Effect::Perform { .. } => "perform_back",
        Effect::Arm(_) => "arm",
        Effect::Disarm(_) => "disarm",
        Effect::Cancel(_) => "cancel",
        Effect::Release(_) => "release",
        Effect::Adopt { .. } => "adopt",
        Effect::Reply(..) => "reply",
    }
}

pub fn record_name(record: &Record) -> &'static str {
    match &record.body {
        Body::Started { .. } => "started",
        Body::Stopped => "stopped",
        Body::Noted { .. } => "noted",
        Body::Turned { .. } => "turned",
        Body::Held { .. } => "held",
        Body::Opened { .. } => "opened",
        Body::Began { .. } => "began",
        Body::Ended { .. } => "ended",
        Body::Closed { .. } => "closed",
        Body::Settled { .. } => "settled",
        Body::Returning { .. } => "returning",
        Body::Returned { .. } => "returned",
        Body::Paused { .. } => "paused",
        Body::Resumed { .. } => "resumed",
        Body::Damaged { .. } => "damaged",
        Body::Cleared => "cleared",
        Body::Unstuck { .. } => "unstuck",
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Answered { .. } => "answered",
        Event::Hint(_) => "hint",
        Event::Ended(..) => "ended",
        Event::Durable(_) => "durable",
        Event::LedgerBad(_) => "ledger_bad",
        Event::LedgerGood => "ledger_good",
        Event::Lag(_) => "lag",
        Event::Wake => "wake",
        Event::Order(..) => "order",
        Event::Policy(_) => "policy",
        Event::Rejected(_) => "rejected",
    }
}

/// The policy that the scenario began with.
pub(crate) fn declared(scenario: &Scenario) -> Arc<Policy> {
    Arc::new(scenario.policy())
}
