//! Doubts: which decisions may have changed since they were last taken. A turn decides these anew and no others, so that
//! five hundred ill targets cost what the one costs that was looked at.
//!
//! Whatever is not known to concern one watch concerns all; and every decision is doubted anew after a while, so that a
//! rule which passes by itself is never missed for longer than that.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{TargetId, WatchId};
use crate::ledger::Body;
use crate::time::Ms;
use crate::world::World;

/// A decision is taken anew after this, with the next event; while something is ill one comes every few seconds.
const DOUBTED_AFTER: Ms = Ms::secs(10);

#[derive(Debug, Default)]
pub(super) struct Doubts {
    all: bool,
    watches: BTreeSet<WatchId>,
    /// When each decision is to be taken anew whatever happens.
    due: BTreeMap<TargetId, Ms>,
}

impl Doubts {
    pub(super) fn all(&mut self) {
        self.all = true;
    }

    /// What is seen of a watch, or of what permits it, concerns those that need it and those that it needs.
    pub(super) fn watch(&mut self, world: &World, id: &WatchId) {
        self.watches.extend(world.graph.around(id).chain([id]).cloned());
    }

    /// A record was made. Facts, holds and the steps of a run change no decision of others; a turn and a settlement
    /// concern their neighbours; that a run opens or closes, and what an operator says, is everybody's.
    pub(super) fn record(&mut self, world: &World, body: &Body) {
        match body {
            Body::Noted { .. }
            | Body::Held { .. }
            | Body::Began { .. }
            | Body::Ended { .. }
            | Body::Returning { .. }
            | Body::Returned { .. } => {}
            Body::Turned { target, .. } | Body::Settled { target, .. } => self.watch(world, &target.watch),
            _ => self.all = true,
        }
    }

    /// The targets among the ill to decide about now.
    pub(super) fn take(&mut self, world: &World) -> Vec<TargetId> {
        let now = world.now.up;
        let (all, watches) = (std::mem::take(&mut self.all), std::mem::take(&mut self.watches));
        let due = |id: &TargetId| self.due.get(id).is_none_or(|due| *due <= now);
        let doubted = |id: &&TargetId| all || watches.contains(&id.watch) || due(id);
        let taken = world.ill.iter().filter(doubted).cloned().collect();
        if all {
            self.due.retain(|id, _| world.ill.contains(id));
        }
        taken
    }

    /// Decided; `lift` is when its first hold passes.
    pub(super) fn decided(&mut self, id: &TargetId, now: Ms, lift: Option<Ms>) {
        let again = now + DOUBTED_AFTER;
        self.due.insert(id.clone(), lift.map_or(again, |lift| lift.min(again)));
    }
}
