//! Jobs as a command of the operator's lists them: run in a child below its supervision, and read there.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hostward_core::ask::{Fault, JobState, Listing};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};

use super::entries::Listed;
use super::{env_file, json};
use crate::exec::{End, Keep, Program, supervise};
use crate::veil::Veil;

/// Of what it prints: a thousand jobs, each with all that may be said of it.
const OUTPUT_MAX: usize = 4 << 20;
const EXCERPT_CHARS: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListAsk {
    pub(crate) listing: Listing,
    pub(crate) words: BTreeMap<Str, JobState>,
}

impl ListAsk {
    pub(crate) fn within(&self, timeout: Ms) -> ListAsk {
        ListAsk { listing: Listing { timeout, ..self.listing.clone() }, words: self.words.clone() }
    }
}

/// Only in a process of its own: `exec.rs`.
pub(crate) fn list(asked: &ListAsk) -> Result<Listed, Fault> {
    let listing = &asked.listing;
    let env = listing.env.as_deref().map(env_file::read).transpose()?.unwrap_or_default();
    let program =
        Program { run: &listing.run, user: listing.user.as_deref(), env: &env, timeout: listing.timeout.into() };
    let ran = supervise(&program, Keep::Whole(OUTPUT_MAX))?;
    let name = listing.run.first().map_or("", |program| program);
    let unreadable = |why: String| Err(Fault::Unreadable(format!("'{name}' {why}").into()));
    let status = match ran.end {
        End::Ended(status) if status.success() => return json::read(&ran.output, &asked.words, now()),
        End::Ended(status) => status,
        End::Late | End::GivenUp => return Err(Fault::Timeout),
        End::Flooded => return unreadable(format!("printed more than {} MiB", OUTPUT_MAX >> 20)),
    };
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
    };
    let mut veil = Veil::default();
    for (_, value) in &env {
        veil.over(value);
    }
    match &*veil.excerpt(&String::from_utf8_lossy(&ran.errors), EXCERPT_CHARS) {
        "" => unreadable(how),
        said => unreadable(format!("{how}: {said}")),
    }
}

fn now() -> Ms {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
