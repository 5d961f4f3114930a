//! Exit codes that scripts and timers go by, and a control socket that nobody can fill for others.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{ExampleApp, Guard, Output, Reconcile, RestartSec, Sandbox};

const USAGE: Option<i32> = Some(2);
const UNKNOWN: Option<i32> = Some(4);
const REFUSED: Option<i32> = Some(5);
const BUSY: Option<i32> = Some(75);
const SOON: Duration = Duration::from_secs(20);

fn as_user(sandbox: &Sandbox, user: &str, arguments: &[&str]) -> Result<Output> {
    sandbox.exec(["runuser", "-u", user, "--", "hostward"].iter().chain(arguments))
}

#[test]
fn an_idle_daemon_knows_nothing_and_says_so_by_its_exit_code() -> Result<()> {
    let sandbox = Sandbox::boot("idle-exit")?;
    let guard = Guard::install_with(&sandbox, "")?;
    sandbox.sh("rm -rf /etc/hostward/hostward.toml /etc/hostward/conf.d; systemctl start hostward")?;
    for verb in ["status", "check"] {
        let idle = guard.run(&[verb])?;
        assert_eq!(idle.code(), UNKNOWN, "{verb}: {idle:?}");
        ensure!(idle.stdout.contains("no configuration"), "{verb}: {idle:?}");
    }
    guard.configure("")?;
    guard.run(&["reload"])?.ok()?;
    assert_eq!(guard.run(&["status"])?.code(), Some(0), "it watches what it was told to: nothing");
    Ok(())
}

#[test]
fn what_cannot_be_reached_is_unknown_and_what_only_root_may_is_refused() -> Result<()> {
    let sandbox = Sandbox::boot("exits")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install(&sandbox, Reconcile::Pip)?;
    assert_eq!(guard.run(&["nonsense"])?.code(), USAGE);
    assert_eq!(guard.run(&["reload"])?.code(), UNKNOWN, "no daemon");
    assert_eq!(sandbox.exec(["hostward", "--config", "/nowhere", "check"])?.code(), USAGE);
    let no_bus = "env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere hostward check service.api";
    assert_eq!(sandbox.exec(["sh", "-c", no_bus])?.code(), Some(0), "systemctl has a socket of systemd's own");
    for daemon in ["without", "with"] {
        let verbs: [&[&str]; 8] = [
            &["trigger", "baseline.app"],
            &["enable"],
            &["disable"],
            &["clear"],
            &["reload"],
            &["pause", "--all", "--for", "1h", "--reason", "x"],
            &["resume", "--all"],
            &["apply", "0123456789ab"],
        ];
        for verb in verbs {
            let refused = as_user(&sandbox, "nobody", verb)?;
            assert_eq!(refused.code(), REFUSED, "{verb:?}, {daemon} a daemon: {refused:?}");
            ensure!(refused.stderr.contains("sudo"), "{verb:?}: {refused:?}");
        }
        guard.start()?;
    }
    let history = as_user(&sandbox, "nobody", &["history"])?;
    assert_eq!(history.code(), UNKNOWN, "its file is root's: {history:?}");
    as_user(&sandbox, "nobody", &["status"])?.ok()?;
    sandbox.sh("chmod 0600 /run/hostward/control")?;
    let shut = as_user(&sandbox, "nobody", &["status"])?;
    assert_eq!(shut.code(), UNKNOWN, "{shut:?}");
    ensure!(shut.stderr.contains("/run/hostward/control"), "{shut:?}");
    Ok(())
}

#[test]
fn a_user_who_fills_the_control_socket_keeps_nobody_else_out() -> Result<()> {
    let sandbox = Sandbox::boot("callers")?;
    let _app = ExampleApp::install(&sandbox, RestartSec::Default100ms)?;
    let guard = Guard::install(&sandbox, Reconcile::Pip)?;
    guard.start()?;
    // Each says nothing, and who is turned away comes again at once.
    let flood = r"
import socket, time
callers = []
while True:
    while len(callers) < 40:
        s = socket.socket(socket.AF_UNIX); s.connect('/run/hostward/control'); callers.append(s)
    time.sleep(0.05)
    for s in list(callers):
        s.setblocking(False)
        try:
            s.recv(4096); s.close(); callers.remove(s)
        except BlockingIOError:
            pass
";
    let mut flooding = sandbox
        .command(["runuser", "-u", "nobody", "--", "/usr/bin/python3", "-c", flood])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let full = sandbox.wait_for("his places to be taken", SOON, || {
        let own = as_user(&sandbox, "nobody", &["status"])?;
        Ok((own.code() == BUSY).then_some(own))
    });
    let others = (|| {
        for _ in 0..10 {
            guard.run(&["status"])?.ok()?;
            as_user(&sandbox, "daemon", &["status"])?.ok()?;
        }
        Ok::<_, anyhow::Error>(())
    })();
    flooding.kill()?;
    flooding.wait()?;
    ensure!(full?.stderr.contains("callers"), "it does not say why");
    others
}
