//! What remedies are worth: counted for each rung against each reason, so that one that stopped working shows.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Attempt, Brake, Settlement, Turn, push_bounded};
use crate::id::{Rung, Str};
use crate::time::{Ms, Now};

/// Spans kept for a median.
const SPANS_KEPT: usize = 32;
/// Pairs of rung and reason kept a target: more than a ladder's rungs times the reasons that one kind has.
const PAIRS_KEPT: usize = 64;

/// One rung against one reason, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Efficacy {
    pub rung: Rung,
    pub reason: Str,
    pub settled: BTreeMap<Settlement, u64>,
    /// From the fall to the proof, of those that were proved.
    pub clear: Tally,
}

/// A count, and the last spans behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub count: u64,
    pub spans: VecDeque<Ms>,
}

impl Tally {
    fn add(&mut self, span: Ms) {
        self.count += 1;
        push_bounded(&mut self.spans, span, SPANS_KEPT);
    }

    pub fn median(&self) -> Option<Ms> {
        let mut spans: Vec<Ms> = self.spans.iter().copied().collect();
        spans.sort();
        spans.get(spans.len() / 2).copied()
    }
}

impl Brake {
    pub(super) fn note_efficacy(&mut self, attempt: &Attempt, result: Settlement) {
        let at = self.efficacy.iter().position(|e| e.rung == attempt.rung && e.reason == attempt.reason);
        let at = at.unwrap_or_else(|| {
            if self.efficacy.len() == PAIRS_KEPT {
                self.efficacy.remove(0);
            }
            let (rung, reason) = (attempt.rung.clone(), attempt.reason.clone());
            self.efficacy.push(Efficacy { rung, reason, settled: BTreeMap::new(), clear: Tally::default() });
            self.efficacy.len() - 1
        });
        let Some(efficacy) = self.efficacy.get_mut(at) else { return };
        *efficacy.settled.entry(result).or_default() += 1;
        if let (Settlement::Cleared, Some(proved)) = (result, attempt.proved) {
            efficacy.clear.add(proved.since(attempt.fell.unwrap_or(attempt.at)));
        }
    }

    /// Up again, and nobody had tried anything since it fell.
    pub(super) fn note_recovery(&mut self, to: &Turn, at: Now) {
        let Some((Turn::Down { .. }, fell)) = self.turn else { return };
        let tried = self.attempts.back().is_some_and(|last| last.at.not_before(fell));
        if *to == Turn::Up && !tried {
            self.spontaneous.add(at.since(fell));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;

    fn at(up: Ms) -> Now {
        Now { boot: 1, up, wall: Ms::hours(1) + up }
    }

    fn attempt(rung: &str, reason: &str) -> Attempt {
        let (rung, reason, fell) = (Rung::new(rung), reason.into(), Some(at(Ms::secs(10))));
        Attempt {
            run: RunId(1),
            rung,
            at: at(Ms::secs(20)),
            proved: None,
            settled: None,
            reason,
            fell,
            about: Vec::new(),
            mark: None,
        }
    }

    #[test]
    fn the_middle_of_the_last_spans_is_their_median() {
        let median = |secs: &[u64]| {
            let mut tally = Tally::default();
            for secs in secs {
                tally.add(Ms::secs(*secs));
            }
            (tally.count, tally.median())
        };
        assert_eq!(median(&[]), (0, None));
        assert_eq!(median(&[9, 1, 5]), (3, Some(Ms::secs(5))));
        let many: Vec<u64> = (0..100).collect();
        assert_eq!(median(&many), (100, Some(Ms::secs(84))), "of the last thirty-two");
    }

    #[test]
    fn each_rung_is_counted_against_each_reason() {
        let mut brake = Brake::default();
        let proved = Attempt { proved: Some(at(Ms::secs(40))), ..attempt("restart", "failed") };
        brake.note_efficacy(&proved, Settlement::Cleared);
        brake.note_efficacy(&proved, Settlement::Relapsed);
        brake.note_efficacy(&attempt("restart", "failed"), Settlement::NotCleared);
        brake.note_efficacy(&attempt("restart", "failed"), Settlement::NotCleared);
        brake.note_efficacy(&attempt("restart", "inactive"), Settlement::NotCleared);
        brake.note_efficacy(&attempt("reconcile", "failed"), Settlement::NotCleared);
        let pairs: Vec<_> = brake.efficacy.iter().map(|e| (e.rung.as_str(), &*e.reason, e.settled.clone())).collect();
        let once = || [(Settlement::NotCleared, 1)].into();
        let first = [(Settlement::Cleared, 1), (Settlement::Relapsed, 1), (Settlement::NotCleared, 2)].into();
        assert_eq!(
            pairs,
            [("restart", "failed", first), ("restart", "inactive", once()), ("reconcile", "failed", once())]
        );
        assert_eq!(brake.efficacy[0].clear, Tally { count: 1, spans: [Ms::secs(30)].into() }, "from fall to proof");
        for n in 0..100 {
            brake.note_efficacy(&attempt("restart", &n.to_string()), Settlement::NotCleared);
        }
        assert_eq!(brake.efficacy.len(), PAIRS_KEPT);
        assert_eq!(&*brake.efficacy[PAIRS_KEPT - 1].reason, "99");
    }

    /// Only from "down", only to "up", and only when nobody had tried anything since it fell.
    #[test]
    fn what_comes_up_by_itself_is_counted() {
        let fell = at(Ms::secs(20));
        let down = Some((Turn::Down { reason: "failed".into(), detail: "it".into(), blame: None }, fell));
        let tried = |secs| Attempt { at: at(Ms::secs(secs)), ..attempt("restart", "failed") };
        let unknown = Turn::Unknown { fault: "it".into() };
        let table = [
            (down.clone(), None, Turn::Up, 1),
            (down.clone(), Some(tried(19)), Turn::Up, 1),
            (down.clone(), Some(tried(20)), Turn::Up, 0),
            (down, None, unknown.clone(), 0),
            (Some((unknown, fell)), None, Turn::Up, 0),
            (None, None, Turn::Up, 0),
        ];
        for (turn, tried, to, count) in table {
            let mut brake = Brake { turn: turn.clone(), ..Brake::default() };
            brake.attempts.extend(tried.clone());
            brake.note_recovery(&to, at(Ms::secs(50)));
            assert_eq!(brake.spontaneous.count, count, "{turn:?}, tried {tried:?}, to {to:?}");
            assert!(brake.spontaneous.spans.iter().all(|span| *span == Ms::secs(30)));
        }
    }
}
