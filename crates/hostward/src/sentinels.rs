//! Sentinels wake us when they come or go. Only a hint: each is looked up afresh before every forward step, so a lost
//! inotify costs seconds, never a wrong act.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;

use futures_core::Stream;
use hostward_core::engine::{Event, Hint};
use hostward_core::policy::Policy;
use inotify::{Inotify, WatchMask};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Watches the directories of every sentinel of a policy.
#[derive(Debug)]
pub(crate) struct Sentinels(JoinHandle<()>);

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sentinels {
    /// The error says why there is none: the limit of inotify instances, most often (128 a user).
    pub(crate) fn watch(policy: &Policy, events: mpsc::Sender<Event>) -> std::io::Result<Sentinels> {
        let inotify = Inotify::init()?;
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        for directory in directories(policy) {
            // A directory that does not exist cannot hold a sentinel; when it comes, the gate's own pace finds it.
            let _ = inotify.watches().add(&directory, mask);
        }
        let mut changes = inotify.into_event_stream([0; 4096])?;
        let task = tokio::spawn(async move {
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut changes).poll_next(cx)).await {
                if events.send(Event::Hint(Hint::Gates)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Sentinels(task))
    }
}

fn directories(policy: &Policy) -> BTreeSet<PathBuf> {
    let gates = policy.watches.values().flat_map(|watch| policy.gate(watch).sentinels);
    gates.chain([policy.host.sentinel.clone()]).filter_map(|path| path.parent().map(PathBuf::from)).collect()
}
