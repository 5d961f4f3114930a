//! FUSE connections, by the kernel's own files (Documentation/filesystems/fuse.rst): how many requests wait for a server,
//! and the end of a connection whose server answers none.

use std::fs;
use std::io;
use std::path::PathBuf;

use hostward_core::plan::Abort;

use crate::mounts::{MountInfo, OF_PID_1, Table};

/// Why a connection was not aborted.
#[derive(Debug, thiserror::Error)]
pub enum AbortError {
    #[error("read {OF_PID_1}")]
    Read(#[source] io::Error),
    #[error("refused: {0} is no FUSE connection")]
    NotFuse(String),
    #[error("refused: another mount was made at {} meanwhile", .0.display())]
    Another(PathBuf),
    /// It is not the connection that was planned for, or more would be cut off than anybody was told.
    #[error("refused: {} shares it, and was not planned for", .0.display())]
    Shared(PathBuf),
    #[error("write '{}'", file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// Who waits for it gets an error, and each of its mounts is dead from then on. Blocks for as long as the kernel takes.
pub fn abort(abort: &Abort) -> Result<(), AbortError> {
    let table = Table::read(OF_PID_1).map_err(AbortError::Read)?;
    let mounts = table.points_of(&abort.device);
    if mounts.is_empty() || !mounts.iter().all(|mount| is_fuse(mount)) {
        return Err(AbortError::NotFuse(abort.device.to_string()));
    }
    if let Some(more) = mounts.iter().find(|mount| !abort.points.contains(&mount.point)) {
        return Err(AbortError::Shared(more.point.clone()));
    }
    if !mounts.iter().any(|mount| mount.point == abort.path && mount.is(&abort.was)) {
        return Err(AbortError::Another(abort.path.clone()));
    }
    let file = connection(&abort.device, "abort").ok_or_else(|| AbortError::NotFuse(abort.device.to_string()))?;
    fs::write(&file, "1").map_err(|source| AbortError::Write { file, source })
}

/// Requests that its server has not answered. None: it is not FUSE, or not to be known.
pub fn waiting(mount: &MountInfo) -> Option<u32> {
    if !is_fuse(mount) {
        return None;
    }
    fs::read_to_string(connection(&mount.device, "waiting")?).ok()?.trim().parse().ok()
}

pub fn is_fuse(mount: &MountInfo) -> bool {
    mount.fstype == "fuse" || mount.fstype == "fuseblk" || mount.fstype.starts_with("fuse.")
}

/// A connection is named by the minor number of its device.
fn connection(device: &str, file: &str) -> Option<PathBuf> {
    let (_, minor) = device.split_once(':')?;
    minor.parse::<u32>().ok()?;
    Some(PathBuf::from(format!("/sys/fs/fuse/connections/{minor}/{file}")))
}

#[cfg(test)]
mod tests {
    use hostward_core::ask::Mark;

    use super::*;

    #[test]
    fn only_fuse_connections_that_are_mounted_are_aborted() {
        let was = Mark::default();
        let abort = |device: &str| {
            let (path, was) = ("/".into(), was.clone());
            super::abort(&Abort { path, device: device.into(), points: vec![], was })
        };
        let Ok(table) = Table::read("/proc/self/mountinfo") else { panic!("no mountinfo") };
        let root = table.below("/".as_ref()).expect("a root").device.clone();
        for device in [root.as_str(), "0:0", "none", "0:../../x"] {
            assert!(matches!(abort(device), Err(AbortError::NotFuse(_))), "{device}");
        }
        assert_eq!(connection("0:../../x", "abort"), None);
    }
}
