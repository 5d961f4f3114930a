//! What the tests of the ledger share: records to write, and a disk of a certain size.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hostward_core::id::{TargetId, WatchId};
use hostward_core::ledger::{Body, Record, State};
use hostward_core::time::{Ms, Now};

use super::{Folded, History, fold, frame};

/// A boot later than all that was recorded.
pub(super) fn later(state: &State) -> Now {
    Now { boot: state.boot + 1, up: Ms::secs(1), wall: Ms::hours(1_000_000) }
}

pub(super) fn folded(dir: &Path) -> Folded {
    fold(dir, &later).unwrap()
}

/// A record whose fact has so many bytes.
pub(super) fn record(seq: u64, bytes: usize) -> Record {
    let target = TargetId::new(WatchId::new("service.api"), "api.service");
    let at = Now { boot: 1, up: Ms::secs(seq), wall: Ms::secs(1_000_000 + seq) };
    Record { seq, at, body: Body::Noted { target, fact: "x".repeat(bytes).into(), missed: 0 } }
}

pub(super) fn line(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).unwrap()
}

pub(super) fn framed(record: &Record) -> Vec<u8> {
    frame::encode(record.seq, &line(record))
}

/// Everything that history tells, by number; nothing may be wrong with it.
pub(super) fn told(dir: &Path) -> Vec<u64> {
    let mut history = History::open(dir).unwrap();
    let mut seqs = Vec::new();
    while let Some(record) = history.next().unwrap() {
        seqs.push(record.seq);
    }
    assert_eq!(history.troubles(), [""; 0]);
    seqs
}

/// The files below `dir` whose names begin so.
pub(super) fn named(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(name).collect();
    found.sort();
    found
}

/// A tmpfs of this size, gone with the value. Needs root.
pub(super) struct Disk(tempfile::TempDir);

impl Disk {
    pub(super) fn new(size: &str) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "hostward-test"]).arg(dir.path()).status();
        assert!(done.unwrap().success(), "this test mounts a tmpfs and needs root");
        Disk(dir)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let file = File::create(&path).unwrap();
        let mut at = 0;
        while file.write_all_at(&[1; 4096], at).is_ok() {
            at += 4096;
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "the test's tmpfs stays mounted");
    }
}
