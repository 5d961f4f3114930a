//! Exit codes, the same for every verb.

use std::process::ExitCode;

use hostward_core::judge::Verdict;
use hostward_core::ledger::Settlement;
use hostward_core::view::{TargetView, WatchView};

use crate::status::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Healthy, or done.
    Ok = 0,
    /// Unhealthy, and held or proposed.
    Held = 1,
    /// Usage or configuration.
    Usage = 2,
    /// A remedy failed.
    Failed = 3,
    /// The state cannot be known.
    Unknown = 4,
    /// Refused by policy.
    Refused = 5,
    /// Another cycle or deploy holds the lock (sysexits' EX_TEMPFAIL).
    Busy = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error that has an exit code of its own. Any other means that the state cannot be known: the socket, the ledger or
/// the bus could not be reached, and that is neither a fault of the caller nor of the host.
#[derive(Debug)]
struct Coded {
    exit: Exit,
    text: String,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

pub(crate) fn error(exit: Exit, text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Coded { exit, text: text.into() })
}

pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    error.chain().find_map(|cause| cause.downcast_ref::<Coded>()).map_or(Exit::Unknown, |coded| coded.exit)
}

/// Watches of a whole status. An idle daemon watches nothing, so nothing is known of what it was to watch.
pub(crate) fn of_status<'a>(status: &Status, watches: impl IntoIterator<Item = &'a WatchView>) -> Exit {
    if status.idle.is_some() { Exit::Unknown } else { of_watches(watches) }
}

/// What a set of watches comes to: a failed remedy before a held one before an unknown.
pub(crate) fn of_watches<'a>(watches: impl IntoIterator<Item = &'a WatchView>) -> Exit {
    let mut worst = Exit::Ok;
    for watch in watches {
        if watch.targets.is_empty() {
            worst = worse(worst, Exit::Unknown);
        }
        for target in &watch.targets {
            worst = worse(worst, of_target(target));
        }
    }
    worst
}

fn of_target(target: &TargetView) -> Exit {
    let tried = target.last_attempt.as_ref().and_then(|(_, _, settled)| *settled);
    match &target.verdict {
        Verdict::Down(_) if tried.is_some_and(|settled| settled != Settlement::Cleared) => Exit::Failed,
        Verdict::Down(_) => Exit::Held,
        _ if target.suspect.is_some() => Exit::Held,
        Verdict::Up => Exit::Ok,
        // A part is told of: that it cannot be known says nothing of what it is a part of.
        _ if target.part.is_some() => Exit::Ok,
        Verdict::Pending | Verdict::Unknown(_) => Exit::Unknown,
    }
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Ok => 0,
        Exit::Unknown => 1,
        Exit::Held => 2,
        _ => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_keeps_its_code_below_what_is_said_about_it_and_one_without_is_unknown() {
        let code = |result: anyhow::Result<()>| of_error(&result.unwrap_err());
        let gone = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(code(Err(gone()).context("ask the daemon")), Exit::Unknown);
        assert_eq!(code(Err(error(Exit::Usage, "no such watch")).context("trigger")), Exit::Usage);
        assert_eq!(code(Err(error(Exit::Refused, "not root"))), Exit::Refused);
    }
}
