//! What stands still while an environment is rebuilt: stopped, given back whatever happens, and by PID 1 should we be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::refold;
use crate::ask::{
    Active, Answer, ClosureReading, Fault, GateReading, Interpreter, PythonQ, PythonReading, Question, Reading,
    SentinelState, UnitReading, Unmet,
};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::fixture::{self, at};
use crate::id::{UnitName, WatchId};
use crate::ledger::{Body, Closing, Origin, Record, State};
use crate::plan::Act;
use crate::policy::{Policy, Watch};
use crate::run::{Outcome, Ticket};
use crate::time::{Ms, Now};
use crate::watch::{Spec, baseline};

const WORKER: &str = "worker.service";
const PART: &str = "part.service";

fn policy() -> Policy {
    let run = [["/bin/uv", "sync"], ["/bin/uv", "check"]];
    let spec = baseline::Spec {
        python: PythonQ { venv: "/srv/venv".into(), wants: Vec::new(), tree: None },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: Some(baseline::Reconcile {
            run: run.map(|argv| argv.map(Into::into).to_vec()).to_vec(),
            user: None,
            dir: None,
            deadline: Ms::mins(15),
            when: baseline::When::AnyDrift,
            quiesce: vec![UnitName::new(WORKER)],
            restart: Vec::new(),
            prove: None,
            prove_within: Ms::mins(2),
        }),
    };
    let app = Watch { spec: Spec::Baseline(spec), ..fixture::service("app") };
    Policy { watches: [(WatchId::new("baseline.app"), app)].into(), ..Policy::default() }
}

/// An environment that has drifted, and a worker with its part: what is asked is answered at once, what is done takes a
/// second, and what the engine wants done is written down.
struct Rebuild {
    now: Now,
    engine: Engine,
    records: Vec<Record>,
    whole: bool,
    cures: bool,
    /// Those that run.
    units: BTreeSet<&'static str>,
    /// Those that no start brings up.
    broken: BTreeSet<&'static str>,
    queue: BTreeMap<(Ms, u64), Event>,
    ids: u64,
    did: Vec<String>,
    tickets: Vec<Ticket>,
    /// What became of each act whose end is on the disk.
    released: Vec<Ticket>,
    cancelled: Vec<(Now, Ticket)>,
    /// The actor never says what became of a command.
    silent: bool,
}

impl Rebuild {
    fn new() -> Rebuild {
        let now = at(Ms::hours(1));
        let (engine, effects) = begun(now, State::default());
        let mut rebuild = Rebuild {
            now,
            engine,
            records: Vec::new(),
            whole: false,
            cures: true,
            units: [WORKER, PART].into(),
            broken: BTreeSet::new(),
            queue: BTreeMap::new(),
            ids: 0,
            did: Vec::new(),
            tickets: Vec::new(),
            released: Vec::new(),
            cancelled: Vec::new(),
            silent: false,
        };
        rebuild.take(effects);
        rebuild
    }

    /// SIGKILL, and another engine a second later.
    fn dies(&mut self) {
        self.queue.clear();
        self.now = self.now.plus(Ms::secs(1));
        let (engine, effects) = begun(self.now, refold(&self.records));
        self.engine = engine;
        self.take(effects);
    }

    fn answer(&self, question: &Question) -> Answer {
        let runs = |unit: &UnitName| self.units.contains(unit.as_str());
        Ok(match question {
            Question::Python(_) => Reading::Python(self.environment()),
            Question::Closure(unit) => Reading::Closure(ClosureReading {
                active: runs(unit),
                members: [UnitName::new(PART)].into_iter().filter(runs).collect(),
                one_way: Vec::new(),
                stop_timeout: Ms::secs(30),
                wakers: Vec::new(),
            }),
            Question::Unit(unit) => {
                let active = if runs(unit) { Active::Active } else { Active::Inactive };
                Reading::Unit(Box::new(UnitReading { active, ..fixture::runs(Ms::ZERO) }))
            }
            Question::Gate(_) => {
                Reading::Gate(GateReading { sentinels: vec![SentinelState::Present], ..GateReading::default() })
            }
            _ => return Err(Fault::Timeout),
        })
    }

    fn environment(&self) -> PythonReading {
        let unmet = Unmet { name: "slowapi".into(), wanted: "==0.1.9".into(), found: None };
        PythonReading {
            interpreter: Interpreter::Version("3.11".into()),
            installed: 1,
            required: 1,
            unmet: (!self.whole).then_some(unmet).into_iter().collect(),
            unmet_total: u32::from(!self.whole),
            touched: Ms::ZERO,
            revision: None,
            wants_digest: "abcdef".into(),
        }
    }

    fn later(&mut self, after: Ms, event: Event) {
        self.ids += 1;
        self.queue.insert((self.now.up + after, self.ids), event);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, .. } => {
                    let answer = self.answer(&question);
                    self.later(Ms(5), Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => {
                    self.later(Ms(2), Event::Durable(record.seq));
                    self.records.push(record);
                }
                Effect::Perform { ticket, plan, arm } => {
                    let (act, _) = ticket.act(&plan).expect("it has an act");
                    let arm = arm.map_or_else(String::new, |arm| format!(", undo in {}", arm.after));
                    self.did.push(format!("{act}{arm}"));
                    let outcome = self.act(act);
                    self.tickets.push(ticket);
                    if !(self.silent && matches!(act, Act::Command(_))) {
                        self.later(Ms::secs(1), Event::Ended(ticket, outcome));
                    }
                }
                Effect::Arm(arm) => self.did.push(format!("undo in {}", arm.after)),
                Effect::Disarm(_) => self.did.push("no undo".into()),
                Effect::Adopt { tickets, .. } => {
                    for (ticket, _) in tickets {
                        self.did.push("adopt".into());
                        self.later(Ms(4), Event::Ended(ticket, Outcome::Lost("nobody remembers it".into())));
                    }
                }
                Effect::Cancel(ticket) => self.cancelled.push((self.now, ticket)),
                Effect::Release(ticket) => self.released.push(ticket),
                Effect::Reply(..) => {}
            }
        }
    }

    fn act(&mut self, act: &Act) -> Outcome {
        match act {
            Act::Stop(stop) => self.units.retain(|name| stop.units().all(|unit| unit.as_str() != *name)),
            Act::Start(units) => {
                let starts = |name: &&'static str| units.iter().any(|unit| unit.as_str() == *name);
                self.units.extend([WORKER, PART].iter().filter(|name| starts(name) && !self.broken.contains(*name)));
            }
            _ if !self.cures => return Outcome::Failed("exited 1".into()),
            _ => self.whole = true,
        }
        Outcome::Ok
    }

    /// True: it came to be so.
    fn run_until(&mut self, span: Ms, is: impl Fn(&Rebuild) -> bool) -> bool {
        let end = self.now.up + span;
        while !is(self) {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.next_wakeup().map(|at| at.max(self.now.up));
            let Some(next) = queued.into_iter().chain(wake).min().filter(|next| *next <= end) else {
                self.now = self.now.plus(end.saturating_sub(self.now.up));
                return false;
            };
            self.now = self.now.plus(next.saturating_sub(self.now.up));
            let event = if queued == Some(next) { self.queue.pop_first().unwrap().1 } else { Event::Wake };
            let effects = self.engine.handle(self.now, event);
            self.take(effects);
        }
        true
    }

    fn closings(&self) -> Vec<&Closing> {
        self.records
            .iter()
            .filter_map(|record| match &record.body {
                Body::Closed { result, .. } => Some(result),
                _ => None,
            })
            .collect()
    }

    fn did(&self, what: &str) -> usize {
        self.did.iter().filter(|did| did.starts_with(what)).count()
    }

    /// Both run, and PID 1 has nothing left to do.
    fn is_given_back(&self) -> bool {
        self.units.len() == 2 && self.did.last().is_some_and(|did| did == "no undo")
    }
}

fn begun(now: Now, state: State) -> (Engine, Vec<Effect>) {
    Engine::new(Begin {
        now,
        boot_id: "5ca1ab1e".into(),
        policy: Arc::new(policy()),
        rejected: None,
        state,
        memory: Memory::default(),
        damaged: None,
        origin: Origin::Daemon,
    })
}

/// The undo stands before the stop, is pushed ahead by each step, and is removed once nothing is owed.
#[test]
fn pid_1_stands_by_from_the_stop_to_the_return() {
    let mut rebuild = Rebuild::new();
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| !rebuild.closings().is_empty()));
    assert_eq!(rebuild.closings(), [&Closing::Proved]);
    assert!(rebuild.is_given_back());
    let want = [
        "stop worker.service, part.service, undo in 5m40s",
        "run `/bin/uv sync`, undo in 18m",
        "run `/bin/uv check`, undo in 18m30s",
        "start worker.service, part.service, undo in 11m30s",
        "no undo",
    ];
    assert_eq!(rebuild.did, want, "the step at hand and three minutes; of a return, its longest backoff as well");
    assert!(rebuild.run_until(Ms::secs(1), |rebuild| rebuild.released.len() == rebuild.tickets.len()));
    assert_eq!(rebuild.released, rebuild.tickets, "what an act left behind goes once its end is on the disk");
}

#[test]
fn what_was_stopped_returns_when_the_rebuild_fails() {
    let mut rebuild = Rebuild::new();
    rebuild.cures = false;
    assert!(rebuild.run_until(Ms::mins(5), |rebuild| !rebuild.closings().is_empty()));
    assert!(matches!(rebuild.closings()[..], [Closing::Unproved { step: 1, .. }]), "{:?}", rebuild.closings());
    assert!(rebuild.is_given_back(), "{:?}", rebuild.did);
    assert_eq!((rebuild.did("run"), rebuild.did("start")), (1, 1));
}

/// A unit that no start brings up is tried ever more slowly and never given up; what came back beside it is told.
#[test]
fn a_return_that_fails_is_tried_until_it_succeeds() {
    let mut rebuild = Rebuild::new();
    rebuild.broken.insert(WORKER);
    assert!(!rebuild.run_until(Ms::mins(30), |rebuild| !rebuild.closings().is_empty()));
    let starts = rebuild.did("start");
    assert!((7..=14).contains(&starts), "{starts} in half an hour");
    let view = rebuild.engine.view();
    let shown = view.watch(&WatchId::new("baseline.app")).expect("it is shown");
    assert_eq!((&shown.stopped_by_us[..], shown.stuck), (&[UnitName::new(WORKER)][..], true));
    assert_eq!(rebuild.did("no undo"), 0, "PID 1 still stands by");
    rebuild.broken.clear();
    assert!(rebuild.run_until(Ms::mins(6), |rebuild| !rebuild.closings().is_empty()));
    assert!(rebuild.is_given_back());
}

/// The rest of the plan counts on its standing still.
#[test]
fn what_somebody_starts_meanwhile_ends_the_forward_steps() {
    let mut rebuild = Rebuild::new();
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| rebuild.did("run") == 1));
    rebuild.units.insert(WORKER);
    assert!(rebuild.run_until(Ms::mins(5), |rebuild| !rebuild.closings().is_empty()));
    let held = |closing: &Closing| match closing {
        Closing::Held { step: 2, holds } => holds.iter().any(|hold| hold.contains("was started meanwhile")),
        _ => false,
    };
    assert!(rebuild.closings().iter().all(|closing| held(closing)), "{:?}", rebuild.closings());
    assert_eq!(rebuild.did("run"), 1);
    assert!(rebuild.is_given_back(), "{:?}", rebuild.did);
}

/// Whenever it dies: what was stopped returns, and PID 1 is not left to do it a second time.
#[test]
fn a_death_at_any_step_leaves_nothing_stopped() {
    for before in ["stop", "run", "start"] {
        let mut rebuild = Rebuild::new();
        assert!(rebuild.run_until(Ms::mins(2), |rebuild| rebuild.did(before) > 0), "{before}");
        rebuild.dies();
        assert_eq!(rebuild.did("adopt"), 1, "{before}");
        assert!(rebuild.did("undo in") > 0, "{before}: PID 1's timer is pushed ahead by the engine that lives");
        let closed = |rebuild: &Rebuild| !rebuild.closings().is_empty();
        assert!(rebuild.run_until(Ms::mins(10), closed), "{before}: {:?}", rebuild.did);
        assert!(rebuild.is_given_back(), "{before}: {:?}", rebuild.did);
    }
}

/// Another try's word, or one that comes after the step has ended, decides nothing.
#[test]
fn only_the_word_on_its_own_ticket_ends_an_act() {
    let mut rebuild = Rebuild::new();
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| rebuild.did("run") == 1));
    let stop = rebuild.tickets[0];
    let before = rebuild.records.len();
    let effects = rebuild.engine.handle(rebuild.now, Event::Ended(stop, Outcome::Failed("late".into())));
    rebuild.take(effects);
    assert_eq!(rebuild.records.len(), before, "the stop is proved already");
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| !rebuild.closings().is_empty()));
    assert_eq!(rebuild.closings(), [&Closing::Proved]);
}

/// systemd's word is waited for until the act's deadline, and twenty seconds more; then the world is looked at.
#[test]
fn an_act_of_which_nothing_is_heard_is_cancelled_at_its_deadline() {
    let mut rebuild = Rebuild::new();
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| rebuild.did("stop") == 1));
    rebuild.silent = true;
    assert!(rebuild.run_until(Ms::mins(2), |rebuild| rebuild.did("run `/bin/uv sync`") == 1));
    let began = rebuild.now;
    assert!(rebuild.run_until(Ms::mins(16), |rebuild| !rebuild.cancelled.is_empty()));
    let sync = rebuild.tickets[1];
    assert_eq!(rebuild.cancelled[0], (began.plus(Ms::mins(15) + Ms::secs(20)), sync));
    rebuild.silent = false;
    assert!(rebuild.run_until(Ms::mins(30), |rebuild| !rebuild.closings().is_empty()));
    assert!(rebuild.is_given_back());
}
