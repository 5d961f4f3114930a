//! A record in words: the same line in the journal, in `history` and in the demo.

use std::collections::BTreeMap;

use hostward_core::id::{RunId, WatchId};
use hostward_core::ledger::{Body, Closing, Origin, Record, Settlement, State, Turn};
use hostward_core::plan::Plan;
use hostward_core::run::StepEnd;

use crate::journal::Level;

/// Puts records into words, one after the other: it remembers what the open runs are about.
#[derive(Debug, Default)]
pub(crate) struct Words {
    plans: BTreeMap<RunId, Plan>,
}

impl Words {
    /// After a start: the runs that an engine before us left open.
    pub(crate) fn of_open(state: &State) -> Words {
        Words { plans: state.runs.iter().map(|(id, run)| (*id, run.plan.clone())).collect() }
    }

    /// How much it matters, whose it is, and what it says.
    pub(crate) fn of(&mut self, record: &Record) -> (Level, Option<String>, String) {
        match &record.body {
            Body::Opened { plan, .. } => {
                self.plans.insert(RunId(record.seq), (**plan).clone());
            }
            Body::Closed { run, .. } => {
                let (level, _, says) = of(record, None);
                let watch = self.plans.remove(run).map(|plan| plan.watch.to_string());
                return (level, watch, says);
            }
            _ => {}
        }
        let run = match &record.body {
            Body::Began { run, .. }
            | Body::Ended { run, .. }
            | Body::Returning { run, .. }
            | Body::Returned { run, .. } => Some(run),
            _ => None,
        };
        let plan = run.and_then(|run| self.plans.get(run));
        let (level, watch, says) = of(record, plan);
        (level, watch.or(plan.map(|plan| plan.watch.to_string())), says)
    }
}

/// The step's act, or that it waits for its proof.
fn act(plan: Option<&Plan>, step: u16) -> String {
    match plan.and_then(|plan| plan.steps.get(usize::from(step))).map(|step| &step.act) {
        Some(Some(act)) => format!(": {act}"),
        Some(None) => ": wait for the proof".to_owned(),
        None => String::new(),
    }
}

fn of(record: &Record, plan: Option<&Plan>) -> (Level, Option<String>, String) {
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
        Body::Held { target, holds, would } => {
            let would = would.as_ref().map(|rung| format!("; it would be: {rung}")).unwrap_or_default();
            (Level::Notice, Some(target.watch.to_string()), format!("held: {}{would}", holds.join(", ")))
        }
        Body::Opened { plan, origin } => {
            let by = match origin {
                Origin::Daemon | Origin::Look => "",
                Origin::Trigger => ", triggered",
                Origin::Apply => ", applied by an operator",
            };
            let says = format!("run {} begins: {}, plan {}{by}. {}", record.seq, plan.rung, plan.hash(), plan.why);
            (Level::Warning, Some(plan.watch.to_string()), says)
        }
        Body::Began { run, step, again } => {
            let again = if *again { ", again: its outcome was lost" } else { "" };
            (Level::Info, None, format!("run {run} step {}{}{again}", step + 1, act(plan, *step)))
        }
        Body::Ended { run, step, end } => {
            let (level, says) = ended(end, Level::Warning);
            (level, None, format!("run {run} step {} {says}", step + 1))
        }
        Body::Returning { run, step } => {
            (Level::Notice, None, format!("run {run} gives back what step {} took{}", step + 1, back(plan, *step)))
        }
        Body::Returned { run, step, end, .. } => {
            let (level, says) = ended(end, Level::Error);
            (level, None, format!("run {run}, the return of what step {} took: it {says}", step + 1))
        }
        Body::Closed { run, result } => {
            let (level, says) = match result {
                Closing::Proved => (Level::Notice, "is proved".to_owned()),
                Closing::Unproved { step, why } => (Level::Error, format!("ends at step {}: {why}", step + 1)),
                Closing::Held { step, holds } => {
                    (Level::Warning, format!("ends before step {}: {}", step + 1, holds.join("; ")))
                }
                Closing::Stuck { step, why } => (
                    Level::Error,
                    format!(
                        "is stuck at step {}: {why}; nothing it touched is touched again before `hostward clear`",
                        step + 1
                    ),
                ),
            };
            (level, None, format!("run {run} {says}"))
        }
        Body::Settled { run, target, result } => {
            let (level, says) = match result {
                Settlement::Cleared => (Level::Notice, "cleared it"),
                Settlement::NotCleared => (Level::Warning, "did not clear it"),
                Settlement::Relapsed => (Level::Warning, "had cleared it, and it is down again"),
                Settlement::Undone => (Level::Warning, "did not clear it, and put everything back"),
                Settlement::UndoFailed => (Level::Error, "did not clear it, and could not put everything back"),
            };
            (level, Some(target.watch.to_string()), format!("run {run} {says}"))
        }
        Body::Damaged { why } => (Level::Error, None, format!("caps count as spent until `hostward clear`: {why}")),
        Body::Paused { watch, span, reason } => {
            let says = format!("{}paused for {span}: {reason}", every(watch.as_ref()));
            (Level::Notice, watch.as_ref().map(ToString::to_string), says)
        }
        Body::Resumed { watch } => {
            let says = format!("{}no longer paused", every(watch.as_ref()));
            (Level::Notice, watch.as_ref().map(ToString::to_string), says)
        }
        Body::Unstuck { watch } => {
            let says = format!("{}an operator looked at what was stuck", every(watch.as_ref()));
            (Level::Notice, watch.as_ref().map(ToString::to_string), says)
        }
        Body::Cleared => (Level::Notice, None, "an operator cleared the damage; caps count again".into()),
    }
}

fn every(watch: Option<&WatchId>) -> &'static str {
    if watch.is_none() { "every watch: " } else { "" }
}

/// What a step or a return came to; `bad` is how much it matters when that is not good.
fn ended(end: &StepEnd, bad: Level) -> (Level, String) {
    match end {
        StepEnd::Done => (Level::Info, "is proved".to_owned()),
        StepEnd::Unproved(why) => (bad, format!("is not proved: {why}")),
        StepEnd::Lost(why) => (bad, format!("is lost: {why}")),
        StepEnd::Held(holds) => (bad, format!("is held: {}", holds.join("; "))),
    }
}

fn back(plan: Option<&Plan>, step: u16) -> String {
    let back = plan.and_then(|plan| plan.steps.get(usize::from(step))?.back.as_ref());
    back.map(|back| format!(": {}", back.act)).unwrap_or_default()
}

fn turned(to: &Turn, incident: Option<u64>) -> (Level, String) {
    match to {
        Turn::Up => (Level::Notice, "up".into()),
        Turn::Gone => (Level::Notice, "no longer named".into()),
        Turn::Unknown { fault } => (Level::Warning, format!("unknown: {fault}")),
        Turn::Down { reason, detail, blame } => {
            let blame = blame.as_ref().map(|b| format!("; because of {}", b.watch)).unwrap_or_default();
            let incident = incident.map(|n| format!(" [incident {n}]")).unwrap_or_default();
            (Level::Warning, format!("down, {reason}: {detail}{blame}{incident}"))
        }
    }
}
