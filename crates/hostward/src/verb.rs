//! One file a group of verbs.

pub(crate) mod apply;
pub(crate) mod ask;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod look;
pub(crate) mod manual;
pub(crate) mod notify;
pub(crate) mod replay;
mod systemctl;
pub(crate) mod trigger;

use std::io::Write;

use anyhow::{Context, Result};
use hostward_config::Loaded;
use hostward_core::id::WatchId;
use hostward_host::ledger::{EngineLock, LockError, engine_lock};
use serde::Serialize;

use crate::exit::{self, Exit};
use crate::store::Paths;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) json: bool,
}

impl Out {
    /// One JSON document, or the words for people.
    pub(crate) fn print(self, json: &impl Serialize, words: impl FnOnce() -> String) -> Result<()> {
        if self.json { say(&(serde_json::to_string_pretty(json)? + "\n")) } else { say(&words()) }
    }
}

/// Prints, and does not mind a reader that has seen enough (`| head`).
pub(crate) fn say(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("print"),
    }
}

/// The configuration, or its errors as the error.
pub(crate) fn load(paths: &Paths) -> Result<Loaded> {
    use std::io::IsTerminal;
    crate::store::load_config(&paths.config)
        .map_err(|error| exit::error(Exit::Usage, error.render(std::io::stderr().is_terminal()).trim_end()))
}

/// The engine's lock; none while another process has it, which is said.
pub(crate) fn lock(paths: &Paths) -> Result<Option<EngineLock>> {
    match engine_lock(&paths.state) {
        Ok(lock) => Ok(Some(lock)),
        Err(busy @ LockError::Busy { .. }) => {
            eprintln!("hostward: {busy}");
            Ok(None)
        }
        Err(error) => Err(error).context("take the engine's lock"),
    }
}

/// `service.api`; a bare `api` is what its kind makes unambiguous.
pub(crate) fn resolve<'a>(name: &str, known: impl Iterator<Item = &'a WatchId>) -> WatchId {
    let known: Vec<&WatchId> = known.collect();
    let bare: Vec<&&WatchId> = known.iter().filter(|id| id.name() == name).collect();
    match bare.as_slice() {
        [one] if !name.contains('.') => (**one).clone(),
        _ => WatchId::new(name),
    }
}
