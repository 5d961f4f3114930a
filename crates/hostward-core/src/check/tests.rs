use std::sync::Arc;

use super::*;
use crate::ask::Question;
use crate::id::{Rung, WatchId};
use crate::plan::{Command, Heal, Proof, Want};
use crate::policy::{Brakes, Mode, Watch};
use crate::time::Ms;
use crate::watch::{Spec, service};

const UNIT: &str = "example-api.service";

fn watch() -> WatchId {
    WatchId::new("service.api")
}

fn policy() -> Policy {
    let spec = Spec::Service(service::Spec {
        unit: UnitName::new(UNIT),
        interval: Ms::secs(60),
        http: Vec::new(),
        tcp: Vec::new(),
        exec: Vec::new(),
        units: Vec::new(),
        confirm_runs: 2,
        confirm_age: Ms::secs(10),
        start_grace: Ms::secs(30),
        respect_stop: Ms::mins(30),
        ladder: vec![service::Step::Restart],
    });
    let brakes = Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(5) };
    let api =
        Watch { app: None, mode: Mode::Act, sentinel: None, compat: None, brakes, needs: vec![], reach: None, spec };
    Policy { watches: [(watch(), api)].into(), ..Policy::default() }
}

fn step(act: Option<Act>, deadline: Ms, proof: Proof) -> Step {
    Step { act, deadline, proof: Some(proof), crash: OnCrash::Again, back: None, fail: OnFail::Unwind }
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
        heals: vec![Heal { target, rung: Rung::new("restart"), reason: "failed".into() }],
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
    let command = Act::Command(Command { argv: vec!["/bin/true".into()], user: None, dir: None });
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
