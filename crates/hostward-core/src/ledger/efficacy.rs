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
