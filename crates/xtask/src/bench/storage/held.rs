//! What a daemon holds that a look which never ends could take from it.

use anyhow::{Context, Result};
use hostward_tests::Sandbox;

use crate::bench::spent::megabytes;

const HOSTWARD: &str = "hostward.service";
const MOMENTS: usize = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) resident_mb: f64,
    /// Of its cgroup, without itself.
    pub(super) children: f64,
    pub(super) descriptors: f64,
    pub(super) threads: f64,
}

impl Held {
    /// The least of some moments: what comes and goes with each look is not held.
    pub(super) fn read(sandbox: &Sandbox) -> Result<Self> {
        let mut held = Self::at_once(sandbox)?;
        for _ in 1..MOMENTS {
            let now = Self::at_once(sandbox)?;
            held.children = held.children.min(now.children);
            held.descriptors = held.descriptors.min(now.descriptors);
        }
        Ok(held)
    }

    fn at_once(sandbox: &Sandbox) -> Result<Self> {
        let pid = sandbox.property(HOSTWARD, "MainPID")?;
        Ok(Self {
            resident_mb: megabytes(sandbox, HOSTWARD, "VmRSS")?,
            children: count(sandbox, &format!("cat /sys/fs/cgroup/system.slice/{HOSTWARD}/cgroup.procs"))? - 1.0,
            descriptors: count(sandbox, &format!("ls /proc/{pid}/fd"))?,
            threads: count(sandbox, &format!("ls /proc/{pid}/task"))?,
        })
    }
}

/// How many lines a command prints.
fn count(sandbox: &Sandbox, list: &str) -> Result<f64> {
    let said = sandbox.sh(&format!("{list} | wc -l"))?;
    said.trim().parse().with_context(|| format!("read '{said}', of {list}"))
}
