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

    /// Installs it with this configuration, and starts the daemon.
    pub fn started(sandbox: &'a Sandbox, config: &str) -> Result<Self> {
        let guard = Self::install_with(sandbox, config)?;
        sandbox.sh("systemctl start hostward")?;
        Ok(guard)
    }

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

    /// The example's configuration, without the waits that are long in life and prove nothing in a test: the next pass, a
    /// quiet tree, a soak; and with a budget that never ends.
    pub fn quick_config(reconcile: Reconcile) -> String {
        Self::config(reconcile)
            .replace("mode     = \"act\"\n", "mode     = \"act\"\nbudget   = \"256 per 1h\"\n")
            .replace("interval = \"5min\"\n", "interval = \"2s\"\nquiet = \"1s\"\nbrakes.soak = \"3s\"\n")
    }

    pub fn sandbox(&self) -> &'a Sandbox {
        self.sandbox
    }

    /// Starts the daemon; returns when it has judged both watches up.
    pub fn start(&self) -> Result<()> {
        self.sandbox.sh("systemctl start hostward")?;
        self.wait_up()
    }

    pub fn wait_up(&self) -> Result<()> {
        self.sandbox.wait_until("both watches are judged up", READY_WITHIN, || {
            Ok(self.up("service.api")? == Some(true) && self.up("baseline.app")? == Some(true))
        })?;
        Ok(())
    }

    pub fn wait_reason(&self, id: &str, reason: &str, deadline: Duration) -> Result<()> {
        let down = || Ok(self.reason(id)?.as_deref() == Some(reason));
        self.sandbox.wait_until(&format!("{id} to be down: {reason}"), deadline, down)?;
        Ok(())
    }

    /// Waits until a watch is held by this, and returns what the hold says.
    pub fn wait_held(&self, id: &str, hold: &str, deadline: Duration) -> Result<String> {
        self.sandbox.wait_for(&format!("{id} to be held: {hold}"), deadline, || self.held(id, hold))
    }

    /// Asserts that no run begins while `span` passes.
    pub fn never_acts(&self, span: Duration) -> Result<()> {
        self.sandbox.never("a run was opened", span, || Ok(!self.records("opened")?.is_empty()))
    }

    /// How a restart of the daemon is told from a life: its process, and how often systemd started it by itself.
    pub fn life(&self) -> Result<(String, String)> {
        Ok((self.sandbox.property("hostward", "MainPID")?, self.sandbox.property("hostward", "NRestarts")?))
    }

    /// The daemon's resident memory.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = self.sandbox.read(&format!("/proc/{}/status", self.life()?.0))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has no VmRSS")?;
        resident.trim().trim_end_matches(" kB").parse().with_context(|| format!("read '{resident}'"))
    }

    /// SIGKILL; returns when systemd has started it again and it answers.
    pub fn kill_and_wait(&self) -> Result<()> {
        let before = self.life()?.0;
        self.sandbox.sh("systemctl kill --signal=KILL hostward")?;
        self.wait_reborn(&before)
    }

    pub fn wait_reborn(&self, before: &str) -> Result<()> {
        self.sandbox.wait_until("systemd starts the daemon again", READY_WITHIN, || {
            let pid = self.life()?.0;
            Ok(pid != before && pid != "0" && self.status()?["daemon"].as_u64() == pid.parse().ok())
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

    /// What a watch keeps: its first target that is no part.
    fn kept(&self, id: &str) -> Result<Value> {
        let targets = self.watch(id)?["targets"].as_array().cloned().unwrap_or_default();
        Ok(targets.into_iter().find(|target| target["part"].is_null()).unwrap_or(Value::Null))
    }

    /// A part of a watch: `component/db`, `certificate/example.org:443`.
    pub fn part(&self, id: &str, part: &str) -> Result<Value> {
        let targets = self.watch(id)?["targets"].as_array().cloned().unwrap_or_default();
        Ok(targets.into_iter().find(|target| target["part"] == part).unwrap_or(Value::Null))
    }

    /// The verdict; none while there is none.
    pub fn up(&self, id: &str) -> Result<Option<bool>> {
        Ok(match &self.kept(id)?["verdict"] {
            Value::String(up) if up == "up" => Some(true),
            Value::Object(down) if down.contains_key("down") => Some(false),
            _ => None,
        })
    }

    /// The reason's code of a target that is down.
    pub fn reason(&self, id: &str) -> Result<Option<String>> {
        Ok(self.kept(id)?["verdict"]["down"]["code"].as_str().map(str::to_owned))
    }

    /// Names of the holds of a watch.
    pub fn holds(&self, id: &str) -> Result<Vec<String>> {
        let holds = self.kept(id)?["holds"].as_array().cloned().unwrap_or_default();
        Ok(holds.iter().filter_map(|held| held["hold"].as_str().map(str::to_owned)).collect())
    }

    /// What a hold of a watch says; none when it does not hold.
    pub fn held(&self, id: &str, hold: &str) -> Result<Option<String>> {
        let holds = self.kept(id)?["holds"].as_array().cloned().unwrap_or_default();
        let found = holds.iter().find(|held| held["hold"] == hold);
        Ok(found.and_then(|held| held["value"].as_str()).map(str::to_owned))
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

    /// Whether the metrics have exactly this line.
    pub fn has_metric(&self, line: &str) -> Result<bool> {
        Ok(self.metrics()?.lines().any(|found| found == line))
    }

    /// The same of the textfile.
    pub fn has_in_textfile(&self, line: &str) -> Result<bool> {
        Ok(self.sandbox.exec(["cat", Self::TEXTFILE])?.stdout.lines().any(|found| found == line))
    }

    /// What the daemon said.
    pub fn journal(&self) -> Result<String> {
        self.sandbox.sh("journalctl --no-pager --output=cat --unit hostward")
    }
}

/// The watch `id` in what `status` or `trigger` printed.
pub fn find(status: &Value, id: &str) -> Value {
    let watches = status["view"]["watches"].as_array().cloned().unwrap_or_default();
    watches.into_iter().find(|watch| watch["id"] == id).unwrap_or(Value::Null)
}
