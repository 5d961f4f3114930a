//! What a pass holds, in the daemon and in the children that read: with many logs, and with one that is far larger.

use anyhow::Result;
use hostward_tests::Guard;

use super::fleet::Fleet;
use super::{BY_FOLDER, JOBS};
use crate::bench::host;
use crate::bench::report::Figure;
use crate::bench::spent::{in_megabytes, megabytes};

const HOSTWARD: &str = "hostward.service";
const PASSES: usize = 5;
const LARGE: &str = "10G";
/// Of what came since a look, at most 1 MiB is read, and matched against the pattern.
const GROWTH_MAX_MB: f64 = 2.0;

/// In megabytes.
struct Held {
    daemon: f64,
    daemon_peak: f64,
    child_peak: f64,
}

pub(super) fn measure(guard: &Guard<'_>, fleet: &mut Fleet<'_>) -> Result<Vec<Figure>> {
    let mut before = 0.0_f64;
    for _ in 0..PASSES {
        fleet.renew()?;
        before = before.max(child(guard, fleet)?);
    }
    let before = Held::read(guard, before)?;
    let mut after = 0.0_f64;
    for _ in 0..PASSES {
        // So much since the last look, and then as much at first sight.
        fleet.swell(LARGE)?;
        after = after.max(child(guard, fleet)?);
        fleet.renew()?;
        after = after.max(child(guard, fleet)?);
    }
    let after = Held::read(guard, after)?;
    let held = |what: &str, after: f64, before: f64| {
        let what = format!("{what}, a log grew by {LARGE} {PASSES} times");
        Figure::one("jobs", what, "MB", after).peer("before", before).goal(before + GROWTH_MAX_MB)
    };
    Ok(vec![
        Figure::one("jobs", format!("peak of a child that reads {JOBS} logs of 96 KiB"), "MB", before.child_peak),
        held("the same", after.child_peak, before.child_peak),
        held("VmRSS of the daemon", after.daemon, before.daemon),
        held("VmHWM of the daemon", after.daemon_peak, before.daemon_peak),
    ])
}

/// The peak of the children of one look.
fn child(guard: &Guard<'_>, fleet: &Fleet<'_>) -> Result<f64> {
    let kb: u64 = host::inside(guard.sandbox(), &["peak", HOSTWARD, "__look", "hostward", "check", BY_FOLDER])?;
    fleet.ensure_read(guard, BY_FOLDER)?;
    Ok(in_megabytes(kb))
}

impl Held {
    fn read(guard: &Guard<'_>, child_peak: f64) -> Result<Held> {
        let daemon = |field| megabytes(guard.sandbox(), HOSTWARD, field);
        Ok(Held { daemon: daemon("VmRSS")?, daemon_peak: daemon("VmHWM")?, child_peak })
    }
}
