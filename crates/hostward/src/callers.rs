//! Places at the control socket, by user: whoever fills his own keeps nobody else out, and root least of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) const ROOT: u32 = 0;
/// Root's own places. Timers that fire together have more callers than these: root waits for one, and others do not.
const ROOT_MAX: usize = 16;
/// A caller is a process of root's; who has these many waiting has an error in a unit.
const ROOT_WAITING_MAX: usize = 256;
/// All others together, and each of them.
const OTHERS_MAX: usize = 24;
const USER_MAX: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Callers {
    /// How many connections each user has.
    users: Arc<Mutex<BTreeMap<u32, usize>>>,
    root: Arc<Semaphore>,
}

impl Default for Callers {
    fn default() -> Callers {
        Callers { users: Arc::default(), root: Arc::new(Semaphore::new(ROOT_MAX)) }
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _counted: Counted,
    _roots: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Counted {
    uid: u32,
    users: Arc<Mutex<BTreeMap<u32, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = lock(&self.users);
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

impl Callers {
    /// A place, which root may have to wait for; or why there is none.
    pub(crate) fn admit(&self, uid: u32) -> Result<impl Future<Output = Place> + Send + 'static, String> {
        let mut users = lock(&self.users);
        let own = users.get(&uid).copied().unwrap_or(0);
        let others: usize = users.iter().filter(|(user, _)| **user != ROOT).map(|(_, count)| count).sum();
        let full = match uid {
            ROOT if own >= ROOT_WAITING_MAX => Some(format!("root has {own} callers here")),
            ROOT => None,
            _ if own >= USER_MAX => Some(format!("user {uid} has {own} callers here, and may have no more")),
            _ if others >= OTHERS_MAX => Some(format!("{others} callers are here, and root's places are root's")),
            _ => None,
        };
        if let Some(why) = full {
            return Err(format!("{why}: try again when they have gone"));
        }
        *users.entry(uid).or_default() += 1;
        let counted = Counted { uid, users: Arc::clone(&self.users) };
        let root = (uid == ROOT).then(|| Arc::clone(&self.root));
        Ok(async move {
            let permit = match root {
                // Never closed; if it were, a caller more would be the least harm.
                Some(root) => root.acquire_owned().await.ok(),
                None => None,
            };
            Place { _counted: counted, _roots: permit }
        })
    }
}

fn lock(users: &Mutex<BTreeMap<u32, usize>>) -> MutexGuard<'_, BTreeMap<u32, usize>> {
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(callers: &Callers, uid: u32) -> Vec<Place> {
        let mut places = Vec::new();
        while let Ok(place) = callers.admit(uid) {
            places.push(place.await);
        }
        places
    }

    #[tokio::test]
    async fn whoever_fills_his_places_keeps_nobody_else_out() {
        let callers = Callers::default();
        let first = fill(&callers, 1000).await;
        assert_eq!(first.len(), USER_MAX);
        let second = fill(&callers, 1001).await;
        assert_eq!(second.len(), USER_MAX);
        drop(first);
        assert_eq!(fill(&callers, 1000).await.len(), USER_MAX, "places are given back");
    }

    #[tokio::test]
    async fn all_others_together_leave_roots_places_alone() {
        let callers = Callers::default();
        let mut others = Vec::new();
        for uid in 1000..1050 {
            others.extend(fill(&callers, uid).await);
        }
        assert_eq!(others.len(), OTHERS_MAX);
        let mut roots = Vec::new();
        for _ in 0..ROOT_MAX {
            roots.push(callers.admit(ROOT).unwrap().await);
        }
        let waiting = tokio::spawn(callers.admit(ROOT).unwrap());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        roots.pop();
        waiting.await.unwrap();
    }

    #[test]
    fn one_that_gave_up_waiting_leaves_no_trace() {
        let callers = Callers::default();
        drop(callers.admit(ROOT).unwrap());
        drop(callers.admit(1000).unwrap());
        assert!(lock(&callers.users).is_empty());
    }

    #[test]
    fn roots_queue_is_bounded_too() {
        let callers = Callers::default();
        let waiting: Vec<_> = std::iter::from_fn(|| callers.admit(ROOT).ok()).take(1000).collect();
        assert_eq!(waiting.len(), ROOT_WAITING_MAX);
    }
}
