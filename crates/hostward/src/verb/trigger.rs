//! `trigger`: one whole cycle, as a timer asks for it. Through the daemon when one runs; else here, with the same engine,
//! lock and ledger: same holds, same budgets, same exit codes.

use anyhow::{Context, Result};
use hostward_core::command::Command;
use hostward_core::time::Ms;
use hostward_host::ledger::{LockError, engine_lock};

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
        let lock = match engine_lock(&paths.state) {
            Ok(lock) => lock,
            Err(busy @ LockError::Busy { .. }) => {
                eprintln!("hostward: {busy}");
                return Ok(Exit::Busy);
            }
            Err(error) => return Err(error).context("take the engine's lock (are you root?)"),
        };
        oneshot::cycle(paths, &lock, loaded, Command::Cycle { watch, patience }).await?
    };
    let watch = resolve(name, status.view.watches.iter().map(|w| &w.id));
    out.print(&status, || render::status(&status, status.scope(Some(&watch))))?;
    Ok(exit::of_watches(status.scope(Some(&watch))))
}

async fn through_daemon(paths: &Paths, name: &str, patience: Ms) -> Result<Option<Status>> {
    let Some(status) = look::ask(paths, &Call::Status).await? else { return Ok(None) };
    let watch = resolve(name, status.view.watches.iter().map(|w| &w.id));
    look::ask(paths, &Call::Cycle { watch, patience }).await
}
