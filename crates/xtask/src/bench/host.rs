//! The sandbox that is measured in, and what is put into it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hostward_tests::{BootOptions, ExampleApp, Guard, Reconcile, RestartSec, Sandbox, target_dir};
use serde::de::DeserializeOwned;

use super::Programs;

/// This very program, as the sandbox sees it.
pub(super) const SELF: &str = "/mnt/xtask";
pub(super) const PASS: &str = "/mnt/python_pass";
pub(super) const POLLER: &str = "/mnt/poller";
/// The probe of examples/api-and-venv; the tests' own is five times as busy.
const PROBE_EVERY: (&str, &str) = ("every = \"2s\"", "every = \"10s\"");

/// Writes distributions as pip leaves them: SITE LOCK COUNT. Each is pinned in the lock.
const DISTRIBUTIONS: &str = r#"
import pathlib, sys
site, lock, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
body = "A line of a description, of which real ones have many.\n" * 100
with lock.open("a") as pins:
    for n in range(count):
        name, version = f"bench_package_{n:03}", f"1.{n}.0"
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("")
        head = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        more = "".join(f"Classifier: Of No Use :: {k}\n" for k in range(15))
        (info / "METADATA").write_text(f"{head}{more}\n{body}")
        (info / "INSTALLER").write_text("pip\n")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        (info / "RECORD").write_text(f"{name}/__init__.py,,0\n")
        pins.write(f"{name.replace('_', '-')}=={version}\n")
"#;

/// Boots a sandbox that this program can measure in.
pub(super) fn boot(name: &str, programs: &Programs) -> Result<Sandbox> {
    boot_with(name, programs, Vec::new())
}

/// The same with a folder of the machine's disk as the daemon's state: a sandbox's own files are in memory, where
/// fdatasync costs nothing.
pub(super) fn boot_on(disk: &Disk, name: &str, programs: &Programs) -> Result<Sandbox> {
    boot_with(name, programs, vec![(disk.0.clone(), PathBuf::from("/var/lib/hostward"))])
}

fn boot_with(name: &str, programs: &Programs, mut binds: Vec<(PathBuf, PathBuf)>) -> Result<Sandbox> {
    let own = std::env::current_exe().context("find our own program")?;
    let inside = [(own, SELF), (programs.pass.clone(), PASS), (programs.poller.clone(), POLLER)];
    binds.extend(inside.map(|(program, at)| (program, PathBuf::from(at))));
    Sandbox::boot_with(name, &BootOptions { binds, ..BootOptions::default() })
}

/// A folder in cargo's target folder, removed at the end; what a killed run left is removed at the next.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn make() -> Result<Self> {
        let path = target_dir().join("bench-state");
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("empty '{}'", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("create '{}'", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("xtask: remove '{}': {error}", self.0.display());
        }
    }
}

/// The example application, and Hostward as its example configures it.
pub(super) fn example<'a>(sandbox: &'a Sandbox, programs: &Programs) -> Result<(ExampleApp<'a>, Guard<'a>)> {
    let app = ExampleApp::install(sandbox, RestartSec::Five)?;
    let config = Guard::config(Reconcile::Pip);
    anyhow::ensure!(config.contains(PROBE_EVERY.0), "the example's probe has another cadence than it had");
    let config = config.replace(PROBE_EVERY.0, PROBE_EVERY.1);
    Ok((app, Guard::install_binary(sandbox, &programs.hostward, &config)?))
}

/// Starts `idle@0000.service` and so on: units that are active, and nothing else.
pub(super) fn idle_units(sandbox: &Sandbox, count: usize) -> Result<()> {
    // Without ExecStart= a start needs no process.
    let unit = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true\n";
    sandbox.write("/etc/systemd/system/idle@.service", "0644", unit)?;
    sandbox.sh(&format!(
        "systemctl daemon-reload; seq -f 'idle@%04g.service' 0 {} | xargs systemctl start",
        count - 1
    ))?;
    Ok(())
}

/// Puts `count` distributions into `venv`, and pins them in `lock`.
pub(super) fn distributions(sandbox: &Sandbox, venv: &str, lock: &str, count: usize) -> Result<()> {
    let site = sandbox.sh(&format!("echo {venv}/lib/python3*/site-packages"))?;
    sandbox.exec(["python3", "-c", DISTRIBUTIONS, site.trim(), lock, &count.to_string()])?.ok()?;
    Ok(())
}

/// Runs a task of this program inside, and reads its answer.
pub(super) fn inside<T: DeserializeOwned>(sandbox: &Sandbox, arguments: &[&str]) -> Result<T> {
    let said = sandbox.exec([SELF, "__inside"].iter().chain(arguments))?.ok()?;
    serde_json::from_str(&said).with_context(|| format!("read what '__inside {}' said", arguments.join(" ")))
}

pub(super) fn millis(nanos: &[u64]) -> Vec<f64> {
    nanos.iter().map(|nanos| std::time::Duration::from_nanos(*nanos).as_secs_f64() * 1e3).collect()
}
