//! Give-backs: what a run took goes back, try after try, whatever holds; and PID 1 does it when we are gone.
//!
//! A give-back asks no gate, waits for no disk and counts against no budget (safety.md, "Undo"). The undo timer is armed
//! with the very act that stops something, pushed ahead by each later one, and removed once nothing is owed.

use super::{Effect, Engine};
use crate::ask::{Question, Reading};
use crate::hold::permit;
use crate::id::{RunId, UnitName};
use crate::ledger::Body;
use crate::plan::{Act, Arm, Check, Want};
use crate::planted::{Bug, planted};
use crate::run::{Amid, At};
use crate::time::Ms;

/// PID 1 waits this much longer than the step at hand may take, for the next one pushes it ahead: beside its own time each
/// has the actor's last word, one more look, the looks before the next one, twice, and a disk that takes its time.
const ARM_SLACK: Ms = Ms::mins(3);

impl Engine {
    /// Begins the first give-back whose backoff is over. Some: the boot time at which the next one's is.
    pub(super) fn give_back(&mut self, id: RunId, due: &[u16]) -> Option<Ms> {
        let now = self.world.now;
        let run = self.world.state.runs.get(&id)?;
        if planted(Bug::UndoHeld) && permit(&self.world, &run.plan, 0, run.opened, run.origin).is_err() {
            return Some(now.up + Ms::secs(5));
        }
        let ready = due.iter().find(|step| run.back_due(**step, now) <= now.up);
        let Some(step) = ready.copied() else {
            return due.iter().map(|step| run.back_due(*step, now)).min();
        };
        self.record(Body::Returning { run: id, step });
        if let Some(amid) = self.amid(id).filter(|amid| amid.at == At::Back(step)) {
            self.give_back_at(id, &amid);
        }
        None
    }

    /// The units of a return that were seen to run again, whatever became of the others.
    pub(super) fn came_back(&self, id: RunId, amid: &Amid) -> Vec<UnitName> {
        let checks = amid.proof.iter().flat_map(|proof| &proof.checks);
        let runs = |(n, check): (u16, &Check)| {
            let Check::Fact(question, Want::Returned) = check else { return None };
            match (&**question, self.asks.proof(id, n)?.1) {
                (Question::Unit(unit), Ok(Reading::Unit(seen))) if seen.running() => Some(unit.clone()),
                _ => None,
            }
        };
        (0u16..).zip(checks).filter_map(runs).collect()
    }

    /// What PID 1 is to give back when this run does not get to it.
    fn undo(&self, id: RunId) -> Option<Arm> {
        let run = self.world.state.runs.get(&id)?;
        let owed = run.undo();
        (!owed.is_empty()).then(|| Arm { run: id, owed, after: run.lasts() + ARM_SLACK })
    }

    /// Pushes the undo ahead, with the act under way: this run lives.
    pub(super) fn push(&mut self, id: RunId) -> Option<Arm> {
        let stops = |amid: Amid| matches!(amid.act, Some(Act::Stop(_)));
        if planted(Bug::UndoNotPushed) && !self.amid(id).is_some_and(stops) {
            return None;
        }
        let arm = self.undo(id)?;
        self.runs.armed.insert(id);
        Some(arm)
    }

    /// The same, where there is no act.
    pub(super) fn arm(&mut self, id: RunId) {
        let arm = self.push(id);
        self.out.extend(arm.map(Effect::Arm));
    }

    /// Nothing is owed any more that PID 1 could give back.
    pub(super) fn disarm(&mut self, id: RunId) {
        if self.undo(id).is_none() && self.runs.armed.remove(&id) {
            self.out.push(Effect::Disarm(id));
        }
    }
}
