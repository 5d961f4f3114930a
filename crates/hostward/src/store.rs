//! What outlives the process: the ledger, the evidence that lets one-minute processes confirm, and the last policy that
//! loaded. All below the state directory, root's, 0700; never in /tmp.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hostward_core::engine::Memory;
use hostward_core::ledger::State;
use hostward_core::policy::Policy;
use hostward_core::time::Now;
use hostward_host::ledger::{self, Condition, EngineLock, Folded, LedgerEvent, Limits, Writer};
use serde::{Deserialize, Serialize};

use crate::clock::{self, Clock};

/// Paths that a host has one of.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
}

impl Paths {
    pub(crate) fn control(&self) -> PathBuf {
        self.run.join("control")
    }
    pub(crate) fn evidence(&self) -> PathBuf {
        self.state.join("evidence")
    }
    fn memory(&self) -> PathBuf {
        self.state.join("memory.json")
    }
    fn last_good(&self) -> PathBuf {
        self.state.join("last-good.json")
    }
}

/// The configuration: from one directory that was named, else by systemd's precedence, /etc over /run over /usr/lib.
pub(crate) fn load_config(config: &Path) -> std::result::Result<hostward_config::Loaded, hostward_config::LoadError> {
    let standard = hostward_config::SEARCH.map(PathBuf::from);
    if config == standard[0] { hostward_config::load_from(&standard) } else { hostward_config::load(config) }
}

/// Reads the ledger without touching it: `check` and `doctor` do, whether an engine runs or not.
pub(crate) fn read_ledger(paths: &Paths) -> Result<Folded> {
    ledger::fold(&paths.state, &now).with_context(|| format!("read the ledger in {}", paths.state.display()))
}

/// An engine's own hold of the ledger; the writer keeps the lock for as long as anything can still be written.
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) folded: Folded,
}

/// Takes over the ledger for writing. One that does not fold is set aside, said loudly, and begun anew.
pub(crate) fn open_ledger(
    paths: &Paths,
    lock: &EngineLock,
    tell: impl FnMut(LedgerEvent) + Send + 'static,
) -> Result<Opened> {
    let mut folded = read_ledger(paths)?;
    // Every engine writes its start at once: evidence without a ledger means that the ledger was taken away.
    if folded.condition == Condition::Fresh && paths.memory().exists() {
        folded.is_gone(&now);
    }
    let writer = Writer::open(lock, &folded, Limits::default(), tell)
        .with_context(|| format!("open the ledger in {}", paths.state.display()))?;
    Ok(Opened { writer, folded })
}

/// Without a boot id there is no telling boots apart; whoever needs it for more than a look asks [`clock`], and fails.
fn now(state: &State) -> Now {
    clock(state).map_or(Clock { boot: state.boot.saturating_add(1) }, |(clock, _)| clock).now()
}

/// The clock of this boot, as the ledger counts boots.
pub(crate) fn clock(state: &State) -> Result<(Clock, hostward_core::id::Str)> {
    let boot_id = clock::boot_id().context("read /proc/sys/kernel/random/boot_id")?;
    let boot = if state.boot_id == *boot_id { state.boot } else { state.boot.saturating_add(1) };
    Ok((Clock { boot }, boot_id))
}

/// Lost or unreadable evidence is no evidence: everything is confirmed anew.
pub(crate) fn load_memory(paths: &Paths) -> Memory {
    fs::read(paths.memory()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Beside a lost ledger boots are counted anew, and evidence of another numbering is none.
pub(crate) fn load_memory_beside(paths: &Paths, folded: &Folded) -> Memory {
    if folded.condition.unusable().is_some() { Memory::default() } else { load_memory(paths) }
}

pub(crate) fn save_memory(paths: &Paths, memory: &Memory) -> Result<()> {
    let json = serde_json::to_vec(memory).context("serialise the evidence")?;
    replace(&paths.memory(), &json, 0o600)
}

/// A policy that loaded, and what goes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastGood {
    pub(crate) policy: Policy,
    pub(crate) export: hostward_config::Export,
}

pub(crate) fn load_last_good(paths: &Paths) -> Option<LastGood> {
    serde_json::from_slice(&fs::read(paths.last_good()).ok()?).ok()
}

pub(crate) fn save_last_good(paths: &Paths, good: &LastGood) -> Result<()> {
    let json = serde_json::to_vec(good).context("serialise the policy")?;
    replace(&paths.last_good(), &json, 0o600)
}

/// Whole or not at all: written beside, then renamed over.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let name = path.file_name().and_then(|name| name.to_str()).context("a file to write has a name")?;
    // The collector reads `*.prom` only: the half-written file must not end in it.
    let beside = path.with_file_name(format!(".{name}.new"));
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            // Left by a write that did not end, or put there by somebody who wants root to write elsewhere, or to hang.
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            // O_EXCL: what is put there again in this moment is not written to.
            .create_new(true)
            .mode(mode)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&beside)?;
        file.write_all(contents)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("write {}", path.display())).inspect_err(|_| {
        // Whatever is left of it is of no use to anybody.
        let _ = fs::remove_file(&beside);
    })
}
