//! Windows and caps, each at its edge.

use std::collections::VecDeque;

use super::*;
use crate::fixture::{BRAKES, at, target};
use crate::id::RunId;

const NOW: Ms = Ms::hours(100);

/// One that did not clear a failure, so long ago.
fn attempt(ago: Ms, settled: Option<Settlement>) -> Attempt {
    let at = at(NOW.saturating_sub(ago));
    Attempt {
        run: RunId(1),
        rung: rung(),
        at,
        proved: None,
        settled,
        reason: "failed".into(),
        fell: None,
        about: Vec::new(),
        mark: None,
    }
}

fn rung() -> Rung {
    Rung::new("restart")
}

fn brake(attempts: impl IntoIterator<Item = Attempt>) -> Brake {
    let attempts: VecDeque<Attempt> = attempts.into_iter().collect();
    Brake { attempts, ..Brake::default() }
}

/// So long ago each, none of which cleared.
fn failed(ago: &[Ms]) -> Brake {
    brake(ago.iter().map(|ago| attempt(*ago, Some(Settlement::NotCleared))))
}

#[expect(clippy::unnecessary_wraps, reason = "nothing may hold")]
fn after(span: Ms) -> Option<Lift> {
    Some(Lift::At(NOW + span))
}

/// What holds the next attempt for this reason, and until when.
fn lift(brake: &Brake, cost: u32, hold: Hold) -> Option<Lift> {
    let mut found = Vec::new();
    let heal = Heal::new(target("s"), rung(), "failed");
    brakes(at(NOW), brake, &heal, BRAKES, cost, &mut found);
    found.into_iter().find(|held| held.hold == hold).map(|held| held.lift)
}

#[test]
fn three_failures_in_a_row_of_one_rung_against_one_reason_open_its_circuit() {
    use Settlement::{Cleared, NotCleared, Relapsed};
    let hours = |settled: &[Option<Settlement>]| {
        let ago = (1..=settled.len() as u64).rev().map(Ms::hours);
        brake(ago.zip(settled).map(|(ago, settled)| attempt(ago, *settled)))
    };
    let not = Some(NotCleared);
    let table = [
        (hours(&[not, not, not]), Some(Ms::hours(23))),
        (hours(&[not, Some(Relapsed), not]), Some(Ms::hours(23))),
        (hours(&[not, not]), None),
        (hours(&[not, not, not, Some(Cleared)]), None),
        (hours(&[not, Some(Cleared), not, not]), None),
        (hours(&[not, not, not, None]), None),
    ];
    for (brake, open) in table {
        assert_eq!(lift(&brake, 5, Hold::CircuitOpen), open.and_then(after), "{brake:?}");
    }
    let other = |change: fn(&mut Attempt)| {
        let mut brake = failed(&[Ms::hours(3), Ms::hours(2), Ms::hours(1)]);
        change(&mut brake.attempts[1]);
        lift(&brake, 5, Hold::CircuitOpen)
    };
    assert_eq!(other(|attempt| attempt.rung = Rung::new("reconcile")), None, "another rung's failure");
    assert_eq!(other(|attempt| attempt.reason = "inactive".into()), None, "another reason");
}

/// A day for what is dear, the plateau for a restart; then a single trial.
#[test]
fn an_open_circuit_allows_one_trial() {
    let failed = |newest: Ms| failed(&[newest + Ms(2), newest + Ms(1), newest]);
    let table = [
        (5, Ms::hours(24).saturating_sub(Ms(1)), after(Ms(1))),
        (5, Ms::hours(24), None),
        (1, Ms::mins(30).saturating_sub(Ms(1)), after(Ms(1))),
        (1, Ms::mins(30), None),
    ];
    for (cost, newest, open) in table {
        assert_eq!(lift(&failed(newest), cost, Hold::CircuitOpen), open, "{newest} ago, of cost {cost}");
    }
}

#[test]
fn a_rung_is_worn_by_the_days_tries_since_it_last_cleared() {
    let day = Ms::hours(24);
    let other = Attempt { rung: Rung::new("reconcile"), ..attempt(Ms::hours(2), None) };
    let cleared = attempt(Ms::hours(4), Some(Settlement::Cleared));
    let not = |ago| attempt(ago, Some(Settlement::NotCleared));
    let table = [
        (brake([not(day), not(Ms::hours(3)), other, not(Ms::hours(1))]), 2),
        (brake([not(day.saturating_sub(Ms(1)))]), 1),
        (brake([not(Ms::hours(5)), cleared.clone(), not(Ms::hours(1))]), 1),
        (brake([not(Ms::hours(5)), cleared]), 0),
    ];
    for (brake, want) in table {
        assert_eq!(tried(at(NOW), &brake, &rung()), want, "{brake:?}");
    }
}

#[test]
fn one_attempt_at_a_time_until_its_soak_is_over() {
    let open = |proved: Option<Ms>| {
        let proved = proved.map(|ago| at(NOW.saturating_sub(ago)));
        lift(&brake([Attempt { proved, ..attempt(Ms::hours(2), None) }]), 1, Hold::Unsettled)
    };
    assert_eq!(open(Some(Ms(299_999))), after(Ms(1)));
    assert_eq!(open(Some(Ms::mins(5))), Some(Lift::Fact("it is judged afresh".into())));
    assert_eq!(open(None), Some(Lift::Fact("the run closes".into())));
    assert_eq!(lift(&failed(&[Ms::hours(2)]), 1, Hold::Unsettled), None);
}

/// From a minute, doubling, to the plateau of half an hour.
#[test]
fn a_cooldown_doubles_with_each_failure() {
    for (failures, wait) in [(0, 60), (1, 60), (2, 120), (3, 240), (5, 960), (6, 1800), (40, 1800)] {
        let wait = Ms::secs(wait);
        let held = |ago: Ms| lift(&Brake { failures, ..failed(&[ago]) }, 1, Hold::Cooldown);
        assert_eq!(held(wait.saturating_sub(Ms(1))), after(Ms(1)), "{failures} failures");
        assert_eq!(held(wait), None, "{failures} failures");
    }
}

#[test]
fn three_attempts_within_any_hour_are_the_cap_whatever_they_came_to() {
    let cleared = |ago: u64| attempt(Ms::mins(ago), Some(Settlement::Cleared));
    let table = [
        (brake([59, 40, 20].map(cleared)), after(Ms::mins(1))),
        (brake([60, 40, 20].map(cleared)), None),
        (brake([59, 50, 40, 20].map(cleared)), after(Ms::mins(10))),
        (brake([40, 20].map(cleared)), None),
    ];
    for (brake, held) in table {
        assert_eq!(lift(&brake, 1, Hold::TargetCap), held, "{brake:?}");
    }
}

/// Six in a day that did not clear leave one trial each plateau.
#[test]
fn six_attempts_without_effect_are_a_days_cap() {
    let ago = |oldest: Ms, newest: Ms| [oldest, Ms::hours(20), Ms::hours(15), Ms::hours(10), Ms::hours(5), newest];
    let (within, day, plateau) = (Ms::hours(24).saturating_sub(Ms(1)), Ms::hours(24), Ms::mins(30));
    let table = [
        (failed(&ago(within, Ms::mins(29))), after(Ms::mins(1))),
        (failed(&ago(within, plateau)), None),
        (failed(&ago(day, Ms::mins(29))), None),
        (failed(&ago(within, Ms::mins(29))[..5]), None),
    ];
    for (brake, held) in table {
        assert_eq!(lift(&brake, 1, Hold::TargetCap), held, "{brake:?}");
    }
    let mut cleared = failed(&ago(within, Ms::mins(29)));
    cleared.attempts[2].settled = Some(Settlement::Cleared);
    assert_eq!(lift(&cleared, 1, Hold::TargetCap), None, "what cleared does not count");
}
