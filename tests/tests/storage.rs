//! The storage watch on real mounts: each way in which a hot path is lost has its own name, and none takes the daemon along.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, HotPaths, QUICK_HOST, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn start<'a>(sandbox: &'a Sandbox, watches: &str) -> Result<Guard<'a>> {
    let guard = Guard::install_with(sandbox, &format!("{QUICK_HOST}{watches}"))?;
    sandbox.sh("systemctl start hostward")?;
    Ok(guard)
}

#[test]
fn an_sshfs_that_is_killed_leaves_stale_paths() -> Result<()> {
    let sandbox = Sandbox::boot("storage-stale")?;
    let hot = HotPaths::install(&sandbox)?;
    let guard = start(&sandbox, HotPaths::LOOKING_ON)?;
    guard.wait_path("/srv/box", "up")?;
    guard.wait_path("/srv/jobs/a", "up")?;
    ensure!(sandbox.sh("ls -A /srv/remote/a")?.trim().is_empty(), "the canary is removed");
    sandbox.sh("systemctl kill --signal=KILL box")?;
    guard.wait_path("/srv/jobs/a", "stale")?;
    guard.wait_path("/srv/box", "stale")?;
    let said = guard.path_detail("/srv/jobs/a")?;
    ensure!(said.contains("fuse.sshfs") && said.contains("not connected"), "{said}");
    for line in [
        "hostward_watch_up{watch=\"storage.hot\"} 0",
        "hostward_watch_condition{reason=\"stale\",watch=\"storage.hot\"} 1",
        "hostward_storage_path_up{path=\"/srv/jobs/a\",watch=\"storage.hot\"} 0",
        "hostward_storage_path_condition{path=\"/srv/box\",reason=\"stale\",watch=\"storage.hot\"} 1",
    ] {
        ensure!(guard.has_metric(line)?, "{line} is not in\n{}", guard.metrics()?);
    }
    guard.wait_held("storage.hot", "observe_only", secs(20))?;
    hot.unmount()?;
    hot.mount()?;
    guard.wait_path("/srv/box", "up")?;
    guard.wait_path("/srv/jobs/a", "up")?;
    ensure!(guard.records("opened")?.is_empty(), "it was the operator's hand");
    Ok(())
}

/// A look an hour: whatever is seen before that, the kernel's word on mounts brought about.
const BOUND: &str = r#"
[storage.hot]
mode     = "observe"
interval = "1h"
confirm  = { runs = 1, age = "0s" }
roots    = ["/srv/jobs"]
[storage.hot.manifest]
file = "/etc/hot/paths"
"#;

#[test]
fn what_is_bound_is_known_by_its_mount_and_its_manifest() -> Result<()> {
    let sandbox = Sandbox::boot("storage-bound")?;
    sandbox.sh("mkdir -p /srv/base /srv/jobs/{a,b}; mount -t tmpfs real /srv/base; mkdir /srv/base/{a,b}
         for job in a b; do mount --bind /srv/base/$job /srv/jobs/$job; done")?;
    sandbox.write("/etc/hot/paths", "0644", "# cold hot\n/srv/base/a /srv/jobs/a\n/srv/base/b\n")?;
    let guard = start(&sandbox, BOUND)?;
    guard.wait_path("/srv/jobs/a", "up")?;
    guard.wait_path("manifest", "config")?;
    let said = guard.path_detail("manifest")?;
    ensure!(said.starts_with("/etc/hot/paths:3: 1 columns"), "{said}");

    sandbox.sh("umount /srv/jobs/a")?;
    guard.wait_path("/srv/jobs/a", "missing")?;
    sandbox.sh("mount -t tmpfs other /srv/jobs/a")?;
    guard.wait_path("/srv/jobs/a", "wrong_source")?;
    sandbox.sh("umount /srv/jobs/a; mount --bind /srv/base/b /srv/jobs/a")?;
    let another = "it is /b of real (tmpfs), and it is to be bound to /a of real (tmpfs)";
    sandbox.wait_until(another, secs(40), || Ok(guard.path_detail("/srv/jobs/a")? == another))?;

    // The manifest is read anew with each look.
    sandbox.write("/etc/hot/paths", "0644", "/srv/base/a /srv/jobs/a\n/srv/base/b /srv/jobs/b\n")?;
    sandbox.sh("umount /srv/jobs/a; mount --bind /srv/base/a /srv/jobs/a")?;
    for key in ["/srv/jobs/a", "/srv/jobs/b", "manifest"] {
        guard.wait_path(key, "up")?;
    }
    sandbox.write("/etc/hot/paths", "0644", "/srv/base/b /srv/jobs/b\n")?;
    sandbox.sh("umount /srv/jobs/a")?;
    guard.wait_path("/srv/jobs/a", "null")?;
    ensure!(guard.path_state("/srv/jobs/b")? == "up");
    Ok(())
}

const LOOP: &str = r#"
[storage.hot]
interval = "1s"
confirm  = { runs = 2, age = "1s" }
[[storage.hot.paths]]
path   = "/srv/loop"
fstype = "ext4"
write  = "access"
user   = "nobody"
[[storage.hot.disks]]
path = "/srv/loop"
used = 80
"#;

#[test]
fn a_real_file_system_fills_closes_and_turns_read_only() -> Result<()> {
    let sandbox = Sandbox::boot("storage-loop")?;
    sandbox.sh("mkdir /srv/loop; truncate -s 64M /srv/image; mkfs.ext4 -q -m 0 /srv/image
         mount -o loop /srv/image /srv/loop; chmod 777 /srv/loop")?;
    let guard = start(&sandbox, LOOP)?;
    guard.wait_path("/srv/loop", "up")?;
    guard.wait_path("disk/srv/loop", "up")?;
    sandbox.sh("fallocate -l 50M /srv/loop/full")?;
    guard.wait_path("disk/srv/loop", "disk_space")?;
    let line = "hostward_part_condition{part=\"disk/srv/loop\",reason=\"disk_space\",watch=\"storage.hot\"} 1";
    ensure!(guard.has_metric(line)?, "{}", guard.metrics()?);
    ensure!(guard.up("storage.hot")? == Some(true), "a disk that is full is told of beside its paths");
    sandbox.sh("rm /srv/loop/full")?;
    guard.wait_path("disk/srv/loop", "up")?;

    sandbox.sh("chmod 755 /srv/loop")?;
    guard.wait_path("/srv/loop", "unwritable")?;
    sandbox.sh("chmod 777 /srv/loop; mount -o remount,ro /srv/loop")?;
    guard.wait_path("/srv/loop", "readonly")?;
    sandbox.sh("mount -o remount,rw /srv/loop")?;
    guard.wait_path("/srv/loop", "up")?;
    Ok(())
}
