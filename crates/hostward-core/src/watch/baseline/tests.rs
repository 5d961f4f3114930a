//! What a rebuild stops, touches, may do, and in which order.

use std::sync::Arc;

use super::*;
use crate::fixture::{self, at, falls, runs, target, watch};
use crate::id::RunId;
use crate::ledger::{Attempt, Settlement};
use crate::policy::Policy;
use crate::watch::service;

fn unit(name: &str) -> UnitName {
    UnitName::new(format!("{name}.service"))
}

/// Two commands; the worker and the mailer stand still meanwhile, and `s` is restarted if it is down.
fn spec() -> Spec {
    Spec {
        python: PythonQ {
            venv: "/srv/app/venv".into(),
            wants: vec![
                WantList::UvLock("/srv/app/uv.lock".into()),
                WantList::Requirements("/etc/app/requirements.txt".into()),
                WantList::Inline(vec!["uvicorn".into()]),
            ],
            tree: Some("/srv/app".into()),
        },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: Some(Reconcile {
            run: vec![vec!["/bin/uv".into(), "sync".into()], vec!["/bin/uv".into(), "check".into()]],
            user: Some("app".into()),
            dir: None,
            deadline: Ms::mins(15),
            when: When::UnitDown,
            quiesce: vec![unit("worker"), unit("mailer")],
            restart: vec![unit("s")],
            prove: Some(watch("s")),
            prove_within: Ms::mins(2),
        }),
    }
}

fn closure(active: bool, members: &[&str]) -> ClosureReading {
    let members = members.iter().map(|name| unit(name)).collect();
    ClosureReading { active, members, one_way: Vec::new(), stop_timeout: Ms::secs(30), wakers: Vec::new() }
}

fn memo(worker: ClosureReading, mailer: ClosureReading) -> Memo {
    Memo { last: None, closures: [(unit("worker"), worker), (unit("mailer"), mailer)].into() }
}

fn stop(name: &str, closure: &[&str]) -> Stop {
    Stop { unit: unit(name), closure: closure.iter().map(|name| unit(name)).collect(), wakes: None }
}

#[test]
fn what_is_active_is_stopped_once_with_what_stops_along() {
    let stops = |worker, mailer| {
        let stops = spec().stops(&memo(worker, mailer)).map_err(|draft| draft.holds[0].hold);
        stops.map(|stops| stops.into_iter().map(|(stop, _)| stop).collect::<Vec<_>>())
    };
    let still = || closure(false, &[]);
    assert_eq!(stops(still(), still()), Ok(vec![]));
    assert_eq!(stops(closure(true, &["part"]), still()), Ok(vec![stop("worker", &["part"])]));
    let both = stops(closure(true, &["part"]), closure(true, &["part", "other"]));
    assert_eq!(both, Ok(vec![stop("worker", &["part"]), stop("mailer", &["other"])]));
    assert_eq!(stops(closure(true, &["mailer"]), closure(true, &[])), Ok(vec![stop("worker", &["mailer"])]));
    let lost = ClosureReading { one_way: vec![UnitName::new("session-1.scope")], ..closure(true, &[]) };
    assert_eq!(stops(still(), lost), Err(Hold::NoRemedy), "what no start brings back is not stopped");
    let unseen = spec().stops(&Memo::default()).map_err(|draft| draft.holds[0].hold);
    assert_eq!(unseen, Err(Hold::Confirming));
}

#[test]
fn hands_are_kept_off_the_tree_the_environment_and_the_lock_files() {
    assert_eq!(spec().trees(), ["/srv/app/venv", "/srv/app", "/srv/app", "/etc/app"].map(PathBuf::from));
}

#[test]
fn only_what_the_operator_wrote_down_is_allowed() {
    let command = |argv: &[&str], user: Option<&str>, dir: Option<&str>| {
        let argv = argv.iter().map(|arg| (*arg).into()).collect();
        Act::Command(Command { argv, user: user.map(Into::into), dir: dir.map(Into::into), env: None })
    };
    let table = [
        (command(&["/bin/uv", "sync"], Some("app"), None), true),
        (command(&["/bin/uv", "add"], Some("app"), None), false),
        (command(&["/bin/uv", "sync"], None, None), false),
        (command(&["/bin/uv", "sync"], Some("app"), Some("/")), false),
        (Act::Restart(unit("s")), true),
        (Act::Restart(unit("worker")), false),
        (Act::Stop(stop("worker", &["part"])), true),
        (Act::Stop(stop("s", &[])), false),
        (Act::Start(vec![unit("worker")]), false),
        (Act::Fence("/srv/app/venv".into()), false),
    ];
    for (act, allowed) in table {
        assert_eq!(spec().allows(&act), allowed, "{act}");
        assert!(!Spec { reconcile: None, ..spec() }.allows(&act), "no reconcile is declared: {act}");
    }
}

const NOW: Ms = Ms::hours(10);

/// The environment has drifted; `s` is down if it is said.
fn drifted(spec: Spec, s_is_down: bool) -> (World, TargetId) {
    let mut world = fixture::world(at(NOW), &["s"]);
    let app = WatchId::new("baseline.app");
    let declared = crate::policy::Watch { spec: crate::watch::Spec::Baseline(spec), ..fixture::service("s") };
    let policy: &mut Policy = Arc::make_mut(&mut world.policy);
    policy.watches.insert(app.clone(), declared.clone());
    let crate::watch::Spec::Service(of_s) = &mut policy.watches.get_mut(&watch("s")).expect("it is watched").spec
    else {
        unreachable!()
    };
    of_s.ladder = vec![service::Step::Restart, service::Step::Reconcile(app.clone())];
    world.graph = crate::graph::Graph::of(policy);
    let mut live = Live::new(&declared);
    live.memo = super::super::Memo::Baseline(memo(closure(true, &["part"]), closure(false, &[])));
    world.live.insert(app.clone(), live);
    let id = TargetId::new(app, KEY);
    falls(&mut world, &id, at(NOW));
    if s_is_down {
        falls(&mut world, &target("s"), at(NOW));
    }
    (world, id)
}

fn drafted(world: &World, id: &TargetId) -> Draft {
    let (watch, live) = world.watch(&id.watch).expect("it is watched");
    watch.spec.draft(world, id, live)
}

/// Stopped first, back as soon as the last command is proved; then the restarts, and the proof of all of it.
#[test]
fn a_rebuild_gives_back_what_it_stopped_as_soon_as_the_environment_is_whole() {
    let (mut world, id) = drifted(spec(), true);
    let of_s = world.live.get_mut(&watch("s")).expect("it is watched");
    let super::super::Memo::Service(seen) = &mut of_s.memo else { unreachable!() };
    seen.last = Some(Box::new(crate::ask::UnitReading { stop_timeout: Ms::secs(7), ..runs(Ms::ZERO) }));
    let plan = drafted(&world, &id).plan.expect("it has a remedy");
    let acts: Vec<Option<String>> =
        plan.steps.iter().map(|step| step.act.as_ref().map(ToString::to_string)).collect();
    let want = [
        Some("stop worker.service, part.service".to_owned()),
        Some("run `/bin/uv sync` as app".to_owned()),
        Some("run `/bin/uv check` as app".to_owned()),
        Some("restart s.service".to_owned()),
        None,
    ];
    assert_eq!(acts, want);
    let backs: Vec<_> = plan.steps.iter().map(|step| step.back.as_ref().map(|back| back.when)).collect();
    assert_eq!(backs, [Some(plan::When::After(2)), None, None, None, None]);
    let proved: Vec<bool> = plan.steps.iter().map(|step| step.proof.is_some()).collect();
    assert_eq!(proved, [true, false, true, true, true], "only the last command owes the whole environment");
    // Four times TimeoutStopSec and ten seconds; a start may take ninety.
    assert_eq!(plan.steps[0].deadline, Ms::secs(130));
    assert_eq!(plan.steps[0].back.as_ref().map(|back| back.deadline), Some(Ms::secs(180)));
    assert_eq!(plan.steps[3].deadline, Ms::secs(7 * 4 + 10 + 90));
    let touched: Vec<String> = plan.touches.iter().map(ToString::to_string).collect();
    assert_eq!(touched, ["/srv/app/venv", "s.service", "worker.service", "part.service"]);
}

#[test]
fn below_a_healthy_unit_nothing_is_installed_unless_that_is_declared() {
    let any = || {
        let mut spec = spec();
        spec.reconcile.as_mut().expect("it is declared").when = When::AnyDrift;
        spec
    };
    for (spec, down, held) in [(spec(), false, true), (spec(), true, false), (any(), false, false)] {
        let (world, id) = drifted(spec, down);
        let draft = drafted(&world, &id);
        assert_eq!(draft.holds.iter().any(|held| held.hold == Hold::UnitsHealthy), held);
        assert!(draft.plan.is_some(), "it is shown all the same");
    }
}

/// The least tried rung first; one against the same reason that never clears is passed over.
#[test]
fn a_service_takes_the_least_tried_rung_that_still_works() {
    let (mut world, _) = drifted(spec(), true);
    let rung = |world: &World| {
        let plan = drafted(world, &target("s")).plan.expect("it has a remedy");
        plan.heals.iter().find(|heal| heal.target == target("s")).expect("it heals it").rung.clone()
    };
    assert_eq!(rung(&world), Rung::new("restart"), "in order of cost");
    let tried = |rung: &str, mins| Attempt {
        run: RunId(1),
        rung: Rung::new(rung),
        at: at(NOW.saturating_sub(Ms::mins(mins))),
        proved: None,
        settled: Some(Settlement::NotCleared),
        reason: "failed".into(),
        fell: None,
        about: Vec::new(),
        mark: None,
    };
    let attempts = |world: &mut World, tried: Vec<Attempt>| {
        world.state.targets.entry(target("s")).or_default().attempts = tried.into();
    };
    attempts(&mut world, vec![tried("restart", 9)]);
    assert_eq!(rung(&world), Rung::new("reconcile:app"));
    attempts(&mut world, vec![tried("restart", 9), tried("reconcile:app", 5), tried("reconcile:app", 4)]);
    assert_eq!(rung(&world), Rung::new("restart"));
    // Its circuit is open: however often the other one was tried.
    let open = [9, 8, 7].map(|mins| tried("restart", mins));
    let more = [300, 290, 280, 270].map(|mins| Attempt { reason: "inactive".into(), ..tried("reconcile:app", mins) });
    attempts(&mut world, more.into_iter().chain(open).collect());
    assert_eq!(rung(&world), Rung::new("reconcile:app"));
}

#[test]
fn no_service_is_healed_by_an_environment_that_has_not_drifted() {
    let (mut world, id) = drifted(spec(), true);
    assert!(crate::watch::lent(&world, &id.watch).is_some());
    // Still judged down, and the newest look says that it is well again.
    let mut back = world.clone();
    let target =
        back.live.get_mut(&id.watch).and_then(|live| live.targets.get_mut(&id.key)).expect("it was looked at");
    for aspect in target.aspects.values_mut() {
        aspect.look(back.now, Some(Seen::Up), Confirm::AT_ONCE, false);
    }
    assert!(crate::watch::lent(&back, &id.watch).is_none());
    world.live.get_mut(&id.watch).expect("it is watched").targets.clear();
    assert!(crate::watch::lent(&world, &id.watch).is_none());
    assert!(crate::watch::lent(&world, &WatchId::new("baseline.other")).is_none());
}
