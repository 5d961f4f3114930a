//! One of the operator's own checks, run with nothing left behind.
//!
//! A process of ours stands between the daemon and the command. It supervises: it adopts whatever the command leaves (a
//! child subreaper), reads its output, and at the deadline kills its session and every orphan that came to it, those
//! included that made a session of their own. Should it be killed itself, the kernel kills the command. So that nothing
//! outlives its supervisor unseen, it is asked to end, by closing its standard input, and ends when nothing that it started
//! is left: what hangs in the kernel survives a SIGKILL. Rules: dependencies.md, "Processes"; prctl(2).

mod before;
mod supervise;

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use hostward_core::ask::{Answer, ExecQ, ExecReading, Fault, Reading};
use hostward_core::id::Str;

use crate::mask;
pub(crate) use supervise::{End, Keep, Program, leaves, outlast, supervise};

const MAX_TEXT: usize = 200;

/// Supervises one run. Only in a process of its own: whatever is a child of this process is killed at the end.
pub(crate) fn run(q: &ExecQ) -> Answer {
    let program = Program { run: &q.run, user: q.user.as_deref(), env: &[], timeout: q.timeout.into() };
    let ran = supervise(&program, Keep::Excerpt)?;
    let excerpt = mask::text(&String::from_utf8_lossy(&ran.output), MAX_TEXT);
    match ran.end {
        End::Ended(status) => Ok(Reading::Exec(reading(status, excerpt))),
        End::Late | End::Flooded => Ok(Reading::Exec(ExecReading::TimedOut { after: q.timeout, excerpt })),
        // Before its time was over: nothing that the check did wrong.
        End::GivenUp => Err(Fault::Timeout),
    }
}

fn reading(status: ExitStatus, excerpt: Str) -> ExecReading {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExecReading::Exited { code, excerpt },
        (None, signal) => ExecReading::Killed { signal: signal.unwrap_or(0), excerpt },
    }
}
