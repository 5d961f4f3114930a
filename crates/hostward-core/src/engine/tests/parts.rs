//! Parts of a service: judged, told of, blamed on their cause, and remedied by nothing.

use std::sync::Arc;

use super::host::Http;
use super::policy::{api, drift, service_only};
use super::world::{World, twice};
use crate::ask::Picked;
use crate::hold::Hold;
use crate::id::{Str, TargetId};
use crate::judge::Verdict;
use crate::ledger::{Body, Turn};
use crate::plan::Act;
use crate::policy::Policy;
use crate::time::Ms;
use crate::watch::Spec;
use crate::watch::service::Components;

fn part(name: &str) -> TargetId {
    TargetId::new(api().watch, format!("component/{name}"))
}

fn deep(mut policy: Policy, restart_on: &[&str], causes: &[(&str, &TargetId)]) -> Arc<Policy> {
    let Some(Spec::Service(spec)) = policy.watches.get_mut(&api().watch).map(|watch| &mut watch.spec) else {
        unreachable!("it is a service")
    };
    let probe = &mut spec.http[0];
    probe.question.components = Some("/checks/*/status".into());
    probe.components = Some(Components {
        ok: vec![Picked::Text("ok".into())],
        not_configured: vec![Picked::Text("not_configured".into())],
        restart_on: restart_on.iter().map(|name| Str::from(*name)).collect(),
        causes: causes.iter().map(|(name, cause)| (Str::from(*name), cause.watch.clone())).collect(),
    });
    Arc::new(policy)
}

fn world(policy: Arc<Policy>) -> World {
    let mut world = World::new(Ms(100));
    world.policy = policy;
    set(&mut world, &[("db", "ok"), ("s3", "ok"), ("mail", "ok")]);
    world.boot();
    world.run_for(Ms::mins(1));
    assert!(world.is_up(&api()) && world.is_up(&part("db")), "{:?}", world.verdict(&part("db")));
    world
}

fn set(world: &mut World, components: &[(&str, &str)]) {
    let text = |state: &str| Picked::Text(state.into());
    world.host.components = components.iter().map(|(name, state)| (Str::from(*name), text(state))).collect();
}

#[test]
fn a_component_that_is_ill_is_told_of_and_nothing_is_done() {
    twice(|| {
        let mut world = world(deep(service_only(), &[], &[]));
        set(&mut world, &[("db", "degraded"), ("s3", "not_configured"), ("mail", "ok")]);
        world.run_for(Ms::mins(30));
        let code = |name: &str| world.verdict(&part(name)).down().map(|reason| reason.code.label());
        assert_eq!((code("db"), code("s3"), code("mail")), (Some("component"), Some("config"), None));
        assert!(world.is_up(&api()) && world.performed.is_empty(), "{:?}", world.performed);
        assert_eq!(world.holds(&part("db")), [Hold::NoRemedy]);
        let view = world.view();
        let watch = view.watch(&api().watch).unwrap();
        assert_eq!(watch.up(), Some(true), "a part does not make the service down");
        let shown: Vec<_> = watch.targets.iter().filter_map(|target| target.part.as_deref()).collect();
        assert_eq!(shown, ["component/db", "component/mail", "component/s3"]);
        set(&mut world, &[("db", "ok"), ("s3", "ok"), ("mail", "ok")]);
        world.run_for(Ms::mins(1));
        assert!(world.is_up(&part("db")) && world.is_up(&part("s3")));
        world
    });
}

#[test]
fn what_a_whole_answer_no_longer_names_is_gone_and_what_cannot_be_read_is_unknown() {
    twice(|| {
        let mut world = world(deep(service_only(), &[], &[]));
        set(&mut world, &[("db", "down"), ("s3", "ok"), ("mail", "ok")]);
        assert!(world.run_until(Ms::mins(1), |w| w.is_down(&part("db"))));
        set(&mut world, &[("s3", "ok"), ("mail", "ok")]);
        let known = |w: &World| w.engine.as_ref().is_some_and(|engine| engine.world().target(&part("db")).is_some());
        assert!(world.run_until(Ms::mins(1), |w| !known(w)), "it is still there");
        let left = |body: &Body| matches!(body, Body::Turned { target, to: Turn::Gone, .. } if *target == part("db"));
        assert_eq!(world.count(left), 1, "that it went is recorded");
        assert!(!world.state().targets.contains_key(&part("db")), "names that change for ever fill nothing");
        world.host.http = Http::Silent;
        world.run_for(Ms::mins(5));
        assert!(matches!(world.verdict(&part("s3")), Verdict::Unknown(_)), "{:?}", world.verdict(&part("s3")));
        world
    });
}

#[test]
fn a_component_of_restart_on_makes_the_service_down_and_that_is_restarted_once() {
    twice(|| {
        let mut world = world(deep(service_only(), &["db", "s3"], &[]));
        set(&mut world, &[("db", "down"), ("s3", "down"), ("mail", "ok")]);
        assert!(world.run_until(Ms::mins(2), |w| !w.performed.is_empty()), "{:?}", world.holds(&api()));
        set(&mut world, &[("db", "ok"), ("s3", "ok"), ("mail", "ok")]);
        world.run_for(Ms::mins(10));
        assert!(world.is_up(&api()) && world.is_up(&part("db")));
        assert!(matches!(world.performed.as_slice(), [(_, Act::Restart(_))]), "{:?}", world.performed);
        assert_eq!(world.attempts(&api()).len(), 1);
        assert!(world.attempts(&part("db")).is_empty(), "nothing is charged to a part");
        world
    });
}

#[test]
fn what_was_never_set_up_restarts_nothing_also_when_the_service_cannot_do_without() {
    let mut world = world(deep(service_only(), &["db"], &[]));
    set(&mut world, &[("db", "not_configured"), ("s3", "ok"), ("mail", "ok")]);
    world.run_for(Ms::mins(30));
    assert!(world.is_up(&api()) && world.is_down(&part("db")) && world.performed.is_empty());
    world.finish();
}

#[test]
fn a_component_is_blamed_on_its_cause_and_its_service_is_not() {
    let mut world = world(deep(super::policy::policy(), &[], &[("db", &drift())]));
    let causes = |world: &World, id: &TargetId| world.engine.as_ref().unwrap().world().causes(id);
    assert_eq!(causes(&world, &part("db")), [drift()]);
    assert_eq!(causes(&world, &part("s3")), [], "its app's environment is the service's, not every part's");
    assert_eq!(causes(&world, &api()), [drift()]);
    let dependents = world.engine.as_ref().unwrap().world().dependents(&drift());
    assert_eq!(dependents, [api()], "a part that is down makes no reconcile urgent");
    world.run_for(Ms::secs(1));
    world.finish();
}

#[test]
fn parts_that_fall_together_are_no_storm() {
    let mut world = world(deep(service_only(), &[], &[]));
    set(&mut world, &[("db", "down"), ("s3", "down"), ("mail", "down")]);
    assert!(world.run_until(Ms::mins(1), |w| ["db", "s3", "mail"].iter().all(|name| w.is_down(&part(name)))));
    world.host.http = Http::SilentUntilRestart;
    assert!(world.run_until(Ms::mins(1), |w| !w.performed.is_empty()), "{:?}", world.holds(&api()));
    world.finish();
}
