//! One link to systemd for all who ask, rebuilt for as long as it takes when the bus goes away.

use std::sync::Arc;
use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::engine::{Event, Hint};
use hostward_host::systemd::{BusEvent, Systemd};
use tokio::sync::{mpsc, watch};

/// A bus that comes back does so within seconds; a quicker retry only burns CPU.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// How long a question waits for the link: the first connect takes about 5 ms.
const LINK_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) struct Bus {
    link: watch::Receiver<Option<Arc<Systemd>>>,
}

impl Bus {
    /// Connects in the background, and again after each loss. Hints go to `events`.
    pub(crate) fn start(events: mpsc::Sender<Event>) -> Bus {
        let (set, link) = watch::channel(None);
        tokio::spawn(async move {
            let mut backoff = BACKOFF_MIN;
            while !set.is_closed() {
                if let Ok((systemd, hints)) = Systemd::connect().await {
                    backoff = BACKOFF_MIN;
                    set.send_replace(Some(Arc::new(systemd)));
                    // What happened while we were away is unknown: look at everything.
                    let told = events.send(Event::Hint(Hint::Units)).await;
                    if told.is_err() || !forward(hints, &events).await {
                        return;
                    }
                    set.send_replace(None);
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        });
        Bus { link }
    }

    /// The link, once there is one.
    pub(crate) async fn link(&self) -> Result<Arc<Systemd>, Fault> {
        let mut link = self.link.clone();
        let away = || Fault::BusAway("no connection to the system bus".into());
        let found = tokio::time::timeout(LINK_WAIT, link.wait_for(Option::is_some)).await;
        let link = found.map_err(|_| away())?.map_err(|_| away())?;
        link.clone().ok_or_else(away)
    }
}

/// Until the link is gone. False: nobody listens any more.
async fn forward(mut hints: mpsc::Receiver<BusEvent>, events: &mpsc::Sender<Event>) -> bool {
    while let Some(hint) = hints.recv().await {
        let event = match hint {
            BusEvent::Hint(unit) => Event::Hint(Hint::Unit(unit)),
            BusEvent::Resync(_) => Event::Hint(Hint::Units),
            BusEvent::Gone(_) => break,
        };
        if events.send(event).await.is_err() {
            return false;
        }
    }
    true
}
