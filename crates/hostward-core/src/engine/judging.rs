//! Judging: looks become verdicts, and what changed becomes records.

use super::Engine;
use crate::hold::{CAUSE_PATIENCE, RELAPSE_WINDOW};
use crate::id::{Str, TargetId, WatchId};
use crate::judge::{Aspect, Shown, Sight, Target, Verdict};
use crate::ledger::{Body, Settlement, Turn};
use crate::time::{Ms, Now};

/// Facts recorded a minute and target; more are counted.
const NOTES_A_MINUTE: usize = 10;
/// A target that stays down is recorded with another reason at most this often.
const REASON_EVERY: Ms = Ms::mins(1);

impl Engine {
    /// Verdicts that nobody renewed become unknown.
    pub(super) fn age(&mut self) {
        let now = self.world.now;
        let mut turned = Vec::new();
        let live = &mut self.world.live;
        let policy = &self.world.policy;
        self.blind.retain(|id| {
            let (Some(live), Some(watch)) = (live.get_mut(id), policy.watches.get(id)) else { return false };
            let stale_after = watch.spec.stale_after();
            let mut blind = false;
            for (key, target) in &mut live.targets {
                let mut aged = false;
                for aspect in target.aspects.values_mut() {
                    aged |= aspect.age(now, stale_after);
                    blind |= aspect.fault.is_some() && !matches!(aspect.verdict, Verdict::Unknown(_));
                }
                if aged {
                    turned.push(TargetId::new(id.clone(), key.clone()));
                }
            }
            blind
        });
        for target in turned {
            self.judge(&target);
        }
    }

    /// Takes the looks of one answer into account.
    pub(super) fn see(&mut self, id: &WatchId, n: u16, asked: Now, sights: Vec<Sight>) {
        let all = self.world.policy.watches.get(id).map_or(0, |watch| watch.spec.probes_count());
        for sight in sights {
            let target_id = TargetId::new(id.clone(), sight.key.clone());
            let seen = match sight.shown {
                Shown::Nothing => None,
                Shown::Seen(seen) => Some(seen),
                Shown::Gone => {
                    self.forget(&target_id);
                    continue;
                }
            };
            let urgent = self.world.urgent(&target_id);
            // What the watch keeps is judged by all its questions, a part by those that spoke of it.
            let asking = if self.world.is_part(&target_id) { n..n.saturating_add(1) } else { 0..all };
            let Some(live) = self.world.live.get_mut(id) else { return };
            let target = live.targets.entry(sight.key).or_insert_with(|| Target::new(asked));
            for probe in asking {
                target.aspects.entry(probe).or_insert_with(|| Aspect::new(asked));
            }
            if let Some(aspect) = target.aspects.get_mut(&n) {
                aspect.look(asked, seen, sight.confirm, urgent);
                if aspect.fault.is_some() {
                    self.blind.insert(id.clone());
                }
            }
            if let Some(fact) = sight.fact {
                self.note(&target_id, fact);
            }
            self.judge(&target_id);
        }
    }

    /// What a whole answer no longer names: a part, or a path that its manifest lost.
    fn forget(&mut self, id: &TargetId) {
        let Some(live) = self.world.live.get_mut(&id.watch) else { return };
        live.targets.remove(&id.key);
        self.world.reckon(&id.watch);
        if self.world.state.targets.contains_key(id) {
            self.record(Body::Turned { target: id.clone(), to: Turn::Gone, incident: None });
        }
    }

    /// Records a fact, at most ten a minute; what is left out is counted.
    pub(super) fn note(&mut self, id: &TargetId, fact: Str) {
        let now = self.world.now;
        let live = self.world.live.get_mut(&id.watch);
        let Some(target) = live.and_then(|live| live.targets.get_mut(&id.key)) else { return };
        while target.noted.front().is_some_and(|at| now.since(*at) >= Ms::mins(1)) {
            target.noted.pop_front();
        }
        if target.noted.len() >= NOTES_A_MINUTE {
            target.missed = target.missed.saturating_add(1);
            return;
        }
        target.noted.push_back(now);
        let missed = std::mem::take(&mut target.missed);
        self.record(Body::Noted { target: id.clone(), fact, missed });
    }

    /// One verdict from all looks; a change is recorded, and what follows from it is asked for.
    pub(super) fn judge(&mut self, id: &TargetId) {
        let now = self.world.now;
        let Some(target) = self.world.live.get_mut(&id.watch).and_then(|l| l.targets.get_mut(&id.key)) else {
            return;
        };
        let verdict = target.judged();
        if std::mem::discriminant(&verdict) != std::mem::discriminant(&target.verdict) {
            target.since = now;
        }
        target.verdict = verdict.clone();
        self.world.reckon_one(id);
        let turn = match verdict {
            Verdict::Pending => return,
            Verdict::Up => Turn::Up,
            Verdict::Unknown(fault) => Turn::Unknown { fault: fault.to_string().into() },
            Verdict::Down(reason) => {
                Turn::Down { reason: reason.code.label().into(), detail: reason.detail, blame: self.world.blame(id) }
            }
        };
        let last = self.world.state.targets.get(id).and_then(|brake| brake.turn.as_ref());
        let (last, at) = (last.map(|(turn, _)| turn), last.map(|(_, at)| *at));
        // One that gives another reason at each look is news once a minute.
        let flaps =
            at.is_some_and(|at| now.since(at) < REASON_EVERY) && last.is_some_and(|last| same_class(last, &turn));
        if last.is_some_and(|last| same_turn(last, &turn)) || flaps && !names_cause(last, &turn) {
            return;
        }
        let incident = match &turn {
            Turn::Up => None,
            Turn::Down { .. } => Some(self.incident(id)),
            // Not to be seen is not to be over.
            Turn::Unknown { .. } | Turn::Gone => self.world.state.targets.get(id).and_then(|brake| brake.incident),
        };
        let fell = matches!(turn, Turn::Down { .. }) && !matches!(last, Some(Turn::Down { .. }));
        let rose = matches!(turn, Turn::Up) && matches!(last, Some(Turn::Down { .. } | Turn::Unknown { .. }));
        self.record(Body::Turned { target: id.clone(), to: turn, incident });
        if fell {
            self.relapse(id);
            for cause in self.world.causes(id) {
                self.demand_watch(&cause.watch, now);
            }
        }
        if rose {
            self.look_again(id);
        }
    }

    /// A cause is up again: what its dependents showed while it was down is no evidence any more, and only what is still
    /// down when it is looked at afresh is restarted. A cause that comes and goes does not put that off for ever.
    fn look_again(&mut self, cause: &TargetId) {
        let now = self.world.now;
        for id in self.world.dependents(cause) {
            let Some(target) = self.world.target(&id) else { continue };
            let long = target.verdict.down().is_some() && now.since(target.since) >= CAUSE_PATIENCE;
            if target.fell().is_none() || long {
                continue;
            }
            if let Some(target) = self.world.live.get_mut(&id.watch).and_then(|live| live.targets.get_mut(&id.key)) {
                target.touch(now);
            }
            self.world.reckon(&id.watch);
            self.demand_watch(&id.watch, now);
        }
    }

    /// The open incident of this target, of its cause, or of something that needs it; else a new one, named by the
    /// record that opens it.
    pub(super) fn incident(&self, id: &TargetId) -> u64 {
        let open = |other: &TargetId| self.world.state.targets.get(other).and_then(|brake| brake.incident);
        open(id)
            .or_else(|| self.world.causes(id).iter().find_map(open))
            .or_else(|| self.world.dependents(id).iter().find_map(open))
            .unwrap_or(self.world.state.seq + 1)
    }

    /// Down again within the hour of an attempt that had cleared it.
    pub(super) fn relapse(&mut self, id: &TargetId) {
        let now = self.world.now;
        let last = self.world.state.targets.get(id).and_then(|brake| brake.attempts.back());
        let relapsed = last.and_then(|last| {
            let proved = last.proved?;
            let cleared = matches!(last.settled, None | Some(Settlement::Cleared));
            (cleared && now.since(proved) < RELAPSE_WINDOW).then_some(last.run)
        });
        if let Some(run) = relapsed {
            self.record(Body::Settled { run, target: id.clone(), result: Settlement::Relapsed });
        }
    }
}

fn same_class(last: &Turn, to: &Turn) -> bool {
    std::mem::discriminant(last) == std::mem::discriminant(to)
}

/// The cause of what is down was not known before.
fn names_cause(last: Option<&Turn>, to: &Turn) -> bool {
    matches!((last, to), (Some(Turn::Down { blame: None, .. }), Turn::Down { blame: Some(_), .. }))
}

/// Nothing new. A cause is often seen only after its dependent fell: its name is news, its going is not.
fn same_turn(last: &Turn, to: &Turn) -> bool {
    match (last, to) {
        (Turn::Up, Turn::Up) | (Turn::Unknown { .. }, Turn::Unknown { .. }) => true,
        (Turn::Down { reason: last, blame: known, .. }, Turn::Down { reason, blame, .. }) => {
            last == reason && (known.is_some() || blame.is_none())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::target;

    fn down(reason: &str, blame: Option<&str>) -> Turn {
        Turn::Down { reason: reason.into(), detail: "it".into(), blame: blame.map(target) }
    }

    #[test]
    fn another_reason_and_a_cause_that_is_named_are_news() {
        let unknown = || Turn::Unknown { fault: "it".into() };
        // Whether it is nothing new, and whether it names a cause.
        let table = [
            (Turn::Up, Turn::Up, true, false),
            (Turn::Up, down("failed", None), false, false),
            (down("failed", None), Turn::Up, false, false),
            (unknown(), unknown(), true, false),
            (unknown(), down("failed", Some("db")), false, false),
            (down("failed", None), down("failed", None), true, false),
            (down("failed", None), down("inactive", None), false, false),
            (down("failed", None), down("failed", Some("db")), false, true),
            (down("failed", Some("db")), down("failed", None), true, false),
            (down("failed", Some("db")), down("failed", Some("net")), true, false),
            (down("failed", Some("db")), down("inactive", Some("db")), false, false),
        ];
        for (last, to, same, names) in table {
            assert_eq!((same_turn(&last, &to), names_cause(Some(&last), &to)), (same, names), "{last:?} to {to:?}");
        }
    }
}
