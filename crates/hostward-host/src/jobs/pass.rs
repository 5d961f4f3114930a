//! One pass: the list, then who runs what, then the files of those that run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::{
    Active, Fault, Folder, JobReading, JobState, JobsQ, JobsReading, LockState, Place, Provider, UnitReading,
};
use hostward_core::id::{Str, UnitName};
use hostward_core::time::Ms;

use super::entries::{Entry, Listed};
use super::progress::Counts;
use super::runner::{Signs, of_units};
use super::{FolderAsk, Jobs, ListAsk};
use crate::mounts::Table;
use crate::paths::{Ask, For, Heard, Limits, Said};
use crate::systemd::Systemd;

pub(super) struct Pass<'a> {
    pub(super) jobs: &'a Jobs,
    pub(super) q: &'a JobsQ,
    pub(super) systemd: Result<Systemd, Fault>,
    pub(super) table: Option<Table>,
    pub(super) limits: Limits,
}

/// One job, as far as it is known before its files are read.
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) state: JobState,
    pub(super) unit: Option<(UnitName, Result<Box<UnitReading>, Fault>)>,
    pub(super) lock: Option<LockState>,
}

impl Pass<'_> {
    pub(super) async fn list(&self, stretched: impl Fn(Ms) -> Duration) -> Result<Listed, Fault> {
        match &self.q.from {
            Provider::Command(listing) => {
                let asked = ListAsk { listing: listing.clone(), words: self.q.words.clone() };
                self.jobs.children.list(&asked, stretched(listing.timeout)).await
            }
            Provider::Units(pattern) => {
                let systemd = self.systemd.clone()?;
                let units = systemd.units_like(pattern);
                let units = tokio::time::timeout_at(self.limits.until, units).await.unwrap_or(Err(Fault::Timeout))?;
                Ok(of_units(&units))
            }
            Provider::Directory(folder) => self.list_folder(folder).await,
        }
    }

    async fn list_folder(&self, folder: &Folder) -> Result<Listed, Fault> {
        let asked = FolderAsk {
            user: self.user(),
            at: folder.at.clone(),
            state: folder.state.clone(),
            words: self.q.words.clone(),
        };
        match self.hear(vec![Ask::Folder(asked)]).await.pop() {
            Some(Heard::Said(Said::Folder(listed))) => listed,
            Some(Heard::Unasked(fault)) => Err(fault),
            Some(Heard::Stuck { .. }) | None => Err(Fault::Timeout),
            Some(Heard::Said(_)) => Err(other_answer()),
        }
    }

    pub(super) async fn look(&self, listed: Listed) -> Result<JobsReading, Fault> {
        let Listed { entries, refused, refused_total, doubtful } = listed;
        let ((units, worker), (locks, disk)) = tokio::join!(self.units(&entries), self.locks(&entries));
        let run = entries.into_iter().zip(units).zip(locks);
        let jobs: Vec<Job> = run.map(|((entry, unit), lock)| Job::new(entry, unit, lock)).collect();
        let (signs, counts, closures) = tokio::join!(self.signs(&jobs), self.counts(&jobs), self.closures(&jobs));
        let signs = signs?;
        let jobs = jobs.into_iter().zip(counts).map(|(job, counts)| told(job, &signs, counts)).collect();
        Ok(JobsReading { jobs, refused, refused_total, doubtful, worker, closures, disk })
    }

    pub(super) async fn hear(&self, asks: Vec<Ask>) -> Vec<Heard> {
        self.jobs.lookers.hear(For::Jobs, asks, self.table.as_ref(), self.limits).await
    }

    /// A job's folder is its user's, not root's to trust.
    pub(super) fn user(&self) -> Option<Str> {
        self.q.output.as_ref().and_then(|output| output.user.clone())
    }
}

impl Entry {
    fn place(&self) -> Place<'_> {
        Place { id: &self.id, group: self.group.as_deref(), output: self.output.as_deref() }
    }

    pub(super) fn fill(&self, text: &str) -> Result<String, Fault> {
        let lacks = |what| Fault::Config(format!("'{text}': job '{}' has no {what}", self.id).into());
        self.place().fill(text).map_err(lacks)
    }

    /// A file of the job's: below its output unless it is absolute.
    pub(super) fn file(&self, text: &str) -> Result<PathBuf, Fault> {
        let filled = self.fill(text)?;
        if Path::new(&filled).is_absolute() {
            return Ok(filled.into());
        }
        let lacks = || Fault::Config(format!("'{text}' is relative, and job '{}' has no output", self.id).into());
        Ok(self.output.as_deref().ok_or_else(lacks)?.join(filled))
    }
}

impl Job {
    fn new(entry: Entry, unit: Option<(UnitName, Result<Box<UnitReading>, Fault>)>, lock: Option<LockState>) -> Job {
        let by_lock = if lock.as_ref().is_some_and(is_held) { JobState::Running } else { JobState::Pending };
        Job { state: entry.state.unwrap_or(by_lock), entry, unit, lock }
    }

    /// It runs, or there is somebody who may run it: its files are read.
    pub(super) fn is_read(&self) -> bool {
        self.runs() || self.entry.pid.is_some()
    }

    fn runs(&self) -> bool {
        let held = self.lock.as_ref().is_some_and(is_held);
        self.state == JobState::Running || held || self.active_unit().is_some()
    }

    pub(super) fn active_unit(&self) -> Option<&UnitName> {
        let (name, reading) = self.unit.as_ref()?;
        let up = reading.as_ref().is_ok_and(|unit| !matches!(unit.active, Active::Inactive | Active::Failed));
        up.then_some(name)
    }
}

/// One that cannot be read counts as held.
fn is_held(lock: &LockState) -> bool {
    !matches!(lock, LockState::Free)
}

pub(super) fn other_answer() -> Fault {
    Fault::Probe("another question's answer".into())
}

fn told(job: Job, signs: &Signs, counts: Counts) -> JobReading {
    let runs = job.runs();
    let Job { entry, state, unit, lock } = job;
    let runner = signs.complete(&entry, unit, lock);
    // Its process may have died since it was listed.
    let runs = runs || runner.process.is_some();
    let progress = if runs { counts.progress } else { Vec::new() };
    let Entry { id, group, started, output, numbers, .. } = entry;
    JobReading { id, group, state, started, output, numbers, runner, progress, look: counts.look }
}
