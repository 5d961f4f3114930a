//! The harness proves itself: what the scenarios stand on is real, breaks for real, heals for real, and leaves nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostward_tests::{BootOptions, Cgroup, ExampleApp, Reconcile, RestartSec, Sandbox, install_hostward};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn pid_1_is_systemd_and_nothing_of_the_machine_runs() -> Result<()> {
    let sandbox = Sandbox::boot("boots")?;
    assert_eq!(sandbox.read("/proc/1/comm")?.trim(), "systemd");
    assert_eq!(sandbox.sh("systemctl is-system-running")?.trim(), "running");
    assert_eq!(sandbox.sh("hostname")?.trim(), sandbox.name());
    assert_eq!(sandbox.exec(["sh", "-c", "exit 7"])?.code(), Some(7));
    sandbox.write("/var/lib/some/file", "0640", "inside")?;
    assert_eq!(sandbox.sh("stat -c %a /var/lib/some/file; cat /var/lib/some/file")?, "640\ninside");
    ensure!(!std::path::Path::new("/var/lib/some/file").exists(), "the sandbox wrote to the machine's root");
    Ok(())
}

#[test]
fn nothing_is_left_after_a_drop() -> Result<()> {
    let sandbox = Sandbox::boot("traceless")?;
    // A mount, a loop device, and a process that ignores SIGTERM.
    sandbox
        .sh("truncate -s 8M /var/disk; mkfs.ext4 -q /var/disk; mkdir /mnt/disk; mount -o loop /var/disk /mnt/disk")?;
    sandbox.sh("systemd-run --quiet sh -c \"trap '' TERM; while :; do sleep 1; done\"")?;
    let name = sandbox.name().to_owned();
    ensure!(Sandbox::traces(&name)?.len() > 5, "a running sandbox leaves traces; the search for them finds none");
    drop(sandbox);
    assert_eq!(left_after(&name, secs(10))?, Vec::<String>::new());
    Ok(())
}

/// What is left of a sandbox once all is gone or the time is up: its guard sleeps for up to half a second before it sees.
fn left_after(name: &str, deadline: Duration) -> Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let left = Sandbox::traces(name)?;
        if left.is_empty() || started.elapsed() > deadline {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// As when a test is SIGKILLed, or runs into nextest's time limit.
#[test]
fn a_sandbox_ends_with_its_owner() -> Result<()> {
    let mut owner = Command::new("sleep").arg("600").spawn()?;
    let name = format!("orphan-{}", std::process::id());
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox/sandbox");
    let booted = Command::new(script).args(["up", &name]).env("SANDBOX_OWNER", owner.id().to_string()).status();
    owner.kill()?;
    owner.wait()?;
    ensure!(booted?.success(), "boot sandbox '{name}'");
    assert_eq!(left_after(&name, secs(10))?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_limit_bites_in_a_hybrid_sandbox() -> Result<()> {
    let sandbox = Sandbox::boot_with("limits", &BootOptions { cgroup: Cgroup::Hybrid, ..BootOptions::default() })?;
    let eater =
        "systemd-run --quiet --wait -p MemoryMax=40M -p MemorySwapMax=0 /usr/bin/python3 -c 'bytearray(200 << 20)'";
    let output = sandbox.exec(["sh", "-c", eater])?;
    ensure!(!output.status.success(), "200 MB fitted into MemoryMax=40M");
    Ok(())
}

#[test]
fn the_example_crash_loops_every_five_seconds_and_heals_by_hand() -> Result<()> {
    // The first restart comes after 5 s: the second must be seen, too.
    breaks_and_heals("example-5s", RestartSec::Five, 2, secs(20))
}

#[test]
fn the_example_crash_loops_at_once_and_heals_by_hand() -> Result<()> {
    breaks_and_heals("example-100ms", RestartSec::Default100ms, 5, secs(20))
}

fn breaks_and_heals(name: &str, restart: RestartSec, restarts: u32, within: Duration) -> Result<()> {
    let sandbox = Sandbox::boot(name)?;
    let app = ExampleApp::install(&sandbox, restart)?;
    let health = app.health()?.expect("installed means healthy");
    assert_eq!(health["checks"]["db"]["status"], "ok");
    ensure!(!app.has_dependency()?, "the venv has the package before anybody installed it");

    app.break_by_updating_code_without_install()?;
    sandbox.wait_until("the crash loop", within, || {
        let state = sandbox.property(ExampleApp::UNIT, "ActiveState")?;
        ensure!(state != "failed", "the unit reached 'failed': then systemd would have given up");
        Ok(app.restarts()? >= restarts)
    })?;
    assert_eq!(app.health()?, None);
    let journal = sandbox.sh(&format!("journalctl --no-pager -u {}", ExampleApp::UNIT))?;
    ensure!(journal.contains("ModuleNotFoundError: No module named 'ratelimiting'"), "another crash: {journal}");
    // What made the incident last for half a day: pip sees nothing wrong.
    assert_eq!(sandbox.sh("/opt/example/.venv/bin/pip check")?.trim(), "No broken requirements found.");

    app.reconcile_by_hand()?;
    sandbox.sh("systemctl restart example-api.service")?;
    app.wait_healthy(2, secs(20))?;
    Ok(())
}

#[test]
fn a_slow_reconcile_can_be_caught_in_the_middle() -> Result<()> {
    let sandbox = Sandbox::boot("slow-wheel")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    app.break_by_updating_code_without_install()?;
    let mut command = vec!["runuser".to_owned(), "-u".to_owned(), "deploy".to_owned(), "--".to_owned()];
    command.extend(ExampleApp::reconcile_command(Reconcile::Slow { seconds: 2 }));
    let mut reconcile = sandbox.command(&command).spawn()?;
    sandbox.wait_until("the sleeping reconcile", secs(10), || {
        Ok(sandbox.exec(["pgrep", "-u", "deploy", "-f", "slow-reconcile 2"])?.status.success())
    })?;
    ensure!(!app.has_dependency()?, "it is said to be in the middle, and has already installed");
    ensure!(reconcile.wait()?.success(), "the slow reconcile failed");
    ensure!(app.has_dependency()?, "the slow reconcile installed nothing");
    Ok(())
}

#[test]
fn a_reconcile_without_its_wheel_fails_for_good() -> Result<()> {
    let sandbox = Sandbox::boot("no-wheel")?;
    let app = ExampleApp::install(&sandbox, RestartSec::Five)?;
    app.remove_wheel()?;
    app.break_by_updating_code_without_install()?;
    let error = app.reconcile_by_hand().expect_err("there is no wheel to install");
    ensure!(error.to_string().contains("No matching distribution found for ratelimiting==1.0.0"), "{error:#}");

    app.revert()?;
    app.wait_healthy(1, secs(20))?;
    app.fail_check_until_restart("db")?;
    let body = app.health()?.expect("a failing check still answers");
    assert_eq!((&body["ok"], &body["checks"]["db"]["status"]), (&false.into(), &"failing".into()));
    Ok(())
}

/// Says that it is ready and then nothing more, as a daemon that hangs.
const HANGING_DAEMON: &str = "#!/bin/sh\nsystemd-notify --ready\nexec sleep infinity\n";

#[test]
fn our_units_are_sound() -> Result<()> {
    let sandbox = Sandbox::boot("units")?;
    install_hostward(&sandbox, std::path::Path::new("/bin/true"), "")?;
    let units = "hostward.service hostward-watch@example.service hostward-watch@example.timer";
    // It says nothing about a sound unit; --man=no, for the manual page comes with the package.
    assert_eq!(sandbox.sh(&format!("systemd-analyze verify --man=no {units} 2>&1"))?, "");
    assert_eq!(sandbox.sh("stat -c '%F %a %U' /run/hostward")?.trim(), "directory 755 root");
    // No mount namespace: what Hostward sees and does is the host's.
    for property in ["PrivateTmp", "ProtectHome", "ProtectSystem", "ProtectKernelTunables", "PrivateDevices"] {
        assert_eq!(sandbox.property("hostward.service", property)?, "no", "{property}");
    }
    assert_eq!(sandbox.property("hostward-watch@example.service", "SuccessExitStatus")?, "1 5 75");
    assert_eq!(sandbox.property("hostward-watch@example.service", "TimeoutStartUSec")?, "30min");
    Ok(())
}

#[test]
fn systemd_ends_a_daemon_that_hangs_and_starts_it_again() -> Result<()> {
    let sandbox = Sandbox::boot("hangs")?;
    install_hostward(&sandbox, std::path::Path::new("/bin/true"), "")?;
    sandbox.write("/usr/bin/hostward", "0755", HANGING_DAEMON)?;
    // systemd-notify is a child of the main process.
    let drop_in = "[Service]\nNotifyAccess=all\n";
    sandbox.write("/etc/systemd/system/hostward.service.d/test.conf", "0644", drop_in)?;
    sandbox.sh("systemctl daemon-reload; systemctl start hostward.service")?;
    let shown = sandbox
        .sh("systemctl show hostward.service -p Type,Restart,RestartUSec,WatchdogUSec,MemoryMax,OOMScoreAdjust,CPUQuotaPerSecUSec")?;
    for line in [
        "Type=notify",
        "Restart=always",
        "RestartUSec=2s",
        "WatchdogUSec=1min",
        "MemoryMax=67108864",
        "OOMScoreAdjust=-500",
        "CPUQuotaPerSecUSec=500ms",
    ] {
        ensure!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
    }
    sandbox.write("/etc/systemd/system/hostward.service.d/test.conf", "0644", format!("{drop_in}WatchdogSec=1\n"))?;
    sandbox.sh("systemctl daemon-reload; systemctl restart hostward.service")?;
    sandbox.wait_until("two restarts by the watchdog", secs(30), || {
        Ok(sandbox.property("hostward.service", "NRestarts")?.parse::<u32>()? >= 2)
    })?;
    let journal = sandbox.sh("journalctl --no-pager -u hostward.service")?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    Ok(())
}
