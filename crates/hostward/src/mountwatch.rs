//! Mounts wake us when they come or go: the kernel makes mountinfo readable as an exception (proc_pid_mountinfo(5)). Only a
//! hint: a FUSE server that dies changes no mount, and what is lost is found at the next interval.

use std::fs::File;
use std::time::Duration;

use hostward_core::engine::{Event, Hint};
use hostward_host::mounts::OF_PID_1;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// A start of a hundred containers is one reason to look.
const CALM: Duration = Duration::from_secs(1);

/// The error says why there will be no hints.
pub(crate) fn start(events: mpsc::Sender<Event>) -> std::io::Result<()> {
    #[expect(deprecated, reason = "its replacement is unsafe, and a file of ours alone is all that it could ask for")]
    let mountinfo = AsyncFd::with_interest(File::open(OF_PID_1)?, Interest::PRIORITY)?;
    tokio::spawn(async move {
        while let Ok(mut ready) = mountinfo.ready(Interest::PRIORITY).await {
            ready.clear_ready();
            if events.send(Event::Hint(Hint::Mounts)).await.is_err() {
                return;
            }
            tokio::time::sleep(CALM).await;
        }
    });
    Ok(())
}
