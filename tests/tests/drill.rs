//! A drill on a real host touches nothing, and plans what the real incident then makes the daemon plan.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox};
use serde_json::Value;

const LONG: Duration = Duration::from_mins(1);

/// Everything that a drill might have touched.
fn traces(sandbox: &Sandbox) -> Result<String> {
    sandbox.sh("cat /proc/1/mountinfo; ls -d /var/lib/hostward || true
         find /etc/hostward /srv/remote -type f ! -name out -exec sha256sum {} + | sort
         systemctl show --property=InvocationID,ActiveState box hot-worker hot-needs
         systemctl list-units --all --plain --no-legend 'hostward-*'")
}

fn drill(sandbox: &Sandbox, path: &str, wound: &str) -> Result<Value> {
    let said = sandbox.sh(&format!("hostward drill storage {path} --{wound} --json"))?;
    serde_json::from_str(&said).with_context(|| said)
}

#[test]
fn a_drill_touches_nothing_and_its_plan_is_that_of_the_real_incident() -> Result<()> {
    let sandbox = Sandbox::boot("drill")?;
    let hot = HotPaths::install(&sandbox)?;
    hot.install_worker()?;
    let compat = "[storage.hot]\nmetrics.compat = \"fleet_storage_hotpath_auto_recover\"\n";
    let guard = Guard::install_with(&sandbox, &HotPaths::config().replace("[storage.hot]\n", compat))?;
    guard.forbid(Guard::GLOBAL_SENTINEL)?;
    let before = traces(&sandbox)?;
    let mut played = Vec::new();
    for (path, wound) in
        [("/srv/box", "stale"), ("/srv/box", "hung"), ("/srv/jobs/a", "missing"), ("/srv/jobs/a", "stale")]
    {
        let drill = drill(&sandbox, path, wound)?;
        ensure!(drill["closing"] == "proved", "{path} {wound}: {drill:#}");
        played.push(drill);
    }
    ensure!(
        played[1]["plan"]["why"].as_str().is_some_and(|why| why.starts_with("/srv/box is hung")),
        "{:#}",
        played[1]
    );
    let now = played[0]["now"].to_string();
    ensure!(now.contains("sentinel"), "nobody has enabled anything yet: {now}");
    let after = traces(&sandbox)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    let text = sandbox.sh("hostward drill storage /srv/box --stale")?;
    ensure!(text.contains("It ends well.") && text.contains("Nothing is touched"), "{text}");

    // What is no path of a watch is refused, and so is one that is lost already.
    let nowhere = sandbox.exec(["hostward", "drill", "storage", "/srv/elsewhere", "--stale"])?;
    ensure!(
        nowhere.status.code() == Some(2) && nowhere.stderr.contains("declared are /srv/box"),
        "{}",
        nowhere.stderr
    );

    sandbox.sh("systemctl start hostward")?;
    let told = |lines: &[&str]| {
        for line in lines {
            sandbox.wait_until(line, LONG, || guard.has_metric(line))?;
        }
        anyhow::Ok(())
    };
    told(&["hostward_watch_up{watch=\"storage.hot\"} 1", "fleet_storage_hotpath_auto_recover_apply_24h 0"])?;
    hot.kill_base()?;
    told(&[
        "fleet_storage_hotpath_auto_recover_enabled 0",
        "fleet_storage_hotpath_auto_recover_detected_targets 3",
        "fleet_storage_hotpath_auto_recover_deploy_lock_age_seconds -1",
        "fleet_tiering_hot_path_errno{path=\"/srv/jobs/a\"} 107",
        "fleet_tiering_hot_path_ok{path=\"/srv/jobs/a\"} 0",
        "fleet_storagebox_mount_ok 0",
    ])?;
    guard.permit(Guard::GLOBAL_SENTINEL)?;
    sandbox.wait_until("a run to be closed", LONG, || Ok(!guard.records("closed")?.is_empty()))?;
    let opened = guard.records("opened")?;
    let plan = &opened.first().context("a run was opened")?["body"]["opened"]["plan"];
    ensure!(plan["steps"] == played[0]["plan"]["steps"], "real: {plan:#}\ndrill: {:#}", played[0]["plan"]);
    ensure!(guard.records("closed")?[0].to_string().contains("proved"), "{:?}", guard.records("closed")?);
    told(&[
        "fleet_storage_hotpath_auto_recover_detected_targets 0",
        "fleet_storage_hotpath_auto_recover_apply_1h 1",
        "fleet_storage_hotpath_auto_recover_last_apply_ok 1",
        "fleet_storage_hotpath_auto_recover_apply_total 3",
        "fleet_tiering_hot_path_errno{path=\"/srv/jobs/a\"} 0",
        "fleet_systemd_unit_ok{unit=\"box.service\"} 1",
        "fleet_systemd_unit_failed{unit=\"box.service\"} 0",
        "fleet_storagebox_mount_ok 1",
    ])
}
