//! Disk headroom: how full a file system is, and when it will be, by the pace of what was seen.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::Space;
use crate::id::Str;
use crate::judge::{Code, Reason, Seen};
use crate::time::{Ms, Now};

/// `[[storage.NAME.disks]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Any folder on it.
    pub path: PathBuf,
    /// Down from this share on, in per cent of what an ordinary user may use. Default 90.
    pub used: u32,
    /// The same of inodes. Default 90.
    pub inodes: u32,
    /// Down when it will be full within this. Default 24 h.
    pub full_within: Ms,
}

/// What is known of a disk now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    pub space: Space,
    /// When the pace of the last hours goes on; none: it does not grow, or was not seen for long enough.
    pub full_in: Option<Ms>,
}

/// Keys of the targets that disks are begin with it.
const PREFIX: &str = "disk/";
/// How far back the pace is measured: shorter, and every nightly job would be a trend.
const WINDOW: Ms = Ms::hours(6);
/// Below this span a pace means nothing.
const SPAN_MIN: Ms = Ms::mins(30);
/// Looks nearer to each other than this are one; so that the window holds 72 of them.
const APART: Ms = Ms::mins(5);
/// Once down, so many points below the threshold are up again: a disk at the threshold is told of once.
const HYSTERESIS: u64 = 2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memo {
    seen: VecDeque<(Now, u64)>,
    last: Option<(Now, Space)>,
    /// What the last look found too full.
    over: Option<Code>,
}

impl Disk {
    pub(super) fn key(&self) -> Str {
        format!("{PREFIX}{}", self.path.display().to_string().trim_start_matches('/')).into()
    }
}

impl Memo {
    pub(super) fn room(&self) -> Option<Room> {
        let (_, space) = self.last?;
        Some(Room { space, full_in: self.full_in() })
    }

    pub(super) fn judge(&mut self, now: Now, space: Space, disk: &Disk) -> Seen {
        self.note(now, space);
        let reason = self.reason(space, disk);
        self.over = reason.as_ref().map(|reason| reason.code);
        reason.map_or(Seen::Up, Seen::Down)
    }

    fn reason(&self, space: Space, disk: &Disk) -> Option<Reason> {
        let limit = |code, percent: u32| {
            let margin = if self.over == Some(code) { HYSTERESIS } else { 0 };
            u64::from(percent).saturating_sub(margin)
        };
        let bytes = percent(space.used_bytes, space.free_bytes);
        if bytes >= limit(Code::DiskSpace, disk.used) {
            return Some(Reason::new(
                Code::DiskSpace,
                format!("{bytes} % of it is used, and {} % allowed", disk.used),
            ));
        }
        let inodes = percent(space.used_inodes, space.free_inodes);
        if inodes >= limit(Code::DiskInodes, disk.inodes) {
            let detail = format!("{inodes} % of its inodes are used, and {} % allowed", disk.inodes);
            return Some(Reason::new(Code::DiskInodes, detail));
        }
        let full_in = self.full_in()?;
        let within = if self.over == Some(Code::DiskFilling) { disk.full_within * 3 / 2 } else { disk.full_within };
        (full_in <= within).then(|| {
            let detail = format!("full in {full_in} at the pace of the last hours: {bytes} % of it is used");
            Reason::new(Code::DiskFilling, detail)
        })
    }

    fn note(&mut self, now: Now, space: Space) {
        self.last = Some((now, space));
        while self.seen.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.seen.pop_front();
        }
        if self.seen.back().is_none_or(|(at, _)| now.since(*at) >= APART) {
            self.seen.push_back((now, space.used_bytes));
        }
    }

    /// From the oldest look in the window to the newest: an operator can do the same sum.
    fn full_in(&self) -> Option<Ms> {
        let (now, space) = self.last?;
        let (then, used) = *self.seen.front()?;
        let span = now.since(then);
        let grown = space.used_bytes.checked_sub(used).filter(|grown| *grown > 0 && span >= SPAN_MIN)?;
        let left = u128::from(space.free_bytes) * u128::from(span.0) / u128::from(grown);
        Some(Ms(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

/// As df(1) rounds it: up. Zero of a file system that does not count.
pub(in crate::watch) fn percent(used: u64, free: u64) -> u64 {
    let (used, all) = (u128::from(used), u128::from(used) + u128::from(free));
    u64::try_from((used * 100).div_ceil(all.max(1))).unwrap_or(100)
}
