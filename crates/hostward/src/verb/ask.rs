//! `reload`, and what an operator says to the engine: `pause`, `resume`, `clear`. A running daemon is told; else the same
//! engine is begun here for as long as it takes to write it down.

use anyhow::{Result, bail};
use hostward_core::command::{Command, Reply};
use hostward_core::id::WatchId;
use hostward_core::time::Ms;

use super::{Out, load, resolve};
use crate::control::{self, Call, Response};
use crate::exit::{self, Exit};
use crate::oneshot;
use crate::store::Paths;

pub(crate) async fn reload(paths: &Paths) -> Result<Exit> {
    match control::call(&paths.control(), &Call::Reload).await? {
        Some(Response::Reloaded { watches }) => {
            super::say(&format!("loaded: {watches} watches\n"))?;
            Ok(Exit::Ok)
        }
        Some(Response::Rejected { errors }) => {
            eprint!("{errors}");
            eprintln!("hostward: refused; the configuration in force stays");
            Ok(Exit::Usage)
        }
        Some(other) => not_done(other),
        None => bail!("hostward is not running; start it with `systemctl start hostward`"),
    }
}

pub(crate) async fn pause(paths: &Paths, out: Out, watch: Option<&str>, span: Ms, reason: &str) -> Result<Exit> {
    let watch = named(paths, watch)?;
    let said = format!("{}paused for {span}: {reason}\n", prefix(watch.as_ref()));
    tell(paths, out, Command::Pause { watch, span, reason: reason.into() }, said).await
}

pub(crate) async fn resume(paths: &Paths, out: Out, watch: Option<&str>) -> Result<Exit> {
    let watch = named(paths, watch)?;
    let said = format!("{}no longer paused\n", prefix(watch.as_ref()));
    tell(paths, out, Command::Resume { watch }, said).await
}

pub(crate) async fn clear(paths: &Paths, out: Out, watch: Option<&str>) -> Result<Exit> {
    let watch = named(paths, watch)?;
    let said = match &watch {
        Some(watch) => format!("{watch}: what was stuck may be touched again\n"),
        None => "cleared: caps count again from here, and what was stuck may be touched again\n".to_owned(),
    };
    tell(paths, out, Command::Clear { watch }, said).await
}

fn prefix(watch: Option<&WatchId>) -> String {
    watch.map_or_else(|| "every watch: ".to_owned(), |watch| format!("{watch}: "))
}

/// By its full name, or by a bare one that is unambiguous. A name that nobody knows goes on as it is: the engine says so.
fn named(paths: &Paths, watch: Option<&str>) -> Result<Option<WatchId>> {
    let Some(name) = watch else { return Ok(None) };
    if name.contains('.') {
        return Ok(Some(WatchId::new(name)));
    }
    Ok(Some(resolve(name, load(paths)?.policy.watches.keys())))
}

async fn tell(paths: &Paths, out: Out, command: Command, said: String) -> Result<Exit> {
    let Some(response) = order(paths, command).await? else { return Ok(Exit::Busy) };
    match response {
        Response::Status(status) => {
            out.print(&status, || said)?;
            Ok(Exit::Ok)
        }
        other => not_done(other),
    }
}

/// Through the daemon, or here when none runs. None: another process has the engine's lock.
pub(super) async fn order(paths: &Paths, command: Command) -> Result<Option<Response>> {
    if let Some(response) = control::call(&paths.control(), &Call::Order(command.clone())).await? {
        return Ok(Some(response));
    }
    let loaded = load(paths)?;
    let Some(lock) = super::lock(paths)? else { return Ok(None) };
    let (reply, _) = oneshot::carry_out(paths, &lock, loaded, command).await?;
    Ok(Some(match reply {
        Reply::View(_) => Response::Status(Box::new(oneshot::status_of(reply)?)),
        Reply::NoSuchWatch { asked, known } => Response::NoSuchWatch { asked, known },
        Reply::Refused { why } => Response::Refused { why: why.to_string() },
        Reply::Applied(applied) => Response::Applied(applied),
    }))
}

pub(super) fn not_done(response: Response) -> Result<Exit> {
    match response {
        Response::Refused { why } => {
            eprintln!("hostward: {why}");
            Ok(Exit::Refused)
        }
        Response::Busy { why } => Err(exit::error(Exit::Busy, why)),
        Response::NoSuchWatch { asked, known } => Err(oneshot::no_such_watch(&asked, &known)),
        other => bail!("the daemon answered another question: {other:?}"),
    }
}
