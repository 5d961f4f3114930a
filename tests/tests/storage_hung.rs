//! D6: a mount that hangs for ten minutes costs one child, and nobody else anything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, QUICK_HOST, Sandbox, Tiny, span};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const STORAGE: &str = "storage.hot";
const API: &str = "service.api";
const GROWTH_MAX_KIB: u64 = 2048;
/// Looks at the API between two looks at the daemon.
const ROUND: u64 = 5;
/// Threads that wait for files go when they have been idle for a while, and two may be needed at once at any moment.
const THREADS_SPARE: usize = 2;

/// What a child that is never reaped, or a look that never ends, would take each time.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    resident_kib: u64,
}

impl Held {
    fn read(guard: &Guard<'_>) -> Result<Self> {
        let pid = guard.life()?.0;
        let count = |dir: &str| -> Result<usize> {
            let count = guard.sandbox().sh(&format!("ls /proc/{pid}/{dir} | wc -l"))?;
            count.trim().parse().with_context(|| format!("count '{count}' of {dir}"))
        };
        Ok(Self { descriptors: count("fd")?, threads: count("task")?, resident_kib: guard.resident_kib()? })
    }

    /// Once what is under way at one moment only has ended: no more than `before`.
    fn wait_no_more(guard: &Guard<'_>, before: Self) -> Result<Self> {
        let mut now = before;
        let found = guard.sandbox().wait_until("no descriptor and no thread more than before", secs(60), || {
            now = Self::read(guard)?;
            Ok(now.descriptors <= before.descriptors && now.threads <= before.threads + THREADS_SPARE)
        });
        found.with_context(|| format!("{before:?} before, {now:?} now"))?;
        let limit = before.resident_kib + GROWTH_MAX_KIB;
        ensure!(now.resident_kib < limit, "it grew: {before:?} before, {now:?} now");
        Ok(now)
    }
}

/// Children that look at paths, whatever becomes of them.
fn lookers(sandbox: &Sandbox) -> Result<usize> {
    let found = sandbox.exec(["pgrep", "--count", "--exact", "--full", "/proc/self/exe __look"])?;
    found.stdout.trim().parse().context("count children")
}

/// How many questions of a watch were answered, as a scrape tells it.
fn answered(guard: &Guard<'_>, watch: &str) -> Result<u64> {
    let prefix = format!("hostward_probe_duration_seconds_count{{watch=\"{watch}\"}} ");
    let metrics = guard.metrics()?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix)).context("no such metric")?;
    value.parse().with_context(|| format!("read '{value}'"))
}

/// As long as it hangs the loop turns, the scrape answers, the others are looked at, and one child is out.
fn hangs(guard: &Guard<'_>, length: Duration) -> Result<()> {
    let began = Instant::now();
    let mut last = answered(guard, API)?;
    while began.elapsed() < length {
        guard.sandbox().wait_until("looks at the API", secs(60), || Ok(answered(guard, API)? >= last + ROUND))?;
        last = answered(guard, API)?;
        let children = lookers(guard.sandbox())?;
        ensure!(children == 1, "{children} children hang");
    }
    Ok(())
}

#[test]
fn a_server_that_is_stopped_hangs_one_child_and_nobody_else() -> Result<()> {
    let sandbox = Sandbox::boot("d6")?;
    let hot = HotPaths::install(&sandbox)?;
    let api = Tiny::install(&sandbox, "api", 8101, "", "")?;
    let config = format!("{QUICK_HOST}{}{}", HotPaths::LOOKING_ON, api.config(""));
    let guard = Guard::install_with(&sandbox, &config)?;
    sandbox.sh("systemctl start hostward")?;
    guard.wait_path("/srv/jobs/a", "up")?;
    sandbox.wait_until("the API to be up", secs(30), || Ok(guard.up(API)? == Some(true)))?;
    let life = guard.life()?;
    // What each path allocates once is allocated before the count begins.
    let warm = answered(&guard, STORAGE)? + 20;
    sandbox.wait_until("looks at the paths", secs(120), || Ok(answered(&guard, STORAGE)? >= warm))?;
    let before = Held::read(&guard)?;

    hot.signal_server("STOP")?;
    guard.wait_path("/srv/box", "hung")?;
    guard.wait_path("/srv/jobs/a", "hung")?;
    let said = guard.path_detail("/srv/jobs/a")?;
    ensure!(said.contains("no answer") && said.contains("wait for its server"), "{said}");
    ensure!(guard.has_metric("hostward_probes_hung 1")?, "{}", guard.metrics()?);
    hangs(&guard, secs(15))?;
    let (stuck, looks) = (Held::read(&guard)?, [API, STORAGE].map(|watch| answered(&guard, watch)));
    let length = span(secs(105), secs(585));
    hangs(&guard, length)?;
    // Each of them each second; half of that on a busy machine. "Still stuck" is an answer.
    for (watch, looks) in [API, STORAGE].into_iter().zip(looks) {
        let more = answered(&guard, watch)? - looks?;
        ensure!(more >= length.as_secs() / 2, "{more} looks at {watch} in {length:?}");
    }
    let worn = Held::wait_no_more(&guard, stuck)?;
    eprintln!("{before:?} before, {stuck:?} after 15 s, {worn:?} after {length:?} more");
    api.signal("KILL")?;
    sandbox.wait_until("the API to be restarted", secs(60), || Ok(guard.records("closed")?.len() == 1))?;

    hot.signal_server("CONT")?;
    guard.wait_path("/srv/box", "up")?;
    guard.wait_path("/srv/jobs/a", "up")?;
    sandbox.wait_until("no child to be left", secs(60), || Ok(lookers(&sandbox)? == 0))?;
    Held::wait_no_more(&guard, before)?;
    ensure!(guard.has_metric("hostward_probes_hung 0")?, "{}", guard.metrics()?);
    let opened = guard.records("opened")?;
    let acted = opened.iter().filter(|record| record["body"]["opened"]["plan"]["watch"] != API).count();
    ensure!(acted == 0 && opened.len() == 1, "it looks on: {opened:#?}");
    assert_eq!(guard.life()?, life, "the same daemon");
    Ok(())
}
