//! The storage watch on real mounts: each way in which a hot path is lost has its own name, and none takes the daemon along.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, QUICK_HOST, Sandbox, Tiny};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As docs/usage/storage.md has it, only quicker; and it looks on.
const SSHFS: &str = r#"
[storage.hot]
mode     = "observe"
interval = "1s"
deadline = "2s"
confirm  = { runs = 2, age = "1s" }
[[storage.hot.paths]]
path   = "/srv/box"
source = "root@127.0.0.1:/srv/remote"
fstype = "fuse.sshfs"
base   = "box.service"
[[storage.hot.paths]]
path  = "/srv/jobs/a"
bind  = "/srv/box/a"
write = "canary"
"#;

/// `up`, the reason of a path that is down, or the fault's name.
fn state(guard: &Guard<'_>, key: &str) -> Result<String> {
    let id = format!("storage.hot#{key}");
    let targets = guard.watch("storage.hot")?["targets"].as_array().cloned().unwrap_or_default();
    let target = targets.into_iter().find(|target| target["id"] == id.as_str()).unwrap_or(Value::Null);
    Ok(match &target["verdict"] {
        Value::String(word) => word.clone(),
        verdict => match verdict["down"]["code"].as_str() {
            Some(code) => code.to_owned(),
            None => verdict.to_string(),
        },
    })
}

fn wait_state(guard: &Guard<'_>, key: &str, wanted: &str) -> Result<()> {
    let mut last = String::new();
    let found = guard.sandbox().wait_until(&format!("{key} to be {wanted}"), secs(40), || {
        last = state(guard, key)?;
        Ok(last == wanted)
    });
    found.with_context(|| format!("{key} is {last}"))?;
    Ok(())
}

fn detail(guard: &Guard<'_>, key: &str) -> Result<String> {
    let id = format!("storage.hot#{key}");
    let targets = guard.watch("storage.hot")?["targets"].as_array().cloned().unwrap_or_default();
    let target = targets.into_iter().find(|target| target["id"] == id.as_str()).unwrap_or(Value::Null);
    Ok(target["verdict"]["down"]["detail"].as_str().unwrap_or_default().to_owned())
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
    let guard = start(&sandbox, SSHFS)?;
    wait_state(&guard, "/srv/box", "up")?;
    wait_state(&guard, "/srv/jobs/a", "up")?;
    ensure!(sandbox.sh("ls -A /srv/remote/a")?.trim().is_empty(), "the canary is removed");
    sandbox.sh("systemctl kill --signal=KILL box")?;
    wait_state(&guard, "/srv/jobs/a", "stale")?;
    wait_state(&guard, "/srv/box", "stale")?;
    let said = detail(&guard, "/srv/jobs/a")?;
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
    wait_state(&guard, "/srv/box", "up")?;
    wait_state(&guard, "/srv/jobs/a", "up")?;
    ensure!(guard.records("opened")?.is_empty(), "it was the operator's hand");
    Ok(())
}

/// Children that look at paths, and descriptors of the daemon.
fn lookers(sandbox: &Sandbox) -> Result<usize> {
    let found = sandbox.exec(["pgrep", "--count", "--exact", "--full", "/proc/self/exe __look"])?;
    found.stdout.trim().parse().context("count children")
}

fn descriptors(sandbox: &Sandbox, guard: &Guard<'_>) -> Result<usize> {
    let count = sandbox.sh(&format!("ls /proc/{}/fd | wc -l", guard.life()?.0))?;
    count.trim().parse().context("count descriptors")
}

/// How many questions of a watch were answered, as the metrics tell it.
fn answered(guard: &Guard<'_>, watch: &str) -> Result<u64> {
    let prefix = format!("hostward_probe_duration_seconds_count{{watch=\"{watch}\"}} ");
    let metrics = guard.metrics()?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix)).context("no such metric")?;
    value.parse().with_context(|| format!("read '{value}'"))
}

#[test]
fn a_server_that_is_stopped_hangs_one_child_and_nobody_else() -> Result<()> {
    let sandbox = Sandbox::boot("storage-hung")?;
    let hot = HotPaths::install(&sandbox)?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "")?;
    let guard = start(&sandbox, &format!("{SSHFS}{}", api.config("")))?;
    wait_state(&guard, "/srv/jobs/a", "up")?;
    sandbox.wait_until("the API to be up", secs(30), || Ok(guard.up("service.api")? == Some(true)))?;
    let (life, before) = (guard.life()?, descriptors(&sandbox, &guard)?);

    hot.signal_server("STOP")?;
    wait_state(&guard, "/srv/box", "hung")?;
    wait_state(&guard, "/srv/jobs/a", "hung")?;
    let said = detail(&guard, "/srv/jobs/a")?;
    ensure!(said.contains("no answer") && said.contains("wait for its server"), "{said}");
    ensure!(guard.has_metric("hostward_probes_hung 1")?, "{}", guard.metrics()?);
    // A dozen intervals: the loop turns, the scrape is answered, the API is looked at, and one child hangs.
    let mut last = answered(&guard, "service.api")?;
    for _ in 0..4 {
        sandbox.wait_until("more looks at the API", secs(30), || Ok(answered(&guard, "service.api")? >= last + 3))?;
        last = answered(&guard, "service.api")?;
        let children = lookers(&sandbox)?;
        ensure!(children == 1, "{children} children hang");
    }
    sandbox.never("a second child", secs(8), || Ok(lookers(&sandbox)? > 1))?;
    api.signal("KILL")?;
    sandbox.wait_until("the API to be restarted", secs(30), || Ok(guard.records("closed")?.len() == 1))?;

    hot.signal_server("CONT")?;
    wait_state(&guard, "/srv/box", "up")?;
    wait_state(&guard, "/srv/jobs/a", "up")?;
    sandbox.wait_until("no child to be left", secs(20), || Ok(lookers(&sandbox)? == 0))?;
    sandbox.wait_until("no descriptor to be left", secs(20), || Ok(descriptors(&sandbox, &guard)? <= before))?;
    ensure!(guard.has_metric("hostward_probes_hung 0")?, "{}", guard.metrics()?);
    assert_eq!(guard.life()?, life, "the same daemon");
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
    wait_state(&guard, "/srv/jobs/a", "up")?;
    wait_state(&guard, "manifest", "config")?;
    let said = detail(&guard, "manifest")?;
    ensure!(said.starts_with("/etc/hot/paths:3: 1 columns"), "{said}");

    sandbox.sh("umount /srv/jobs/a")?;
    wait_state(&guard, "/srv/jobs/a", "missing")?;
    sandbox.sh("mount -t tmpfs other /srv/jobs/a")?;
    wait_state(&guard, "/srv/jobs/a", "wrong_source")?;
    sandbox.sh("umount /srv/jobs/a; mount --bind /srv/base/b /srv/jobs/a")?;
    let another = "it is /b of real (tmpfs), and it is to be bound to /a of real (tmpfs)";
    sandbox.wait_until(another, secs(40), || Ok(detail(&guard, "/srv/jobs/a")? == another))?;

    // The manifest is read anew with each look.
    sandbox.write("/etc/hot/paths", "0644", "/srv/base/a /srv/jobs/a\n/srv/base/b /srv/jobs/b\n")?;
    sandbox.sh("umount /srv/jobs/a; mount --bind /srv/base/a /srv/jobs/a")?;
    for key in ["/srv/jobs/a", "/srv/jobs/b", "manifest"] {
        wait_state(&guard, key, "up")?;
    }
    sandbox.write("/etc/hot/paths", "0644", "/srv/base/b /srv/jobs/b\n")?;
    sandbox.sh("umount /srv/jobs/a")?;
    wait_state(&guard, "/srv/jobs/a", "null")?;
    ensure!(state(&guard, "/srv/jobs/b")? == "up");
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
    wait_state(&guard, "/srv/loop", "up")?;
    wait_state(&guard, "disk/srv/loop", "up")?;
    sandbox.sh("fallocate -l 50M /srv/loop/full")?;
    wait_state(&guard, "disk/srv/loop", "disk_space")?;
    let line = "hostward_part_condition{part=\"disk/srv/loop\",reason=\"disk_space\",watch=\"storage.hot\"} 1";
    ensure!(guard.has_metric(line)?, "{}", guard.metrics()?);
    ensure!(guard.up("storage.hot")? == Some(true), "a disk that is full is told of beside its paths");
    sandbox.sh("rm /srv/loop/full")?;
    wait_state(&guard, "disk/srv/loop", "up")?;

    sandbox.sh("chmod 755 /srv/loop")?;
    wait_state(&guard, "/srv/loop", "unwritable")?;
    sandbox.sh("chmod 777 /srv/loop; mount -o remount,ro /srv/loop")?;
    wait_state(&guard, "/srv/loop", "readonly")?;
    sandbox.sh("mount -o remount,rw /srv/loop")?;
    wait_state(&guard, "/srv/loop", "up")?;
    Ok(())
}
