//! S7, thrash, then silence: the storage below a worker fails, the worker takes up the same job many times a second, gives
//! up, and nothing starts it. Here is what concerns the service watch; that jobs wait is the job watch's to say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, QUICK_HOST, Sandbox, Tiny};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WORKER: &str = "service.worker";
const STORAGE: &str = "service.storage";

/// It reads from the storage what the job needs, and gives up cleanly after too many failures: no crash, no exit code.
const PROGRAM: &str = r#"#!/bin/sh
failures=0
while [ $failures -lt 60 ] && ! [ -e /run/worker-quits ]; do
    if curl --silent --fail --max-time 1 http://127.0.0.1:8101/jobs/17 >/dev/null; then
        echo "job 17 progressed" >>/run/jobs; failures=0; sleep 0.2
    else
        echo "job 17 failed" >>/run/jobs; failures=$((failures + 1)); sleep 0.02
    fi
done
rm -f /run/worker-quits
"#;

const UNIT: &str = "[Service]\nExecStart=/opt/worker\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n";

const QUICK: &str = "confirm = { runs = 2, age = \"1s\" }\nstart_grace = \"1s\"\n\
                     brakes = { cooldown = \"100ms\", soak = \"500ms\" }\n";

fn install(sandbox: &Sandbox) -> Result<(Tiny<'_>, Guard<'_>)> {
    let storage = Tiny::install(sandbox, "storage", 8101, "", "")?;
    sandbox.write("/opt/worker", "0755", PROGRAM)?;
    sandbox.write("/etc/systemd/system/worker.service", "0644", UNIT)?;
    sandbox.sh("systemctl daemon-reload; systemctl enable --now --quiet worker")?;
    let worker =
        format!("[{WORKER}]\nunit = \"worker.service\"\nneeds = [\"{STORAGE}\"]\nrespect_stop = \"5s\"\n{QUICK}");
    let guard = Guard::install_with(sandbox, &format!("{QUICK_HOST}{}{worker}", storage.config(QUICK)))?;
    sandbox.sh("systemctl start hostward")?;
    wait_up(&guard)?;
    Ok((storage, guard))
}

fn wait_up(guard: &Guard<'_>) -> Result<()> {
    let both = || Ok(guard.up(WORKER)? == Some(true) && guard.up(STORAGE)? == Some(true));
    guard.sandbox().wait_until("both to be up", secs(60), both)?;
    Ok(())
}

fn runs(sandbox: &Sandbox) -> Result<bool> {
    Ok(sandbox.property("worker", "ActiveState")? == "active")
}

/// The runs of one watch.
fn opened(guard: &Guard<'_>, watch: &str) -> Result<Vec<Value>> {
    let opened = guard.records("opened")?;
    Ok(opened.into_iter().filter(|record| record["body"]["opened"]["plan"]["watch"] == watch).collect())
}

fn seq(record: &Value) -> Result<u64> {
    record["seq"].as_u64().with_context(|| format!("a record without a number: {record}"))
}

#[test]
fn the_worker_waits_for_its_storage_and_is_started_when_that_is_proved() -> Result<()> {
    let sandbox = Sandbox::boot("s7")?;
    let (storage, guard) = install(&sandbox)?;
    // No restart of the storage mends this: what it serves from is away.
    storage.answer(503, "the remote is away")?;
    sandbox.wait_until("the worker to give up", secs(60), || Ok(!runs(&sandbox)?))?;
    ensure!(sandbox.sh("grep -c 'job 17 failed' /run/jobs")?.trim().parse::<u32>()? >= 60, "it did not thrash");
    assert_eq!(sandbox.property("worker", "Result")?, "success", "systemd has nothing to say of it");

    guard.wait_held(WORKER, "operator_active", secs(10))?;
    let only_storage = || {
        let holds = guard.holds(WORKER)?;
        let holds_it = |hold: &str| holds.iter().any(|held| held == hold);
        Ok(holds_it("dependency_down") && !holds_it("operator_active"))
    };
    sandbox.wait_until("the stop to be respected no longer", secs(20), only_storage)?;
    let held = guard.held(WORKER, "dependency_down")?.unwrap_or_default();
    ensure!(held.contains(STORAGE), "{held}");
    sandbox.never("the worker ran without its storage", secs(10), || {
        Ok(runs(&sandbox)? || !opened(&guard, WORKER)?.is_empty())
    })?;

    // Nothing completes successfully meanwhile.
    assert_eq!(guard.run(&["trigger", "--wait", "1", WORKER])?.code(), Some(1));
    for line in [
        r#"hostward_watch_up{watch="service.worker"} 0"#,
        r#"hostward_watch_hold{hold="dependency_down",watch="service.worker"} 1"#,
    ] {
        ensure!(guard.has_metric(line)?, "{line}: {}", guard.metrics()?);
    }
    assert_eq!(guard.status()?["view"]["incidents_total"], 1, "the storage's, and no other");

    sandbox.sh("rm /run/storage/answer")?;
    wait_up(&guard)?;
    let (cause, effect) = (opened(&guard, STORAGE)?, opened(&guard, WORKER)?);
    assert_eq!((cause.len(), effect.len()), (1, 1), "one attempt at each: {cause:#?} {effect:#?}");
    let turned = guard.records("turned")?;
    let risen = turned.iter().rfind(|record| record["body"]["turned"]["target"] == "service.storage#storage.service");
    let risen = risen.context("the storage turned")?;
    assert_eq!(risen["body"]["turned"]["to"], "up");
    ensure!(seq(&effect[0])? > seq(risen)?, "started before its storage was seen to be well");
    sandbox.wait_until("both to be proved", secs(60), || Ok(guard.records("closed")?.len() == 2))?;
    let closed = guard.records("closed")?;
    ensure!(closed.iter().all(|record| record["body"]["closed"]["result"] == "proved"), "{closed:#?}");
    let jobs = sandbox.sh("wc -l </run/jobs")?;
    sandbox.wait_until("the job to progress", secs(10), || Ok(sandbox.sh("wc -l </run/jobs")? != jobs))?;
    ensure!(sandbox.sh("tail -n 1 /run/jobs")?.contains("progressed"));
    Ok(())
}

/// All is well with the storage, and the worker stops all the same: it is started, and not for ever.
#[test]
fn a_stop_that_nobody_explains_is_respected_for_a_while_and_the_starts_are_capped() -> Result<()> {
    let sandbox = Sandbox::boot("s7-caps")?;
    let (_storage, guard) = install(&sandbox)?;
    for start in 1..=3 {
        sandbox.sh("touch /run/worker-quits")?;
        let held = guard.wait_held(WORKER, "operator_active", secs(20))?;
        ensure!(held.starts_with("stopped by somebody"), "{held}");
        assert_eq!(opened(&guard, WORKER)?.len(), start - 1, "the stop is respected");
        sandbox.wait_until("the start to be proved", secs(30), || Ok(guard.records("closed")?.len() == start))?;
        wait_up(&guard)?;
    }
    sandbox.sh("touch /run/worker-quits")?;
    let held = guard.wait_held(WORKER, "target_cap", secs(20))?;
    ensure!(held.contains('3'), "{held}");
    let after = || Ok(!guard.holds(WORKER)?.iter().any(|hold| hold == "operator_active"));
    sandbox.wait_until("the stop to be respected no longer", secs(20), after)?;
    sandbox.never("a fourth start within the hour", secs(5), || runs(&sandbox))?;
    Ok(())
}
