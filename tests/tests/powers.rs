//! The powers that take something away and give it back, on a real systemd: stop closures, undos armed with PID 1,
//! fences.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{BootOptions, Output, Sandbox};
use serde_json::{Value, json};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A sandbox with the program `powers` in it.
struct Host(Sandbox);

impl Host {
    fn boot(name: &str) -> Result<Self> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_powers"));
        let binds = vec![(program, PathBuf::from("/usr/local/bin/powers"))];
        Ok(Self(Sandbox::boot_with(name, &BootOptions { binds, ..BootOptions::default() })?))
    }

    fn try_power(&self, words: &str) -> Result<Output> {
        self.0.exec(["powers"].into_iter().chain(words.split_whitespace()))
    }

    fn power(&self, words: &str) -> Result<Value> {
        let printed = self.try_power(words)?.ok()?;
        serde_json::from_str(&printed).with_context(|| format!("read what `powers {words}` printed: {printed}"))
    }

    /// Services that run for ever, each `NAME: [Unit] settings`, with systemd's restart.
    fn services(&self, services: &[(&str, &str)]) -> Result<()> {
        for (name, unit) in services {
            let text = format!("[Unit]\n{unit}\n[Service]\nExecStart=sleep infinity\nRestart=always\n");
            self.0.write(&format!("/etc/systemd/system/{name}.service"), "0644", text)?;
        }
        self.0.sh("systemctl daemon-reload")?;
        Ok(())
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.0.sh(script)
    }

    fn active(&self, unit: &str) -> Result<bool> {
        Ok(self.0.property(unit, "ActiveState")? == "active")
    }

    fn wait_active(&self, unit: &str) -> Result<()> {
        self.0.wait_until(&format!("{unit} to be active"), secs(20), || self.active(unit))?;
        Ok(())
    }

    /// Every unit, file and failure of the armed undos.
    fn traces(&self) -> Result<String> {
        self.sh("systemctl list-units --all --no-legend 'hostward-*'; ls /run/systemd/transient 2>/dev/null || true")
    }

    fn wait_no_traces(&self) -> Result<()> {
        self.0.wait_until("all units of ours to be gone", secs(10), || Ok(self.traces()?.trim().is_empty()))?;
        Ok(())
    }
}

/// Everything that a stop of `base` takes along, in many ways, and what it leaves.
const FAMILY: &[(&str, &str)] = &[
    ("base", ""),
    ("requires", "Requires=base.service\nAfter=base.service"),
    ("second", "Requires=requires.service\nAfter=requires.service a-binds.service"),
    ("a-binds", "BindsTo=base.service\nAfter=requires.service"),
    ("part", "PartOf=base.service"),
    ("requisite", "Requisite=base.service\nAfter=base.service"),
    ("told", "StopPropagatedFrom=base.service"),
    ("cycle-a", "Requires=base.service cycle-b.service"),
    ("cycle-b", "BindsTo=cycle-a.service"),
    ("wants", "Wants=base.service\nAfter=base.service"),
    ("idle", "Requires=base.service"),
    ("beyond", "Requires=idle.service"),
];

const MEMBERS: [&str; 8] = [
    "cycle-a.service",
    "cycle-b.service",
    "part.service",
    "requires.service",
    "a-binds.service",
    "requisite.service",
    "second.service",
    "told.service",
];

#[test]
fn a_stop_takes_its_closure_and_start_all_brings_it_back() -> Result<()> {
    let host = Host::boot("closure")?;
    host.services(FAMILY)?;
    host.sh("systemctl start base requires second a-binds part requisite told cycle-a cycle-b wants beyond")?;
    // A stop does not pass through what is stopped already.
    host.sh("systemctl stop --job-mode=ignore-dependencies idle")?;

    let closure = host.power("closure base.service")?;
    assert_eq!(closure["members"], json!(MEMBERS));
    assert_eq!(closure["one_way"], json!([]));
    assert_eq!(closure["wakers"], json!([]));
    // base, requires, a-binds, second: one after another, 90 s each.
    assert_eq!(closure["stop_timeout_ms"], 360_000);
    assert_eq!(host.power("stop-timeout base.service")?, 90_000);
    assert_eq!(host.power("closure wants.service")?["members"], json!([]));
    assert_eq!(host.power("closure no-such.service")?["members"], json!([]));

    let down = host.power("take-down base.service 20000")?;
    assert_eq!(down["outcome"], "ok");
    let mut along: Vec<&str> =
        down["along"].as_array().context("an array")?.iter().filter_map(|a| a[0].as_str()).collect();
    along.sort_unstable();
    let mut members = MEMBERS;
    members.sort_unstable();
    assert_eq!(along, members, "systemd stopped something else than was read before");
    for unit in MEMBERS {
        ensure!(!host.active(unit)?, "{unit} is active after the stop, so that this tests nothing");
    }
    // What makes the list necessary: a start of the unit alone brings nothing else back, Restart=always or not.
    host.sh("systemctl start base")?;
    ensure!(!host.active("requires.service")?, "it came back by itself");
    for unit in ["wants.service", "beyond.service"] {
        ensure!(host.active(unit)?, "{unit} was stopped, and not read before");
    }

    // A masked and a missing unit keep none of the others back.
    host.sh("systemctl stop base; ln -s /dev/null /run/systemd/system/masked.service; systemctl daemon-reload")?;
    let started =
        host.power(&format!("start-all 20000 masked.service no-such.service base.service {}", MEMBERS.join(" ")))?;
    let started: Vec<(&str, &str)> = started
        .as_array()
        .context("an array")?
        .iter()
        .filter_map(|s| Some((s[0].as_str()?, s[1].as_str()?)))
        .collect();
    assert!(started[0].1.starts_with("failed: refused: UnitMasked"), "{started:?}");
    assert!(started[1].1.starts_with("failed: refused: NoSuchUnit"), "{started:?}");
    for (unit, outcome) in &started[2..] {
        assert_eq!(*outcome, "ok", "{unit}");
        ensure!(host.active(unit)?, "{unit} did not come back");
    }
    ensure!(!host.active("idle.service")?, "it was not running before");
    Ok(())
}

#[test]
fn what_cannot_come_back_and_what_is_too_much_is_told() -> Result<()> {
    let host = Host::boot("closure-limits")?;
    host.services(&[("base", ""), ("by-hand", "Requires=base.service\nRefuseManualStart=yes")])?;
    host.sh("systemctl start base; systemd-run --quiet --unit=transient -p Requires=base.service sleep infinity")?;
    host.services(&[("starter", "Requires=by-hand.service")])?;
    host.sh("systemctl start starter")?;
    let closure = host.power("closure base.service")?;
    assert_eq!(closure["members"], json!(["by-hand.service", "starter.service", "transient.service"]));
    assert_eq!(closure["one_way"], json!(["by-hand.service", "transient.service"]));
    assert_eq!(closure["wakers"], json!([]));

    // What would start it again while it should be down; not the timer that is not running.
    host.services(&[("upholder", "Upholds=base.service")])?;
    let timer = "[Timer]\nOnActiveSec=1d\nUnit=starter.service\n";
    host.0.write("/etc/systemd/system/wakes.timer", "0644", timer)?;
    host.0.write("/etc/systemd/system/idle.timer", "0644", timer)?;
    host.sh("systemctl daemon-reload; systemctl start upholder.service wakes.timer; systemctl show idle.timer")?;
    assert_eq!(host.power("closure base.service")?["wakers"], json!(["upholder.service", "wakes.timer"]));
    host.power("take-down base.service 20000")?;
    host.wait_active("base.service")?;
    host.sh("systemctl stop upholder; systemctl start starter")?;
    let gone = "systemctl start by-hand";
    ensure!(!host.0.exec(gone.split(' '))?.status.success(), "it starts by hand");
    ensure!(
        host.0.property("transient.service", "LoadState")? == "not-found",
        "a stopped transient unit is still there"
    );

    // 257 of one template.
    let template =
        "[Unit]\nBindsTo=base.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
    host.0.write("/etc/systemd/system/many@.service", "0644", template)?;
    host.sh("systemctl daemon-reload; systemctl start many@{1..253}")?;
    let members = host.power("closure base.service")?["members"].as_array().map(Vec::len);
    assert_eq!(members, Some(255));
    host.sh("systemctl start many@254 many@255")?;
    let refused = host.try_power("closure base.service")?;
    ensure!(refused.stderr.contains("more than 256 units are stopped with 'base.service'"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn an_armed_undo_starts_what_was_stopped_with_nobody_alive() -> Result<()> {
    let host = Host::boot("undo-fires")?;
    host.services(FAMILY)?;
    // Backslashes must survive the way into a unit file and, at the reload, out of it.
    host.services(&[(r"odd\x2dname", "")])?;
    let limited = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
                   ExecStart=test -e /run/good\n";
    host.0.write("/etc/systemd/system/limited.service", "0644", limited)?;
    let units = r"base.service requires.service second.service limited.service no-such.service odd\x2dname.service";
    assert_eq!(host.power(&format!("arm r1 600000 {units}"))?, "hostward-undo-r1-0.timer");
    // A reload begins OnActiveSec anew: with it the undo of a host that is often reloaded would never come.
    let elapses = || host.0.property("hostward-undo-r1-0.timer", "NextElapseUSecMonotonic");
    let before = elapses()?;
    host.sh("systemctl daemon-reload; systemctl daemon-reexec; systemctl daemon-reload")?;
    assert_eq!(elapses()?, before);

    // After the reloads, which forget start limits.
    host.sh("! systemctl start limited; ! systemctl start limited; touch /run/good; ! systemctl start limited")?;
    host.power("push r1 1000")?;
    host.sh("systemctl stop dbus.service dbus.socket")?;
    for unit in ["base.service", "requires.service", "second.service", "limited.service", r"odd\x2dname.service"] {
        host.wait_active(unit)?;
    }

    // Whoever comes later finds out, and can put it away.
    host.sh("systemctl start dbus.socket dbus.service")?;
    let armed = host.power("armed")?;
    let units: Vec<&str> = units.split(' ').collect();
    assert_eq!(armed, json!([{ "run": "r1", "timer": "hostward-undo-r1-1.timer", "units": units, "left_ms": null }]));
    let late = host.try_power("push r1 60000")?;
    ensure!(late.stderr.contains("the undo of run 'r1' has fired"), "{}", late.stderr);
    host.power("disarm r1")?;
    host.wait_no_traces()
}

/// What is bare is closed, what somebody mounted is left, and a mount(8) that hangs keeps nobody down.
#[test]
fn an_armed_undo_closes_what_is_bare_and_waits_for_nothing_that_hangs() -> Result<()> {
    let host = Host::boot("undo-closes")?;
    host.services(&[("worker", "")])?;
    host.sh("mkdir -p /srv/{bare,mounted,dead,hangs,alone}
         for path in mounted dead; do mount -t tmpfs good /srv/$path; done; cp /usr/bin/mount /usr/bin/mount.real")?;
    let script = "#!/bin/bash\ncase \"$*\" in */srv/hangs) trap '' TERM; while :; do sleep 1; done;; esac\n\
                  exec mount.real \"$@\"\n";
    host.0.write("/usr/bin/mount.new", "0755", script)?;
    host.sh("mv /usr/bin/mount.new /usr/bin/mount")?;
    let paths = "fence:/srv/hangs fence:/srv/bare fence:/srv/mounted cover:/srv/dead";
    host.power(&format!("arm r1 600000 worker.service {paths}"))?;
    host.sh("systemctl daemon-reload")?;
    host.power("push r1 1000")?;
    host.0.wait_until("the worker to be started", secs(60), || host.active("worker.service"))?;
    let source = |path: &str| Ok::<_, anyhow::Error>(host.power(&format!("mount-at /srv/{path}"))?["source"].clone());
    for (path, expected) in [("bare", "hostward-fence"), ("mounted", "good"), ("dead", "hostward-fence")] {
        assert_eq!(source(path)?, expected, "{path}");
    }
    assert_eq!(source("hangs")?, Value::Null);
    // Once more: what is closed is not closed twice.
    host.power("arm r2 500 fence:/srv/alone cover:/srv/dead")?;
    host.0.wait_until("a path to be closed though nobody is to be started", secs(20), || {
        Ok(source("alone")? == "hostward-fence")
    })?;
    host.power("unfence /srv/dead")?;
    assert_eq!(source("dead")?, "good");
    host.power("disarm r1")?;
    host.power("disarm r2")?;
    host.wait_no_traces()
}

#[test]
fn a_push_killed_anywhere_leaves_one_armed() -> Result<()> {
    let host = Host::boot("undo-push")?;
    host.services(&[("worker", "")])?;
    host.power("arm a-run 600000 worker.service")?;
    host.power("arm other 600000 worker.service")?;
    for turn in 0..12 {
        // Killed after a number of microseconds that differs each time: anywhere in a push.
        let script = format!("powers push-on a-run 600000 & pid=$!; sleep 0.0{:02}; kill -9 $pid", 15 + 3 * turn);
        host.sh(&script)?;
        let armed = host.power("armed")?;
        let of_run = |run: &str| {
            let all = armed.as_array().into_iter().flatten();
            all.filter(|undo| undo["run"] == run && undo["left_ms"].as_u64() > Some(500_000)).count()
        };
        ensure!((1..=2).contains(&of_run("a-run")), "turn {turn}: {armed}");
        ensure!(of_run("other") == 1, "turn {turn}: {armed}");
    }
    let numbers = host.power("armed")?;
    ensure!(numbers[0]["timer"] != "hostward-undo-a-run-0.timer", "nothing was ever pushed: {numbers}");

    // Moved, and only that run's.
    host.power("push a-run 900000")?;
    let armed = host.power("armed")?;
    let runs: Vec<&str> = armed.as_array().into_iter().flatten().filter_map(|undo| undo["run"].as_str()).collect();
    assert_eq!(runs, ["a-run", "other"]);
    ensure!(armed[0]["left_ms"].as_u64() > Some(800_000), "{armed}");
    assert_eq!(armed[0]["units"], json!(["worker.service"]));
    // Arming again is the same as arming anew.
    host.power("arm a-run 700000 worker.service")?;
    assert_eq!(host.power("armed")?.as_array().map(Vec::len), Some(2));

    host.power("disarm a-run")?;
    host.power("disarm a-run")?;
    let gone = host.try_power("push a-run 1000")?;
    ensure!(gone.stderr.contains("no undo of run 'a-run' is armed"), "{}", gone.stderr);
    host.power("disarm other")?;
    host.wait_no_traces()?;
    ensure!(!host.active("worker.service")?, "an undo that was dropped has fired");
    Ok(())
}

#[test]
fn a_fence_refuses_writers_and_comes_off_again() -> Result<()> {
    let host = Host::boot("fence")?;
    host.sh(
        "mkdir -p /srv/plain /srv/my-mount /srv/listed; mount -t tmpfs real /srv/my-mount; touch /srv/my-mount/mine",
    )?;
    // A mount unit that has a file: systemd refuses a transient one of its name.
    host.sh("echo 'real /srv/listed tmpfs defaults 0 0' >>/etc/fstab; systemctl daemon-reload; systemctl start srv-listed.mount")?;
    for path in ["/srv/plain", "/srv/my-mount", "/srv/listed"] {
        let before = host.power(&format!("mount-at {path}"))?;
        host.power(&format!("fence {path}"))?;
        let written = host.0.exec(["touch", &format!("{path}/x")])?;
        ensure!(written.stderr.contains("Read-only file system"), "{path}: {}", written.stderr);
        // Also for a service with a mount namespace of its own.
        let writer = format!("systemd-run --quiet --wait --pipe -p PrivateTmp=yes touch {path}/x 2>&1 || true");
        ensure!(host.sh(&writer)?.contains("Read-only file system"), "{path} is open to a service");
        let fence = host.power(&format!("mount-at {path}"))?;
        assert_eq!((&fence["source"], &fence["fstype"]), (&json!("hostward-fence"), &json!("tmpfs")));

        host.power(&format!("fence {path}"))?;
        let fences = host.sh(&format!("grep -c ' {path} .* hostward-fence ' /proc/self/mountinfo"))?;
        assert_eq!(fences.trim(), "1", "fenced twice");

        // One that stands in it does not keep it up.
        host.sh(&format!("systemd-run --quiet -p WorkingDirectory={path} sleep infinity"))?;
        host.power(&format!("unfence {path}"))?;
        assert_eq!(host.power(&format!("mount-at {path}"))?, before, "what was beneath is not as it was");
        host.sh(&format!("touch {path}/x"))?;
        host.power(&format!("unfence {path}"))?;
        assert_eq!(host.power(&format!("mount-at {path}"))?, before, "an unfence took what is not ours");
    }
    // The second begins before systemd has forgotten the first.
    host.power("fence-often /srv/plain 20")?;
    assert_eq!(host.power("mount-at /srv/plain")?, Value::Null);
    host.sh("test -e /srv/my-mount/mine; systemctl is-active srv-listed.mount srv-my\\\\x2dmount.mount")?;
    Ok(())
}

#[test]
fn a_fence_stands_over_a_dead_mount_and_is_left_beneath_another() -> Result<()> {
    let host = Host::boot("fence-dead")?;
    // A FUSE mount whose server has ended: ENOTCONN for everybody who touches it.
    let serve = "import os,ctypes\nfd=os.open('/dev/fuse',os.O_RDWR)\n\
                 data=b'fd=%d,rootmode=40000,user_id=0,group_id=0'%fd\n\
                 assert ctypes.CDLL(None).mount(b'dead',b'/srv/dead',b'fuse',0,data)==0\n";
    host.sh(&format!("mkdir -p /srv/dead; python3 -c \"{serve}\""))?;
    ensure!(host.0.exec(["ls", "/srv/dead"])?.stderr.contains("not connected"), "the mount is not dead");
    host.power("fence /srv/dead")?;
    ensure!(host.0.exec(["touch", "/srv/dead/x"])?.stderr.contains("Read-only"), "no fence over the dead mount");
    // Somebody mounts over it: then it is theirs.
    host.sh("mount -t tmpfs theirs /srv/dead")?;
    let covered = host.try_power("unfence /srv/dead")?;
    ensure!(covered.stderr.contains("the fence of '/srv/dead' lies beneath 'theirs'"), "{}", covered.stderr);
    assert_eq!(host.power("mount-at /srv/dead")?["source"], "theirs");
    host.sh("umount /srv/dead")?;
    host.power("unfence /srv/dead")?;
    assert_eq!(host.power("mount-at /srv/dead")?["source"], "dead");

    let missing = host.try_power("fence /srv/no-such")?;
    ensure!(missing.stderr.contains("fence '/srv/no-such': exited 32"), "{}", missing.stderr);
    host.wait_no_traces()
}
