//! Blocking looks on threads: one a key at a time, a few at once, and each keeps its place until it really ends.
//!
//! A look that hangs, at a resolver without servers or at a dead file system, cannot be cancelled: whoever waits for it
//! gives up, and its thread does not come back. Were its place given up as well, each further look would cost one more of
//! the process's few threads, until the ledger and a reload have none. Rules: dependencies.md, "DNS"; core.md (bounds).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use hostward_core::ask::Fault;

/// Looks under way, by what they look at.
pub(crate) struct Flights<K: Ord, V> {
    places: Arc<Semaphore>,
    under_way: UnderWay<K, V>,
}

impl<K, V> Flights<K, V>
where
    K: Ord + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(places: usize) -> Flights<K, V> {
        Flights { places: Arc::new(Semaphore::new(places)), under_way: UnderWay::default() }
    }

    /// What `look` says of `key`, or what the one says that is under way. There is no deadline here: set one outside.
    ///
    /// Cancel-safe: dropped, the look goes on, and is there for whoever asks next. Those that wait for a place are no
    /// more than there are keys.
    pub(crate) async fn ask(&self, key: &K, look: impl FnOnce() -> V + Send + 'static) -> Result<V, Fault> {
        let lost = || Fault::Probe("a thread ended without an answer".into());
        let mut answer = self.join(key, look);
        let answer = answer.wait_for(Option::is_some).await.map_err(|_| lost())?;
        answer.clone().ok_or_else(lost)
    }

    fn join(&self, key: &K, look: impl FnOnce() -> V + Send + 'static) -> watch::Receiver<Option<V>> {
        let mut under_way = self.under_way.lock();
        if let Some(answer) = under_way.get(key) {
            return answer.clone();
        }
        let (say, answer) = watch::channel(None);
        under_way.insert(key.clone(), answer.clone());
        drop(under_way);
        let entry = Entry { key: key.clone(), under_way: self.under_way.clone() };
        let places = Arc::clone(&self.places);
        tokio::spawn(async move {
            // They are never closed.
            let Ok(place) = places.acquire_owned().await else { return };
            let looked = tokio::task::spawn_blocking(move || {
                let _until_it_ends = place;
                look()
            });
            if let Ok(value) = looked.await {
                say.send_replace(Some(value));
            }
            // After the answer: whoever comes in between takes it, and begins no second look.
            drop(entry);
        });
        answer
    }
}

impl<K: Ord, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its keys may be secrets' names, its values secrets.
        write!(f, "{} looks under way", self.under_way.lock().len())
    }
}

/// The answers that are awaited.
struct UnderWay<K, V>(Arc<Mutex<Answers<K, V>>>);

type Answers<K, V> = BTreeMap<K, watch::Receiver<Option<V>>>;

impl<K, V> UnderWay<K, V> {
    fn lock(&self) -> MutexGuard<'_, Answers<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Clone for UnderWay<K, V> {
    fn clone(&self) -> Self {
        UnderWay(Arc::clone(&self.0))
    }
}

impl<K, V> Default for UnderWay<K, V> {
    fn default() -> Self {
        UnderWay(Arc::default())
    }
}

/// One of them, gone with the task that would have answered, however that ends.
struct Entry<K: Ord, V> {
    key: K,
    under_way: UnderWay<K, V>,
}

impl<K: Ord, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SOON: Duration = Duration::from_millis(20);

    /// Looks that hang until this is dropped, and how many threads were entered.
    #[derive(Clone)]
    pub(crate) struct Hang {
        pub(crate) begun: Arc<AtomicUsize>,
        until: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl Hang {
        pub(crate) fn new() -> (Hang, mpsc::Sender<()>) {
            let (release, until) = mpsc::channel();
            (Hang { begun: Arc::default(), until: Arc::new(Mutex::new(until)) }, release)
        }

        pub(crate) fn look(&self) {
            self.begun.fetch_add(1, Ordering::SeqCst);
            // Its other end is dropped, never used: all are released at once.
            let _ = self.until.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }

        pub(crate) fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn what_hangs_keeps_its_place_and_one_thread_however_often_it_is_asked_for() {
        let flights: Flights<u8, u8> = Flights::new(2);
        let (hang, release) = Hang::new();
        let ask = async |key: u8| {
            let hang = hang.clone();
            let look = move || {
                hang.look();
                key
            };
            tokio::time::timeout(SOON, flights.ask(&key, look)).await
        };
        for _ in 0..10 {
            for key in 0..4 {
                assert!(ask(key).await.is_err(), "it hangs, or waits for one that does");
            }
        }
        assert_eq!(hang.begun(), 2, "threads");
        assert_eq!(flights.under_way.lock().len(), 4, "each waits once");
        drop(release);
        for key in 0..4 {
            let answer = tokio::time::timeout(LONG, flights.ask(&key, move || key)).await;
            assert_eq!(answer.expect("it is released"), Ok(key));
        }
        assert!(hang.begun() <= 4);
    }

    #[tokio::test]
    async fn who_asks_meanwhile_gets_the_same_answer_and_who_asks_later_a_new_one() {
        let flights: Flights<u8, usize> = Flights::new(2);
        let looks = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let looks = Arc::clone(&looks);
            flights.ask(&0, move || looks.fetch_add(1, Ordering::SeqCst))
        };
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!((one, other), (Ok(0), Ok(0)));
        while !flights.under_way.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask().await, Ok(1));
    }

    #[tokio::test]
    async fn a_look_that_comes_to_nothing_is_a_fault_and_is_made_again() {
        let flights: Flights<u8, u8> = Flights::new(1);
        let lost = flights.ask(&0, || panic!("a bug")).await;
        assert!(matches!(lost, Err(Fault::Probe(_))), "{lost:?}");
        while !flights.under_way.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(flights.ask(&0, || 1).await, Ok(1));
    }
}
