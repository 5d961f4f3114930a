//! What processes have spent and hold, read as files: a question to systemd would be work for PID 1, which is measured
//! too.

use anyhow::{Context, Result};
use hostward_tests::Sandbox;

/// What PID 1 and the bus have spent since their start, or in a while: CPU in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct System {
    /// Seconds since the boot, or of the while.
    pub(super) at: f64,
    pub(super) init: f64,
    pub(super) bus: f64,
}

impl System {
    /// `bus`: the process id of dbus-daemon.
    pub(super) fn read(sandbox: &Sandbox, bus: &str) -> Result<Self> {
        Ok(Self {
            at: sum(sandbox, "/proc/uptime", "{print $1}")?,
            init: on_cpu(sandbox, "1")?,
            bus: on_cpu(sandbox, bus)?,
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self { at: self.at - before.at, init: self.init - before.init, bus: self.bus - before.bus }
    }

    /// At this pace, in so many seconds.
    pub(super) fn scaled(&self, seconds: f64) -> Self {
        let by = seconds / self.at;
        Self { at: seconds, init: self.init * by, bus: self.bus * by }
    }
}

/// Seconds of CPU of a unit of the system's slice, with every child that it ever had.
pub(super) fn unit_cpu(sandbox: &Sandbox, unit: &str) -> Result<f64> {
    let file = format!("/sys/fs/cgroup/system.slice/{unit}/cpu.stat");
    sum(sandbox, &file, "$1 == \"usage_usec\" {print $2 / 1e6}")
}

/// A field of /proc/PID/status of a unit's main process.
pub(super) fn megabytes(sandbox: &Sandbox, unit: &str, field: &str) -> Result<f64> {
    let pid = sandbox.property(unit, "MainPID")?;
    let status = sandbox.read(&format!("/proc/{pid}/status"))?;
    Ok(in_megabytes(self::field(&status, field).with_context(|| format!("read {field} of {unit}"))?))
}

/// Of what the kernel counts in kB, which are 1,024 bytes.
#[expect(clippy::cast_precision_loss, reason = "no process holds so much that it is seen")]
pub(super) fn in_megabytes(kb: u64) -> f64 {
    kb as f64 * 1024.0 / 1e6
}

/// Seconds of CPU of a process's threads.
pub(super) fn on_cpu(sandbox: &Sandbox, pid: &str) -> Result<f64> {
    sum(sandbox, &format!("/proc/{pid}/task/*/schedstat"), "{ns += $1} END {print ns / 1e9}")
}

/// What awk makes of some files: one number.
pub(super) fn sum(sandbox: &Sandbox, files: &str, awk: &str) -> Result<f64> {
    let said = sandbox.sh(&format!("cat {files} | awk '{awk}'"))?;
    said.trim().parse().with_context(|| format!("read '{said}', of {files}"))
}

/// A field of /proc/PID/status, in kB.
pub(super) fn field(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  7216 kB\n";
        assert_eq!(field(status, "VmRSS"), Some(7216));
        assert_eq!(field(status, "Rss"), None);
    }
}
