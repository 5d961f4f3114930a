//! Cause before symptom, by what systemd itself says of needs.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, QUICK_HOST, Sandbox, Tiny};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const QUICK: &str = "confirm = { runs = 2, age = \"2s\" }\nstart_grace = \"1s\"\n";

/// A database that hangs takes the API behind it down. The database is restarted, and the API, which systemd restarts with
/// it or which finds it again, is nobody's second remedy.
#[test]
fn the_cause_is_cured_and_its_dependent_left_alone() -> Result<()> {
    let sandbox = Sandbox::boot("needs")?;
    let db = Tiny::install(&sandbox, "db", 8101, "", "")?;
    let api = Tiny::install(&sandbox, "api", 8102, "Requires=db.service\nAfter=db.service", "")?;
    let guard = Guard::install_with(&sandbox, &format!("{QUICK_HOST}{}{}", db.config(QUICK), api.config(QUICK)))?;
    sandbox.sh("systemctl start hostward")?;
    let both_up = || Ok(guard.up("service.db")? == Some(true) && guard.up("service.api")? == Some(true));
    sandbox.wait_until("both to be up", secs(30), both_up)?;
    let said = guard.run(&["explain", "service.api"])?.stdout;
    ensure!(said.contains("needs service.db"), "{said}");
    ensure!(guard.run(&["explain", "service.db"])?.stdout.contains("needed by service.api"));

    // The API answers 502 for as long as its database hangs.
    api.answer(502, "{}")?;
    db.signal("STOP")?;
    sandbox.wait_until("the remedy", secs(30), || Ok(!guard.records("opened")?.is_empty()))?;
    sandbox.sh("rm /run/api/answer")?;
    sandbox.wait_until("both to be up again", secs(60), both_up)?;
    let opened = guard.records("opened")?;
    let watches: Vec<&str> = opened.iter().filter_map(|r| r["body"]["opened"]["plan"]["watch"].as_str()).collect();
    assert_eq!(watches, ["service.db"]);
    assert_eq!(guard.status()?["view"]["incidents_total"], 1, "a cause and its dependent are one incident");
    Ok(())
}

/// Two units that bind each other: the circle is cut, shown, and neither waits for the other for ever.
#[test]
fn a_circle_that_systemd_closes_is_cut_and_shown() -> Result<()> {
    let sandbox = Sandbox::boot("circle")?;
    for (name, other) in [("left", "right"), ("right", "left")] {
        let unit = format!("[Unit]\nRequires={other}.service\n[Service]\nExecStart=/bin/sleep infinity\n");
        sandbox.write(&format!("/etc/systemd/system/{name}.service"), "0644", unit)?;
    }
    sandbox.sh("systemctl daemon-reload; systemctl start left right")?;
    let watch = |name: &str| format!("[service.{name}]\nunit = \"{name}.service\"\n");
    let guard = Guard::install_with(&sandbox, &format!("{QUICK_HOST}{}{}", watch("left"), watch("right")))?;
    sandbox.sh("systemctl start hostward")?;
    let both_up = || Ok(guard.up("service.left")? == Some(true) && guard.up("service.right")? == Some(true));
    sandbox.wait_until("both to be up", secs(30), both_up)?;
    let said = guard.run(&["explain", "service.right"])?.stdout;
    ensure!(said.contains("closes a circle"), "{said}");

    sandbox.sh("systemctl kill --signal=KILL left right")?;
    sandbox.wait_until("both to be up again", secs(60), both_up)?;
    let running = |name: &str| Ok::<_, anyhow::Error>(sandbox.property(name, "SubState")? == "running");
    ensure!(running("left")? && running("right")?);
    Ok(())
}
