//! A real Redis: what systemd holds to be running and what serves are two things.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, QUICK_HOST, Redis, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As docs/usage/service.md has it, only quicker.
const REDIS: &str = r#"
[service.redis]
unit        = "redis-server.service"
confirm     = { runs = 2, age = "1s" }
start_grace = "1s"
brakes      = { cooldown = "100ms", soak = "1s" }
[[service.redis.probe.tcp]]
connect = "127.0.0.1:6379"
send    = "PING\r\n"
expect  = "+PONG"
every   = "1s"
timeout = "1s"
"#;

fn install(sandbox: &Sandbox) -> Result<Guard<'_>> {
    Redis::install(sandbox)?;
    let guard = Guard::install_with(sandbox, &format!("{QUICK_HOST}{REDIS}"))?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("it to be up", secs(30), || Ok(guard.up("service.redis")? == Some(true)))?;
    Ok(guard)
}

/// Stopped, it still accepts connections: the kernel does that. Only its silence tells.
#[test]
fn one_that_accepts_and_says_nothing_is_restarted_once() -> Result<()> {
    let sandbox = Sandbox::boot("redis-stop")?;
    let guard = install(&sandbox)?;
    sandbox.sh("redis-cli set kept 42; redis-cli save")?;
    let pid = sandbox.property(Redis::UNIT, "MainPID")?;
    sandbox.sh(&format!("kill -STOP {pid}"))?;
    assert_eq!(sandbox.property(Redis::UNIT, "SubState")?, "running", "systemd sees nothing");
    guard.wait_reason("service.redis", "probe_silent", secs(20))?;
    assert_eq!(guard.wait_closed(secs(60))?, "proved");
    ensure!(Redis::answers(&sandbox)? && sandbox.property(Redis::UNIT, "MainPID")? != pid);
    assert_eq!(sandbox.sh("redis-cli get kept")?.trim(), "42");
    assert_eq!(guard.records("opened")?.len(), 1);
    Ok(())
}

/// It answers, and serves nobody: `NOAUTH`. That is said in its own words.
#[test]
fn one_that_answers_something_else_is_told_in_its_own_words() -> Result<()> {
    let sandbox = Sandbox::boot("redis-auth")?;
    let guard = install(&sandbox)?;
    sandbox.sh("redis-cli config set requirepass sesame")?;
    guard.wait_reason("service.redis", "probe_body", secs(20))?;
    let said = guard.watch("service.redis")?["targets"][0]["verdict"]["down"]["detail"].to_string();
    ensure!(said.contains("NOAUTH") && said.contains("+PONG"), "{said}");
    // What was set by hand is gone with the restart.
    assert_eq!(guard.wait_closed(secs(60))?, "proved");
    Ok(())
}
