//! Restart, start, stop: one job each, followed to its end.
//!
//! The result of a job comes as a signal that may precede the reply that names the job: so whoever calls listens first
//! (subscribing after the call missed 99 of 100). A signal can also be lost, to a re-executing systemd or an
//! overfull queue: so a job is also looked for, now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostward_core::id::{Str, UnitName};
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};
use zbus::OwnedObjectPath;

use super::Systemd;
use super::call::CallError;
use super::events::Signal;

/// How often a job is looked for while its signal does not come.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A job that is gone has its signal under way, on the other connection.
const GRACE: Duration = Duration::from_millis(500);

pub(super) const BUS_GONE: &str = "the bus is gone";
const NOT_TOLD: &str = "the job ended and systemd did not tell how";

impl Systemd {
    /// Restart a unit, whatever it is doing, with those that are bound to it. `deadline` from now.
    pub async fn restart(&self, unit: &UnitName, deadline: Ms) -> Outcome {
        self.revive(unit, "RestartUnit", deadline).await
    }

    /// Start a unit. `deadline` from now.
    pub async fn start(&self, unit: &UnitName, deadline: Ms) -> Outcome {
        self.revive(unit, "StartUnit", deadline).await
    }

    /// Stop a unit. `deadline` from now; the stop closure is the caller's affair.
    pub async fn stop(&self, unit: &UnitName, deadline: Ms) -> Outcome {
        self.job(unit, "StopUnit", deadline).await
    }

    async fn revive(&self, unit: &UnitName, method: &str, deadline: Ms) -> Outcome {
        match self.reset_failed(unit).await {
            Ok(()) => self.job(unit, method, deadline).await,
            Err(not_begun) => not_begun,
        }
    }

    /// A start limit that was hit refuses also what we ask for. A unit that is not loaded has nothing to reset. With
    /// nobody there to answer, the act itself must not be sent, so that what became of it is known: then this is its
    /// outcome.
    pub(super) async fn reset_failed(&self, unit: &UnitName) -> Result<(), Outcome> {
        match self.manager::<_, ()>("ResetFailedUnit", &(unit.as_str(),)).await {
            Err(e @ (CallError::Away(_) | CallError::Timeout)) => {
                Err(Outcome::Failed(format!("not begun: {}", e.text()).into()))
            }
            _ => Ok(()),
        }
    }

    async fn job(&self, unit: &UnitName, method: &str, deadline: Ms) -> Outcome {
        let deadline = Instant::now() + bounded(deadline);
        let Some(signals) = self.listen() else { return Outcome::Lost(BUS_GONE.into()) };
        let job = match self.manager::<_, OwnedObjectPath>(method, &(unit.as_str(), "replace")).await {
            Ok(job) => job,
            Err(e) => return refused(&e),
        };
        let mut outcomes = self.follow_jobs(signals, &[job.as_str()], deadline).await;
        outcomes.pop().unwrap_or_else(|| Outcome::Lost(NOT_TOLD.into()))
    }

    /// Follow jobs to their ends: an outcome each, in the order of `jobs`. `signals` were listened to before the jobs
    /// were made.
    pub(super) async fn follow_jobs(
        &self,
        mut signals: Receiver<Signal>,
        jobs: &[&str],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let mut pending: BTreeSet<&str> = jobs.iter().copied().collect();
        let mut ended: BTreeMap<&str, Outcome> = BTreeMap::new();
        let (mut look_at, mut gone) = (Instant::now() + LOOK_EVERY, BTreeSet::new());
        let rest = loop {
            if pending.is_empty() {
                break Outcome::Lost(NOT_TOLD.into());
            }
            match timeout_at(look_at.min(deadline), next_job(&mut signals)).await {
                Ok(Some((removed, result))) => {
                    if let Some(job) = pending.take(removed.as_str()) {
                        ended.insert(job, judge(&result));
                    }
                    continue;
                }
                Ok(None) => break Outcome::Lost("the bus went away before the job ended".into()),
                Err(_) => {}
            }
            // Those that were gone at the last look have had their grace: they are left to what is said of the rest.
            pending.retain(|job| !gone.contains(job));
            if Instant::now() >= deadline {
                for job in std::mem::take(&mut pending) {
                    ended.insert(job, Outcome::Failed("timed out".into()));
                }
            }
            gone.clear();
            for job in &pending {
                if self.job_is_gone(job).await {
                    gone.insert(*job);
                }
            }
            look_at = Instant::now() + if gone.is_empty() { LOOK_EVERY } else { GRACE };
        };
        jobs.iter().map(|job| ended.remove(job).unwrap_or_else(|| rest.clone())).collect()
    }

    /// False also when it cannot be known: the deadline is the bound.
    async fn job_is_gone(&self, job: &str) -> bool {
        let state = self.property::<String>(job, "org.freedesktop.systemd1.Job", "State").await;
        state.is_err_and(|e| e.is_absent())
    }

    /// Every signal from now on. None: the bus is gone.
    pub(super) fn listen(&self) -> Option<Receiver<Signal>> {
        self.inner.signals.upgrade().map(|signals| signals.subscribe())
    }
}

/// The next removed job and its result; none when the bus is gone.
async fn next_job(signals: &mut Receiver<Signal>) -> Option<(String, Str)> {
    loop {
        match signals.recv().await {
            Ok(Signal::JobRemoved { job, result }) => return Some((job, result)),
            // Missed ones are made good by looking for the job.
            Ok(Signal::Unit(_)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// A call that should have begun something was not answered with a job.
pub(super) fn refused(e: &CallError) -> Outcome {
    match e {
        CallError::Refused { name, text } => {
            Outcome::Failed(format!("refused: {} ({text})", name.rsplit('.').next().unwrap_or(name)).into())
        }
        CallError::Denied(text) | CallError::Limits(text) => Outcome::Failed(format!("refused: {text}").into()),
        // It may have been carried out.
        CallError::Away(_) | CallError::Timeout | CallError::Unreadable(_) => Outcome::Lost(e.text().into()),
    }
}

fn judge(result: &str) -> Outcome {
    match result {
        "done" => Outcome::Ok,
        "timeout" => Outcome::Failed("timed out".into()),
        // `canceled`, `failed`, `dependency`, `skipped`, `invalid`, `assert`, `unsupported`, `collected`, `once`
        other => Outcome::Failed(format!("job failed: {other}").into()),
    }
}

/// A deadline that the clock can hold: a day is beyond any step.
pub(super) fn bounded(deadline: Ms) -> Duration {
    deadline.min(Ms::hours(24)).into()
}

/// Wait until a signal about `unit` or any job comes, or `longest` passes. False: the bus is gone.
pub(super) async fn stirred(signals: &mut Receiver<Signal>, unit: &UnitName, longest: Duration) -> bool {
    let signal = async {
        loop {
            match signals.recv().await {
                Ok(Signal::Unit(name)) if name != *unit => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
            }
        }
    };
    timeout(longest, signal).await.unwrap_or(true)
}
