//! Virtual time: what really passed, what this boot shows, and what the wall clock claims.

use hostward_core::time::{Ms, Now};

/// When the first boot began, by the wall clock.
const EPOCH: u64 = 1_750_000_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Since the story's beginning; no jump and no reboot touches it.
    pub real: Ms,
    /// When this boot began.
    pub booted: Ms,
    /// The kernel's boots: each has an id of its own.
    pub boots: u32,
    /// What jumps have added to the wall clock.
    wall: i64,
}

impl Clock {
    /// Up for this long.
    pub fn new(up: Ms) -> Clock {
        Clock { real: up, booted: Ms::ZERO, boots: 1, wall: 0 }
    }

    pub fn up(&self) -> Ms {
        self.real.saturating_sub(self.booted)
    }

    pub fn wall(&self) -> Ms {
        let honest = EPOCH + self.real.0;
        Ms(honest.saturating_add_signed(self.wall))
    }

    pub fn jump(&mut self, by: i64) {
        self.wall = self.wall.saturating_add(by);
    }

    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// As an engine stamps it that counts this boot as `boot`.
    pub fn now(&self, boot: u32) -> Now {
        Now { boot, up: self.up(), wall: self.wall() }
    }

    /// A stamp of this boot, as really passed time.
    pub fn real_of(&self, up: Ms) -> Ms {
        self.booted + up
    }
}
