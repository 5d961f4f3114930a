//! Bad input: units, files, sentinels, textfiles and ports that are not what the configuration says. The daemon stays up, acts
//! on nothing that it does not know, and names the thing.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> String {
    Guard::quick_config(Reconcile::Pip)
}

#[test]
fn a_unit_that_does_not_exist_is_down_and_has_no_remedy() -> Result<()> {
    let sandbox = Sandbox::boot("no-unit")?;
    let guard = Guard::install_with(&sandbox, "[service.api]\nunit = \"nothing-here.service\"\n")?;
    sandbox.sh("systemctl start hostward")?;
    guard.wait_reason("service.api", "not_found", secs(10))?;
    guard.wait_held("service.api", "no_remedy", secs(5))?;
    assert_eq!(guard.watch("service.api")?["targets"][0]["plan"], serde_json::Value::Null);
    for verb in ["status", "check", "explain", "trigger"] {
        let name: &[&str] = if verb == "status" { &[] } else { &["service.api"] };
        assert_eq!(guard.run(&[&[verb], name].concat())?.code(), Some(1), "{verb}");
    }
    guard.never_acts(secs(2))
}

#[test]
fn what_cannot_be_read_is_unknown_and_named() -> Result<()> {
    let sandbox = Sandbox::boot("unknown")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    guard.start()?;
    let cases = [
        (format!("printf 'a==\\001(\\n' >{}", ExampleApp::LOCK), "requirements file", ExampleApp::LOCK),
        (format!("mv {0} {0}.away; touch {0}", ExampleApp::VENV), "environment", ExampleApp::VENV),
    ];
    for (spoil, noun, path) in cases {
        sandbox.sh(&spoil)?;
        // Two intervals without an answer make it so.
        sandbox.wait_until("the baseline to be unknown", secs(20), || {
            guard.has_metric(r#"hostward_watch_unknown{watch="baseline.app"} 1"#)
        })?;
        let explained = guard.run(&["explain", "baseline.app"])?;
        assert_eq!(explained.code(), Some(4), "{explained:?}");
        ensure!(explained.stdout.contains(noun) && explained.stdout.contains(path), "{}", explained.stdout);
        assert_eq!(guard.run(&["trigger", "baseline.app"])?.code(), Some(4));
        assert_eq!(guard.up("service.api")?, Some(true), "the service has nothing to do with it");
        sandbox.sh(&format!("[ ! -d {0}.away ] || {{ rm {0}; mv {0}.away {0}; }}", ExampleApp::VENV))?;
        app.revert()?;
        guard.wait_up()?;
    }
    ensure!(guard.records("opened")?.is_empty(), "acted on what is not known");
    Ok(())
}

#[test]
fn a_sentinel_that_is_no_file_of_roots_permits_nothing() -> Result<()> {
    let sandbox = Sandbox::boot("sentinel")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    let sentinel = Guard::DRIFT_SENTINEL;
    sandbox.sh(&format!("rm {sentinel}; mkdir {sentinel}"))?;
    guard.start()?;
    app.break_by_updating_code_without_install()?;
    guard.wait_reason("baseline.app", "drift", secs(30))?;
    // Each takes the place of the one before in one go: a sentinel that is right for a moment permits an act.
    let put = |make: &str| format!("{make}; mv --no-target-directory {sentinel}.new {sentinel}");
    let foreign = format!("install -m 0644 /dev/null {sentinel}.new; chown deploy {sentinel}.new");
    let is = [
        ("true".to_owned(), "is no regular file"),
        (format!("rmdir {sentinel}; ln -s {} {sentinel}", Guard::GLOBAL_SENTINEL), "is no regular file"),
        (put(&foreign), "is not root's alone"),
        (put(&format!("install -m 0666 /dev/null {sentinel}.new")), "is not root's alone"),
    ];
    for (make, reason) in is {
        sandbox.sh(&make)?;
        sandbox.wait_until(reason, secs(10), || {
            Ok(guard.held("baseline.app", "no_sentinel")? == Some(format!("{sentinel} {reason}")))
        })?;
        ensure!(guard.has_metric("healtharchive_drift_auto_reconcile_enabled 0")?, "{make}: {}", guard.metrics()?);
        guard.never_acts(secs(2))?;
    }
    sandbox.sh(&format!("chmod 0644 {sentinel}"))?;
    app.wait_healthy(2, secs(60))?;
    Ok(())
}

#[test]
fn a_textfile_that_cannot_be_written_is_said_and_harms_nothing() -> Result<()> {
    let sandbox = Sandbox::boot("textfile")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let config = config().replace(Guard::TEXTFILE, "/srv/metrics/hostward.prom");
    let guard = Guard::install_with(&sandbox, &config)?;
    let read_only = "mkdir /srv/metrics; mount -t tmpfs -o ro tmpfs /srv/metrics";
    for (spoil, error) in [("true", "No such file or directory"), (read_only, "Read-only file system")] {
        sandbox.sh(&format!("{spoil}; systemctl restart hostward"))?;
        guard.wait_up()?;
        sandbox.wait_until(error, secs(20), || {
            let problems = guard.status()?["health"]["problems"].to_string();
            Ok(problems.contains("/srv/metrics/hostward.prom") && problems.contains(error))
        })?;
        ensure!(guard.has_metric("hostward_textfile_ok 0")?, "{}", guard.metrics()?);
        ensure!(guard.run(&["status"])?.stdout.contains("metrics.textfile"), "status, for people");
    }
    let life = guard.life()?;
    sandbox.sh("mount -o remount,rw /srv/metrics")?;
    sandbox.wait_until("it to be written", secs(20), || {
        let written = sandbox.exec(["cat", "/srv/metrics/hostward.prom"])?.stdout;
        Ok(written.contains("hostward_build_info"))
    })?;
    assert_eq!(guard.life()?, life);
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_said_and_tried_again() -> Result<()> {
    let sandbox = Sandbox::boot("port")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    sandbox.sh("systemd-run --quiet --unit=squatter /usr/bin/python3 -m http.server --bind 127.0.0.1 9469")?;
    sandbox.wait_until("the port to be taken", secs(20), || {
        Ok(sandbox.exec(["curl", "--silent", "--head", "http://127.0.0.1:9469/"])?.status.success())
    })?;
    guard.start()?;
    let life = guard.life()?;
    let problems = || Ok::<_, anyhow::Error>(guard.status()?["health"]["problems"].to_string());
    let said = problems()?;
    ensure!(said.contains("metrics.listen = 127.0.0.1:9469") && said.contains("in use"), "{said}");
    sandbox.wait_until("the textfile", secs(20), || guard.has_in_textfile("hostward_textfile_ok 1"))?;
    sandbox.sh("systemctl stop squatter")?;
    sandbox.wait_until("it to listen", secs(50), || Ok(guard.metrics().is_ok()))?;
    assert_eq!(problems()?, "[]");
    assert_eq!(guard.life()?, life);
    Ok(())
}

#[test]
fn commands_that_do_not_use_the_lock_are_refused() -> Result<()> {
    let sandbox = Sandbox::boot("no-lock")?;
    let beside = config().replace("\"-r\",\"/opt/example/requirements.lock\"", "\"ratelimiting\"");
    let guard = Guard::install_with(&sandbox, &beside)?;
    let checked = guard.run(&["config", "check"])?;
    assert_eq!(checked.code(), Some(2), "{checked:?}");
    ensure!(checked.stderr.contains(ExampleApp::LOCK), "it does not name the lock: {}", checked.stderr);
    assert_eq!(guard.run(&["trigger", "baseline.app"])?.code(), Some(2), "nor does anything act by it");
    Ok(())
}

#[test]
fn a_watch_that_is_not_there_is_answered_with_those_that_are() -> Result<()> {
    let sandbox = Sandbox::boot("no-watch")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    for daemon in ["without", "with"] {
        for verb in ["check", "explain", "plan", "trigger", "enable", "disable"] {
            let output = guard.run(&[verb, "baseline.ap"])?;
            assert_eq!(output.code(), Some(2), "{verb}, {daemon} a daemon: {output:?}");
            let said = output.stderr;
            ensure!(said.contains("baseline.ap'") && said.contains("baseline.app, service.api"), "{verb}: {said}");
        }
        guard.start()?;
    }
    Ok(())
}
