//! Orders, and the memory that lets one-minute processes confirm.

use super::host::Cure;
use super::policy::{api, drift};
use super::world::{Tail, World, twice};
use crate::command::{Command, Reply};
use crate::id::WatchId;
use crate::ledger::{Body, Closing, Origin};
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
fn what_one_process_saw_once_the_next_confirms() {
    for remembers in [true, false] {
        let mut world = World::new(Ms(100));
        world.host.missing = true;
        world.boot();
        world.run_for(Ms::secs(2));
        assert!(!world.is_down(&drift()), "one pass is not enough");
        let json =
            serde_json::to_string(&world.engine.as_ref().map(crate::engine::Engine::memory)).unwrap_or_default();
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
