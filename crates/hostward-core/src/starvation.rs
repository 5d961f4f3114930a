//! Starvation: how far this host is from running what wants to run, measured by how late our own timers are.
//!
//! Pressure figures are not asked: niced crawls gave `cpu some avg10` = 85 while a process of nice 0 lagged 0.07 ms
//! (safety.md, "From observation to condition").

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Ms, Now};

/// A timer that is this late says that the host is starved: thousands of times what a busy, healthy one shows, and more
/// than the daemon's own CPUQuota= can make of it (100 ms).
pub const STARVED: Ms = Ms(250);
/// A host on which nothing that adds load is begun.
pub const PRESSED: Ms = Ms::secs(1);
/// Starved is who was so within this.
const REMEMBERED: Ms = Ms::secs(60);
/// Deadlines stretch to this at most.
pub const STRETCH_MAX: u64 = 4;
/// Samples kept: one a second would fill the minute.
const KEPT: usize = 64;

/// One measurement by the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// How late a timer of ours was, steal time included.
    pub late: Ms,
    /// How long our own listener on the loopback took to answer; none: not measured.
    pub echo: Option<Ms>,
}

#[derive(Clone, Debug, Default)]
pub struct Starvation {
    lags: VecDeque<(Now, Lag)>,
}

impl Starvation {
    pub(crate) fn note(&mut self, now: Now, lag: Lag) {
        while self.lags.len() == KEPT || self.lags.front().is_some_and(|(at, _)| now.since(*at) >= REMEMBERED) {
            self.lags.pop_front();
        }
        self.lags.push_back((now, lag));
    }

    /// How late our timers were at worst, and the boot time at which that is forgotten; none on a host that is not
    /// starved.
    pub fn starved(&self, now: Now) -> Option<(Ms, Ms)> {
        let recent = self.lags.iter().filter(|(at, lag)| now.since(*at) < REMEMBERED && lag.late >= STARVED);
        let last = recent.clone().map(|(at, _)| now.reach(*at, REMEMBERED)).max()?;
        Some((recent.map(|(_, lag)| lag.late).max()?, last))
    }

    /// A deadline on this host now.
    pub fn stretch(&self, now: Now, deadline: Ms) -> Ms {
        let (late, _) = self.starved(now).unwrap_or_default();
        deadline * (1 + late.0 / STARVED.0).min(STRETCH_MAX)
    }

    /// Our own listener answered within `deadline` the last time it was tried: who does not, has himself to blame.
    pub fn echoes(&self, deadline: Ms) -> bool {
        self.lags.iter().rev().find_map(|(_, lag)| lag.echo).is_some_and(|echo| echo <= deadline)
    }
}
