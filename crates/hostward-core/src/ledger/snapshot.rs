//! Snapshot: what a state that was stored whole must be, and what of one goes on when the rest of its ledger is lost.

use std::collections::BTreeSet;

use super::State;
use crate::id::Str;
use crate::run::{OpenRun, StepEnd, StepRun};
use crate::time::Now;

/// No host writes so many records: a higher number is not one of ours, and adding to it must not overflow.
pub const SEQ_MAX: u64 = 1 << 62;

impl State {
    /// Why this cannot be what an engine of this host left, seen from `now`: something in it is later than itself. A wall
    /// clock may be later: clocks go back, a dead battery's to 1970, and ages then fall back on the time since boot.
    pub fn implausible(&self, now: Now) -> Option<String> {
        // A stamp of another boot is as old as it can be; only this boot's can be later than now.
        let late = self.stamps().find(|at| at.boot > self.boot || at.boot == now.boot && at.up > now.up);
        if let Some(at) = late {
            return Some(format!(
                "it holds a stamp of boot {}, {} after its start; now is boot {}, {} after its start",
                at.boot, at.up, now.boot, now.up
            ));
        }
        let attempts = self.targets.values().flat_map(|brake| brake.attempts.iter().map(|attempt| attempt.run.0));
        let runs = self.runs.keys().map(|run| run.0).chain(self.stuck.iter().map(|stuck| stuck.run.0));
        let newest = runs.chain(attempts).max().unwrap_or_default();
        if newest > self.seq || self.seq > SEQ_MAX {
            return Some(format!("it ends with record {} and knows of record {newest}", self.seq));
        }
        None
    }

    fn stamps(&self) -> impl Iterator<Item = Now> + '_ {
        let attempts = self.targets.values().flat_map(|brake| &brake.attempts);
        let tried = attempts.flat_map(|attempt| [attempt.at].into_iter().chain(attempt.proved).chain(attempt.fell));
        let turned = self.targets.values().filter_map(|brake| brake.turn.as_ref().map(|(_, at)| *at));
        let queued = self.targets.values().filter_map(|brake| brake.queued);
        let runs = self.runs.values().flat_map(|run| {
            let began = run.steps.iter().map(|step| step.began);
            [run.opened].into_iter().chain(began).chain(run.backs.values().map(|back| back.began))
        });
        let charged = self.charges.iter().map(|(at, _)| *at);
        let said = self.pauses.iter().map(|pause| pause.at).chain(self.stuck.iter().map(|stuck| stuck.at));
        // Not that of a damage: it may have been stamped by an engine that died before it could say which boot this is.
        tried
            .chain(turned)
            .chain(queued)
            .chain(runs)
            .chain(charged)
            .chain(said)
            .chain(self.abnormal_starts.iter().copied())
    }

    /// What of the readable part of a damaged ledger, or of a later version's, goes on: all of it, so that clearing the
    /// damage never makes an attempt free that is known, and no debt is forgotten. But no plan goes forward: what became
    /// of it is in the part that was not read. What was under way counts as lost by a crash, what was taken is given back.
    /// Numbers go on after `newest`, so that no run's is given twice. Also told: what the open plans touch, for an
    /// operator to look at.
    #[must_use]
    pub fn salvaged(mut self, newest: u64, why: &str, at: Now) -> (State, BTreeSet<Str>) {
        let touched = self.runs.values().flat_map(|run| &run.plan.touches).map(|it| it.to_string().into()).collect();
        self.runs.values_mut().for_each(OpenRun::abandon);
        self.seq = self.seq.max(newest.min(SEQ_MAX));
        (self.damaged, self.lost) = (Some((at, why.into())), Some(at));
        (self, touched)
    }
}

impl OpenRun {
    /// No forward step follows. What is being given back goes on.
    fn abandon(&mut self) {
        if let Some(last @ StepRun { end: None, .. }) = self.steps.last_mut() {
            last.end = Some(StepEnd::Lost("the ledger could not be read to its end".into()));
        }
        if self.closing().is_none() {
            let end = Some(StepEnd::Held(vec!["ledger_damaged".into()]));
            self.steps.push(StepRun { began: self.opened, tries: 0, end });
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
