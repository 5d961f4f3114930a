//! The exports' outer side: the HTTP listener and the textfile, each of which may fail without anything else failing.

use std::path::{Path, PathBuf};
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
/// No disk is that slow: a write that takes longer hangs.
const WRITE_MAX: Duration = Duration::from_mins(1);
/// The daemon's end waits no longer for the textfile.
const FINISH_MAX: Duration = Duration::from_secs(2);
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
    textfile_error: Option<String>,
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
            // One that hangs at the old place must not keep the new one from being written.
            self.writing = None;
        }
        self.config = config;
    }

    pub(crate) fn textfile(&self) -> Option<&Path> {
        self.config.textfile.as_deref()
    }

    /// Why the textfile is not, or not any more, what it should be.
    pub(crate) fn textfile_problem(&self) -> Option<String> {
        let path: &PathBuf = self.config.textfile.as_ref()?;
        let under_way = self.writing.as_ref().is_some_and(|task| !task.is_finished());
        match self.wrote.map(|wrote| wrote.elapsed()) {
            Some(since) if under_way && since >= WRITE_MAX => Some(format!(
                "metrics.textfile: {}: a write hangs since {}s: its file system does not answer; unmount it or choose \
                 another place",
                path.display(),
                since.as_secs()
            )),
            _ => self.textfile_error.clone(),
        }
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
        self.begin(move || store::replace(&path, text.as_bytes(), 0o644));
    }

    fn begin(&mut self, write: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
        self.writing = Some(tokio::task::spawn_blocking(write));
    }

    /// The last write before the end, waited for as long as one that works takes; also for the one before it.
    pub(crate) async fn finish(mut self, seq: u64, text: String) {
        if self.config.textfile.is_none() {
            return;
        }
        let last = async {
            self.write(seq, text).await;
            if let Some(done) = self.writing.take() {
                let _ = done.await;
            }
        };
        // Nobody is left to tell; the file's age tells the alert.
        let _ = tokio::time::timeout(FINISH_MAX, last).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn exports(textfile: PathBuf) -> Exports {
        let config = Export { textfile: Some(textfile), ..Export::default() };
        Exports::new(config, mpsc::channel(1).0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_is_said_after_a_minute_and_a_new_place_is_written_all_the_same() {
        let mut exports = exports("/a.prom".into());
        let (end, hang) = std::sync::mpsc::channel::<()>();
        exports.wrote = Some(Instant::now());
        exports.begin(move || Ok(hang.recv()?));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(exports.textfile_problem(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let problem = exports.textfile_problem().unwrap();
        assert!(problem.contains("/a.prom") && problem.contains("60s"), "{problem}");
        assert!(!exports.due(1), "not one thread more hangs there");
        exports.configure(Export { textfile: Some("/b.prom".into()), ..Export::default() });
        assert_eq!((exports.textfile_problem(), exports.due(1)), (None, true));
        end.send(()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_does_not_keep_the_daemon_from_its_end() {
        let mut exports = exports("/a.prom".into());
        let (end, hang) = std::sync::mpsc::channel::<()>();
        exports.begin(move || Ok(hang.recv()?));
        // Without the limit this waits for what is sent below it.
        // A blocking thread keeps the paused clock from running on by itself.
        tokio::join!(exports.finish(1, String::new()), tokio::time::advance(FINISH_MAX));
        end.send(()).unwrap();
    }

    #[test]
    fn what_was_planted_in_the_place_of_the_half_written_file_neither_hangs_nor_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (file, beside) = (at("hostward.prom"), at(".hostward.prom.new"));
        fs::write(at("victim"), "whole").unwrap();
        let planted: [&dyn Fn(); 4] = [
            // With O_CREAT alone the open of a FIFO waits for a reader: then this test does not end.
            &|| mknodat(CWD, &beside, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
            &|| std::os::unix::fs::symlink(at("victim"), &beside).unwrap(),
            &|| fs::hard_link(at("victim"), &beside).unwrap(),
            &|| fs::write(&beside, "what an earlier write left").unwrap(),
        ];
        for (n, plant) in planted.into_iter().enumerate() {
            plant();
            store::replace(&file, n.to_string().as_bytes(), 0o644).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), n.to_string());
            assert!(fs::symlink_metadata(&file).unwrap().is_file() && !beside.exists());
            assert_eq!(fs::read_to_string(at("victim")).unwrap(), "whole");
        }
        fs::create_dir(&beside).unwrap();
        assert!(store::replace(&file, b"5", 0o644).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "3", "what was there stays whole");
    }
}
