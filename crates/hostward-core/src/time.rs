//! Time as a value. The core never asks what time it is: every stamp comes in with an event.

use std::fmt;
use std::ops::{Add, Div, Mul};

use serde::{Deserialize, Serialize};

/// A span, or a point counted from some origin, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ms(pub u64);

impl Ms {
    pub const ZERO: Ms = Ms(0);
    pub const MAX: Ms = Ms(u64::MAX);

    pub const fn secs(n: u64) -> Ms {
        Ms(n.saturating_mul(1000))
    }
    pub const fn mins(n: u64) -> Ms {
        Ms::secs(n.saturating_mul(60))
    }
    pub const fn hours(n: u64) -> Ms {
        Ms::mins(n.saturating_mul(60))
    }
    pub const fn days(n: u64) -> Ms {
        Ms::hours(n.saturating_mul(24))
    }
    #[must_use]
    pub const fn saturating_sub(self, other: Ms) -> Ms {
        Ms(self.0.saturating_sub(other.0))
    }
    /// Seconds with a fraction, as Prometheus wants them.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl From<Ms> for std::time::Duration {
    fn from(ms: Ms) -> Self {
        std::time::Duration::from_millis(ms.0)
    }
}

impl Add for Ms {
    type Output = Ms;
    fn add(self, other: Ms) -> Ms {
        Ms(self.0.saturating_add(other.0))
    }
}

impl Mul<u64> for Ms {
    type Output = Ms;
    fn mul(self, n: u64) -> Ms {
        Ms(self.0.saturating_mul(n))
    }
}

impl Div<u64> for Ms {
    type Output = Ms;
    fn div(self, n: u64) -> Ms {
        Ms(self.0 / n)
    }
}

/// `90s` as `1m30s`, `1500` ms as `1.5s`; at most two units, as an operator would say it.
impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0 / 1000, self.0 % 1000);
        match (secs, millis) {
            (0, _) => write!(f, "{}ms", self.0),
            (1..=9, 1..) => write!(f, "{secs}.{}s", millis / 100),
            _ => {
                let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
                let first = units.iter().position(|(n, _)| secs >= *n).unwrap_or(3);
                let (n, name) = units[first];
                write!(f, "{}{name}", secs / n)?;
                match units.get(first + 1) {
                    Some((m, name)) if secs % n >= *m => write!(f, "{}{name}", secs % n / m),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A moment as this host knows it. Also the stamp that records keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now {
    /// Which boot, counted by the ledger.
    pub boot: u32,
    /// Time since that boot, suspend included (CLOCK_BOOTTIME). Within a boot this alone measures.
    pub up: Ms,
    /// Wall clock, milliseconds since 1970. It may jump; it measures only across boots, and never by itself.
    pub wall: Ms,
}

impl Now {
    /// How long ago `earlier` was: boot time within a boot; across boots at least this boot's age, whatever the wall
    /// clock says. A wall clock that went back never makes time negative.
    pub fn since(self, earlier: Now) -> Ms {
        if self.boot == earlier.boot {
            self.up.saturating_sub(earlier.up)
        } else {
            self.wall.saturating_sub(earlier.wall).max(self.up)
        }
    }

    /// The boot time at which `earlier + span` is reached; now, when it has passed.
    pub fn reach(self, earlier: Now, span: Ms) -> Ms {
        self.up + span.saturating_sub(self.since(earlier))
    }

    /// `self` was at or after `other`, by the clock that measures.
    pub fn not_before(self, other: Now) -> bool {
        (self.boot, self.up) >= (other.boot, other.up)
    }

    /// The same moment, `span` later.
    #[must_use]
    pub fn plus(self, span: Ms) -> Now {
        Now { boot: self.boot, up: self.up + span, wall: self.wall + span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let said: Vec<String> = [0, 40, 1500, 12_000, 90_000, 3_600_000, 5_400_000, 90_000_000]
            .into_iter()
            .map(|ms| Ms(ms).to_string())
            .collect();
        assert_eq!(said, ["0ms", "40ms", "1.5s", "12s", "1m30s", "1h", "1h30m", "1d1h"]);
    }

    #[test]
    fn spans_are_reckoned_to_the_millisecond_and_never_overflow() {
        assert_eq!(
            [Ms::secs(2), Ms::mins(2), Ms::hours(2), Ms::days(2)].map(|span| span.0 / 1000),
            [2, 120, 7200, 172_800]
        );
        assert_eq!(
            (Ms(9) + Ms(4), Ms(9) * 4, Ms(9) / 4, Ms(9).saturating_sub(Ms(4))),
            (Ms(13), Ms(36), Ms(2), Ms(5))
        );
        assert_eq!((Ms::MAX + Ms(1), Ms::MAX * 2, Ms(4).saturating_sub(Ms(9))), (Ms::MAX, Ms::MAX, Ms::ZERO));
        assert!((Ms(1500).as_secs_f64() - 1.5).abs() < f64::EPSILON);
        assert_eq!(std::time::Duration::from(Ms(1500)).as_millis(), 1500);
    }

    #[test]
    fn a_wall_clock_that_jumps_never_shortens_or_stretches_a_boot() {
        let a = Now { boot: 1, up: Ms::secs(10), wall: Ms::hours(100) };
        let b = Now { boot: 1, up: Ms::secs(70), wall: Ms::hours(1) };
        assert_eq!(b.since(a), Ms::secs(60));
        let rebooted = Now { boot: 2, up: Ms::secs(5), wall: Ms::hours(1) };
        assert_eq!(rebooted.since(a), Ms::secs(5), "a wall clock that went back: this boot's age is all we know");
        let later = Now { boot: 2, up: Ms::secs(5), wall: Ms::hours(101) };
        assert_eq!(later.since(a), Ms::hours(1));
    }
}
