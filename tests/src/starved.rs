//! A slice in which everything waits for processor time, so that one sandbox is starved and the machine is not.

use anyhow::Result;

use crate::Sandbox;

/// Needs a sandbox whose quotas bite: [`crate::Cgroup::Hybrid`].
#[derive(Debug)]
pub struct Starved;

/// All that is in it shares 50 ms of processor time a second: who wakes waits for the next second.
const SLICE: &str = "[Slice]\nCPUQuota=5%\nCPUQuotaPeriodSec=1s\n";
/// Four that never rest.
const STORM: &str = "[Service]\nSlice=starved.slice\n\
                     ExecStart=/bin/sh -c 'for n in 1 2 3 4; do (while :; do :; done) & done; wait'\n";

impl Starved {
    /// The line of a service's unit that puts it in.
    pub const SETTING: &'static str = "Slice=starved.slice\n";

    /// The slice, and `storm.service`, which takes its time from the others in it. Starts nothing.
    pub fn install(sandbox: &Sandbox) -> Result<()> {
        sandbox.write("/etc/systemd/system/starved.slice", "0644", SLICE)?;
        sandbox.write("/etc/systemd/system/storm.service", "0644", STORM)
    }

    /// Puts a service in that has a unit already, from its next start on.
    pub fn put(sandbox: &Sandbox, service: &str) -> Result<()> {
        let dropin = format!("/etc/systemd/system/{service}.service.d/starved.conf");
        sandbox.write(&dropin, "0644", format!("[Service]\n{}", Self::SETTING))?;
        sandbox.sh("systemctl daemon-reload")?;
        Ok(())
    }
}
