//! Evidence is saved beside the loop: at most one write is under way, and the next one writes what is newest then.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

/// What is lost with a kill -9 is confirmed anew.
const SAVE_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Saver {
    under_way: Option<oneshot::Receiver<Result<()>>>,
    begun: Instant,
    error: Option<String>,
}

impl Saver {
    pub(super) fn new() -> Saver {
        Saver { under_way: None, begun: Instant::now(), error: None }
    }

    /// It is time, and none is under way: one that hangs costs one thread, not one a minute.
    pub(super) fn due(&mut self) -> bool {
        self.settle();
        self.under_way.is_none() && self.begun.elapsed() >= SAVE_EVERY
    }

    pub(super) fn begin(&mut self, save: impl FnOnce() -> Result<()> + Send + 'static) {
        self.begun = Instant::now();
        let (say, how) = oneshot::channel();
        tokio::task::spawn_blocking(move || say.send(save()));
        self.under_way = Some(how);
    }

    /// Why the evidence on disk is old.
    pub(super) fn problem(&self) -> Option<String> {
        let since = self.begun.elapsed();
        if self.under_way.is_some() && since >= SAVE_EVERY {
            return Some(format!(
                "the evidence: a write hangs since {}s; after a crash it is made anew",
                since.as_secs()
            ));
        }
        self.error.clone()
    }

    fn settle(&mut self) {
        let Some(how) = &mut self.under_way else { return };
        self.error = match how.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the evidence could not be kept: {error:#}")),
            Err(TryRecvError::Closed) => Some("the evidence could not be kept: its thread ended".to_owned()),
        };
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_write_at_most_is_under_way_and_how_it_ended_is_said() {
        let mut saver = Saver::new();
        assert!(!saver.due(), "not at the start");
        tokio::time::advance(SAVE_EVERY).await;
        assert!(saver.due());
        let (end, hang) = mpsc::channel::<()>();
        let (ended, told) = mpsc::channel::<()>();
        saver.begin(move || {
            let _told = ended;
            hang.recv()?;
            anyhow::bail!("no space")
        });
        tokio::time::advance(SAVE_EVERY * 10).await;
        assert!(!saver.due(), "a second one beside one that hangs");
        assert!(saver.problem().unwrap().contains("hangs since 600s"));
        end.send(()).unwrap();
        // Its thread drops this when it is through.
        assert!(told.recv().is_err());
        while !saver.due() {
            tokio::task::yield_now().await;
        }
        assert!(saver.problem().unwrap().contains("no space"));
    }
}
