//! History: every record that is left, from the oldest generation to the newest record, one at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hostward_core::ledger::Record;

use super::format::{self, First, Unreadable};
use super::frame::Frames;
use super::{FileError, LEDGER, Tail, place};

/// Needs no lock: history is read with the daemon dead or alive, also while it rotates.
#[derive(Debug)]
pub struct History {
    files: VecDeque<(PathBuf, Frames<BufReader<File>>)>,
    begun: bool,
    last: u64,
    troubles: Vec<String>,
}

impl History {
    pub fn open(dir: &Path) -> Result<History, FileError> {
        // The newest first: should it be rotated meanwhile, it is found twice and read once, and not missed.
        let newest = dir.join(LEDGER);
        let open = place::open_to_read(&newest)?;
        let mut files = VecDeque::new();
        for path in place::generations(dir).map_err(|e| FileError::new("list", dir, e))? {
            // One that was removed since was the oldest.
            if let Some(file) = place::open_to_read(&path)? {
                files.push_back((path, file));
            }
        }
        files.extend(open.map(|file| (newest, file)));
        let frames = |file| Frames::new(BufReader::with_capacity(1 << 16, file));
        let files = files.into_iter().map(|(path, file)| (path, frames(file))).collect();
        Ok(History { files, begun: false, last: 0, troubles: Vec::new() })
    }

    /// The next record. A file that cannot be read to its end is read as far as it goes, and told of in the end.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and its caller must not go on then")]
    pub fn next(&mut self) -> Result<Option<Record>, FileError> {
        while let Some((path, frames)) = self.files.front_mut() {
            let frame = match frames.next() {
                Ok(frame) => frame,
                Err(e) => return Err(FileError::new("read", path, e)),
            };
            let found = match frame {
                None => {
                    if let Tail::Damaged { offset, reason } = frames.tail() {
                        self.troubles.push(format!("'{}' is damaged at byte {offset}: {reason}", path.display()));
                    }
                    self.skip_file();
                    continue;
                }
                Some((seq, payload)) if self.begun => format::record(seq, payload).map(Some),
                Some((seq, payload)) => format::first(seq, payload).map(|first| match first {
                    First::Snapshot(_) => None,
                    First::Record(record) => Some(*record),
                }),
            };
            self.begun = true;
            match found {
                // What one generation told is not told again.
                Ok(Some(record)) if record.seq > self.last => {
                    self.last = record.seq;
                    return Ok(Some(record));
                }
                Ok(_) => {}
                Err(Unreadable::Newer(why) | Unreadable::Damaged(why)) => {
                    self.troubles.push(format!("'{}': {why}", path.display()));
                    self.skip_file();
                }
            }
        }
        Ok(None)
    }

    /// What could not be read.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    fn skip_file(&mut self) {
        self.files.pop_front();
        self.begun = false;
    }
}
