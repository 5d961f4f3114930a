//! Tiny services: a real unit, a real HTTP answer, and the ways in which both go wrong. Many fit into one sandbox.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Sandbox, repository};

/// One of them, watched as `service.NAME`.
#[derive(Clone, Debug)]
pub struct Tiny<'a> {
    sandbox: &'a Sandbox,
    name: String,
    port: u16,
}

const SERVER: &str = "/opt/tiny/serve.py";

/// A `[host]` that waits for nothing that proves nothing in a test.
pub const QUICK_HOST: &str = r#"
[host]
sentinel = "/etc/hostward/enabled"
mode     = "act"
budget   = "256 per 1h"
settle   = "100ms"
[metrics]
listen   = "127.0.0.1:9469"
"#;

impl<'a> Tiny<'a> {
    /// Writes the unit, with `settings` as further lines of it (`[Unit]` first, then what they name), starts it, and waits
    /// until it answers.
    pub fn install(sandbox: &'a Sandbox, name: &str, port: u16, unit: &str, service: &str) -> Result<Self> {
        let source = repository().join("tests/fixtures/tiny/serve.py");
        let program = fs::read(&source).with_context(|| format!("read '{}'", source.display()))?;
        sandbox.write(SERVER, "0755", program)?;
        let text = format!("[Unit]\n{unit}\n[Service]\nExecStart={SERVER} {name} {port}\n{service}\n");
        sandbox.write(&format!("/etc/systemd/system/{name}.service"), "0644", text)?;
        sandbox.sh(&format!("mkdir -p /run/{name}; systemctl daemon-reload; systemctl start {name}.service"))?;
        let tiny = Self { sandbox, name: name.to_owned(), port };
        tiny.wait_answers(Duration::from_secs(30))?;
        Ok(tiny)
    }

    pub fn unit(&self) -> String {
        format!("{}.service", self.name)
    }

    pub fn watch(&self) -> String {
        format!("service.{}", self.name)
    }

    /// Its watch, with a probe each second; `more` are further lines of `[service.NAME]`.
    pub fn config(&self, more: &str) -> String {
        let (name, port) = (&self.name, self.port);
        format!(
            "[service.{name}]\nunit = \"{name}.service\"\n{more}\n[[service.{name}.probe.http]]\n\
             url = \"http://127.0.0.1:{port}/health\"\nevery = \"1s\"\ntimeout = \"1s\"\n"
        )
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16, body: &str) -> Result<()> {
        self.sandbox.write(&format!("/run/{}/answer", self.name), "0644", format!("{status} {body}"))
    }

    /// How long its next starts take.
    pub fn starts_in(&self, seconds: u32) -> Result<()> {
        self.sandbox.write(&format!("/run/{}/start", self.name), "0644", seconds.to_string())
    }

    /// How much processor time an answer costs from now on.
    pub fn answers_cost(&self, millis: u32) -> Result<()> {
        self.sandbox.write(&format!("/run/{}/burn", self.name), "0644", format!("{millis}e-3"))
    }

    pub fn pid(&self) -> Result<String> {
        self.sandbox.property(&self.unit(), "MainPID")
    }

    pub fn restarts(&self) -> Result<u32> {
        let restarts = self.sandbox.property(&self.unit(), "NRestarts")?;
        restarts.parse().with_context(|| format!("read '{restarts}'"))
    }

    pub fn signal(&self, signal: &str) -> Result<()> {
        self.sandbox.sh(&format!("kill -{signal} {}", self.pid()?))?;
        Ok(())
    }

    /// Within a second, as its watch expects.
    pub fn answers(&self) -> Result<bool> {
        self.answers_within(1)
    }

    pub fn answers_within(&self, seconds: u32) -> Result<bool> {
        let (url, seconds) = (format!("http://127.0.0.1:{}/health", self.port), seconds.to_string());
        Ok(self.sandbox.exec(["curl", "--silent", "--fail", "--max-time", &seconds, &url])?.status.success())
    }

    pub fn wait_answers(&self, deadline: Duration) -> Result<Duration> {
        self.sandbox.wait_until(&format!("{} to answer", self.name), deadline, || self.answers())
    }
}
