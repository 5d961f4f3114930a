//! What an operator may declare of a remedy, each on a real sshfs: `reach`, `oneshots`, `dependents` with their `smoke`,
//! and `rebind` commands in place of the binds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "storage.hot";
const UP: &str = "hostward_watch_up{watch=\"storage.hot\"} 1";

const REACHED: &str = r#"
reach    = "tcp:127.0.0.1:2222"
oneshots = ["tiering.service"]
[[storage.hot.dependents]]
unit  = "viewer.service"
smoke = ["/opt/smoke", "viewer.service"]
[[storage.hot.dependents]]
unit  = "idle.service"
smoke = ["/opt/smoke", "idle.service"]
"#;

/// One that keeps what was mounted when it began: nothing that is mounted later reaches it.
const VIEWER_UNIT: &str = "\
[Service]
Type=exec
PrivateMounts=yes
MountFlags=private
ExecStart=sleep infinity
";
/// Only after `reset-failed` may it be started a second time.
const TIERING_UNIT: &str = "\
[Unit]
StartLimitIntervalSec=1h
StartLimitBurst=1
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=touch /srv/jobs/b/tiered
";
const SMOKE: &str = "#!/bin/sh -e\necho \"$1\" >>/run/smoked
nsenter --mount --target \"$(systemctl show --value --property MainPID \"$1\")\" ls /srv/jobs/a >/dev/null\n";

fn start<'a>(
    sandbox: &'a Sandbox,
    declared: &str,
    change: impl Fn(String) -> String,
) -> Result<(HotPaths<'a>, Guard<'a>)> {
    let hot = HotPaths::install(sandbox)?;
    hot.install_worker()?;
    let config =
        HotPaths::config().replacen("[[storage.hot.paths]]", &format!("{declared}\n[[storage.hot.paths]]"), 1);
    let guard = Guard::install_with(sandbox, &change(config))?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("all to be up", secs(30), || guard.has_metric(UP))?;
    Ok((hot, guard))
}

fn wait_proved(guard: &Guard<'_>, n: usize) -> Result<()> {
    let closed = guard.sandbox().wait_for(&format!("run {n} to close"), secs(60), || {
        Ok(guard.records("closed")?.get(n - 1).map(|record| record["body"]["closed"]["result"].clone()))
    })?;
    ensure!(closed == "proved", "{closed:#}: {:#?}", guard.ledger()?);
    Ok(())
}

/// The acts of the n-th plan as JSON, and how each ended.
fn acts(guard: &Guard<'_>, n: usize) -> Result<Vec<(Value, String)>> {
    let opened = guard.records("opened")?;
    let opened = opened.get(n - 1).context("so many plans")?;
    let run = &opened["seq"];
    let ended = guard.records("ended")?;
    let ends = ended.iter().map(|record| &record["body"]["ended"]).filter(|ended| ended["run"] == *run);
    let ends: Vec<String> = ends.map(|ended| ended["end"].to_string()).collect();
    let steps = opened["body"]["opened"]["plan"]["steps"].as_array().cloned().unwrap_or_default();
    ensure!(ends.len() == steps.len(), "{} steps, and {ends:?}", steps.len());
    Ok(steps.into_iter().map(|step| step["act"].clone()).zip(ends).collect())
}

/// What a unit sees of a path, in its own mount namespace.
fn sees(sandbox: &Sandbox, unit: &str) -> Result<bool> {
    let pid = sandbox.property(unit, "MainPID")?;
    Ok(sandbox.exec(["nsenter", "--mount", "--target", &pid, "ls", "/srv/jobs/a"])?.status.success())
}

#[test]
fn nothing_is_tried_out_of_reach_and_whoever_rests_on_the_paths_is_brought_along() -> Result<()> {
    let sandbox = Sandbox::boot("storage-keys")?;
    sandbox.write("/opt/smoke", "0755", SMOKE)?;
    sandbox.write("/etc/systemd/system/tiering.service", "0644", TIERING_UNIT)?;
    for unit in ["viewer", "idle", "forgotten"] {
        sandbox.write(&format!("/etc/systemd/system/{unit}.service"), "0644", VIEWER_UNIT)?;
    }
    // Longer than what is known of the remote may be old (hold::GATE_FRESH), as in life.
    let patient = |config: String| config.replace("age = \"1s\"", "age = \"8s\"");
    let (hot, guard) = start(&sandbox, REACHED, patient)?;
    sandbox.sh("systemctl start viewer forgotten")?;
    ensure!(sees(&sandbox, "viewer")? && sees(&sandbox, "forgotten")?);
    let viewer = sandbox.property("viewer", "MainPID")?;

    sandbox.sh("systemctl stop hot-sshd")?;
    hot.kill_base()?;
    ensure!(!sandbox.exec(["systemctl", "start", "tiering"])?.status.success(), "there is no storage to tier to");
    let held = guard.wait_held(WATCH, "unreachable", secs(30))?;
    ensure!(held.contains("127.0.0.1:2222"), "{held}");
    guard.never_acts(secs(3))?;
    assert_eq!(guard.status()?["view"]["budget_remaining"], 256, "nothing is charged");
    ensure!(!sees(&sandbox, "viewer")?, "its storage is not lost");

    sandbox.sh("systemctl start hot-sshd")?;
    wait_proved(&guard, 1)?;
    ensure!(hot.is_well()?, "{:?}", hot.state()?);
    assert_eq!(guard.records("opened")?.len(), 1, "one attempt");
    let acts = acts(&guard, 1)?;
    ensure!(acts.iter().all(|(_, end)| end == "\"done\""), "{acts:#?}");
    assert_eq!(sandbox.property("tiering", "ActiveState")?, "active", "failed before, and beyond its start limit");
    ensure!(sandbox.sh("ls /srv/remote/b")?.contains("tiered"), "it ran onto the paths that are mounted");
    ensure!(
        sandbox.property("viewer", "MainPID")? != viewer && sees(&sandbox, "viewer")?,
        "it still sees the old mount"
    );
    ensure!(!sees(&sandbox, "forgotten")?, "it would have come back by itself");
    assert_eq!(sandbox.property("idle", "ActiveState")?, "inactive", "what did not run is nobody's to start");
    assert_eq!(sandbox.read("/run/smoked")?, "viewer.service\n");
    Ok(())
}

const REBIND: &str = "#!/bin/sh -e\necho \"$1\" >>/run/rebound\n[ \"$1\" = last ] || exit 0
for job in a b; do
    if mountpoint --quiet /srv/jobs/$job; then mount -o remount,bind,rw /srv/jobs/$job
    else mount --bind /srv/box/$job /srv/jobs/$job; fi
done\n";

/// A mount that only they can mend is theirs as well.
#[test]
fn the_operators_own_commands_mount_everything() -> Result<()> {
    let sandbox = Sandbox::boot("storage-rebind")?;
    sandbox.write("/opt/rebind", "0755", REBIND)?;
    let (hot, guard) =
        start(&sandbox, "rebind = [[\"/opt/rebind\", \"first\"], [\"/opt/rebind\", \"last\"]]", |config| config)?;
    hot.kill_base()?;
    wait_proved(&guard, 1)?;
    ensure!(hot.is_well()?, "{:?}", hot.state()?);
    assert_eq!(sandbox.read("/run/rebound")?, "first\nlast\n", "each once, in order");
    let ran = acts(&guard, 1)?;
    let names: Vec<&String> = ran.iter().filter_map(|(act, _)| act.as_object()?.keys().next()).collect();
    ensure!(!names.iter().any(|name| *name == "bind"), "they stand in place of the binds: {names:?}");
    assert_eq!(names.iter().filter(|name| **name == "command").count(), 2, "{names:?}");
    sandbox.wait_until("all to be up", secs(30), || guard.has_metric(UP))?;

    sandbox.sh("mount -o remount,bind,ro /srv/jobs/a")?;
    guard.wait_path("/srv/jobs/a", "readonly")?;
    wait_proved(&guard, 2)?;
    let ran = acts(&guard, 2)?;
    ensure!(
        !ran.iter().any(|(act, _)| act.get("unmount").is_some()),
        "what is mounted there is the right mount: {ran:#?}"
    );
    assert_eq!(sandbox.read("/run/rebound")?, "first\nlast\nfirst\nlast\n");
    sandbox.sh("touch /srv/jobs/a/written")?;
    ensure!(hot.is_well()?, "{:?}", hot.state()?);
    hot.nothing_beneath()
}
