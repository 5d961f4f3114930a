//! Children that have answered and wait for the next question: to start one costs more than most of its answers.
//!
//! Invariant: whoever is kept owes no answer, and has nothing left of what it was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Group;

/// More are needed at once only when many checks fall due together; each waits with about 1 MiB of its own.
const KEPT_MAX: usize = 4;
/// Longer than the pace of most questions, so that a host which asks is one that keeps.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Whatever a library leaks in a child ends with it.
const ASKED_MAX: u32 = 1000;

#[derive(Clone, Debug)]
pub(super) struct Kept {
    idle: Arc<Mutex<Idle>>,
    /// How long each waits.
    span: Duration,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::new(KEPT_FOR)
    }
}

#[derive(Debug, Default)]
struct Idle {
    /// Since when each has waited; the last one is taken first, so that those that are not needed grow old.
    children: Vec<(Instant, Group)>,
    /// Somebody ends those that have grown old.
    swept: bool,
}

impl Kept {
    pub(super) fn new(span: Duration) -> Kept {
        Kept { idle: Arc::default(), span }
    }

    /// One that still lives.
    pub(super) fn take(&self) -> Option<Group> {
        loop {
            let (_, mut group) = self.idle().children.pop()?;
            let lives = group.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if lives {
                return Some(group);
            }
        }
    }

    pub(super) fn put(&self, group: Group) {
        let mut idle = self.idle();
        if group.asked >= ASKED_MAX || idle.children.len() >= KEPT_MAX {
            drop(idle);
            // Outside the lock: its end begins here.
            drop(group);
            return;
        }
        idle.children.push((Instant::now(), group));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle), self.span));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends who has waited for too long, until nobody waits, or nobody could ask any more.
async fn sweep(idle: Weak<Mutex<Idle>>, span: Duration) {
    loop {
        tokio::time::sleep(span).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = lock(&idle);
        let old: Vec<_> = idle.children.extract_if(.., |(since, _)| since.elapsed() >= span).collect();
        idle.swept = !idle.children.is_empty();
        let done = !idle.swept;
        drop(idle);
        drop(old);
        if done {
            return;
        }
    }
}
