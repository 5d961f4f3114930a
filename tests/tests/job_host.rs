//! What of jobs only a real systemd, and a mount that really hangs, can show.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{BootOptions, Guard, HotPaths, QUICK_HOST, Sandbox};
use serde_json::{Value, json};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn boot(name: &str) -> Result<Sandbox> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_powers"));
    let binds = vec![(program, PathBuf::from("/usr/local/bin/powers"))];
    Sandbox::boot_with(name, &BootOptions { binds, ..BootOptions::default() })
}

fn power(sandbox: &Sandbox, words: &str) -> Result<Value> {
    let printed = sandbox.exec(["powers"].into_iter().chain(words.split_whitespace()))?.ok()?;
    serde_json::from_str(&printed).with_context(|| format!("read what `powers {words}` printed: {printed}"))
}

/// One look; its readings of jobs, and all of it. Into files: a child that hangs keeps what it was given open.
fn look(sandbox: &Sandbox, question: &Value) -> Result<Value> {
    sandbox.write("/run/question", "0644", json!([question]).to_string())?;
    // As a unit, below systemd's own root of control groups, as a daemon sees them.
    let look = "powers jobs /run/question >/run/answer 2>/run/errors";
    sandbox.sh(&format!("systemd-run --quiet --wait --collect --property=KillMode=process sh -c '{look}'"))?;
    let answer = sandbox.read("/run/answer")?;
    let answers: Value = serde_json::from_str(&answer).with_context(|| format!("read the answer '{answer}'"))?;
    let reading = answers.pointer("/0/Ok/jobs").with_context(|| format!("a reading: {answers}"))?;
    Ok(reading.clone())
}

/// A question about jobs that `/run/list` lists.
fn question(changes: &Value) -> Value {
    let mut question = json!({
        "from": {"command": {"run": ["/bin/cat", "/run/list"], "user": null, "env": null, "timeout": 5000}},
        "words": {}, "progress": [], "runner": {"unit": null, "lock": null, "argument": null},
        "output": null, "worker": null, "disk": null, "answer": 2000,
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        question[name] = value.clone();
    }
    question
}

#[test]
fn a_job_that_was_started_outlives_the_daemon_and_its_next_start() -> Result<()> {
    let sandbox = boot("launch")?;
    sandbox.write("/etc/crawl.env", "0600", "WHAT=the-web\n")?;
    sandbox.write(
        "/usr/local/bin/crawl",
        "0755",
        "#!/bin/sh\necho $(id -un) $WHAT $LC_ALL >/run/crawl/said\nexec sleep 1000\n",
    )?;
    sandbox.sh("mkdir -m 0777 /run/crawl")?;
    let launch = "launch hostward-job-crawl-7.service nobody /etc/crawl.env /usr/local/bin/crawl";
    assert_eq!(power(&sandbox, launch)?, "ok");
    sandbox.wait_until("it to say who it is", secs(20), || Ok(!sandbox.read("/run/crawl/said")?.is_empty()))?;
    assert_eq!(sandbox.read("/run/crawl/said")?.trim(), "nobody the-web C");
    let pid = || sandbox.property("hostward-job-crawl-7.service", "MainPID");
    let first = pid()?;
    assert_eq!(power(&sandbox, launch)?, "ok", "it was begun before");
    assert_eq!(pid()?, first, "and is not begun again");

    // A daemon that starts ends steps that nobody knows of any more; a job is no step.
    let guard = Guard::install_with(&sandbox, QUICK_HOST)?;
    sandbox.sh("systemctl start hostward")?;
    let life = guard.life()?;
    sandbox.sh("systemctl kill --signal=KILL hostward")?;
    sandbox.wait_until("the daemon to be back", secs(60), || {
        Ok(guard.life().is_ok_and(|now| now != life) && sandbox.property("hostward", "ActiveState")? == "active")
    })?;
    sandbox.sh("hostward status")?;
    assert_eq!(pid()?, first);

    // After a reload systemd still knows what it runs.
    sandbox.sh("systemctl daemon-reload; systemctl restart hostward-job-crawl-7")?;
    ensure!(pid()? != first && pid()? != "0", "it was restarted");

    // One that ends is forgotten, however it ended, so that its name is free.
    sandbox.sh("systemctl kill --signal=KILL hostward-job-crawl-7")?;
    let state = || sandbox.property("hostward-job-crawl-7.service", "LoadState");
    sandbox.wait_until("systemd to forget it", secs(20), || Ok(state()? == "not-found"))?;
    let failed = power(&sandbox, "launch hostward-job-none.service - - /nonexistent/crawl")?;
    ensure!(failed.as_str().is_some_and(|said| said.starts_with("failed: ")), "{failed}");
    let env = power(&sandbox, "launch hostward-job-env.service - /nonexistent/env /bin/true")?;
    ensure!(env.as_str().is_some_and(|said| said.starts_with("failed: ")), "{env}");
    let other = power(&sandbox, "launch nginx.service - - /bin/true")?;
    ensure!(other.as_str().is_some_and(|said| said.contains("no name of a job's")), "{other}");
    Ok(())
}

#[test]
fn units_that_are_jobs_say_how_far_they_have_come_and_what_stops_with_them() -> Result<()> {
    let sandbox = boot("job-units")?;
    let crawl = "[Service]\nType=notify\nNotifyAccess=all\n\
        ExecStart=/bin/bash -c 'systemd-notify --ready --status=\"done 41 pages\"; exec flock /run/lock-%i sleep 1000'\n";
    sandbox.write("/etc/systemd/system/crawl@.service", "0644", crawl)?;
    let failing = "[Service]\nExecStart=/bin/false\n";
    sandbox.write("/etc/systemd/system/crawl@bad.service", "0644", failing)?;
    let reader = "[Unit]\nBindsTo=crawl@a.service\n[Service]\nExecStart=sleep 1000\n";
    sandbox.write("/etc/systemd/system/reader.service", "0644", reader)?;
    sandbox.sh(
        "systemctl daemon-reload; systemctl start crawl@a reader crawl@bad crawl@over; systemctl stop crawl@over",
    )?;
    sandbox.wait_until("the lock to be held", secs(20), || {
        Ok(!sandbox.exec(["flock", "--nonblock", "/run/lock-a", "true"])?.status.success())
    })?;
    let asked = question(&json!({
        "from": {"units": "crawl@*.service"},
        "progress": [{"status": {"count": "done (\\d+) pages"}}],
        "runner": {"unit": null, "lock": "/run/lock-{id}", "argument": null},
        "worker": "reader.service",
    }));
    let reading = look(&sandbox, &asked)?;
    let states: Vec<(&str, &str)> = reading["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|job| Some((job["id"].as_str()?, job["state"].as_str()?)))
        .collect();
    assert_eq!(states, [("a", "running"), ("bad", "failed")]);
    let job = &reading["jobs"][0];
    assert_eq!(job["progress"][0]["count"]["count"], 41, "{job}");
    assert_eq!(job["runner"]["unit"][0], "crawl@a.service");
    assert_eq!(job["runner"]["unit"][1]["Ok"]["active"], "active", "{job}");
    assert_eq!(job["runner"]["holder"]["unit"], "crawl@a.service", "{job}");
    assert_eq!(reading["worker"]["Ok"]["active"], "active");
    let closures = reading["closures"].as_array().context("closures")?;
    assert_eq!(closures[0][0], "reader.service");
    assert_eq!(closures[1], json!(["crawl@a.service", closures[1][1]]));
    assert_eq!(closures[1][1]["Ok"]["members"], json!(["reader.service"]));
    Ok(())
}

#[test]
fn what_a_job_spends_is_told_where_systemd_accounts_for_it() -> Result<()> {
    let sandbox = boot("job-effort")?;
    let crawl = "[Service]\nExecStart=/bin/bash -c 'while [ -e /run/work ]; do :; done; exec sleep 1000'\n";
    sandbox.write("/etc/systemd/system/crawl@.service", "0644", crawl)?;
    sandbox.sh("touch /run/work; systemctl daemon-reload; systemctl start crawl@a")?;
    let asked = question(&json!({
        "from": {"units": "crawl@*.service"},
        "progress": [{"effort": "cpu"}, {"effort": "io"}],
    }));
    let spent = || {
        let reading = look(&sandbox, &asked)?;
        let progress = &reading["jobs"][0]["progress"];
        progress[0]["effort"].as_u64().with_context(|| format!("what it spent: {reading}"))
    };
    let first = spent()?;
    sandbox.wait_until("it to have computed", secs(20), || Ok(spent()? > first + 100))?;
    sandbox.sh("rm /run/work")?;
    sandbox.wait_until("it to rest", secs(20), || {
        let rests = spent()?;
        Ok(spent()? == rests)
    })?;
    Ok(())
}

/// The log of one lies on a mount whose server was stopped.
#[test]
fn a_log_on_a_mount_that_hangs_keeps_nobody_elses_from_being_read() -> Result<()> {
    let sandbox = boot("job-hung")?;
    let hot = HotPaths::install(&sandbox)?;
    sandbox.sh("mkdir -p /srv/near; echo done 5 >/srv/near/1.log; echo done 6 >/srv/jobs/a/1.log")?;
    let list = json!([
        {"id": "far", "state": "running", "output": "/srv/jobs/a"},
        {"id": "near", "state": "running", "output": "/srv/near"},
    ]);
    sandbox.write("/run/list", "0644", list.to_string())?;
    let asked = question(&json!({
        "progress": [{"log": {"files": "*.log", "count": "done (\\d+)"}}],
        "runner": {"unit": null, "lock": ".lock", "argument": null},
        "output": {"user": null, "write": "never"},
        "disk": "/srv/near",
    }));
    let reading = look(&sandbox, &asked)?;
    let count = |reading: &Value, job: usize| reading["jobs"][job]["progress"][0]["count"]["count"].clone();
    assert_eq!((count(&reading, 0), count(&reading, 1)), (json!(6), json!(5)), "{reading}");
    assert_eq!(reading["jobs"][0]["runner"]["lock"], "free", "{reading}");

    hot.signal_server("STOP")?;
    let reading = look(&sandbox, &asked)?;
    assert_eq!(reading["jobs"][0]["progress"][0], "stuck", "{reading}");
    ensure!(reading["jobs"][0]["look"]["stuck"].is_object(), "{reading}");
    let lock = &reading["jobs"][0]["runner"]["lock"]["unreadable"];
    ensure!(lock.as_str().is_some_and(|why| why.contains("hangs")), "nobody knows: {reading}");
    assert_eq!(count(&reading, 1), 5, "{reading}");
    ensure!(reading["disk"]["answered"].is_object(), "{reading}");

    hot.signal_server("CONT")?;
    sandbox.wait_until("it to be read again", secs(60), || Ok(count(&look(&sandbox, &asked)?, 0) == json!(6)))?;
    Ok(())
}
