//! P3, half a file: a configuration that does not load never replaces one that did, and everybody is told where it is wrong.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Reconcile, RestartSec, Sandbox};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> String {
    Guard::quick_config(Reconcile::Pip)
}

/// One key is misspelt; the place where, as errors name it.
fn misspelt() -> (String, String) {
    let config = config().replace("interval = ", "intervall = ");
    let line = 1 + config.lines().position(|line| line.starts_with("intervall")).expect("it was replaced");
    (config, format!("/etc/hostward/hostward.toml:{line}:1"))
}

const HELP: &str = "did you mean `interval`?";

#[test]
fn a_typo_leaves_the_old_policy_in_force_and_it_still_heals() -> Result<()> {
    let sandbox = Sandbox::boot("p3-typo")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    guard.start()?;
    let life = guard.life()?;
    ensure!(guard.has_metric("hostward_config_ok 1")?, "the configuration is good");
    let (broken, place) = misspelt();
    guard.configure(&broken)?;

    let refused = guard.run(&["reload"])?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    ensure!(refused.stderr.contains(&place) && refused.stderr.contains(HELP), "reload: {}", refused.stderr);
    let status = guard.status()?;
    let error = status["view"]["config_error"].as_str().unwrap_or_default();
    ensure!(error.contains(&place) && error.contains(HELP), "status: {error}");
    assert_eq!(status["view"]["observing_only"], false, "the one before is in force, and may act");
    ensure!(guard.run(&["status"])?.stdout.contains(&place), "status, for people");
    ensure!(guard.has_metric("hostward_config_ok 0")?, "{}", guard.metrics()?);
    sandbox.wait_until("the journal to name the place", secs(5), || {
        let journal = guard.journal()?;
        Ok(journal.contains(&place) && journal.contains(HELP))
    })?;

    app.break_by_updating_code_without_install()?;
    app.wait_healthy(2, secs(60))?;
    guard.wait_up()?;

    guard.configure(&config())?;
    guard.run(&["reload"])?.ok()?;
    ensure!(guard.has_metric("hostward_config_ok 1")?, "good again");
    assert_eq!(guard.status()?["view"]["config_error"], Value::Null);
    assert_eq!(guard.life()?, life, "the daemon lived through it all");
    Ok(())
}

#[test]
fn a_signal_reloads_as_the_verb_does() -> Result<()> {
    let sandbox = Sandbox::boot("p3-hup")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    guard.start()?;
    let life = guard.life()?;
    let good = config();
    // As caught in the middle of being written, at any place.
    for part in [1, 2, 3, 4] {
        guard.configure(&good[..good.len() * part / 5])?;
        sandbox.sh("systemctl kill --signal=HUP --kill-who=main hostward")?;
        sandbox.wait_until("what loads to load, and what does not to be refused", secs(5), || {
            let view = &guard.status()?["view"];
            let journal = guard.journal()?;
            let refused = journal.matches("configuration refused").count();
            let loaded = journal.matches("configuration loaded").count();
            Ok(refused + loaded == part && (view["config_error"] == Value::Null) == journal_ends_loaded(&journal))
        })?;
        ensure!(guard.watch("service.api")? != Value::Null, "half a file took the service's watch away");
    }
    guard.configure(&good)?;
    sandbox.sh("systemctl reload hostward")?;
    sandbox.wait_until("the whole file to load", secs(5), || guard.has_metric("hostward_config_ok 1"))?;
    guard.wait_up()?;
    assert_eq!(guard.life()?, life);
    Ok(())
}

fn journal_ends_loaded(journal: &str) -> bool {
    journal.rfind("configuration loaded") > journal.rfind("configuration refused")
}

#[test]
fn all_errors_are_shown_at_once() -> Result<()> {
    let sandbox = Sandbox::boot("p3-check")?;
    let guard = Guard::install_with(&sandbox, &config())?;
    let checked = guard.run(&["config", "check"])?;
    assert_eq!(checked.code(), Some(0), "{checked:?}");
    let (broken, place) = misspelt();
    let broken = broken.replace("every = \"2s\"", "every = 2").replace("\"reconcile:app\"", "\"reconcile:ap\"");
    guard.configure(&broken)?;
    let checked = guard.run(&["config", "check"])?;
    assert_eq!(checked.code(), Some(2));
    assert_eq!(checked.stderr.matches("error: ").count(), 3, "{}", checked.stderr);
    ensure!(checked.stderr.contains(&place) && checked.stderr.contains(HELP), "{}", checked.stderr);

    let json = guard.json(&["config", "check"])?;
    assert_eq!(json["ok"], false);
    let errors = json["errors"].as_array().cloned().unwrap_or_default();
    assert_eq!(errors.len(), 3, "{json:#}");
    for error in &errors {
        let placed = error["line"].as_u64() > Some(0) && error["column"].as_u64() > Some(0);
        ensure!(placed && error["help"].is_string() && error["file"] == "/etc/hostward/hostward.toml", "{error:#}");
    }
    Ok(())
}

#[test]
fn started_with_a_broken_configuration_the_last_good_one_observes() -> Result<()> {
    let sandbox = Sandbox::boot("p3-start")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    guard.start()?;
    let (broken, place) = misspelt();
    guard.configure(&broken)?;
    sandbox.sh("systemctl restart hostward")?;
    guard.wait_up()?;
    let view = &guard.status()?["view"];
    assert_eq!(view["observing_only"], true);
    ensure!(view["config_error"].as_str().is_some_and(|error| error.contains(&place)), "{view:#}");
    ensure!(guard.run(&["status"])?.stdout.contains("only observes"), "status says so to people");
    ensure!(guard.has_metric("hostward_config_ok 0")?, "{}", guard.metrics()?);

    app.break_by_updating_code_without_install()?;
    guard.wait_reason("service.api", "crash_looping", secs(20))?;
    guard.wait_reason("baseline.app", "drift", secs(10))?;
    guard.wait_held("baseline.app", "observe_only", secs(5))?;
    guard.never_acts(secs(5))?;

    guard.configure(&config())?;
    guard.run(&["reload"])?.ok()?;
    app.wait_healthy(2, secs(60))?;
    assert_eq!(guard.status()?["view"]["observing_only"], false);
    Ok(())
}

#[test]
fn without_a_configuration_it_is_up_and_idle_until_there_is_one() -> Result<()> {
    let sandbox = Sandbox::boot("p3-none")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install_with(&sandbox, &config())?;
    sandbox.sh("rm /etc/hostward/hostward.toml; systemctl start hostward")?;
    let life = guard.life()?;
    let idle = guard.status()?["idle"].as_str().map(str::to_owned).unwrap_or_default();
    ensure!(idle.contains("/etc/hostward/hostward.toml") && idle.contains("hostward init"), "idle: {idle}");
    ensure!(sandbox.property("hostward", "StatusText")?.starts_with("idle"), "systemctl status says so, too");

    // None was ever good: a broken one changes nothing but what is said.
    let (broken, place) = misspelt();
    guard.configure(&broken)?;
    sandbox.sh("systemctl kill --signal=HUP --kill-who=main hostward")?;
    sandbox.wait_until("the refusal", secs(5), || Ok(guard.run(&["status"])?.stdout.contains(&place)))?;

    guard.configure(&config())?;
    guard.run(&["reload"])?.ok()?;
    guard.wait_up()?;
    assert_eq!(guard.status()?["idle"], Value::Null);
    assert_eq!(guard.life()?, life);
    Ok(())
}
