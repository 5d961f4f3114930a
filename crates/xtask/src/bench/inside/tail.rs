//! The ledger as it grows, read from outside.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

const LOOK_EVERY: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Ledger {
    file: File,
    read: u64,
}

impl Ledger {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open '{}'", path.display()))?;
        Ok(Self { file, read: 0 })
    }

    /// What is there already is not news.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.read = self.file.metadata()?.len();
        Ok(())
    }

    /// Waits for a record `of` something: when it was seen, when it was on disk, its stamp in milliseconds.
    pub(super) fn wait_for(&mut self, what: &str, of: impl Fn(&Value) -> bool) -> Result<(u64, u64, u64)> {
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for a record of {what}");
            if self.file.metadata()?.len() == self.read {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let seen = clock(ClockId::Boottime);
            self.file.sync_data()?;
            let on_disk = clock(ClockId::Boottime);
            if let Some(record) = self.news()?.into_iter().find(|record| of(record)) {
                let stamp = record["at"]["up"].as_u64().context("a record has its moment")?;
                return Ok((seen, on_disk, stamp));
            }
        }
    }

    /// Whole records that were not read before.
    pub(super) fn news(&mut self) -> Result<Vec<Value>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += u64::try_from(whole)?;
        let text = std::str::from_utf8(&bytes[..whole])?;
        // Sequence number, checksum, record.
        let records = text.lines().filter_map(|line| line.splitn(3, ' ').nth(2));
        records.map(|json| serde_json::from_str(json).with_context(|| format!("read the record {json}"))).collect()
    }
}

/// Of `service.NAME`: a fact, or a turn.
pub(super) fn is_of(record: &Value, name: &str) -> bool {
    let body = &record["body"];
    let target = body.get("noted").or(body.get("turned")).and_then(|news| news["target"].as_str());
    target.and_then(|target| target.split('#').next()).is_some_and(|watch| watch == format!("service.{name}"))
}

pub(super) fn clock(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_of;

    #[test]
    fn a_record_belongs_to_the_watch_that_it_names() {
        let record = json!({"at": {"up": 7}, "body": {"noted": {"target": "service.no-01#no-01.service"}}});
        assert!(is_of(&record, "no-01"));
        assert!(!is_of(&record, "no-0"));
        assert!(!is_of(&json!({"at": {"up": 7}, "body": "stopped"}), "no-01"));
    }
}
