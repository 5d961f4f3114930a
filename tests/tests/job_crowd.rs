//! Many jobs at once, of which many get nowhere: what there is to spend goes to those that have stood still longest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
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
/// The last of them get stuck first: the order of their names would take the others.
const FIRST: usize = 196;
const BUDGET: usize = JOBS - FIRST;
const UNIT: &str = "[Service]\nExecStart=sleep infinity\n";
const WATCH: &str = r#"
[job.crawl]
interval      = "1s"
stalled_after = "4s"
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
        let budget = QUICK_HOST.replace("256 per 1h", &format!("{BUDGET} per 1h"));
        let guard = Guard::install_with(sandbox, &format!("{budget}{WATCH}"))?;
        guard.forbid(Guard::GLOBAL_SENTINEL)?;
        sandbox.sh("systemctl start hostward")?;
        Ok(Crowd { sandbox, guard })
    }

    fn get_stuck(&self, jobs: Range<usize>) -> Result<()> {
        let files: Vec<String> = jobs.map(|n| format!("/srv/crowd/{}/stuck", name(n))).collect();
        self.sandbox.sh(&format!("touch {}", files.join(" "))).map(drop)
    }

    fn wait_condition(&self, code: &str, wanted: usize) -> Result<()> {
        let lines =
            || Ok::<_, anyhow::Error>(self.guard.metrics()?.lines().filter(|line| is_one(line, code)).count());
        let reached = || Ok(lines()? == wanted);
        let waited = self.sandbox.wait_until(&format!("{wanted} jobs to be {code}"), secs(60), reached);
        waited.map(drop).with_context(|| format!("{:?} are", lines()))
    }

    /// None of them has progressed for so long that the order among all is beyond doubt.
    fn wait_still(&self, jobs: Range<usize>) -> Result<()> {
        let ids: Vec<String> = jobs.map(name).collect();
        let still = |target: &Value| target["job"]["progressed"].as_u64().is_some_and(|ms| ms > 2000);
        let of = |target: &Value| ids.iter().any(|id| target["job"]["id"] == **id);
        self.sandbox.wait_until("the first to stand still", secs(30), || {
            let watch = self.guard.watch(Jobs::ID)?;
            let targets = watch["targets"].as_array().into_iter().flatten();
            Ok(targets.filter(|target| of(target) && still(target)).count() == ids.len())
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

fn is_one(line: &str, code: &str) -> bool {
    line.starts_with("hostward_job_condition{") && line.contains(&format!("reason=\"{code}\""))
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
    crowd.wait_condition("up", JOBS)?;
    crowd.get_stuck(FIRST..JOBS)?;
    crowd.wait_still(FIRST..JOBS)?;
    crowd.get_stuck(STUCK..FIRST)?;
    crowd.wait_condition("stalled", JOBS - STUCK)?;
    let before = crowd.lives()?;
    ensure!(before.len() == JOBS - STUCK + 1, "{before:?}");

    guard.permit(Guard::GLOBAL_SENTINEL)?;
    let ends = sandbox.wait_for("the budget to be spent", secs(90), || {
        // It answers in the middle of it all.
        guard.metrics()?;
        let ends = guard.closings()?;
        Ok((ends.len() == BUDGET).then_some(ends))
    })?;
    ensure!(ends.iter().all(|end| end == "proved"), "{ends:?}");
    crowd.wait_condition("stalled", JOBS - STUCK - BUDGET)?;
    sandbox.never("more was spent", secs(3), || Ok(guard.records("opened")?.len() > BUDGET))?;

    let touched: BTreeSet<String> = (FIRST..JOBS).map(|n| format!("crawl@{}.service", name(n))).collect();
    let after = crowd.lives()?;
    let changed: BTreeSet<String> =
        before.into_iter().filter(|(unit, life)| after.get(unit) != Some(life)).map(|(unit, _)| unit).collect();
    ensure!(changed == touched, "those that waited longest, and nobody else: {changed:?}");
    for (verb, said) in [("status", guard.watch(Jobs::ID)?), ("explain", guard.json(&["explain", Jobs::ID])?)] {
        let held = held(&said);
        ensure!(held.len() == FIRST - STUCK, "{verb}: {held:?}");
        let why = |holds: &Vec<String>| holds.iter().any(|hold| hold == "budget_spent");
        ensure!(held.values().all(why), "{verb}: each has its reason: {held:?}");
    }
    ensure!(guard.resident_kib()? < 64 << 10, "{} KiB", guard.resident_kib()?);
    Ok(())
}
