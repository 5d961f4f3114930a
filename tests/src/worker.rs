//! A worker beside an environment, as small as they come: real units that stop together, a real venv, and a rebuild in
//! whose middle a test can do what it likes.
//!
//! A plan of it stops the worker and its closure, runs two commands, gives back, and proves. Everything is quick, so that
//! a test can tell the same story many times.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tiny::QUICK_HOST;
use crate::{Guard, Sandbox};

/// One worker; several may live in one sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    sandbox: &'a Sandbox,
    name: &'static str,
}

/// What goes down with the worker, and by which setting.
const CLOSURE: [(&str, &str); 3] = [
    ("needs", "Requires=NAME.service\nAfter=NAME.service"),
    ("bound", "BindsTo=NAME.service\nAfter=NAME.service NAME-needs.service"),
    ("part", "PartOf=NAME.service"),
];

/// `-start` and `-stop` are hooks, too: a script of that name in /run/NAME runs in the unit's own cgroup.
const UNIT: &str = "[Unit]
SETTINGS
[Service]
ExecStartPre=/opt/NAME/hook UNIT-start
ExecStart=sleep infinity
ExecStopPost=/opt/NAME/hook UNIT-stop
TimeoutStopSec=5
Restart=always
";

const HOOK: &str = "#!/bin/sh\nif [ -e \"/run/NAME/$1\" ]; then exec sh -eu \"/run/NAME/$1\"; fi\n";

/// The operator's own commands: `rebuild first LOCK`, then `rebuild last LOCK`, which is the one that installs.
const REBUILD: &str = r#"#!/bin/sh
set -eu
/opt/NAME/hook "$1-before"
echo "$1" >>/run/NAME/rebuilt
if [ "$1" = last ]; then
    dist=$(echo /opt/NAME/.venv/lib/python3*/site-packages)/thing-1.0.dist-info
    mkdir -p "$dist"
    printf 'Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n' >"$dist/METADATA"
fi
/opt/NAME/hook "$1-after"
"#;

const WATCH: &str = r#"
[app.NAME]
lock = { flock = "/run/NAME.lock" }
[baseline.NAME]
app      = "NAME"
sentinel = "/etc/NAME-enabled"
interval = "500ms"
quiet    = "100ms"
brakes.soak = "500ms"
[baseline.NAME.python]
venv = "/opt/NAME/.venv"
lock = "/opt/NAME/requirements.lock"
[baseline.NAME.reconcile]
run     = [["/opt/NAME/rebuild", "first", "/opt/NAME/requirements.lock"], ["/opt/NAME/rebuild", "last", "/opt/NAME/requirements.lock"]]
quiesce = ["NAME.service"]
when    = "any-drift"
deadline = "2min"
then.within = "20s"
"#;

/// The `[host]` table and a watch for each name.
pub fn worker_config(names: &[&str]) -> String {
    let watches = names.iter().map(|name| WATCH.replace("NAME", name));
    std::iter::once(QUICK_HOST.to_owned()).chain(watches).collect()
}

impl<'a> Worker<'a> {
    /// Installs the worker with an environment that is whole, and starts it with all that goes down with it.
    pub fn install(sandbox: &'a Sandbox, name: &'static str) -> Result<Self> {
        let worker = Self { sandbox, name };
        worker.write_unit(name, "", "")?;
        for (suffix, settings) in CLOSURE {
            worker.write_unit(name, &format!("-{suffix}"), settings)?;
        }
        // Of the closure, and not running: it is nobody's to start.
        worker.write_unit(name, "-idle", "Requires=NAME.service")?;
        sandbox.write(&format!("/opt/{name}/hook"), "0755", HOOK.replace("NAME", name))?;
        sandbox.write(&format!("/opt/{name}/rebuild"), "0755", REBUILD.replace("NAME", name))?;
        sandbox.write(&format!("/opt/{name}/requirements.lock"), "0644", "thing==1.0\n")?;
        sandbox.write(&format!("/etc/{name}-enabled"), "0644", "")?;
        sandbox.sh(&format!(
            "mkdir /run/{name}; python3 -m venv --without-pip /opt/{name}/.venv; /opt/{name}/rebuild last lock
             rm /run/{name}/rebuilt; systemctl daemon-reload; systemctl start {}",
            worker.units().join(" ")
        ))?;
        Ok(worker)
    }

    fn write_unit(&self, name: &str, suffix: &str, settings: &str) -> Result<()> {
        let unit = format!("{name}{suffix}");
        let text = UNIT.replace("SETTINGS", settings).replace("UNIT", &unit).replace("NAME", name);
        self.sandbox.write(&format!("/etc/systemd/system/{unit}.service"), "0644", text)
    }

    /// The worker, then its closure.
    pub fn units(&self) -> Vec<String> {
        let closure = CLOSURE.iter().map(|(suffix, _)| format!("{}-{suffix}.service", self.name));
        std::iter::once(format!("{}.service", self.name)).chain(closure).collect()
    }

    /// The watch's name.
    pub fn watch(&self) -> String {
        format!("baseline.{}", self.name)
    }

    /// What the lock asks for is no longer installed.
    pub fn break_environment(&self) -> Result<()> {
        self.sandbox.sh(&format!("rm -r /opt/{}/.venv/lib/python3*/site-packages/thing-1.0.dist-info", self.name))?;
        Ok(())
    }

    pub fn whole(&self) -> Result<bool> {
        let test = format!("test -e /opt/{}/.venv/lib/python3*/site-packages/thing-1.0.dist-info", self.name);
        Ok(self.sandbox.exec(["sh", "-c", &test])?.status.success())
    }

    /// A script for one of the hooks: `first-before`, `last-after`, `NAME-stop`, `NAME-needs-start`, ...
    pub fn hook(&self, hook: &str, script: &str) -> Result<()> {
        self.sandbox.write(&format!("/run/{}/{hook}", self.name), "0644", script)
    }

    pub fn unhook(&self, hook: &str) -> Result<()> {
        self.sandbox.sh(&format!("rm /run/{}/{hook}", self.name))?;
        Ok(())
    }

    /// The first command waits until [`Worker::go_on`]: the worker is stopped, and the second step is still to come.
    pub fn hold_in_the_middle(&self) -> Result<()> {
        self.hook(
            "first-before",
            &format!("touch /run/{0}/amid; until [ -e /run/{0}/go ]; do sleep 0.05; done", self.name),
        )
    }

    /// Returns when a plan waits in its middle, with everything of it stopped.
    pub fn wait_amid(&self) -> Result<()> {
        let amid = format!("/run/{}/amid", self.name);
        self.sandbox.wait_until("the rebuild to be in its middle", Duration::from_secs(30), || {
            Ok(self.sandbox.exec(["test", "-e", &amid])?.status.success())
        })?;
        ensure!(self.active()?.is_empty(), "in the middle, and not stopped: {:?}", self.active()?);
        Ok(())
    }

    pub fn go_on(&self) -> Result<()> {
        self.sandbox.write(&format!("/run/{}/go", self.name), "0644", "")
    }

    /// Which commands ran, in order.
    pub fn rebuilt(&self) -> Result<Vec<String>> {
        let log = self.sandbox.exec(["cat", &format!("/run/{}/rebuilt", self.name)])?.stdout;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// Those of its units that run.
    pub fn active(&self) -> Result<Vec<String>> {
        let units = self.units();
        let output =
            self.sandbox.exec(["systemctl", "is-active"].into_iter().chain(units.iter().map(String::as_str)))?;
        let states = output.stdout.lines().map(str::to_owned).collect::<Vec<_>>();
        ensure!(states.len() == units.len(), "a state for each unit: {output:?}");
        Ok(units.into_iter().zip(states).filter(|(_, state)| state == "active").map(|(unit, _)| unit).collect())
    }

    /// Returns when the worker and all that went down with it run again, and asserts that nothing else was started.
    pub fn wait_all_active(&self, deadline: Duration) -> Result<()> {
        self.sandbox.wait_until(&format!("{} and its closure to run", self.name), deadline, || {
            Ok(self.active()? == self.units())
        })?;
        let idle = format!("{}-idle.service", self.name);
        ensure!(self.sandbox.property(&idle, "ActiveState")? == "inactive", "{idle} did not run, and was started");
        Ok(())
    }
}

impl Guard<'_> {
    /// Everything of ours that systemd has loaded beside ourselves: steps, undos.
    pub const TRANSIENT: [&'static str; 2] = ["hostward-undo-*", "hostward-step-*"];

    pub fn wait_no_transient(&self) -> Result<()> {
        self.sandbox().wait_until("no step and no undo to be left", Duration::from_secs(15), || {
            let list = ["systemctl", "list-units", "--all", "--plain", "--no-legend"];
            Ok(self.sandbox().exec(list.into_iter().chain(Self::TRANSIENT))?.stdout.trim().is_empty())
        })?;
        Ok(())
    }

    /// The ledger's records as its file has them, also in the middle of a write and with the daemon dead.
    pub fn ledger(&self) -> Result<Vec<Value>> {
        let path: PathBuf = self.sandbox().root().join("var/lib/hostward/ledger");
        let bytes = std::fs::read(&path).with_context(|| format!("read '{}'", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let json = whole.filter_map(|line| line.get(line.find('{')?..));
        let frames = json.map(|json| serde_json::from_str(json).with_context(|| format!("read the frame {json}")));
        // A file begins with a snapshot, which is no record.
        Ok(frames.collect::<Result<Vec<Value>>>()?.into_iter().filter(|frame| !frame["body"].is_null()).collect())
    }

    /// Those of one kind, from the file.
    pub fn in_ledger(&self, kind: &str) -> Result<Vec<Value>> {
        Ok(self.ledger()?.into_iter().filter(|record| !record["body"][kind].is_null()).collect())
    }

    /// Returns how the only run ended.
    pub fn wait_closed(&self, deadline: Duration) -> Result<Value> {
        let closed = self.sandbox().wait_for("the run to close", deadline, || {
            Ok(self.in_ledger("closed").unwrap_or_default().into_iter().next())
        })?;
        Ok(closed["body"]["closed"]["result"].clone())
    }
}
