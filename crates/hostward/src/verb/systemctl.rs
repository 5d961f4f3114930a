//! What `init` and `doctor` read of units by `systemctl`: it works with a dead bus, through systemd's private socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Properties of units, one map a unit. Bounded: systemctl itself gives up after its own time-out.
pub(super) fn show(units: &[&str], properties: &[&str]) -> Result<Vec<BTreeMap<String, String>>> {
    let mut command = Command::new("timeout");
    command.args(["10", "systemctl", "show", "--no-pager"]).arg(format!("--property={}", properties.join(",")));
    let text = run(command.arg("--").args(units))?;
    let unit = |block: &str| -> BTreeMap<String, String> {
        block.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    Ok(text.split("\n\n").map(unit).filter(|unit| !unit.is_empty()).collect())
}

/// Service units that are loaded and run, or try to.
pub(super) fn services() -> Result<Vec<String>> {
    let mut command = Command::new("timeout");
    command.args(["10", "systemctl", "list-units", "--type=service", "--no-legend", "--plain", "--no-pager"]);
    let text = run(command.arg("--state=running,failed,activating,auto-restart"))?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.env("LC_ALL", "C").output().context("start systemctl")?;
    if !output.status.success() {
        bail!("systemctl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program of `ExecStart=`, as `systemctl show` prints it: `{ path=/usr/bin/x ; argv[]=... }`.
pub(super) fn program(exec: &str) -> Option<&Path> {
    exec.split("path=").nth(1)?.split(" ;").next().map(Path::new)
}
