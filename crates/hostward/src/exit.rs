//! Exit codes, the same for every verb.

use std::process::ExitCode;

use hostward_core::judge::Verdict;
use hostward_core::ledger::Settlement;
use hostward_core::view::{TargetView, WatchView};

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
