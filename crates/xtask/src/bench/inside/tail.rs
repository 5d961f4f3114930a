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

    /// Waits for a fact or a turn of `service.NAME`: when it was seen, when it was on disk, its stamp in milliseconds.
    pub(super) fn wait_for(&mut self, name: &str) -> Result<(u64, u64, u64)> {
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for a record of {name}");
            if self.file.metadata()?.len() == self.read {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let seen = clock(ClockId::Boottime);
            self.file.sync_data()?;
            let on_disk = clock(ClockId::Boottime);
            if let Some(stamp) = self.news()?.iter().find_map(|record| stamp_of(record, name)) {
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

fn stamp_of(record: &Value, name: &str) -> Option<u64> {
    let body = &record["body"];
    let news = body.get("noted").or(body.get("turned"))?;
    let watch = news["target"].as_str()?.split('#').next()?;
    (watch == format!("service.{name}")).then(|| record["at"]["up"].as_u64())?
}

pub(super) fn clock(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::stamp_of;

    #[test]
    fn a_record_belongs_to_the_watch_that_it_names() {
        let record = json!({"at": {"up": 7}, "body": {"noted": {"target": "service.no-01#no-01.service"}}});
        assert_eq!(stamp_of(&record, "no-01"), Some(7));
        assert_eq!(stamp_of(&record, "no-0"), None);
        assert_eq!(stamp_of(&json!({"at": {"up": 7}, "body": "stopped"}), "no-01"), None);
    }
}
