//! An undo that fails, and plans side by side.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Sandbox, Worker, worker_config};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "baseline.crunch";

/// A unit of the closure whose start fails is owed, tried again ever more slowly, and said, until it runs or an operator
/// says that it is no longer owed.
#[test]
fn what_cannot_be_started_again_is_stuck_until_an_operator_clears_it() -> Result<()> {
    let sandbox = Sandbox::boot("stuck")?;
    let worker = Worker::install(&sandbox, "crunch")?;
    let guard = Guard::install_with(&sandbox, &worker_config(&["crunch"]))?;
    let metric = |name: &str, is: u8| guard.has_metric(&format!("hostward_watch_{name}{{watch=\"{WATCH}\"}} {is}"));
    worker.hold_in_the_middle()?;
    worker.break_environment()?;
    sandbox.sh("systemctl start hostward")?;
    worker.wait_amid()?;
    worker.hook("crunch-needs-start", "echo no >&2; exit 1")?;
    worker.go_on()?;
    let others = ["crunch.service", "crunch-bound.service", "crunch-part.service"];
    sandbox.wait_until("the others to run", secs(60), || Ok(worker.active()? == others))?;
    sandbox.wait_until("the debt to be said to be stuck", secs(90), || metric("stuck", 1))?;
    // Only what does not run is said to be stopped.
    ensure!(metric("stopped_by_us", 1)?, "{}", guard.metrics()?);
    assert_eq!(guard.watch(WATCH)?["stopped_by_us"], serde_json::json!(["crunch-needs.service"]));
    ensure!(guard.in_ledger("returning")?.len() >= 2, "it was not tried again");
    ensure!(guard.in_ledger("closed")?.is_empty(), "closed, and something is owed");
    assert_eq!(worker.active()?, others, "what runs was stopped by the tries");
    let status = guard.run(&["status"])?.stdout;
    ensure!(status.contains("stuck"), "status says nothing of it:\n{status}");

    // What it touches is not touched by a new plan.
    worker.break_environment()?;
    guard.wait_reason(WATCH, "drift", secs(30))?;
    guard.wait_held(WATCH, "stuck", secs(20))?;
    ensure!(guard.run(&["explain", WATCH])?.stdout.contains("hostward clear"), "it does not say what to do");

    // It goes on being owed after a death.
    guard.kill_and_wait()?;
    sandbox.wait_until("the debt to be known after a crash", secs(20), || metric("stuck", 1))?;
    guard.run(&["clear", WATCH])?.ok()?;
    guard.wait_closed(secs(90))?;
    ensure!(metric("stuck", 0)? && metric("stopped_by_us", 0)?, "{}", guard.metrics()?);
    assert_eq!(guard.in_ledger("opened")?.len(), 1, "one attempt");
    guard.wait_no_transient()
}

/// Three environments, and two plans at once; the third waits for one of them.
#[test]
fn two_plans_that_touch_nothing_in_common_run_together_and_a_third_waits() -> Result<()> {
    let sandbox = Sandbox::boot("plans")?;
    let names = ["alpha", "beta", "gamma"];
    let mut workers = Vec::new();
    for name in names {
        let worker = Worker::install(&sandbox, name)?;
        worker.hold_in_the_middle()?;
        workers.push(worker);
    }
    let [alpha, beta, gamma] = workers.try_into().ok().context("three workers")?;
    let guard = Guard::install_with(&sandbox, &worker_config(&names))?;
    // The third falls first, and may not act: three that fall together would be a storm.
    guard.forbid("/etc/gamma-enabled")?;
    gamma.break_environment()?;
    sandbox.sh("systemctl start hostward")?;
    guard.wait_reason("baseline.gamma", "drift", secs(30))?;
    sandbox.wait_until("the fall of the third to be old", secs(60), || {
        let status = guard.status()?;
        let since = |value: &serde_json::Value| value["up"].as_u64().unwrap_or_default();
        let fell = &hostward_tests::find(&status, "baseline.gamma")["targets"][0]["since"];
        Ok(since(&status["view"]["at"]) > since(fell) + 31_000)
    })?;
    alpha.break_environment()?;
    beta.break_environment()?;
    alpha.wait_amid()?;
    beta.wait_amid()?;
    assert_eq!(guard.status()?["view"]["runs"].as_array().map(Vec::len), Some(2), "two at once");

    guard.permit("/etc/gamma-enabled")?;
    sandbox.wait_until("the third to be held by the two alone", secs(20), || {
        Ok(guard.holds("baseline.gamma")? == ["claimed"])
    })?;
    sandbox.never("a third plan beside two", secs(3), || Ok(guard.in_ledger("opened")?.len() > 2))?;
    assert_eq!(gamma.active()?, gamma.units(), "the third was touched");

    alpha.go_on()?;
    gamma.wait_amid()?;
    let ledger = guard.ledger()?;
    let at = |kind: &str, n: usize| {
        ledger.iter().enumerate().filter(|(_, record)| !record["body"][kind].is_null()).map(|(at, _)| at).nth(n)
    };
    ensure!(at("opened", 2) > at("closed", 0), "the third did not wait for an end: {ledger:#?}");
    beta.go_on()?;
    gamma.go_on()?;
    for worker in [alpha, beta, gamma] {
        worker.wait_all_active(secs(30))?;
    }
    sandbox.wait_until("all three to be closed", secs(60), || Ok(guard.in_ledger("closed")?.len() == 3))?;
    for closed in guard.in_ledger("closed")? {
        assert_eq!(closed["body"]["closed"]["result"], "proved");
    }
    guard.wait_no_transient()
}
