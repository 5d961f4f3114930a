//! What looks at a unit come to: loops, facts, somebody's decision, and whose fault a time-out is.

use super::*;
use crate::fixture::{self, at, falls, runs, target, watch};
use crate::hold::{Hold, Lift};
use crate::starvation::Lag;

fn spec() -> Spec {
    let crate::watch::Spec::Service(spec) = fixture::service("s").spec else { unreachable!() };
    spec
}

/// Seen so many seconds after the boot.
type Look = (u64, UnitReading);

fn seen(looks: &[Look]) -> Memo {
    let mut memo = Memo::default();
    for (secs, unit) in looks {
        memo.remember(at(Ms::secs(*secs)), unit);
    }
    memo
}

fn restarted(restarts: u32, started: u64) -> UnitReading {
    UnitReading { restarts, restart_every: Some(Ms::secs(5)), ..runs(Ms::secs(started)) }
}

fn ended(restarts: u32, started: u64, exited: u64) -> UnitReading {
    UnitReading { main_exited: Ms::secs(exited), ..restarted(restarts, started) }
}

fn code(memo: &Memo, secs: u64) -> Option<Code> {
    match memo.judge_unit(at(Ms::secs(secs)), &UnitName::new("s.service")) {
        Some(Seen::Down(reason)) => Some(reason.code),
        _ => None,
    }
}

#[test]
fn what_systemd_says_of_a_unit_is_judged() {
    use Active::{Activating, Active as Up, Deactivating, Failed, Inactive, Reloading};
    let table = [
        (Load::Loaded, Up, Some(Seen::Up)),
        (Load::Loaded, Reloading, Some(Seen::Up)),
        (Load::Loaded, Activating, None),
        (Load::Loaded, Deactivating, None),
    ];
    let judged = |unit: UnitReading| seen(&[(500, unit)]).judge_unit(at(Ms::secs(500)), &UnitName::new("s.service"));
    for (load, active, want) in table {
        assert_eq!(judged(UnitReading { load, active, ..runs(Ms::secs(100)) }), want, "{load:?} {active:?}");
    }
    let down = [
        (Load::Loaded, Failed, Code::Failed),
        (Load::Loaded, Inactive, Code::Inactive),
        (Load::Masked, Up, Code::Masked),
        (Load::NotFound, Inactive, Code::NotFound),
        (Load::Bad, Inactive, Code::BadUnit),
    ];
    for (load, active, want) in down {
        let unit = UnitReading { load, active, ..runs(Ms::secs(100)) };
        assert_eq!(code(&seen(&[(500, unit.clone())]), 500), Some(want));
        if load == Load::Loaded {
            let job = Some("start".into());
            assert_eq!(judged(UnitReading { job, ..unit }), None, "about to change: {active:?}");
        }
    }
    let said = |condition| {
        let unit = UnitReading { active: Inactive, condition, ..runs(Ms::secs(100)) };
        match judged(unit) {
            Some(Seen::Down(reason)) => reason.detail.contains("Condition"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((said(false), said(true)), (true, false));
}

/// When, and how many restarts systemd had counted.
type Restarts<'a> = &'a [(u64, u32)];

#[test]
fn three_restarts_within_the_window_are_a_loop() {
    let looks = |restarts: Restarts| -> Vec<Look> {
        restarts.iter().map(|(secs, restarts)| (*secs, restarted(*restarts, *secs))).collect()
    };
    let looping = Some(Code::CrashLooping);
    let table: [(Restarts, u64, Option<Code>); 7] = [
        (&[(100, 0), (105, 1), (110, 2)], 110, None),
        (&[(100, 0), (105, 1), (110, 2), (115, 3)], 115, looping),
        (&[(100, 0), (105, 1), (110, 2), (115, 3)], 165, looping),
        (&[(100, 0), (105, 1), (110, 2), (115, 3)], 166, None),
        // After a long gap in proportion: of twelve in five minutes two or three fall within one.
        (&[(100, 0), (160, 3)], 160, looping),
        (&[(100, 0), (400, 14)], 400, None),
        (&[(100, 0), (400, 15)], 400, looping),
    ];
    for (restarts, now, want) in table {
        assert_eq!(code(&seen(&looks(restarts)), now), want, "{restarts:?} at {now}");
    }
    let memo = seen(&looks(&[(100, 0), (105, 1), (110, 2), (115, 3), (116, 0)]));
    assert_eq!((code(&memo, 116), memo.troubled(at(Ms::secs(116)))), (None, false), "started by hand");
    let once = seen(&looks(&[(100, 0), (105, 1)]));
    assert_eq!([105, 165, 166].map(|secs| once.troubled(at(Ms::secs(secs)))), [true, true, false]);
}

#[test]
fn a_loop_says_how_its_last_run_ended() {
    let unit = |restarts, end: &str| UnitReading { main_end: end.into(), ..restarted(restarts, 100) };
    let memo = seen(&[(100, unit(0, "")), (105, unit(2, "exited 1")), (110, unit(4, ""))]);
    let Some(Seen::Down(reason)) = memo.judge_unit(at(Ms::secs(110)), &UnitName::new("s.service")) else {
        panic!("no loop")
    };
    assert_eq!(&*reason.detail, "4 automatic restarts within 1m, last exited 1");
}

/// Four times what one round of the loop takes: its run, and the pause before the next.
#[test]
fn a_short_run_says_how_wide_the_window_is() {
    let table = [
        ("seen when it ended", vec![(105, ended(0, 100, 0)), (121, ended(0, 100, 120))], 100),
        ("seen after the restart", vec![(105, ended(0, 100, 0)), (126, ended(1, 125, 120))], 100),
        ("no new end", vec![(121, ended(0, 100, 120)), (126, ended(0, 100, 120))], 60),
        ("nobody knows when it began", vec![(105, ended(0, 0, 0)), (126, ended(1, 125, 120))], 60),
        (
            "the longest counts",
            vec![(105, ended(0, 100, 0)), (121, ended(0, 100, 120)), (131, ended(1, 125, 130))],
            100,
        ),
        ("a new base line", vec![(105, ended(1, 100, 0)), (121, ended(1, 100, 120)), (122, ended(0, 100, 120))], 60),
    ];
    for (what, looks, window) in table {
        assert_eq!(seen(&looks).window(), Ms::secs(window), "{what}");
    }
    let every = UnitReading { restart_every: Some(Ms::hours(1)), ..runs(Ms::secs(100)) };
    assert_eq!(seen(&[(105, every)]).window(), Ms::mins(40), "a pause of ten minutes at most");
}

/// Half a minute, or twice what a start takes; but one that never became ready was no run.
#[test]
fn a_long_run_ends_a_loop() {
    let before = [(100, restarted(0, 100)), (105, restarted(2, 105))];
    let over = |exited, since| UnitReading {
        active: Active::Activating,
        active_since: Ms::secs(since),
        ..ended(2, 105, exited)
    };
    let looping = |last: Look| {
        let looks: Vec<Look> = before.iter().cloned().chain([last]).collect();
        seen(&looks).troubled(at(Ms::secs(137)))
    };
    assert!(looping((136, over(135, 105))), "thirty seconds");
    assert!(!looping((137, over(136, 105))), "more");
    assert!(looping((137, over(136, 0))), "never ready");
    assert!(looping((135, restarted(2, 105))), "it has run for thirty seconds");
    assert!(!looping((136, restarted(2, 105))), "and for more");
    assert!(looping((136, UnitReading { active: Active::Activating, ..restarted(2, 105) })), "it does not run");
    assert!(looping((136, restarted(2, 0))), "nobody knows since when");
}

#[test]
fn a_slow_start_makes_short_what_else_were_a_long_run() {
    let started = |active, starting, since| UnitReading {
        active,
        starting_since: Ms::secs(starting),
        active_since: Ms::secs(since),
        ..runs(Ms::secs(starting))
    };
    for (unit, run) in [
        (started(Active::Active, 100, 110), 30),
        (started(Active::Active, 100, 140), 80),
        (started(Active::Deactivating, 100, 140), 30),
        (started(Active::Active, 140, 100), 30),
    ] {
        assert_eq!(seen(&[(105, runs(Ms::secs(90))), (141, unit.clone())]).loop_run(), Ms::secs(run), "{unit:?}");
    }
}

/// What was looked at, and the fact that each look brought.
type Story<'a> = (&'a str, &'a [UnitReading], &'a [Option<&'a str>]);

/// Each end of a main process is told once, whether its end was seen or only the restart after it.
#[test]
fn an_end_is_a_fact_once() {
    let end = |result: &str, exited| UnitReading {
        result: result.into(),
        main_end: "exited 1".into(),
        ..ended(0, 100, exited)
    };
    let failed = |unit: UnitReading| UnitReading { active: Active::Failed, ..unit };
    let told = "main process exited 1";
    let table: [Story; 8] = [
        ("it runs", &[restarted(0, 100), restarted(0, 100)], &[None, None]),
        ("before us", &[end("exit-code", 120), end("exit-code", 120)], &[None, None]),
        ("seen", &[restarted(0, 100), end("exit-code", 120), end("exit-code", 120)], &[None, Some(told), None]),
        ("clean", &[restarted(0, 100), end("success", 120)], &[None, None]),
        ("unseen", &[restarted(0, 100), restarted(1, 125)], &[None, Some("main process ended; automatic restart 1")]),
        (
            "seen, then restarted",
            &[restarted(0, 100), end("exit-code", 120), restarted(1, 125)],
            &[None, Some(told), None],
        ),
        (
            "no process ended",
            &[restarted(0, 100), failed(restarted(0, 100)), failed(restarted(0, 100))],
            &[None, Some("main process ended"), None],
        ),
        ("failed by it", &[restarted(0, 100), failed(end("exit-code", 120))], &[None, Some(told)]),
    ];
    for (what, looks, want) in table {
        let mut memo = Memo::default();
        let facts: Vec<Option<Str>> = looks.iter().map(|unit| memo.remember(at(Ms::secs(130)), unit)).collect();
        assert_eq!(facts.iter().map(Option::as_deref).collect::<Vec<_>>(), want, "{what}");
    }
}

#[test]
fn a_grace_counts_from_the_start_that_began_the_episode() {
    let fresh = |unit: UnitReading| UnitReading { invocation: "2".into(), ..unit };
    let table = [
        ("running when we came", vec![(130, runs(Ms::secs(100)))], Some(100)),
        ("no process yet", vec![(130, runs(Ms::ZERO))], None),
        ("started anew", vec![(130, runs(Ms::secs(100))), (150, fresh(runs(Ms::secs(149))))], Some(150)),
        ("looked at again", vec![(130, runs(Ms::secs(100))), (150, runs(Ms::secs(100)))], Some(100)),
        (
            "only the first restart of a row",
            vec![(130, restarted(0, 100)), (150, fresh(restarted(1, 149))), (152, restarted(2, 151))],
            Some(150),
        ),
    ];
    for (what, looks, want) in table {
        assert_eq!(seen(&looks).episode.map(|at| at.up), want.map(Ms::secs), "{what}");
    }
}

#[test]
fn a_probe_that_is_down_counts_for_a_unit_that_runs() {
    let down = Seen::Down(Reason::new(Code::ProbeSilent, "it"));
    let stopped = UnitReading { active: Active::Inactive, ..runs(Ms::secs(100)) };
    let table = [
        (vec![(105, runs(Ms::secs(100)))], 129, false),
        (vec![(105, runs(Ms::secs(100)))], 130, true),
        (vec![(105, stopped)], 130, false),
        (vec![(105, restarted(0, 10)), (110, restarted(1, 109))], 150, false),
        (vec![], 130, true),
    ];
    for (looks, now, counts) in table {
        let memo = seen(&looks);
        assert_eq!(spec().counts(&memo, at(Ms::secs(now)), &down), counts, "{looks:?} at {now}");
        assert!(spec().counts(&memo, at(Ms::secs(now)), &Seen::Up));
    }
}

#[test]
fn what_somebody_chose_is_respected() {
    let stopped = |unit: UnitReading| UnitReading { active: Active::Inactive, ..unit };
    let disabled =
        |wanted| stopped(UnitReading { disabled: true, wanted, invocation: "".into(), ..runs(Ms::secs(9)) });
    let lift = |looks: &[Look], now: u64| spec().by_hand(&seen(looks), at(Ms::secs(now))).map(|held| held.lift);
    let operator = |lift: Option<Lift>| matches!(lift, Some(Lift::Operator(_)));
    assert!(operator(lift(&[(100, UnitReading { load: Load::Masked, ..runs(Ms::secs(9)) })], 100)));
    assert!(operator(lift(&[(100, disabled(false))], 100)), "disabled, and nobody wants it");
    assert_eq!(lift(&[(100, disabled(true))], 100), None, "something wants it");
    assert_eq!(
        lift(&[(100, UnitReading { disabled: true, wanted: false, ..runs(Ms::secs(9)) })], 100),
        None,
        "it runs"
    );
    // A clean stop: for half an hour.
    let clean = [(100, stopped(runs(Ms::secs(9))))];
    assert_eq!(lift(&clean, 1899), Some(Lift::At(Ms::secs(1900))));
    assert_eq!(lift(&clean, 1900), None);
    let again = [(100, stopped(runs(Ms::secs(9)))), (160, runs(Ms::secs(150))), (1000, stopped(runs(Ms::secs(150))))];
    assert_eq!(lift(&again, 1900), Some(Lift::At(Ms::secs(2800))), "the last stop counts");
    let no_stop: [fn(&mut UnitReading); 4] = [
        |unit| unit.active = Active::Failed,
        |unit| unit.result = "exit-code".into(),
        |unit| unit.condition = false,
        |unit| unit.invocation = "".into(),
    ];
    for change in no_stop {
        let mut unit = stopped(runs(Ms::secs(9)));
        change(&mut unit);
        assert_eq!(lift(&[(100, unit.clone())], 101), None, "{unit:?}");
    }
}

/// An answer, a time-out after so long, or a fault of our own.
fn judged(waited: Option<Ms>, fault: bool) -> Judged {
    let service = fault.then_some(Seen::Unknown(Fault::Timeout));
    Judged { service: service.or(Some(Seen::Up)), waited, ..Judged::default() }
}

const WAITS: Ms = Ms::secs(5);

fn starving(now: u64, echo: Option<Ms>) -> Starvation {
    let mut starvation = Starvation::default();
    starvation.note(at(Ms::secs(now)), Lag { late: Ms::secs(2), echo });
    starvation
}

/// The host's own for five minutes, and longer when not even our own listener answers.
#[test]
fn a_time_out_on_a_starved_host_is_nobodys_fault() {
    let (well, ill) = (Some(Ms::secs(5)), Some(Ms(5001)));
    let table = [(100, well, true), (399, well, true), (400, well, false), (400, ill, true), (400, None, true)];
    for (now, echo, nobodys) in table {
        let mut memo = Memo::default();
        assert!(
            !memo.starved(1, at(Ms::secs(100)), WAITS, &judged(None, false), &starving(100, well)),
            "it answered"
        );
        let asked = at(Ms::secs(now));
        assert_eq!(
            memo.starved(1, asked, WAITS, &judged(Some(WAITS), false), &starving(now, echo)),
            nobodys,
            "{now} {echo:?}"
        );
        assert!(
            !memo.starved(1, asked, WAITS, &judged(Some(WAITS), false), &Starvation::default()),
            "a host that is not starved"
        );
        assert!(!memo.starved(1, asked, WAITS, &judged(None, false), &starving(now, echo)));
        assert!(!memo.patient(1, asked, &starving(now, echo)), "it answered");
    }
    // A fault of our own is no answer, and begins nothing anew.
    let mut memo = Memo::default();
    for (now, ours) in [(100, false), (380, true)] {
        assert!(!memo.starved(1, at(Ms::secs(now)), WAITS, &judged(None, ours), &starving(now, well)));
    }
    assert!(!memo.starved(1, at(Ms::secs(400)), WAITS, &judged(Some(WAITS), false), &starving(400, well)));
}

/// Five minutes without an answer: of one that gets processor time they are the host's, of one that gets none its own.
#[test]
fn who_is_at_work_on_a_starved_host_waits_his_turn() {
    /// When, and how much processor time by then.
    type Looks<'a> = &'a [(u64, Option<u64>)];
    let looks: [(Looks<'_>, bool); 7] = [
        (&[(340, None), (400, None)], false),
        (&[(340, Some(10)), (400, Some(20))], true),
        (&[(340, Some(10)), (400, Some(10))], false),
        // A process of it has ended.
        (&[(340, Some(10)), (400, Some(5))], true),
        // Looked at again at once: that shows nothing yet.
        (&[(280, Some(5)), (340, Some(10)), (384, Some(10))], true),
        (&[(280, Some(5)), (340, Some(10)), (385, Some(10))], false),
        (&[(340, Some(10)), (400, None)], false),
    ];
    let well = Some(WAITS);
    for (looks, waits) in looks {
        let mut memo = Memo::default();
        memo.starved(1, at(Ms::secs(100)), WAITS, &judged(None, false), &starving(100, well));
        for (now, busy) in looks {
            memo.remember(at(Ms::secs(*now)), &UnitReading { busy: busy.map(Ms), ..runs(Ms::secs(1)) });
        }
        let late = memo.starved(1, at(Ms::secs(400)), WAITS, &judged(Some(WAITS), false), &starving(400, well));
        assert_eq!(late, waits, "{looks:?}");
    }
}

/// systemd was told to wait for ever, or it would have ended it.
#[test]
fn a_start_that_goes_on_and_on_is_down_and_begun_anew_by_nobody() {
    let unit = |sub: &str| UnitReading {
        active: Active::Activating,
        sub: sub.into(),
        job: Some("start".into()),
        starting_since: Ms::secs(100),
        ..runs(Ms::secs(100))
    };
    let table = [
        ("start", 699, None),
        ("start", 700, Some(Code::Starting)),
        ("start-pre", 700, Some(Code::Starting)),
        // It waits between two starts, as RestartSec= says.
        ("auto-restart", 9999, None),
    ];
    for (sub, now, want) in table {
        assert_eq!(code(&seen(&[(100, unit(sub))]), now), want, "{sub} {now}");
    }
    // One that has taken long before.
    let ready = UnitReading { active_since: Ms::secs(1000), starting_since: Ms::secs(1), ..runs(Ms::secs(1)) };
    let again = UnitReading { invocation: "2".into(), ..unit("start") };
    let slow = seen(&[(1000, ready.clone()), (1001, ready), (1100, again)]);
    assert_eq!((code(&slow, 100 + 1997), code(&slow, 100 + 1998)), (None, Some(Code::Starting)));

    let id = target("s");
    let mut world = fixture::world(at(Ms::secs(700)), &["s"]);
    falls(&mut world, &id, at(Ms::secs(700)));
    let live = world.live.get_mut(&watch("s")).expect("it is watched");
    let reason = Reason::new(Code::Starting, "starting for 10m");
    live.targets.get_mut(&id.key).expect("it fell").verdict = crate::judge::Verdict::Down(reason);
    let draft = spec().draft(&world, &id, &world.live[&watch("s")], &Memo::default());
    assert_eq!(draft.plan, None, "a database that recovers would begin anew");
}

/// What was judged before the starvation was measured is no reason to restart; another question's "down" is.
#[test]
fn what_only_time_outs_say_waits_until_the_host_is_well() {
    let now = at(Ms::secs(100));
    let (id, starved) = (target("s"), starving(100, None));
    let held = |timed_out: &[u16], down: &[u16], starvation: &Starvation| {
        let mut world = fixture::world(now, &["s"]);
        falls(&mut world, &id, now);
        let live = world.live.get_mut(&watch("s")).expect("it is watched");
        let aspects = &mut live.targets.get_mut(&id.key).expect("it fell").aspects;
        let fallen = aspects.remove(&0).expect("its unit was asked");
        aspects.extend(down.iter().map(|n| (*n, fallen.clone())));
        world.starvation = starvation.clone();
        let mut memo = Memo::default();
        for n in timed_out {
            memo.starved(*n, now, WAITS, &judged(Some(WAITS), false), &world.starvation);
        }
        memo.perhaps_ours(&world, &id).map(|held| (held.hold, held.lift))
    };
    let until = Some((Hold::Pressure, Lift::At(Ms::secs(160))));
    assert_eq!(held(&[1, 2], &[1, 2], &starved), until);
    assert_eq!(held(&[1], &[1, 2], &starved), None, "the other one answered");
    assert_eq!(held(&[1], &[], &starved), None, "nothing is down");
    assert_eq!(held(&[1], &[1], &Starvation::default()), None);
}

#[test]
fn a_ladder_names_the_rungs_that_are_charged() {
    let rungs = [Step::Restart, Step::Reconcile(WatchId::new("baseline.app")), Step::Notify].map(|step| step.rung());
    assert_eq!(rungs, [Some(Rung::new("restart")), Some(Rung::new("reconcile:app")), None]);
}
