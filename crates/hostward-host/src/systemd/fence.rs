//! A fence: an empty read-only file system over a folder, so that what writes into it fails at once (EROFS) instead of
//! filling the disk beneath a mount that is gone.
//!
//! It is made by mount(8) in a transient service, as a child of PID 1: so in the host's namespace, wherever we are. Not
//! as a `.mount` unit: PID 1 itself makes that one's folder, and below a hung mount it then hangs, and with it the host;
//! a unit of that name exists also as soon as anything is mounted there, and its stop takes off all that is stacked.
//! Only what bears our name is ever taken off.

use std::io;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, Mount};
use hostward_core::id::{Str, UnitName};
use hostward_core::run::Outcome;
use hostward_core::time::Ms;

use super::Systemd;
use super::mount::{NotForgotten, named};
use crate::mounts::{MountInfo, mount_at, stack_at};

/// What a fence has for its source in mountinfo: how it is told from everybody else's tmpfs.
pub const SOURCE: &str = Mount::FENCE;

/// Why a path is not fenced, or still is.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// Relative, the root, not in its plain form, or not UTF-8.
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
pub(super) const OPTIONS: &str = "ro,size=4k,mode=0555,nodev,nosuid,noexec";
/// mount(8) takes 20 ms. It hangs where a folder above is a hung mount.
const MOUNT_WITHIN: Ms = Ms::secs(10);
/// More than one at a path comes only from two that fenced at once.
const FENCES_MAX: usize = 4;

impl From<NotForgotten> for FenceError {
    fn from(NotForgotten { unit, source }: NotForgotten) -> Self {
        FenceError::Forget { unit, source }
    }
}

impl Systemd {
    /// Put a fence over `path`, a folder that exists, whatever is mounted there. A fence that stands already is success.
    /// Those that have files in it open keep them. Takes at most 30 s.
    pub async fn fence(&self, path: &Path) -> Result<(), FenceError> {
        let (unit, folder) = names(path)?;
        if is_fence(mounted(path)?.as_ref()) {
            return Ok(());
        }
        let outcome = self.run_once(&unit, &fencing(folder), MOUNT_WITHIN).await?;
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
            outcome = self.run_once(&unit, &["umount", "-c", "-l", folder], MOUNT_WITHIN).await?;
        }
        if is_fence(mounted(path)?.as_ref()) {
            return Err(FenceError::NotLifted { path: path.to_owned(), why: why(outcome) });
        }
        Ok(())
    }
}

/// The command that puts one over a folder. -c: mount would otherwise look at the path itself.
fn fencing(folder: &str) -> [&str; 8] {
    ["mount", "-c", "-t", "tmpfs", "-o", OPTIONS, SOURCE, folder]
}

/// The unit that works on a path, and the path as text.
fn names(path: &Path) -> Result<(UnitName, &str), FenceError> {
    named(SOURCE, path).ok_or_else(|| FenceError::BadPath(path.to_owned()))
}

fn mounted(path: &Path) -> Result<Option<MountInfo>, FenceError> {
    mount_at(path).map_err(|source| FenceError::Read { path: path.to_owned(), source })
}

fn stacked(path: &Path) -> Result<bool, FenceError> {
    let stack = stack_at(path).map_err(|source| FenceError::Read { path: path.to_owned(), source })?;
    Ok(stack.iter().any(|mount| is_fence(Some(mount))))
}

fn is_fence(mount: Option<&MountInfo>) -> bool {
    mount.is_some_and(MountInfo::is_fence)
}

pub(super) fn why(outcome: Outcome) -> Str {
    match outcome {
        Outcome::Ok => "it was done, and nothing changed".into(),
        Outcome::Failed(why) | Outcome::Lost(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::escape::UNIT_NAME_MAX;

    #[test]
    fn only_plain_full_paths_are_fenced() {
        let table = [
            ("/srv/my-data", Some(r"hostward-fence-srv-my\x2ddata.service")),
            ("/", None),
            ("", None),
            ("srv", None),
            ("/srv/", None),
            ("/srv//x", None),
            ("/srv/./x", None),
            ("/srv/../x", None),
        ];
        for (path, unit) in table {
            let named = names(Path::new(path)).ok().map(|(unit, _)| unit.to_string());
            assert_eq!(named.as_deref(), unit, "{path}");
        }
    }

    #[test]
    fn a_long_path_has_a_unit_of_its_own() {
        let name = |end: &str| {
            let path = format!("/srv/{}/{end}", "x-".repeat(UNIT_NAME_MAX / 2));
            names(Path::new(&path)).ok().map(|(unit, _)| unit.to_string()).expect("it is a plain path")
        };
        let (a, b) = (name("a"), name("b"));
        assert_ne!(a, b);
        for name in [a, b] {
            assert_eq!(
                (name.len(), name.starts_with("hostward-fence-srv-x"), name.ends_with(".service")),
                (255, true, true)
            );
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
