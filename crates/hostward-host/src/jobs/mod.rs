//! Jobs: listed, and looked at: who runs each, and how far it has come.
//!
//! Invariants: this process touches no file of a job, for it may lie on a mount that hangs: children do, one a file system,
//! each killed at its deadline (`paths`). What a provider prints is read where it was run. Locks and units are looked up
//! before files, so that only jobs which run, or which somebody runs, are read. Rule: watches.md, "job".

mod command;
mod count;
mod entries;
mod env_file;
mod folder;
mod glob;
mod json;
mod marks;
mod pass;
mod progress;
mod runner;
mod signs;
mod tail;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hostward_core::ask::{Answer, Fault, JobsQ, Reading};
use hostward_core::time::Ms;
use tokio::time::Instant;

use crate::child::Children;
use crate::http;
use crate::mounts::{OF_PID_1, Table};
use crate::paths::{Limits, Lookers};
use crate::systemd::Systemd;
use marks::Marks;
use pass::Pass;

pub(crate) use command::{ListAsk, list as list_by_command};
pub(crate) use count::{CountAsk, Patterns, count};
pub(crate) use entries::Listed;
pub(crate) use folder::{FolderAsk, list as list_folder};
pub(crate) use signs::{mentions, processes};
pub(crate) use tail::Mark;

/// Asks about jobs. Clones share how far each log was read.
#[derive(Clone, Debug)]
pub struct Jobs {
    children: Children,
    lookers: Lookers,
    http: http::Client,
    marks: Marks,
}

impl Jobs {
    pub fn new(children: Children, lookers: Lookers, http: http::Client) -> Jobs {
        Jobs { children, lookers, http, marks: Marks::default() }
    }

    /// All jobs of one watch. `deadline` is the pass's, which may be longer than the question's own, as deadlines are while
    /// this host is starved: then each part of it has so much more time.
    ///
    /// Cancel-safe: dropped, it kills its children.
    pub async fn ask(&self, q: &JobsQ, deadline: Duration, systemd: Result<Systemd, Fault>) -> Answer {
        let begun = Instant::now();
        let stretched = |span: Ms| share(deadline, span, q.deadline());
        let limits = Limits { answer: stretched(q.answer), until: begun + deadline };
        // Off the loop's thread: a thousand lines take milliseconds.
        let table = tokio::task::spawn_blocking(|| Table::read(OF_PID_1).ok()).await.ok().flatten();
        let pass = Pass { jobs: self, q, systemd, table, limits };
        let listed = pass.list(stretched).await?;
        Ok(Reading::Jobs(Box::new(pass.look(listed).await?)))
    }
}

/// What of `all` a part of `whole` has.
fn share(all: Duration, part: Ms, whole: Ms) -> Duration {
    let millis = |ms: Ms| Duration::from(ms).as_secs_f64();
    all.mul_f64((millis(part) / millis(whole).max(0.001)).clamp(0.0, 1.0))
}
