//! Long work as an operator has it: a table of jobs in SQLite behind a small command line, a worker that takes up what
//! waits, and units of their own for some.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tiny::QUICK_HOST;
use crate::{Guard, Sandbox, repository};

#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    sandbox: &'a Sandbox,
}

const CLI: &str = "/opt/work/jobs";
const WORKER_UNIT: &str = "\
[Service]
User=work
EnvironmentFile=/etc/work/env
ExecStart=/opt/work/jobs worker
TimeoutStopSec=5
[Install]
WantedBy=multi-user.target
";
const OWN_UNIT: &str = "\
[Service]
User=work
EnvironmentFile=/etc/work/env
ExecStart=/opt/work/jobs run %i
TimeoutStopSec=5
";
/// As docs/usage/jobs.md has it, only quicker.
const WATCH: &str = r#"
[job.crawl]
interval      = "1s"
stalled_after = "4s"
respect_stop  = "6s"
worker        = "work.service"
brakes = { cooldown = "1s", plateau = "2s", soak = "1s", per_hour = 48, per_day = 48 }
[job.crawl.provider]
run      = ["/opt/work/jobs", "list"]
user     = "work"
env_file = "/etc/work/env"
deadline = "3s"
[[job.crawl.progress]]
log   = "logs/*.log"
count = 'crawled=(\d+)'
[job.crawl.runner]
unit = "crawl@{id}.service"
[job.crawl.output]
user  = "work"
write = "access"
[job.crawl.remedy]
retry    = ["/opt/work/jobs", "retry", "{id}"]
recover  = ["/opt/work/jobs", "recover", "{id}"]
record   = ["/opt/work/jobs", "record", "{id}"]
user     = "work"
env_file = "/etc/work/env"
guard    = "3s"
"#;

const JUDGED_WITHIN: Duration = Duration::from_secs(40);

impl<'a> Jobs<'a> {
    pub const ID: &'static str = "job.crawl";

    /// The table, the worker and the template of units; the worker runs.
    pub fn install(sandbox: &'a Sandbox) -> Result<Jobs<'a>> {
        let source = repository().join("tests/fixtures/jobs/jobs.py");
        let program = fs::read(&source).with_context(|| format!("read '{}'", source.display()))?;
        sandbox.write(CLI, "0755", program)?;
        sandbox.write("/etc/work/env", "0640", "# where the table is\nWORK_DB=/var/lib/work/jobs.db\n")?;
        sandbox.write("/etc/systemd/system/work.service", "0644", WORKER_UNIT)?;
        sandbox.write("/etc/systemd/system/crawl@.service", "0644", OWN_UNIT)?;
        sandbox.sh("useradd --system work; mkdir -p /srv/work /var/lib/work
             chown work: /srv/work /var/lib/work; chgrp work /etc/work/env
             systemctl daemon-reload; systemctl enable -q --now work")?;
        Ok(Jobs { sandbox })
    }

    pub fn config() -> String {
        format!("{QUICK_HOST}{WATCH}")
    }

    pub fn cli(&self, words: &str) -> Result<String> {
        self.sandbox.sh(&format!(
            "setpriv --reuid=work --regid=work --clear-groups env WORK_DB=/var/lib/work/jobs.db {CLI} {words}"
        ))
    }

    pub fn add(&self, id: &str, state: &str) -> Result<()> {
        self.cli(&format!("add {id} {state}")).map(drop)
    }

    /// What it does from now on.
    pub fn does(&self, id: &str, mode: &str) -> Result<()> {
        self.sandbox.write(&format!("/srv/work/{id}/mode"), "0666", mode)
    }

    /// A job that a unit of its own runs, and that counts.
    pub fn start_own(&self, id: &str) -> Result<()> {
        self.add(id, "failed")?;
        self.sandbox.write(&format!("/srv/work/{id}/own"), "0644", "")?;
        self.sandbox.sh(&format!("systemctl start crawl@{id}"))?;
        self.wait_state(id, "running")
    }

    /// A job that the worker runs, and that counts.
    pub fn start(&self, id: &str) -> Result<()> {
        self.add(id, "pending")?;
        self.wait_state(id, "running")
    }

    pub fn job(&self, id: &str) -> Result<Value> {
        let listed: Value = serde_json::from_str(&self.cli("list")?)?;
        let jobs = listed["jobs"].as_array().cloned().unwrap_or_default();
        jobs.into_iter().find(|job| job["id"] == id).with_context(|| format!("no job '{id}'"))
    }

    pub fn wait_state(&self, id: &str, state: &str) -> Result<()> {
        let is = || Ok(self.job(id)?["state"] == state);
        self.sandbox.wait_until(&format!("job {id} to be {state}"), JUDGED_WITHIN, is)?;
        Ok(())
    }

    pub fn recoveries(&self, id: &str) -> Result<u64> {
        self.job(id)?["numbers"]["recoveries"].as_u64().context("it has no such number")
    }

    /// Its counter moves.
    pub fn progresses(&self, id: &str) -> Result<()> {
        let last = || {
            self.sandbox.sh(&format!("cat $(ls -t /srv/work/{id}/logs/*.log | head -1) | grep -c crawled= || true"))
        };
        let before: u64 = last()?.trim().parse()?;
        self.sandbox.wait_until(&format!("job {id} to progress"), JUDGED_WITHIN, || {
            let now: u64 = last()?.trim().parse()?;
            Ok(now != before && now > 0)
        })?;
        Ok(())
    }

    /// What a unit is: `active`, `inactive`, `failed`.
    pub fn active(&self, unit: &str) -> Result<String> {
        self.sandbox.property(unit, "ActiveState")
    }
}

impl Guard<'_> {
    /// A target of the job watch, as status shows it: `job/a`, `worker`.
    pub fn job_target(&self, key: &str) -> Result<Value> {
        let watch = self.watch(Jobs::ID)?;
        let id = format!("{}#{key}", Jobs::ID);
        let targets = watch["targets"].as_array().cloned().unwrap_or_default();
        Ok(targets.into_iter().find(|target| target["id"] == *id).unwrap_or(Value::Null))
    }

    /// `up`, `pending`, the code that it is down for, or `unknown`.
    pub fn job_state(&self, key: &str) -> Result<String> {
        let verdict = self.job_target(key)?["verdict"].clone();
        Ok(match &verdict {
            Value::String(verdict) => verdict.clone(),
            Value::Object(verdict) if verdict.contains_key("unknown") => "unknown".to_owned(),
            verdict => verdict["down"]["code"].as_str().unwrap_or("none").to_owned(),
        })
    }

    pub fn wait_job(&self, key: &str, wanted: &str) -> Result<()> {
        let is = || Ok(self.job_state(key)? == wanted);
        let found = self.sandbox().wait_until(&format!("{key} to be {wanted}"), JUDGED_WITHIN, is);
        found.map(drop).with_context(|| format!("{:#}", self.job_target(key).unwrap_or_default()))
    }

    /// What the hold says.
    pub fn wait_job_held(&self, key: &str, hold: &str) -> Result<String> {
        let found = self.sandbox().wait_for(&format!("{key} to be held: {hold}"), JUDGED_WITHIN, || {
            let holds = self.job_target(key)?["holds"].as_array().cloned().unwrap_or_default();
            let found = holds.iter().find(|held| held["hold"] == hold);
            Ok(found.map(|held| held["value"].as_str().unwrap_or_default().to_owned()))
        });
        found.with_context(|| format!("{:#}", self.job_target(key).unwrap_or_default()))
    }

    /// The newest look at a target could not be made; what it says of that.
    pub fn wait_job_unseen(&self, key: &str) -> Result<String> {
        self.sandbox().wait_for(&format!("{key} not to be seen"), JUDGED_WITHIN, || {
            let said = self.job_target(key)?["looks"][0]["said"].as_str().unwrap_or_default().to_owned();
            Ok(said.strip_prefix("unknown: ").map(str::to_owned))
        })
    }

    /// The plans that were begun for a target, oldest first: the rung of each, and its acts.
    pub fn job_plans(&self, key: &str) -> Result<Vec<(String, Vec<Value>)>> {
        let id = format!("{}#{key}", Jobs::ID);
        let opened = self.records("opened")?;
        let plans = opened.iter().map(|record| &record["body"]["opened"]["plan"]);
        let of = plans.filter(|plan| plan["heals"][0]["target"] == *id);
        Ok(of
            .map(|plan| {
                let steps = plan["steps"].as_array().cloned().unwrap_or_default();
                let acts = steps.into_iter().map(|step| step["act"].clone()).filter(|act| !act.is_null()).collect();
                (plan["rung"].as_str().unwrap_or_default().to_owned(), acts)
            })
            .collect())
    }

    /// The ends of all runs: `proved`, or what went wrong.
    pub fn closings(&self) -> Result<Vec<Value>> {
        Ok(self.records("closed")?.iter().map(|record| record["body"]["closed"]["result"].clone()).collect())
    }

    pub fn wait_job_closed(&self, runs: usize) -> Result<Vec<Value>> {
        self.sandbox().wait_for(&format!("{runs} runs to be closed"), Duration::from_secs(90), || {
            let closings = self.closings()?;
            ensure!(closings.len() <= runs, "more than {runs} runs: {closings:?}");
            Ok((closings.len() == runs).then_some(closings))
        })
    }
}
