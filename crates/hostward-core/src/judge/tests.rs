use super::*;

/// When, what was seen, and the label of the verdict after it.
type Looks<'a> = &'a [(u64, Option<Seen>, &'a str)];
use crate::time::Ms;

fn now(secs: u64) -> Now {
    Now { boot: 1, up: Ms::secs(1000 + secs), wall: Ms::secs(1_000_000 + secs) }
}

#[expect(clippy::unnecessary_wraps, reason = "a look may say nothing")]
fn down(code: Code) -> Option<Seen> {
    Some(Seen::Down(Reason::new(code, "it")))
}

#[expect(clippy::unnecessary_wraps, reason = "a look may say nothing")]
fn up() -> Option<Seen> {
    Some(Seen::Up)
}

#[expect(clippy::unnecessary_wraps, reason = "a look may say nothing")]
fn unknown() -> Option<Seen> {
    Some(Seen::Unknown(Fault::Timeout))
}

const TWICE: Confirm = Confirm { runs: 2, age: Ms::secs(10), quiet: None };

/// Each look at its second, and the class of verdict after it.
fn check(confirm: Confirm, looks: Looks) {
    let mut aspect = Aspect::new(now(0));
    for (n, (at, seen, want)) in looks.iter().enumerate() {
        aspect.age(now(*at), Ms::secs(120));
        aspect.look(now(*at), seen.clone(), confirm, false);
        aspect.age(now(*at), Ms::secs(120));
        let got = match &aspect.verdict {
            Verdict::Pending => "pending".to_owned(),
            Verdict::Up => "up".to_owned(),
            Verdict::Down(reason) => reason.code.label().to_owned(),
            Verdict::Unknown(_) => "unknown".to_owned(),
        };
        assert_eq!(got, *want, "look {n} at {at} s of {looks:?}");
    }
}

#[test]
fn streaks_become_verdicts() {
    use Code::{Failed, ProbeSilent, ProbeStatus};
    let table: &[(Confirm, Looks)] = &[
        // The first look ever counts when it is up.
        (TWICE, &[(0, up(), "up")]),
        (Confirm::AT_ONCE, &[(0, down(Failed), "failed")]),
        // Runs and age, both.
        (
            TWICE,
            &[
                (0, down(ProbeSilent), "pending"),
                (5, down(ProbeSilent), "pending"),
                (10, down(ProbeSilent), "probe_silent"),
            ],
        ),
        (TWICE, &[(0, down(ProbeSilent), "pending"), (30, down(ProbeSilent), "probe_silent")]),
        // One good look begins the streak anew.
        (
            TWICE,
            &[
                (0, up(), "up"),
                (5, down(ProbeSilent), "up"),
                (10, up(), "up"),
                (15, down(ProbeSilent), "up"),
                (20, down(ProbeSilent), "up"),
            ],
        ),
        // A look that says nothing neither breaks nor feeds it.
        (
            TWICE,
            &[
                (0, down(ProbeSilent), "pending"),
                (5, None, "pending"),
                (10, None, "pending"),
                (11, down(ProbeSilent), "probe_silent"),
            ],
        ),
        // A fault neither: unknown is not unhealthy.
        (TWICE, &[(0, up(), "up"), (5, down(ProbeSilent), "up"), (20, unknown(), "up"), (30, unknown(), "up")]),
        // Up again after two looks.
        (Confirm::AT_ONCE, &[(0, down(Failed), "failed"), (5, up(), "failed"), (10, up(), "up")]),
        // Being down is the streak, whatever reason is given: one that answers 502 and nothing in turn is down.
        (
            TWICE,
            &[
                (0, down(ProbeSilent), "pending"),
                (5, down(ProbeStatus), "pending"),
                (10, down(ProbeSilent), "probe_silent"),
            ],
        ),
        (
            TWICE,
            &[
                (0, down(ProbeSilent), "pending"),
                (10, down(ProbeSilent), "probe_silent"),
                (15, down(ProbeStatus), "probe_status"),
                (25, down(ProbeStatus), "probe_status"),
            ],
        ),
        // Faults age the verdict; what comes after begins anew.
        (
            TWICE,
            &[
                (0, up(), "up"),
                (60, unknown(), "up"),
                (121, unknown(), "unknown"),
                (125, up(), "unknown"),
                (130, up(), "up"),
            ],
        ),
        (
            TWICE,
            &[
                (0, unknown(), "pending"),
                (121, unknown(), "unknown"),
                (125, down(ProbeSilent), "unknown"),
                (135, down(ProbeSilent), "probe_silent"),
            ],
        ),
    ];
    for (confirm, looks) in table {
        check(*confirm, looks);
    }
}

#[test]
fn a_tree_in_motion_confirms_nothing() {
    let quiet = |touched| Confirm {
        quiet: Some(Quiet { touched, calm: Ms::secs(60), urgent: Ms::secs(20) }),
        ..Confirm::AT_ONCE
    };
    let wall = now(0).wall;
    for (quiet_for, urgent, confirmed) in [(59, false, false), (60, false, true), (19, true, false), (20, true, true)]
    {
        let mut aspect = Aspect::new(now(0));
        let touched = Ms(wall.0 - Ms::secs(quiet_for).0);
        aspect.look(now(0), down(Code::Drift), quiet(touched), urgent);
        assert_eq!(aspect.verdict.down().is_some(), confirmed, "quiet for {quiet_for} s, urgent: {urgent}");
        let lift = aspect.unconfirmed(now(0), urgent).map(|(_, _, lift)| lift);
        let need = if urgent { 20 } else { 60 };
        assert_eq!(lift, (!confirmed).then(|| Lift::At(now(need - quiet_for).up)));
    }
}

#[test]
fn our_own_touch_ends_a_streak() {
    let mut aspect = Aspect::new(now(0));
    aspect.look(now(0), down(Code::ProbeSilent), TWICE, false);
    aspect.touch(now(9));
    aspect.look(now(10), down(Code::ProbeSilent), TWICE, false);
    assert_eq!(aspect.verdict, Verdict::Pending, "one look since our touch");
    aspect.look(now(19), down(Code::ProbeSilent), TWICE, false);
    assert!(aspect.verdict.down().is_some());
}

#[test]
fn one_verdict_from_all_questions() {
    let told = |verdict: Verdict, raw_at: u64| {
        let raw = if verdict == Verdict::Up { up() } else { None };
        Aspect { verdict, raw, raw_at: now(raw_at), ..Aspect::new(now(0)) }
    };
    let fell = Verdict::Down(Reason::new(Code::Failed, "it"));
    let lost = Verdict::Unknown(Fault::Timeout);
    let table = [
        (vec![], Verdict::Pending, Verdict::Pending),
        (vec![(Verdict::Up, 9), (Verdict::Up, 9)], Verdict::Pending, Verdict::Up),
        (vec![(Verdict::Up, 9), (Verdict::Pending, 9)], Verdict::Pending, Verdict::Pending),
        (vec![(Verdict::Pending, 9), (lost.clone(), 9)], Verdict::Pending, lost.clone()),
        (vec![(lost, 9), (fell.clone(), 9)], Verdict::Up, fell.clone()),
        // It fell at 5: an "up" from before is none.
        (vec![(Verdict::Up, 9), (Verdict::Up, 4)], fell.clone(), fell.clone()),
        (vec![(Verdict::Up, 9), (Verdict::Up, 5)], fell, Verdict::Up),
    ];
    for (said, before, want) in table {
        let aspects = (0..).zip(said.into_iter().map(|(verdict, at)| told(verdict, at))).collect();
        let of_all = Target { aspects, verdict: before, since: now(5), ..Target::new(now(0)) };
        assert_eq!(of_all.judged(), want, "{of_all:?}");
    }
}

/// A restarted unit runs, and its probe is refused for the first time: that is not "up" because it is not confirmed.
#[test]
fn what_fell_is_not_up_while_a_question_says_down() {
    let mut target = Target::new(now(0));
    for probe in 0..2 {
        target.aspects.insert(probe, Aspect::new(now(0)));
    }
    let mut look = |probe: u16, at: u64, seen: Option<Seen>, confirm: Confirm| {
        target.aspects.get_mut(&probe).unwrap().look(now(at), seen, confirm, false);
        target.verdict = target.judged();
        target.verdict.down().map(|reason| reason.code)
    };
    let (unit, probe) = (0, 1);
    look(unit, 0, up(), Confirm::AT_ONCE);
    look(probe, 0, up(), TWICE);
    assert_eq!(look(unit, 5, down(Code::Failed), Confirm::AT_ONCE), Some(Code::Failed));
    look(unit, 6, up(), Confirm::AT_ONCE);
    look(probe, 6, down(Code::ProbeSilent), TWICE);
    assert_eq!(look(unit, 7, up(), Confirm::AT_ONCE), Some(Code::Failed), "its probe is refused");
    assert_eq!(look(probe, 16, down(Code::ProbeSilent), TWICE), Some(Code::ProbeSilent), "and now that is confirmed");
    look(probe, 17, up(), TWICE);
    assert_eq!(look(probe, 18, up(), TWICE), None);
}

#[test]
fn another_reason_is_no_other_fall() {
    let mut aspect = Aspect::new(now(0));
    let mut since = |at: u64, seen: Option<Seen>| {
        aspect.look(now(at), seen, Confirm::AT_ONCE, false);
        aspect.since
    };
    assert_eq!(since(0, down(Code::Failed)), now(0));
    assert_eq!(since(5, down(Code::Inactive)), now(0), "down since the first of both");
    assert_eq!(since(10, up()), now(0), "one good look is none yet");
    assert_eq!(since(15, up()), now(15));
    assert_eq!(since(20, down(Code::Failed)), now(20));
}

#[test]
fn what_was_touched_is_fresh_again_once_every_question_was_asked_since() {
    let mut target = Target::new(now(0));
    for probe in 0..2 {
        target.aspects.insert(probe, Aspect::new(now(0)));
    }
    let look = |target: &mut Target, probe: u16, at: u64| {
        let aspect = target.aspects.get_mut(&probe).unwrap();
        aspect.look(now(at), down(Code::Failed), Confirm::AT_ONCE, false);
        target.verdict = target.judged();
    };
    look(&mut target, 0, 1);
    look(&mut target, 1, 1);
    assert!(target.fresh() && !target.recovering());
    target.touch(now(5));
    assert!(!target.fresh() && target.recovering());
    look(&mut target, 0, 6);
    assert!(!target.fresh(), "the other was asked before");
    look(&mut target, 1, 4);
    assert!(!target.fresh(), "asked before the touch, answered after it");
    look(&mut target, 1, 7);
    assert!(target.fresh() && !target.recovering());
}

#[test]
fn a_verdict_ages_to_the_millisecond() {
    let aged = |after: Ms| {
        let mut aspect = Aspect::new(now(0));
        aspect.look(now(0), up(), TWICE, false);
        aspect.look(now(60), unknown(), TWICE, false);
        aspect.age(now(0).plus(after), Ms::secs(120))
    };
    assert_eq!([Ms(119_999), Ms::secs(120)].map(aged), [false, true]);
}

/// The newest of all that it speaks of: a memory of moments that have not been is another ledger's.
#[test]
fn a_target_is_as_new_as_the_newest_of_its_stamps() {
    let with = |change: fn(&mut Target)| {
        let mut target = Target::new(now(1));
        target.aspects.insert(0, Aspect { asked: now(2), raw_since: now(1), ..Aspect::new(now(0)) });
        change(&mut target);
        target.newest()
    };
    assert_eq!(with(|_| ()), now(2));
    assert_eq!(with(|target| target.since = now(3)), now(3));
    assert_eq!(with(|target| target.touched = Some(now(4))), now(4));
    assert_eq!(with(|target| target.aspects.values_mut().for_each(|aspect| aspect.raw_since = now(5))), now(5));
}
