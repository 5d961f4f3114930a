//! Brakes: cooldown, caps, and the attempt that is not settled yet. They follow the target that is healed, whoever asks.

use super::{Held, Hold, Lift};
use crate::id::Rung;
use crate::ledger::{Attempt, Brake, Settlement};
use crate::plan::{COST_RESTART, Heal};
use crate::planted::{Bug, planted};
use crate::policy::Brakes;
use crate::time::{Ms, Now};

/// A rung that did not clear this often in a row, against the same reason, is no remedy for it.
const CIRCUIT_FAILS: usize = 3;
/// Then it is tried once more after this. A restart costs so little that its plateau is long enough: a service whose
/// cause lay outside and is gone must not wait for a day.
const CIRCUIT_RETRY: Ms = Ms::hours(24);

/// What the last attempts of one rung against one reason say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circuit {
    Closed,
    /// Until this boot time; then a single trial.
    Open(Ms),
}

/// Whether a rung still works against a reason. It closes by itself with the first attempt that clears.
pub(crate) fn circuit(now: Now, brake: &Brake, rung: &Rung, reason: &str, limits: Brakes, cost: u32) -> Circuit {
    let same = |attempt: &&Attempt| attempt.rung == *rung && *attempt.reason == *reason;
    let failed = |attempt: &&Attempt| attempt.settled.is_some_and(|settled| settled != Settlement::Cleared);
    let mut last = brake.attempts.iter().rev().filter(same);
    let Some(newest) = last.clone().next() else { return Circuit::Closed };
    let failures = last.by_ref().take(CIRCUIT_FAILS).take_while(failed).count();
    let retry = if cost <= COST_RESTART { limits.plateau } else { CIRCUIT_RETRY.max(limits.plateau) };
    if failures < CIRCUIT_FAILS || now.since(newest.at) >= retry {
        return Circuit::Closed;
    }
    Circuit::Open(now.reach(newest.at, retry))
}

/// How often a rung was tried within the day and since the last attempt that cleared: the ladder takes the least tried.
pub(crate) fn tried(now: Now, brake: &Brake, rung: &Rung) -> usize {
    let recent = brake.attempts.iter().rev().filter(|a| now.since(a.at) < Ms::hours(24));
    recent.take_while(|a| a.settled != Some(Settlement::Cleared)).filter(|a| a.rung == *rung).count()
}

/// Cooldown, caps, circuit, and the attempt that is not settled yet.
pub(super) fn brakes(now: Now, brake: &Brake, heal: &Heal, limits: Brakes, cost: u32, held: &mut Vec<Held>) {
    if let Circuit::Open(until) = circuit(now, brake, &heal.rung, &heal.reason, limits, cost) {
        let value = format!("the last {CIRCUIT_FAILS} of {} did not clear {}", heal.rung, heal.reason);
        held.push(Held::new(Hold::CircuitOpen, value, "a rung that works", Lift::At(until)));
    }
    if let Some(open) = brake.attempts.iter().find(|a| a.settled.is_none()) {
        let lift = match open.proved {
            Some(at) if now.since(at) < limits.soak => Lift::At(now.reach(at, limits.soak)),
            Some(_) => Lift::Fact("it is judged afresh".into()),
            None => Lift::Fact("the run closes".into()),
        };
        held.push(Held::new(
            Hold::Unsettled,
            format!("run {} is not settled", open.run),
            "one attempt at a time",
            lift,
        ));
    }
    let Some(last) = brake.attempts.back() else { return };
    let wait = cooldown(limits, brake.failures);
    let by_wall = planted(Bug::WallCooldown) && now.wall.saturating_sub(last.at.wall) >= wait;
    if now.since(last.at) < wait && !by_wall {
        let value = format!("last attempt {} ago", now.since(last.at));
        held.push(Held::new(Hold::Cooldown, value, wait.to_string(), Lift::At(now.reach(last.at, wait))));
    }
    let hour = Ms::hours(1);
    let recent: Vec<&Attempt> = brake.attempts.iter().filter(|a| now.since(a.at) < hour).collect();
    if recent.len() >= limits.per_hour as usize
        && let Some(oldest) = recent.get(recent.len() - limits.per_hour as usize)
    {
        let lift = Lift::At(now.reach(oldest.at, hour));
        held.push(Held::new(
            Hold::TargetCap,
            format!("{} attempts within an hour", recent.len()),
            format!("{} an hour", limits.per_hour),
            lift,
        ));
    }
    let failed = |a: &&Attempt| now.since(a.at) < Ms::hours(24) && a.settled != Some(Settlement::Cleared);
    let failures = brake.attempts.iter().filter(failed).count();
    if failures >= limits.per_day as usize && now.since(last.at) < limits.plateau {
        held.push(Held::new(
            Hold::TargetCap,
            format!("{failures} attempts without effect within a day"),
            format!("{} a day, then one trial each {}", limits.per_day, limits.plateau),
            Lift::At(now.reach(last.at, limits.plateau)),
        ));
    }
}

/// Doubles with each failure, up to the plateau.
fn cooldown(limits: Brakes, failures: u32) -> Ms {
    let doublings = failures.saturating_sub(1).min(32);
    (limits.cooldown * (1u64 << doublings)).min(limits.plateau)
}

#[cfg(test)]
mod tests;
