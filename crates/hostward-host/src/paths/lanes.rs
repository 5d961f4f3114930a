//! One child a mount: who may start one for which, and which are stuck.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostward_core::ask::Fault;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::looker::{End, GRACE};

/// Children that hang keep their memory, of about 1 MiB, within our own MemoryMax=: with so many, none is started.
pub(super) const STUCK_MAX: usize = 16;

/// By the device of each mount.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes(Arc<Mutex<BTreeMap<String, Lane>>>);

#[derive(Debug, Default)]
struct Lane {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Its child was killed and has not ended: what it hung at, and since when.
    stuck: Option<(PathBuf, Instant)>,
}

/// The right to have a child on one mount, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    lanes: Lanes,
    lane: String,
    _guard: OwnedMutexGuard<()>,
}

impl Lanes {
    /// Waits while another watch's child is at work there; does not wait for one that is stuck.
    pub(super) async fn enter(&self, lane: &str, until: Instant) -> Result<Turn, End> {
        let turn = {
            let mut lanes = self.lanes();
            lanes.retain(|_, lane| lane.stuck.is_some() || Arc::strong_count(&lane.turn) > 1);
            Arc::clone(&lanes.entry(lane.to_owned()).or_default().turn)
        };
        self.refuse_stuck(lane)?;
        if self.stuck() >= STUCK_MAX {
            let why = format!("{STUCK_MAX} mounts hang, each with a child: none is started for another");
            return Err(End::Failed(Fault::Probe(why.into())));
        }
        let guard = tokio::time::timeout_at(until, turn.lock_owned()).await;
        match guard {
            Ok(guard) => Ok(Turn { lanes: self.clone(), lane: lane.to_owned(), _guard: guard }),
            // It may have got stuck while we waited for it.
            Err(_) => Err(self.refuse_stuck(lane).err().unwrap_or(End::OutOfTime)),
        }
    }

    fn refuse_stuck(&self, lane: &str) -> Result<(), End> {
        match self.lanes().get(lane).and_then(|lane| lane.stuck.clone()) {
            Some((at, since)) => Err(End::Stuck { at, since }),
            None => Ok(()),
        }
    }

    pub(super) fn is_stuck(&self, lane: &str) -> bool {
        self.refuse_stuck(lane).is_err()
    }

    /// Whether a child that was just killed there has ended, or does so at once.
    pub(super) async fn freed(&self, lane: &str) -> bool {
        let turn = self.lanes().get(lane).map(|lane| Arc::clone(&lane.turn));
        match turn {
            Some(turn) => tokio::time::timeout(GRACE, turn.lock()).await.is_ok(),
            None => true,
        }
    }

    pub(super) fn stuck(&self) -> usize {
        self.lanes().values().filter(|lane| lane.stuck.is_some()).count()
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<String, Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The child was killed. Until this turn is dropped, which is when the child has ended, nobody else gets one.
    pub(super) fn stick(&self, at: PathBuf, since: Instant) {
        if let Some(lane) = self.lanes.lanes().get_mut(&self.lane) {
            lane.stuck = Some((at, since));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lane) = self.lanes.lanes().get_mut(&self.lane) {
            lane.stuck = None;
        }
    }
}
