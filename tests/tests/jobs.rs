//! The job watch on a real systemd: a table in SQLite, a worker with children, units of their own, locks and logs.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Jobs, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// S4: what runs a stalled job alone is stopped; a sibling that progresses never is.
#[test]
fn a_stalled_job_is_recovered_and_its_sibling_left_alone() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-s4")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start("healthy")?;
    jobs.start("stuck")?;
    jobs.start_own("own")?;
    let compat = "[job.crawl]\nmetrics.compat = \"fleet_crawl_auto_recover\"\n";
    let guard = Guard::started(&sandbox, &Jobs::config().replace("[job.crawl]\n", compat))?;
    for key in ["job/healthy", "job/stuck", "job/own", "worker"] {
        guard.wait_job(key, "up")?;
    }
    let worker = sandbox.property("work.service", "InvocationID")?;

    jobs.does("own", "stall")?;
    guard.wait_job("job/own", "stalled")?;
    for line in [
        "hostward_job_condition{job=\"own\",reason=\"stalled\",watch=\"job.crawl\"} 1",
        "hostward_jobs{state=\"running\",watch=\"job.crawl\"} 3",
        "fleet_crawl_running_job_stalled{job_id=\"own\",source=\"crawl\"} 1",
        "fleet_crawl_running_job_stalled{job_id=\"healthy\",source=\"crawl\"} 0",
        "fleet_crawl_auto_recover_running_jobs 3",
        "fleet_worker_auto_start_worker_active 1",
        "fleet_worker_should_be_running 1",
    ] {
        ensure!(guard.has_metric(line)?, "{line} is not in\n{}", guard.metrics()?);
    }
    guard.wait_job_closed(1)?;
    jobs.progresses("own")?;
    let plans = guard.job_plans("job/own")?;
    ensure!(plans.len() == 1 && plans[0].0 == "recover", "{plans:?}");
    ensure!(jobs.recoveries("own")? == 1);

    jobs.does("stuck", "stall")?;
    guard.wait_job("job/stuck", "stalled")?;
    let said = guard.wait_job_held("job/stuck", "sibling_active")?;
    ensure!(said.starts_with("job/healthy would be stopped with it, and progressed "), "{said}");
    sandbox.never("anything was done", secs(8), || Ok(guard.closings()?.len() > 1))?;
    ensure!(sandbox.property("work.service", "InvocationID")? == worker, "the worker was not touched");

    // Nobody who progresses would be hurt any more.
    jobs.does("healthy", "quiet")?;
    sandbox.wait_until("the worker to be stopped for it and started again", secs(60), || {
        Ok(sandbox.property("work.service", "InvocationID")? != worker && jobs.active("work.service")? == "active")
    })?;
    jobs.progresses("stuck")?;
    Ok(())
}

/// S4: no runner, soft recovery; and a record that does not say that a job runs is put right.
#[test]
fn what_its_record_says_is_made_true_both_ways() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-records")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start_own("hidden")?;
    jobs.add("lost", "running")?;
    jobs.cli("set hidden failed")?;
    let guard = Guard::started(&sandbox, &Jobs::config())?;
    guard.wait_job("job/lost", "up")?;
    guard.wait_job("job/hidden", "up")?;
    jobs.progresses("lost")?;
    ensure!(jobs.job("hidden")?["state"] == "running");
    let rungs =
        |key: &str| Ok::<_, anyhow::Error>(guard.job_plans(key)?.into_iter().map(|plan| plan.0).collect::<Vec<_>>());
    sandbox.wait_until("both to be remedied", secs(40), || {
        Ok(rungs("job/lost")? == ["retry"] && rungs("job/hidden")? == ["record"])
    })?;
    guard.wait_job_closed(2)?;
    ensure!(guard.closings()?.iter().all(|end| end == "proved"), "{:?}", guard.closings()?);
    Ok(())
}

/// S9: the newest log counts, whatever is stored; a held lock is a runner, also another user's; nothing is created.
#[test]
fn who_holds_a_lock_runs_it_and_the_newest_log_tells() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-s9")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.add("far", "running")?;
    sandbox.write("/srv/work/far/unsaid", "0644", "")?;
    sandbox.sh("useradd --system other; mkdir -m 1777 -p /srv/locks
         touch /srv/locks/far; chown other: /srv/locks/far
         systemd-run -q --unit=stranger --uid=other flock /srv/locks/far \\
            bash -c 'n=0; while :; do n=$((n+9)); echo crawled=$n >>/srv/locks/new.log; sleep 0.2; done'
         chmod 0777 /srv/work/far/logs; echo crawled=7 >/srv/work/far/logs/old.log; touch -d -1hour /srv/work/far/logs/old.log
         sleep 0.5; ln -s /srv/locks/new.log /srv/work/far/logs/new.log")?;
    // Nobody takes up what is marked: it is the record that is looked at.
    sandbox.sh("systemctl disable -q --now work")?;
    let config = Jobs::config().replace("unit = \"crawl@{id}.service\"", "lock = \"/srv/locks/{id}\"");
    let guard = Guard::started(&sandbox, &config.replace("worker        = \"work.service\"\n", ""))?;
    guard.wait_job("job/far", "up")?;
    sandbox.never("it was judged down", secs(8), || Ok(guard.job_state("job/far")? != "up"))?;
    let count = guard.job_target("job/far")?["job"]["count"].as_u64().unwrap_or(0);
    ensure!(count > 7, "the newest log: {count}");
    sandbox.sh("pkill -STOP -u other bash")?;
    guard.wait_job("job/far", "stalled")?;
    let said = guard.wait_job_held("job/far", "no_remedy")?;
    // On a file system whose locks /proc/locks names by another device, the holder is not to be known.
    let known = said.ends_with("runs it, and is in no unit that is declared for it");
    ensure!(known || said.starts_with("its lock is held, and nobody can tell"), "{said}");
    sandbox.sh("systemctl kill --signal=KILL stranger")?;
    guard.wait_job_closed(1)?;
    ensure!(guard.job_plans("job/far")?[0].0 == "retry", "nobody runs it any more");
    // One that may not be probed counts as held, whoever does.
    sandbox.sh("chmod 0600 /srv/locks/far; touch /srv/locks/new.log")?;
    jobs.cli("set far running")?;
    sandbox.never("it was judged to be nobody's", secs(6), || Ok(guard.job_state("job/far")? == "orphaned"))?;
    ensure!(sandbox.sh("ls /srv/locks")?.split_whitespace().eq(["far", "new.log"]), "no lock was created");
    Ok(())
}

/// S11: no statistics at all is a stall; three recoveries without gain are the last. D3: and in nobody's way.
#[test]
fn a_cure_that_gains_nothing_ends_with_a_person() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-s11")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start_own("cursed")?;
    jobs.start_own("other")?;
    jobs.does("cursed", "quiet")?;
    sandbox.sh("rm /srv/work/cursed/logs/*; touch /srv/work/cursed/cursed; systemctl restart crawl@cursed")?;
    let guard = Guard::started(&sandbox, &Jobs::config())?;
    guard.wait_job("job/cursed", "stalled")?;
    let said = guard.wait_job_held("job/cursed", "circuit_open")?;
    ensure!(said == "the last 3 times gained 0, 0, 0", "{said}");
    // The third one is charged before it is made.
    sandbox.wait_until("the third to be made", secs(20), || Ok(jobs.recoveries("cursed")? == 3))?;
    let plans = guard.job_plans("job/cursed")?;
    ensure!(plans.len() == 3, "{plans:?}");
    jobs.does("other", "stall")?;
    sandbox.wait_until("the one after it to be recovered", secs(40), || Ok(jobs.recoveries("other")? == 1))?;
    jobs.progresses("other")?;
    sandbox.never("a fourth recovery", secs(5), || Ok(guard.job_plans("job/cursed")?.len() > 3))?;
    ensure!(jobs.active("crawl@cursed")? == "active" && jobs.recoveries("cursed")? == 3, "its runner is resumed");
    Ok(())
}

/// S7: a worker that stopped by somebody's hand is respected for a while, and then started, for work waits.
#[test]
fn an_idle_worker_with_work_is_started() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-s7")?;
    let jobs = Jobs::install(&sandbox)?;
    let guard = Guard::started(&sandbox, &Jobs::config())?;
    guard.wait_job("worker", "up")?;
    sandbox.sh("systemctl stop work")?;
    sandbox.never("it was missed", secs(3), || Ok(guard.job_state("worker")? != "up"))?;
    jobs.add("waits", "pending")?;
    guard.wait_job("worker", "idle")?;
    guard.wait_job_held("worker", "operator_active")?;
    guard.wait_job_closed(1)?;
    jobs.progresses("waits")?;
    ensure!(guard.job_plans("worker")?[0].0 == "start");
    // One that was killed waits for nobody.
    sandbox.sh("systemctl kill --signal=KILL work")?;
    jobs.cli("set waits pending")?;
    guard.wait_job_closed(2)?;
    ensure!(jobs.active("work.service")? == "active");
    Ok(())
}

/// The command between stop and start fails: the runner is resumed, and the try counts.
#[test]
fn the_runner_is_resumed_though_the_command_fails_or_hangs_or_we_die() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-p7")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start_own("a")?;
    sandbox.write("/srv/work/recover", "0755", "#!/bin/sh\nexit 7\n")?;
    let guard = Guard::started(
        &sandbox,
        &Jobs::config().replace("cooldown = \"1s\", plateau = \"2s\"", "cooldown = \"1h\", plateau = \"2h\""),
    )?;
    guard.wait_job("job/a", "up")?;
    let resumed = || -> Result<()> {
        sandbox.wait_until("its runner to be resumed", secs(60), || Ok(jobs.active("crawl@a")? == "active"))?;
        Ok(())
    };
    jobs.does("a", "stall")?;
    let ended = guard.wait_job_closed(1)?;
    ensure!(ended[0].to_string().contains("exited 7"), "{ended:?}");
    resumed()?;

    // P7: killed while its runner stands still, and its binary gone: PID 1 starts it.
    sandbox.write("/srv/work/recover", "0755", "#!/bin/sh\ntouch /run/amid\nexec sleep 1000\n")?;
    sandbox.sh("chmod 1777 /run; systemctl stop hostward; rm -f /var/lib/hostward/ledger* /var/lib/hostward/memory.json; systemctl start hostward")?;
    sandbox.wait_until("the command between stop and start", secs(60), || {
        Ok(sandbox.sh("test -e /run/amid && echo yes || true")?.trim() == "yes")
    })?;
    ensure!(jobs.active("crawl@a")? == "inactive");
    sandbox.sh("mv /usr/bin/hostward /usr/bin/hostward.gone; systemctl kill --signal=KILL hostward")?;
    let armed = sandbox.sh("systemctl list-timers --all --no-legend 'hostward-undo-*'")?;
    ensure!(armed.contains("hostward-undo-"), "its undo is armed: {armed}");
    sandbox.sh("mv /usr/bin/hostward.gone /usr/bin/hostward; rm /srv/work/recover; systemctl reset-failed hostward; systemctl start hostward")?;
    // The command outlives us, as every step does; its end is the end of the stop.
    sandbox.sh("pkill -f 'sleep 1000'")?;
    resumed()?;
    guard.wait_job_closed(1)?;
    ensure!(guard.job_plans("job/a")?.len() == 1, "the try counts once");
    Ok(())
}

/// Nothing that only looks changes one byte of the table.
#[test]
fn who_looks_on_writes_nothing() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-observe")?;
    let jobs = Jobs::install(&sandbox)?;
    sandbox.sh("systemctl stop work")?;
    jobs.add("lost", "running")?;
    jobs.add("waits", "pending")?;
    let bytes = || sandbox.sh("cd /var/lib/work; sha256sum *; stat -c '%n %Y %s' * /srv/work/*");
    let before = bytes()?;
    let guard =
        Guard::started(&sandbox, &Jobs::config().replace("[job.crawl]\n", "[job.crawl]\nmode = \"observe\"\n"))?;
    guard.wait_job("job/lost", "orphaned")?;
    guard.wait_job("worker", "idle")?;
    for verb in [&["plan", "job.crawl"][..], &["check", "job.crawl"], &["explain", "job.crawl"]] {
        let said = guard.run(verb)?;
        ensure!(said.code().is_some_and(|code| code < 2), "{verb:?}: {said:?}");
    }
    guard.wait_job_held("job/lost", "observe_only")?;
    guard.never_acts(secs(5))?;
    ensure!(bytes()? == before, "before:\n{before}\nafter:\n{}", bytes()?);
    Ok(())
}

/// Half a list says nothing of any job; one bad entry nothing of the others.
#[test]
fn a_list_that_is_cut_is_not_no_jobs() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-lists")?;
    let jobs = Jobs::install(&sandbox)?;
    jobs.start("a")?;
    sandbox.sh("mv /opt/work/jobs /opt/work/real; ln -s real /opt/work/jobs")?;
    let guard = Guard::started(&sandbox, &Jobs::config())?;
    guard.wait_job("job/a", "up")?;
    let says = |script: &str| {
        sandbox.write("/opt/work/lies", "0755", format!("#!/bin/sh\n{script}\n"))?;
        sandbox.sh("ln -sf lies /opt/work/jobs").map(drop)
    };
    says("printf '{\"jobs\": [{\"id\": \"a\", \"state\":'")?;
    for key in ["provider", "job/a"] {
        let said = guard.wait_job_unseen(key)?;
        ensure!(said.contains("the list of jobs: EOF"), "{key}: {said}");
    }
    says(
        "echo '{\"jobs\": [{\"id\": \"a\", \"state\": \"pending\"}, {\"id\": \"b\", \"state\": \"odd\"}, {\"id\": \"a\", \"state\": \"pending\"}]}'",
    )?;
    guard.wait_job("provider", "config")?;
    guard.wait_job("job/a", "up")?;
    ensure!(guard.job_state("job/b")? == "none", "{}", guard.job_state("job/b")?);
    says("yes '{' | head -c 20000000")?;
    let said = guard.wait_job_unseen("provider")?;
    ensure!(said.contains("4 MiB"), "{said}");
    ensure!(guard.resident_kib()? < 40_000, "{} KiB", guard.resident_kib()?);
    says("sleep 1000")?;
    ensure!(guard.status()?["view"]["version"] == 1, "the loop turns");
    sandbox.sh("ln -sf real /opt/work/jobs")?;
    guard.wait_job("provider", "up")?;
    ensure!(guard.records("opened")?.is_empty(), "nothing was done on a lie");
    Ok(())
}

/// The queue is filled in units of their own, which are found again, also by a daemon that was killed meanwhile.
#[test]
fn a_queue_is_filled_in_units_that_outlive_us() -> Result<()> {
    let sandbox = Sandbox::boot("jobs-queue")?;
    let jobs = Jobs::install(&sandbox)?;
    sandbox.sh("systemctl disable -q --now work")?;
    for id in ["a", "b", "c"] {
        jobs.add(id, "pending")?;
    }
    let queue = "[job.crawl.queue]\nwanted = 2\nstart = [\"/opt/work/jobs\", \"run\", \"{id}\"]\nused = 100\n";
    let config = Jobs::config()
        .replace("worker        = \"work.service\"\n", "")
        .replace("[job.crawl.runner]\nunit = \"crawl@{id}.service\"\n", queue);
    let guard = Guard::started(&sandbox, &config)?;
    guard.wait_job_closed(1)?;
    jobs.progresses("a")?;
    jobs.progresses("b")?;
    ensure!(jobs.job("c")?["state"] == "pending", "two are wanted");
    let pid = sandbox.property("hostward-job-crawl-a.service", "MainPID")?;
    guard.kill_and_wait()?;
    guard.wait_job("queue", "up")?;
    sandbox.never("another start", secs(6), || Ok(guard.closings()?.len() > 1))?;
    ensure!(sandbox.property("hostward-job-crawl-a.service", "MainPID")? == pid, "it was not started twice");
    // One of them has ended: what waits takes its place.
    jobs.does("b", "fail")?;
    jobs.cli("set b failed")?;
    jobs.wait_state("c", "running")?;
    Ok(())
}
