//! Real ext4 on loop devices: one that answers with EIO, one that the kernel turned read-only after an error, one that is
//! full, one without inodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, QUICK_HOST, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = r#"
[storage.hot]
interval = "1s"
confirm  = { runs = 2, age = "1s" }
brakes   = { cooldown = "1s", plateau = "2s", soak = "1s" }
holders  = ["writer.service"]
[[storage.hot.paths]]
path   = "/srv/disk"
fstype = "ext4"
base   = "srv-disk.mount"
user   = "nobody"
write  = "canary"
[[storage.hot.paths]]
path   = "/srv/few"
fstype = "ext4"
user   = "nobody"
write  = "canary"
[[storage.hot.disks]]
path = "/srv/disk"
[[storage.hot.disks]]
path = "/srv/few"
"#;
const WRITER: &str = "\
[Service]
ExecStart=/bin/bash -c 'while :; do date >/srv/disk/out; sleep 0.1; done'
StandardError=null
";
/// ioctl(2) of ext4, EXT4_IOC_SHUTDOWN: `_IOR('X', 125, __u32)`, here without a flush of the journal. From then on every
/// answer is EIO, as of a disk that was pulled.
const SHUT_DOWN: &str = "import fcntl, os, struct
fcntl.ioctl(os.open('/srv/disk', os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
/// Below /sys, which is read-only in here; that of another network is another one.
const FS_ERROR: &str = "unshare --net --mount bash -euc 'mkdir /run/sys; mount -t sysfs sysfs /run/sys
    echo 1 >/run/sys/fs/ext4/$(basename $(findmnt --noheadings --output SOURCE /srv/disk))/trigger_fs_error'";

fn start(sandbox: &Sandbox) -> Result<Guard<'_>> {
    sandbox.write("/etc/systemd/system/writer.service", "0644", WRITER)?;
    sandbox.sh("mkdir /srv/disk /srv/few
         truncate -s 64M /srv/image; mkfs.ext4 -q -m 0 /srv/image; truncate -s 16M /srv/small; mkfs.ext4 -q -m 0 -N 64 /srv/small
         echo '/srv/image /srv/disk ext4 loop,errors=remount-ro 0 0' >>/etc/fstab; systemctl daemon-reload
         systemctl start srv-disk.mount; mount -o loop /srv/small /srv/few; chmod 777 /srv/disk /srv/few
         systemctl start writer")?;
    let guard = Guard::install_with(sandbox, &format!("{QUICK_HOST}{WATCH}"))?;
    sandbox.sh("systemctl start hostward")?;
    for key in ["/srv/disk", "/srv/few", "disk/srv/disk", "disk/srv/few"] {
        guard.wait_path(key, "up")?;
    }
    Ok(guard)
}

#[test]
fn a_disk_that_answers_with_eio_is_mounted_anew() -> Result<()> {
    let sandbox = Sandbox::boot("storage-eio")?;
    let guard = start(&sandbox)?;
    guard.forbid(Guard::GLOBAL_SENTINEL)?;
    sandbox.exec(["python3", "-c", SHUT_DOWN])?.ok()?;
    guard.wait_path("/srv/disk", "stale")?;
    let said = guard.path_detail("/srv/disk")?;
    ensure!(said.contains("Input/output error"), "{said}");
    guard.permit(Guard::GLOBAL_SENTINEL)?;
    assert_eq!(guard.wait_closed(secs(60))?, "proved", "{:#?}", guard.ledger()?);
    guard.wait_path("/srv/disk", "up")?;
    sandbox.sh("runuser -u nobody touch /srv/disk/written")?;
    assert_eq!(sandbox.property("writer", "ActiveState")?, "active");
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    Ok(())
}

/// Each is told by its own name, and none is remedied: what may be deleted, or what the kernel found, is its owner's to say.
#[test]
fn a_disk_that_is_full_or_read_only_after_an_error_is_told_of() -> Result<()> {
    let sandbox = Sandbox::boot("storage-full")?;
    let guard = start(&sandbox)?;
    sandbox.sh(
        "for size in 64k 1k 1k; do dd if=/dev/zero bs=$size status=none >>/srv/disk/full || sync; done 2>/dev/null",
    )?;
    guard.wait_path("disk/srv/disk", "disk_space")?;
    guard.wait_path("/srv/disk", "unwritable")?;
    let said = guard.path_detail("/srv/disk")?;
    ensure!(said.contains("No space left on device"), "{said}");
    sandbox.sh("rm /srv/disk/full")?;
    for key in ["/srv/disk", "disk/srv/disk"] {
        guard.wait_path(key, "up")?;
    }

    sandbox.sh("for n in {1..64}; do : >/srv/few/$n || break; done 2>/dev/null")?;
    guard.wait_path("disk/srv/few", "disk_inodes")?;
    guard.wait_path("/srv/few", "unwritable")?;
    ensure!(
        guard.has_metric("hostward_part_up{part=\"disk/srv/disk\",watch=\"storage.hot\"} 1")?,
        "{}",
        guard.metrics()?
    );
    sandbox.sh("rm /srv/few/[0-9]*")?;
    for key in ["/srv/few", "disk/srv/few"] {
        guard.wait_path(key, "up")?;
    }

    sandbox.sh(FS_ERROR)?;
    guard.wait_path("/srv/disk", "readonly")?;
    guard.wait_held("storage.hot", "no_remedy", secs(20))?;
    ensure!(guard.records("opened")?.is_empty(), "{:#?}", guard.records("opened")?);
    assert_eq!(sandbox.property("writer", "ActiveState")?, "active", "nobody is stopped for what is not remedied");
    Ok(())
}
