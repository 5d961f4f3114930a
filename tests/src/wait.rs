//! Waiting for a condition by looking, never by a fixed sleep.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::Sandbox;

/// Between two looks: short beside every deadline, long beside the 20 ms that a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(25);

impl Sandbox {
    /// Looks until `look` finds something, and returns it. At the deadline, or when a look fails, the error says `what` was
    /// awaited, and the last lines of the journal are printed.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            match look() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) if started.elapsed() < deadline => std::thread::sleep(LOOK_EVERY),
                Ok(None) => return Err(self.give_up(anyhow!("waited {deadline:?} for {what}"))),
                Err(error) => return Err(self.give_up(error.context(format!("look for {what}")))),
            }
        }
    }

    /// The same for a yes or no. Returns how long it took.
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let started = Instant::now();
        self.wait_for(what, deadline, || Ok(look()?.then(|| started.elapsed())))
    }

    /// Asserts that something never happens while `span` passes.
    pub fn never(&self, what: &str, span: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < span {
            if look()? {
                return Err(
                    self.give_up(anyhow!("{what}, {:?} into {span:?} in which it never must", started.elapsed()))
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn give_up(&self, error: anyhow::Error) -> anyhow::Error {
        eprintln!("journal of sandbox '{}':\n{}", self.name(), self.journal_tail());
        error
    }
}
