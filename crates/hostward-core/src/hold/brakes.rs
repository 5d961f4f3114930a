//! Brakes: cooldown, caps, and the attempt that is not settled yet. They follow the target that is healed, whoever asks.

use super::{Held, Hold, Lift};
use crate::ledger::{Attempt, Brake, Settlement};
use crate::policy::Brakes;
use crate::time::{Ms, Now};

/// Cooldown, caps, and the attempt that is not settled yet.
pub(super) fn brakes(now: Now, brake: &Brake, limits: Brakes, held: &mut Vec<Held>) {
    if let Some(open) = brake.attempts.iter().find(|a| a.settled.is_none()) {
        let lift = match open.proved {
            Some(at) => Lift::At(now.reach(at, limits.soak)),
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
    if now.since(last.at) < wait {
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
