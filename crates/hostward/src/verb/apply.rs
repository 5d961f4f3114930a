//! `apply`: the very plan that `plan` or `status` showed, carried out at an operator's word.

use anyhow::Result;
use hostward_core::command::{Applied, Command};
use hostward_core::ledger::Closing;
use hostward_core::plan::PlanHash;
use hostward_core::time::Ms;

use super::{Out, ask};
use crate::control::Response;
use crate::exit::Exit;
use crate::store::Paths;

pub(crate) async fn apply(paths: &Paths, out: Out, plan: &str, wait: u64) -> Result<Exit> {
    let command = Command::Apply { plan: PlanHash(plan.into()), patience: Ms::secs(wait) };
    let Some(response) = ask::order(paths, command).await? else { return Ok(Exit::Busy) };
    match response {
        Response::Applied(applied) => {
            out.print(&applied, || words(plan, &applied))?;
            Ok(exit(&applied))
        }
        other => ask::not_done(other),
    }
}

fn exit(applied: &Applied) -> Exit {
    match applied {
        Applied::Ran { closing: Closing::Proved, .. } => Exit::Ok,
        Applied::Ran { .. } => Exit::Failed,
        Applied::Runs { .. } => Exit::Held,
        Applied::Unknown { .. } => Exit::Usage,
        Applied::Moved { .. } | Applied::Held { .. } => Exit::Refused,
    }
}

fn words(plan: &str, applied: &Applied) -> String {
    match applied {
        Applied::Ran { run, closing } => match closing {
            Closing::Proved => format!("run {run} is proved\n"),
            Closing::Unproved { step, why } => format!("run {run} ended at step {}: {why}\n", step + 1),
            Closing::Held { step, holds } => {
                format!("run {run} ended before step {}: {}\n", step + 1, holds.join("; "))
            }
            Closing::Stuck { step, why } => format!(
                "run {run} is stuck at step {}: {why}\nlook at it, then `hostward clear`; `hostward history` tells what was done\n",
                step + 1
            ),
        },
        Applied::Runs { run } => format!("run {run} has begun and goes on; follow it with `hostward status`\n"),
        Applied::Moved { what, was, is } => {
            format!("plan {plan} does not hold any more, nothing was done: {what} was {was}, is {is}\n")
        }
        Applied::Unknown { proposed } if proposed.is_empty() => {
            format!("there is no plan {plan}, and none is proposed now; `hostward status` says what is\n")
        }
        Applied::Unknown { proposed } => {
            let proposed: Vec<String> = proposed.iter().map(ToString::to_string).collect();
            format!("there is no plan {plan}; proposed now: {}\n", proposed.join(", "))
        }
        Applied::Held { holds } => {
            let line = |held: &hostward_core::hold::Held| {
                format!("  {}: {} (it must be: {})\n", held.hold.label(), held.value, held.threshold)
            };
            format!("plan {plan} is held, nothing was done:\n{}", holds.iter().map(line).collect::<String>())
        }
    }
}
