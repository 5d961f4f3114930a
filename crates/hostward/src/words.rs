//! A record in words: the same line in the journal, in `history` and in the demo.

use hostward_core::ledger::{Body, Closing, Origin, Record, Settlement, Turn};
use hostward_core::run::StepEnd;

use crate::journal::Level;

/// How much it matters, whose it is, and what it says.
pub(crate) fn of(record: &Record) -> (Level, Option<String>, String) {
    match &record.body {
        Body::Started { version, .. } => (Level::Info, None, format!("hostward {version} started")),
        Body::Stopped => (Level::Info, None, "stopped in good order".into()),
        Body::Noted { target, fact, missed } => {
            let more = if *missed > 0 { format!(" ({missed} more like it went unrecorded)") } else { String::new() };
            (Level::Notice, Some(target.watch.to_string()), format!("{fact}{more}"))
        }
        Body::Turned { target, to, incident } => {
            let (level, says) = turned(to, *incident);
            (level, Some(target.watch.to_string()), says)
        }
        Body::Held { target, holds } => {
            (Level::Notice, Some(target.watch.to_string()), format!("held: {}", holds.join(", ")))
        }
        Body::Opened { plan, origin } => {
            let by = match origin {
                Origin::Daemon | Origin::Look => "",
                Origin::Trigger => ", triggered",
            };
            let says = format!("run {} begins: {}, plan {}{by}. {}", record.seq, plan.rung, plan.hash(), plan.why);
            (Level::Warning, Some(plan.watch.to_string()), says)
        }
        Body::Began { run, step, again } => {
            let again = if *again { " again, its outcome was lost" } else { "" };
            (Level::Info, None, format!("run {run} begins step {}{again}", step + 1))
        }
        Body::Ended { run, step, end } => {
            let (level, says) = match end {
                StepEnd::Done => (Level::Info, "is proved".to_owned()),
                StepEnd::Unproved(why) => (Level::Warning, format!("is not proved: {why}")),
                StepEnd::Held(holds) => (Level::Warning, format!("is held: {}", holds.join("; "))),
            };
            (level, None, format!("run {run} step {} {says}", step + 1))
        }
        Body::Closed { run, result } => {
            let (level, says) = match result {
                Closing::Proved => (Level::Notice, "is proved".to_owned()),
                Closing::Unproved { step, why } => (Level::Error, format!("ends at step {}: {why}", step + 1)),
                Closing::Held { step, holds } => {
                    (Level::Warning, format!("ends before step {}: {}", step + 1, holds.join("; ")))
                }
            };
            (level, None, format!("run {run} {says}"))
        }
        Body::Settled { run, target, result } => {
            let (level, says) = match result {
                Settlement::Cleared => (Level::Notice, "cleared it"),
                Settlement::NotCleared => (Level::Warning, "did not clear it"),
                Settlement::Relapsed => (Level::Warning, "had cleared it, and it is down again"),
            };
            (level, Some(target.watch.to_string()), format!("run {run} {says}"))
        }
        Body::Damaged { why } => (
            Level::Error,
            None,
            format!("the ledger before this was damaged and set aside: {why}; caps count as spent"),
        ),
        Body::Cleared => (Level::Notice, None, "an operator cleared the damage; caps count again".into()),
    }
}

fn turned(to: &Turn, incident: Option<u64>) -> (Level, String) {
    match to {
        Turn::Up => (Level::Notice, "up".into()),
        Turn::Unknown { fault } => (Level::Warning, format!("unknown: {fault}")),
        Turn::Down { reason, detail, blame } => {
            let blame = blame.as_ref().map(|b| format!("; because of {}", b.watch)).unwrap_or_default();
            let incident = incident.map(|n| format!(" [incident {n}]")).unwrap_or_default();
            (Level::Warning, format!("down, {reason}: {detail}{blame}{incident}"))
        }
    }
}
