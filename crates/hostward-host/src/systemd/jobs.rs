//! Restart, start, stop: one job each, followed to its end.
//!
//! The result of a job comes as a signal that may precede the reply that names the job: so whoever calls listens first
//! (subscribing after the call missed 99 of 100). A signal can also be lost, to a re-executing systemd or an
//! overfull queue: so a job is also looked for, now and then.

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
        // A start limit that was hit refuses also what we ask for. A unit that is not loaded has nothing to reset. With
        // nobody there to answer, the act itself is not sent, so that what became of it is known.
        let reset = self.manager::<_, ()>("ResetFailedUnit", &(unit.as_str(),)).await;
        if let Err(e @ (CallError::Away(_) | CallError::Timeout)) = reset {
            return Outcome::Failed(format!("not begun: {}", e.text()).into());
        }
        self.job(unit, method, deadline).await
    }

    async fn job(&self, unit: &UnitName, method: &str, deadline: Ms) -> Outcome {
        let deadline = Instant::now() + bounded(deadline);
        let Some(mut signals) = self.listen() else { return Outcome::Lost("the bus is gone".into()) };
        let job = match self.manager::<_, OwnedObjectPath>(method, &(unit.as_str(), "replace")).await {
            Ok(job) => job,
            Err(e) => return refused(&e),
        };
        let (mut look_at, mut gone) = (Instant::now() + LOOK_EVERY, false);
        loop {
            match timeout_at(look_at.min(deadline), next_job(&mut signals)).await {
                Ok(Some((removed, result))) if removed == job.as_str() => return judge(&result),
                Ok(Some(_)) => continue,
                Ok(None) => return Outcome::Lost("the bus went away before the job ended".into()),
                Err(_) if gone => return Outcome::Lost("the job ended and systemd did not tell how".into()),
                Err(_) if Instant::now() >= deadline => return Outcome::Failed("timed out".into()),
                Err(_) => {}
            }
            gone = self.job_is_gone(&job).await;
            look_at = Instant::now() + if gone { GRACE } else { LOOK_EVERY };
        }
    }

    /// False also when it cannot be known: the deadline is the bound.
    async fn job_is_gone(&self, job: &OwnedObjectPath) -> bool {
        let state = self.property::<String>(job.as_str(), "org.freedesktop.systemd1.Job", "State").await;
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
