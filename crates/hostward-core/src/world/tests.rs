//! Who is whose cause, and what is known of a plan's ground.

use super::*;
use crate::ask::{Fault, UnitReading};
use crate::fixture::{self, at, falls, plan, target, watch};
use crate::id::{AppName, RunId};
use crate::judge::{Aspect, Verdict};
use crate::ledger::Origin;
use crate::plan::Basis;
use crate::run::OpenRun;
use crate::time::Ms;

const NOW: Ms = Ms::hours(100);

/// `api` needs `db`; both are up.
fn world() -> World {
    let mut world = fixture::world(at(NOW), &["api", "db"]);
    world.graph.learn(&watch("api"), &[UnitName::new("db.service")]);
    for name in ["api", "db"] {
        let up = Target { verdict: Verdict::Up, ..Target::new(at(NOW)) };
        world.live.get_mut(&watch(name)).expect("it is watched").targets.insert(target(name).key, up);
    }
    world
}

fn of<'a>(world: &'a mut World, name: &str) -> &'a mut Target {
    let live = world.live.get_mut(&watch(name)).expect("it is watched");
    live.targets.values_mut().next().expect("it was looked at")
}

/// Judged down, or seen down once: each is reason enough to look there first.
#[test]
fn a_cause_that_is_or_looks_down_is_to_blame() {
    let (api, db) = (target("api"), target("db"));
    let unit = UnitName::new("db.service");
    let told = |world: &World| (world.blame(&api), world.unit_down(&unit), world.urgent(&db));
    assert_eq!(told(&world()), (None, false, false));
    let mut down = world();
    falls(&mut down, &db, at(NOW));
    assert_eq!(told(&down), (Some(db.clone()), true, false));
    of(&mut down, "db").verdict = Verdict::Up;
    assert_eq!(told(&down), (Some(db.clone()), true, false), "it looks down");
    let mut judged = world();
    let reason = crate::judge::Reason::new(crate::judge::Code::Failed, "it");
    of(&mut judged, "db").verdict = Verdict::Down(reason);
    assert_eq!(told(&judged), (Some(db.clone()), true, false), "it is judged down, and looks up again");
    let mut needed = world();
    falls(&mut needed, &api, at(NOW));
    assert_eq!(told(&needed), (None, false, true), "what needs it is down");
    of(&mut needed, "api").verdict = Verdict::Up;
    assert_eq!(told(&needed), (None, false, false), "and only looks so");
}

#[test]
fn a_plan_that_runs_has_its_hands_on_its_units() {
    let mut world = world();
    let touches = |world: &World| ["api", "db"].map(|name| world.touches(&UnitName::new(format!("{name}.service"))));
    assert_eq!(touches(&world), [false, false]);
    world.state.runs.insert(RunId(1), OpenRun::new(plan("db"), Origin::Daemon, at(NOW)));
    assert_eq!(touches(&world), [false, true]);
}

#[test]
fn a_family_are_the_watches_of_one_app() {
    let mut world = world();
    assert_eq!(world.family(&watch("api")), [watch("api")], "of no app");
    let policy = Arc::make_mut(&mut world.policy);
    policy.watches.get_mut(&watch("api")).expect("it is declared").app = Some(AppName::new("shop"));
    assert_eq!(world.family(&watch("api")), [watch("api")]);
    let policy = Arc::make_mut(&mut world.policy);
    policy.watches.get_mut(&watch("db")).expect("it is declared").app = Some(AppName::new("shop"));
    assert_eq!(world.family(&watch("api")), [watch("api"), watch("db")]);
    assert!(world.family(&watch("nobody")).is_empty());
}

/// A baseline's plans rest on what its environment's question shows.
#[test]
fn what_a_plan_rests_on_must_still_be_so_and_be_readable() {
    let mut world = world();
    let digest = world.live[&watch("api")].digest.clone();
    let rests = |value: &Str| Plan { basis: vec![Basis::policy(value)], ..plan("api") };
    assert_eq!(world.basis(&rests(&digest)), Ok(()));
    let moved = world.basis(&rests(&"other".into()));
    assert_eq!(moved, Err(("policy".into(), "other".into(), digest.clone())));
    let gone = Plan { watch: watch("nobody"), ..rests(&digest) };
    assert!(world.basis(&gone).is_err());
    // A service's plans rest on no question.
    let mut blind = Aspect::new(at(NOW));
    blind.fault = Some(Fault::Timeout);
    of(&mut world, "api").aspects.insert(0, blind.clone());
    assert_eq!(world.blind(&rests(&digest)), None);
    let policy = Arc::make_mut(&mut world.policy);
    let api = policy.watches.get_mut(&watch("api")).expect("it is declared");
    api.spec = fixture::baseline();
    assert_eq!(world.blind(&rests(&digest)), Some(Fault::Timeout));
    of(&mut world, "api").aspects.insert(0, Aspect { fault: None, ..blind.clone() });
    of(&mut world, "api").aspects.insert(1, blind);
    assert_eq!(world.blind(&rests(&digest)), None, "another of its questions");
}

/// A step too many is no plan: a person is told.
#[test]
fn what_its_checker_refuses_is_no_plan() {
    let world = world();
    let drafted = |plan: Plan| world.checked(Draft::plan(plan)).plan.is_some();
    assert!(drafted(plan("api")));
    assert!(!drafted(Plan { steps: Vec::new(), ..plan("api") }));
}

/// What the edge said of another gate is no answer.
#[test]
fn a_gate_that_is_another_one_is_forgotten() {
    let mut world = world();
    let live = world.live.get_mut(&watch("api")).expect("it is watched");
    let lock = Some(crate::ask::LockState::Unreadable("EACCES".into()));
    live.see_gate(at(NOW), Ok(Reading::Gate(crate::ask::GateReading { lock, ..Default::default() })));
    assert!(live.gate.is_some() && live.lock.held().is_some_and(|lock| lock.unreadable().is_some()));
    live.forget_gate();
    assert!(live.gate.is_none() && live.lock == LockSeen::NotYet);
}

/// What systemd says a unit needs is news once.
#[test]
fn needs_are_learnt_from_what_was_read() {
    let mut world = fixture::world(at(NOW), &["api", "db"]);
    assert!(!world.learn(&watch("api")), "nothing was read");
    let Memo::Service(memo) = &mut world.live.get_mut(&watch("api")).expect("it is watched").memo else {
        unreachable!()
    };
    memo.last = Some(Box::new(UnitReading { needs: vec![UnitName::new("db.service")], ..fixture::runs(Ms::ZERO) }));
    assert_eq!([world.learn(&watch("api")), world.learn(&watch("api"))], [true, false]);
}
