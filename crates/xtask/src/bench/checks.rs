//! `checks-cpu`: what a check costs. `rss-500`: what five hundred of them hold. Both beside monit with the same checks.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use hostward_tests::{Sandbox, install_hostward};

use super::spent::{megabytes, unit_cpu};
use super::{Figure, Programs, host, monit};

const HOSTWARD: &str = "hostward.service";
const PORT: u16 = 8080;
/// Each second, by both.
const HTTP_CHECKS: usize = 50;
const EXEC_CHECKS: usize = 20;
const WINDOW: Duration = Duration::from_secs(20);
/// What starting left to do is done by then.
const SETTLED: Duration = Duration::from_secs(5);
/// As cheap as /bin/true, but for the byte that counts it.
const EXEC: [&str; 7] =
    ["/bin/dd", "if=/dev/zero", "of=/run/ticks", "bs=1", "count=1", "oflag=append", "conv=notrunc"];

const WATCHES: usize = 500;
const GOAL_MB: f64 = 10.0;
/// Seconds after the start.
const LOOKS: [u64; 3] = [60, 120, 240];

pub(super) fn cpu(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-checks", programs)?;
    serve(&sandbox)?;
    let (http, exec) = (Kind::Http, Kind::Exec);
    let mut figures = Vec::new();
    for kind in [http, exec] {
        let ours = {
            install_hostward(&sandbox, &programs.hostward, &kind.config()?)?;
            sandbox.sh("systemctl start hostward")?;
            let cost = kind.cost(&sandbox, HOSTWARD)?;
            sandbox.sh("systemctl stop hostward")?;
            cost
        };
        monit::start(&sandbox, 1, &kind.monit()?)?;
        let peer = kind.cost(&sandbox, monit::UNIT)?;
        monit::stop(&sandbox)?;
        let what = format!("CPU of 1,000 {} checks", kind.name());
        let figure = Figure::one("checks-cpu", &what, "s", ours.thousand).goal(peer.thousand);
        figures.push(figure.peer("monit", peer.thousand));
        figures.push(
            Figure::one("checks-cpu", format!("{} checks a second", kind.name()), "checks", ours.rate)
                .peer("monit", peer.rate),
        );
    }
    Ok(figures)
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Exec,
}

/// Of one program's checks.
struct Cost {
    /// Seconds of CPU of a thousand.
    thousand: f64,
    /// How many a second.
    rate: f64,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Http => "HTTP",
            Kind::Exec => "exec",
        }
    }

    /// One watch with all of them, of the unit that serves.
    fn config(self) -> Result<String> {
        let mut config = "[service.served]\nunit = \"served.service\"\n".to_owned();
        match self {
            Kind::Http => {
                for n in 0..HTTP_CHECKS {
                    writeln!(
                        config,
                        "[[service.served.probe.http]]\nurl = \"http://127.0.0.1:{PORT}/{n}\"\nevery = \"1s\"\ntimeout = \"1s\""
                    )?;
                }
            }
            Kind::Exec => {
                let run = serde_json::to_string(&EXEC)?;
                for _ in 0..EXEC_CHECKS {
                    writeln!(config, "[[service.served.probe.exec]]\nrun = {run}\nevery = \"1s\"\ntimeout = \"1s\"")?;
                }
            }
        }
        Ok(config)
    }

    fn monit(self) -> Result<String> {
        let mut checks = String::new();
        match self {
            Kind::Http => {
                for n in 0..HTTP_CHECKS {
                    writeln!(checks, "check host http-{n} with address 127.0.0.1")?;
                    writeln!(checks, "  if failed port {PORT} protocol http request \"/{n}\" then alert")?;
                }
            }
            Kind::Exec => {
                for n in 0..EXEC_CHECKS {
                    writeln!(checks, "check program exec-{n} with path \"{}\"", EXEC.join(" "))?;
                    writeln!(checks, "  if status != 0 then alert")?;
                }
            }
        }
        Ok(checks)
    }

    /// Of a window: the CPU of the unit with all its children, and how many checks it made, as those who were asked
    /// count them.
    fn cost(self, sandbox: &Sandbox, unit: &str) -> Result<Cost> {
        std::thread::sleep(SETTLED);
        let before = (unit_cpu(sandbox, unit)?, self.count(sandbox)?);
        std::thread::sleep(WINDOW);
        let after = (unit_cpu(sandbox, unit)?, self.count(sandbox)?);
        let checks = after.1 - before.1;
        anyhow::ensure!(checks > 0.0, "{unit} made no {} check", self.name());
        Ok(Cost { thousand: (after.0 - before.0) / checks * 1000.0, rate: checks / WINDOW.as_secs_f64() })
    }

    fn count(self, sandbox: &Sandbox) -> Result<f64> {
        let said = sandbox.sh(match self {
            Kind::Http => "curl --silent --fail http://127.0.0.1:8080/count",
            Kind::Exec => "stat --format=%s /run/ticks 2>/dev/null || echo 0",
        })?;
        said.trim().parse().with_context(|| format!("read the count '{said}'"))
    }
}

pub(super) fn resident(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-rss", programs)?;
    serve(&sandbox)?;
    host::idle_units(&sandbox, WATCHES)?;
    let mut config = String::new();
    for n in 0..WATCHES {
        writeln!(config, "[service.w{n:04}]\nunit = \"idle@{n:04}.service\"")?;
        writeln!(config, "[[service.w{n:04}.probe.http]]\nurl = \"http://127.0.0.1:{PORT}/{n}\"")?;
    }
    install_hostward(&sandbox, &programs.hostward, &config)?;
    sandbox.sh("systemctl start hostward")?;
    let mut figures = Vec::new();
    let mut slept = 0;
    for at in LOOKS {
        std::thread::sleep(Duration::from_secs(at - slept));
        slept = at;
        let figure =
            Figure::one("rss-500", format!("VmRSS after {at} s"), "MB", megabytes(&sandbox, HOSTWARD, "VmRSS")?);
        figures.push(figure.goal(GOAL_MB));
    }
    let figure = |what: &str, value: f64| Figure::one("rss-500", what, "MB", value);
    figures.push(figure("RssAnon at the end", megabytes(&sandbox, HOSTWARD, "RssAnon")?));
    sandbox.sh("systemctl stop hostward")?;

    // At our own default pace; systemd's units it does not know, so the 500 checks are its HTTP ones.
    let checks = (0..WATCHES).map(|n| {
        format!("check host w{n:04} with address 127.0.0.1\n  if failed port {PORT} protocol http request \"/{n}\" then alert\n")
    });
    monit::start(&sandbox, 10, &checks.collect::<String>())?;
    std::thread::sleep(Duration::from_secs(LOOKS[0]));
    let peer = megabytes(&sandbox, monit::UNIT, "VmRSS")?;
    figures.push(figure("monit's VmRSS with 500 HTTP checks", peer));
    Ok(figures)
}

fn serve(sandbox: &Sandbox) -> Result<()> {
    sandbox.sh(&format!("systemd-run --quiet --unit=served {} __inside server {PORT}", host::SELF))?;
    Ok(())
}
