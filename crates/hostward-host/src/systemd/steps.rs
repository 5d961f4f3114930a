//! Commands as transient units: PID 1 runs them, so that they neither die nor go astray with us.
//!
//! A step is `Type=oneshot` with `RemainAfterExit=yes`, for one that has ended would otherwise be unloaded and nothing
//! be left to adopt; its time limit is TimeoutStartSec, for RuntimeMaxSec does not limit a oneshot. Its name says which
//! attempt it is, and the mode is "fail": a name that exists has begun, and is followed, never begun again.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::UnitName;
use hostward_core::plan::Command;
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;
use zbus::{OwnedObjectPath, Variant};

use super::Systemd;
use super::call::CallError;
use super::events::Signal;
use super::jobs::{bounded, refused, stirred};
use super::unit::Properties;

/// Every step's name begins so. For a plan, nothing else is ever begun, stopped or forgotten here.
const PREFIX: &str = "hostward-step-";
/// Between SIGTERM and SIGKILL, once a step's time is up.
const STOP_TIMEOUT: Ms = Ms::secs(10);
/// What systemd may take beyond a step's own limits before it is given up.
const MARGIN: Ms = Ms::secs(5);
/// A step is looked at as often as this when no signal comes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const DESCRIPTION_CHARS: usize = 200;

/// What is known of a step's unit.
enum Step {
    NotLoaded,
    /// Under way, queued, or being stopped.
    Running,
    Ended(Outcome),
}

impl Systemd {
    /// Run a command to its end as the transient unit `name`, or follow that unit when it exists already. `deadline` is
    /// the command's; the answer comes at most 15 s after it.
    pub async fn run_command(&self, name: &UnitName, command: &Command, deadline: Ms) -> Outcome {
        if !is_step(name) {
            return Outcome::Failed(format!("'{name}' is no step's name").into());
        }
        self.run_unit(name, command, deadline).await
    }

    /// The same for a unit of any name of ours.
    pub(super) async fn run_unit(&self, name: &UnitName, command: &Command, deadline: Ms) -> Outcome {
        let deadline = deadline.min(Ms::hours(24));
        let properties = match properties(name, command, deadline) {
            Ok(properties) => properties,
            Err(why) => return Outcome::Failed(why.into()),
        };
        let Some(signals) = self.listen() else { return Outcome::Lost("the bus is gone".into()) };
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (name.as_str(), "fail", properties, auxiliary);
        match self.manager::<_, OwnedObjectPath>("StartTransientUnit", &body).await {
            Ok(_) => {}
            Err(CallError::Refused { name, .. }) if &*name == "org.freedesktop.systemd1.UnitExists" => {}
            Err(e) => return refused(&e),
        }
        let ended = self.follow(name, signals, deadline).await;
        ended.unwrap_or_else(|| Outcome::Lost("the step's unit is gone".into()))
    }

    /// Follow a step that was begun before us to its end. None: no such unit is loaded.
    pub async fn adopt(&self, name: &UnitName, deadline: Ms) -> Option<Outcome> {
        match self.listen() {
            Some(signals) => self.follow(name, signals, deadline).await,
            None => Some(Outcome::Lost("the bus is gone".into())),
        }
    }

    /// Forget a step whose outcome is durable; one that still runs is stopped. A step that is gone already is success.
    pub async fn release(&self, name: &UnitName) -> Result<(), Fault> {
        if !is_step(name) {
            return Err(Fault::Probe(format!("'{name}' is no step's name").into()));
        }
        Ok(self.forget_unit(name).await?)
    }

    /// The same for a unit of any name of ours.
    pub(super) async fn forget_unit(&self, name: &UnitName) -> Result<(), CallError> {
        let absent = |done: Result<(), CallError>| match done {
            Err(e) if e.is_absent() => Ok(()),
            done => done,
        };
        let stopped = self.manager::<_, OwnedObjectPath>("StopUnit", &(name.as_str(), "replace")).await;
        // Also when the stop failed: each frees what the other cannot. The first error is the one that is told.
        let reset = self.manager::<_, ()>("ResetFailedUnit", &(name.as_str(),)).await;
        absent(stopped.map(drop))?;
        absent(reset)
    }

    /// Ends a step's unit, waits until it has, and forgets it: for at most as long as a step that is told to end may take.
    pub async fn end_step(&self, name: &UnitName) -> Result<(), Fault> {
        let Some(mut signals) = self.listen() else { return Err(Fault::BusAway("the bus is gone".into())) };
        let until = Instant::now() + bounded(STOP_TIMEOUT + MARGIN);
        self.release(name).await?;
        loop {
            let ended = match self.step(name).await {
                Ok(Step::NotLoaded) => return Ok(()),
                // What is stopped while it runs has failed: only now can that be forgotten.
                Ok(Step::Ended(_)) => return self.release(name).await,
                Ok(Step::Running) => Fault::Timeout,
                Err(e) => e.into(),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !stirred(&mut signals, name, left.min(LOOK_EVERY)).await {
                return Err(ended);
            }
        }
    }

    /// Every step that systemd still holds, running or ended.
    pub async fn list_steps(&self) -> Result<Vec<UnitName>, Fault> {
        type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let states: Vec<&str> = Vec::new();
        let patterns = vec!["hostward-step-*.service"];
        let rows: Vec<Row> = self.manager("ListUnitsByPatterns", &(states, patterns)).await?;
        Ok(rows.into_iter().filter(|row| row.2 != "not-found").map(|row| UnitName::new(row.0)).collect())
    }

    /// None: the unit is not loaded.
    async fn follow(&self, name: &UnitName, mut signals: Receiver<Signal>, deadline: Ms) -> Option<Outcome> {
        let until = Instant::now() + bounded(deadline + STOP_TIMEOUT + MARGIN);
        loop {
            let unanswered = match self.step(name).await {
                Ok(Step::Ended(outcome)) => return Some(outcome),
                Ok(Step::NotLoaded) => return None,
                Ok(Step::Running) => "still running past its deadline".to_owned(),
                // systemd may be re-executing: it is asked again until the time is up.
                Err(e) => e.text(),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Outcome::Lost(unanswered.into()));
            }
            if !stirred(&mut signals, name, left.min(LOOK_EVERY)).await {
                return Some(Outcome::Lost("the bus went away before the step ended".into()));
            }
        }
    }

    async fn step(&self, name: &UnitName) -> Result<Step, CallError> {
        // GetUnit, unlike a listing by name, loads nothing.
        let path = match self.manager::<_, OwnedObjectPath>("GetUnit", &(name.as_str(),)).await {
            Ok(path) => path,
            Err(e) if e.is_absent() => return Ok(Step::NotLoaded),
            Err(e) => return Err(e),
        };
        let reply = match self.call(path.as_str(), "org.freedesktop.DBus.Properties", "GetAll", &("",)).await {
            Ok(reply) => reply,
            Err(e) if e.is_absent() => return Ok(Step::NotLoaded),
            Err(e) => return Err(e),
        };
        let body = reply.body();
        let all = Properties(body.deserialize::<HashMap<&str, Variant<'_>>>()?);
        Ok(judge(&all))
    }
}

fn is_step(name: &UnitName) -> bool {
    name.as_str().starts_with(PREFIX) && name.as_str().ends_with(".service")
}

fn judge(all: &Properties<'_>) -> Step {
    if all.text("LoadState") == "not-found" {
        return Step::NotLoaded;
    }
    let failed = |why: String| Step::Ended(Outcome::Failed(why.into()));
    match (all.text("ActiveState"), all.text("Result")) {
        ("active", "success") => Step::Ended(Outcome::Ok),
        // Not begun yet: its job waits. Without one it was stopped, by somebody or by a shutdown.
        ("inactive", _) if all.has_job() => Step::Running,
        ("inactive", "success") => failed("stopped".into()),
        ("active" | "inactive" | "failed", "timeout") => failed("timed out".into()),
        ("active" | "inactive" | "failed", result) => match all.main_end() {
            end if matches!(result, "exit-code" | "signal" | "core-dump") && !end.is_empty() => failed(end),
            _ => failed(format!("job failed: {result}")),
        },
        _ => Step::Running,
    }
}

/// A property of a transient unit.
pub(super) type Setting<'a> = (&'static str, Variant<'a>);

fn properties<'a>(name: &'a UnitName, command: &'a Command, deadline: Ms) -> Result<Vec<Setting<'a>>, String> {
    let mut settings = command_settings(name, command)?;
    settings.extend([
        ("Type", Variant::from("oneshot")),
        ("RemainAfterExit", Variant::from(true)),
        ("TimeoutStartUSec", Variant::from(deadline.0.saturating_mul(1000))),
        ("TimeoutStopUSec", Variant::from(STOP_TIMEOUT.0 * 1000)),
    ]);
    Ok(settings)
}

/// What one of the operator's commands is run with, whatever kind of unit it is.
pub(super) fn command_settings<'a>(name: &'a UnitName, command: &'a Command) -> Result<Vec<Setting<'a>>, String> {
    let argv: Vec<&str> = command.argv.iter().map(|arg| &**arg).collect();
    let program = *argv.first().ok_or("there is no command")?;
    let description: String = argv.join(" ").chars().take(DESCRIPTION_CHARS).collect();
    let identifier = name.as_str().strip_suffix(".service").unwrap_or(name.as_str());
    // `$` in an argument is expanded without a flag of ExecStartEx, which systemd 252 forgets at a daemon-reload.
    let exec = if argv.iter().any(|arg| arg.contains('$')) {
        ("ExecStartEx", Variant::new(vec![(program, argv.clone(), vec!["no-env-expand"])]))
    } else {
        ("ExecStart", Variant::new(vec![(program, argv.clone(), false)]))
    };
    let mut settings = vec![
        ("Description", Variant::from(format!("Hostward: {description}"))),
        ("SyslogIdentifier", Variant::from(identifier)),
        ("Environment", Variant::from(vec!["LC_ALL=C"])),
        exec,
    ];
    if let Some(user) = &command.user {
        settings.push(("User", Variant::from(&**user)));
    }
    let utf8 =
        |what: &str, path: &'a Path| path.to_str().ok_or_else(|| format!("{what} '{}' is not UTF-8", path.display()));
    if let Some(dir) = &command.dir {
        settings.push(("WorkingDirectory", Variant::from(utf8("directory", dir)?)));
    }
    if let Some(env) = &command.env {
        // Each with whether it may be missing.
        settings.push(("EnvironmentFiles", Variant::new(vec![(utf8("environment file", env)?, false)])));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(active: &str, result: &str, code: i32, status: i32) -> String {
        let all = HashMap::from([
            ("LoadState", Variant::from("loaded")),
            ("ActiveState", Variant::from(active)),
            ("Result", Variant::from(result)),
            ("ExecMainCode", Variant::from(code)),
            ("ExecMainStatus", Variant::from(status)),
        ]);
        match judge(&Properties(all)) {
            Step::NotLoaded => "not loaded".into(),
            Step::Running => "running".into(),
            Step::Ended(Outcome::Ok) => "ok".into(),
            Step::Ended(Outcome::Failed(why) | Outcome::Lost(why)) => why.to_string(),
        }
    }

    #[test]
    fn how_a_step_ended() {
        let table = [
            ("active", "success", 1, 0, "ok"),
            ("activating", "success", 0, 0, "running"),
            ("deactivating", "timeout", 2, 15, "running"),
            ("failed", "exit-code", 1, 3, "exited 3"),
            ("failed", "signal", 2, 9, "killed 9"),
            ("failed", "core-dump", 3, 6, "dumped 6"),
            ("failed", "timeout", 2, 15, "timed out"),
            ("failed", "resources", 0, 0, "job failed: resources"),
            ("failed", "exit-code", 0, 0, "job failed: exit-code"),
            ("inactive", "success", 1, 0, "stopped"),
        ];
        for (active, result, code, status, expected) in table {
            assert_eq!(judged(active, result, code, status), expected, "{active} {result} {code} {status}");
        }
    }

    #[test]
    fn only_steps_are_touched() {
        let table =
            [("hostward-step-7-0-1.service", true), ("hostward.service", false), ("hostward-step-x.mount", false)];
        for (name, expected) in table {
            assert_eq!(is_step(&UnitName::new(name)), expected, "{name}");
        }
    }
}
