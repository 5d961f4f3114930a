//! Real services as Debian packages them, each in a sandbox with data of its own.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::Sandbox;

const SERVES_WITHIN: Duration = Duration::from_mins(1);

/// PostgreSQL's cluster `main`: a front that is nothing (`postgresql.service`), and the instance that runs.
#[derive(Debug)]
pub struct Postgres<'a> {
    sandbox: &'a Sandbox,
    /// `postgresql@15-main.service`
    pub unit: String,
}

impl<'a> Postgres<'a> {
    pub const FRONT: &'static str = "postgresql.service";

    /// Makes a cluster, whatever clusters the machine has, and starts it as a boot would: by its front.
    pub fn install(sandbox: &'a Sandbox) -> Result<Self> {
        let versions = sandbox.sh("ls /usr/lib/postgresql").context("find Debian's package postgresql")?;
        let version = versions.lines().last().unwrap_or_default();
        sandbox.sh(&format!(
            "rm -rf /etc/postgresql/* /var/lib/postgresql/*; pg_createcluster {version} main
             systemctl daemon-reload; systemctl start {}",
            Self::FRONT
        ))?;
        let postgres = Self { sandbox, unit: format!("postgresql@{version}-main.service") };
        postgres.wait_answers()?;
        Ok(postgres)
    }

    /// What a query answers, or `None` when nobody does.
    pub fn query(&self, sql: &str) -> Result<Option<String>> {
        let psql =
            ["runuser", "-u", "postgres", "--", "psql", "--no-psqlrc", "--tuples-only", "--no-align", "-c", sql];
        let output = self.sandbox.exec(psql)?;
        Ok(output.status.success().then(|| output.stdout.trim().to_owned()))
    }

    pub fn wait_answers(&self) -> Result<Duration> {
        let answers = || Ok(self.query("select 1")?.as_deref() == Some("1"));
        self.sandbox.wait_until("PostgreSQL to answer", SERVES_WITHIN, answers)
    }
}

/// Redis with Debian's own unit.
#[derive(Debug)]
pub struct Redis;

impl Redis {
    pub const UNIT: &'static str = "redis-server.service";

    pub fn install(sandbox: &Sandbox) -> Result<()> {
        sandbox.sh("systemctl start redis-server").context("start Debian's package redis-server")?;
        sandbox.wait_until("Redis to answer", SERVES_WITHIN, || Self::answers(sandbox))?;
        Ok(())
    }

    pub fn answers(sandbox: &Sandbox) -> Result<bool> {
        Ok(sandbox.exec(["timeout", "1", "redis-cli", "ping"])?.stdout.trim() == "PONG")
    }
}

/// nginx with Debian's own unit, in front of one upstream.
#[derive(Debug)]
pub struct Nginx;

impl Nginx {
    pub const UNIT: &'static str = "nginx.service";
    pub const URL: &'static str = "http://127.0.0.1:8080/health";

    /// It passes everything on to a port of the loopback.
    pub fn install(sandbox: &Sandbox, upstream: u16) -> Result<()> {
        let site = format!(
            "server {{\n  listen 127.0.0.1:8080;\n  location / {{\n    proxy_pass http://127.0.0.1:{upstream};\n    \
             proxy_connect_timeout 1s;\n    proxy_read_timeout 1s;\n  }}\n}}\n"
        );
        sandbox.write("/etc/nginx/sites-available/front", "0644", site)?;
        sandbox.sh("rm -f /etc/nginx/sites-enabled/*; ln -s ../sites-available/front /etc/nginx/sites-enabled/")?;
        sandbox.sh("systemctl start nginx").context("start Debian's package nginx")?;
        sandbox.wait_until("nginx to pass on", SERVES_WITHIN, || Ok(Self::status(sandbox)? == "200"))?;
        Ok(())
    }

    /// The status that it answers with, `000` for none.
    pub fn status(sandbox: &Sandbox) -> Result<String> {
        let curl = ["curl", "--silent", "--max-time", "3", "--output", "/dev/null", "--write-out", "%{http_code}"];
        Ok(sandbox.exec(curl.into_iter().chain([Self::URL]))?.stdout)
    }
}
