//! `reload` and `clear`: what only a running daemon can do.

use anyhow::{Result, bail};

use super::say;
use crate::control::{self, Call, Response};
use crate::exit::Exit;
use crate::store::Paths;

pub(crate) async fn reload(paths: &Paths) -> Result<Exit> {
    match control::call(&paths.control(), &Call::Reload).await? {
        Some(Response::Reloaded { watches }) => {
            say(&format!("loaded: {watches} watches\n"))?;
            Ok(Exit::Ok)
        }
        Some(Response::Rejected { errors }) => {
            eprint!("{errors}");
            eprintln!("hostward: refused; the configuration in force stays");
            Ok(Exit::Usage)
        }
        other => refused(other),
    }
}

pub(crate) async fn clear(paths: &Paths) -> Result<Exit> {
    match control::call(&paths.control(), &Call::Clear).await? {
        Some(Response::Status(_)) => {
            say("cleared: caps count again from here\n")?;
            Ok(Exit::Ok)
        }
        other => refused(other),
    }
}

fn refused(response: Option<Response>) -> Result<Exit> {
    match response {
        None => bail!("hostward is not running; start it with `systemctl start hostward`"),
        Some(Response::Refused { why }) => {
            eprintln!("hostward: {why}");
            Ok(Exit::Refused)
        }
        Some(other) => bail!("the daemon answered another question: {other:?}"),
    }
}
