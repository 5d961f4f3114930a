//! Hostward guarding the example app: its configuration, its life, and what it says.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{ExampleApp, Output, Reconcile, Sandbox, hostward_binary, install_hostward, write_config};

/// Hostward, installed beside the example app.
#[derive(Debug)]
pub struct Guard<'a> {
    sandbox: &'a Sandbox,
}

const READY_WITHIN: Duration = Duration::from_secs(20);

impl<'a> Guard<'a> {
    pub const GLOBAL_SENTINEL: &'static str = "/etc/hostward/enabled";
    pub const DRIFT_SENTINEL: &'static str = "/etc/example/drift-auto-reconcile-enabled";
    pub const TEXTFILE: &'static str = "/var/lib/prometheus/node-exporter/hostward.prom";
    pub const DEPLOY_LOCK: &'static str = "/tmp/example-deploy.lock";

    /// Installs it as a package would, with both sentinels present. Starts nothing.
    pub fn install(sandbox: &'a Sandbox, reconcile: Reconcile) -> Result<Self> {
        Self::install_with(sandbox, &Self::config(reconcile))
    }

    pub fn install_with(sandbox: &'a Sandbox, config: &str) -> Result<Self> {
        Self::install_binary(sandbox, &hostward_binary()?, config)
    }

    /// The same with a binary of one's choice: a benchmark measures the release build.
    pub fn install_binary(sandbox: &'a Sandbox, binary: &Path, config: &str) -> Result<Self> {
        sandbox.sh("mkdir -p /etc/example /var/lib/prometheus/node-exporter")?;
        install_hostward(sandbox, binary, config)?;
        let guard = Self { sandbox };
        guard.permit(Self::GLOBAL_SENTINEL)?;
        guard.permit(Self::DRIFT_SENTINEL)?;
        Ok(guard)
    }

    /// The example's configuration.
    pub fn config(reconcile: Reconcile) -> String {
        let run = serde_json::to_string(&ExampleApp::reconcile_command(reconcile)).unwrap_or_default();
        format!(
            r#"
[host]
sentinel = "{global}"
mode     = "act"

[app.example]
lock = {{ flock = "{deploy_lock}" }}
tree = "/opt/example"

[metrics]
listen   = "127.0.0.1:9469"
textfile = "{textfile}"

[service.api]
app  = "example"
unit = "{unit}"
[[service.api.probe.http]]
url = "{url}"
every = "2s"
expect.status = 200
expect.json   = {{ "/ok" = true, "/checks/*/status" = {{ all = "ok" }} }}
[service.api.remedy]
ladder = ["restart", "reconcile:app", "notify"]

[baseline.app]
app      = "example"
sentinel = "{drift}"
interval = "5min"
metrics.compat = "healtharchive_drift_auto_reconcile"
[baseline.app.python]
venv = "{venv}"
lock = "{lock}"
[baseline.app.reconcile]
run  = [{run}]
user = "deploy"
then = {{ restart = ["{unit}"], prove = "service.api" }}
"#,
            global = Self::GLOBAL_SENTINEL,
            drift = Self::DRIFT_SENTINEL,
            deploy_lock = Self::DEPLOY_LOCK,
            textfile = Self::TEXTFILE,
            unit = ExampleApp::UNIT,
            url = ExampleApp::HEALTH_URL,
            venv = ExampleApp::VENV,
            lock = ExampleApp::LOCK,
        )
    }

    pub fn start(&self) -> Result<()> {
        self.sandbox.sh("systemctl start hostward")?;
        self.sandbox.wait_until("both watches are judged up", READY_WITHIN, || {
            Ok(self.up("service.api")? == Some(true) && self.up("baseline.app")? == Some(true))
        })?;
        Ok(())
    }

    pub fn permit(&self, sentinel: &str) -> Result<()> {
        self.sandbox.write(sentinel, "0644", "")
    }

    pub fn forbid(&self, sentinel: &str) -> Result<()> {
        self.sandbox.sh(&format!("rm -f {sentinel}"))?;
        Ok(())
    }

    pub fn configure(&self, config: &str) -> Result<()> {
        write_config(self.sandbox, config)
    }

    /// `hostward ARGUMENTS`, whatever its exit code.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.sandbox.exec(std::iter::once("hostward").chain(arguments.iter().copied()))
    }

    /// What a verb prints as JSON, whatever its exit code.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("'hostward {}' printed no JSON: {output:?}", arguments.join(" ")))
    }

    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// One watch of a status.
    pub fn watch(&self, id: &str) -> Result<Value> {
        Ok(find(&self.status()?, id))
    }

    /// The verdict; none while there is none.
    pub fn up(&self, id: &str) -> Result<Option<bool>> {
        let watch = self.watch(id)?;
        let verdict = &watch["targets"][0]["verdict"];
        Ok(match verdict {
            Value::String(up) if up == "up" => Some(true),
            Value::Object(down) if down.contains_key("down") => Some(false),
            _ => None,
        })
    }

    /// The reason's code of a target that is down.
    pub fn reason(&self, id: &str) -> Result<Option<String>> {
        let watch = self.watch(id)?;
        Ok(watch["targets"][0]["verdict"]["down"]["code"].as_str().map(str::to_owned))
    }

    /// Names of the holds of a watch.
    pub fn holds(&self, id: &str) -> Result<Vec<String>> {
        let watch = self.watch(id)?;
        let holds = watch["targets"][0]["holds"].as_array().cloned().unwrap_or_default();
        Ok(holds.iter().filter_map(|held| held["hold"].as_str().map(str::to_owned)).collect())
    }

    /// The ledger's records of one kind: `opened`, `began`, `turned`, ...
    pub fn records(&self, kind: &str) -> Result<Vec<Value>> {
        let history = self.json(&["history"])?;
        let records = history.as_array().cloned().unwrap_or_default();
        Ok(records.into_iter().filter(|record| record["body"].get(kind).is_some()).collect())
    }

    /// `curl /metrics`.
    pub fn metrics(&self) -> Result<String> {
        self.sandbox.sh("curl --silent --fail --max-time 5 http://127.0.0.1:9469/metrics")
    }
}

/// The watch `id` in what `status` or `trigger` printed.
pub fn find(status: &Value, id: &str) -> Value {
    let watches = status["view"]["watches"].as_array().cloned().unwrap_or_default();
    watches.into_iter().find(|watch| watch["id"] == id).unwrap_or(Value::Null)
}
