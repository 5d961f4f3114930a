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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(up: Ms) -> Now {
        Now { boot: 1, up, wall: Ms::hours(1) + up }
    }

    /// When, and how late our timers were.
    type Lags<'a> = &'a [(Ms, Ms)];

    fn noted(lags: Lags) -> Starvation {
        let mut starvation = Starvation::default();
        for (up, late) in lags {
            starvation.note(at(*up), Lag { late: *late, echo: None });
        }
        starvation
    }

    #[test]
    fn who_was_late_within_the_minute_is_starved() {
        let (now, worst) = (Ms::secs(100), Ms(900));
        let table: [(Lags, Option<(Ms, Ms)>); 6] = [
            (&[], None),
            (&[(now, Ms(249))], None),
            (&[(now, STARVED)], Some((STARVED, Ms::secs(160)))),
            (&[(Ms::secs(40), worst)], None),
            (&[(Ms(40_001), worst)], Some((worst, Ms(100_001)))),
            // The worst, until the last is forgotten.
            (&[(Ms::secs(80), worst), (Ms::secs(90), STARVED), (now, Ms(1))], Some((worst, Ms::secs(150)))),
        ];
        for (lags, starved) in table {
            assert_eq!(noted(lags).starved(at(now)), starved, "{lags:?}");
        }
    }

    #[test]
    fn a_deadline_stretches_as_far_as_the_host_is_late_and_four_times_at_most() {
        for (late, times) in [(0, 1), (249, 1), (250, 2), (499, 2), (500, 3), (750, 4), (60_000, 4)] {
            let starvation = noted(&[(Ms::secs(100), Ms(late))]);
            assert_eq!(starvation.stretch(at(Ms::secs(100)), Ms::secs(5)), Ms::secs(5 * times), "{late} ms late");
        }
    }

    #[test]
    fn who_does_not_hear_himself_has_himself_to_blame() {
        let mut starvation = Starvation::default();
        assert!(!starvation.echoes(Ms::secs(5)), "never tried");
        for (echo, echoes) in [(Some(5000), true), (None, true), (Some(5001), false), (None, false)] {
            starvation.note(at(Ms::secs(100)), Lag { late: Ms::ZERO, echo: echo.map(Ms) });
            assert_eq!(starvation.echoes(Ms::secs(5)), echoes, "{echo:?} ms");
        }
    }

    #[test]
    fn the_old_and_the_many_are_forgotten() {
        let kept = |every: Ms| {
            let mut starvation = Starvation::default();
            for n in 0..200 {
                starvation.note(at(every * n), Lag { late: Ms(1), echo: None });
            }
            starvation.lags.len()
        };
        assert_eq!([Ms(10), Ms::secs(1), Ms::secs(20), Ms::secs(60)].map(kept), [KEPT, 60, 3, 1]);
    }
}
