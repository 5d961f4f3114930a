//! Children that were made to end and have not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The questions whose children were killed and did not end, and how many of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Mutex<BTreeMap<Vec<u8>, usize>>>);

impl Ending {
    /// Counts one until what this returns is dropped.
    pub(super) fn enter(&self, message: Vec<u8>) -> Hung {
        *self.questions().entry(message.clone()).or_default() += 1;
        Hung { ending: self.clone(), message }
    }

    pub(super) fn has(&self, message: &[u8]) -> bool {
        self.questions().contains_key(message)
    }

    pub(super) fn count(&self) -> usize {
        self.questions().values().sum()
    }

    pub(super) fn questions(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Hung {
    ending: Ending,
    message: Vec<u8>,
}

impl Drop for Hung {
    fn drop(&mut self) {
        let mut questions = self.ending.questions();
        if let Some(count) = questions.get_mut(&self.message) {
            *count -= 1;
            if *count == 0 {
                questions.remove(&self.message);
            }
        }
    }
}
