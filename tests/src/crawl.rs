//! The job table of docs/usage/jobs.md in a real PostgreSQL, exactly as the page has it, and a worker for it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::page::Page;
use crate::tiny::QUICK_HOST;
use crate::{Postgres, Sandbox, repository};

#[derive(Debug)]
pub struct CrawlTable<'a> {
    sandbox: &'a Sandbox,
    pub postgres: Postgres<'a>,
    /// The page's `[job.crawl]`.
    watch: String,
}

const WORKER_UNIT: &str = "[Service]\nUser=crawl\nExecStart=/opt/crawl/worker\nTimeoutStopSec=5\n";
/// Types that the page's query takes for granted.
const TABLE: &str = "create table jobs
    (id bigint primary key, kind text, state text, started_at timestamptz, output_dir text, pid int)";
const QUICK: &str = r#"
interval      = "1s"
stalled_after = "4s"
brakes = { cooldown = "1s", plateau = "2s", soak = "1s", per_hour = 48, per_day = 48 }
"#;
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

impl<'a> CrawlTable<'a> {
    /// A cluster with the table, the page's files, and a worker at work.
    pub fn install(sandbox: &'a Sandbox) -> Result<CrawlTable<'a>> {
        let page = Page::read("docs/usage/jobs.md")?;
        let below = |language| page.blocks("### PostgreSQL", language);
        let (sql, toml, text) = (below("sql")?, below("toml")?, below("text")?);
        let ([list, retry], [watch], [env]) = (&sql[..], &toml[..], &text[..]) else {
            anyhow::bail!("the page's blocks: {sql:?} {toml:?} {text:?}");
        };
        let source = repository().join("tests/fixtures/jobs/crawl-worker");
        let worker = fs::read(&source).with_context(|| format!("read '{}'", source.display()))?;
        sandbox.write("/opt/crawl/worker", "0755", worker)?;
        sandbox.write("/etc/systemd/system/crawl-worker.service", "0644", WORKER_UNIT)?;
        sandbox.write("/etc/crawl/jobs.sql", "0644", list)?;
        sandbox.write("/etc/crawl/retry.sql", "0644", retry)?;
        sandbox.write("/etc/crawl/psql.env", "0600", env)?;
        sandbox.sh("useradd --system crawl; mkdir -p /srv/crawl; chown crawl: /srv/crawl")?;
        let postgres = Postgres::install(sandbox)?;
        let table = CrawlTable { sandbox, postgres, watch: watch.clone() };
        table
            .sandbox
            .sh("runuser -u postgres -- createuser crawl; runuser -u postgres -- createdb --owner=crawl crawl")?;
        table.sql(TABLE)?;
        sandbox.sh("systemctl daemon-reload; systemctl start crawl-worker")?;
        Ok(table)
    }

    /// The page's watch, only quicker; `more` are further keys of `[job.crawl]`.
    pub fn config(&self, more: &str) -> Result<String> {
        let table = "[job.crawl]\n";
        ensure!(self.watch.contains(table), "the page's block: {}", self.watch);
        Ok(QUICK_HOST.to_owned() + &self.watch.replacen(table, &format!("{table}{more}{QUICK}"), 1))
    }

    /// As the owner of the table.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let psql =
            ["runuser", "-u", "crawl", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "crawl", "-c", sql];
        Ok(self.sandbox.exec(psql)?.ok()?.trim().to_owned())
    }

    /// A job that the worker runs, and that counts.
    pub fn start(&self, id: u32) -> Result<()> {
        self.sql(&format!("insert into jobs values ({id}, 'news', 'queued', null, '/srv/crawl/{id}', null)"))?;
        self.wait_runs(id)
    }

    pub fn wait_runs(&self, id: u32) -> Result<()> {
        let counts = format!("cat /srv/crawl/{id}/logs/$(cat /run/pid).log");
        self.sandbox.wait_until(&format!("the worker to run job {id}"), TAKEN_UP_WITHIN, || {
            let pid = self.sql(&format!("select pid from jobs where id = {id} and state = 'crawling'"))?;
            self.sandbox.write("/run/pid", "0644", pid)?;
            Ok(self.sandbox.exec(["sh", "-c", &counts])?.stdout.contains("crawled="))
        })?;
        Ok(())
    }

    /// Every row, where it lies, and which transaction wrote it; and all that was ever written.
    pub fn written(&self) -> Result<String> {
        let rows = self.sql("select xmin, ctid, * from jobs order by id")?;
        let sums = self.sql(
            "select pg_stat_clear_snapshot(); select n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables
             where relname = 'jobs'",
        )?;
        Ok(format!("{rows}\n{sums}"))
    }
}
