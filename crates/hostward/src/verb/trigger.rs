//! `trigger`: one whole cycle, as a timer asks for it. Through the daemon when one runs; else here, with the same engine,
//! lock and ledger: same holds, same budgets, same exit codes.

use anyhow::Result;
use hostward_core::command::Command;
use hostward_core::time::Ms;

use super::{Out, load, look, resolve};
use crate::control::Call;
use crate::exit::{self, Exit};
use crate::status::Status;
use crate::store::Paths;
use crate::{oneshot, render};

pub(crate) async fn trigger(paths: &Paths, out: Out, name: &str, wait: u64) -> Result<Exit> {
    let patience = Ms::secs(wait);
    let status = if let Some(status) = through_daemon(paths, name, patience).await? {
        status
    } else {
        let loaded = load(paths)?;
        let watch = resolve(name, loaded.policy.watches.keys());
        let Some(lock) = super::lock(paths)? else { return Ok(Exit::Busy) };
        let (reply, _) = oneshot::carry_out(paths, &lock, loaded, Command::Cycle { watch, patience }).await?;
        oneshot::status_of(reply)?
    };
    let watch = resolve(name, status.view.watches.iter().map(|w| &w.id));
    out.print(&status, || render::status(&status, status.scope(Some(&watch))))?;
    Ok(exit::of_watches(status.scope(Some(&watch))))
}

async fn through_daemon(paths: &Paths, name: &str, patience: Ms) -> Result<Option<Status>> {
    let Some(status) = look::ask(paths, &Call::Status).await? else { return Ok(None) };
    let watch = resolve(name, status.view.watches.iter().map(|w| &w.id));
    look::ask(paths, &Call::Order(Command::Cycle { watch, patience })).await
}
