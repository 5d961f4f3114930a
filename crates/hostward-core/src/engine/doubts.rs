//! Doubts: which decisions may have changed since they were last taken. A turn decides these anew and no others, so that
//! five hundred ill targets cost what the one costs that was looked at.
//!
//! Whatever is not known to concern one watch concerns all; and every decision is doubted anew after a while, so that a
//! rule which passes by itself is never missed for longer than that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::id::{TargetId, WatchId};
use crate::ledger::Body;
use crate::time::Ms;
use crate::world::World;

/// A decision is taken anew after this, with the next event; while something is ill one comes every few seconds.
const DOUBTED_AFTER: Ms = Ms::secs(10);
/// So many decisions a turn: when a plan ends it may free any of five hundred ill targets, and to decide about them all at
/// once took 7 ms, in which nothing else was heard. The next turn follows at once.
const TAKEN_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    all: bool,
    watches: BTreeSet<WatchId>,
    /// How many may still be taken in this turn.
    allowed: usize,
    /// Doubted, and not taken yet.
    waiting: BTreeSet<TargetId>,
    /// The last that was taken: the next come after it, so that none waits for ever behind those of lower names.
    last: Option<TargetId>,
    /// When each decision is to be taken anew whatever happens.
    due: BTreeMap<TargetId, Ms>,
    queue: BTreeSet<(Ms, TargetId)>,
}

impl Doubts {
    pub(super) fn turn(&mut self) {
        self.allowed = TAKEN_MAX;
    }

    pub(super) fn all(&mut self) {
        self.all = true;
    }

    /// What is seen of a watch, or of what permits it, concerns those that need it and those that it needs.
    pub(super) fn watch(&mut self, world: &World, id: &WatchId) {
        self.watches.extend(world.graph.around(id).chain([id]).cloned());
    }

    /// A record was made. Facts, holds and the steps of a run change no decision of others; a turn and a settlement
    /// concern their neighbours. That a run opens frees nobody; that it closes may free anybody, as does an operator.
    pub(super) fn record(&mut self, world: &World, body: &Body) {
        match body {
            Body::Noted { .. }
            | Body::Opened { .. }
            | Body::Held { .. }
            | Body::Began { .. }
            | Body::Ended { .. }
            | Body::Returning { .. }
            | Body::Returned { .. } => {}
            Body::Turned { target, .. } | Body::Settled { target, .. } => self.watch(world, &target.watch),
            _ => self.all = true,
        }
    }

    /// Targets among the ill to decide about now; [`Doubts::more`] tells whether others wait for the next turn.
    pub(super) fn take(&mut self, world: &World) -> Vec<TargetId> {
        self.gather(world);
        let from = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.waiting.range((from, Bound::Unbounded));
        let most = self.allowed.min(self.waiting.len());
        let before = self.waiting.len() - after.clone().count();
        let mut waiting: Vec<&TargetId> = after.chain(self.waiting.iter().take(before)).collect();
        // What is left of caps and budget is for those of a kind that wait longest.
        waiting.sort_by_key(|id| world.waits_since(id));
        let taken: Vec<TargetId> = waiting.into_iter().take(most).cloned().collect();
        for id in &taken {
            self.waiting.remove(id);
        }
        self.allowed -= taken.len();
        self.last = taken.last().cloned().or(self.last.take());
        taken
    }

    /// Some wait for the next turn.
    pub(super) fn more(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn gather(&mut self, world: &World) {
        let watches = std::mem::take(&mut self.watches);
        if std::mem::take(&mut self.all) {
            self.waiting.clone_from(&world.ill);
            self.due.retain(|id, _| world.ill.contains(id));
            self.queue = self.due.iter().map(|(id, due)| (*due, id.clone())).collect();
            return;
        }
        self.waiting.retain(|id| world.ill.contains(id));
        self.waiting.extend(watches.iter().flat_map(|id| world.ill_of(id)).cloned());
        while let Some((_, id)) = self.queue.first().filter(|(due, _)| *due <= world.now.up).cloned() {
            self.forget(&id);
            if world.ill.contains(&id) {
                self.waiting.insert(id);
            }
        }
    }

    /// Decided; `lift` is when its first hold passes.
    pub(super) fn decided(&mut self, id: &TargetId, now: Ms, lift: Option<Ms>) {
        self.forget(id);
        let again = now + DOUBTED_AFTER;
        let due = lift.map_or(again, |lift| lift.min(again));
        self.due.insert(id.clone(), due);
        self.queue.insert((due, id.clone()));
    }

    fn forget(&mut self, id: &TargetId) {
        if let Some(due) = self.due.remove(id) {
            self.queue.remove(&(due, id.clone()));
        }
    }
}
