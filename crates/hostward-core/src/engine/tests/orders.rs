//! Orders, and the memory that lets one-minute processes confirm.

use std::sync::Arc;

use super::host::Cure;
use super::policy::{api, drift, service_only};
use super::world::{Tail, World, twice};
use crate::command::{Command, Reply};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::fixture::{self, at};
use crate::id::{RunId, WatchId};
use crate::ledger::{Body, Closing, Origin, State, Stuck};
use crate::policy::Mode;
use crate::time::Ms;

fn trigger() -> World {
    let mut world = World::new(Ms(100));
    world.origin = Origin::Trigger;
    world.host.pull_without_install();
    world.run_for(Ms::mins(2));
    world.boot();
    world
}

#[test]
fn a_cycle_replies_after_the_run_that_it_caused() {
    twice(|| {
        let mut world = trigger();
        world.order(7, Command::Cycle { watch: api().watch, patience: Ms::mins(2) });
        assert!(world.run_until(Ms::mins(5), |w| !w.replies.is_empty()));
        assert_eq!(world.closings(), [Closing::Proved], "the run is closed");
        assert!(world.is_up(&api()) && world.is_up(&drift()), "and what it healed is judged");
        let origin = |b: &Body| matches!(b, Body::Opened { origin: Origin::Trigger, .. });
        assert_eq!(world.count(origin), 1);
        world.run_for(Ms::mins(1));
        assert_eq!(world.replies.len(), 1);
        world
    });
}

/// The patience is for what is being confirmed; a run is seen through, and nobody spins meanwhile.
#[test]
fn a_late_cycle_still_waits_for_its_run() {
    let mut world = trigger();
    world.host.cure = Cure::Cures(Ms::mins(10));
    world.order(7, Command::Cycle { watch: api().watch, patience: Ms::mins(2) });
    world.run_for(Ms::mins(9));
    assert!(world.replies.is_empty() && world.host.commands == 1);
    assert!(world.run_until(Ms::mins(5), |w| !w.replies.is_empty()));
    assert_eq!(world.closings(), [Closing::Proved]);
    world.finish();
}

/// A daemon's too, though it would see the run through by itself.
#[test]
fn who_asks_the_daemon_hears_what_its_run_came_to() {
    let mut world = World::well(Ms(100));
    world.host.cure = Cure::Cures(Ms::mins(10));
    world.host.pull_without_install();
    assert!(world.run_until(Ms::mins(9), |w| w.host.commands == 1));
    world.order(7, Command::Cycle { watch: drift().watch, patience: Ms::secs(1) });
    world.run_for(Ms::mins(8));
    assert!(world.replies.is_empty(), "{:?}", world.closings());
    assert!(world.run_until(Ms::mins(5), |w| !w.replies.is_empty()));
    assert_eq!(world.closings(), [Closing::Proved]);
    world.finish();
}

/// What is about to be decided in its time is waited for, and nothing else.
#[test]
fn a_cycle_waits_for_what_passes_in_its_time() {
    let failed = |mode| {
        let mut world = World::new(Ms::secs(5));
        let mut policy = service_only();
        policy.host.mode = mode;
        (world.policy, world.origin) = (Arc::new(policy), Origin::Trigger);
        world.host.fail();
        world.run_for(Ms::mins(1));
        world.boot();
        world
    };
    let cycle = |world: &mut World, patience| {
        let asked = world.now;
        world.order(7, Command::Cycle { watch: api().watch, patience });
        assert!(world.run_until(Ms::mins(6), |world| !world.replies.is_empty()));
        world.replies.clear();
        world.now.since(asked)
    };
    let mut proposes = failed(Mode::Propose);
    assert!(cycle(&mut proposes, Ms::mins(2)) < Ms::secs(5), "a person is not waited for");
    let mut acts = failed(Mode::Act);
    acts.host.deaf = true;
    cycle(&mut acts, Ms::secs(20));
    assert_eq!(acts.closings().len(), 1, "a verdict that stands for a moment first");
    acts.host.deaf = false;
    assert!(cycle(&mut acts, Ms::secs(10)) < Ms::secs(5), "its cooldown ends later");
    assert_eq!(acts.closings().len(), 1);
    cycle(&mut acts, Ms::mins(2));
    assert_eq!(acts.closings().last(), Some(&Closing::Proved), "its cooldown ends in time");
    acts.finish();
}

/// The damage with no watch named; of what is stuck, what is meant; and no record where there is nothing.
#[test]
fn an_operator_clears_what_he_means() {
    let cleared = |stuck: &[&str], damaged: bool, watch: Option<&str>| {
        let state = State {
            stuck: stuck.iter().map(|name| stuck_of(name)).collect(),
            damaged: damaged.then(|| (at(Ms::secs(1)), "torn".into())),
            ..State::default()
        };
        let (mut engine, _) = Engine::new(Begin {
            now: at(Ms::secs(9)),
            boot_id: "1".into(),
            policy: Arc::clone(&fixture::world(at(Ms::ZERO), &["a", "b"]).policy),
            rejected: None,
            state,
            memory: Memory::default(),
            damaged: None,
            origin: Origin::Daemon,
        });
        let effects =
            engine.handle(at(Ms::secs(9)), Event::Order(1, Command::Clear { watch: watch.map(fixture::watch) }));
        let body = |effect: Effect| match effect {
            Effect::Append(record) => Some(record.body),
            Effect::Reply(1, Reply::View(_)) => None,
            other => panic!("{other:?}"),
        };
        effects
            .into_iter()
            .filter(|effect| !matches!(effect, Effect::Ask { .. }))
            .filter_map(body)
            .collect::<Vec<_>>()
    };
    let unstuck = |watch: Option<&str>| Body::Unstuck { watch: watch.map(fixture::watch) };
    assert_eq!(cleared(&[], false, None), []);
    assert_eq!(cleared(&[], true, None), [Body::Cleared]);
    assert_eq!(cleared(&["a"], true, None), [Body::Cleared, unstuck(None)]);
    assert_eq!(cleared(&["a", "b"], true, Some("a")), [unstuck(Some("a"))], "the damage is not one watch's");
    assert_eq!(cleared(&["b"], false, Some("a")), [], "another's");
}

/// A run that does well is not given up by a word about another one.
#[test]
fn there_is_nothing_to_clear_of_a_run_that_goes_on() {
    let mut world = World::well(Ms(100));
    world.host.cure = Cure::Cures(Ms::mins(5));
    world.host.pull_without_install();
    assert!(world.run_until(Ms::mins(9), |w| w.host.commands == 1));
    for watch in [None, Some(drift().watch)] {
        world.order(7, Command::Clear { watch });
    }
    assert_eq!(world.count(|body| matches!(body, Body::Unstuck { .. })), 0);
    assert!(world.run_until(Ms::mins(9), |w| w.closings() == [Closing::Proved]));
    world.finish();
}

fn stuck_of(name: &str) -> Stuck {
    Stuck { run: RunId(0), watch: fixture::watch(name), touches: Vec::new(), why: "it".into(), at: at(Ms::secs(1)) }
}

#[test]
fn a_cycle_over_a_healthy_watch_is_one_look() {
    let mut world = World::new(Ms::secs(5));
    world.boot();
    world.order(1, Command::Cycle { watch: drift().watch, patience: Ms::mins(2) });
    assert!(world.run_until(Ms::secs(1), |w| !w.replies.is_empty()));
    assert!(world.is_up(&api()) && world.is_up(&drift()));
}

#[test]
fn a_look_replies_with_fresh_answers() {
    let mut world = World::well(Ms::secs(5));
    world.run_for(Ms(1234));
    let asked = world.now;
    world.order(3, Command::Look { watch: None });
    assert!(world.replies.is_empty());
    assert!(world.run_until(Ms::secs(1), |w| !w.replies.is_empty()));
    let Some((_, 3, Reply::View(view))) = world.replies.last() else { panic!("{:?}", world.replies) };
    let looks: Vec<_> = view.watches.iter().flat_map(|w| &w.targets).flat_map(|t| &t.looks).collect();
    assert_eq!(looks.len(), 3, "unit, probe, environment");
    assert!(looks.iter().all(|look| look.asked.not_before(asked)));
}

#[test]
fn a_look_at_what_never_answers_still_replies() {
    let mut world = World::new(Ms::secs(5));
    world.mute = |_| true;
    world.boot();
    world.order(3, Command::Look { watch: None });
    assert!(world.run_until(Ms::secs(41), |w| !w.replies.is_empty()));
}

#[test]
fn an_unknown_watch_is_said_to_be_unknown() {
    let mut world = World::well(Ms::secs(5));
    let nobody = WatchId::new("service.nobody");
    world.order(1, Command::Look { watch: Some(nobody.clone()) });
    world.order(2, Command::Cycle { watch: nobody.clone(), patience: Ms::ZERO });
    for (_, _, reply) in &world.replies {
        let Reply::NoSuchWatch { asked, known } = reply else { panic!("{reply:?}") };
        assert_eq!((asked, known), (&nobody, &vec![drift().watch, api().watch]));
    }
    assert_eq!(world.replies.len(), 2);
}

#[test]
fn a_pause_has_a_reason_and_an_end() {
    let mut world = World::well(Ms::secs(5));
    let most = Ms::days(30);
    let table = [
        (Ms::mins(5), "disks are changed", true),
        (most, "disks are changed", true),
        (most + Ms(1), "disks are changed", false),
        (Ms::ZERO, "disks are changed", false),
        (Ms::mins(5), " ", false),
    ];
    for (span, reason, granted) in table {
        world.order(1, Command::Pause { watch: None, span, reason: reason.into() });
        let Some((_, 1, reply)) = world.replies.pop() else { panic!("no reply") };
        assert_eq!(matches!(reply, Reply::View(_)), granted, "{span} {reason:?}: {reply:?}");
        assert_eq!(matches!(reply, Reply::Refused { .. }), !granted, "{span} {reason:?}: {reply:?}");
    }
    let nobody = Some(WatchId::new("service.nobody"));
    world.order(2, Command::Pause { watch: nobody.clone(), span: Ms::mins(5), reason: "it".into() });
    world.order(2, Command::Resume { watch: nobody });
    assert!(world.replies.iter().all(|(_, _, reply)| matches!(reply, Reply::NoSuchWatch { .. })));
    assert_eq!((world.replies.len(), world.state().pauses.len()), (2, 1));
    let resumed = |world: &World| world.count(|body| matches!(body, Body::Resumed { .. }));
    world.order(3, Command::Resume { watch: None });
    world.order(3, Command::Resume { watch: None });
    assert_eq!((world.state().pauses.len(), resumed(&world)), (0, 1), "what is not paused is resumed by no record");
    world.finish();
}

#[test]
fn the_pause_of_a_watch_that_is_gone_is_ended_all_the_same() {
    let mut world = World::well(Ms::secs(5));
    let watch = Some(drift().watch);
    world.order(1, Command::Pause { watch: watch.clone(), span: Ms::mins(5), reason: "it".into() });
    world.tell(Event::Policy(Arc::new(service_only())));
    world.replies.clear();
    for _ in 0..2 {
        world.order(2, Command::Resume { watch: watch.clone() });
    }
    let replies: Vec<&Reply> = world.replies.iter().map(|(_, _, reply)| reply).collect();
    assert!(matches!(replies[..], [Reply::View(_), Reply::NoSuchWatch { .. }]), "{replies:?}");
    assert_eq!(world.state().pauses.len(), 0);
    world.finish();
}

#[test]
fn what_one_process_saw_once_the_next_confirms() {
    for remembers in [true, false] {
        let mut world = World::new(Ms(100));
        world.host.missing = true;
        world.boot();
        world.run_for(Ms::secs(2));
        assert!(!world.is_down(&drift()), "one pass is not enough");
        let json = serde_json::to_string(&world.engine.as_ref().map(Engine::memory)).unwrap_or_default();
        world.die(Tail::Kept);
        world.run_for(Ms::mins(1));
        if remembers {
            world.memory = serde_json::from_str(&json).expect("a memory reads back");
        }
        world.boot();
        world.run_for(Ms::secs(2));
        assert_eq!(world.is_down(&drift()), remembers);
        world.finish();
    }
}
