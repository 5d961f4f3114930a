//! monit, a peer: the same checks in its own words. It runs as a unit, so that its cgroup counts its children too.

use anyhow::Result;
use hostward_tests::Sandbox;

pub(super) const UNIT: &str = "peer-monit.service";
const CONTROL_FILE: &str = "/etc/peer-monitrc";

/// Starts it with a cycle of so many seconds.
pub(super) fn start(sandbox: &Sandbox, cycle: u32, checks: &str) -> Result<()> {
    let own = ["log", "pidfile", "idfile", "statefile"].map(|file| format!("set {file} /run/peer-monit.{file}\n"));
    // monit refuses a control file that others may read.
    sandbox.write(CONTROL_FILE, "0600", format!("set daemon {cycle}\n{}{checks}", own.concat()))?;
    sandbox.sh(&format!("systemd-run --quiet --collect --unit={UNIT} monit -I -c {CONTROL_FILE}"))?;
    Ok(())
}

pub(super) fn stop(sandbox: &Sandbox) -> Result<()> {
    sandbox.sh(&format!("systemctl stop {UNIT}"))?;
    Ok(())
}
