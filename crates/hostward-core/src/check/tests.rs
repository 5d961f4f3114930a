use std::sync::Arc;

use super::*;
use crate::ask::{PythonQ, Question};
use crate::id::{Rung, WatchId};
use crate::plan::{Command, Heal, Proof, Want};
use crate::policy::{Brakes, Mode, Watch};
use crate::time::Ms;
use crate::watch::{Spec, baseline, service};

const UNIT: &str = "example-api.service";

fn watch() -> WatchId {
    WatchId::new("service.api")
}

fn policy() -> Policy {
    let spec = Spec::Service(service::Spec::new(UnitName::new(UNIT)));
    let brakes = Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(5) };
    let api =
        Watch { app: None, mode: Mode::Act, sentinel: None, compat: None, brakes, needs: vec![], reach: None, spec };
    let mut app = api.clone();
    app.spec = Spec::Baseline(rebuilds());
    Policy { watches: [(watch(), api), (WatchId::new("baseline.app"), app)].into(), ..Policy::default() }
}

/// An environment for whose rebuild the worker is stopped.
fn rebuilds() -> baseline::Spec {
    baseline::Spec {
        python: PythonQ { venv: "/srv/venv".into(), wants: Vec::new(), tree: None },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: Some(baseline::Reconcile {
            run: Vec::new(),
            user: None,
            dir: None,
            deadline: Ms::mins(15),
            when: baseline::When::UnitDown,
            quiesce: vec![UnitName::new("worker.service")],
            restart: Vec::new(),
            prove: None,
            prove_within: Ms::mins(2),
        }),
    }
}

fn step(act: Option<Act>, deadline: Ms, proof: Proof) -> Step {
    Step { act, deadline, proof: Some(proof), crash: OnCrash::Again, back: None, unless: None, fail: OnFail::Unwind }
}

fn plan() -> Plan {
    let unit = UnitName::new(UNIT);
    let target = TargetId::new(watch(), UNIT);
    let check = Check::Fact(Arc::new(Question::Unit(unit.clone())), Want::StartedSince);
    let proof = Proof { checks: vec![check], passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let wait = Proof { checks: vec![Check::Target(target.clone())], ..proof.clone() };
    Plan {
        watch: watch(),
        rung: Rung::new("restart"),
        heals: vec![Heal::new(target, Rung::new("restart"), "failed")],
        touches: vec![Resource::Unit(unit.clone())],
        cost: 1,
        basis: Vec::new(),
        why: "it is down".into(),
        steps: vec![step(Some(Act::Restart(unit)), Ms::secs(90), proof), step(None, Ms::ZERO, wait)],
    }
}

fn flaw(spoil: impl FnOnce(&mut Plan)) -> Flaw {
    let mut plan = plan();
    spoil(&mut plan);
    check(&policy(), &plan).expect_err("it was spoilt")
}

fn proof(plan: &mut Plan, n: usize) -> &mut Proof {
    plan.steps[n].proof.as_mut().expect("it has a proof")
}

#[test]
fn a_sound_plan_passes() {
    assert_eq!(check(&policy(), &plan()), Ok(()));
}

#[test]
fn each_flaw_is_found() {
    let other = UnitName::new("other.service");
    let nobody = TargetId::new(WatchId::new("service.nobody"), "it");
    let command = Act::Command(Command { argv: vec!["/bin/true".into()], user: None, dir: None, env: None });
    assert_eq!(flaw(|p| p.watch = nobody.watch.clone()), Flaw::NoSuchWatch("service.nobody".into()));
    assert_eq!(flaw(|p| p.heals.clear()), Flaw::HealsNothing);
    assert_eq!(flaw(|p| p.steps.clear()), Flaw::StepCount(0));
    assert_eq!(flaw(|p| p.steps = vec![p.steps[1].clone(); STEPS_MAX + 1]), Flaw::StepCount(STEPS_MAX + 1));
    assert_eq!(flaw(|p| p.steps[1].proof = None), Flaw::Unproved(1));
    assert_eq!(flaw(|p| (p.steps[0].proof, p.steps[0].crash) = (None, OnCrash::Unwind)), Flaw::NotRepeatable(0));
    assert_eq!(flaw(|p| (p.steps[0].act, p.steps[0].proof) = (None, None)), Flaw::Empty(0));
    assert_eq!(flaw(|p| p.steps[0].deadline = Ms::ZERO), Flaw::Unbounded(0));
    assert_eq!(flaw(|p| proof(p, 0).checks.clear()), Flaw::Unbounded(0));
    assert_eq!(flaw(|p| proof(p, 1).passes = 0), Flaw::Unbounded(1));
    assert_eq!(flaw(|p| proof(p, 1).within = Ms::ZERO), Flaw::Unbounded(1));
    assert_eq!(
        flaw(|p| p.steps[0].act = Some(Act::Restart(other.clone()))),
        Flaw::NotDeclared(0, format!("restart {other}"))
    );
    assert_eq!(flaw(|p| p.steps[0].act = Some(command)), Flaw::NotDeclared(0, "run `/bin/true`".into()));
    assert_eq!(flaw(|p| p.touches.clear()), Flaw::NotClaimed(0, UNIT.into()));
    assert_eq!(
        flaw(|p| proof(p, 1).checks = vec![Check::Target(nobody.clone())]),
        Flaw::NoSuchProof(1, nobody.clone())
    );
}

/// The worker and what goes down with it are stopped, and given back at the end.
fn quiesce() -> Plan {
    let mut plan = plan();
    plan.watch = WatchId::new("baseline.app");
    let [worker, needs] = ["worker.service", "needs.service"].map(UnitName::new);
    let stop = Stop { unit: worker.clone(), closure: vec![needs.clone()], wakes: None };
    plan.touches.extend([worker.clone(), needs.clone()].map(Resource::Unit));
    let back_proof = proof(&mut plan, 0).clone();
    let act = Act::Start(stop.units().cloned().collect());
    let back =
        Back { when: When::Last, act, deadline: Ms::secs(90), proof: back_proof.clone(), tries: 0, unless: None };
    let mut first = step(Some(Act::Stop(stop)), Ms::secs(90), back_proof);
    first.back = Some(back);
    plan.steps.insert(0, first);
    plan
}

fn owed(spoil: impl FnOnce(&mut Plan, &mut Back)) -> Result<(), Flaw> {
    let mut plan = quiesce();
    let mut back = plan.steps[0].back.take().expect("it owes");
    spoil(&mut plan, &mut back);
    plan.steps[0].back = Some(back);
    check(&policy(), &plan)
}

fn stopped(plan: &mut Plan) -> &mut Stop {
    match &mut plan.steps[0].act {
        Some(Act::Stop(stop)) => stop,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_stopped_is_given_back_whole_and_whatever_happens() {
    assert_eq!(check(&policy(), &quiesce()), Ok(()));
    let mut plan = quiesce();
    plan.steps[0].back = None;
    assert_eq!(check(&policy(), &plan), Err(Flaw::NotGivenBack(0)));
    let not_given_back = Err(Flaw::NotGivenBack(0));
    let [worker, other] = ["worker.service", "other.service"].map(UnitName::new);
    assert_eq!(owed(|_, back| back.when = When::Failed), not_given_back);
    assert_eq!(owed(|_, back| back.tries = 3), not_given_back, "a debt is never given up");
    assert_eq!(owed(|_, back| back.act = Act::Start(vec![worker.clone()])), not_given_back, "all of it");
    assert_eq!(owed(|plan, _| stopped(plan).closure.clear()), not_given_back, "no more than that");
    let another = Act::Start(vec![worker.clone(), other.clone()]);
    assert_eq!(owed(|_, back| back.act = another), not_given_back, "and nothing else");
    assert_eq!(owed(|_, back| back.act = Act::Restart(worker.clone())), not_given_back);
}

#[test]
fn what_is_owed_falls_due_and_can_be_told() {
    for (when, says) in
        [(When::After(0), Ok(())), (When::After(2), Ok(())), (When::After(3), Err(Flaw::BackTooEarly(0)))]
    {
        assert_eq!(owed(|_, back| back.when = when), says, "{when:?} of three steps");
    }
    let mut early = quiesce();
    early.steps.swap(0, 1);
    early.steps[1].back.as_mut().expect("it owes").when = When::After(0);
    assert_eq!(check(&policy(), &early), Err(Flaw::BackTooEarly(1)));
    assert_eq!(owed(|_, back| back.deadline = Ms::ZERO), Err(Flaw::Unbounded(0)));
    assert_eq!(owed(|_, back| back.proof.passes = 0), Err(Flaw::Unbounded(0)));
    let target = TargetId::new(watch(), UNIT);
    assert_eq!(owed(|_, back| back.proof.checks.push(Check::Target(target))), Err(Flaw::BackByTarget(0)));
}

#[test]
fn what_is_done_is_declared_and_claimed() {
    let claims = |unit: &str| Resource::Unit(UnitName::new(unit));
    for unclaimed in ["worker.service", "needs.service"] {
        let flaw = owed(|plan, _| plan.touches.retain(|touched| *touched != claims(unclaimed)));
        assert_eq!(flaw, Err(Flaw::NotClaimed(0, unclaimed.into())));
    }
    let other = UnitName::new("other.service");
    let flaw = owed(|plan, back| {
        stopped(plan).unit = other.clone();
        back.act = Act::Start(stopped(plan).units().cloned().collect());
    });
    assert!(matches!(flaw, Err(Flaw::NotDeclared(0, _))), "{flaw:?}");
    // A start is no act of its own: only the return of what the same step stops.
    let mut start = quiesce();
    start.steps[1].back = start.steps[0].back.clone();
    assert!(matches!(check(&policy(), &start), Err(Flaw::NotDeclared(1, _))));
    let mut fence = plan();
    fence.steps[0].act = Some(Act::Fence("/srv/venv".into()));
    assert!(matches!(check(&policy(), &fence), Err(Flaw::NotDeclared(0, _))));
}

#[test]
fn the_last_step_is_proved_and_not_passed_over() {
    let last = |spoil: fn(&mut Step)| flaw(|plan| plan.steps.last_mut().map_or((), spoil));
    assert_eq!(last(|step| step.fail = OnFail::GoOn), Flaw::LastGoesOn(1));
    assert_eq!(last(|step| step.proof = None), Flaw::Unproved(1));
    let mut three = plan();
    three.steps.insert(0, three.steps[0].clone());
    three.steps[0].fail = OnFail::GoOn;
    assert_eq!(check(&policy(), &three), Ok(()), "another may be");
    three.steps[0].proof = None;
    assert_eq!(check(&policy(), &three), Ok(()), "what may be repeated needs no proof");
    let mut most = plan();
    most.steps = vec![most.steps[1].clone(); STEPS_MAX];
    assert_eq!(check(&policy(), &most), Ok(()));
}
