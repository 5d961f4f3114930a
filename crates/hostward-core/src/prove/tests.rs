//! What counts as a proof, and how often it must be seen.

use std::sync::Arc;

use super::*;
use crate::ask::{Call, Fault, On, PathsReading, Question, Space, UnitReading};
use crate::fixture::{self, at, runs, target};
use crate::id::UnitName;
use crate::judge::{Aspect, Code, Confirm, Reason, Target};

const ACTED: Ms = Ms::secs(100);

fn proves(want: Want, reading: &Reading, boot: u32) -> bool {
    matches!(fact(want, reading, at(ACTED), boot), Look::Pass)
}

#[test]
fn a_unit_proves_what_is_wanted_of_it() {
    use Active::{Activating, Failed, Inactive};
    let changed = |change: fn(&mut UnitReading)| {
        let mut unit = runs(ACTED);
        change(&mut unit);
        unit
    };
    // Whether it was started since the act, is stopped, has returned.
    let table = [
        ("at the very act", runs(ACTED), [true, false, true]),
        ("before it", runs(ACTED.saturating_sub(Ms(1))), [false, false, true]),
        ("a restart is queued", changed(|unit| unit.job = Some("restart".into())), [false, false, false]),
        ("starting", changed(|unit| unit.active = Activating), [false, false, false]),
        ("stopped", changed(|unit| unit.active = Inactive), [false, true, false]),
        ("failed", changed(|unit| unit.active = Failed), [false, true, false]),
        ("to be started", changed(|u| (u.active, u.job) = (Inactive, Some("start".into()))), [false, false, false]),
        ("not ours to start", changed(|u| (u.active, u.load) = (Inactive, Load::Masked)), [false, true, true]),
        ("removed", changed(|u| (u.active, u.load) = (Inactive, Load::NotFound)), [false, true, true]),
    ];
    for (what, unit, want) in table {
        let reading = Reading::Unit(Box::new(unit));
        let got = [Want::StartedSince, Want::Stopped, Want::Returned].map(|want| proves(want, &reading, 1));
        assert_eq!(got, want, "{what}");
    }
    let older = Reading::Unit(Box::new(runs(Ms::secs(5))));
    assert!(proves(Want::StartedSince, &older, 2), "after a reboot any start is later than the act");
}

#[test]
fn only_our_own_fence_is_one() {
    let mount = |source: &str| Mount { source: source.into(), fstype: "tmpfs".into(), read_only: true };
    for (mounted, fenced) in [(Some(mount(Mount::FENCE)), true), (Some(mount("tmpfs")), false), (None, false)] {
        let reading = Reading::Mount(mounted);
        let got = [Want::Fenced, Want::NotFenced].map(|want| proves(want, &reading, 1));
        assert_eq!(got, [fenced, !fenced], "{reading:?}");
    }
    assert!(!proves(Want::NotFenced, &Reading::Unit(Box::new(runs(ACTED))), 1), "another question's answer");
}

/// A path that is bound to a folder of the box, as a look found it.
fn path(on: Option<&On>, bind: Option<&On>, look: Seeing) -> PathReading {
    let (on, bind) = (on.cloned(), bind.cloned());
    PathReading { path: "/srv/jobs/a".into(), on, fenced: false, automount: false, cold: None, bind, look }
}

#[test]
fn a_path_proves_what_is_wanted_of_it() {
    let on = |point: &str, device: &str, folder: &str| On {
        id: 7,
        point: point.into(),
        device: device.into(),
        folder: folder.into(),
        source: "box:/".into(),
        fstype: "fuse.sshfs".into(),
        read_only: false,
        waiting: None,
    };
    let (hot, root) = (on("/srv/jobs/a", "0:45", "/a"), on("/", "8:1", "/srv/jobs/a"));
    let (cold, other) = (on("/srv/box", "0:45", "/a"), on("/srv/box", "0:45", "/b"));
    let beneath = on("/srv", "0:45", "/a");
    let answers = || Seeing::Answered(Space::default());
    let failed = Seeing::Failed { call: Call::Open, errno: 107, why: "not connected".into() };
    let stuck = Seeing::Stuck { at: "/srv/jobs/a".into(), age: Ms::secs(1) };
    let unasked = Seeing::Unasked(Fault::Timeout);
    // Whether nobody hangs there, it is mounted and answers, and it is what was to be bound.
    let table = [
        ("bound", path(Some(&hot), Some(&cold), answers()), [true, true, true]),
        ("another folder", path(Some(&hot), Some(&other), answers()), [true, true, false]),
        ("from the disk beneath", path(Some(&hot), Some(&beneath), answers()), [true, true, false]),
        ("not mounted", path(Some(&root), Some(&cold), answers()), [true, false, false]),
        ("unknown where", path(None, Some(&cold), answers()), [true, false, false]),
        ("fenced", PathReading { fenced: true, ..path(Some(&hot), Some(&cold), answers()) }, [true, false, false]),
        ("dead", path(Some(&hot), Some(&cold), failed), [true, false, false]),
        ("hung", path(Some(&hot), Some(&cold), stuck), [false, false, false]),
        ("not asked", path(Some(&hot), Some(&cold), unasked), [false, false, false]),
    ];
    for (what, seen, want) in table {
        let reading = Reading::Paths(Box::new(PathsReading { paths: vec![seen], ..PathsReading::default() }));
        let got = [Want::Freed, Want::Answers, Want::Bound].map(|want| proves(want, &reading, 1));
        assert_eq!(got, want, "{what}");
    }
}

#[test]
fn a_path_is_bare_when_nothing_but_a_fence_is_there() {
    let mount = |source: &str| Mount { source: source.into(), fstype: "tmpfs".into(), read_only: true };
    for (mounted, bare) in [(None, true), (Some(mount(Mount::FENCE)), true), (Some(mount("box:/")), false)] {
        assert_eq!(proves(Want::NotMounted, &Reading::Mount(mounted.clone()), 1), bare, "{mounted:?}");
    }
}

/// systemd has given it up: the rest of the time would be waited for nothing. One that starts again by itself is waited for.
#[test]
fn a_unit_that_has_failed_ends_the_wait_for_it() {
    for (active, job, over) in [
        (Active::Failed, None, true),
        (Active::Failed, Some("start"), false),
        (Active::Activating, None, false),
        (Active::Inactive, None, false),
    ] {
        let job = job.map(Into::into);
        let unit = UnitReading { active, job, result: "exit-code".into(), ..runs(Ms::ZERO) };
        let answer = Ok(Reading::Unit(Box::new(unit)));
        let proof = unit_proof(1, Ms::ZERO, 1, Want::StartedSince);
        let now = ACTED + Ms::secs(1);
        let mut proving = Proving::new(at(ACTED), at(ACTED), &proof, None);
        let round =
            proving.round(&world(now, [(None, now, now), (None, now, now)]), &proof, |_| Some((at(now), &answer)));
        let want = if over { Round::Unproved("it has failed: exit-code".into()) } else { Round::Waiting };
        assert_eq!(round, want, "{active:?}");
    }
}

/// One target of two questions: what each last said, when that was asked for, and when it last said anything.
fn world(now: Ms, looks: [(Option<Seen>, Ms, Ms); 2]) -> World {
    let mut kept = Target::new(at(Ms::ZERO));
    for (n, (raw, asked, raw_at)) in (0..).zip(looks) {
        let mut aspect = Aspect::new(at(Ms::ZERO));
        aspect.look(at(raw_at), raw, Confirm::AT_ONCE, false);
        aspect.asked = at(asked);
        kept.aspects.insert(n, aspect);
    }
    let mut world = fixture::world(at(now), &["s"]);
    let live = world.live.values_mut();
    live.for_each(|live| drop(live.targets.insert(target("s").key, kept.clone())));
    world
}

fn unit_proof(passes: u32, soak: Ms, checks: usize, want: Want) -> Proof {
    let check = |n| Check::Fact(Arc::new(Question::Unit(UnitName::new(format!("{n}.service")))), want);
    Proof { checks: (0..checks).map(check).collect(), passes, every: Ms::secs(2), within: Ms::secs(30), soak }
}

/// Only what was asked for since counts, and what said nothing since is no "up".
#[test]
fn an_old_look_at_a_target_proves_nothing() {
    let (old, new) = (Ms::secs(99), Ms::secs(101));
    let up = |asked, said| (Some(Seen::Up), asked, said);
    let down = |asked, said| (Some(Seen::Down(Reason::new(Code::Failed, "it failed"))), asked, said);
    let unproved = |why: &str| Round::Unproved(why.into());
    let table = [
        ([up(new, new), up(new, new)], Round::Proved),
        ([up(new, new), up(old, old)], Round::Waiting),
        ([up(new, old), up(new, new)], unproved("it is starting")),
        ([up(new, new), down(new, new)], unproved("it failed")),
        ([up(new, new), down(new, old)], unproved("it is starting")),
        ([up(new, new), down(old, old)], Round::Waiting),
    ];
    for (looks, want) in table {
        let proof = Proof { checks: vec![Check::Target(target("s"))], ..unit_proof(1, Ms::ZERO, 0, Want::Stopped) };
        let mut proving = Proving::new(at(ACTED), at(ACTED), &proof, Some(Said::Failed("exited 1".into())));
        assert_eq!(proving.round(&world(new, looks.clone()), &proof, |_| None), want, "{looks:?}");
    }
}

/// Rounds of looks at one unit: when each came, whether it passed, and what the round came to.
fn rounds(proof: &Proof, said: Option<Said>, looks: &[(u64, bool, Round)]) {
    let mut proving = Proving::new(at(ACTED), at(ACTED), proof, said);
    for (n, (secs, passes, want)) in looks.iter().enumerate() {
        let now = ACTED + Ms::secs(*secs);
        let started = if *passes { ACTED } else { Ms::ZERO };
        let answer = Ok(Reading::Unit(Box::new(runs(started))));
        let world = world(now, [(None, now, now), (None, now, now)]);
        assert_eq!(proving.round(&world, proof, |_| Some((at(now), &answer))), *want, "look {n}: {looks:?}");
    }
}

#[test]
fn a_proof_is_seen_as_often_and_as_long_as_it_says() {
    use Round::{Proved, Waiting};
    let failed = || Round::Unproved("it is active, not started since the act".into());
    let twice = unit_proof(2, Ms::ZERO, 1, Want::StartedSince);
    rounds(&twice, None, &[(0, true, Waiting), (2, true, Proved)]);
    rounds(&twice, None, &[(0, true, Waiting), (1, true, Waiting), (2, true, Proved)]);
    rounds(&twice, None, &[(0, true, Waiting), (2, false, Waiting), (4, true, Waiting), (6, true, Proved)]);
    rounds(&twice, None, &[(0, false, Waiting), (29, false, Waiting), (31, false, failed())]);
    let soaks = unit_proof(1, Ms::secs(4), 1, Want::StartedSince);
    rounds(&soaks, None, &[(0, true, Waiting), (2, true, Waiting), (4, true, Proved)]);
    rounds(&soaks, None, &[(0, true, Waiting), (2, false, Waiting), (4, true, Waiting), (8, true, Proved)]);
    // After an act's own bad word one look decides.
    let said = || Some(Said::Lost("the bus went away".into()));
    rounds(&twice, said(), &[(0, true, Proved)]);
    rounds(&twice, said(), &[(0, false, failed())]);
}

/// Of two units one has not been looked at: a return waits for it, for every unit of one counts; nothing else does.
#[test]
fn a_return_waits_for_every_unit() {
    for (want, round) in [
        (Want::Returned, Round::Waiting),
        (Want::StartedSince, Round::Unproved("it is inactive, not started since the act".into())),
    ] {
        let proof = unit_proof(1, Ms::ZERO, 2, want);
        let mut proving = Proving::new(at(ACTED), at(ACTED), &proof, Some(Said::Failed("exited 1".into())));
        let stands = Ok(Reading::Unit(Box::new(UnitReading { active: Active::Inactive, ..runs(Ms::ZERO) })));
        let world = world(ACTED, [(None, ACTED, ACTED), (None, ACTED, ACTED)]);
        let seen = |n| (n == 0).then_some((at(ACTED), &stands));
        assert_eq!(proving.round(&world, &proof, seen), round, "{want:?}");
        let stale = |_| Some((at(ACTED.saturating_sub(Ms(1))), &stands));
        assert_eq!(Proving::new(at(ACTED), at(ACTED), &proof, None).round(&world, &proof, stale), Round::Waiting);
    }
}
