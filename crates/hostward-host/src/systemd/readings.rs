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
use std::time::Duration;

use hostward_core::ask::{Active, UnitReading};
use hostward_core::id::UnitName;
use tokio::time::Instant;

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
    Whole { row: Row, reading: Box<UnitReading>, at: Instant },
}

/// A look that began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look(u64);

impl Readings {
    /// The unit as it was last read, if this row is all that can be new of it.
    pub(super) fn recall(&self, name: &UnitName, row: &Row) -> Option<UnitReading> {
        match self.known().units.get(name)? {
            Unit::Whole { row: known, reading, at } if known == row && at.elapsed() < WHOLE_EVERY => {
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
    pub(super) fn keep(&self, name: &UnitName, look: Look, row: Row, reading: &UnitReading) {
        let mut known = self.known();
        if !matches!(known.units.get(name), Some(Unit::Look(ours)) if *ours == look.0) {
            return;
        }
        let steady = matches!(reading.active, Active::Active | Active::Inactive | Active::Failed);
        if steady && reading.job.is_none() {
            let whole = Unit::Whole { row, reading: Box::new(reading.clone()), at: Instant::now() };
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

    fn known() -> Readings {
        let readings = Readings::default();
        let look = readings.begin(&name());
        readings.keep(&name(), look, row("active", None), &reading("active", None));
        readings
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_unit_is_known_by_its_row_for_ten_minutes() {
        let readings = known();
        assert_eq!(readings.recall(&name(), &row("active", None)), Some(reading("active", None)));
        assert_eq!(readings.recall(&name(), &row("failed", None)), None, "another row");
        assert_eq!(readings.recall(&name(), &row("active", Some("restart"))), None, "a job");
        assert_eq!(readings.recall(&UnitName::new("b.service"), &row("active", None)), None);
        tokio::time::advance(WHOLE_EVERY).await;
        assert_eq!(readings.recall(&name(), &row("active", None)), None);
    }

    #[tokio::test]
    async fn a_signal_and_an_act_forget_it_also_in_the_middle_of_a_look() {
        for change in [|readings: &Readings| readings.changed(&name()), Readings::forget] {
            let readings = known();
            change(&readings);
            assert_eq!(readings.recall(&name(), &row("active", None)), None);
            let look = readings.begin(&name());
            change(&readings);
            readings.keep(&name(), look, row("active", None), &reading("active", None));
            assert_eq!(readings.recall(&name(), &row("active", None)), None, "it changed during the look");
        }
    }

    #[tokio::test]
    async fn of_two_looks_the_later_is_kept_and_of_a_unit_in_motion_none() {
        let readings = Readings::default();
        let (first, second) = (readings.begin(&name()), readings.begin(&name()));
        readings.keep(&name(), first, row("failed", None), &reading("failed", None));
        assert_eq!(readings.recall(&name(), &row("failed", None)), None);
        readings.keep(&name(), second, row("active", None), &reading("active", None));
        assert!(readings.recall(&name(), &row("active", None)).is_some());
        for (active, job) in [("activating", None), ("active", Some("stop"))] {
            let look = readings.begin(&name());
            readings.keep(&name(), look, row(active, job), &reading(active, job));
            assert_eq!(readings.recall(&name(), &row(active, job)), None, "{active}");
        }
    }
}
