//! The operator's own commands about a job: what they are given, and what becomes of those that fail for good.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Jobs, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A secret with all that a shell, systemd or a careless log line might trip over.
const SECRET: &str = "open $HOME \"sesame\" %n";
const SECRET_FILE: &str = "# for nobody else\nWORK_DB=/var/lib/work/jobs.db\nPASSPHRASE='open $HOME \"sesame\" %n'\n";
/// Notes what it was given, and what anybody can see of its unit meanwhile. It waits while it is told to.
const TELLER: &str = r#"#!/bin/bash
while [ -e /srv/work/wait ]; do sleep 0.05; done
echo "$1 $2: $PASSPHRASE" >>/srv/work/told
{ systemctl show 'hostward-*'; cat /run/systemd/transient/hostward-*; } >>/srv/work/seen
exec /opt/work/jobs "$@"
"#;

/// Each of the three commands has its secrets, also after systemd was reloaded, before it or in its middle; and nobody else.
#[test]
fn commands_have_their_secrets_before_and_after_a_reload_of_systemd_and_nobody_else_has() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-env")?;
    let jobs = Jobs::install(&sandbox)?;
    sandbox.write("/etc/work/secret", "0600", SECRET_FILE)?;
    sandbox.write("/opt/work/tell", "0755", TELLER)?;
    let mut config = Jobs::config();
    for verb in ["retry", "recover", "record"] {
        config =
            config.replace(&format!("[\"/opt/work/jobs\", \"{verb}\""), &format!("[\"/opt/work/tell\", \"{verb}\""));
    }
    let (provider, remedy) = config.split_once("[job.crawl.remedy]").expect("it has a remedy");
    let remedy = remedy.replace("/etc/work/env", "/etc/work/secret");
    let guard = Guard::started(&sandbox, &format!("{provider}[job.crawl.remedy]{remedy}"))?;
    let told = |lines: &[&str]| {
        let expected: Vec<String> = lines.iter().map(|line| format!("{line}: {SECRET}")).collect();
        let last = || sandbox.exec(["cat", "/srv/work/told"]).map(|cat| cat.stdout);
        let waited =
            sandbox.wait_until(&format!("{lines:?} to be told"), secs(40), || Ok(last()?.lines().eq(&expected)));
        waited.map(drop).map_err(|error| error.context(format!("it is {:?}", last())))
    };

    jobs.add("lost", "running")?;
    told(&["retry lost"])?;
    guard.wait_job_closed(1)?;
    sandbox.sh("systemctl daemon-reload")?;
    jobs.start_own("own")?;
    jobs.cli("set own failed")?;
    told(&["retry lost", "record own"])?;
    guard.wait_job_closed(2)?;

    sandbox.write("/srv/work/wait", "0644", "")?;
    jobs.does("own", "stall")?;
    sandbox.wait_until("the command between stop and start", secs(40), || {
        Ok(!sandbox.sh("systemctl list-units --no-legend 'hostward-step-*'")?.is_empty())
    })?;
    sandbox.sh("systemctl daemon-reload; rm /srv/work/wait")?;
    told(&["retry lost", "record own", "recover own"])?;
    let ends = guard.wait_job_closed(3)?;
    ensure!(ends.iter().all(|end| end == "proved"), "{ends:?}");
    jobs.progresses("own")?;

    ensure!(!sandbox.sh("grep '^EnvironmentFile' /srv/work/seen")?.is_empty(), "it saw its own unit");
    nobody_says(&guard, "sesame")
}

/// Neither a verb, nor a metric, nor a record, nor a line of any journal, nor what systemd shows of our units.
fn nobody_says(guard: &Guard<'_>, secret: &str) -> Result<()> {
    for verb in
        [&["status"][..], &["explain", "job.crawl"], &["plan", "job.crawl"], &["check", "job.crawl"], &["history"]]
    {
        let (plain, json) = (guard.run(verb)?, guard.run(&[verb, &["--json"]].concat())?);
        for said in [plain.stdout, plain.stderr, json.stdout, json.stderr] {
            ensure!(!said.contains(secret), "{verb:?}: {said}");
        }
    }
    ensure!(!guard.metrics()?.contains(secret));
    let found =
        guard.sandbox().exec(["grep", "-rl", secret, "/var/lib/hostward", "/run/hostward", "/srv/work/seen"])?;
    ensure!(found.stdout.is_empty(), "{found:?}");
    let journal = guard.sandbox().sh("journalctl --no-pager --output=verbose --all")?;
    ensure!(journal.contains("hostward-step-") && !journal.contains(secret), "it is in the journal");
    Ok(())
}

const TOLD: &str =
    "[notify.ops]\nseverity = \"critical\"\nsendmail = { to = [\"root\"], from = \"hostward@example.org\" }\n";
const SENDMAIL: &str = "#!/bin/sh\ncat >>/run/mail\n";

/// D9: what fails for good fails three times, ever later, and is a person's after that.
fn fails_for_good<'a>(jobs: Jobs<'a>, sandbox: &'a Sandbox, verb: &str) -> Result<Guard<'a>> {
    sandbox.write(&format!("/srv/work/{verb}"), "0755", "#!/bin/sh\necho once >>/srv/work/tried\nexit 7\n")?;
    sandbox.write("/usr/sbin/sendmail", "0755", SENDMAIL)?;
    ensure!(jobs.active("work.service")? == "active", "somebody would take up what was marked");
    let (quick, slower) = ("cooldown = \"1s\", plateau = \"2s\"", "cooldown = \"2s\", plateau = \"5s\"");
    let config = Jobs::config().replace(quick, slower);
    let guard =
        Guard::started(sandbox, &format!("{}{TOLD}", config.replace("worker        = \"work.service\"\n", "")))?;
    let holds = || Ok::<_, anyhow::Error>(guard.job_target("job/bad")?["holds"].to_string());
    let mut cooled = false;
    sandbox.wait_until("three attempts that failed", secs(60), || {
        cooled |= holds()?.contains("\"cooldown\"");
        Ok(guard.closings()?.len() >= 3)
    })?;
    ensure!(cooled, "no cooldown between the attempts");
    let said = guard.wait_job_held("job/bad", "circuit_open")?;
    ensure!(said == "the last 3 times gained 0, 0, 0", "{said}");
    let capped = guard.wait_job_held("job/bad", "target_cap")?;
    ensure!(capped == "taken up 3 times within a day", "{capped}");

    // Past its plateau nothing but these hold it, and they do.
    sandbox.wait_until("the cooldown to pass", secs(20), || Ok(!holds()?.contains("\"cooldown\"")))?;
    sandbox.never("a fourth attempt", secs(3), || Ok(guard.records("opened")?.len() > 3))?;
    ensure!(sandbox.read("/srv/work/tried")?.lines().count() == 3, "each attempt is one try");
    let rungs: Vec<String> = guard.job_plans("job/bad")?.into_iter().map(|plan| plan.0).collect();
    ensure!(rungs == [verb; 3], "{rungs:?}");
    for end in guard.closings()? {
        ensure!(end.to_string().contains("exited 7"), "{end}");
    }
    let counted =
        format!("hostward_watch_attempts_total{{remedy=\"{verb}\",result=\"not_cleared\",watch=\"job.crawl\"}} 3");
    ensure!(guard.has_metric(&counted)?, "{counted} is not in\n{}", guard.metrics()?);
    let mailed = || Ok(sandbox.exec(["cat", "/run/mail"])?.stdout.contains("job.crawl"));
    sandbox.wait_until("a person to be told", secs(30), mailed)?;
    Ok(guard)
}

#[test]
fn a_retry_that_fails_for_good_ends_with_a_person() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-d9-retry")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.add("bad", "running")?;
    fails_for_good(jobs, &sandbox, "retry").map(drop)
}

#[test]
fn a_recovery_that_fails_for_good_ends_with_a_person_and_its_runner_at_work() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-d9-recover")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start_own("bad")?;
    jobs.does("bad", "stall")?;
    let guard = fails_for_good(jobs, &sandbox, "recover")?;
    let said = sandbox.sh("journalctl --no-pager --output=cat _PID=1 UNIT=crawl@bad.service")?;
    let times = |what: &str| said.lines().filter(|line| line.starts_with(what)).count();
    ensure!((times("Started"), times("Stopped")) == (4, 3), "its runner is resumed each time: {said}");
    ensure!(jobs.active("crawl@bad")? == "active");
    let armed = sandbox.sh("systemctl list-timers --all --no-legend 'hostward-undo-*'")?;
    ensure!(armed.is_empty(), "an undo is left: {armed}");
    let opened = guard.records("opened")?;
    let at: Vec<u64> = opened.iter().filter_map(|record| record["at"]["up"].as_u64()).collect();
    ensure!(at.len() == 3 && at[1] - at[0] >= 2000 && at[2] - at[1] >= 4000, "its cooldown doubles: {at:?}");
    Ok(())
}
