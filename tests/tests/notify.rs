//! People are told: once when it begins, once when it is over, in the shape of each way; and a dead notifier delays nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostward_tests::{Guard, Sandbox};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const WATCH: &str = "service.victim";

/// Keeps each request as a line of JSON. What is posted below /hole is read and never answered.
const RECEIVER: &str = r#"
import http.server, json, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        said = {"path": self.path, "head": {k.lower(): v for k, v in self.headers.items()}, "body": body}
        with open("/run/received", "a") as out:
            out.write(json.dumps(said) + "\n")
        if self.path.startswith("/hole"):
            time.sleep(3600)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *rest): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
"#;

/// It starts only while /run/victim-well is there.
const VICTIM: &str =
    "[Service]\nExecStart=/bin/sh -c 'test -e /run/victim-well && exec sleep infinity'\nRestart=no\n";

const SENDMAIL: &str = "#!/bin/sh\n{ echo \"args: $*\"; cat; echo '=== end'; } >>/run/mail\n";

fn config(notify: &str) -> String {
    format!(
        "[metrics]\nlisten = \"127.0.0.1:9469\"\n\
         [{WATCH}]\nunit = \"victim.service\"\nbrakes = {{ soak = \"500ms\", cooldown = \"100ms\" }}\n{notify}"
    )
}

fn install<'a>(sandbox: &'a Sandbox, notify: &str) -> Result<Guard<'a>> {
    sandbox.write("/opt/receiver.py", "0644", RECEIVER)?;
    sandbox.write("/usr/sbin/sendmail", "0755", SENDMAIL)?;
    sandbox.write("/etc/systemd/system/victim.service", "0644", VICTIM)?;
    sandbox.write(
        "/etc/systemd/system/receiver.service",
        "0644",
        "[Service]\nExecStart=/usr/bin/python3 -B /opt/receiver.py\n",
    )?;
    sandbox.sh("touch /run/victim-well /run/received; systemctl daemon-reload; systemctl start receiver victim")?;
    sandbox.sh("mkdir -p -m 0700 /etc/hostward/secrets")?;
    for name in ["ops", "phone", "check", "deadman", "hole"] {
        let url = format!("http://127.0.0.1:8099/{name}/SECRET\n");
        sandbox.write(&format!("/etc/hostward/secrets/{name}"), "0600", url)?;
    }
    let guard = Guard::install_with(sandbox, &config(notify))?;
    // systemd's own way of handing over a secret. Its mounts reach a service where mounts are shared, as on a real host.
    sandbox.sh("mount --make-rshared /; mkdir -p /etc/systemd/system/hostward.service.d")?;
    let credential = "[Service]\nLoadCredential=ops-url:/etc/hostward/secrets/ops\n";
    sandbox.write("/etc/systemd/system/hostward.service.d/secrets.conf", "0644", credential)?;
    let listens =
        || Ok(sandbox.exec(["curl", "--silent", "--data", "up", "http://127.0.0.1:8099/up"])?.status.success());
    sandbox.wait_until("the receiver to listen", secs(20), listens)?;
    sandbox.sh("systemctl daemon-reload; systemctl start hostward")?;
    sandbox.wait_until("the watch to be up", secs(20), || Ok(guard.up(WATCH)? == Some(true)))?;
    Ok(guard)
}

/// What was posted below a path, oldest first.
fn received(sandbox: &Sandbox, path: &str) -> Result<Vec<Value>> {
    let lines = sandbox.sh("cat /run/received")?;
    let all = lines.lines().map(|line| serde_json::from_str(line).context("a line of the receiver's"));
    let all: Vec<Value> = all.collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|said| said["path"].as_str().is_some_and(|of| of.starts_with(path))).collect())
}

fn wait_received(sandbox: &Sandbox, path: &str, count: usize) -> Result<Vec<Value>> {
    sandbox.wait_until(&format!("{count} messages at {path}"), secs(30), || {
        Ok(received(sandbox, path)?.len() >= count)
    })?;
    received(sandbox, path)
}

fn body(said: &Value) -> Result<Value> {
    serde_json::from_str(said["body"].as_str().unwrap_or_default()).context("a webhook's body")
}

fn break_for_good(sandbox: &Sandbox) -> Result<()> {
    sandbox.sh("rm -f /run/victim-well; systemctl kill --signal=KILL victim")?;
    Ok(())
}

#[test]
fn an_incident_is_told_once_and_its_end_once_in_the_shape_of_each_way() -> Result<()> {
    let sandbox = Sandbox::boot("notify")?;
    let guard = install(
        &sandbox,
        "[notify.ops]\nwebhook.url = { credential = \"ops-url\" }\n\
         [notify.phone]\nseverity = \"critical\"\nntfy.tags = [\"warning\"]\n\
         ntfy.url = { file = \"/etc/hostward/secrets/phone\" }\n\
         [notify.check]\nhealthchecks.url = { file = \"/etc/hostward/secrets/check\" }\n\
         [notify.mail]\nwatches = [\"service.*\"]\nsendmail.to = [\"root\"]\n\
         [notify.deadman]\nurl = { file = \"/etc/hostward/secrets/deadman\" }\nevery = \"15s\"\n",
    )?;
    wait_received(&sandbox, "/deadman/SECRET", 1)?;
    // Nobody but a person may lift this: it is told as such, and as nothing else.
    guard.forbid(Guard::GLOBAL_SENTINEL)?;
    break_for_good(&sandbox)?;

    let told = wait_received(&sandbox, "/ops", 1)?;
    let opened = body(&told[0])?;
    let said = |key: &str| opened[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((said("event"), said("severity"), said("watch")), ("held".into(), "critical".into(), WATCH.into()));
    assert_eq!((&opened["version"], &opened["repeated"]), (&1.into(), &false.into()));
    assert_eq!(said("condition"), "down");
    assert_eq!(said("reason"), "failed");
    assert_eq!(opened["held"][0]["hold"], "no_sentinel", "{opened}");
    assert_eq!(said("next"), format!("hostward explain {WATCH}"));
    assert_eq!(said("host"), sandbox.sh("hostname")?.trim());

    let phone = wait_received(&sandbox, "/phone", 1)?;
    assert_eq!(phone[0]["head"]["priority"], "5");
    assert_eq!(phone[0]["head"]["tags"], "warning,held");
    ensure!(
        phone[0]["head"]["title"].as_str().is_some_and(|title| title.contains("needs you: no_sentinel")),
        "{phone:?}"
    );
    ensure!(phone[0]["body"].as_str().is_some_and(|text| text.contains("hostward enable")), "{phone:?}");
    assert_eq!(wait_received(&sandbox, "/check", 1)?[0]["path"], "/check/SECRET/fail");

    // A kill of the daemon announces nothing anew.
    guard.kill_and_wait()?;
    let again = || Ok(received(&sandbox, "/ops")?.len() + received(&sandbox, "/phone")?.len() > 2);
    sandbox.never("it was told again", secs(8), again)?;

    sandbox.sh("touch /run/victim-well; systemctl reset-failed victim; systemctl start victim")?;
    let told = wait_received(&sandbox, "/ops", 2)?;
    let cleared = body(&told[1])?;
    assert_eq!((&cleared["event"], &cleared["severity"]), (&"cleared".into(), &"info".into()));
    ensure!(cleared["until"].is_string() && cleared["since"] == opened["since"], "{cleared}");
    assert_eq!(wait_received(&sandbox, "/phone", 2)?[1]["head"]["priority"], "2");
    assert_eq!(wait_received(&sandbox, "/check", 2)?[1]["path"], "/check/SECRET");
    let more = || {
        Ok(["/ops", "/phone", "/check"]
            .iter()
            .map(|path| received(&sandbox, path))
            .any(|got| got.is_ok_and(|got| got.len() > 2)))
    };
    sandbox.never("more was told", secs(8), more)?;

    let mail = sandbox.sh("cat /run/mail")?;
    assert_eq!(mail.matches("=== end").count(), 2, "{mail}");
    ensure!(mail.starts_with("args: -t -i\nTo: root\nSubject: ["), "{mail}");
    let metrics = guard.metrics()?;
    ensure!(metrics.contains("hostward_notifications_pending{notifier=\"ops\"} 0"), "{metrics}");
    for shown in [guard.journal()?, guard.status()?.to_string(), metrics, guard.run(&["config", "show"])?.stdout] {
        ensure!(!shown.contains("SECRET"), "a secret is shown: {shown}");
    }
    let tested = guard.run(&["notify", "test", "phone"])?;
    assert_eq!(tested.code(), Some(0), "{tested:?}");
    ensure!(tested.stdout.contains("status 204"), "{tested:?}");
    assert_eq!(guard.run(&["notify", "test", "fone"])?.code(), Some(2));
    Ok(())
}

#[test]
fn a_dead_webhook_never_delays_a_remedy() -> Result<()> {
    let sandbox = Sandbox::boot("notify-dead")?;
    let guard = install(
        &sandbox,
        "[notify.hole]\nafter = \"0s\"\nwebhook.url = { file = \"/etc/hostward/secrets/hole\" }\n",
    )?;
    let life = guard.life()?;
    // The first trouble's message hangs in the hole.
    guard.forbid(Guard::GLOBAL_SENTINEL)?;
    break_for_good(&sandbox)?;
    wait_received(&sandbox, "/hole", 1)?;
    // While it hangs, leave is given: the remedy begins and is proved, and nothing was delivered by then.
    sandbox.sh("touch /run/victim-well")?;
    guard.permit(Guard::GLOBAL_SENTINEL)?;
    let proved = || Ok(guard.records("closed")?.iter().any(|record| record["body"]["closed"]["result"] == "proved"));
    sandbox.wait_until("the remedy to be proved", secs(30), proved)?;
    ensure!(
        guard.has_metric("hostward_notifications_total{notifier=\"hole\",result=\"sent\"} 0")?,
        "{}",
        guard.metrics()?
    );
    ensure!(guard.has_metric("hostward_notifications_pending{notifier=\"hole\"} 1")?, "{}", guard.metrics()?);
    let said = || Ok(guard.status()?["health"]["problems"].to_string().contains("notify.hole"));
    sandbox.wait_until("the dead notifier to be named", secs(30), said)?;
    assert_eq!(guard.life()?, life, "the daemon lives on");

    // Back again, it hears the newest word: what was told in no message is told in one.
    sandbox.write("/etc/hostward/secrets/hole", "0600", "http://127.0.0.1:8099/well\n")?;
    let told = wait_received(&sandbox, "/well", 1)?;
    let told = body(&told[0])?;
    assert_eq!(told["event"], "cleared", "{told}");
    ensure!(told["title"].as_str().is_some_and(|title| title.contains("cleared by restart")), "{told}");
    Ok(())
}
