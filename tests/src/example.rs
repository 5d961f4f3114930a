//! The example API: a real HTTP service in a real venv of a real git checkout, and the ways in which it breaks.
//!
//! It lives in /opt/example and belongs to the user `deploy`. Revision 1 is healthy. Revision 2 imports the package
//! `ratelimiting`, which its lock pins and its venv lacks until the reconcile command has run (scenario S1).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{BootOptions, Sandbox, target_dir};

/// How soon systemd starts the crashed service again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartSec {
    Five,
    /// The unit says nothing, which means 100 ms.
    Default100ms,
}

/// The reconcile command that a configuration declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconcile {
    /// pip from the local wheels: about a second.
    Pip,
    /// The same after a sleep, to break things in its middle.
    Slow { seconds: u32 },
}

/// The installed application.
#[derive(Debug)]
pub struct ExampleApp<'a> {
    sandbox: &'a Sandbox,
}

const HEALTHY_WITHIN: Duration = Duration::from_secs(30);

impl<'a> ExampleApp<'a> {
    pub const UNIT: &'static str = "example-api.service";
    pub const HEALTH_URL: &'static str = "http://127.0.0.1:8001/api/health";
    pub const VENV: &'static str = "/opt/example/.venv";
    pub const LOCK: &'static str = "/opt/example/requirements.lock";

    /// Installs the application, enables and starts its unit; returns when revision 1 answers as healthy.
    pub fn install(sandbox: &'a Sandbox, restart: RestartSec) -> Result<Self> {
        let archive = File::open(built_archive()?).context("open the built example")?;
        sandbox.sh("useradd --uid 1500 --user-group --create-home --shell /bin/bash deploy")?;
        let status = sandbox.command(["tar", "-x", "-C", "/", "-f", "-"]).stdin(archive).status()?;
        ensure!(status.success(), "unpack the example into sandbox '{}': {status}", sandbox.name());
        sandbox.write(&format!("/etc/systemd/system/{}", Self::UNIT), "0644", unit_file(restart)?)?;
        sandbox.sh(&format!("systemctl daemon-reload; systemctl enable --now --quiet {}", Self::UNIT))?;
        let app = Self { sandbox };
        app.wait_healthy(1, HEALTHY_WITHIN)?;
        Ok(app)
    }

    /// Breaks it as in scenario S1: the code of revision 2 arrives, nobody installs its new dependency, the unit restarts.
    pub fn break_by_updating_code_without_install(&self) -> Result<()> {
        self.as_deploy("git -C /opt/example merge --quiet --ff-only revision-2")?;
        self.sandbox.sh(&format!("systemctl restart {}", Self::UNIT))?;
        Ok(())
    }

    /// Back to revision 1, as if nothing had happened; the venv keeps what it has.
    pub fn revert(&self) -> Result<()> {
        self.as_deploy("git -C /opt/example reset --quiet --hard revision-1")?;
        self.sandbox.sh(&format!("systemctl restart {}", Self::UNIT))?;
        Ok(())
    }

    /// Takes the new dependency out of the venv again.
    pub fn uninstall(&self) -> Result<()> {
        self.as_deploy("/opt/example/.venv/bin/pip uninstall --quiet --yes ratelimiting")?;
        Ok(())
    }

    /// Makes every reconcile fail for good: the wheel that the lock asks for is gone (scenario D9).
    pub fn remove_wheel(&self) -> Result<()> {
        self.sandbox.sh("rm /opt/example/wheels/ratelimiting-*.whl")?;
        Ok(())
    }

    /// Makes one health check fail (503, `ok` false) until the unit is restarted.
    pub fn fail_check_until_restart(&self, check: &str) -> Result<()> {
        self.as_deploy(&format!("touch /run/example-api/{check}-down"))?;
        Ok(())
    }

    /// The command line of a reconcile, for a configuration's `run = [[..]]`; to be run as `deploy`.
    pub fn reconcile_command(kind: Reconcile) -> Vec<String> {
        let pip = "/opt/example/.venv/bin/pip install --no-index --no-deps --find-links /opt/example/wheels \
                   -r /opt/example/requirements.lock";
        match kind {
            Reconcile::Pip => pip.split_whitespace().map(str::to_owned).collect(),
            // The script reads the lock by itself; a configuration must see that it is used.
            Reconcile::Slow { seconds } => {
                vec!["/opt/example/slow-reconcile".to_owned(), seconds.to_string(), Self::LOCK.to_owned()]
            }
        }
    }

    /// Runs the reconcile as an operator would by hand; does not restart the unit.
    pub fn reconcile_by_hand(&self) -> Result<()> {
        self.as_deploy(&Self::reconcile_command(Reconcile::Pip).join(" "))?;
        Ok(())
    }

    /// The body of the health endpoint, or `None` when nobody answers or the answer is no JSON.
    pub fn health(&self) -> Result<Option<serde_json::Value>> {
        let output = self.sandbox.exec(["curl", "--silent", "--max-time", "5", Self::HEALTH_URL])?;
        Ok(serde_json::from_str(&output.stdout).ok())
    }

    /// Waits until the given revision answers as healthy.
    pub fn wait_healthy(&self, revision: u64, deadline: Duration) -> Result<Duration> {
        self.sandbox.wait_until(&format!("a healthy revision {revision}"), deadline, || {
            Ok(self.health()?.is_some_and(|body| body["ok"] == true && body["revision"] == revision))
        })
    }

    /// Whether the venv has `ratelimiting`.
    pub fn has_dependency(&self) -> Result<bool> {
        let output = self.sandbox.exec(["/opt/example/.venv/bin/python", "-c", "import ratelimiting"])?;
        Ok(output.status.success())
    }

    /// How often systemd has restarted the unit by itself since it was last started by somebody.
    pub fn restarts(&self) -> Result<u32> {
        let value = self.sandbox.property(Self::UNIT, "NRestarts")?;
        value.parse().with_context(|| format!("read NRestarts from '{value}'"))
    }

    fn as_deploy(&self, script: &str) -> Result<String> {
        self.sandbox.exec(["runuser", "-u", "deploy", "--", "bash", "-euc", script])?.ok()
    }
}

fn unit_file(restart: RestartSec) -> Result<String> {
    let unit = fs::read_to_string(fixture().join("example-api.service")).context("read the example's unit file")?;
    Ok(match restart {
        RestartSec::Five => unit.replace("Restart=always\n", "Restart=always\nRestartSec=5\n"),
        RestartSec::Default100ms => unit,
    })
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/example-api")
}

/// The archive of /opt/example. Built once a machine, for making a venv takes seconds; a lock serialises the test
/// processes, and the name has a hash of everything it is made from.
fn built_archive() -> Result<PathBuf> {
    let folder = target_dir().join("fixtures");
    fs::create_dir_all(&folder).with_context(|| format!("create '{}'", folder.display()))?;
    let archive = folder.join(format!("example-{:016x}.tar", fixture_hash()?));
    let lock = File::create(folder.join("example.lock")).context("open the lock of the example's build")?;
    lock.lock().context("lock the example's build")?;
    if !archive.exists() {
        build_archive(&folder, &archive)?;
    }
    Ok(archive)
}

fn build_archive(folder: &Path, archive: &Path) -> Result<()> {
    let folder = fs::canonicalize(folder).with_context(|| format!("resolve '{}'", folder.display()))?;
    let binds = vec![(fixture(), PathBuf::from("/mnt/fixture")), (folder.clone(), PathBuf::from("/mnt/out"))];
    let sandbox = Sandbox::boot_with("build-example", &BootOptions { binds, ..BootOptions::default() })?;
    sandbox
        .exec(["/usr/bin/python3", "-B", "/mnt/fixture/build.py", "/mnt/out/example.new"])?
        .ok()
        .context("build the example (needs Debian's python3-venv and git; `cargo xtask setup` installs them)")?;
    fs::rename(folder.join("example.new"), archive).context("keep the built example")
}

fn fixture_hash() -> Result<u64> {
    let mut files = BTreeMap::new();
    read_tree(&fixture(), &mut files)?;
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    // A venv links to the interpreter it was made with.
    fs::canonicalize("/usr/bin/python3").context("find /usr/bin/python3 (Debian package python3)")?.hash(&mut hasher);
    Ok(hasher.finish())
}

fn read_tree(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list '{}'", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_tree(&path, files)?;
        } else {
            let contents = fs::read(&path).with_context(|| format!("read '{}'", path.display()))?;
            files.insert(path, contents);
        }
    }
    Ok(())
}
