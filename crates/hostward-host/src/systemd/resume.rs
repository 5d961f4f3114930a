//! Taking a unit down with all that goes with it, and bringing many units back: each job of it followed to its end.
//!
//! A job's own end says nothing of the others: a unit that is stopped along may still be writing when the unit that
//! was asked for has ended. So all of them are awaited.

use hostward_core::id::UnitName;
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use tokio::time::Instant;
use zbus::OwnedObjectPath;

use super::Systemd;
use super::jobs::{BUS_GONE, bounded, refused};

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenDown {
    /// Of the unit itself.
    pub outcome: Outcome,
    /// Every other unit that systemd stopped for it.
    pub along: Vec<(UnitName, Outcome)>,
}

/// EnqueueUnitJob's answer: the job's number, path, unit, unit's path and kind, and the others that it brings.
type Enqueued = (
    u32,
    OwnedObjectPath,
    String,
    OwnedObjectPath,
    String,
    Vec<(u32, OwnedObjectPath, String, OwnedObjectPath, String)>,
);

impl Systemd {
    /// Stop a unit and wait until it and all that is stopped with it have ended, or `deadline` from now.
    pub async fn take_down(&self, unit: &UnitName, deadline: Ms) -> TakenDown {
        let nothing = |outcome| TakenDown { outcome, along: Vec::new() };
        let deadline = Instant::now() + bounded(deadline);
        let Some(signals) = self.listen() else { return nothing(Outcome::Lost(BUS_GONE.into())) };
        let body = (unit.as_str(), "stop", "replace");
        let (_, job, _, _, _, others): Enqueued = match self.manager("EnqueueUnitJob", &body).await {
            Ok(enqueued) => enqueued,
            Err(e) => return nothing(refused(&e)),
        };
        let others = others.into_iter().map(|(_, job, unit, ..)| (job, UnitName::new(unit)));
        let (mut jobs, units): (Vec<OwnedObjectPath>, Vec<UnitName>) = others.unzip();
        jobs.push(job);
        let jobs: Vec<&str> = jobs.iter().map(|job| job.as_str()).collect();
        let mut outcomes = self.follow_jobs(signals, &jobs, deadline).await;
        // One each; the unit's own was put last.
        let outcome = outcomes.pop().unwrap_or_else(|| Outcome::Lost(BUS_GONE.into()));
        TakenDown { outcome, along: units.into_iter().zip(outcomes).collect() }
    }

    /// Start units, all at once and in this order, so that none waits for one that hangs: systemd itself keeps to their
    /// After=. What is refused (masked, not there) is told, the others are still started. `deadline` from now, for all.
    pub async fn start_all(&self, units: &[UnitName], deadline: Ms) -> Vec<(UnitName, Outcome)> {
        let deadline = Instant::now() + bounded(deadline);
        let Some(signals) = self.listen() else {
            let lost = |unit: &UnitName| (unit.clone(), Outcome::Lost(BUS_GONE.into()));
            return units.iter().map(lost).collect();
        };
        let mut jobs: Vec<Result<OwnedObjectPath, Outcome>> = Vec::with_capacity(units.len());
        let mut away = None;
        for unit in units {
            // Nobody answers: the others are not tried, or a dead bus would take seconds for each.
            let answered = match &away {
                Some(outcome) => Err(Outcome::clone(outcome)),
                None => self.reset_failed(unit).await,
            };
            jobs.push(match answered {
                Ok(()) => self.manager("StartUnit", &(unit.as_str(), "replace")).await.map_err(|e| refused(&e)),
                Err(outcome) => Err(away.insert(outcome).clone()),
            });
        }
        let paths: Vec<&str> = jobs.iter().filter_map(|job| job.as_ref().ok()).map(|job| job.as_str()).collect();
        let mut followed = self.follow_jobs(signals, &paths, deadline).await.into_iter();
        let outcome = |begun: &Result<OwnedObjectPath, Outcome>| match begun {
            Ok(_) => followed.next().unwrap_or_else(|| Outcome::Lost(BUS_GONE.into())),
            Err(outcome) => outcome.clone(),
        };
        let outcomes: Vec<Outcome> = jobs.iter().map(outcome).collect();
        units.iter().cloned().zip(outcomes).collect()
    }
}
