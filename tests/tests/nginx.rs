//! A real nginx in front of a service: what it answers is mostly its upstream's doing, and no restart of it mends that.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Nginx, QUICK_HOST, Sandbox, Tiny};
use serde_json::Value;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const QUICK: &str = "confirm = { runs = 2, age = \"1s\" }\nstart_grace = \"1s\"\n\
                     brakes = { cooldown = \"100ms\", soak = \"1s\" }\n";

fn nginx(more: &str) -> String {
    format!(
        "[service.nginx]\nunit = \"nginx.service\"\nneeds = [\"service.api\"]\n{QUICK}\n[[service.nginx.probe.http]]\n\
         url = \"{}\"\nevery = \"1s\"\ntimeout = \"1s\"\n{more}",
        Nginx::URL
    )
}

struct Stage<'a> {
    sandbox: &'a Sandbox,
    api: Tiny<'a>,
    guard: Guard<'a>,
    nginx_pid: String,
}

impl<'a> Stage<'a> {
    /// `nginx_parts` and `api_parts` are further lines of the two probes.
    fn set(sandbox: &'a Sandbox, nginx_parts: &str, api_parts: &str) -> Result<Self> {
        let forgets = "ExecStartPre=/bin/rm -f /run/api/answer\n";
        let api = Tiny::install(sandbox, "api", 8101, "", forgets)?;
        Nginx::install(sandbox, 8101)?;
        let config = format!("{QUICK_HOST}{}{}{api_parts}", nginx(nginx_parts), api.config(QUICK));
        let guard = Guard::install_with(sandbox, &config)?;
        sandbox.sh("systemctl start hostward")?;
        let stage = Self { sandbox, api, guard, nginx_pid: sandbox.property(Nginx::UNIT, "MainPID")? };
        stage.wait_up()?;
        Ok(stage)
    }

    fn wait_up(&self) -> Result<()> {
        let up = |watch: &str| Ok::<_, anyhow::Error>(self.guard.up(watch)? == Some(true));
        self.sandbox.wait_until("both to be up", secs(60), || Ok(up("service.api")? && up("service.nginx")?))?;
        Ok(())
    }

    /// Which watches acted, in order; and nginx is the process that it was.
    fn acted(&self) -> Result<Vec<String>> {
        assert_eq!(self.sandbox.property(Nginx::UNIT, "MainPID")?, self.nginx_pid, "nginx was restarted");
        let opened = self.guard.records("opened")?;
        let watch = |record: &Value| record["body"]["opened"]["plan"]["watch"].as_str().map(str::to_owned);
        Ok(opened.iter().filter_map(watch).collect())
    }

    fn wait_part(&self, watch: &str, part: &str, code: &str) -> Result<Value> {
        self.sandbox.wait_for(&format!("{part} of {watch} to be down: {code}"), secs(30), || {
            let part = self.guard.part(watch, part)?;
            Ok((part["verdict"]["down"]["code"] == code).then_some(part))
        })
    }
}

/// The upstream needs longer to come back than nginx's 502 needs to be confirmed.
#[test]
fn a_dead_upstream_is_restarted_and_the_502_in_front_of_it_is_held() -> Result<()> {
    let sandbox = Sandbox::boot("nginx-502")?;
    let stage = Stage::set(&sandbox, "", "")?;
    let Stage { api, guard, .. } = &stage;
    api.starts_in(10)?;
    api.signal("KILL")?;
    guard.wait_reason("service.nginx", "probe_status", secs(30))?;
    assert_eq!(Nginx::status(&sandbox)?, "502");
    let held = guard.wait_held("service.nginx", "dependency_down", secs(10))?;
    ensure!(held.contains("service.api"), "{held}");
    stage.wait_up()?;
    assert_eq!(Nginx::status(&sandbox)?, "200");
    assert_eq!(stage.acted()?, ["service.api"]);
    assert_eq!(guard.status()?["view"]["incidents_total"], 1, "a cause and its symptom are one incident");
    Ok(())
}

fn health(db: &str, search: &str, mail: &str) -> String {
    format!(
        r#"{{"checks":{{"db":{{"status":"{db}"}},"search":{{"status":"{search}"}},"mail":{{"status":"{mail}"}}}}}}"#
    )
}

#[test]
fn what_answers_200_and_is_degraded_is_told_of_and_restarted_only_where_that_is_declared() -> Result<()> {
    let sandbox = Sandbox::boot("nginx-parts")?;
    let deep = "components.at = \"/checks/*/status\"\n";
    let nginx_parts = format!("{deep}components.causes = {{ search = \"service.api\" }}\n");
    let api_parts = format!("{deep}components.restart_on = [\"db\"]\n");
    let stage = Stage::set(&sandbox, &nginx_parts, &api_parts)?;
    let Stage { api, guard, .. } = &stage;

    api.answer(200, &health("ok", "degraded", "not_configured"))?;
    for watch in ["service.api", "service.nginx"] {
        stage.wait_part(watch, "component/search", "component")?;
        stage.wait_part(watch, "component/mail", "config")?;
        ensure!(guard.part(watch, "component/db")?["verdict"] == "up");
    }
    assert_eq!(Nginx::status(&sandbox)?, "200");
    let lines = [
        r#"hostward_part_condition{part="component/search",reason="component",watch="service.nginx"} 1"#,
        r#"hostward_part_condition{part="component/mail",reason="config",watch="service.api"} 1"#,
    ];
    for line in lines {
        ensure!(guard.has_metric(line)?, "{line}: {}", guard.metrics()?);
    }
    guard.never_acts(secs(8))?;
    ensure!(guard.up("service.api")? == Some(true) && guard.up("service.nginx")? == Some(true), "neither is down");

    // The same word of a component that the service cannot do without.
    let pid = api.pid()?;
    api.answer(200, &health("degraded", "degraded", "not_configured"))?;
    guard.wait_reason("service.api", "component", secs(30))?;
    assert_eq!(guard.wait_closed(secs(60))?, "proved");
    stage.wait_up()?;
    ensure!(api.pid()? != pid);
    assert_eq!(stage.acted()?, ["service.api"]);
    Ok(())
}
