//! Each path of a storage watch, and the room that its disks have.

use hostward_core::judge::Verdict;
use hostward_core::view::WatchView;

use super::{Families, flag, kept, reason};

pub(super) fn of_watch(out: &Families, watch: &WatchView) -> Result<(), prometheus::Error> {
    let id = watch.id.as_str();
    for target in kept(watch) {
        let path = &*target.id.key;
        if let Some(up) = target.verdict.up() {
            let help = "1: this path is well. Absent while it is not known.";
            out.gauge("hostward_storage_path_up", help, &[("watch", id), ("path", path)], flag(up))?;
        }
        let labels = [("watch", id), ("path", path), ("reason", reason(target))];
        out.gauge("hostward_storage_path_condition", "The verdict on a path; always 1.", &labels, 1.0)?;
    }
    for target in watch.targets.iter().filter(|target| !matches!(target.verdict, Verdict::Unknown(_))) {
        let (Some(part), Some(room)) = (&target.part, target.room) else { continue };
        let labels = [("watch", id), ("part", &**part)];
        let used = share(room.space.used_bytes, room.space.free_bytes);
        let help = "The share of a disk that is used, of what an ordinary user may use.";
        out.gauge("hostward_storage_disk_used_ratio", help, &labels, used)?;
        let inodes = share(room.space.used_inodes, room.space.free_inodes);
        out.gauge("hostward_storage_disk_inodes_used_ratio", "The same of its inodes.", &labels, inodes)?;
        if let Some(full_in) = room.full_in {
            let help = "When a disk is full at the pace of the last six hours. Absent while it does not grow.";
            out.gauge("hostward_storage_disk_full_seconds", help, &labels, full_in.as_secs_f64())?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share of petabytes is right to a byte or two")]
fn share(used: u64, free: u64) -> f64 {
    let all = used as f64 + free as f64;
    if all > 0.0 { used as f64 / all } else { 0.0 }
}
