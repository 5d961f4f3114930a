//! S2 and its kin on a real sshfs: what was lost is mounted anew, by the very plan that was shown, and who writes there
//! is stopped meanwhile and returns whatever happens.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, HotPaths, Sandbox};
use serde_json::{Value, json};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "storage.hot";

struct Host<'a> {
    sandbox: &'a Sandbox,
    hot: HotPaths<'a>,
    guard: Guard<'a>,
}

impl<'a> Host<'a> {
    fn start(sandbox: &'a Sandbox) -> Result<Self> {
        Self::start_with(sandbox, &HotPaths::config())
    }

    fn start_with(sandbox: &'a Sandbox, config: &str) -> Result<Self> {
        let paths = HotPaths::install(sandbox)?;
        paths.install_worker()?;
        let guard = Guard::install_with(sandbox, config)?;
        sandbox.sh("systemctl start hostward")?;
        let host = Self { sandbox, hot: paths, guard };
        sandbox.wait_until("all to be up", secs(30), || {
            host.guard.has_metric(&format!("hostward_watch_up{{watch=\"{WATCH}\"}} 1"))
        })?;
        Ok(host)
    }

    fn closings(&self) -> Result<Vec<Value>> {
        let closed = self.guard.records("closed")?;
        Ok(closed.into_iter().map(|record| record["body"]["closed"]["result"].clone()).collect())
    }

    fn wait_closed(&self, n: usize) -> Result<Value> {
        self.sandbox.wait_for(&format!("run {n} to close"), secs(120), || Ok(self.closings()?.get(n - 1).cloned()))
    }

    fn wait_well(&self) -> Result<()> {
        self.sandbox.wait_until("all to be well", secs(120), || self.hot.is_well())?;
        Ok(())
    }

    /// The acts of the n-th plan, by their names.
    fn acts(&self, n: usize) -> Result<Vec<String>> {
        let opened = self.guard.records("opened")?;
        let steps = opened.get(n).context("so many plans")?["body"]["opened"]["plan"]["steps"].clone();
        let acts = steps.as_array().cloned().unwrap_or_default();
        let name = |step: &Value| step["act"].as_object().and_then(|act| act.keys().next().cloned());
        Ok(acts.iter().filter_map(name).collect())
    }
}

/// On a busy machine more than one attempt is over before a test lets the next succeed.
fn uncapped() -> String {
    HotPaths::config().replace("brakes.soak =", "brakes.per_hour = 50\nbrakes.soak =")
}

#[test]
fn what_was_shown_is_what_is_done() -> Result<()> {
    let sandbox = Sandbox::boot("s2")?;
    let host = Host::start(&sandbox)?;
    host.guard.forbid(Guard::GLOBAL_SENTINEL)?;
    host.hot.kill_base()?;
    sandbox.wait_until("the plan to wait for the sentinel alone", secs(40), || {
        let planned = host.guard.json(&["plan", WATCH])?;
        let holds = planned[0]["holds"].as_array().cloned().unwrap_or_default();
        let heals = planned[0]["plan"]["heals"].as_array().map_or(0, Vec::len);
        Ok(heals == 3 && holds.len() == 1 && holds[0]["hold"] == "no_sentinel")
    })?;
    let shown = host.guard.json(&["plan", WATCH])?[0].clone();
    let text = host.guard.run(&["plan", WATCH])?.stdout;
    for line in ["keep the evidence", "stop hot-worker.service, hot-needs.service", "bind /srv/box/a to /srv/jobs/a"]
    {
        ensure!(text.contains(line), "{line} is not in\n{text}");
    }
    ensure!(host.hot.worker_runs()?, "a dry run stops nobody");

    host.guard.permit(Guard::GLOBAL_SENTINEL)?;
    assert_eq!(host.wait_closed(1)?, "proved", "{:#?}", host.guard.ledger()?);
    host.wait_well()?;
    let opened = host.guard.records("opened")?;
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["body"]["opened"]["plan"], shown["plan"], "the plan that was shown");
    let began = host.guard.records("began")?;
    let began: Vec<u64> = began.iter().filter_map(|record| record["body"]["began"]["step"].as_u64()).collect();
    let steps = shown["plan"]["steps"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(began, (0..steps).collect::<Vec<_>>(), "each of its steps, once, in order");
    let ended = host.guard.records("ended")?;
    ensure!(ended.iter().all(|record| record["body"]["ended"]["end"] == "done"), "{ended:#?}");
    for key in ["/srv/box", "/srv/jobs/a", "/srv/jobs/b"] {
        let settled = || Ok(host.guard.attempts(WATCH, key)? == json!({ "remount": { "cleared": 1 } }));
        sandbox.wait_until(&format!("{key} to be settled"), secs(20), settled)?;
    }
    host.hot.nothing_beneath()?;
    ensure!(sandbox.sh("cat /srv/remote/a/out")?.contains(':'), "the worker writes to the box again");
    host.guard.wait_no_transient()?;

    // What was destroyed was kept: root's, with who had what open.
    let run = opened[0]["seq"].as_u64().context("a number")?;
    let bundle = format!("/var/lib/hostward/evidence/{run}");
    let modes = sandbox.sh(&format!("stat --format=%a:%U {bundle} {bundle}/*"))?;
    ensure!(modes.lines().all(|mode| ["700:root", "600:root"].contains(&mode)), "{modes}");
    let kept = sandbox.sh(&format!("cat {bundle}/mountinfo {bundle}/journal-box.service; ls {bundle}"))?;
    for word in ["fuse.sshfs", "box.service", "holders", "kernel"] {
        ensure!(kept.contains(word), "{word} is not in\n{kept}");
    }
    Ok(())
}

#[test]
fn who_hangs_is_freed_before_anybody_is_stopped() -> Result<()> {
    let sandbox = Sandbox::boot("s2-hung")?;
    let host = Host::start(&sandbox)?;
    host.hot.signal_server("STOP")?;
    assert_eq!(host.wait_closed(1)?, "proved", "{:#?}", host.guard.ledger()?);
    host.wait_well()?;
    let acts = host.acts(0)?;
    assert_eq!(acts[..3], ["gather", "abort", "stop"], "{acts:?}");
    let opened = host.guard.records("opened")?;
    let abort = &opened[0]["body"]["opened"]["plan"]["steps"][1]["act"]["abort"];
    assert_eq!(abort["points"], json!(["/srv/box", "/srv/jobs/a", "/srv/jobs/b"]));
    let ended = host.guard.records("ended")?;
    ensure!(ended.iter().all(|record| record["body"]["ended"]["end"] == "done"), "{ended:#?}");
    sandbox.wait_until("no child to hang", secs(20), || host.guard.has_metric("hostward_probes_hung 0"))?;
    Ok(())
}

/// D1: the unmount takes longer than it may, after the worker was stopped.
#[test]
fn an_unmount_that_times_out_gives_everything_back() -> Result<()> {
    let sandbox = Sandbox::boot("d1")?;
    let host = Host::start_with(&sandbox, &uncapped())?;
    // As a helper that waits for a server does.
    sandbox.sh("cp /usr/bin/umount /usr/bin/umount.real")?;
    sandbox.write("/usr/bin/umount.new", "0755", "#!/bin/sh\nsleep 600\n")?;
    sandbox.sh("mv /usr/bin/umount.new /usr/bin/umount")?;
    host.hot.kill_base()?;
    let closed = host.wait_closed(1)?;
    let why = closed["unproved"]["why"].as_str().unwrap_or_default();
    ensure!(why.contains("timed out"), "{closed:#}");
    sandbox.wait_until("the worker to run", secs(10), || host.hot.worker_runs())?;
    assert_eq!(host.guard.attempts(WATCH, "/srv/box")?, json!({ "remount": { "not_cleared": 1 } }));
    let state = host.hot.state()?;
    assert_eq!(state[0], "fenced", "the unmount may still come to its end: {state:?}");

    sandbox.sh("mv /usr/bin/umount.real /usr/bin/umount")?;
    host.wait_well()?;
    host.hot.nothing_beneath()
}

/// While the worker takes its time to stop, an operator mounts everything by hand.
#[test]
fn what_an_operator_mounted_meanwhile_is_left() -> Result<()> {
    let sandbox = Sandbox::boot("s2-by-hand")?;
    sandbox.write("/etc/systemd/system/hot-worker.service.d/slow.conf", "0644", "[Service]\nExecStop=sleep 6\n")?;
    let host = Host::start(&sandbox)?;
    host.hot.kill_base()?;
    sandbox.wait_until("the worker to be stopped", secs(40), || {
        Ok(sandbox.property("hot-worker", "ActiveState")? == "deactivating")
    })?;
    host.hot.unmount()?;
    host.hot.mount()?;
    let mounted = || sandbox.sh("grep -E ' /srv/(box|jobs)' /proc/self/mountinfo");
    let by_hand = mounted()?;
    let closed = host.wait_closed(1)?;
    ensure!(closed["held"]["holds"].to_string().contains("basis_moved"), "{closed:#}");
    sandbox.wait_until("the worker to run", secs(10), || host.hot.worker_runs())?;
    assert_eq!(mounted()?, by_hand, "not one of them was touched or covered");
    assert_eq!(host.hot.state()?, ["well"; 3]);
    Ok(())
}

/// A timer that would start the worker each second stands still with it, and returns with it.
#[test]
fn a_timer_does_not_start_the_worker_meanwhile() -> Result<()> {
    let sandbox = Sandbox::boot("s2-timer")?;
    let timer = "[Timer]\nOnActiveSec=1s\nOnUnitInactiveSec=100ms\nAccuracySec=1ms\nUnit=hot-worker.service\n";
    sandbox.write("/etc/systemd/system/hot-wakes.timer", "0644", timer)?;
    let host = Host::start(&sandbox)?;
    sandbox.sh("systemctl start hot-wakes.timer")?;
    sandbox.wait_until("the timer to be seen", secs(10), || {
        Ok(sandbox.property("hot-worker", "TriggeredBy")? == "hot-wakes.timer")
    })?;
    host.hot.kill_base()?;
    assert_eq!(host.wait_closed(1)?, "proved", "{:#?}", host.guard.ledger()?);
    host.wait_well()?;
    let opened = host.guard.records("opened")?;
    let steps = &opened[0]["body"]["opened"]["plan"]["steps"];
    assert_eq!(steps[1]["act"]["stop"]["unit"], "hot-wakes.timer", "{steps:#}");
    assert_eq!(sandbox.property("hot-wakes.timer", "ActiveState")?, "active");
    host.hot.nothing_beneath()
}

/// A mount that somebody stands in is not taken off without leave, and is with it.
#[test]
fn a_mount_that_is_in_use_is_taken_off_only_by_policy() -> Result<()> {
    let sandbox = Sandbox::boot("s2-busy")?;
    let config = uncapped();
    let host = Host::start_with(&sandbox, &config)?;
    sandbox.sh("systemd-run --quiet --unit=visitor --property=WorkingDirectory=/srv/jobs/b sleep infinity")?;
    host.hot.kill_base()?;
    // It is a companion: the others are healed without it.
    assert_eq!(host.wait_closed(1)?, "proved", "{:#?}", host.guard.ledger()?);
    let state = host.hot.state()?;
    assert_eq!(state, ["well", "well", "fenced"]);
    ensure!(host.hot.worker_runs()?);
    host.guard.configure(&config.replace("holders  =", "lazy = true\nholders  ="))?;
    host.guard.run(&["reload"])?.ok()?;
    host.wait_well()
}

#[test]
fn what_cannot_be_bound_is_fenced_until_it_can() -> Result<()> {
    let sandbox = Sandbox::boot("s2-fenced")?;
    let host = Host::start_with(&sandbox, &uncapped())?;
    sandbox.sh("mv /srv/remote/a /srv/remote/away; umount -l /srv/jobs/a")?;
    let closed = host.wait_closed(1)?;
    ensure!(!closed["unproved"].is_null(), "{closed:#}");
    sandbox.wait_until("the worker to run", secs(10), || host.hot.worker_runs())?;
    assert_eq!(host.hot.state()?, ["well", "fenced", "well"]);
    let doctor = host.guard.run(&["doctor"])?.stdout;
    ensure!(doctor.contains("umount -l /srv/jobs/a"), "how it is opened by hand is not in\n{doctor}");
    sandbox.wait_until("the worker to be refused", secs(20), || {
        Ok(sandbox.sh("tail -n 1 /run/hot-worker")?.contains("Read-only file system"))
    })?;
    // Until it was confirmed the worker wrote there; from here on nobody does.
    sandbox.sh("unshare --mount bash -c 'umount -l /srv/jobs/a; rm /srv/jobs/a/out'")?;
    host.hot.nothing_beneath()?;
    sandbox.sh("mv /srv/remote/away /srv/remote/a")?;
    host.wait_well()?;
    host.hot.nothing_beneath()
}

/// A base that is dead though its paths answer is Down, and is started; one that has no unit of its own is nobody's.
#[test]
fn a_base_without_broken_paths_is_started() -> Result<()> {
    let sandbox = Sandbox::boot("s2-base")?;
    let hot = HotPaths::install(&sandbox)?;
    hot.install_worker()?;
    sandbox.write(
        "/etc/systemd/system/tunnel.service",
        "0644",
        "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    )?;
    sandbox.sh("systemctl daemon-reload; systemctl start tunnel")?;
    let config = HotPaths::config().replace("base   = \"box.service\"", "base   = \"tunnel.service\"");
    let guard = Guard::install_with(&sandbox, &config)?;
    sandbox.sh("systemctl start hostward")?;
    let worker = sandbox.property("hot-worker", "MainPID")?;
    sandbox.wait_until("all to be up", secs(30), || {
        guard.has_metric(&format!("hostward_watch_up{{watch=\"{WATCH}\"}} 1"))
    })?;
    sandbox.sh("systemctl kill --signal=KILL tunnel")?;
    assert_eq!(guard.wait_closed(secs(60))?, "proved", "{:#?}", guard.ledger()?);
    assert_eq!(sandbox.property("tunnel", "ActiveState")?, "active");
    assert_eq!(sandbox.property("hot-worker", "MainPID")?, worker, "what answers is left in peace");
    Ok(())
}

#[test]
fn a_capped_path_blocks_no_other() -> Result<()> {
    let sandbox = Sandbox::boot("s2-capped")?;
    let capped = HotPaths::config().replace("brakes.soak =", "brakes.per_hour = 1\nbrakes.soak =");
    let host = Host::start_with(&sandbox, &capped)?;
    sandbox.sh("mv /srv/remote/a /srv/remote/away; umount -l /srv/jobs/a")?;
    host.wait_closed(1)?;
    sandbox.wait_until("the path to be capped", secs(20), || {
        let targets = host.guard.watch(WATCH)?["targets"].as_array().cloned().unwrap_or_default();
        let holds = targets.iter().filter(|target| target["id"] == format!("{WATCH}#/srv/jobs/a").as_str());
        Ok(holds.filter_map(|target| target["holds"].as_array()).flatten().any(|held| held["hold"] == "target_cap"))
    })?;
    sandbox.sh("mv /srv/remote/away /srv/remote/a; umount -l /srv/jobs/b")?;
    assert_eq!(host.wait_closed(2)?, "proved");
    let opened = host.guard.records("opened")?;
    let heals = opened[1]["body"]["opened"]["plan"]["heals"].as_array().cloned().unwrap_or_default();
    let healed: Vec<&str> = heals.iter().filter_map(|heal| heal["target"].as_str()).collect();
    assert_eq!(healed, ["storage.hot#/srv/jobs/b"]);
    assert_eq!(host.hot.state()?, ["well", "fenced", "well"]);
    Ok(())
}

/// The daemon may live in a mount namespace of its own: what it has mounted is mounted on the host.
#[test]
fn mounts_are_the_hosts_whatever_namespace_we_are_in() -> Result<()> {
    let sandbox = Sandbox::boot("s2-namespace")?;
    sandbox.write("/etc/systemd/system/hostward.service.d/own.conf", "0644", "[Service]\nPrivateTmp=yes\n")?;
    let host = Host::start(&sandbox)?;
    let of = |pid: &str| sandbox.sh(&format!("readlink /proc/{pid}/ns/mnt"));
    ensure!(of(&host.guard.life()?.0)? != of("1")?, "it has no namespace of its own");
    host.hot.kill_base()?;
    assert_eq!(host.wait_closed(1)?, "proved", "{:#?}", host.guard.ledger()?);
    host.wait_well()
}

/// S7: the worker stops while its path is another disk. Nobody starts it there, and its storage is no fault of the job's.
#[test]
fn a_writer_is_not_started_onto_another_disk() -> Result<()> {
    let sandbox = Sandbox::boot("s7-storage")?;
    let worker = "[service.worker]\nunit = \"hot-worker.service\"\nconfirm = { runs = 2, age = \"1s\" }\n";
    let host = Host::start_with(&sandbox, &format!("{}{worker}", HotPaths::config()))?;
    sandbox.sh("umount -l /srv/jobs/a; mount -t tmpfs other /srv/jobs/a")?;
    sandbox.wait_until("the wrong disk to be seen", secs(30), || {
        host.guard.has_metric(
            "hostward_storage_path_condition{path=\"/srv/jobs/a\",reason=\"wrong_source\",watch=\"storage.hot\"} 1",
        )
    })?;
    sandbox.sh("systemctl kill --signal=KILL hot-worker")?;
    host.guard.wait_held("service.worker", "dependency_down", secs(30))?;
    host.guard.never_acts(secs(5))?;
    sandbox.sh("umount /srv/jobs/a; mount --bind /srv/box/a /srv/jobs/a")?;
    sandbox.wait_until("the worker to be started", secs(60), || {
        Ok(sandbox.property("hot-worker", "ActiveState")? == "active")
    })?;
    let opened = host.guard.records("opened")?;
    let watches: Vec<&str> = opened.iter().filter_map(|r| r["body"]["opened"]["plan"]["watch"].as_str()).collect();
    assert_eq!(watches, ["service.worker"]);
    Ok(())
}
