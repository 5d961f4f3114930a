//! Remedies that never work, and a host on which nothing is wrong: caps, cooldowns, plateaus, and quiet.

use std::sync::Arc;

use super::host::{Cure, Http};
use super::policy::{COMMAND, REVISION, UNIT, api, drift, service_only};
use super::world::{World, fell, twice};
use crate::ask::{AskKey, Fault};
use crate::hold::Hold;
use crate::id::UnitName;
use crate::judge::{Code, Verdict};
use crate::ledger::{Body, Closing, Settlement};
use crate::plan::Act;
use crate::time::{Ms, Now};

fn within(got: &[Ms], want: &[Ms], slack: Ms) {
    let near = |(got, want): (&Ms, &Ms)| *got >= *want && got.saturating_sub(*want) <= slack;
    assert!(got.len() == want.len() && got.iter().zip(want).all(near), "got {got:?}, want {want:?}");
}

/// D9. Cooldown 15 min, then the cap of two within any hour; after three in a row its circuit is open, and one trial a day
/// is left.
#[test]
fn a_reconcile_that_always_fails_slows_down_and_never_stops() {
    let mut world = World::well(Ms::secs(30));
    world.host.cure = Cure::Fails(Ms::secs(30));
    world.host.pull_without_install();
    assert!(world.run_until(Ms::mins(5), |w| w.count(|b| matches!(b, Body::Opened { .. })) == 1));
    let first = world.now;
    // Cooldown ends at 45 min, but then two attempts lie within the hour.
    world.run_for(Ms::mins(50));
    assert!(world.holds(&drift()).contains(&Hold::TargetCap), "{:?}", world.holds(&drift()));
    world.run_for(Ms::mins(50));
    assert!(world.holds(&drift()).contains(&Hold::CircuitOpen), "{:?}", world.holds(&drift()));
    world.run_for(Ms::hours(50).saturating_sub(world.now.since(first)));
    let attempts = [0, 15, 60, 25 * 60, 49 * 60].map(Ms::mins);
    within(&world.opened(first), &attempts, Ms::secs(10));
    assert!(world.holds(&drift()).contains(&Hold::CircuitOpen));

    let declared = |act: &Act| matches!(act, Act::Command(c) if c.argv == COMMAND.map(Into::into).to_vec());
    assert!(world.performed.iter().all(|(_, act)| declared(act)), "only the declared command");
    assert_eq!(world.performed.len(), 5);
    assert!(world.closings().iter().all(|c| matches!(c, Closing::Unproved { step: 0, .. })));
    let planned = |r: &Body| match r {
        Body::Opened { plan, .. } => plan.basis.iter().any(|b| &*b.what == "revision" && &*b.value != REVISION),
        _ => false,
    };
    assert_eq!(world.count(planned), 0, "never another revision");
    assert_eq!(world.state().incidents, 1);
    // Facts of a crash loop dominate: 2 a restart, thousands of restarts.
    let others = world.count(|b| !matches!(b, Body::Noted { .. }));
    assert!(others < 150, "{others} records beside facts");
    world.finish();
}

/// N1.
#[test]
fn two_hundred_restarts_by_their_owner_are_nothing() {
    let mut world = World::well(Ms::secs(5));
    for n in 0..200u64 {
        // From seconds to minutes apart, a day in all.
        world.run_for(Ms::secs(2 + (n * 37 % 11) * 84));
        world.host.restart();
    }
    world.run_for(Ms::hours(1));
    assert_eq!(world.count(|b| matches!(b, Body::Opened { .. })), 0);
    assert_eq!(world.count(fell(&api())) + world.count(fell(&drift())), 0);
    assert_eq!(world.state().incidents, 0);
    assert!(world.records.len() <= 210, "{} records", world.records.len());
    world.finish();
}

#[test]
fn an_environment_that_cannot_be_read_is_unknown_and_nobodys_fault() {
    let mut world = World::well(Ms::secs(30));
    world.host.venv_fault = Some(Fault::Denied("venv".into()));
    world.host.pull_without_install();
    let start = world.now;
    assert!(world.run_until(Ms::mins(20), |w| matches!(w.verdict(&drift()), Verdict::Unknown(_))));
    // The last good pass was at the first minute's start.
    assert!(world.now.since(start) >= Ms::mins(9) && world.now.since(start) <= Ms::mins(10));
    world.asked.clear();
    world.run_for(Ms::hours(4));
    assert!(world.performed.is_empty());
    assert!(world.is_down(&api()));
    assert!(matches!(world.verdict(&drift()), Verdict::Unknown(_)));
    for key in [AskKey::Probe(drift().watch, 0), AskKey::Gate(drift().watch), AskKey::Gate(api().watch)] {
        let asked = world.asked.iter().filter(|(_, k)| *k == key).count();
        assert!(asked <= 4 * 760, "{key:?} was asked {asked} times");
    }
    // Readable again: the drift is judged and cured.
    world.host.venv_fault = None;
    assert!(world.run_until(Ms::mins(5), |w| w.is_up(&drift()) && w.is_up(&api())));
    world.finish();
}

fn silent(http: Http) -> World {
    let mut world = World::new(Ms::secs(5));
    world.policy = Arc::new(service_only());
    world.boot();
    world.run_for(Ms::secs(61));
    world.host.http = http;
    world
}

#[test]
fn a_silent_probe_counts_after_two_looks_and_ten_seconds() {
    twice(|| {
        let mut world = silent(Http::SilentUntilRestart);
        let start = world.now;
        assert!(world.run_until(Ms::secs(40), |w| w.is_down(&api())));
        let took = world.now.since(start);
        assert!(took >= Ms::secs(10) && took <= Ms::secs(25), "judged after {took}");
        assert_eq!(world.verdict(&api()).down().map(|r| r.code), Some(Code::ProbeSilent));
        world.run_for(Ms::mins(10));
        assert!(world.is_up(&api()));
        let acts: Vec<Act> = world.performed.iter().map(|(_, act)| act.clone()).collect();
        assert_eq!(acts, [Act::Restart(UnitName::new(UNIT))]);
        assert_eq!(world.closings(), [Closing::Proved]);
        assert_eq!(world.attempts(&api()).last().and_then(|a| a.settled), Some(Settlement::Cleared));
        world
    });
}

#[test]
fn a_restart_grace_is_not_the_end_of_an_outage() {
    let mut world = silent(Http::SilentUntilRestart);
    assert!(world.run_until(Ms::secs(40), |w| !w.performed.is_empty()));
    let acted = world.now;
    assert!(world.run_until(Ms::mins(2), |w| w.is_up(&api())));
    assert!(world.host.serves() && world.now.since(acted) >= Ms(800), "up only once it answers");
    world.finish();
}

/// Three within any hour, six without effect in a day; then one trial each 30 min.
#[test]
fn a_service_that_no_restart_cures_is_tried_ever_less() {
    let mut world = silent(Http::Silent);
    world.run_for(Ms::hours(12));
    let opened: Vec<Ms> = world.opened(Now { up: Ms::ZERO, ..world.now });
    assert!(opened.len() >= 6);
    for (n, at) in opened.iter().enumerate() {
        let hour = opened.iter().skip(n).filter(|later| later.saturating_sub(*at) < Ms::hours(1)).count();
        assert!(hour <= 3, "{hour} within an hour of {at}: {opened:?}");
    }
    for (n, pair) in opened.windows(2).enumerate() {
        let [a, b] = pair else { continue };
        let gap = b.saturating_sub(*a);
        // The first trial past the daily cap still waits for the hour's.
        if n == 5 {
            assert!(gap <= Ms::mins(37), "{gap}: {opened:?}");
        } else if n > 5 {
            assert!(gap >= Ms::mins(30) && gap < Ms::mins(31), "trial {n} after {gap}: {opened:?}");
        }
    }
    assert!(world.holds(&api()).contains(&Hold::TargetCap));
    assert_eq!(world.state().incidents, 1, "one outage");
    assert_eq!(world.count(fell(&api())), 1, "it was never up in between");
    world.finish();
}

/// An edge that never answers: a time-out, said once, and no circle.
#[test]
fn a_probe_that_never_answers_spins_nothing() {
    let mut world = World::new(Ms::secs(5));
    world.mute = |key| matches!(key, AskKey::Probe(_, _));
    world.boot();
    world.run_for(Ms::hours(1));
    assert!(matches!(world.verdict(&drift()), Verdict::Unknown(Fault::Timeout)), "{:?}", world.verdict(&drift()));
    assert!(world.performed.is_empty());
    world.finish();
}

/// Down again within the hour of its proof, to the millisecond; what had cleared it stays counted beside that.
#[test]
fn down_again_within_the_hour_is_a_relapse() {
    let hour = Ms::hours(1);
    for (after, relapsed) in [(Ms::mins(20), true), (hour.saturating_sub(Ms(1)), true), (hour, false)] {
        let mut world = silent(Http::SilentUntilRestart);
        let cleared = |world: &World| world.attempts(&api()).iter().any(|attempt| attempt.settled.is_some());
        assert!(world.run_until(Ms::mins(20), cleared));
        let proved = world.attempts(&api())[0].proved.expect("it was proved");
        // A signal takes a millisecond, and the look after it two.
        world.run_for((proved.up + after).saturating_sub(world.now.up).saturating_sub(Ms(3)));
        world.host.fail();
        assert!(world.run_until(Ms::secs(1), |world| world.is_down(&api())));
        assert_eq!(world.records.iter().rfind(|r| fell(&api())(&r.body)).map(|r| r.at), Some(proved.plus(after)));
        let settled = world.attempts(&api())[0].settled;
        let want = if relapsed { Settlement::Relapsed } else { Settlement::Cleared };
        assert_eq!(settled, Some(want), "{after} after its proof");
        world.finish();
    }
}

/// A unit that gives another reason at each look is news once a minute.
#[test]
fn reasons_that_take_turns_are_recorded_once_a_minute() {
    let mut world = silent(Http::Well);
    let mut policy = service_only();
    policy.host.mode = crate::policy::Mode::Observe;
    world.send(crate::engine::Event::Policy(Arc::new(policy)));
    world.host.fail();
    for n in 0..60 {
        let loads = [crate::ask::Load::Loaded, crate::ask::Load::Masked];
        world.host.unit.load = loads[n % 2];
        world.host.hint();
        world.run_for(Ms::secs(5));
    }
    let turned = world.count(fell(&api()));
    assert!((4..=6).contains(&turned), "{turned} in five minutes");
    world.finish();
}

/// A hold that says when it lifts is looked at again at that very moment.
#[test]
fn what_lifts_at_a_moment_is_acted_upon_at_that_moment() {
    let mut world = silent(Http::Well);
    world.host.deaf = true;
    world.host.fail();
    assert!(world.run_until(Ms::mins(5), |world| !world.closings().is_empty()));
    world.host.deaf = false;
    assert!(world.run_until(Ms::secs(10), |world| world.holds(&api()) == [Hold::Cooldown]));
    let view = world.view();
    let lift = view.watches[0].targets[0].holds[0].lift.clone();
    let crate::hold::Lift::At(lift) = lift else { panic!("{lift:?}") };
    assert!(world.run_until(Ms::mins(5), |world| world.count(|b| matches!(b, Body::Opened { .. })) == 2));
    assert!(
        world.now.up >= lift && world.now.up.saturating_sub(lift) < Ms(20),
        "{} after",
        world.now.up.saturating_sub(lift)
    );
    world.finish();
}
