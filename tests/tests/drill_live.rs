//! A live drill breaks a mount of its own and repairs it with the real engine; beside a daemon at work, and whatever
//! becomes of the drill itself, nothing else of the host is touched and nothing of it is left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Output, Sandbox};
use serde_json::Value;

const LONG: Duration = Duration::from_mins(1);
const WRITER: &str = "hostward-drill-writer.service";

/// Everything that a drill might have touched, or left. Mounts have their numbers, so that none was made anew.
fn traces(sandbox: &Sandbox) -> Result<String> {
    sandbox.sh("cat /proc/1/mountinfo; ls -d /run/hostward-drill || true; ls -A /run/systemd/system
         find /etc/hostward /srv/remote -type f ! -name out -exec sha256sum {} + | sort
         systemctl show --property=InvocationID,ActiveState,NRestarts box hot-worker hot-needs hostward
         systemctl list-units --all --plain --no-legend --no-pager 'hostward*'")
}

/// A host with a daemon at work, and a step and an undo of another engine's.
fn busy_host(sandbox: &Sandbox) -> Result<(HotPaths<'_>, Guard<'_>)> {
    let hot = HotPaths::install(sandbox)?;
    hot.install_worker()?;
    let guard = Guard::install_with(sandbox, &HotPaths::config())?;
    sandbox.sh("systemctl start hostward")?;
    let up = "hostward_watch_up{watch=\"storage.hot\"} 1";
    sandbox.wait_until("all to be up", LONG, || guard.has_metric(up))?;
    sandbox.sh("systemd-run --quiet --unit=hostward-step-7-0-1 sleep infinity
         systemd-run --quiet --unit=hostward-undo-7-0 --on-active=1h true")?;
    Ok((hot, guard))
}

fn drill(sandbox: &Sandbox, wound: &str) -> Result<Value> {
    let said = sandbox.sh(&format!("hostward drill storage --live --{wound} --json"))?;
    serde_json::from_str(&said).with_context(|| said)
}

fn acts(drill: &Value) -> Vec<String> {
    let steps = drill["plan"]["steps"].as_array().cloned().unwrap_or_default();
    steps.iter().filter_map(|step| step["act"].as_object()?.keys().next().cloned()).collect()
}

/// One whole drill: what it did, that it ended well, and that the host is as it was.
fn healed(sandbox: &Sandbox, wound: &str, wanted: &[&str]) -> Result<()> {
    let before = traces(sandbox)?;
    let drill = drill(sandbox, wound)?;
    ensure!(drill["closing"] == "proved", "{wound}: {drill:#}");
    assert_eq!(acts(&drill), wanted, "{wound}: {drill:#}");
    let timeline = drill["timeline"].to_string();
    for word in [wound, "begins: remount", "is proved"] {
        ensure!(timeline.contains(word), "{word} is not in {timeline}");
    }
    let after = traces(sandbox)?;
    ensure!(before == after, "{wound}, before:\n{before}\nafter:\n{after}");
    Ok(())
}

#[test]
fn a_live_drill_loses_a_real_fuse_mount_and_repairs_it() -> Result<()> {
    let sandbox = Sandbox::boot("drill-live")?;
    let (_, guard) = busy_host(&sandbox)?;
    healed(&sandbox, "stale", &["gather", "stop", "unmount", "unmount", "unfence", "restart", "bind"])?;
    healed(&sandbox, "hung", &["gather", "abort", "stop", "unmount", "unmount", "unfence", "restart", "bind"])?;
    ensure!(guard.records("opened")?.is_empty(), "the host's own engine had nothing to do with it");
    Ok(())
}

/// What it needs and does not find it says, before it makes anything.
#[test]
fn a_live_drill_without_a_fuse_server_still_has_a_mount_that_goes_missing() -> Result<()> {
    let sandbox = Sandbox::boot("drill-missing")?;
    busy_host(&sandbox)?;
    sandbox.sh("mv /usr/bin/sshfs /usr/bin/sshfs.away")?;
    let before = traces(&sandbox)?;
    let refused = sandbox.exec(["hostward", "drill", "storage", "--live", "--stale"])?;
    ensure!(refused.status.code() == Some(2) && refused.stderr.contains("install sshfs"), "{refused:?}");
    let other =
        sandbox.exec(["runuser", "-u", "nobody", "--", "hostward", "drill", "storage", "--live", "--missing"])?;
    ensure!(other.status.code() == Some(5), "{other:?}");
    let text = sandbox.sh("hostward drill storage --live --missing")?;
    for line in ["really missing", "fence /run/hostward-drill/hot", "It ends well."] {
        ensure!(text.contains(line), "{line} is not in\n{text}");
    }
    let after = traces(&sandbox)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    Ok(())
}

/// A drill that is ended at the very moment at which the writer is stopped and the paths are bare.
fn ended_amid(sandbox: &Sandbox, signal: &str) -> Result<Output> {
    let script = format!(
        "hostward drill storage --live --stale & drill=$!
         until [ \"$(systemctl is-active {WRITER})\" = active ]; do sleep 0.01; done
         while [ \"$(systemctl is-active {WRITER})\" = active ]; do sleep 0.005; done
         kill -{signal} $drill; wait $drill"
    );
    sandbox.exec(["bash", "-c", &script])
}

#[test]
fn a_drill_that_is_ended_amid_its_repair_is_taken_away() -> Result<()> {
    let sandbox = Sandbox::boot("drill-ended")?;
    let (hot, _guard) = busy_host(&sandbox)?;
    let before = traces(&sandbox)?;
    let interrupted = ended_amid(&sandbox, "INT")?;
    ensure!(interrupted.status.code() == Some(4), "{interrupted:?}");
    ensure!(interrupted.stderr.contains("interrupted"), "{interrupted:?}");
    let after = traces(&sandbox)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");

    // Nobody can answer SIGKILL: the next one takes away what is left.
    let killed = ended_amid(&sandbox, "KILL")?;
    ensure!(killed.status.code() == Some(137), "{killed:?}");
    ensure!(traces(&sandbox)? != before, "it was killed before it had made anything");
    assert_eq!(drill(&sandbox, "missing")?["closing"], "proved");
    let after = traces(&sandbox)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    ensure!(hot.is_well()?, "{:?}", hot.state()?);
    Ok(())
}
