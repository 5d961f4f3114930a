//! What is observed, kept for `hostward replay`: two files of a bounded size, the older one whole. Written by a thread of
//! its own; what it cannot keep up with is left out, and the recording begins anew.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use hostward_core::engine::{Begin, Event};
use hostward_core::replay::{Line, Recorder};
use hostward_core::time::Now;

/// Lines on their way to the thread: some seconds of a busy host.
const LINES_MAX: usize = 4096;
/// What is written reaches the file at least this often.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The recording under way, and the one before it.
pub(crate) fn files(state: &Path) -> (PathBuf, PathBuf) {
    (state.join("observed.jsonl"), state.join("observed.1.jsonl"))
}

/// The loop's end: it never waits.
#[derive(Debug)]
pub(crate) struct Recording {
    lines: SyncSender<Line>,
    recorder: Recorder,
    /// Bytes written since the recording began, by estimate of its lines.
    written: u64,
    limit: u64,
    /// A line was left out, or the file is full: it is begun anew with the next event.
    anew: bool,
}

impl Recording {
    pub(crate) fn start(state: &Path, limit: u64) -> std::io::Result<Recording> {
        let (lines, inbox) = sync_channel(LINES_MAX);
        let (now, before) = files(state);
        let thread = std::thread::Builder::new().name("recorder".into());
        thread.spawn(move || write(&inbox, &now, &before))?;
        Ok(Recording { lines, recorder: Recorder::default(), written: 0, limit, anew: false })
    }

    pub(crate) fn begin(&mut self, begin: Begin, start: bool) {
        let line = self.recorder.begin(begin, start);
        (self.written, self.anew) = (0, false);
        self.send(line);
    }

    /// `here`: how to begin anew, should that be needed.
    pub(crate) fn event(&mut self, now: Now, event: &Event, here: impl FnOnce() -> Begin) {
        if matches!(event, Event::Wake | Event::Durable(_)) && self.anew {
            return;
        }
        if self.anew {
            self.begin(here(), false);
        }
        let line = self.recorder.event(now, event);
        self.send(line);
    }

    fn send(&mut self, line: Line) {
        self.written += match &line {
            Line::Same { .. } => 120,
            Line::Event { .. } => 400,
            Line::Begin { .. } => 4096,
        };
        let lost = matches!(self.lines.try_send(line), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)));
        self.anew |= lost || self.written >= self.limit / 2;
    }
}

fn write(inbox: &Receiver<Line>, now: &Path, before: &Path) {
    let mut file: Option<BufWriter<File>> = None;
    loop {
        match inbox.recv_timeout(FLUSH_EVERY) {
            Ok(line) => {
                if matches!(line, Line::Begin { .. }) {
                    drop(file.take());
                    // None yet, or one that cannot be kept: the new one matters more.
                    let _ = std::fs::rename(now, before);
                    file = create(now).ok();
                }
                let Some(out) = &mut file else { continue };
                let written = serde_json::to_writer(&mut *out, &line).is_ok() && out.write_all(b"\n").is_ok();
                if !written {
                    // A full disk: what is recorded so far stays, and the next beginning tries again.
                    file = None;
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                if let Some(out) = &mut file {
                    let _ = out.flush();
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn create(path: &Path) -> std::io::Result<BufWriter<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    Ok(BufWriter::new(options.open(path)?))
}
