//! Reload: the configuration is read, and kept for a bad day, beside the loop. The loop only takes over what came of it.

use std::future::pending;
use std::sync::Arc;

use hostward_config::Export;
use hostward_core::engine::Event;
use hostward_core::policy::Policy;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Daemon;
use crate::control::Response;
use crate::journal::Level;
use crate::store::{self, LastGood, Paths};

/// Who hears how it went; a SIGHUP hears nothing.
type Waiting = Vec<oneshot::Sender<Response>>;

/// What reading the configuration came to.
pub(super) enum Read {
    Good {
        policy: Box<Policy>,
        export: Export,
        /// It could not be kept for a bad day.
        unkept: Option<String>,
    },
    Refused {
        errors: String,
    },
}

/// At most one reading is under way, and at most one is to follow it: whoever asks in the meantime may have changed the
/// configuration after it was read.
pub(super) struct Reloads {
    paths: Paths,
    under_way: Option<JoinHandle<Read>>,
    waiting: Waiting,
    next: Option<Waiting>,
}

impl Reloads {
    pub(super) fn new(paths: Paths) -> Reloads {
        Reloads { paths, under_way: None, waiting: Vec::new(), next: None }
    }

    fn ask(&mut self, respond: Option<oneshot::Sender<Response>>) {
        if self.under_way.is_some() {
            self.next.get_or_insert_default().extend(respond);
        } else {
            self.begin(respond.into_iter().collect());
        }
    }

    fn begin(&mut self, waiting: Waiting) {
        let paths = self.paths.clone();
        self.waiting = waiting;
        self.under_way = Some(tokio::task::spawn_blocking(move || read(&paths)));
    }

    /// Cancel-safe: nothing is taken before it is returned.
    pub(super) async fn done(&mut self) -> (Read, Waiting) {
        let Some(task) = &mut self.under_way else { return pending().await };
        let read = task.await.unwrap_or_else(|e| Read::Refused { errors: format!("read the configuration: {e}") });
        self.under_way = None;
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(next) = self.next.take() {
            self.begin(next);
        }
        (read, waiting)
    }
}

fn read(paths: &Paths) -> Read {
    match store::load_config(&paths.config) {
        Ok(loaded) => {
            let good = LastGood { policy: loaded.policy, export: loaded.export };
            let unkept = store::save_last_good(paths, &good).err().map(|e| format!("{e:#}"));
            Read::Good { policy: Box::new(good.policy), export: good.export, unkept }
        }
        Err(error) => Read::Refused { errors: error.render(false) },
    }
}

impl Daemon {
    pub(super) fn reload(&mut self, respond: Option<oneshot::Sender<Response>>) {
        let _ = sd_notify::notify(&[NotifyState::Status("reloading")]);
        self.reloads.ask(respond);
    }

    /// A configuration that does not load never replaces one that did.
    pub(super) fn adopt(&mut self, read: Read, waiting: Waiting, events: &mpsc::Sender<Event>) {
        let response = match read {
            Read::Good { policy, export, unkept } => {
                let watches = policy.watches.len();
                if let Some(why) = unkept {
                    self.journal.say(Level::Warning, &why);
                }
                let policy: Arc<Policy> = Arc::from(policy);
                self.actor.adopt_policy(policy.clone());
                self.notices.configure(export.notify.clone());
                self.exports.configure(export);
                self.watch_sentinels(&policy, events.clone());
                self.idle = None;
                self.drive.edge.eyes.forget();
                self.turn(Event::Policy(policy));
                self.journal.say(Level::Notice, &format!("configuration loaded: {watches} watches"));
                Response::Reloaded { watches }
            }
            Read::Refused { errors } => {
                for line in errors.lines() {
                    self.journal.say(Level::Error, &format!("configuration: {line}"));
                }
                self.journal.say(Level::Error, "configuration refused; the one in force stays");
                self.turn(Event::Rejected(errors.as_str().into()));
                Response::Rejected { errors }
            }
        };
        self.say_ready();
        for respond in waiting {
            // A caller that went away reads it in the journal.
            let _ = respond.send(response.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(dir: &tempfile::TempDir) -> Paths {
        let at = |name: &str| dir.path().join(name);
        Paths { config: at("etc"), state: at("state"), run: at("run") }
    }

    #[tokio::test]
    async fn what_is_asked_while_one_is_under_way_is_read_after_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut reloads = Reloads::new(paths(&dir));
        let (end, hang) = std::sync::mpsc::channel::<()>();
        let first = move || {
            let _ = hang.recv();
            Read::Refused { errors: "the first".into() }
        };
        reloads.under_way = Some(tokio::task::spawn_blocking(first));
        for _ in 0..3 {
            reloads.ask(Some(oneshot::channel().0));
        }
        reloads.ask(None);
        end.send(()).unwrap();
        let (first, waiting) = reloads.done().await;
        assert!(matches!(first, Read::Refused { errors } if errors == "the first"));
        assert!(waiting.is_empty(), "nobody waits for what was read before he asked");
        let (second, waiting) = reloads.done().await;
        assert!(matches!(second, Read::Refused { .. }), "there is no configuration");
        assert_eq!(waiting.len(), 3);
        assert!(reloads.under_way.is_none() && reloads.next.is_none(), "one reading for all of them");
    }

    #[test]
    fn what_loads_is_kept_for_a_bad_day_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(&dir);
        std::fs::create_dir(&paths.config).unwrap();
        std::fs::write(paths.config.join("hostward.toml"), "").unwrap();
        let Read::Good { unkept, .. } = read(&paths) else { panic!("an empty configuration loads") };
        assert!(unkept.is_some_and(|why| why.contains("last-good.json")), "there is no state directory");
        std::fs::create_dir(&paths.state).unwrap();
        assert!(matches!(read(&paths), Read::Good { unkept: None, .. }));
        assert!(store::load_last_good(&paths).is_some());
    }
}
