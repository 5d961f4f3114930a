//! The parent's side of one child: its task, its answers as they come, its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::Fault;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::process::{Child, ChildStdout};
use tokio::time::Instant;

use super::lanes::Turn;
use super::{Ask, Limits, SUBCOMMAND, Said};
use crate::child::{kill_group, start};

/// Of all answers together: a thousand looks, or a manifest of a thousand pairs, are far smaller.
const SAID_MAX: u64 = 16 << 20;
/// A killed child whose end the kernel does not put off is gone within milliseconds.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Why no more answers come.
#[derive(Debug)]
pub(super) enum End {
    Whole,
    /// An answer took longer than one may.
    Stuck {
        at: PathBuf,
        since: Instant,
    },
    /// The pass took longer than it may, and each answer came in time.
    OutOfTime,
    Failed(Fault),
}

/// A child at work. Dropped, it is killed, and reaped in the background; its mount is free again after that.
#[derive(Debug)]
pub(super) struct Looker {
    child: Option<Child>,
    turn: Option<Turn>,
    task: Vec<u8>,
    /// What it was last heard to be at, and since when.
    at: PathBuf,
    since: Instant,
}

impl Looker {
    pub(super) fn start(program: &Path, turn: Turn, asks: &[Ask]) -> Result<Looker, Fault> {
        let task = serde_json::to_vec(asks).map_err(|e| Fault::Probe(format!("write a task: {e}").into()))?;
        let child = start(program, SUBCOMMAND)?;
        Ok(Looker { child: Some(child), turn: Some(turn), task, at: PathBuf::new(), since: Instant::now() })
    }

    /// Listens until it has answered about each of `at`, or says nothing for as long as an answer may take.
    pub(super) async fn hear(mut self, at: &[PathBuf], limits: Limits) -> (Vec<Said>, End) {
        let mut heard = Vec::new();
        let end = self.hear_into(&mut heard, at, limits).await;
        (heard, end)
    }

    async fn hear_into(&mut self, heard: &mut Vec<Said>, at: &[PathBuf], limits: Limits) -> End {
        let pipes = self.child.as_mut().and_then(|child| Some((child.stdin.take()?, child.stdout.take()?)));
        let Some((mut stdin, stdout)) = pipes else {
            return End::Failed(Fault::Probe("the child has no pipes".into()));
        };
        let mut lines = BufReader::new(stdout.take(SAID_MAX));
        self.at = at.first().cloned().unwrap_or_default();
        // A child that ends without reading says so by not answering; one that does not read is stuck as any other.
        let told = tokio::time::timeout(limits.answer, stdin.write_all(&self.task)).await;
        drop(stdin);
        if told.is_err() {
            return self.stuck();
        }
        for path in at {
            self.at.clone_from(path);
            let wait = (self.since + limits.answer).min(limits.until);
            match tokio::time::timeout_at(wait, line(&mut lines)).await {
                Ok(Ok(said)) => heard.push(said),
                Ok(Err(fault)) => return End::Failed(fault),
                Err(_) if wait < limits.until => return self.stuck(),
                Err(_) => return End::OutOfTime,
            }
            self.since = Instant::now();
        }
        End::Whole
    }

    fn stuck(&self) -> End {
        if let Some(turn) = &self.turn {
            turn.stick(self.at.clone(), self.since);
        }
        End::Stuck { at: self.at.clone(), since: self.since }
    }
}

async fn line(lines: &mut BufReader<Take<ChildStdout>>) -> Result<Said, Fault> {
    let mut text = Vec::new();
    match lines.read_until(b'\n', &mut text).await {
        Ok(0) => Err(Fault::Probe("the child ended before it had answered".into())),
        Ok(_) => serde_json::from_slice(&text).map_err(|e| Fault::Probe(format!("the child's answer: {e}").into())),
        Err(e) => Err(Fault::Probe(format!("read the child's answer: {e}").into())),
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let (Some(mut child), Some(turn)) = (self.child.take(), self.turn.take()) else { return };
        kill_group(&child);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (at, since) = (std::mem::take(&mut self.at), self.since);
        runtime.spawn(async move {
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                turn.stick(at, since);
            }
            // However long the kernel takes: its mount is its own until then.
            let _ = child.wait().await;
            drop(turn);
        });
    }
}
