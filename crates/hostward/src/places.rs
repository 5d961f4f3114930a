//! How many probes of one kind are under way at once. Hundreds of watches are due in the same moment after a start.
//!
//! Invariant: what does not answer never keeps what does from being asked. A probe that came to its deadline the last
//! time waits for a place among its like, so all that hangs together costs the others one deadline, once. Time spent
//! waiting for a place is not the probe's: its deadline begins when it has one.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostward_core::ask::{Answer, AskKey, Fault};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Beyond its deadline, for what a probe waits on itself: a link to the bus, a child's end.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Places {
    prompt: Semaphore,
    late: Semaphore,
    /// Those that came to their deadline the last time.
    latecomers: Mutex<BTreeSet<AskKey>>,
}

impl Places {
    pub(crate) fn new(prompt: usize, late: usize) -> Places {
        Places { prompt: Semaphore::new(prompt), late: Semaphore::new(late), latecomers: Mutex::default() }
    }

    /// Probes when there is a place. Also how long that took, without the wait for the place.
    pub(crate) async fn ask(
        &self,
        key: &AskKey,
        deadline: Duration,
        probe: impl Future<Output = Answer>,
    ) -> (Answer, Duration) {
        let places = if self.latecomers().contains(key) { &self.late } else { &self.prompt };
        // Never closed; if it were, a probe more would be the least harm.
        let _place = places.acquire().await.ok();
        let begun = Instant::now();
        let answer = tokio::time::timeout(deadline + PATIENCE, probe).await.unwrap_or(Err(Fault::Timeout));
        let took = begun.elapsed();
        let late = took >= deadline || answer == Err(Fault::Timeout);
        match key {
            // A run has few, and they go with it.
            AskKey::Proof(..) => {}
            _ if late => drop(self.latecomers().insert(key.clone())),
            _ => drop(self.latecomers().remove(key)),
        }
        (answer, took)
    }

    /// Another policy is in force: what it does not declare must not be remembered for ever.
    pub(crate) fn forget(&self) {
        self.latecomers().clear();
    }

    fn latecomers(&self) -> MutexGuard<'_, BTreeSet<AskKey>> {
        self.latecomers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hostward_core::ask::{HttpReading, Reading};
    use hostward_core::id::WatchId;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn key(n: usize) -> AskKey {
        AskKey::Probe(WatchId::new(format!("service.s{n}").as_str()), 0)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands for a probe")]
    fn answer() -> Answer {
        Ok(Reading::Http(HttpReading::Silent("refused".into())))
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_delays_the_others_once_and_then_never() {
        let places = Arc::new(Places::new(4, 4));
        for round in 0..3 {
            let hung: Vec<_> = (0..32)
                .map(|n| {
                    let places = Arc::clone(&places);
                    tokio::spawn(async move { places.ask(&key(n), DEADLINE, pending()).await })
                })
                .collect();
            tokio::task::yield_now().await;
            let asked = Instant::now();
            let (said, took) = places.ask(&key(33), DEADLINE, async { answer() }).await;
            assert_eq!((said, took), (answer(), Duration::ZERO));
            if round > 0 {
                assert_eq!(asked.elapsed(), Duration::ZERO, "32 black holes delay the 33rd");
            }
            for one in hung {
                assert_eq!(one.await.unwrap().0, Err(Fault::Timeout), "each was asked in its turn");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_asked_than_there_are_places_and_waiting_is_not_the_probes_time() {
        let places = Arc::new(Places::new(4, 1));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let probes: Vec<_> = (0..40)
            .map(|n| {
                let (places, now, most) = (Arc::clone(&places), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let probe = async {
                        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                        tokio::time::sleep(DEADLINE / 2).await;
                        now.fetch_sub(1, Ordering::Relaxed);
                        answer()
                    };
                    places.ask(&key(n), DEADLINE, probe).await
                })
            })
            .collect();
        for probe in probes {
            assert_eq!(probe.await.unwrap(), (answer(), DEADLINE / 2), "the tenth in the queue waits for 45 s");
        }
        assert_eq!(most.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_again_is_prompt_again() {
        let places = Places::new(1, 1);
        assert_eq!(places.ask(&key(1), DEADLINE, pending()).await.0, Err(Fault::Timeout));
        assert!(places.latecomers().contains(&key(1)));
        assert_eq!(places.ask(&key(1), DEADLINE, async { answer() }).await.0, answer());
        assert!(places.latecomers().is_empty());
    }
}
