//! An undo armed with PID 1: a transient timer that starts what a plan stopped, with nobody of ours alive.
//!
//! `hostward-undo-RUN-N.timer` starts a service of the same name, and that runs systemctl, which needs neither us nor
//! the bus. A second service closes paths before that; what it cannot close in time keeps nobody down. The timer is
//! pushed forward by arming N+1 before N is dropped: a kill between the two leaves both, at no moment none. A reboot drops
//! them: then the ledger decides.
//!
//! The timer counts from the manager's own start (OnStartupSec), for a daemon-reload begins OnActiveSec anew. It stays
//! when it has elapsed, so that whoever comes later learns that it fired. Time spent suspended does not count.

mod units;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::{Str, UnitName};
use hostward_core::plan::Owed;
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use zbus::{OwnedObjectPath, Variant};

use super::Systemd;
use super::call::{CallError, MANAGER, MANAGER_PATH};
use super::jobs::BUS_GONE;
use super::unit::Properties;
use units::{PREFIX, check, closed_by, closer_of, closing, parse, service, service_of, started_by, timer_settings};

/// One armed timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    pub run: Str,
    pub timer: UnitName,
    pub owed: Owed,
    pub state: UndoState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoState {
    /// It elapses after this.
    Waiting { left: Ms },
    /// It elapsed: PID 1 has begun to start the units. What became of them only a look at them tells.
    Fired,
}

/// Why an undo is not armed, not pushed or not gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    #[error("'{0}' cannot be a part of a unit's name")]
    BadRun(Str),
    #[error("'{0}' is no unit's name")]
    BadUnit(UnitName),
    #[error("an undo of run '{run}' of {count} units and paths: there must be 1 to {OWED_MAX}")]
    Count { run: Str, count: usize },
    #[error("systemctl is in none of {}", SYSTEMCTL.join(", "))]
    NoSystemctl,
    #[error("list the armed undos")]
    List(#[source] Fault),
    #[error("arm '{timer}'")]
    Arm { timer: UnitName, source: Fault },
    /// systemd took the timer and it does not wait.
    #[error("'{timer}' is not armed: {why}")]
    NotWaiting { timer: UnitName, why: Str },
    #[error("no undo of run '{0}' is armed")]
    NotArmed(Str),
    /// Too late: PID 1 has begun to start the units.
    #[error("the undo of run '{run}' has fired")]
    Fired { run: Str },
    #[error("drop '{timer}'")]
    Drop { timer: UnitName, source: Fault },
}

/// A closure and its unit, and some more.
const OWED_MAX: usize = 400;
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// A timer is armed within milliseconds.
const JOB_WITHIN: Duration = Duration::from_secs(5);
/// Names just dropped that may still be loaded.
const NAME_TRIES: u64 = 8;

impl Systemd {
    /// Have PID 1 give back what is owed, `after` from now. One that is armed for this run already is replaced, without a
    /// moment in which none is armed. After an error one may be armed: [`Systemd::disarm`] it.
    pub async fn arm(&self, run: &str, owed: &Owed, after: Ms) -> Result<UnitName, UndoError> {
        check(run, owed)?;
        let older = self.only_newest(run).await?;
        let timer = self.arm_beside(older.as_ref(), run, owed, after).await?;
        if let Some(old) = older {
            self.drop_undo(&old.timer).await?;
        }
        Ok(timer)
    }

    /// Move the undo of a run: it fires `after` from now.
    pub async fn push(&self, run: &str, after: Ms) -> Result<UnitName, UndoError> {
        self.not_fired(run).await?;
        let Some(older) = self.only_newest(run).await? else { return Err(UndoError::NotArmed(run.into())) };
        check(run, &older.owed)?;
        let timer = self.arm_beside(Some(&older), run, &older.owed, after).await?;
        // It may have fired while we armed the next. Then both stay, for whoever undoes the rest.
        self.not_fired(run).await?;
        self.drop_undo(&older.timer).await?;
        Ok(timer)
    }

    /// Drop the undo of a run. None armed is success.
    pub async fn disarm(&self, run: &str) -> Result<(), UndoError> {
        let mut first = Ok(());
        for undo in self.armed_for(run).await? {
            let dropped = self.drop_undo(&undo.timer).await;
            first = first.and(dropped);
        }
        first
    }

    /// All of ours, by run and then by age: those of an engine before us, too.
    pub async fn armed(&self) -> Result<Vec<Undo>, UndoError> {
        type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let states: Vec<&str> = Vec::new();
        let body = (states, vec![format!("{PREFIX}*.timer")]);
        let rows: Result<Vec<Row>, CallError> = self.manager("ListUnitsByPatterns", &body).await;
        let mut undos = Vec::new();
        for row in rows.map_err(|e| UndoError::List(e.into()))? {
            let timer = UnitName::new(row.0);
            let Some((run, number)) = parse(&timer) else { continue };
            let Some((state, owed)) = self.look(&timer).await.map_err(|e| UndoError::List(e.into()))? else {
                continue;
            };
            undos.push((number, Undo { run: run.into(), timer: timer.clone(), owed, state }));
        }
        undos.sort_by(|(a, one), (b, other)| (&one.run, a).cmp(&(&other.run, b)));
        Ok(undos.into_iter().map(|(_, undo)| undo).collect())
    }

    async fn armed_for(&self, run: &str) -> Result<Vec<Undo>, UndoError> {
        let mut undos = self.armed().await?;
        undos.retain(|undo| &*undo.run == run);
        Ok(undos)
    }

    async fn not_fired(&self, run: &str) -> Result<(), UndoError> {
        let fired = self.armed_for(run).await?.iter().any(|undo| undo.state == UndoState::Fired);
        if fired { Err(UndoError::Fired { run: run.into() }) } else { Ok(()) }
    }

    /// The newest of a run. A kill in the middle of a push leaves two: the older goes here, so that a series of kills
    /// leaves no more than that.
    async fn only_newest(&self, run: &str) -> Result<Option<Undo>, UndoError> {
        let mut undos = self.armed_for(run).await?;
        let newest = undos.pop();
        for old in undos {
            self.drop_undo(&old.timer).await?;
        }
        Ok(newest)
    }

    /// What a timer does, and what it starts. None: it is gone, or stopped.
    async fn look(&self, timer: &UnitName) -> Result<Option<(UndoState, Owed)>, CallError> {
        let gone = |e: CallError| if e.is_absent() { Ok(None) } else { Err(e) };
        let reply = match self.all_of(timer).await {
            Ok(reply) => reply,
            Err(e) => return gone(e),
        };
        let body = reply.body();
        let all = Properties(body.deserialize::<HashMap<&str, Variant<'_>>>()?);
        let state = match all.text("SubState") {
            "waiting" => {
                let left = all.micros("NextElapseUSecMonotonic").saturating_sub(monotonic_micros());
                UndoState::Waiting { left: Ms(left / 1000) }
            }
            "running" | "elapsed" => UndoState::Fired,
            _ => return Ok(None),
        };
        let reply = match self.all_of(&service_of(timer)).await {
            Ok(reply) => reply,
            Err(e) => return gone(e),
        };
        let body = reply.body();
        let units = started_by(&Properties(body.deserialize::<HashMap<&str, Variant<'_>>>()?));
        let closed = match self.all_of(&closer_of(timer)).await {
            Ok(reply) => closed_by(&Properties(reply.body().deserialize::<HashMap<&str, Variant<'_>>>()?)),
            Err(e) if e.is_absent() => Owed::default(),
            Err(e) => return Err(e),
        };
        Ok(Some((state, Owed { units, ..closed })))
    }

    async fn all_of(&self, unit: &UnitName) -> Result<zbus::Message, CallError> {
        let path: OwnedObjectPath = self.manager("GetUnit", &(unit.as_str(),)).await?;
        self.call(path.as_str(), "org.freedesktop.DBus.Properties", "GetAll", &("",)).await
    }

    /// Arm the next of a run; returns when it is seen to wait.
    async fn arm_beside(
        &self,
        older: Option<&Undo>,
        run: &str,
        owed: &Owed,
        after: Ms,
    ) -> Result<UnitName, UndoError> {
        let systemctl = SYSTEMCTL.into_iter().find(|path| Path::new(path).exists()).ok_or(UndoError::NoSystemctl)?;
        let first = older.and_then(|undo| parse(&undo.timer)).map_or(0, |(_, number)| number + 1);
        let name = |number| UnitName::new(format!("{PREFIX}{run}-{number}.timer"));
        let (mut number, mut timer) = (first, name(first));
        let outcome = loop {
            match self.start_timer(&timer, run, systemctl, owed, after).await {
                Ok(outcome) => break outcome,
                // Dropped a moment ago and not unloaded yet: another name will do.
                Err(e) if exists(&e) && number < first + NAME_TRIES => {
                    number += 1;
                    timer = name(number);
                }
                Err(e) => return Err(UndoError::Arm { timer, source: e.into() }),
            }
        };
        match self.look(&timer).await {
            Ok(Some(_)) => Ok(timer),
            Ok(None) => {
                let why = match outcome {
                    Outcome::Ok => "it is gone".into(),
                    Outcome::Failed(why) | Outcome::Lost(why) => why,
                };
                Err(UndoError::NotWaiting { timer, why })
            }
            Err(e) => Err(UndoError::Arm { timer, source: e.into() }),
        }
    }

    async fn start_timer(
        &self,
        timer: &UnitName,
        run: &str,
        systemctl: &str,
        owed: &Owed,
        after: Ms,
    ) -> Result<Outcome, CallError> {
        let Some(signals) = self.listen() else { return Err(CallError::Away(BUS_GONE.into())) };
        let started: u64 = self.property(MANAGER_PATH, MANAGER, "UserspaceTimestampMonotonic").await?;
        // systemd writes it down in whole milliseconds, and that is what it reads at a reload.
        let now = monotonic_micros().saturating_sub(started).div_ceil(1000);
        let elapses = now.saturating_add(after.0).saturating_mul(1000);
        let (returns, closer) = (service_of(timer), closer_of(timer));
        let mut auxiliary = vec![(returns.as_str(), service(run, systemctl, owed, &closer))];
        auxiliary.extend(closing(run, owed).map(|settings| (closer.as_str(), settings)));
        let body = (timer.as_str(), "fail", timer_settings(run, elapses), auxiliary);
        let job: OwnedObjectPath = self.manager("StartTransientUnit", &body).await?;
        let mut outcomes = self.follow_jobs(signals, &[job.as_str()], Instant::now() + JOB_WITHIN).await;
        Ok(outcomes.pop().unwrap_or(Outcome::Ok))
    }

    /// The timer first, so that it cannot start the service again.
    async fn drop_undo(&self, timer: &UnitName) -> Result<(), UndoError> {
        let failed = |source| UndoError::Drop { timer: timer.clone(), source };
        for unit in [timer, &service_of(timer), &closer_of(timer)] {
            let Some(signals) = self.listen() else { return Err(failed(Fault::BusAway(BUS_GONE.into()))) };
            let job: OwnedObjectPath = match self.manager("StopUnit", &(unit.as_str(), "replace")).await {
                Ok(job) => job,
                Err(e) if e.is_absent() => continue,
                Err(e) => return Err(failed(e.into())),
            };
            let ended = self.follow_jobs(signals, &[job.as_str()], Instant::now() + JOB_WITHIN).await.pop();
            if let Some(Outcome::Failed(why) | Outcome::Lost(why)) = ended {
                return Err(failed(Fault::Probe(why)));
            }
        }
        Ok(())
    }
}

fn exists(e: &CallError) -> bool {
    matches!(e, CallError::Refused { name, .. } if &**name == "org.freedesktop.systemd1.UnitExists")
}

/// Now, as timers count.
fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(now.tv_sec) * 1_000_000 + part(now.tv_nsec) / 1000
}
