//! An operator's word: pause, resume, apply. It outlives the daemon, and it is heard without one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Sandbox, Worker, worker_config};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "baseline.crunch";
const USAGE: Option<i32> = Some(2);
const REFUSED: Option<i32> = Some(5);

fn install<'a>(sandbox: &'a Sandbox, mode: &str) -> Result<(Guard<'a>, Worker<'a>)> {
    let worker = Worker::install(sandbox, "crunch")?;
    let config = worker_config(&["crunch"]).replace("mode     = \"act\"", &format!("mode     = \"{mode}\""));
    let config = config.replace("brakes.soak = \"500ms\"", "brakes = { soak = \"500ms\", cooldown = \"100ms\" }");
    let guard = Guard::install_with(sandbox, &config)?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("the watch to be up", secs(20), || Ok(guard.up(WATCH)? == Some(true)))?;
    Ok((guard, worker))
}

#[test]
fn a_pause_outlives_restart_and_crash_and_ends_by_itself() -> Result<()> {
    let sandbox = Sandbox::boot("pause")?;
    let (guard, worker) = install(&sandbox, "act")?;
    let paused = |is: u8| guard.has_metric(&format!("hostward_watch_paused{{watch=\"{WATCH}\"}} {is}"));
    let held = || Ok(guard.held(WATCH, "maintenance")?.is_some_and(|held| held.contains("moving the database")));
    ensure!(paused(0)?, "{}", guard.metrics()?);
    let endless = guard.run(&["pause", WATCH, "--for", "31d", "--reason", "for ever"])?;
    ensure!(!endless.status.success(), "a pause without an end: {endless:?}");
    guard.run(&["pause", WATCH, "--for", "2h", "--reason", "moving the database"])?.ok()?;
    ensure!(paused(1)?, "{}", guard.metrics()?);

    worker.break_environment()?;
    guard.wait_held(WATCH, "maintenance", secs(20))?;
    ensure!(
        guard.has_metric(&format!("hostward_watch_hold{{watch=\"{WATCH}\",hold=\"maintenance\"}} 1"))?
            || guard.has_metric(&format!("hostward_watch_hold{{hold=\"maintenance\",watch=\"{WATCH}\"}} 1"))?,
        "{}",
        guard.metrics()?
    );
    guard.never_acts(secs(2))?;
    guard.kill_and_wait()?;
    sandbox.wait_until("the pause to be known after a crash", secs(10), held)?;
    sandbox.sh("systemctl restart hostward")?;
    sandbox.wait_until("the pause to be known after a restart", secs(10), held)?;
    for verb in [&["explain", WATCH][..], &["status"]] {
        let said = guard.run(verb)?.stdout;
        // `status` names one hold, and right after a start that may be another; the pause itself is in its head.
        ensure!(said.contains("moving the database"), "{verb:?} says nothing of it:\n{said}");
    }
    guard.never_acts(secs(2))?;

    // With the daemon dead it is still said, and an operator is still heard.
    sandbox.sh("systemctl stop hostward")?;
    let dead = guard.run(&["explain", WATCH])?.stdout;
    ensure!(dead.contains("moving the database"), "without a daemon: {dead}");
    guard.run(&["resume", WATCH])?.ok()?;
    guard.run(&["pause", "--all", "--for", "5s", "--reason", "a short one"])?.ok()?;
    sandbox.sh("systemctl start hostward")?;
    worker.wait_all_active(secs(30))?;
    guard.wait_closed(secs(60))?;
    ensure!(worker.whole()?, "it was not healed after the pause");
    let stamp = |kind: &str| -> Result<u64> {
        let record = guard.in_ledger(kind)?.pop().with_context(|| format!("no record '{kind}'"))?;
        record["at"]["up"].as_u64().context("a stamp")
    };
    ensure!(stamp("opened")? >= stamp("paused")? + 5_000, "it acted before the pause was over");
    assert_eq!(guard.in_ledger("resumed")?.len(), 1, "the second pause ended by itself");

    guard.run(&["pause", "--all", "--for", "2h", "--reason", "all of it"])?.ok()?;
    ensure!(paused(1)?, "{}", guard.metrics()?);
    guard.run(&["resume", "--all"])?.ok()?;
    ensure!(paused(0)?, "{}", guard.metrics()?);
    Ok(())
}

/// The plan that is proposed, once nothing but leave is missing.
fn proposed(sandbox: &Sandbox, guard: &Guard) -> Result<String> {
    sandbox.wait_for("a plan that only leave holds", secs(30), || {
        let target = guard.watch(WATCH)?["targets"][0].clone();
        let only = guard.holds(WATCH)? == ["propose_only"];
        Ok(target["plan"][0].as_str().filter(|_| only).map(str::to_owned))
    })
}

#[test]
fn apply_carries_out_the_very_plan_that_was_shown() -> Result<()> {
    let sandbox = Sandbox::boot("apply")?;
    let (guard, worker) = install(&sandbox, "propose")?;
    worker.break_environment()?;
    let plan = proposed(&sandbox, &guard)?;
    guard.never_acts(secs(2))?;

    let wrong = guard.run(&["apply", "000000000000"])?;
    assert_eq!(wrong.code(), USAGE, "{wrong:?}");
    ensure!(wrong.stdout.contains(&plan), "it does not name what is proposed: {wrong:?}");

    guard.forbid("/etc/crunch-enabled")?;
    let held = guard.run(&["apply", &plan])?;
    assert_eq!(held.code(), REFUSED, "{held:?}");
    ensure!(held.stdout.contains("no_sentinel"), "{held:?}");
    guard.permit("/etc/crunch-enabled")?;

    sandbox.sh("echo '# another line' >>/opt/crunch/requirements.lock")?;
    sandbox.wait_until("another plan to be proposed", secs(20), || Ok(proposed(&sandbox, &guard)? != plan))?;
    let moved = guard.run(&["apply", &plan])?;
    assert_eq!(moved.code(), REFUSED, "{moved:?}");
    ensure!(moved.stdout.contains("lock was"), "it does not say which fact moved: {moved:?}");
    ensure!(guard.records("opened")?.is_empty(), "it acted all the same");

    let plan = proposed(&sandbox, &guard)?;
    let applied = guard.run(&["apply", &plan])?;
    assert_eq!(applied.code(), Some(0), "{applied:?}");
    ensure!(applied.stdout.contains("proved"), "{applied:?}");
    ensure!(worker.whole()?, "proved, and the environment is not whole");
    worker.wait_all_active(secs(5))?;
    let opened = guard.records("opened")?;
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["body"]["opened"]["origin"], "apply");
    guard.wait_no_transient()
}

#[test]
fn apply_works_without_a_daemon() -> Result<()> {
    let sandbox = Sandbox::boot("apply-dead")?;
    let (guard, worker) = install(&sandbox, "propose")?;
    worker.break_environment()?;
    let plan = proposed(&sandbox, &guard)?;
    sandbox.sh("systemctl stop hostward")?;
    let wrong = guard.run(&["apply", "000000000000"])?;
    assert_eq!(wrong.code(), USAGE, "{wrong:?}");
    ensure!(wrong.stdout.contains(&plan), "it does not name what is proposed: {wrong:?}");
    guard.forbid("/etc/crunch-enabled")?;
    let held = guard.run(&["apply", &plan])?;
    assert_eq!(held.code(), REFUSED, "{held:?}");
    ensure!(held.stdout.contains("no_sentinel"), "{held:?}");
    guard.permit("/etc/crunch-enabled")?;
    let applied = guard.run(&["apply", &plan])?;
    assert_eq!(applied.code(), Some(0), "{applied:?}");
    ensure!(worker.whole()?, "proved, and the environment is not whole");
    worker.wait_all_active(secs(5))?;
    assert_eq!(guard.in_ledger("opened")?.len(), 1);
    guard.wait_no_transient()
}
