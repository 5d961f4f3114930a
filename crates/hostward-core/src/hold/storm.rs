//! Storm: several causes that go down together are most likely one that nobody has named. Wait, then one at a time.
//!
//! Told by the ledger alone (who fell when, and whose fault it was), so it is the same after a restart of ours.

use std::collections::BTreeSet;

use super::{Held, Hold, Lift};
use crate::id::TargetId;
use crate::ledger::Turn;
use crate::time::{Ms, Now};
use crate::world::World;

/// So many causes, each within this of the one before it, are a storm.
const CAUSES: usize = 3;
const TOGETHER: Ms = Ms::secs(30);
/// After the last of them fell.
const CALM: Ms = Ms::secs(120);
/// A storm to which causes are added for ever is waited for no longer than this.
const PATIENCE: Ms = Ms::mins(10);

/// Targets that fell together through nobody's known fault and are still down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storm {
    members: BTreeSet<TargetId>,
    /// Boot time at which the first of them may be tried.
    calm: Ms,
}

impl Storm {
    pub fn of(world: &World) -> Storm {
        let mut falls: Vec<(Now, TargetId)> = world
            .targets()
            .filter(|(id, target)| target.verdict.down().is_some() && !world.is_part(id))
            .filter_map(|(id, _)| match &world.state.targets.get(&id)?.turn {
                Some((Turn::Down { blame: None, .. }, at)) => Some((*at, id)),
                _ => None,
            })
            .collect();
        falls.sort();
        let together = |pair: &[(Now, TargetId)]| matches!(pair, [(a, _), (b, _)] if b.since(*a) <= TOGETHER);
        let mut storm = Storm::default();
        let mut start = 0;
        for end in 1..=falls.len() {
            let goes_on = falls.get(end - 1..=end).is_some_and(together);
            if goes_on {
                continue;
            }
            let fell = falls.get(start..end).unwrap_or_default();
            // The many targets of one watch lie on one thing: they are one cause.
            if fell.iter().map(|(_, id)| &id.watch).collect::<BTreeSet<_>>().len() >= CAUSES {
                storm.take(world.now, fell);
            }
            start = end;
        }
        storm
    }

    /// Those that are in one of the two and not in the other.
    pub(crate) fn changed(&self, other: &Storm) -> Vec<TargetId> {
        self.members.symmetric_difference(&other.members).cloned().collect()
    }

    fn take(&mut self, now: Now, falls: &[(Now, TargetId)]) {
        if let (Some((first, _)), Some((last, _))) = (falls.first(), falls.last()) {
            let calm = now.reach(*last, CALM).min(now.reach(*first, PATIENCE));
            self.calm = self.calm.max(calm);
        }
        self.members.extend(falls.iter().map(|(_, id)| id.clone()));
    }
}

pub(super) fn storm(world: &World, target: &TargetId, held: &mut Vec<Held>) {
    let Storm { members, calm } = &world.storm;
    if !members.contains(target) {
        return;
    }
    let value = format!("{} causes fell together", members.len());
    if world.now.up < *calm {
        held.push(Held::new(Hold::Storm, value, format!("{CALM} after the last"), Lift::At(*calm)));
    } else if let Some(other) = world.claims().next() {
        let lift = Lift::Fact(format!("the plan of {} ends", other.watch).into());
        held.push(Held::new(Hold::Storm, value, "one at a time", lift));
    }
}

#[cfg(test)]
mod tests;
