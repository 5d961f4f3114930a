//! A fence: an empty read-only file system over a folder, so that what writes into it fails at once (EROFS) instead of
//! filling the disk beneath a mount that is gone.
//!
//! It is made by mount(8) in a transient service, as a child of PID 1: so in the host's namespace, wherever we are. Not
//! as a `.mount` unit: PID 1 itself makes that one's folder, and below a hung mount it then hangs, and with it the host;
//! a unit of that name exists also as soon as anything is mounted there, and its stop takes off all that is stacked.
//! Only what bears our name is ever taken off.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostward_core::ask::Fault;
use hostward_core::id::{Str, UnitName};
use hostward_core::plan::Command;
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use tokio::time::{Instant, sleep};
use zbus::OwnedObjectPath;

use super::Systemd;
use super::escape::{UNIT_NAME_MAX, escape_path};
use crate::mounts::{MountInfo, mount_at, stack_at};

/// What a fence has for its source in mountinfo: how it is told from everybody else's tmpfs.
pub const SOURCE: &str = "hostward-fence";

/// Why a path is not fenced, or still is.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// Relative, the root, not in its plain form, not UTF-8, or too long.
    #[error("'{}' cannot be fenced: not the plain, full path of a folder", .0.display())]
    BadPath(PathBuf),
    #[error("read what is mounted at '{}'", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("fence '{}': {why}", path.display())]
    NotFenced { path: PathBuf, why: Str },
    #[error("lift the fence of '{}': {why}", path.display())]
    NotLifted { path: PathBuf, why: Str },
    /// Something was mounted over the fence: it is not ours to take off.
    #[error("the fence of '{}' lies beneath '{by}'", path.display())]
    Covered { path: PathBuf, by: String },
    /// It did its work; its unit stays until somebody resets it.
    #[error("forget '{unit}'")]
    Forget { unit: UnitName, source: Fault },
}

/// Nothing fits into a fence; the name is what counts.
const OPTIONS: &str = "ro,size=4k,mode=0555,nodev,nosuid,noexec";
/// mount(8) takes 20 ms. It hangs where a folder above is a hung mount.
const MOUNT_WITHIN: Ms = Ms::secs(10);
/// More than one at a path comes only from two that fenced at once.
const FENCES_MAX: usize = 4;
/// systemd unloads what is not needed in its next turn.
const UNLOADED_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Systemd {
    /// Put a fence over `path`, a folder that exists, whatever is mounted there. A fence that stands already is success.
    /// Those that have files in it open keep them. Takes at most 30 s.
    pub async fn fence(&self, path: &Path) -> Result<(), FenceError> {
        let (unit, folder) = names(path)?;
        if is_fence(mounted(path)?.as_ref()) {
            return Ok(());
        }
        // -c: mount would otherwise look at the path itself.
        let outcome = self.run_once(&unit, &["mount", "-c", "-t", "tmpfs", "-o", OPTIONS, SOURCE, folder]).await?;
        // Whatever the outcome: the fence stands, or it does not.
        if is_fence(mounted(path)?.as_ref()) {
            return Ok(());
        }
        Err(FenceError::NotFenced { path: path.to_owned(), why: why(outcome) })
    }

    /// Take the fence of `path` off. No fence there is success; what is mounted over one is left, and told.
    pub async fn unfence(&self, path: &Path) -> Result<(), FenceError> {
        let (unit, folder) = names(path)?;
        let mut outcome = Outcome::Ok;
        for _ in 0..FENCES_MAX {
            let top = mounted(path)?;
            if !is_fence(top.as_ref()) {
                return match top {
                    Some(top) if stacked(path)? => Err(FenceError::Covered { path: path.to_owned(), by: top.source }),
                    _ => Ok(()),
                };
            }
            // -l: whoever stands in it must not keep it up; there is nothing in it to lose.
            outcome = self.run_once(&unit, &["umount", "-c", "-l", folder]).await?;
        }
        if is_fence(mounted(path)?.as_ref()) {
            return Err(FenceError::NotLifted { path: path.to_owned(), why: why(outcome) });
        }
        Ok(())
    }

    /// Run a command of the system's as a unit, which is forgotten before and after: one that a crash left says nothing
    /// of now. One of the same name that still runs is ended first, so that no two work on one path.
    async fn run_once(&self, unit: &UnitName, argv: &[&str]) -> Result<Outcome, FenceError> {
        let forget = |source: super::CallError| FenceError::Forget { unit: unit.clone(), source: source.into() };
        self.forget_unit(unit).await.map_err(forget)?;
        self.unloaded(unit).await;
        let command = Command { argv: argv.iter().map(|arg| Str::from(*arg)).collect(), user: None, dir: None };
        let outcome = self.run_unit(unit, &command, MOUNT_WITHIN).await;
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

/// The unit that works on a path, and the path as text.
fn names(path: &Path) -> Result<(UnitName, &str), FenceError> {
    let bad = || FenceError::BadPath(path.to_owned());
    let text = path.to_str().ok_or_else(bad)?;
    // The kernel lists a mount by its plain path: by another form the fence would never be found again.
    let plain = path.components().collect::<PathBuf>();
    let unit = format!("{SOURCE}-{}.service", escape_path(path).ok_or_else(bad)?);
    if text == "/" || plain.as_os_str() != path.as_os_str() || unit.len() > UNIT_NAME_MAX {
        return Err(bad());
    }
    Ok((UnitName::new(unit), text))
}

fn mounted(path: &Path) -> Result<Option<MountInfo>, FenceError> {
    mount_at(path).map_err(|source| FenceError::Read { path: path.to_owned(), source })
}

fn stacked(path: &Path) -> Result<bool, FenceError> {
    let stack = stack_at(path).map_err(|source| FenceError::Read { path: path.to_owned(), source })?;
    Ok(stack.iter().any(|mount| is_fence(Some(mount))))
}

fn is_fence(mount: Option<&MountInfo>) -> bool {
    mount.is_some_and(|mount| mount.source == SOURCE && mount.fstype == "tmpfs")
}

fn why(outcome: Outcome) -> Str {
    match outcome {
        Outcome::Ok => "it was done, and nothing changed".into(),
        Outcome::Failed(why) | Outcome::Lost(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_full_paths_are_fenced() {
        let long = format!("/{}", "x".repeat(UNIT_NAME_MAX));
        let table = [
            ("/srv/my-data", Some(r"hostward-fence-srv-my\x2ddata.service")),
            ("/", None),
            ("", None),
            ("srv", None),
            ("/srv/", None),
            ("/srv//x", None),
            ("/srv/./x", None),
            ("/srv/../x", None),
            (&long, None),
        ];
        for (path, unit) in table {
            let named = names(Path::new(path)).ok().map(|(unit, _)| unit.to_string());
            assert_eq!(named.as_deref(), unit, "{path}");
        }
    }

    #[test]
    fn only_our_own_tmpfs_is_a_fence() {
        let mount = |source: &str, fstype: &str| MountInfo {
            point: "/srv/ex".into(),
            device: "0:1".into(),
            root: "/".into(),
            super_options: "rw".into(),
            id: 1,
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            options: "ro".to_owned(),
        };
        assert!(is_fence(Some(&mount("hostward-fence", "tmpfs"))));
        assert!(!is_fence(Some(&mount("tmpfs", "tmpfs"))));
        assert!(!is_fence(Some(&mount("hostward-fence", "ext4"))));
        assert!(!is_fence(None));
    }
}
