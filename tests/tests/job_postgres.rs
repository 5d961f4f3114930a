//! The job table of docs/usage/jobs.md: its very files, and a real PostgreSQL.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{CrawlTable, Guard, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Rows are read, and never written by who only looks, though its query asked for it; a retry marks one row alone.
#[test]
fn the_pages_table_is_read_only_until_a_retry_marks_one_row() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-postgres")?;
    let table = CrawlTable::install(&sandbox)?;
    for id in [1, 2] {
        table.start(id)?;
    }
    // Nobody runs it: its process is no process's.
    table.sql("insert into jobs values (3, 'news', 'crawling', now(), '/srv/crawl/3', 4194304)")?;
    table.sql("insert into jobs values (4, 'news', 'done', now(), '/srv/crawl/4', null)")?;
    let guard = Guard::started(&sandbox, &table.config("mode = \"observe\"")?)?;
    guard.wait_job("job/1", "up")?;
    sandbox.write("/srv/crawl/2/stall", "0644", "")?;
    let before = table.written()?;
    guard.wait_job("job/2", "stalled")?;
    guard.wait_job("job/3", "orphaned")?;
    ensure!(guard.job_state("job/4")? == "none", "what is done is not listed");
    ensure!(guard.job_target("job/1")?["job"]["group"] == "news");

    // A query that writes is refused by the page's own environment file.
    let list = sandbox.read("/etc/crawl/jobs.sql")?;
    sandbox.write("/etc/crawl/jobs.sql", "0644", "update jobs set state = 'done'")?;
    let said = guard.wait_job_unseen("provider")?;
    ensure!(said.contains("read-only transaction"), "{said}");
    sandbox.write("/etc/crawl/jobs.sql", "0644", list)?;
    guard.wait_job("provider", "up")?;
    for verb in ["plan", "check", "explain"] {
        ensure!(guard.run(&[verb, "job.crawl"])?.code().is_some_and(|code| code < 2), "{verb}");
    }
    ensure!(guard.records("opened")?.is_empty(), "it only observes");
    ensure!(table.written()? == before, "before: {before}\nafter: {}", table.written()?);

    // What stalls is well again, so that only one has anything wrong with it.
    sandbox.sh("rm /srv/crawl/2/stall")?;
    guard.wait_job("job/2", "up")?;
    let others = "select xmin, * from jobs where id <> 3 order by id";
    let untouched = table.sql(others)?;
    guard.configure(&table.config("")?)?;
    guard.run(&["reload"])?.ok()?;
    let ends = guard.wait_job_closed(1)?;
    ensure!(ends == ["proved"] && guard.job_plans("job/3")?[0].0 == "retry", "{ends:?}");
    table.wait_runs(3)?;
    ensure!(table.sql(others)? == untouched, "nobody else's row was touched");
    Ok(())
}

/// A database that is down says nothing of its jobs. They go on, and so does the watch once it is back.
#[test]
fn a_database_that_is_down_leaves_all_jobs_unknown_and_alone() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-postgres-down")?;
    let table = CrawlTable::install(&sandbox)?;
    for id in [1, 2] {
        table.start(id)?;
    }
    let guard = Guard::started(&sandbox, &table.config("")?)?;
    for key in ["job/1", "job/2", "worker", "provider"] {
        guard.wait_job(key, "up")?;
    }
    let worker = sandbox.property("crawl-worker.service", "InvocationID")?;
    sandbox.sh(&format!("systemctl stop {}", table.postgres.unit))?;
    for key in ["provider", "job/1", "job/2", "worker"] {
        let said = guard.wait_job_unseen(key)?;
        ensure!(said.contains("psql") && said.contains("exited with 2"), "{key}: {said}");
    }
    // Longer than what would be a stall, had it been seen.
    sandbox.write("/srv/crawl/2/stall", "0644", "")?;
    guard.never_acts(secs(6))?;

    sandbox.sh(&format!("rm /srv/crawl/2/stall; systemctl start {}", table.postgres.unit))?;
    guard.wait_job("provider", "up")?;
    sandbox.never("a stall was found of one that counts", secs(6), || {
        Ok(guard.job_state("job/1")? != "up" || guard.job_state("job/2")? != "up")
    })?;
    ensure!(guard.records("opened")?.is_empty(), "nobody was touched");
    ensure!(sandbox.property("crawl-worker.service", "InvocationID")? == worker);
    // It sees again.
    sandbox.write("/srv/crawl/1/stall", "0644", "")?;
    guard.wait_job("job/1", "stalled")?;
    Ok(())
}
