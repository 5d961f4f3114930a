//! S1: code was pulled without its install step; the service crash-loops and systemd never calls it failed.

use super::policy::{COMMAND, HOST_SENTINEL, WATCH_SENTINEL, api, drift};
use super::world::{World, fell, twice};
use crate::ask::SentinelState;
use crate::hold::Hold;
use crate::judge::Code;
use crate::ledger::{Body, Closing, Settlement, Turn};
use crate::plan::Act;
use crate::time::Ms;

fn broken(restart_every: Ms) -> World {
    let mut world = World::well(restart_every);
    world.host.pull_without_install();
    world
}

#[test]
fn a_missing_package_is_found_blamed_installed_and_proved() {
    for restart_every in [Ms::secs(5), Ms(100)] {
        twice(|| healed(restart_every));
    }
}

fn healed(restart_every: Ms) -> World {
    let mut world = broken(restart_every);
    let start = world.now;
    assert!(world.run_until(Ms::secs(1), |w| w.host.unit.main_exited > start.up + Ms(300)), "it crashes");
    let crashed = world.now;
    assert!(world.run_until(Ms(20), |w| w.at(crash_noted).is_some_and(|at| at.not_before(crashed))), "noted at once");

    assert!(world.run_until(Ms::secs(20), |w| w.is_down(&api())), "judged within 20 s");
    assert_eq!(world.verdict(&api()).down().map(|r| r.code), Some(Code::CrashLooping));
    assert!(world.performed.is_empty(), "nothing is done before the verdict");
    assert!(world.run_until(Ms::secs(60), |w| w.is_down(&drift())), "the drift is judged");
    assert!(world.performed.is_empty());
    assert!(world.run_until(Ms::mins(2), |w| w.is_up(&api())));
    assert!(world.host.serves(), "up only once the health endpoint says so");
    world.run_for(Ms::mins(20));

    let acts: Vec<&Act> = world.performed.iter().map(|(_, act)| act).collect();
    assert!(
        matches!(acts.as_slice(), [Act::Command(c), Act::Restart(_)] if c.argv == COMMAND.map(Into::into).to_vec())
    );
    let rungs = |body: &Body| match body {
        Body::Opened { plan, .. } => plan.heals.iter().any(|heal| heal.rung.as_str() == "restart"),
        _ => false,
    };
    assert_eq!(world.count(rungs), 0, "no restart rung for a crash loop");
    assert_eq!(world.closings(), [Closing::Proved]);
    let attempts = world.attempts(&drift());
    assert_eq!(attempts.iter().map(|a| a.settled).collect::<Vec<_>>(), [Some(Settlement::Cleared)]);
    assert!(world.attempts(&api()).len() <= 1);
    assert_eq!(world.state().incidents, 1, "one trouble is one incident");
    assert!(world.is_up(&api()) && world.is_up(&drift()));
    assert!(world.run_until(Ms::ZERO, blamed), "the records name the drift as the cause");
    world
}

fn crash_noted(body: &Body) -> bool {
    matches!(body, Body::Noted { fact, .. } if fact.contains("exited 1"))
}

/// The drift is named: by the service's own turn, or, as it is not known yet then, by its later one.
fn blamed(world: &World) -> bool {
    world.count(|body| matches!(body, Body::Turned { to: Turn::Down { blame: Some(b), .. }, .. } if *b == drift()))
        > 0
}

#[test]
fn without_a_sentinel() {
    for sentinel in [HOST_SENTINEL, WATCH_SENTINEL] {
        twice(|| unpermitted(sentinel));
    }
}

fn unpermitted(sentinel: &str) -> World {
    let mut world = World::well(Ms::secs(5));
    world.host.set_sentinel(sentinel, SentinelState::Absent);
    world.run_for(Ms::secs(1));
    world.host.pull_without_install();
    assert!(world.run_until(Ms::secs(20), |w| w.is_down(&api())), "same detection");
    assert!(world.run_until(Ms::secs(60), |w| w.is_down(&drift())));
    world.run_for(Ms::hours(2));
    assert!(world.performed.is_empty());
    assert_eq!(world.count(|body| matches!(body, Body::Opened { .. })), 0, "a held plan is no attempt");
    assert!(world.holds(&drift()).contains(&Hold::NoSentinel), "{:?}", world.holds(&drift()));
    assert!(world.holds(&api()).contains(&Hold::NoSentinel), "{:?}", world.holds(&api()));
    assert_eq!(world.view().watch(&drift().watch).and_then(|w| w.enabled), Some(false));

    world.host.set_sentinel(sentinel, SentinelState::Present);
    assert!(world.run_until(Ms::mins(2), |w| w.is_up(&api()) && w.is_up(&drift())), "it heals when permitted");
    assert_eq!(world.count(fell(&drift())), 1);
    world
}
