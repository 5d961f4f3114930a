//! The edge's eyes: one question asked of the world, within its deadline, and how long that took.

use std::sync::Arc;
use std::time::Duration;

use hostward_core::ask::{
    Active, Answer, AskKey, ClosureReading, ExecQ, Fault, GateQ, PathsQ, Question, Reading, SystemState,
};
use hostward_core::id::UnitName;
use hostward_host::child::Children;
use hostward_host::paths::Lookers;
use hostward_host::systemd::{Closure, ClosureError, shown};
use hostward_host::{gate, http, mounts, python, reach, tcp};
use tokio::time::Instant;

use crate::bus::Bus;
use crate::durations::{Durations, PROBES};
use crate::places::Places;

/// Children at once, of about 3 MiB each: they are within our own MemoryMax= of 64 MiB.
const FILES_PROMPT: usize = 4;
const FILES_LATE: usize = 4;
/// Connections at once: below the 1024 descriptors that a service has, and more than any host has peers, so that in
/// practice none waits for another.
const SOCKETS_PROMPT: usize = 512;
const SOCKETS_LATE: usize = 256;
/// The operator's own checks at once, each with its process beside ours within our MemoryMax=.
const CHECKS_PROMPT: usize = 6;
const CHECKS_LATE: usize = 2;
/// Beyond its deadline, for what a question to the bus waits on itself: the link. systemd's own limit of calls is kept by
/// the link.
const PATIENCE: Duration = Duration::from_secs(2);

/// A unit's state, by the bus.
const UNIT_DEADLINE: Duration = Duration::from_secs(5);

/// Where questions about files are asked: a hung file system must never hang the daemon, and a process cannot even end
/// while one of its threads hangs in the kernel.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// In a child that is killed at its deadline: this program, started again.
    Child(Children),
    /// Here: a short-lived process is itself what may be killed.
    Here,
}

#[derive(Clone, Debug)]
pub(crate) struct Eyes {
    bus: Bus,
    files: Files,
    file_places: Arc<Places>,
    socket_places: Arc<Places>,
    check_places: Arc<Places>,
    lookers: Lookers,
    http: http::Client,
    pub(crate) durations: Durations,
}

impl Eyes {
    pub(crate) fn new(bus: Bus, files: Files) -> Eyes {
        Eyes {
            bus,
            files,
            file_places: Arc::new(Places::new(FILES_PROMPT, FILES_LATE)),
            socket_places: Arc::new(Places::new(SOCKETS_PROMPT, SOCKETS_LATE)),
            check_places: Arc::new(Places::new(CHECKS_PROMPT, CHECKS_LATE)),
            // The same program, also when the one on disk was replaced meanwhile.
            lookers: Lookers::new("/proc/self/exe".into()),
            http: http::Client::default(),
            durations: Durations::new(&PROBES),
        }
    }

    /// Asks. The deadline begins when the question has a place; waiting for one has no limit here, and the engine gives
    /// up on a question that it hears nothing of.
    pub(crate) async fn answer(&self, key: &AskKey, question: &Arc<Question>, deadline: Duration) -> Answer {
        // Each in a box of its own size: thousands of questions about units wait at once, and each would be as large as
        // the largest of all kinds.
        let (answer, took) = match &**question {
            Question::Http(q) => Box::pin(self.socket_places.ask(key, deadline, self.http.probe(q, deadline))).await,
            Question::Tcp(q) => Box::pin(self.socket_places.ask(key, deadline, tcp::probe(q, deadline))).await,
            Question::Exec(q) => {
                Box::pin(self.check_places.ask(key, deadline, check(&self.files, q, deadline))).await
            }
            Question::Python(_) | Question::Mount(_) => Box::pin(self.in_files(key, question, deadline)).await,
            Question::Paths(q) => Box::pin(self.paths(q, deadline)).await,
            Question::Gate(q) => Box::pin(self.gate(key, q, question, deadline)).await,
            Question::Unit(unit) => Box::pin(self.unit(key, unit, deadline)).await,
            Question::Closure(unit) => {
                let found = async { closure(&self.bus, unit).await.map(Reading::Closure) };
                Box::pin(timed(deadline, found)).await
            }
        };
        if let AskKey::Probe(watch, _) = key {
            self.durations.observe(watch, took);
        }
        answer
    }

    /// Over the bus; by `systemctl`, whose socket is systemd's own, where there is none or it hangs.
    async fn unit(&self, key: &AskKey, unit: &UnitName, deadline: Duration) -> (Answer, Duration) {
        let asked = timed(deadline, async { self.bus.link().await?.unit(unit).await }).await;
        match &asked.0 {
            Err(Fault::BusAway(_) | Fault::Timeout) => {
                Box::pin(self.check_places.ask(key, deadline, shown(unit, deadline))).await
            }
            _ => asked,
        }
    }

    /// Another policy is in force.
    pub(crate) fn forget(&self) {
        self.file_places.forget();
        self.socket_places.forget();
        self.check_places.forget();
        self.http.forget();
    }

    /// Killed probes that hang in the kernel.
    pub(crate) fn hung(&self) -> u32 {
        let ending = match &self.files {
            Files::Child(children) => children.ending(),
            Files::Here => 0,
        };
        u32::try_from(ending + self.lookers.stuck()).unwrap_or(u32::MAX)
    }

    async fn in_files(&self, key: &AskKey, question: &Arc<Question>, deadline: Duration) -> (Answer, Duration) {
        let ask = async {
            match &self.files {
                Files::Child(children) => children.ask(question, deadline).await,
                Files::Here => here(Arc::clone(question)).await,
            }
        };
        self.file_places.ask(key, deadline, ask).await
    }

    /// Has its own places: one for each mount, of which a hung one is not asked again.
    async fn paths(&self, q: &PathsQ, deadline: Duration) -> (Answer, Duration) {
        let begun = Instant::now();
        let (mut units, mut holders) = (Vec::with_capacity(q.units.len()), Vec::with_capacity(q.holders.len()));
        let ask_systemd = async {
            for unit in &q.units {
                units.push((unit.clone(), state(&self.bus, unit).await));
            }
            for unit in &q.holders {
                let found = tokio::time::timeout(UNIT_DEADLINE, closure(&self.bus, unit)).await;
                holders.push((unit.clone(), found.unwrap_or(Err(Fault::Timeout))));
            }
        };
        let (mut reading, ()) = tokio::join!(self.lookers.ask(q, deadline), ask_systemd);
        (reading.units, reading.holders) = (units, holders);
        (Ok(Reading::Paths(Box::new(reading))), begun.elapsed())
    }

    async fn gate(
        &self,
        key: &AskKey,
        q: &GateQ,
        question: &Arc<Question>,
        deadline: Duration,
    ) -> (Answer, Duration) {
        // Side by side, for an act waits for it; and without the files' place, which what waits for the bus or a peer must
        // not keep from others.
        let rest = tokio::time::timeout(deadline + PATIENCE, async {
            tokio::join!(look_at_system(&self.bus, q), reach::look(q.reach.as_deref()))
        });
        let ((files, took), rest) = tokio::join!(self.in_files(key, question, deadline), rest);
        let answer = || {
            let Reading::Gate(mut reading) = files? else {
                return Err(Fault::Probe("another question's answer".into()));
            };
            let (system, unreachable) = rest.map_err(|_| Fault::Timeout)?;
            (reading.system, reading.old_actors) = system?;
            reading.unreachable = unreachable?;
            Ok(Reading::Gate(reading))
        };
        (answer(), took)
    }
}

/// Whether the unit runs, as the paths that rest on it need to know.
async fn state(bus: &Bus, unit: &UnitName) -> Result<Active, Fault> {
    let ask = async {
        match bus.link().await?.unit(unit).await? {
            Reading::Unit(reading) => Ok(reading.active),
            _ => Err(Fault::Probe("another question's answer".into())),
        }
    };
    tokio::time::timeout(UNIT_DEADLINE, ask).await.unwrap_or(Err(Fault::Timeout))
}

/// Always below a child: whoever runs a check adopts what it leaves, and kills it.
async fn check(files: &Files, q: &ExecQ, deadline: Duration) -> Answer {
    match files {
        Files::Child(children) => children.run(q, deadline).await,
        Files::Here => Children::own().map_err(|e| Fault::Probe(e.to_string().into()))?.run(q, deadline).await,
    }
}

async fn timed(deadline: Duration, probe: impl Future<Output = Answer>) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = tokio::time::timeout(deadline + PATIENCE, probe).await;
    (answer.unwrap_or(Err(Fault::Timeout)), begun.elapsed())
}

async fn here(question: Arc<Question>) -> Answer {
    let look = move || match &*question {
        Question::Python(python) => python::read(python),
        Question::Gate(gate) => gate::read(gate).map(Reading::Gate),
        Question::Mount(path) => mounts::reading(path),
        Question::Unit(_)
        | Question::Http(_)
        | Question::Tcp(_)
        | Question::Exec(_)
        | Question::Closure(_)
        | Question::Paths(_) => Err(Fault::Probe("not a question about files".into())),
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|e| Err(Fault::Probe(e.to_string().into())))
}

async fn closure(bus: &Bus, unit: &UnitName) -> Result<ClosureReading, Fault> {
    let systemd = bus.link().await?;
    let active = match systemd.unit(unit).await? {
        Reading::Unit(reading) => reading.running() || reading.active == Active::Activating,
        _ => return Err(Fault::Probe("another question's answer".into())),
    };
    let unreadable = |e: ClosureError| Fault::Unreadable(e.to_string().into());
    let closure = systemd.closure(unit).await.map_err(unreadable)?;
    let mut wakers = Vec::with_capacity(closure.wakers.len());
    for waker in &closure.wakers {
        let its = systemd.closure(waker).await.map_err(unreadable)?;
        wakers.push((waker.clone(), told(its, true, Vec::new())));
    }
    Ok(told(closure, active, wakers))
}

fn told(closure: Closure, active: bool, wakers: Vec<(UnitName, ClosureReading)>) -> ClosureReading {
    let (members, one_way, stop_timeout) = (closure.members, closure.one_way, closure.stop_timeout);
    ClosureReading { active, members, one_way, stop_timeout, wakers }
}

async fn look_at_system(bus: &Bus, gate: &GateQ) -> Result<(SystemState, Vec<UnitName>), Fault> {
    let systemd = bus.link().await?;
    let state = systemd.system_state().await?;
    if gate.replaces.is_empty() {
        return Ok((state, Vec::new()));
    }
    Ok((state, systemd.old_actors(&gate.replaces).await?))
}
