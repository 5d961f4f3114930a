//! What is begun and left alone: a job, in a transient unit that is found again by its name.
//!
//! Such a unit is nobody's step: it outlives the plan, us, and our next start, and is forgotten by systemd itself when it
//! has ended. Its name is all that says it was begun, so the mode is "fail", and one that runs already was begun before.

use hostward_core::ask::Fault;
use hostward_core::id::UnitName;
use hostward_core::plan::Launch;
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use tokio::time::Instant;
use zbus::{OwnedObjectPath, Variant};

use super::Systemd;
use super::call::CallError;
use super::jobs::{BUS_GONE, bounded, refused};
use super::steps::{Setting, command_settings};

/// Nothing of another name is ever begun here.
const PREFIX: &str = "hostward-job-";

impl Systemd {
    /// Begins it, and answers when its program runs: exec(2) has succeeded. How it ends is not awaited.
    pub async fn launch(&self, launch: &Launch, deadline: Ms) -> Outcome {
        let name = &launch.unit;
        if !is_ours(name) {
            return Outcome::Failed(format!("'{name}' is no name of a job's that we start").into());
        }
        let settings = match settings(launch) {
            Ok(settings) => settings,
            Err(why) => return Outcome::Failed(why.into()),
        };
        let until = Instant::now() + bounded(deadline);
        let Some(signals) = self.listen() else { return Outcome::Lost(BUS_GONE.into()) };
        let auxiliary: Vec<(&str, Vec<Setting<'_>>)> = Vec::new();
        let body = (name.as_str(), "fail", settings, auxiliary);
        let job = match self.manager::<_, OwnedObjectPath>("StartTransientUnit", &body).await {
            Ok(job) => job,
            Err(CallError::Refused { name: error, .. }) if &*error == "org.freedesktop.systemd1.UnitExists" => {
                return self.begun_before(name).await;
            }
            Err(e) => return refused(&e),
        };
        let ended = self.follow_jobs(signals, &[job.as_str()], until).await.pop();
        match ended {
            Some(Outcome::Failed(why)) => Outcome::Failed(format!("{name} did not start: {why}").into()),
            Some(outcome) => outcome,
            None => Outcome::Lost(BUS_GONE.into()),
        }
    }

    /// Whether such a unit runs, or is about to. One that has ended well is gone, as one that was never begun.
    pub async fn launched(&self, name: &UnitName) -> Result<bool, Fault> {
        let row = self.listed(name).await?;
        Ok(row.is_some_and(|row| matches!(row.active.as_str(), "active" | "activating" | "reloading")))
    }

    async fn begun_before(&self, name: &UnitName) -> Outcome {
        match self.launched(name).await {
            Ok(true) => Outcome::Ok,
            Ok(false) => Outcome::Failed(format!("{name} exists and does not run").into()),
            Err(fault) => Outcome::Lost(fault.to_string().into()),
        }
    }
}

fn is_ours(name: &UnitName) -> bool {
    name.as_str().starts_with(PREFIX) && name.as_str().ends_with(".service")
}

fn settings(launch: &Launch) -> Result<Vec<Setting<'_>>, String> {
    let mut settings = command_settings(&launch.unit, &launch.command)?;
    settings.extend([
        // Whether the program could be executed is known when its job ends.
        ("Type", Variant::from("exec")),
        // Also after a failure: nobody is left to forget it, and the name would be taken for ever.
        ("CollectMode", Variant::from("inactive-or-failed")),
    ]);
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_jobs_that_we_start_are_ours() {
        let table = [
            ("hostward-job-crawl-7.service", true),
            ("hostward-step-7-0-1.service", false),
            ("nginx.service", false),
            ("hostward-job-7.scope", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_ours(&UnitName::new(name)), expected, "{name}");
        }
    }
}
