//! S7's storage half: a worker that died while its storage is lost waits for it, whoever may or may not bring that back,
//! and is started once the storage is proved.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WORKER: &str = "service.worker";
const STORAGE: &str = "storage.hot";
const WATCH: &str = "\
[service.worker]
unit = \"hot-worker.service\"
confirm = { runs = 2, age = \"1s\" }
brakes = { cooldown = \"100ms\", soak = \"500ms\" }
";

struct Host<'a> {
    paths: HotPaths<'a>,
    guard: Guard<'a>,
}

impl<'a> Host<'a> {
    /// Well, until `lose` takes the storage away, and the worker dies.
    fn without_storage(sandbox: &'a Sandbox, storage: &str, lose: &str) -> Result<Self> {
        let paths = HotPaths::install(sandbox)?;
        paths.install_worker()?;
        let guard = Guard::install_with(sandbox, &format!("{storage}{WATCH}"))?;
        sandbox.sh("systemctl start hostward")?;
        let host = Self { paths, guard };
        sandbox.wait_until("both to be up", secs(30), || Ok(host.up(WORKER)? && host.up(STORAGE)?))?;
        sandbox.sh(&format!("{lose}; systemctl kill --signal=KILL hot-worker"))?;
        Ok(host)
    }

    fn up(&self, watch: &str) -> Result<bool> {
        self.guard.has_metric(&format!("hostward_watch_up{{watch=\"{watch}\"}} 1"))
    }

    /// The runs of one watch.
    fn opened(&self, watch: &str) -> Result<Vec<Value>> {
        let opened = self.guard.records("opened")?;
        Ok(opened.into_iter().filter(|record| record["body"]["opened"]["plan"]["watch"] == watch).collect())
    }

    fn worker_waits(&self) -> Result<()> {
        let held = self.guard.wait_held(WORKER, "dependency_down", secs(60))?;
        ensure!(held.contains(STORAGE), "{held}");
        self.guard.sandbox().never("the worker was started without its storage", secs(10), || {
            let dead = self.guard.sandbox().property("hot-worker", "ActiveState")? == "failed";
            Ok(!dead || !self.opened(WORKER)?.is_empty())
        })?;
        ensure!(self.guard.held(WORKER, "dependency_down")?.is_some(), "{:?}", self.guard.holds(WORKER)?);
        Ok(())
    }

    /// One start, after the storage was seen to be well.
    fn worker_is_started(&self) -> Result<()> {
        let sandbox = self.guard.sandbox();
        sandbox.wait_until("both to be up again", secs(150), || Ok(self.up(WORKER)? && self.up(STORAGE)?))?;
        ensure!(self.paths.is_well()?, "{:?}", self.paths.state()?);
        let opened = self.opened(WORKER)?;
        assert_eq!(opened.len(), 1, "{opened:#?}");
        let turned = self.guard.records("turned")?;
        let risen = turned.iter().rfind(|record| record["body"]["turned"]["target"] == "storage.hot#/srv/jobs/a");
        let risen = risen.context("the path turned")?;
        assert_eq!(risen["body"]["turned"]["to"], "up");
        ensure!(seq(&opened[0])? > seq(risen)?, "started before its storage was seen to be well");
        Ok(())
    }
}

fn seq(record: &Value) -> Result<u64> {
    record["seq"].as_u64().with_context(|| format!("a record without a number: {record}"))
}

/// Nobody may cure the cause, and a worker without storage is not tried all the same; then somebody may.
#[test]
fn a_dead_worker_is_started_once_its_storage_is_proved() -> Result<()> {
    let sandbox = Sandbox::boot("s7-healed")?;
    let looks_on = HotPaths::config().replace("[storage.hot]", "[storage.hot]\nmode = \"observe\"");
    let host = Host::without_storage(&sandbox, &looks_on, "systemctl kill --signal=KILL box")?;
    host.worker_waits()?;
    host.guard.configure(&format!("{}{WATCH}", HotPaths::config()))?;
    host.guard.run(&["reload"])?.ok()?;
    host.worker_is_started()?;
    assert_eq!(host.opened(STORAGE)?.len(), 1, "the storage was healed by us");
    Ok(())
}

/// The remedy fails, for its server is away, and is capped after that.
#[test]
fn a_dead_worker_waits_also_for_storage_that_is_capped() -> Result<()> {
    let sandbox = Sandbox::boot("s7-capped")?;
    let capped = HotPaths::config().replace("brakes.soak =", "brakes.per_hour = 1\nbrakes.soak =");
    let host = Host::without_storage(&sandbox, &capped, "systemctl stop hot-sshd")?;
    let failed = || Ok(host.guard.records("closed")?.len() == 1);
    sandbox.wait_until("the remedy of the storage to fail", secs(150), failed)?;
    host.worker_waits()?;
    assert_eq!(host.opened(STORAGE)?.len(), 1, "it is capped");
    sandbox.sh("systemctl start hot-sshd; systemctl stop box
         for path in /srv/jobs/{a,b} /srv/box; do while umount -l $path; do :; done 2>/dev/null; done")?;
    host.paths.mount()?;
    host.worker_is_started()?;
    assert_eq!(host.opened(STORAGE)?.len(), 1, "it was the operator's hand");
    Ok(())
}
