//! Many jobs at once, of which many get nowhere: what there is to spend goes to those that have stood still longest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Jobs, QUICK_HOST, Sandbox, repository};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const JOBS: usize = 200;
/// From here on they have a unit of their own, and will get stuck.
const STUCK: usize = 150;
/// These get stuck first: neither the order of names nor taking turns would find them.
const FIRST: [usize; 4] = [158, 167, 179, 190];
const UNIT: &str = "[Service]\nExecStart=sleep infinity\n";
const WATCH: &str = r#"
[job.crawl]
interval      = "1s"
stalled_after = "3s"
brakes = { cooldown = "1s", plateau = "2s", soak = "1s" }
[job.crawl.provider]
directory = "/srv/crowd"
state     = { file = "state.json", pointer = "/state" }
[[job.crawl.progress]]
state   = "state.json"
pointer = "/pages"
[job.crawl.runner]
unit = "crawl@{id}.service"
lock = ".lock"
[job.crawl.remedy]
recover = ["/bin/rm", "-f", "{output}/stuck"]
"#;

struct Crowd<'a> {
    sandbox: &'a Sandbox,
    guard: Guard<'a>,
}

impl<'a> Crowd<'a> {
    /// All of them at work, and nothing may be done to any.
    fn install(sandbox: &'a Sandbox) -> Result<Crowd<'a>> {
        let program = fs::read(repository().join("tests/fixtures/jobs/crowd.py")).context("read the fixture")?;
        sandbox.write("/opt/crowd", "0755", program)?;
        sandbox.write("/etc/systemd/system/crawl@.service", "0644", UNIT)?;
        let run = format!("[Service]\nExecStart=/opt/crowd /srv/crowd {}\n", name(STUCK));
        sandbox.write("/etc/systemd/system/crowd.service", "0644", run)?;
        let units: Vec<String> = (STUCK..JOBS).map(|n| format!("crawl@{}", name(n))).collect();
        sandbox.sh(&format!(
            "mkdir -p $(seq -f /srv/crowd/j%03.0f 0 {}); systemctl daemon-reload; systemctl start crowd {}",
            JOBS - 1,
            units.join(" ")
        ))?;
        let budget = QUICK_HOST.replace("256 per 1h", &format!("{} per 1h", FIRST.len()));
        let guard = Guard::install_with(sandbox, &format!("{budget}{WATCH}"))?;
        guard.forbid(Guard::GLOBAL_SENTINEL)?;
        sandbox.sh("systemctl start hostward")?;
        Ok(Crowd { sandbox, guard })
    }

    fn get_stuck(&self, jobs: &[usize]) -> Result<()> {
        let files: Vec<String> = jobs.iter().map(|n| format!("/srv/crowd/{}/stuck", name(*n))).collect();
        self.sandbox.sh(&format!("touch {}", files.join(" "))).map(drop)
    }

    fn wait_stalled(&self, wanted: usize) -> Result<()> {
        let is_one = |line: &str| line.starts_with("hostward_job_condition{") && line.contains("reason=\"stalled\"");
        self.wait_metric(&format!("{wanted} jobs to be stalled"), wanted, is_one)
    }

    fn wait_metric(&self, what: &str, wanted: usize, is_one: impl Fn(&str) -> bool) -> Result<()> {
        let count = || Ok::<_, anyhow::Error>(self.guard.metrics()?.lines().filter(|line| is_one(line)).count());
        let found = self.sandbox.wait_until(what, secs(60), || Ok(count()? == wanted));
        found.map(drop).with_context(|| format!("{:?} are", count()))
    }

    /// Since they progressed last, the others were seen to.
    fn wait_behind(&self, jobs: &[usize]) -> Result<()> {
        let ids: Vec<String> = jobs.iter().map(|n| name(*n)).collect();
        self.sandbox.wait_until("them to stand still", secs(30), || {
            let watch = self.guard.watch(Jobs::ID)?;
            let targets = watch["targets"].as_array().into_iter().flatten();
            let ages = targets.filter_map(|target| {
                Some((target["job"]["id"].as_str()?.to_owned(), target["job"]["progressed"].as_u64()?))
            });
            let (behind, others): (Vec<_>, Vec<_>) = ages.partition(|(id, _)| ids.contains(id));
            let oldest = others.iter().map(|(_, age)| age).max();
            Ok(behind.len() == ids.len() && behind.iter().all(|(_, age)| Some(age) > oldest))
        })?;
        Ok(())
    }

    /// Each unit's life.
    fn lives(&self) -> Result<BTreeMap<String, String>> {
        let shown = self.sandbox.sh("systemctl show --property=Id,InvocationID 'crawl@*' crowd")?;
        let lives = shown.split("\n\n").filter_map(|unit| {
            let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            Some((of("Id=")?, of("InvocationID=")?))
        });
        Ok(lives.collect())
    }
}

fn name(n: usize) -> String {
    format!("j{n:03}")
}

/// By job, what holds it.
fn held(watch: &Value) -> BTreeMap<String, Vec<String>> {
    let targets = watch["targets"].as_array().cloned().unwrap_or_default();
    let stalled = targets.iter().filter(|target| target["verdict"]["down"]["code"] == "stalled");
    let holds = |target: &Value| {
        let holds = target["holds"].as_array().cloned().unwrap_or_default();
        holds.iter().filter_map(|held| held["hold"].as_str().map(str::to_owned)).collect()
    };
    stalled.filter_map(|target| Some((target["job"]["id"].as_str()?.to_owned(), holds(target)))).collect()
}

#[test]
fn of_fifty_that_are_stuck_among_two_hundred_those_that_wait_longest_are_helped() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-crowd")?;
    let crowd = Crowd::install(&sandbox)?;
    let guard = &crowd.guard;
    let progresses = |line: &str| line.starts_with("hostward_job_progress_age_seconds{");
    crowd.wait_metric("all to progress", JOBS, progresses)?;
    crowd.get_stuck(&FIRST)?;
    crowd.wait_behind(&FIRST)?;
    let others: Vec<usize> = (STUCK..JOBS).filter(|n| !FIRST.contains(n)).collect();
    crowd.get_stuck(&others)?;
    crowd.wait_stalled(JOBS - STUCK)?;
    let before = crowd.lives()?;
    ensure!(before.len() == JOBS - STUCK + 1, "{before:?}");

    guard.permit(Guard::GLOBAL_SENTINEL)?;
    let ends = sandbox.wait_for("the budget to be spent", secs(90), || {
        // It answers in the middle of it all.
        guard.metrics()?;
        let ends = guard.closings()?;
        Ok((ends.len() == FIRST.len()).then_some(ends))
    })?;
    ensure!(ends.iter().all(|end| end == "proved"), "{ends:?}");
    crowd.wait_stalled(others.len())?;
    sandbox.never("more was spent", secs(2), || Ok(guard.records("opened")?.len() > FIRST.len()))?;

    let touched: BTreeSet<String> = FIRST.iter().map(|n| format!("crawl@{}.service", name(*n))).collect();
    let after = crowd.lives()?;
    let changed: BTreeSet<String> =
        before.into_iter().filter(|(unit, life)| after.get(unit) != Some(life)).map(|(unit, _)| unit).collect();
    ensure!(changed == touched, "those that waited longest, and nobody else: {changed:?}");
    for (verb, said) in [("status", guard.watch(Jobs::ID)?), ("explain", guard.json(&["explain", Jobs::ID])?)] {
        let held = held(&said);
        ensure!(held.len() == others.len(), "{verb}: {held:?}");
        let why = |holds: &Vec<String>| holds.iter().any(|hold| hold == "budget_spent");
        ensure!(held.values().all(why), "{verb}: each has its reason: {held:?}");
    }
    ensure!(guard.resident_kib()? < 64 << 10, "{} KiB", guard.resident_kib()?);
    Ok(())
}
