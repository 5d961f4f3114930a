//! Who runs each job: its own unit, its lock, its process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostward_core::ask::{
    Active, ClosureReading, Fault, JobState, LockState, Look, PathQ, Process, Reading, RunnerReading, UnitReading,
    Write,
};
use hostward_core::id::{Str, UnitName};
use hostward_core::time::Ms;
use tokio::task::JoinSet;

use super::entries::{Book, Entry, Listed};
use super::pass::{Job, Pass, other_answer};
use crate::paths::{Ask, Heard, Said, seen};
use crate::systemd::Systemd;

/// By the bus; systemd answers in milliseconds or hangs.
const UNIT_DEADLINE: Duration = Duration::from_secs(5);

type Unit = Result<Box<UnitReading>, Fault>;

/// Of units that are jobs, each what its state says. The instance is the id, or the name where there is none.
pub(super) fn of_units(units: &[(UnitName, Active)]) -> Listed {
    let words = BTreeMap::new();
    let mut book = Book::new(&words, Ms::ZERO);
    for (unit, active) in units {
        let name = unit.as_str().rsplit_once('.').map_or(unit.as_str(), |(name, _)| name);
        let id = name.split_once('@').map_or(name, |(_, instance)| instance);
        let entry =
            Entry { id: id.into(), state: Some(state(*active)), unit: Some(unit.clone()), ..Entry::default() };
        if let Err(why) = book.enter(entry) {
            book.refuse(&why);
        }
    }
    book.close()
}

fn state(active: Active) -> JobState {
    match active {
        // One that is being stopped is still there.
        Active::Active | Active::Reloading | Active::Activating | Active::Deactivating => JobState::Running,
        Active::Failed => JobState::Failed,
        Active::Inactive => JobState::Done,
    }
}

/// What /proc says of processes.
#[derive(Debug, Default)]
pub(super) struct Signs {
    live: BTreeMap<u32, Process>,
    mentioned: BTreeMap<Str, Process>,
}

impl Signs {
    pub(super) fn complete(
        &self,
        entry: &Entry,
        unit: Option<(UnitName, Unit)>,
        lock: Option<LockState>,
    ) -> RunnerReading {
        let live = |pid: u32| self.live.get(&pid).cloned();
        let holder = lock.as_ref().and_then(holder).and_then(live);
        let mentioned = self.mentioned.get(&entry.id).cloned();
        let (named, process) = (entry.unit.is_some(), entry.pid.and_then(live));
        RunnerReading { unit, named, pid: entry.pid, process, lock, holder, mentioned }
    }
}

fn holder(lock: &LockState) -> Option<u32> {
    match lock {
        LockState::Held { pid, .. } => *pid,
        LockState::Free | LockState::Unreadable(_) => None,
    }
}

impl Pass<'_> {
    /// Each job's own, and the worker.
    pub(super) async fn units(&self, entries: &[Entry]) -> (Vec<Option<(UnitName, Unit)>>, Option<Unit>) {
        let named: Vec<Option<(UnitName, Result<(), Fault>)>> =
            entries.iter().map(|entry| self.own_unit(entry)).collect();
        let asked = named.iter().flatten().filter(|(_, known)| known.is_ok()).map(|(name, _)| name.clone());
        let asked: BTreeSet<UnitName> = asked.chain(self.q.worker.clone()).collect();
        let readings = self.each_unit(asked.into_iter().collect(), reading).await;
        let read = |name: &UnitName| readings.get(name).cloned().unwrap_or(Err(Fault::Timeout));
        let units = named.into_iter().map(|named| {
            let (name, known) = named?;
            let reading = known.and_then(|()| read(&name));
            Some((name, reading))
        });
        (units.collect(), self.q.worker.as_ref().map(read))
    }

    /// With why its name is not known.
    fn own_unit(&self, entry: &Entry) -> Option<(UnitName, Result<(), Fault>)> {
        if let Some(unit) = &entry.unit {
            return Some((unit.clone(), Ok(())));
        }
        let text = self.q.runner.unit.as_deref()?;
        Some(match entry.fill(text) {
            Ok(name) => (UnitName::new(name), Ok(())),
            Err(fault) => (UnitName::new(text), Err(fault)),
        })
    }

    /// What stops with the worker, and with each of their own units that is active.
    pub(super) async fn closures(&self, jobs: &[Job]) -> Vec<(UnitName, Result<ClosureReading, Fault>)> {
        let own = jobs.iter().filter_map(Job::active_unit);
        let mut named: Vec<UnitName> = Vec::new();
        let mut seen = BTreeSet::new();
        named.extend(self.q.worker.iter().chain(own).filter(|unit| seen.insert(*unit)).cloned());
        let mut closures = self.each_unit(named.clone(), closure).await;
        let found = |unit: UnitName| {
            let closure = closures.remove(&unit).unwrap_or(Err(Fault::Timeout));
            (unit, closure)
        };
        named.into_iter().map(found).collect()
    }

    /// All at once: the link has its own limit, and lists many in one call.
    pub(super) async fn each_unit<T, F>(
        &self,
        units: Vec<UnitName>,
        ask: fn(Systemd, UnitName) -> F,
    ) -> BTreeMap<UnitName, Result<T, Fault>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let systemd = match &self.systemd {
            Ok(systemd) => systemd,
            Err(fault) => return units.into_iter().map(|unit| (unit, Err(fault.clone()))).collect(),
        };
        let mut asked = JoinSet::new();
        let until = self.limits.until.min(tokio::time::Instant::now() + UNIT_DEADLINE);
        for unit in units {
            let systemd = systemd.clone();
            asked.spawn(async move {
                let answer = tokio::time::timeout_at(until, ask(systemd, unit.clone())).await;
                (unit, answer.unwrap_or(Err(Fault::Timeout)))
            });
        }
        let mut answers = BTreeMap::new();
        while let Some(done) = asked.join_next().await {
            // One that was lost is not in it.
            answers.extend(done);
        }
        answers
    }

    /// Each job's lock, and the disk that they fill: one child for what lies on one file system.
    pub(super) async fn locks(&self, entries: &[Entry]) -> (Vec<Option<LockState>>, Option<Look>) {
        let mut locks: Vec<Option<LockState>> = vec![None; entries.len()];
        let (mut places, mut asks) = (Vec::new(), Vec::new());
        for (n, entry) in entries.iter().enumerate() {
            let declared = || self.q.runner.lock.as_deref().map(|text| entry.file(text));
            match entry.lock.clone().map(Ok).or_else(declared) {
                Some(Ok(path)) => {
                    places.push(n);
                    asks.push(Ask::Lock { path, user: self.user() });
                }
                // One that waits for its first start may have no folder yet, and so no lock.
                Some(Err(_)) if entry.state.is_some_and(JobState::waits) => {}
                Some(Err(fault)) => locks[n] = Some(LockState::Unreadable(fault.to_string().into())),
                None => {}
            }
        }
        let disk =
            |path: &std::path::PathBuf| PathQ { path: path.clone(), bind: None, user: None, write: Write::Never };
        asks.extend(self.q.disk.as_ref().map(disk).map(Ask::Output));
        let mut heard = self.hear(asks).await;
        let disk = heard.drain(places.len()..).next().map(seen);
        for (n, heard) in places.into_iter().zip(heard) {
            locks[n] = Some(lock(heard));
        }
        (locks, disk)
    }

    /// A process that could not be looked up is not one that is dead: then nothing is told at all.
    pub(super) async fn signs(&self, jobs: &[Job]) -> Result<Signs, Fault> {
        let named = jobs.iter().filter_map(|job| job.entry.pid);
        let pids: BTreeSet<u32> = named.chain(jobs.iter().filter_map(|job| holder(job.lock.as_ref()?))).collect();
        let argument =
            |job: &Job| Some((job.entry.id.clone(), job.entry.fill(self.q.runner.argument.as_ref()?).ok()?));
        let (ids, arguments): (Vec<Str>, Vec<String>) = jobs.iter().filter_map(argument).unzip();
        let mut asks = Vec::new();
        if !pids.is_empty() {
            asks.push(Ask::Processes(pids.into_iter().collect()));
        }
        if !arguments.is_empty() {
            asks.push(Ask::Mentions(arguments.into_iter().map(Str::from).collect()));
        }
        let mut signs = Signs::default();
        for (ask, heard) in asks.clone().into_iter().zip(self.hear(asks).await) {
            match (ask, heard) {
                (_, Heard::Said(Said::Processes(Ok(live)))) => {
                    signs.live = live.into_iter().map(|process| (process.pid, process)).collect();
                }
                (_, Heard::Said(Said::Mentions(Ok(found)))) => {
                    let found = ids.iter().cloned().zip(found);
                    signs.mentioned = found.filter_map(|(id, process)| Some((id, process?))).collect();
                }
                (_, Heard::Said(Said::Processes(Err(fault)))) | (Ask::Processes(_), Heard::Unasked(fault)) => {
                    return Err(fault);
                }
                (Ask::Processes(_), Heard::Stuck { .. }) => return Err(Fault::Timeout),
                (Ask::Processes(_), Heard::Said(_)) => return Err(other_answer()),
                // It only ever counts beside another sign.
                _ => {}
            }
        }
        Ok(signs)
    }
}

fn lock(heard: Heard) -> LockState {
    let unreadable = |why: String| LockState::Unreadable(why.into());
    match heard {
        Heard::Said(Said::Lock(Ok(state))) => state,
        Heard::Said(Said::Lock(Err(fault))) | Heard::Unasked(fault) => unreadable(fault.to_string()),
        Heard::Stuck { at, .. } => unreadable(format!("the look at '{}' hangs", at.display())),
        Heard::Said(_) => unreadable(other_answer().to_string()),
    }
}

async fn reading(systemd: Systemd, unit: UnitName) -> Unit {
    match systemd.unit(&unit).await? {
        Reading::Unit(reading) => Ok(reading),
        _ => Err(other_answer()),
    }
}

async fn closure(systemd: Systemd, unit: UnitName) -> Result<ClosureReading, Fault> {
    systemd.closure_reading(&unit).await
}
