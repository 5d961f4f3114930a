//! S7, whole: storage breaks under a worker that takes its job up again and again until it gives up. First the storage,
//! then one start.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox, repository};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WORKER_UNIT: &str = "[Service]\nExecStart=/opt/crawl/greedy\nTimeoutStopSec=5\n";
const WATCH: &str = r#"
[job.crawl]
interval      = "1s"
deadline      = "1s"
stalled_after = "1h"
worker        = "crawl-worker.service"
brakes = { cooldown = "1s", plateau = "2s", soak = "1s", per_hour = 1 }
metrics.compat = "fleet_crawl_auto_recover"
[job.crawl.provider]
run = ["/bin/cat", "/srv/list"]
[[job.crawl.progress]]
log   = "logs/*.log"
count = 'crawled=(\d+)'
[job.crawl.output]
write = "access"
"#;

fn config(storage: &str) -> String {
    format!("{}{WATCH}", storage.replace("hot-worker", "crawl-worker"))
}

/// The runs of one watch.
fn opened(guard: &Guard<'_>, watch: &str) -> Result<Vec<Value>> {
    let opened = guard.records("opened")?;
    Ok(opened.into_iter().filter(|record| record["body"]["opened"]["plan"]["watch"] == watch).collect())
}

#[test]
fn a_worker_that_gave_up_without_its_storage_is_started_once_that_is_back() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-storage")?;
    let hot = HotPaths::install(&sandbox)?;
    let program = fs::read(repository().join("tests/fixtures/jobs/greedy-worker")).context("read the fixture")?;
    sandbox.write("/opt/crawl/greedy", "0755", program)?;
    sandbox.write("/etc/systemd/system/crawl-worker.service", "0644", WORKER_UNIT)?;
    sandbox.sh("systemctl daemon-reload; systemctl start crawl-worker")?;
    let looks_on = HotPaths::config().replace("[storage.hot]", "[storage.hot]\nmode = \"observe\"");
    let guard = Guard::started(&sandbox, &config(&looks_on))?;
    for key in ["job/a", "worker"] {
        guard.wait_job(key, "up")?;
    }
    guard.wait_path("/srv/jobs/a", "up")?;

    hot.kill_base()?;
    guard.wait_job("job/a", "infrastructure")?;
    let said = guard.wait_job_held("job/a", "no_remedy")?;
    ensure!(said == "what it lies on is lost: that is no fault of the job's", "{said}");
    guard.wait_path("/srv/jobs/a", "stale")?;
    guard.wait_job("worker", "idle")?;
    ensure!(sandbox.read("/run/picks")?.trim() == "40", "it took its job up until it gave up");
    let held = guard.wait_job_held("worker", "dependency_down")?;
    ensure!(held == "/srv/jobs/a of storage.hot is lost", "{held}");
    for line in [
        "hostward_watch_condition{reason=\"idle\",watch=\"job.crawl\"} 1",
        "fleet_worker_active 0",
        "fleet_worker_should_be_running 1",
        "fleet_worker_auto_start_jobs_pending 1",
        "fleet_worker_auto_start_last_result{reason=\"held\",result=\"skip\"} 1",
    ] {
        ensure!(guard.has_metric(line)?, "{line} is not in\n{}", guard.metrics()?);
    }
    guard.never_acts(secs(4))?;

    guard.configure(&config(&HotPaths::config()))?;
    guard.run(&["reload"])?.ok()?;
    sandbox.wait_until("storage and worker to be remedied", secs(90), || Ok(guard.closings()?.len() == 2))?;
    ensure!(guard.closings()?.iter().all(|end| end == "proved"), "{:?}", guard.closings()?);
    for key in ["job/a", "worker"] {
        guard.wait_job(key, "up")?;
    }
    let progressed = || Ok(guard.job_target("job/a")?["job"]["rate"].as_f64().is_some_and(|rate| rate > 0.0));
    sandbox.wait_until("its job to progress", secs(20), progressed)?;
    ensure!(opened(&guard, "storage.hot")?.len() == 1, "the storage was repaired once");
    let starts = opened(&guard, "job.crawl")?;
    ensure!(starts.len() == 1 && starts[0]["body"]["opened"]["plan"]["rung"] == "start", "{starts:#?}");
    let turned = guard.records("turned")?;
    let back = turned.iter().rfind(|record| record["body"]["turned"]["target"] == "storage.hot#/srv/jobs/a");
    let back = back.context("the path turned")?;
    ensure!(back["body"]["turned"]["to"] == "up" && starts[0]["seq"].as_u64() > back["seq"].as_u64(), "too early");

    // It dies once more, of itself, within the hour.
    sandbox.sh("systemctl kill --signal=KILL crawl-worker; sed -i s/running/pending/ /srv/list")?;
    guard.wait_job("worker", "idle")?;
    guard.wait_job_held("worker", "target_cap")?;
    sandbox.never("a second start", secs(3), || Ok(opened(&guard, "job.crawl")?.len() > 1))
}

/// S2: its retries were burnt while nobody could write. That is no fault of its own, and it is taken up once it can work.
#[test]
fn a_job_that_failed_without_its_storage_is_taken_up_when_that_is_back() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-burnt")?;
    let hot = HotPaths::install(&sandbox)?;
    let retry = "#!/bin/sh\nexec sed -i '/\"id\": \"'$1'\"/s/failed/retryable/' /srv/list\n";
    sandbox.write("/opt/crawl/retry", "0755", retry)?;
    // One that failed before tells nothing of the storage.
    let list = |state: &str| {
        let job = |id: &str, state: &str| {
            format!("{{\"id\": \"{id}\", \"state\": \"{state}\", \"output\": \"/srv/jobs/{id}\"}}")
        };
        sandbox.write("/srv/list", "0644", format!("[{},\n{}]\n", job("a", state), job("b", "failed")))
    };
    list("running")?;
    let watch = WATCH.replace("worker        = \"crawl-worker.service\"\n", "")
        + "[job.crawl.remedy]\nretry = [\"/opt/crawl/retry\", \"{id}\"]\n";
    let config = |storage: &str| format!("{storage}{watch}");
    let looks_on = HotPaths::config().replace("[storage.hot]", "[storage.hot]\nmode = \"observe\"");
    let guard = Guard::started(&sandbox, &config(&looks_on))?;
    guard.wait_job("job/a", "up")?;

    hot.kill_base()?;
    guard.wait_job("job/a", "infrastructure")?;
    list("failed")?;
    guard.never_acts(secs(4))?;
    ensure!(guard.job_state("job/a")? == "infrastructure", "it would fail again");

    guard.configure(&config(&HotPaths::config()))?;
    guard.run(&["reload"])?.ok()?;
    sandbox.wait_until("storage and job to be remedied", secs(90), || Ok(guard.closings()?.len() == 2))?;
    ensure!(guard.closings()?.iter().all(|end| end == "proved"), "{:?}", guard.closings()?);
    let plans = guard.job_plans("job/a")?;
    ensure!(plans.len() == 1 && plans[0].0 == "retry", "{plans:?}");
    ensure!(sandbox.read("/srv/list")?.matches("failed").count() == 1, "and the other one is its owner's");
    Ok(())
}
