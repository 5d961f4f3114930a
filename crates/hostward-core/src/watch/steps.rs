//! What more than one kind needs for a plan: restart a unit, stop one for a while, wait for a proof, leave alone what
//! somebody chose.

use std::sync::Arc;

use crate::ask::{Active, Load, Question, UnitReading};
use crate::hold::{Held, Hold, Lift};
use crate::id::UnitName;
use crate::plan::{Act, Back, Check, OnCrash, OnFail, Proof, Step, Stop, Want, When};
use crate::time::{Ms, Now};

/// A stop takes up to TimeoutStopSec and its SIGKILL, four times over, and 10 s (safety.md, "Undo").
const STOP_FACTOR: u64 = 4;
const STOP_SLACK: Ms = Ms::secs(10);
/// DefaultTimeoutStartSec: what a unit's start may take that says nothing else; systemd-system.conf(5).
const START_TIME: Ms = Ms::secs(90);

/// A restart, proved by a main process that began after it.
pub(super) fn restart_step(unit: &UnitName, stop_timeout: Option<Ms>) -> Step {
    let check = Check::Fact(Arc::new(Question::Unit(unit.clone())), Want::StartedSince);
    Step {
        act: Some(Act::Restart(unit.clone())),
        deadline: stop_deadline(stop_timeout) + START_TIME,
        proof: Some(Proof { checks: vec![check], passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO }),
        crash: OnCrash::Again,
        back: None,
        unless: None,
        fail: OnFail::Unwind,
    }
}

/// The end of a plan: a wait until everything is seen up, twice, and stays so for a moment.
pub(super) fn prove_step(checks: Vec<Check>, within: Ms) -> Step {
    let proof = Proof { checks, passes: 2, every: Ms::secs(1), within, soak: Ms::secs(3) };
    Step {
        act: None,
        deadline: Ms::ZERO,
        proof: Some(proof),
        crash: OnCrash::Again,
        back: None,
        unless: None,
        fail: OnFail::Unwind,
    }
}

/// A unit and its closure stand still until `when`, and return whatever happens.
pub(super) fn stop_step(stop: Stop, stop_timeout: Option<Ms>, when: When) -> Step {
    let looks = |want: Want| {
        let fact = |unit: &UnitName| Check::Fact(Arc::new(Question::Unit(unit.clone())), want);
        stop.units().map(fact).collect::<Vec<_>>()
    };
    let proof = |checks| Proof { checks, passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let units: Vec<UnitName> = stop.units().cloned().collect();
    let back = Back {
        when,
        deadline: START_TIME * units.len() as u64,
        act: Act::Start(units),
        unless: None,
        proof: proof(looks(Want::Returned)),
        tries: 0,
    };
    let proof = proof(looks(Want::Stopped));
    Step {
        deadline: stop_deadline(stop_timeout),
        act: Some(Act::Stop(stop)),
        proof: Some(proof),
        crash: OnCrash::Again,
        back: Some(back),
        unless: None,
        fail: OnFail::Unwind,
    }
}

/// A state of a unit that somebody chose: a mask and a disabled unit until it is changed, a clean stop, first seen then, for
/// as long as it is respected.
pub(super) fn by_hand(
    unit: &UnitName,
    seen: &UnitReading,
    stopped: Option<Now>,
    respect: Ms,
    now: Now,
) -> Option<Held> {
    let enable = |verb: &str| Lift::Operator(format!("systemctl {verb} {unit}").into());
    if seen.load == Load::Masked {
        return Some(Held::new(Hold::OperatorActive, "masked", "not masked", enable("unmask")));
    }
    if seen.active == Active::Inactive && seen.disabled && !seen.wanted {
        return Some(Held::new(Hold::OperatorActive, "disabled and stopped", "enabled", enable("enable --now")));
    }
    let stopped = stopped?;
    let age = now.since(stopped);
    (age < respect).then(|| {
        let value = format!("stopped by somebody {age} ago");
        let threshold = format!("respected for {respect}");
        Held::new(Hold::OperatorActive, value, threshold, Lift::At(now.reach(stopped, respect)))
    })
}

/// systemd says `infinity` as the largest number; no step waits for ever.
fn stop_deadline(stop_timeout: Option<Ms>) -> Ms {
    stop_timeout.unwrap_or(START_TIME).min(Ms::mins(5)) * STOP_FACTOR + STOP_SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_the_time_that_systemd_gives_it_and_an_end() {
        for (timeout, deadline) in [(Some(Ms::secs(30)), 130), (None, 370), (Some(Ms::MAX), 1210)] {
            assert_eq!(stop_deadline(timeout), Ms::secs(deadline), "{timeout:?}");
        }
    }
}
