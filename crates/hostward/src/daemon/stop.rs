//! The end in good order, within ten seconds whatever hangs: systemd's SIGKILL after TimeoutStopSec= is for bugs.

use std::time::Duration;

use anyhow::Result;
use hostward_host::ledger::Writer;
use sd_notify::NotifyState;

use super::{Daemon, teller};
use crate::exit::Exit;
use crate::journal::Level;
use crate::status::Health;
use crate::{metrics, store};

/// The ledger comes first, and has the most: fdatasync took 50 ms at p99 under writers.
const LEDGER_MAX: Duration = Duration::from_secs(5);
/// For each of the evidence and the textfile, side by side.
const REST_MAX: Duration = Duration::from_secs(2);

impl Daemon {
    pub(super) async fn stop(self) -> Result<Exit> {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        let Daemon { drive, mut journal, mut words, paths, exports, notices, .. } = self;
        let ledger_not_rotated = drive.ledger_problem().is_some();
        let health = Health { log_lines_dropped: journal.dropped(), ledger_not_rotated, ..Health::default() };
        let text = metrics::text(&drive.view(), &health, drive.durations()).unwrap_or_default();
        let (seq, memory, now) = (drive.seq(), drive.memory(), drive.now());
        let ledger = drive.end(&mut teller(&mut journal, &mut words));
        // Only our own socket, and nobody minds when it is gone already. It is in /run, which is memory.
        let _ = std::fs::remove_file(paths.control());
        let exit = close(ledger, Writer::close, &journal).await;
        let save = move || store::save_memory(&paths, &memory);
        let saved = within(REST_MAX, save);
        let (saved, (), ()) = tokio::join!(saved, exports.finish(seq, text), notices.finish(now, &journal));
        match saved {
            Some(Ok(())) => {}
            Some(Err(error)) => journal.say(Level::Warning, &format!("the evidence could not be kept: {error:#}")),
            None => journal.say(Level::Warning, "the evidence could not be kept: its write hangs"),
        }
        Ok(exit)
    }
}

/// Ends the ledger. What is not on the disk then is said; that is all that can be done about it.
async fn close<L: Send + 'static>(
    ledger: Option<L>,
    close: impl FnOnce(L) -> usize + Send + 'static,
    journal: &crate::journal::Journal,
) -> Exit {
    let Some(ledger) = ledger else { return Exit::Ok };
    match within(LEDGER_MAX, move || close(ledger)).await {
        Some(0) => return Exit::Ok,
        Some(unwritten) => {
            journal.say(Level::Error, &format!("{unwritten} records could not be written to the ledger"));
        }
        None => journal.say(Level::Error, "the last records could not be written to the ledger: its write hangs"),
    }
    Exit::Failed
}

/// On a thread; none: it took longer, or came to no end.
async fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::journal::Journal;

    #[tokio::test(start_paused = true)]
    async fn a_ledger_whose_write_hangs_does_not_keep_the_daemon() {
        let journal = Journal::start().unwrap();
        let (end, hang) = std::sync::mpsc::channel::<()>();
        let begun = Instant::now();
        let stuck = move |()| hang.recv().map_or(0, |()| 0);
        // A blocking thread keeps the paused clock from running on by itself.
        let clock = async {
            for _ in 0..10 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        let (exit, ()) = tokio::join!(close(Some(()), stuck, &journal), clock);
        assert_eq!(exit, Exit::Failed);
        assert!(begun.elapsed() <= Duration::from_secs(10));
        end.send(()).unwrap();
        assert_eq!(close(Some(3), |unwritten| unwritten, &journal).await, Exit::Failed);
        assert_eq!(close(Some(0), |unwritten| unwritten, &journal).await, Exit::Ok);
        assert_eq!(close(None::<usize>, |unwritten| unwritten, &journal).await, Exit::Ok);
    }
}
