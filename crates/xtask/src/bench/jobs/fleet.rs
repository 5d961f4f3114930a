//! Jobs as a host has them: a folder each with an old log and one that grows, and a lock that a process of the worker holds.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Sandbox};
use serde_json::json;

/// COUNT folders `000`, `001`, ..., each with logs of more bytes than are read at first sight. Who holds a lock on the
/// sandbox's own file system, an overlay, the kernel does not tell.
const MAKE: &str = r"
mkdir /srv/jobs
mount -t tmpfs jobs /srv/jobs
yes 'page done' | head --bytes=96K >/srv/log
for n in $(seq --format=%03g 0 $(($1 - 1))); do
    mkdir --parents /srv/jobs/$n/logs
    cp /srv/log /srv/jobs/$n/logs/0.log
    touch /srv/jobs/$n/.lock
done
for n in /srv/jobs/*; do
    cp /srv/log $n/logs/1.log
done
";
const WORKER: &str = "\
#!/bin/bash
for lock in /srv/jobs/*/.lock; do
    flock --no-fork --nonblock $lock sleep infinity &
done
wait
";
const WORKER_UNIT: &str = "[Service]\nTasksMax=infinity\nExecStart=/opt/fleet/worker\n";
const FIRST: &str = "/srv/jobs/000/logs/1.log";
const HELD_WITHIN: Duration = Duration::from_secs(30);

/// Of a job's name, as the shell above writes it.
const DIGITS: usize = 3;

pub(super) struct Fleet<'a> {
    sandbox: &'a Sandbox,
    jobs: usize,
    /// The last number in every log.
    count: u64,
}

impl<'a> Fleet<'a> {
    pub(super) const LIST: &'static str = "/etc/fleet/jobs.json";
    pub(super) const FOLDER: &'static str = "/srv/jobs";
    /// Who runs them, as a watch says it.
    pub(super) const WORKER: &'static str = "worker = \"fleet.service\"\n";

    /// How far each has come and who holds its lock, as a watch says it.
    pub(super) fn counted(watch: &str) -> String {
        format!(
            "[[{watch}.progress]]\nlog = \"logs/*.log\"\ncount = 'count (\\d+)'\n\
             [{watch}.runner]\nlock = \".lock\"\n"
        )
    }

    pub(super) fn install(sandbox: &'a Sandbox, jobs: usize) -> Result<Fleet<'a>> {
        sandbox.exec(["bash", "-euc", MAKE, "bash", &jobs.to_string()])?.ok()?;
        sandbox.write("/opt/fleet/worker", "0755", WORKER)?;
        sandbox.write("/etc/systemd/system/fleet.service", "0644", WORKER_UNIT)?;
        sandbox.sh("systemctl daemon-reload; systemctl start fleet")?;
        sandbox.wait_until("every lock to be held", HELD_WITHIN, || {
            let held = sandbox.sh("grep --count FLOCK /proc/locks || true")?;
            Ok(held.trim().parse::<usize>()? >= jobs)
        })?;
        let mut fleet = Fleet { sandbox, jobs, count: 0 };
        sandbox.write(Self::LIST, "0644", fleet.list())?;
        fleet.grow()?;
        Ok(fleet)
    }

    /// Those that grow.
    pub(super) fn logs(&self) -> impl Iterator<Item = String> {
        (0..self.jobs).map(|n| format!("{}/{n:0DIGITS$}/logs/1.log", Self::FOLDER))
    }

    fn list(&self) -> String {
        let job = |n: usize| {
            let output = format!("/srv/jobs/{n:0DIGITS$}");
            json!({"id": format!("{n:0DIGITS$}"), "state": "running", "lock": format!("{output}/.lock"), "output": output})
        };
        json!({"jobs": (0..self.jobs).map(job).collect::<Vec<_>>()}).to_string()
    }

    /// Each log has two lines more.
    pub(super) fn grow(&mut self) -> Result<()> {
        self.count += 1;
        let lines =
            format!("for n in /srv/jobs/*; do printf 'page done\\ncount {}\\n' >>$n/logs/1.log; done", self.count);
        self.sandbox.sh(&lines).map(drop)
    }

    /// Each log is another file of the same lines, and more: nobody has seen it before.
    pub(super) fn renew(&mut self) -> Result<()> {
        let copies = "for n in /srv/jobs/*; do cp $n/logs/1.log $n/logs/new; mv $n/logs/new $n/logs/1.log; done";
        self.sandbox.sh(copies)?;
        self.grow()
    }

    /// The first log is longer by a hole of so many bytes, and has two lines more, as each other.
    pub(super) fn swell(&mut self, size: &str) -> Result<()> {
        self.sandbox.sh(&format!("truncate --size=+{size} {FIRST}; echo >>{FIRST}"))?;
        self.grow()
    }

    /// Fails unless every log was read to its end.
    pub(super) fn ensure_read(&self, guard: &Guard<'_>, watch: &str) -> Result<()> {
        let metrics = guard.metrics()?;
        let read = format!(",watch=\"{watch}\"}} {}", self.count);
        let whole =
            metrics.lines().filter(|line| line.starts_with("hostward_job_progress{") && line.ends_with(&read));
        let whole = whole.count();
        ensure!(whole == self.jobs, "{watch} has read {whole} of {} logs up to {}", self.jobs, self.count);
        Ok(())
    }

    /// The same of what the peer said.
    pub(super) fn ensure_told(&self, told: &serde_json::Value) -> Result<()> {
        let jobs = told["jobs"].as_object().into_iter().flatten();
        let whole = jobs.filter(|(_, job)| job["count"] == self.count && job["held"] == true).count();
        ensure!(whole == self.jobs, "the peer has read {whole} of {} logs up to {}", self.jobs, self.count);
        Ok(())
    }
}
