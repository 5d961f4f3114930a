//! The exports' outer side: the HTTP listener and the textfile, each of which may fail without anything else failing.

use std::path::Path;
use std::time::Duration;

use hostward_config::Export;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::serve::{self, Scrape};
use crate::store;

/// The textfile is fresh at least this often, whatever happens or does not.
pub(crate) const FRESH: Duration = Duration::from_secs(15);
/// A burst of events writes it once.
const AT_MOST: Duration = Duration::from_secs(1);
/// A port that was taken is tried again.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Exports {
    config: Export,
    scrapes: mpsc::Sender<Scrape>,
    listener: Option<JoinHandle<()>>,
    listened: Option<Instant>,
    /// At most one write under way: a stuck disk costs one thread, not one a second.
    writing: Option<JoinHandle<anyhow::Result<()>>>,
    wrote: Option<Instant>,
    wrote_seq: u64,
    pub(crate) textfile_error: Option<String>,
    pub(crate) listen_error: Option<String>,
}

impl Exports {
    pub(crate) fn new(config: Export, scrapes: mpsc::Sender<Scrape>) -> Exports {
        Exports {
            config,
            scrapes,
            listener: None,
            listened: None,
            writing: None,
            wrote: None,
            wrote_seq: 0,
            textfile_error: None,
            listen_error: None,
        }
    }

    pub(crate) fn configure(&mut self, config: Export) {
        if config.listen != self.config.listen {
            self.listener.take().inspect(JoinHandle::abort);
            self.listened = None;
            self.listen_error = None;
        }
        if config.textfile != self.config.textfile {
            self.textfile_error = None;
            self.wrote = None;
        }
        self.config = config;
    }

    pub(crate) fn textfile(&self) -> Option<&Path> {
        self.config.textfile.as_deref()
    }

    /// Listens, or says why not and tries again later.
    pub(crate) async fn listen(&mut self) {
        let Some(at) = self.config.listen else { return };
        let waiting = self.listened.is_some_and(|tried| tried.elapsed() < RETRY);
        if self.listener.as_ref().is_some_and(|task| !task.is_finished()) || waiting {
            return;
        }
        self.listened = Some(Instant::now());
        match serve::listen(at, self.scrapes.clone()).await {
            Ok(task) => {
                self.listener = Some(task);
                self.listen_error = None;
            }
            Err(error) => {
                let error = format!(
                    "metrics.listen = {at}: {error}; free the port or choose another, it is tried again every {}s",
                    RETRY.as_secs()
                );
                self.listen_error = Some(error);
            }
        }
    }

    /// The textfile should be written now.
    pub(crate) fn due(&self, seq: u64) -> bool {
        let age = self.wrote.map(|wrote| wrote.elapsed());
        self.config.textfile.is_some()
            && self.writing.as_ref().is_none_or(JoinHandle::is_finished)
            && age.is_none_or(|age| age >= FRESH || seq != self.wrote_seq && age >= AT_MOST)
    }

    /// Writes it beside the loop; how that went is known at the next write.
    pub(crate) async fn write(&mut self, seq: u64, text: String) {
        if let Some(done) = self.writing.take() {
            self.textfile_error = match done.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    Some(format!("metrics.textfile: {error:#}; create the directory or make it writable"))
                }
                Err(error) => Some(format!("metrics.textfile: {error}")),
            };
        }
        let Some(path) = self.config.textfile.clone() else { return };
        self.wrote = Some(Instant::now());
        self.wrote_seq = seq;
        // World-readable: the collector runs as a user of its own.
        self.writing = Some(tokio::task::spawn_blocking(move || store::replace(&path, text.as_bytes(), 0o644)));
    }

    /// The last write before the end, waited for.
    pub(crate) async fn finish(mut self, seq: u64, text: String) {
        if self.config.textfile.is_none() {
            return;
        }
        self.write(seq, text).await;
        if let Some(done) = self.writing.take() {
            // Nobody is left to tell; the file's age tells the alert.
            let _ = tokio::time::timeout(Duration::from_secs(2), done).await;
        }
    }
}
