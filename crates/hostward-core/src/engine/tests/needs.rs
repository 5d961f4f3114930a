//! Needs that systemd tells of: the cause first, its dependents looked at afresh, and restarted only if still down.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::host::Host;
use super::policy::service_only;
use crate::ask::{
    Active, Answer, Fault, GateReading, HttpAnswer, HttpReading, Question, Reading, SentinelState, UnitReading,
};
use crate::engine::{Begin, Effect, Engine, Event, Hint, Memory};
use crate::hold::Hold;
use crate::id::{TargetId, UnitName, WatchId};
use crate::judge::Code;
use crate::ledger::{Origin, State};
use crate::plan::Act;
use crate::policy::{Mode, Policy};
use crate::run::Outcome;
use crate::time::{Ms, Now};
use crate::watch::Spec;

const DB: &str = "db.service";
const API: &str = "api.service";

/// Two services; everything that is asked is answered at once, every act is done after a second.
struct Pair {
    now: Now,
    engine: Engine,
    units: BTreeMap<UnitName, UnitReading>,
    /// Whether the API still answers badly when its database is back, and how long it takes to find that.
    api_stays_ill: bool,
    api_needs: Ms,
    queue: BTreeMap<(Ms, u64), Event>,
    ids: u64,
    acts: Vec<String>,
}

fn policy() -> Policy {
    let mut policy = service_only();
    policy.host.settle = Ms::secs(5);
    let (_, api) = policy.watches.pop_first().unwrap();
    let named = |unit: &str, http: bool| {
        let mut watch = api.clone();
        let Spec::Service(spec) = &mut watch.spec else { unreachable!() };
        spec.unit = UnitName::new(unit);
        if !http {
            spec.http.clear();
        }
        watch
    };
    policy.watches.insert(WatchId::new("service.api"), named(API, true));
    policy.watches.insert(WatchId::new("service.db"), named(DB, false));
    policy
}

impl Pair {
    fn new() -> Pair {
        Pair::of(policy())
    }

    fn of(policy: Policy) -> Pair {
        let now = Now { boot: 1, up: Ms::hours(1), wall: Ms(1_750_000_000_000) };
        let unit = |needs: &[&str]| {
            let needs = needs.iter().map(|unit| UnitName::new(*unit)).collect();
            UnitReading { needs, restart_every: None, ..Host::new(now, Ms::ZERO).unit }
        };
        let units = [(UnitName::new(API), unit(&["system.slice", DB])), (UnitName::new(DB), unit(&[]))].into();
        let begin = Begin {
            now,
            boot_id: "5ca1ab1e".into(),
            policy: Arc::new(policy),
            rejected: None,
            state: State::default(),
            memory: Memory::default(),
            damaged: None,
            origin: Origin::Daemon,
        };
        let (engine, effects) = Engine::new(begin);
        let (queue, acts) = (BTreeMap::new(), Vec::new());
        let mut pair = Pair { now, engine, units, api_stays_ill: false, api_needs: Ms::ZERO, queue, ids: 0, acts };
        pair.take(effects);
        pair.run_for(Ms::mins(1));
        pair
    }

    fn answer(&self, question: &Question) -> Answer {
        let runs = |unit: &str| self.units.get(&UnitName::new(unit)).is_some_and(UnitReading::running);
        Ok(match question {
            Question::Unit(name) => Reading::Unit(Box::new(self.units.get(name).unwrap().clone())),
            Question::Http(_) if !runs(API) => Reading::Http(HttpReading::Silent("connection refused".into())),
            Question::Http(_) => {
                let back = |unit: &UnitReading| self.now.up >= unit.active_since + self.api_needs;
                let found = runs(DB) && self.units.get(&UnitName::new(DB)).is_some_and(back);
                let status = if found && !self.api_stays_ill { 200 } else { 500 };
                Reading::Http(HttpReading::Answered(HttpAnswer { status, ..HttpAnswer::default() }))
            }
            Question::Gate(gate) => Reading::Gate(GateReading {
                sentinels: vec![SentinelState::Present; gate.sentinels.len()],
                ..GateReading::default()
            }),
            _ => return Err(Fault::Timeout),
        })
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
                Effect::Append(record) => self.later(Ms(2), Event::Durable(record.seq)),
                Effect::Perform { ticket, plan, .. } => {
                    let step = &plan.steps[0];
                    let Some(Act::Restart(unit)) = &step.act else { panic!("{plan:?}") };
                    self.acts.push(unit.to_string());
                    if unit.as_str() == API {
                        self.api_stays_ill = false;
                    }
                    self.start(unit.as_str());
                    self.later(Ms::secs(1), Event::Ended(ticket, Outcome::Ok));
                }
                _ => {}
            }
        }
    }

    fn unit(&mut self, name: &str) -> &mut UnitReading {
        self.units.get_mut(&UnitName::new(name)).unwrap()
    }

    fn start(&mut self, name: &str) {
        let up = self.now.up;
        let unit = self.unit(name);
        (unit.active, unit.result) = (Active::Active, "success".into());
        unit.invocation = format!("{:04x}", up.0).into();
        (unit.main_started, unit.active_since, unit.starting_since) = (up, up, up);
        (unit.main_exited, unit.main_end) = (Ms::ZERO, "".into());
    }

    fn fail(&mut self, name: &str) {
        let up = self.now.up;
        let unit = self.unit(name);
        (unit.active, unit.result, unit.main_end) = (Active::Failed, "exit-code".into(), "exited 1".into());
        unit.main_exited = up;
    }

    fn hint(&mut self, name: &str) {
        let effects = self.engine.handle(self.now, Event::Hint(Hint::Unit(UnitName::new(name))));
        self.take(effects);
    }

    fn run_for(&mut self, span: Ms) {
        let end = self.now.up + span;
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.next_wakeup().map(|at| at.max(self.now.up));
            let Some(next) = queued.into_iter().chain(wake).min().filter(|next| *next <= end) else { break };
            self.now = self.now.plus(next.saturating_sub(self.now.up));
            let event = if queued == Some(next) { self.queue.pop_first().unwrap().1 } else { Event::Wake };
            let effects = self.engine.handle(self.now, event);
            self.take(effects);
        }
        self.now = self.now.plus(end.saturating_sub(self.now.up));
    }

    fn holds(&self, name: &str, unit: &str) -> Vec<Hold> {
        let id = TargetId::new(WatchId::new(name), unit);
        let proposal = self.engine.world().propose(&id);
        proposal.map(|p| p.holds.into_iter().map(|held| held.hold).collect()).unwrap_or_default()
    }
}

#[test]
fn what_its_cause_took_down_and_brought_back_is_not_restarted() {
    let mut pair = Pair::new();
    pair.fail(DB);
    pair.run_for(Ms::mins(10));
    assert_eq!(pair.acts, [DB], "the API was well as soon as its database was");
    assert_eq!(pair.engine.world().state.incidents, 1, "one incident, with its dependent");
}

#[test]
fn what_is_still_down_when_its_cause_is_back_is_restarted_once() {
    let mut pair = Pair::new();
    pair.api_stays_ill = true;
    pair.fail(DB);
    pair.run_for(Ms::mins(20));
    assert_eq!(pair.acts, [DB, API]);
    let id = TargetId::new(WatchId::new("service.api"), API);
    assert!(pair.engine.world().target(&id).unwrap().verdict.down().is_none());
}

/// An operator lets it only observe the database: that the cause comes first must not mean that nothing ever comes.
#[test]
fn a_cause_that_nobody_may_act_on_holds_nobody() {
    let mut policy = policy();
    policy.watches.get_mut(&WatchId::new("service.db")).unwrap().mode = Mode::Observe;
    let mut pair = Pair::of(policy);
    pair.fail(DB);
    pair.run_for(Ms::mins(5));
    assert_eq!(pair.acts, [API], "one attempt of its own, though the database is down");
    pair.run_for(Ms::mins(20));
    assert_eq!(pair.acts, [API], "one a plateau");
}

/// The cause comes back by another's hand, and its dependent needs a while longer: what that showed before is no evidence.
#[test]
fn a_dependent_has_time_to_find_its_cause_again() {
    let mut pair = Pair::new();
    pair.api_needs = Ms::secs(13);
    pair.fail(DB);
    let db = TargetId::new(WatchId::new("service.db"), DB);
    while pair.engine.world().target(&db).unwrap().verdict.down().is_none() {
        pair.run_for(Ms(100));
    }
    pair.run_for(Ms::secs(4));
    pair.start(DB);
    pair.hint(DB);
    pair.run_for(Ms::mins(5));
    assert!(pair.acts.is_empty(), "{:?}", pair.acts);
    assert!(pair.holds("service.api", API).is_empty());
}

#[test]
fn a_unit_that_systemd_gives_up_starting_again_and_again_is_in_a_loop() {
    let mut pair = Pair::new();
    pair.unit(DB).restart_every = Some(Ms(100));
    for n in 1..=4 {
        // systemd waits ninety seconds for its readiness, each time.
        let up = pair.now.up;
        let unit = pair.unit(DB);
        (unit.active, unit.restarts) = (Active::Activating, n);
        unit.invocation = format!("{n:04x}").into();
        (unit.main_started, unit.starting_since, unit.main_exited) = (up, up, Ms::ZERO);
        pair.run_for(Ms::secs(90));
        let up = pair.now.up;
        let unit = pair.unit(DB);
        (unit.main_exited, unit.main_end, unit.result) = (up, "killed 15".into(), "timeout".into());
        pair.hint(DB);
        pair.run_for(Ms(100));
    }
    pair.run_for(Ms::secs(10));
    let id = TargetId::new(WatchId::new("service.db"), DB);
    let reason = pair.engine.world().target(&id).unwrap().verdict.down().map(|reason| reason.code);
    assert_eq!(reason, Some(Code::CrashLooping));
}

/// What a dependent showed while its cause was down is no evidence once that is back; but a cause that comes and goes
/// does not put it off for ever.
#[test]
fn a_cause_that_is_back_makes_its_dependents_looks_old_for_ten_minutes() {
    for (after, looked_at_afresh) in [(Ms::mins(9), true), (Ms::mins(11), false)] {
        let mut policy = policy();
        policy.host.mode = Mode::Observe;
        let mut pair = Pair::of(policy);
        pair.api_stays_ill = true;
        pair.fail(DB);
        pair.run_for(after);
        let touched = |pair: &Pair| {
            let id = TargetId::new(WatchId::new("service.api"), API);
            pair.engine.world().target(&id).and_then(|target| target.touched)
        };
        let before = pair.now;
        assert!(touched(&pair).is_none_or(|touched| !touched.not_before(before)));
        pair.start(DB);
        pair.hint(DB);
        pair.run_for(Ms::mins(1));
        let afresh = touched(&pair).is_some_and(|touched| touched.not_before(before));
        assert_eq!(afresh, looked_at_afresh, "back after {after}");
    }
}
