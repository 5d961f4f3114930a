//! What units were when they were last read whole, for as long as nothing says that they changed.
//!
//! Of a quiet unit one row of a list is asked; everything else of it is a GetAll, which costs PID 1 as much as twenty
//! rows. It is read again when its row is another one, when a signal named it, after a reload, after any act of ours, and
//! after [`WHOLE_EVERY`] whatever happened.
//!
//! Invariant: what is known was read after the last signal of the unit that the drain has seen, and after our last call
//! that was no question. systemd sends a unit's changes before it says that the unit's job ended, so that an act which
//! returned leaves nothing older behind.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hostward_core::ask::{Active, UnitReading};
use hostward_core::id::UnitName;

use super::unit::Row;

/// UnitFileState and NeedDaemonReload change with files, and no signal tells of it.
const WHOLE_EVERY: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Readings {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    units: BTreeMap<UnitName, Unit>,
    looks: u64,
}

#[derive(Debug)]
enum Unit {
    /// This look is under way. A signal meanwhile removes it, and what comes of the look is not kept.
    Look(u64),
    Whole {
        reading: Box<UnitReading>,
        at: Instant,
    },
}

/// A look that began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look(u64);

impl Readings {
    /// The unit as it was last read, if this row is all that can be new of it.
    pub(super) fn recall(&self, name: &UnitName, row: &Row, now: Instant) -> Option<UnitReading> {
        match self.known().units.get(name)? {
            Unit::Whole { reading, at } if row.shows(reading) && now.duration_since(*at) < WHOLE_EVERY => {
                Some((**reading).clone())
            }
            _ => None,
        }
    }

    /// Before the unit is asked for everything.
    pub(super) fn begin(&self, name: &UnitName) -> Look {
        let mut known = self.known();
        known.looks += 1;
        let look = known.looks;
        known.units.insert(name.clone(), Unit::Look(look));
        Look(look)
    }

    /// What came of it. A unit between two states is not kept: more is about to come of it.
    pub(super) fn keep(&self, name: &UnitName, look: Look, reading: &UnitReading, now: Instant) {
        let mut known = self.known();
        if !matches!(known.units.get(name), Some(Unit::Look(ours)) if *ours == look.0) {
            return;
        }
        let steady = matches!(reading.active, Active::Active | Active::Inactive | Active::Failed);
        if steady && reading.job.is_none() {
            let whole = Unit::Whole { reading: Box::new(reading.clone()), at: now };
            known.units.insert(name.clone(), whole);
        } else {
            known.units.remove(name);
        }
    }

    pub(super) fn changed(&self, name: &UnitName) {
        self.known().units.remove(name);
    }

    /// Anything may have changed.
    pub(super) fn forget(&self) {
        self.known().units.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::unit::tests::{reading, row};
    use super::*;

    fn name() -> UnitName {
        UnitName::new("a.service")
    }

    fn look(readings: &Readings, active: &str, job: Option<&str>, began: Look, now: Instant) {
        readings.keep(&name(), began, &reading(active, job), now);
    }

    fn recall(readings: &Readings, active: &str, job: Option<&str>, now: Instant) -> Option<UnitReading> {
        readings.recall(&name(), &row(active, job), now)
    }

    fn known(now: Instant) -> Readings {
        let readings = Readings::default();
        look(&readings, "active", None, readings.begin(&name()), now);
        readings
    }

    #[test]
    fn a_quiet_unit_is_known_by_its_row_for_ten_minutes() {
        let now = Instant::now();
        let readings = known(now);
        assert_eq!(recall(&readings, "active", None, now), Some(reading("active", None)));
        assert_eq!(recall(&readings, "failed", None, now), None, "another row");
        assert_eq!(recall(&readings, "active", Some("restart"), now), None, "a job");
        assert_eq!(readings.recall(&UnitName::new("b.service"), &row("active", None), now), None);
        assert_eq!(recall(&readings, "active", None, now + WHOLE_EVERY), None);
    }

    #[test]
    fn a_signal_and_an_act_forget_it_also_in_the_middle_of_a_look() {
        let now = Instant::now();
        for change in [|readings: &Readings| readings.changed(&name()), Readings::forget] {
            let readings = known(now);
            change(&readings);
            assert_eq!(recall(&readings, "active", None, now), None);
            let began = readings.begin(&name());
            change(&readings);
            look(&readings, "active", None, began, now);
            assert_eq!(recall(&readings, "active", None, now), None, "it changed during the look");
        }
    }

    #[test]
    fn of_two_looks_the_later_is_kept_and_of_a_unit_in_motion_none() {
        let now = Instant::now();
        let readings = Readings::default();
        let (first, second) = (readings.begin(&name()), readings.begin(&name()));
        look(&readings, "failed", None, first, now);
        assert_eq!(recall(&readings, "failed", None, now), None);
        look(&readings, "active", None, second, now);
        assert!(recall(&readings, "active", None, now).is_some());
        for (active, job) in [("activating", None), ("active", Some("stop"))] {
            look(&readings, active, job, readings.begin(&name()), now);
            assert_eq!(recall(&readings, active, job, now), None, "{active}");
        }
    }
}
