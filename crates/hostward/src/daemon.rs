//! `hostward run`: the resident daemon. One thread, one loop: an event, a turn, its effects.

mod reload;
mod saver;
mod stop;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hostward_config::Export;
use hostward_core::command::{Command, Reply};
use hostward_core::engine::{Begin, Event};
use hostward_core::id::Str;
use hostward_core::ledger::{Origin, Record};
use hostward_core::policy::Policy;
use hostward_host::child::Children;
use hostward_host::ledger::{Condition, LockError, engine_lock};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::actor::Actor;
use crate::bus::Bus;
use crate::control::{self, Asked, Call, Response};
use crate::drive::Drive;
use crate::edge::{self, EVENTS_MAX, Edge, Hands};
use crate::exit::Exit;
use crate::export::Exports;
use crate::eyes::{Eyes, Files};
use crate::journal::{Journal, Level};
use crate::metrics;
use crate::mountwatch;
use crate::notify::Notices;
use crate::recorder::Recording;
use crate::sentinels::Sentinels;
use crate::status::{self, Health, Status};
use crate::store::{self, LastGood, Paths};
use crate::words::Words;
use reload::Reloads;
use saver::Saver;

/// The watchdog is fed by completed turns, and by nothing else; more often than this is only noise.
const FEED_EVERY: Duration = Duration::from_secs(5);
/// Callers and scrapers whose answers are due.
const CALLS_MAX: usize = 32;

struct Daemon {
    drive: Drive,
    journal: Journal,
    words: Words,
    paths: Paths,
    exports: Exports,
    notices: Notices,
    actor: Actor,
    sentinels: Option<Sentinels>,
    sentinel_error: Option<String>,
    /// Up without a configuration: why.
    idle: Option<String>,
    /// Orders given on behalf of callers.
    waiting: Vec<(oneshot::Receiver<Reply>, oneshot::Sender<Response>)>,
    fed: Option<Instant>,
    saver: Saver,
    reloads: Reloads,
}

/// What a configuration came to.
struct Chosen {
    policy: Policy,
    export: Export,
    rejected: Option<String>,
    idle: Option<String>,
}

pub(crate) async fn run(paths: &Paths) -> Result<Exit> {
    prepare(paths)?;
    let lock = match engine_lock(&paths.state) {
        Ok(lock) => lock,
        Err(busy @ LockError::Busy { .. }) => {
            eprintln!("hostward: {busy}; `hostward status` asks the one that runs");
            return Ok(Exit::Busy);
        }
        Err(error) => return Err(error).context("take the engine's lock"),
    };
    let mut journal = Journal::start().context("start the journal's thread")?;
    let chosen = choose(paths, &journal);
    let (tell, written) = edge::ledger_word();
    let opened = store::open_ledger(paths, &lock, tell)?;
    if let Condition::Torn(torn) = &opened.folded.condition {
        journal.say(Level::Warning, &format!("ledger: {torn}: cut off, it was never reported written"));
    }
    let (clock, boot_id) = store::clock(&opened.folded.state)?;

    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let bus = Bus::start(events.clone());
    let policy = std::sync::Arc::new(chosen.policy);
    let actor = Actor::new(bus.clone(), policy.clone(), paths.evidence());
    let program = std::env::current_exe().context("find our own program")?;
    let edge = Edge {
        events: events.clone(),
        eyes: Eyes::new(bus, Files::Child(Children::new(program))),
        hands: Some(Hands::new(actor.clone(), opened.writer)),
        replies: std::collections::BTreeMap::new(),
        recording: record(paths, chosen.export.record),
    };
    let mut words = Words::of_open(&opened.folded.state);
    let begin = Begin {
        now: clock.now(),
        boot_id,
        policy: policy.clone(),
        rejected: chosen.rejected.map(Str::from),
        memory: store::load_memory_beside(paths, &opened.folded),
        damaged: opened.folded.condition.unusable().map(Str::from),
        state: opened.folded.state,
        origin: Origin::Daemon,
    };
    let drive = Drive::begin(begin, clock, edge, inbox, written, &mut teller(&mut journal, &mut words));
    let (calls, mut asked) = mpsc::channel(CALLS_MAX);
    let (scrapes, mut wanted) = mpsc::channel(CALLS_MAX);
    control::listen(&paths.control(), calls).with_context(|| format!("listen at {}", paths.control().display()))?;
    let mut daemon = Daemon {
        drive,
        journal,
        words,
        paths: paths.clone(),
        notices: Notices::start(&paths.state, chosen.export.notify.clone()),
        exports: Exports::new(chosen.export, scrapes),
        actor,
        sentinels: None,
        sentinel_error: None,
        idle: chosen.idle,
        waiting: Vec::new(),
        fed: None,
        saver: Saver::new(),
        reloads: Reloads::new(paths.clone()),
    };
    daemon.watch_sentinels(&policy, events.clone());
    if let Err(error) = mountwatch::start(events.clone()) {
        let line = format!("mounts wake nobody: {error}; paths are looked at by their interval, ignoring");
        daemon.journal.say(Level::Warning, &line);
    }
    daemon.exports.listen().await;
    daemon.say_ready();
    daemon.turns(&mut asked, &mut wanted, &events).await
}

fn prepare(paths: &Paths) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    anyhow::ensure!(rustix::process::geteuid().is_root(), "`hostward run` needs root: start it as hostward.service");
    for (path, mode) in [(&paths.state, 0o700), (&paths.run, 0o755)] {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(mode).create(path).with_context(|| format!("create {}", path.display()))?;
    }
    Ok(())
}

/// The configuration on disk; else the last one that loaded, which then only observes; else nothing, and says so.
fn choose(paths: &Paths, journal: &Journal) -> Chosen {
    let nothing = |idle: String| Chosen {
        policy: Policy::default(),
        export: Export::default(),
        rejected: None,
        idle: Some(idle),
    };
    match store::load_config(&paths.config) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                journal.say(Level::Warning, &format!("configuration: {warning}"));
            }
            let good = LastGood { policy: loaded.policy, export: loaded.export };
            if let Err(error) = store::save_last_good(paths, &good) {
                journal.say(Level::Warning, &format!("the policy could not be kept for a bad day: {error:#}"));
            }
            Chosen { policy: good.policy, export: good.export, rejected: None, idle: None }
        }
        Err(hostward_config::LoadError::Absent { .. }) => {
            let file = paths.config.join("hostward.toml");
            nothing(format!("no configuration: write {}, `hostward init` prints a first one", file.display()))
        }
        Err(error) => {
            let text = error.render(false);
            for line in text.lines() {
                journal.say(Level::Error, &format!("configuration: {line}"));
            }
            match store::load_last_good(paths) {
                Some(good) => {
                    journal.say(Level::Error, "the last good configuration is in force, and only observes");
                    Chosen { policy: good.policy, export: good.export, rejected: Some(text), idle: None }
                }
                None => Chosen {
                    rejected: Some(text),
                    ..nothing("the configuration was refused, and none was ever good".into())
                },
            }
        }
    }
}

/// Says each record in the journal, once it is decided.
fn teller<'a>(journal: &'a mut Journal, words: &'a mut Words) -> impl FnMut(&Record) + 'a {
    move |record| {
        let (level, watch, says) = words.of(record);
        match watch {
            Some(watch) => journal.say_of(record.at, &watch, level, &format!("{watch}: {says}")),
            None => journal.say(level, &says),
        }
    }
}

impl Daemon {
    fn say_ready(&mut self) {
        let status = match &self.idle {
            Some(idle) => format!("idle: {idle}"),
            None => format!("watching {} things", self.drive.view().watches.len()),
        };
        self.journal.say(Level::Info, &status);
        // Without a service manager there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    async fn turns(
        mut self,
        asked: &mut mpsc::Receiver<Asked>,
        wanted: &mut mpsc::Receiver<crate::serve::Scrape>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Exit> {
        let mut term = signals(SignalKind::terminate())?;
        let mut interrupt = signals(SignalKind::interrupt())?;
        let mut hangup = signals(SignalKind::hangup())?;
        loop {
            tokio::select! {
                // Each arm is cancel-safe: receivers and signals keep what they have not handed out.
                event = self.drive.next() => self.turn(event),
                Some((call, respond)) = asked.recv() => self.call(call, respond),
                Some(scrape) = wanted.recv() => {
                    // A scraper that hung up misses nothing.
                    let _ = scrape.send(self.metrics());
                }
                happened = self.notices.next() => self.notices.take(self.drive.now(), happened, &self.journal),
                (read, waiting) = self.reloads.done() => self.adopt(read, waiting, events),
                _ = hangup.recv() => self.reload(None),
                _ = term.recv() => break,
                _ = interrupt.recv() => break,
            }
            self.after_turn().await;
            if self.lost_records() {
                self.journal
                    .say(Level::Error, "the ledger's disk is back, but records were lost meanwhile: starting anew");
                return Ok(Exit::Failed);
            }
        }
        self.stop().await
    }

    fn turn(&mut self, event: Event) {
        // No record can say it: once an outage, and once at its end.
        match &event {
            Event::LedgerBad(why) => {
                let line =
                    format!("the ledger cannot be written, so nothing is begun: {why}; tried again every second");
                self.journal.say(Level::Error, &line);
            }
            Event::LedgerGood => self.journal.say(Level::Notice, "the ledger can be written again"),
            _ => {}
        }
        self.drive.turn(event, &mut teller(&mut self.journal, &mut self.words));
        self.notices.turned();
    }

    /// What is due after every turn: the watchdog, replies, exports, evidence.
    async fn after_turn(&mut self) {
        if self.fed.is_none_or(|fed| fed.elapsed() >= FEED_EVERY) {
            self.fed = Some(Instant::now());
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        self.answer();
        self.notices.turn(self.drive.now(), self.drive.world());
        self.exports.listen().await;
        let seq = self.drive.seq();
        if self.exports.due(seq) {
            let text = self.metrics();
            self.exports.write(seq, text).await;
        }
        if self.saver.due() {
            let (paths, memory) = (self.paths.clone(), self.drive.memory());
            self.saver.begin(move || store::save_memory(&paths, &memory));
        }
    }

    fn lost_records(&self) -> bool {
        let overflowed = self.drive.edge.hands.as_ref().is_some_and(|hands| hands.overflowed);
        overflowed && self.drive.view().ledger_bad.is_none()
    }

    fn call(&mut self, call: Call, respond: oneshot::Sender<Response>) {
        let command = match call {
            Call::Status => Command::View,
            Call::Look { watch } => Command::Look { watch },
            Call::Order(command) => command,
            Call::Reload => return self.reload(Some(respond)),
        };
        let reply = self.drive.order(command, &mut teller(&mut self.journal, &mut self.words));
        self.waiting.push((reply, respond));
    }

    fn answer(&mut self) {
        for (mut reply, respond) in std::mem::take(&mut self.waiting) {
            let response = match reply.try_recv() {
                Ok(Reply::View(view)) => Response::Status(Box::new(self.status(*view))),
                Ok(Reply::NoSuchWatch { asked, known }) => Response::NoSuchWatch { asked, known },
                Ok(Reply::Refused { why }) => Response::Refused { why: why.to_string() },
                Ok(Reply::Applied(applied)) => Response::Applied(applied),
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {
                    if !respond.is_closed() {
                        self.waiting.push((reply, respond));
                    }
                    continue;
                }
            };
            let _ = respond.send(response);
        }
    }

    fn status(&self, view: hostward_core::view::View) -> Status {
        let daemon = Some(std::process::id());
        Status { version: status::VERSION, daemon, idle: self.idle.clone(), health: self.health(), view }
    }

    fn health(&self) -> Health {
        let ledger = self.drive.ledger_problem();
        let probes_hung = self.drive.edge.eyes.hung();
        let hung = (probes_hung > 0).then(|| {
            format!(
                "{probes_hung} killed probes hang in the kernel: a file system does not answer; `hostward status` \
                 shows whose time out"
            )
        });
        let textfile = self.exports.textfile_problem();
        let saving = self.saver.problem();
        let errors = [textfile.clone(), self.exports.listen_error.clone(), self.sentinel_error.clone(), saving, hung];
        Health {
            textfile_ok: self.exports.textfile().map(|_| textfile.is_none()),
            log_lines_dropped: self.journal.dropped(),
            probes_hung,
            ledger_not_rotated: ledger.is_some(),
            notifiers: self.notices.tallies(self.drive.now()),
            problems: errors.into_iter().chain([ledger]).flatten().chain(self.notices.problems()).collect(),
        }
    }

    fn metrics(&self) -> String {
        metrics::text(&self.drive.view(), &self.health(), self.drive.durations())
            .unwrap_or_else(|e| format!("# hostward: {e}\n"))
    }

    fn watch_sentinels(&mut self, policy: &Policy, events: mpsc::Sender<Event>) {
        match Sentinels::watch(policy, events) {
            Ok(sentinels) => {
                self.sentinels = Some(sentinels);
                self.sentinel_error = None;
            }
            Err(error) => {
                self.sentinel_error = Some(format!(
                    "inotify: {error}; sentinels are still looked up before every act, only later noticed: raise \
                     fs.inotify.max_user_instances"
                ));
            }
        }
    }
}

fn signals(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("listen for signals")
}

/// What is observed is kept when the configuration wants it. That it cannot be is no reason not to run.
fn record(paths: &Paths, limit: Option<u64>) -> Option<Recording> {
    match Recording::start(&paths.state, limit?) {
        Ok(recording) => Some(recording),
        Err(error) => {
            eprintln!("hostward: host.record: {error}, ignoring");
            None
        }
    }
}
