//! The file that is written: how far it is good, what is reserved ahead of it, and how a new one takes its place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, fallocate, open};
use rustix::io::Errno;

use super::place::{self, Keep, LEDGER};
use super::{Limits, sync_dir};

/// Reserved ahead at a time: some thousands of records, a hundred runs with their outcomes and give-backs.
const RESERVE_BYTES: u64 = 1 << 20;
/// When less than this is left and no more can be had, the disk counts as full: nothing new is begun, so that what is
/// under way can still be recorded to its end. At most two runs are open, some thirty records each.
const RESERVE_LEAST: u64 = 256 << 10;

/// Makes what was written durable: fdatasync(2), or what a test puts in its place.
pub(super) type Sync = Box<dyn FnMut(&File) -> io::Result<()> + Send>;

pub(super) struct Appender {
    pub(super) dir: PathBuf,
    file: File,
    /// Of its first frame.
    first: u64,
    /// Everything before it is durable.
    end: u64,
    /// Blocks are allocated up to here.
    reserved: u64,
    /// An append failed: what lies beyond `end` is unknown, and the descriptor is not to be trusted.
    suspect: bool,
    /// The file has a name that may not outlive a power cut.
    unnamed: bool,
    /// Why too little is reserved.
    low: Option<String>,
    /// Where the file has grown enough for a new one.
    rotate_at: u64,
    limits: Limits,
    sync: Sync,
}

impl Appender {
    /// Goes on with `file` after `end`.
    pub(super) fn go_on(dir: PathBuf, file: File, (first, end): (u64, u64), limits: Limits, sync: Sync) -> Appender {
        Appender {
            dir,
            file,
            first,
            end,
            reserved: end,
            suspect: false,
            unnamed: false,
            low: None,
            rotate_at: limits.rotate_at.max(end),
            limits,
            sync,
        }
    }

    pub(super) fn append(&mut self, group: &[u8]) -> io::Result<()> {
        if self.unnamed {
            self.name()?;
        }
        if self.suspect {
            self.take_back()?;
        }
        self.suspect = true;
        self.reserve(group.len() as u64);
        self.file.write_all_at(group, self.end)?;
        (self.sync)(&self.file)?;
        self.end += group.len() as u64;
        self.suspect = false;
        Ok(())
    }

    /// Looks whether what an outcome needs can still be had: [`Appender::low`] says.
    pub(super) fn look_for_room(&mut self) {
        if !self.suspect {
            self.reserve(0);
        }
    }

    /// Why too little room is left.
    pub(super) fn low(&self) -> Option<&str> {
        self.low.as_deref()
    }

    /// A new file should begin: the caller is asked for its snapshot.
    pub(super) fn grown(&self) -> bool {
        self.end >= self.rotate_at
    }

    /// The snapshot's frame begins a new file; the one before it stays as history. After a failure all is as before, and
    /// it is tried again when the file has grown by as much again.
    pub(super) fn rotate(&mut self, first: u64, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u64;
        // Should anything below fail, as much again is written first.
        self.rotate_at = self.end + self.limits.rotate_at;
        // A file with a reserve is not given up for one without.
        let mut prepare = |file: &File| allocate(file, 0, length + RESERVE_BYTES);
        let keep = Keep::Generation(self.first);
        let file = place::replace(&self.dir, frame, keep, &mut prepare, &mut |_| {})?;
        // What was reserved behind the old one is given back; a file that keeps it for a while hurts nobody.
        let _ = self.file.set_len(self.end);
        (self.file, self.first, self.end, self.reserved) = (file, first, length, length + RESERVE_BYTES);
        // A snapshot near the limit must not bring on the next.
        self.rotate_at = self.limits.rotate_at.max(2 * length);
        self.unnamed = true;
        self.name()
    }

    /// The generations beyond the bound may go only when their successor's name is durable.
    fn name(&mut self) -> io::Result<()> {
        sync_dir(&self.dir).map_err(io::Error::other)?;
        self.unnamed = false;
        // What cannot be removed is tried again when the next file begins.
        let _ = place::prune(&self.dir, self.limits.generations);
        Ok(())
    }

    /// Another half of the reserve is had while half of it is left, so that a disk which fills leaves that half.
    fn reserve(&mut self, bytes: u64) {
        let left = self.reserved.saturating_sub(self.end);
        self.low = None;
        if left >= bytes + RESERVE_BYTES / 2 || self.reserve_ahead(bytes + RESERVE_BYTES).is_ok() {
            return;
        }
        if left < bytes + RESERVE_LEAST
            && let Err(e) = self.reserve_ahead(bytes + RESERVE_LEAST)
        {
            self.low = Some(format!("no room for what is under way: {e}"));
        }
    }

    fn reserve_ahead(&mut self, bytes: u64) -> io::Result<()> {
        allocate(&self.file, self.end, bytes)?;
        self.reserved = self.end + bytes;
        Ok(())
    }

    /// Cut what a failed append left, through a new descriptor. Cutting also returns what was reserved.
    fn take_back(&mut self) -> io::Result<()> {
        self.file = File::from(open(self.dir.join(LEDGER), place::flags(), Mode::empty())?);
        self.file.set_len(self.end)?;
        self.reserved = self.end;
        Ok(())
    }
}

/// Only a full disk is an error: without a reservation, where there is none to be had, the write itself decides.
fn allocate(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes) {
        Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
