//! Mounts taken off and bound, by mount(8) and umount(8) in transient services: in the host's namespace, wherever we are,
//! and for the reasons that fences have (`fence.rs`): below a hung mount that process alone hangs, and not PID 1.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::{Str, UnitName};
use hostward_core::plan::{Bind, Command, Unmount};
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use zbus::OwnedObjectPath;

use super::Systemd;
use super::escape::{UNIT_NAME_MAX, escape_path};
use super::fence::{FenceError, why};
use crate::mounts::{MountInfo, OF_PID_1, Table, mount_at};

/// Why a path is still mounted, or is not.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Relative, the root, not in its plain form, or not UTF-8.
    #[error("'{}' is not the plain, full path of a folder", .0.display())]
    BadPath(PathBuf),
    #[error("read what is mounted at '{}'", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error("unmount '{}': {why}", path.display())]
    NotUnmounted { path: PathBuf, why: Str },
    #[error("bind '{}' to '{}': {why}", cold.display(), hot.display())]
    NotBound { cold: PathBuf, hot: PathBuf, why: Str },
    /// It did its work; its unit stays until somebody resets it.
    #[error("forget '{unit}'")]
    Forget { unit: UnitName, source: Fault },
}

/// A unit of ours that systemd keeps.
#[derive(Debug)]
pub(super) struct NotForgotten {
    pub(super) unit: UnitName,
    pub(super) source: Fault,
}

impl From<NotForgotten> for MountError {
    fn from(NotForgotten { unit, source }: NotForgotten) -> Self {
        MountError::Forget { unit, source }
    }
}

const NAME: &str = "hostward-mount";
/// Of a step's time, what its fence may take.
const FENCED_WITHIN: Ms = Ms::secs(10);
/// systemd unloads what is not needed in its next turn.
const UNLOADED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Systemd {
    /// Take off the mount that was seen at a path, when it is the topmost one, and close the path at once. What somebody
    /// mounted meanwhile is left.
    pub async fn unmount(&self, unmount: &Unmount, deadline: Ms) -> Result<(), MountError> {
        if let Some(there) = mounted(&unmount.path)? {
            self.take_off(unmount, &there, deadline.saturating_sub(FENCED_WITHIN)).await?;
        }
        Ok(self.fence(&unmount.path).await?)
    }

    async fn take_off(&self, unmount: &Unmount, there: &MountInfo, within: Ms) -> Result<(), MountError> {
        let (unit, folder) = names(&unmount.path)?;
        if !there.is(&unmount.was) {
            let why = format!("{} was mounted at {} meanwhile", there.source, unmount.path.display());
            return Err(MountError::Refused(why));
        }
        let lazy: &[&str] = if unmount.lazy { &["-l"] } else { &[] };
        let outcome = self.run_once(&unit, &[&["umount", "-c"], lazy, &[folder]].concat(), within).await?;
        // Whatever the outcome: it is gone, or it is not.
        let path = unmount.path.clone();
        match mounted(&unmount.path)? {
            None => Ok(()),
            Some(mount) if mount.is(&unmount.was) => Err(MountError::NotUnmounted { path, why: why(outcome) }),
            Some(below) => Err(MountError::NotUnmounted { path, why: format!("{} lay below", below.source).into() }),
        }
    }

    /// Bind a folder to a path, in the place of our own fence. Not over anything else, and not from the very disk that the
    /// path would lie on without it.
    pub async fn bind(&self, bind: &Bind, deadline: Ms) -> Result<(), MountError> {
        let Bind { cold, hot } = bind;
        let ((unit, hot_text), (_, cold_text)) = (names(hot)?, names(cold)?);
        let read = |source| MountError::Read { path: hot.clone(), source };
        let table = Table::read(OF_PID_1).map_err(read)?;
        if let Some(there) = mounted(hot)? {
            return Err(MountError::Refused(format!("{} is mounted at {} already", there.source, hot.display())));
        }
        if table.below(cold).is_none_or(|mount| hot.starts_with(&mount.point)) {
            let (cold, hot) = (cold.display(), hot.display());
            return Err(MountError::Refused(format!("{cold} lies on the disk beneath {hot}")));
        }
        self.unfence(hot).await?;
        let within = deadline.saturating_sub(FENCED_WITHIN);
        match self.run_once(&unit, &["mount", "-c", "--bind", cold_text, hot_text], within).await? {
            Outcome::Ok => Ok(()),
            outcome => {
                let failed = MountError::NotBound { cold: cold.clone(), hot: hot.clone(), why: why(outcome) };
                // Until somebody gives it back, whoever writes there writes to the disk beneath. Why it was not bound is
                // what is told.
                let _ = self.fence(hot).await;
                Err(failed)
            }
        }
    }

    /// Run a command of the system's as a unit, which is forgotten before and after: one that a crash left says nothing
    /// of now. One of the same name that still runs is ended first, so that no two work on one path.
    pub(super) async fn run_once(&self, unit: &UnitName, argv: &[&str], within: Ms) -> Result<Outcome, NotForgotten> {
        let forget = |source: super::CallError| NotForgotten { unit: unit.clone(), source: source.into() };
        self.forget_unit(unit).await.map_err(forget)?;
        self.unloaded(unit).await;
        let command =
            Command { argv: argv.iter().map(|arg| Str::from(*arg)).collect(), user: None, dir: None, env: None };
        let outcome = self.run_unit(unit, &command, within).await;
        self.forget_unit(unit).await.map_err(forget)?;
        Ok(outcome)
    }

    /// Wait until a unit that was forgotten is gone: its name is taken until then. Not for ever: what is still there is
    /// found by whoever begins.
    async fn unloaded(&self, unit: &UnitName) {
        let until = Instant::now() + UNLOADED_WITHIN;
        while Instant::now() < until {
            match self.manager::<_, OwnedObjectPath>("GetUnit", &(unit.as_str(),)).await {
                Ok(_) => sleep(LOOK_EVERY).await,
                Err(_) => return,
            }
        }
    }
}

fn names(path: &Path) -> Result<(UnitName, &str), MountError> {
    named(NAME, path).ok_or_else(|| MountError::BadPath(path.to_owned()))
}

/// The unit that works on a path, and the path as text. None: it is not a folder's plain, full path, by whose name alone
/// the kernel lists a mount.
pub(super) fn named<'a>(prefix: &str, path: &'a Path) -> Option<(UnitName, &'a str)> {
    let text = path.to_str()?;
    let plain = path.components().collect::<PathBuf>();
    let escaped = escape_path(path)?;
    let good = text != "/" && plain.as_os_str() == path.as_os_str();
    good.then(|| (unit_of(prefix, &escaped), text))
}

/// A name that is too long keeps its beginning, for who reads it, and a digest of all of it: two paths never share a unit,
/// for the one would be ended for the other.
fn unit_of(prefix: &str, escaped: &str) -> UnitName {
    let whole = format!("{prefix}-{escaped}.service");
    if whole.len() <= UNIT_NAME_MAX {
        return UnitName::new(whole);
    }
    let digest = Sha256::digest(escaped).iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let digest = format!("{digest:016x}");
    let room = UNIT_NAME_MAX - format!("{prefix}--{digest}.service").len();
    let beginning: String = escaped.chars().take(room).collect();
    UnitName::new(format!("{prefix}-{beginning}-{digest}.service"))
}

/// What is mounted there, but for a fence.
fn mounted(path: &Path) -> Result<Option<MountInfo>, MountError> {
    let top = mount_at(path).map_err(|source| MountError::Read { path: path.to_owned(), source })?;
    Ok(top.filter(|mount| !mount.is_fence()))
}
