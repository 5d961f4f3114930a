//! The clocks, read here and nowhere else in the binary.

use hostward_core::id::Str;
use hostward_core::time::{Ms, Now};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Reads the clocks as the core wants them, within one boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Which boot this is, counted by the ledger.
    pub(crate) boot: u32,
}

impl Clock {
    pub(crate) fn now(self) -> Now {
        Now { boot: self.boot, up: read(ClockId::Boottime), wall: read(ClockId::Realtime) }
    }
}

fn read(clock: ClockId) -> Ms {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Ms(u64::try_from(tv_sec).unwrap_or(0) * 1000 + u64::try_from(tv_nsec / 1_000_000).unwrap_or(0))
}

/// The kernel's own name for this boot.
pub(crate) fn boot_id() -> std::io::Result<Str> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().into())
}
