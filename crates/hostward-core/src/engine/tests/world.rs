//! Virtual time: drives a real engine against the virtual host, and checks after each effect what must always hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::host::Host;
use super::policy::policy;
use crate::ask::{AskKey, Question};
use crate::command::{Command, OrderId, Reply};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::hold::Hold;
use crate::id::TargetId;
use crate::judge::Verdict;
use crate::ledger::{Attempt, Body, Closing, Origin, Record, State, Turn};
use crate::plan::Act;
use crate::policy::Policy;
use crate::replay::{Line, Recorder};
use crate::run::{At, Ticket};
use crate::time::{Ms, Now};
use crate::view::View;

/// More turns than this within one virtual second are a spin: the fastest loop here makes some forty.
const TURNS_A_SECOND: u32 = 150;
const BOOT_ID: &str = "5ca1ab1e";

pub(super) struct World {
    pub(super) now: Now,
    pub(super) host: Host,
    pub(super) policy: Arc<Policy>,
    pub(super) engine: Option<Engine>,
    pub(super) origin: Origin,
    pub(super) memory: Memory,
    /// The ledger's file, and how much of it is on disk.
    pub(super) records: Vec<Record>,
    pub(super) durable: u64,
    pub(super) ledger_bad: bool,
    pub(super) damaged: Option<&'static str>,
    pub(super) performed: Vec<(Now, Act)>,
    pub(super) asked: Vec<(Ms, AskKey)>,
    pub(super) replies: Vec<(Now, OrderId, Reply)>,
    /// What a recording of all this says.
    pub(super) lines: Vec<Line>,
    recorder: Recorder,
    /// Called at each record, before it is on disk.
    pub(super) on_record: fn(&mut World, &Record),
    /// Questions that the edge never answers.
    pub(super) mute: fn(&AskKey) -> bool,
    pub(super) gate_takes: Ms,
    /// The engine dies before this effect, counted from its first, takes place.
    pub(super) crash: Option<Crash>,
    pub(super) effects: usize,
    queue: BTreeMap<(Ms, u64), Due>,
    ids: u64,
    turns: (u64, u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub(super) before: usize,
    pub(super) tail: Tail,
}

/// What becomes of records that were written and not yet synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Lost,
    Kept,
}

enum Due {
    Event(Event),
    Sample(AskKey, Now, Arc<Question>),
    Durable(u64),
    Boot,
}

impl World {
    pub(super) fn new(restart_every: Ms) -> World {
        let up = Ms::mins(6);
        let now = Now { boot: 1, up, wall: Ms(1_750_000_000_000) };
        World {
            now,
            host: Host::new(now, restart_every),
            policy: Arc::new(policy()),
            engine: None,
            origin: Origin::Daemon,
            memory: Memory::default(),
            records: Vec::new(),
            durable: 0,
            ledger_bad: false,
            damaged: None,
            performed: Vec::new(),
            asked: Vec::new(),
            replies: Vec::new(),
            lines: Vec::new(),
            recorder: Recorder::default(),
            on_record: |_, _| {},
            mute: |_| false,
            gate_takes: Ms(3),
            crash: None,
            effects: 0,
            queue: BTreeMap::new(),
            ids: 0,
            turns: (0, 0),
        }
    }

    /// A minute with nothing wrong.
    pub(super) fn well(restart_every: Ms) -> World {
        let mut world = World::new(restart_every);
        world.boot();
        world.run_for(Ms::mins(1));
        world
    }

    pub(super) fn boot(&mut self) {
        let begin = Begin {
            now: self.now,
            boot_id: BOOT_ID.into(),
            policy: Arc::clone(&self.policy),
            rejected: None,
            state: refold(&self.records),
            memory: self.memory.clone(),
            damaged: self.damaged.take().map(Into::into),
            origin: self.origin,
        };
        self.lines.push(self.recorder.begin(begin.clone(), true));
        let (engine, effects) = Engine::new(begin);
        self.engine = Some(engine);
        self.apply(effects);
    }

    /// SIGKILL: no last word. What was not synced may be gone.
    pub(super) fn die(&mut self, tail: Tail) {
        self.engine = None;
        self.queue.clear();
        if tail == Tail::Lost {
            self.records.truncate(usize::try_from(self.durable).unwrap_or(usize::MAX));
        }
        self.durable = self.records.len() as u64;
    }

    pub(super) fn run_for(&mut self, span: Ms) {
        self.run_until(span, |_| false);
    }

    /// True: it came to be so within `span`.
    pub(super) fn run_until(&mut self, span: Ms, is: impl Fn(&World) -> bool) -> bool {
        let end = self.now.plus(span);
        loop {
            self.pass_on();
            if is(self) {
                return true;
            }
            let now = self.now.up;
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.as_ref().and_then(Engine::next_wakeup).map(|at| at.max(now));
            let Some(next) = [queued, wake, self.host.next_due()].into_iter().flatten().min() else { break };
            if next > end.up {
                break;
            }
            self.now = self.now.plus(next.saturating_sub(now));
            self.host.now = self.now;
            if self.host.next_due().is_some_and(|at| at <= next) {
                self.host.advance();
            } else if queued.is_some_and(|at| at <= next) {
                self.pop();
            } else {
                self.tell(Event::Wake);
            }
        }
        self.now = end;
        self.host.now = end;
        false
    }

    /// What happens on the host reaches the engine as hints and outcomes.
    fn pass_on(&mut self) {
        for hint in std::mem::take(&mut self.host.hints) {
            self.later(Ms(1), Due::Event(Event::Hint(hint)));
        }
        for (ticket, outcome) in std::mem::take(&mut self.host.told) {
            if self.engine.is_some() {
                self.later(Ms(1), Due::Event(Event::Ended(ticket, outcome)));
            }
        }
    }

    fn pop(&mut self) {
        let Some((_, due)) = self.queue.pop_first() else { return };
        match due {
            Due::Event(event) => self.tell(event),
            Due::Sample(key, asked, question) => {
                let answer = self.host.answer(&question);
                self.tell(Event::Answered { key, asked, answer });
            }
            Due::Durable(_) if self.ledger_bad => {}
            Due::Durable(seq) => {
                self.durable = self.durable.max(seq);
                self.tell(Event::Durable(seq));
            }
            Due::Boot => self.boot(),
        }
    }

    fn later(&mut self, after: Ms, due: Due) {
        self.ids += 1;
        self.queue.insert((self.now.up + after, self.ids), due);
    }

    pub(super) fn send(&mut self, event: Event) {
        self.later(Ms::ZERO, Due::Event(event));
    }

    pub(super) fn order(&mut self, id: OrderId, command: Command) {
        self.tell(Event::Order(id, command));
    }

    pub(super) fn tell(&mut self, event: Event) {
        let second = self.now.up.0 / 1000;
        self.turns = if self.turns.0 == second { (second, self.turns.1 + 1) } else { (second, 1) };
        assert!(self.turns.1 <= TURNS_A_SECOND, "spins at {:?}, last on {event:?}", self.now.up);
        if let Some(engine) = &mut self.engine {
            self.lines.push(self.recorder.event(self.now, &event));
            let effects = engine.handle(self.now, event);
            self.apply(effects);
        }
    }

    pub(super) fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(Crash { before, tail }) = self.crash
                && self.effects == before
            {
                self.crash = None;
                self.die(tail);
                self.later(Ms::secs(1), Due::Boot);
                return;
            }
            self.effects += 1;
            self.effect(effect);
            self.check();
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { key, asked, question, .. } => {
                self.asked.push((self.now.up, key.clone()));
                if !(self.mute)(&key) {
                    let latency = match &*question {
                        Question::Unit(_) | Question::Closure(_) | Question::Mount(_) => Ms(2),
                        Question::Paths(_) | Question::Jobs(_) => Ms(5),
                        Question::Gate(_) => self.gate_takes,
                        Question::Http(_) | Question::Tcp(_) | Question::Exec(_) => Ms(5),
                        Question::Python(_) => Ms(8),
                        #[cfg(feature = "toy")]
                        Question::Toy(_) => Ms(2),
                    };
                    self.later(latency, Due::Sample(key, asked, question));
                }
            }
            Effect::Append(record) => {
                assert_eq!(record.seq, self.records.len() as u64 + 1);
                self.records.push(record.clone());
                self.later(Ms(6), Due::Durable(record.seq));
                (self.on_record)(self, &record);
            }
            Effect::Perform { ticket, plan, arm } => {
                let Some((act, _)) = ticket.act(&plan) else { panic!("{ticket:?} performs a step without an act") };
                let act = act.clone();
                assert_eq!(arm, None, "nothing is stopped here");
                self.check_permitted(ticket);
                self.performed.push((self.now, act.clone()));
                self.host.perform(ticket, &act);
            }
            Effect::Cancel(ticket) | Effect::Release(ticket) => self.host.forget(ticket),
            Effect::Arm(_) | Effect::Disarm(_) => panic!("nothing is stopped here"),
            Effect::Adopt { tickets, .. } => {
                let tickets: Vec<Ticket> = tickets.into_iter().map(|(ticket, _)| ticket).collect();
                for (ticket, outcome) in self.host.adopt(&tickets) {
                    self.later(Ms(4), Due::Event(Event::Ended(ticket, outcome)));
                }
            }
            Effect::Reply(id, reply) => self.replies.push((self.now, id, reply)),
        }
    }

    /// No act without its intent on disk, nor without every sentinel.
    fn check_permitted(&self, ticket: Ticket) {
        let intent = |r: &&Record| matches!(r.body, Body::Began { run, step, .. } if (run, At::Go(step)) == (ticket.run, ticket.at));
        let begun: Vec<u64> = self.records.iter().filter(intent).map(|r| r.seq).collect();
        assert_eq!(begun.len(), usize::from(ticket.tries), "{ticket:?} was not intended");
        assert!(begun.iter().all(|seq| *seq <= self.durable), "{ticket:?}: its intent is not durable");
        assert!(self.host.all_sentinels(), "{ticket:?} without its sentinels");
    }

    fn check(&self) {
        let Some(engine) = &self.engine else { return };
        let plans: Vec<_> = engine.world().claims().collect();
        for (n, a) in plans.iter().enumerate() {
            assert!(!plans.iter().skip(n + 1).any(|b| a.clashes(b)), "two runs touch the same");
        }
    }

    /// Sick ledger: what is written from now on does not reach the disk.
    pub(super) fn ledger_fails(&mut self) {
        self.ledger_bad = true;
        self.tell(Event::LedgerBad("No space left on device".into()));
    }

    pub(super) fn ledger_heals(&mut self) {
        self.ledger_bad = false;
        self.tell(Event::LedgerGood);
        let last = self.records.len() as u64;
        self.later(Ms(6), Due::Durable(last));
    }

    /// For a debugging session.
    #[expect(dead_code, reason = "called by hand")]
    pub(super) fn dump(&self) {
        for r in &self.records {
            let text: String = format!("{:?}", r.body).chars().take(300).collect();
            eprintln!("{:>6} {:>10} {text}", r.seq, r.at.up.0);
        }
    }

    /// The end of a test: the records alone lead to the engine's own state. They are its serialised form.
    pub(super) fn finish(self) -> String {
        let json = |r: &Record| serde_json::to_string(r).expect("a record serialises");
        let lines: Vec<String> = self.records.iter().map(json).collect();
        let read: Vec<Record> =
            lines.iter().map(|line| serde_json::from_str(line).expect("a record reads back")).collect();
        if let Some(engine) = &self.engine {
            assert_eq!(refold(&read), engine.world().state, "the fold of the records is not the live state");
        }
        lines.join("\n")
    }

    pub(super) fn view(&self) -> View {
        self.engine.as_ref().expect("an engine runs").view()
    }

    pub(super) fn state(&self) -> &State {
        &self.engine.as_ref().expect("an engine runs").world().state
    }

    pub(super) fn verdict(&self, id: &TargetId) -> Verdict {
        let target = self.engine.as_ref().and_then(|engine| engine.world().target(id));
        target.map_or(Verdict::Pending, |target| target.verdict.clone())
    }

    pub(super) fn is_up(&self, id: &TargetId) -> bool {
        self.verdict(id) == Verdict::Up
    }

    pub(super) fn is_down(&self, id: &TargetId) -> bool {
        self.verdict(id).down().is_some()
    }

    pub(super) fn holds(&self, id: &TargetId) -> Vec<Hold> {
        let view = self.view();
        let target = view.watches.iter().flat_map(|w| &w.targets).find(|t| t.id == *id);
        target.map(|t| t.holds.iter().map(|held| held.hold).collect()).unwrap_or_default()
    }

    pub(super) fn attempts(&self, id: &TargetId) -> Vec<Attempt> {
        self.state().targets.get(id).map(|brake| brake.attempts.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn count(&self, is: impl Fn(&Body) -> bool) -> usize {
        self.records.iter().filter(|r| is(&r.body)).count()
    }

    pub(super) fn at(&self, is: impl Fn(&Body) -> bool) -> Option<Now> {
        self.records.iter().find(|r| is(&r.body)).map(|r| r.at)
    }

    pub(super) fn closings(&self) -> Vec<Closing> {
        let result = |r: &'_ Record| match &r.body {
            Body::Closed { result, .. } => Some(result.clone()),
            _ => None,
        };
        self.records.iter().filter_map(result).collect()
    }

    /// When each attempt opened, as time since `from`.
    pub(super) fn opened(&self, from: Now) -> Vec<Ms> {
        let opened = |r: &&Record| matches!(r.body, Body::Opened { .. });
        self.records.iter().filter(opened).map(|r| r.at.since(from)).collect()
    }
}

pub(super) fn fell(target: &TargetId) -> impl Fn(&Body) -> bool + '_ {
    move |body| matches!(body, Body::Turned { target: of, to: Turn::Down { .. }, .. } if of == target)
}

pub(super) fn refold(records: &[Record]) -> State {
    let mut state = State::default();
    for record in records {
        assert_eq!(state.apply(record), Ok(()));
    }
    state
}

/// Runs a scenario twice: the same events give the same records, byte for byte.
pub(super) fn twice(scenario: impl Fn() -> World) {
    let (first, second) = (scenario().finish(), scenario().finish());
    assert!(first == second, "the second run gave other records than the first");
}
