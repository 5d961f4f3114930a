//! `drill --live`: the same incident, really. The mount that is lost is the drill's own ([`super::ground`]); the engine, its
//! looks, its acts and its undos are those of the daemon, with a ledger of their own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_core::drill::{Played, Wound};
use hostward_core::engine::{Begin, Event};
use hostward_core::id::WatchId;
use hostward_core::ledger::{Body, Closing, Origin, Record};
use hostward_core::policy::Policy;
use hostward_core::time::Now;
use hostward_core::view::WatchView;
use hostward_host::child::Children;
use hostward_host::ledger::{EngineLock, Limits, LockError, Writer, engine_lock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::ground::{DIR, Ground, HOT, RUNS_FROM};
use super::{Out, print};
use crate::actor::Actor;
use crate::bus::Bus;
use crate::cli::Wounds;
use crate::drive::Drive;
use crate::edge::{self, EVENTS_MAX, Edge, Hands};
use crate::exit::{self, Exit};
use crate::eyes::{Eyes, Files};
use crate::store::{self, Paths};

/// Until what was just made is seen to be well: a few looks.
const WELL_WITHIN: Duration = Duration::from_secs(30);
/// What was just made is looked at more than once, and what is lost in the middle of a look is lost for half of the paths.
const CALM: Duration = Duration::from_millis(1500);
/// A remount takes seconds; a step of it that fails waits for its proof.
const HEALED_WITHIN: Duration = Duration::from_mins(5);
/// For what was begun to be given back, when somebody would rather not wait.
const RETURNED_WITHIN: Duration = Duration::from_mins(1);

const WATCH: &str = "storage.drill";

pub(crate) async fn storage(out: Out, wounds: &Wounds) -> Result<Exit> {
    let wound = wounds.one();
    let mut stop = Stop::listen()?;
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let bus = Bus::start(events.clone());
    let systemd = bus.link().await.map_err(|fault| exit::error(Exit::Unknown, fault.to_string()))?;
    let ground = Ground::new(systemd, wound)?;
    let lock = match engine_lock(Path::new(DIR)) {
        Ok(lock) => lock,
        Err(busy @ LockError::Busy { .. }) => {
            eprintln!("hostward: another drill is under way: {busy}");
            return Ok(Exit::Busy);
        }
        Err(error) => return Err(error).context("take the lock of drills"),
    };
    ground.clear().await.context("take away what an earlier drill left")?;
    let lived = async {
        ground.raise().await.context("make a mount to lose")?;
        let live = Live::begin(&ground, &lock, bus, (events, inbox))?;
        live.through(&ground, wound, &mut stop).await
    };
    let lived = lived.await;
    // Whatever came of it.
    let cleared =
        ground.clear().await.and_then(|()| std::fs::remove_dir_all(DIR).with_context(|| format!("remove {DIR}")));
    let cleared = cleared.context("the drill could not be taken away");
    let played = match (lived, cleared) {
        (Ok(played), Ok(())) => played,
        (Err(first), Err(also)) => return Err(first.context(format!("{also:#}; and before that"))),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => return Err(error),
    };
    let head = format!(
        "A mount of the drill's own was really {wound}. It is taken away again, with all that was made for it."
    );
    print(out, (&WatchId::new(WATCH), HOT, wound), &head, &played, &[])?;
    Ok(match played.closing {
        Some(Closing::Proved) => Exit::Ok,
        Some(_) => Exit::Failed,
        None => Exit::Held,
    })
}

/// Somebody would rather not wait.
struct Stop {
    interrupt: Signal,
    term: Signal,
}

impl Stop {
    fn listen() -> Result<Stop> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    /// Cancel-safe: a signal that was not handed out is kept.
    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// What a wait came to.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    ItIs,
    TooLong,
    Stopped,
}

struct Live {
    drive: Drive,
    records: Vec<Record>,
}

impl Live {
    /// An engine as the daemon's, beside it: what else runs or is armed on this host is not its to end.
    fn begin(
        ground: &Ground,
        lock: &EngineLock,
        bus: Bus,
        (events, inbox): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    ) -> Result<Live> {
        let paths = Paths { config: DIR.into(), state: DIR.into(), run: DIR.into() };
        let policy = std::sync::Arc::new(self::policy(ground)?);
        let mut folded = store::read_ledger(&paths)?;
        let (clock, boot_id) = store::clock(&folded.state)?;
        folded.state.seq = RUNS_FROM + clock.now().wall.0;
        let (tell, written) = edge::ledger_word();
        let writer = Writer::open(lock, &folded, Limits::default(), tell).context("open the drill's ledger")?;
        let actor = Actor::beside(bus.clone(), policy.clone(), paths.evidence());
        let program = std::env::current_exe().context("find our own program")?;
        let edge = Edge {
            events,
            eyes: Eyes::new(bus, Files::Child(Children::new(program))),
            hands: Some(Hands::new(actor, writer)),
            replies: std::collections::BTreeMap::new(),
            recording: None,
        };
        let begin = Begin {
            now: clock.now(),
            boot_id,
            policy,
            rejected: None,
            state: folded.state,
            memory: hostward_core::engine::Memory::default(),
            damaged: None,
            origin: Origin::Daemon,
        };
        let mut records = Vec::new();
        let drive = Drive::begin(begin, clock, edge, inbox, written, &mut |record| records.push(record.clone()));
        Ok(Live { drive, records })
    }

    /// Well, lost, and well again.
    async fn through(mut self, ground: &Ground, wound: Wound, stop: &mut Stop) -> Result<Played> {
        let is_up = |live: &Live| live.watch().is_some_and(|watch| watch.up() == Some(true));
        let mut waited = self.until(WELL_WITHIN, stop, is_up).await;
        ensure!(waited != Waited::TooLong, "the drill's own mount was never seen to be well: {}", self.said());
        if waited == Waited::ItIs && self.until(CALM, stop, |_| false).await == Waited::Stopped {
            waited = Waited::Stopped;
        }
        self.records.clear();
        let began = self.drive.now();
        if waited == Waited::ItIs {
            ground.lose(wound).await.context("lose the mount")?;
            let is_over = |live: &Live| match live.closing() {
                Some(Closing::Proved) => is_up(live),
                other => other.is_some(),
            };
            waited = self.until(HEALED_WITHIN, stop, is_over).await;
        }
        if waited == Waited::Stopped {
            eprintln!("hostward: interrupted; what was begun is given back, and everything is taken away");
            Ground::forbid()?;
            // Asked a second time, it is taken away as it stands.
            self.until(RETURNED_WITHIN, stop, |live| live.drive.world().state.runs.is_empty()).await;
        }
        let played = self.played(began);
        self.drive.stop(&mut |_| {});
        ensure!(waited != Waited::Stopped, "interrupted");
        Ok(played)
    }

    async fn until(&mut self, within: Duration, stop: &mut Stop, is: impl Fn(&Live) -> bool) -> Waited {
        let end = Instant::now() + within;
        while !is(self) {
            tokio::select! {
                // Each is cancel-safe: an event that was not handed out stays in its queue.
                event = self.drive.next() => self.drive.turn(event, &mut |record| self.records.push(record.clone())),
                () = stop.wanted() => return Waited::Stopped,
                () = sleep_until(end) => return Waited::TooLong,
            }
        }
        Waited::ItIs
    }

    fn watch(&self) -> Option<WatchView> {
        self.drive.view().watch(&WatchId::new(WATCH)).cloned()
    }

    fn closing(&self) -> Option<&Closing> {
        self.records.iter().find_map(|record| match &record.body {
            Body::Closed { result, .. } => Some(result),
            _ => None,
        })
    }

    /// The verdict on each path.
    fn said(&self) -> String {
        let targets = self.watch().map(|watch| watch.targets).unwrap_or_default();
        let said = targets.iter().map(|target| format!("{} {:?}", target.id.key, target.verdict));
        said.collect::<Vec<_>>().join(", ")
    }

    fn played(&self, began: Now) -> Played {
        let plan = self.records.iter().find_map(|record| match &record.body {
            Body::Opened { plan, .. } => Some((plan.hash(), std::sync::Arc::new((**plan).clone()))),
            _ => None,
        });
        let holds = self.watch().into_iter().flat_map(|watch| watch.targets).flat_map(|target| target.holds);
        Played {
            began,
            closing: self.closing().cloned(),
            plan,
            holds: holds.collect(),
            records: self.records.clone(),
        }
    }
}

fn policy(ground: &Ground) -> Result<Policy> {
    let loaded = hostward_config::parse(&[("drill", &ground.config())]);
    Ok(loaded
        .map_err(|rejected| anyhow::anyhow!("the drill's own configuration: {}", rejected.render(false)))?
        .policy)
}
