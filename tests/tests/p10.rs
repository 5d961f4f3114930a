//! P10, the unit that is nothing: Debian's `postgresql.service` is `/bin/true` and always active. What runs is an instance.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, Postgres, QUICK_HOST, Sandbox};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn front() -> String {
    format!("[service.front]\nunit = \"{}\"\n", Postgres::FRONT)
}

/// As docs/usage/service.md has it, only quicker.
fn instance(unit: &str) -> String {
    format!(
        r#"
[service.postgres]
unit        = "{unit}"
confirm     = {{ runs = 2, age = "1s" }}
start_grace = "1s"
brakes      = {{ cooldown = "100ms", soak = "1s" }}
[[service.postgres.probe.exec]]
run   = ["/usr/bin/pg_isready", "--quiet", "--timeout=3"]
user  = "postgres"
down  = [2]
every = "1s"
[[service.postgres.probe.tcp]]
connect = "127.0.0.1:5432"
every   = "1s"
"#
    )
}

#[test]
fn the_instance_is_repaired_while_its_front_says_that_all_is_well() -> Result<()> {
    let sandbox = Sandbox::boot("p10")?;
    let postgres = Postgres::install(&sandbox)?;
    postgres.query("create table kept as select 42 as answer; checkpoint")?;
    let guard = Guard::install_with(&sandbox, &format!("{QUICK_HOST}{}{}", front(), instance(&postgres.unit)))?;
    sandbox.sh("systemctl start hostward")?;
    let up = |watch: &str| Ok::<_, anyhow::Error>(guard.up(watch)? == Some(true));
    sandbox.wait_until("both to be up", secs(30), || Ok(up("service.postgres")? && up("service.front")?))?;
    let pid = sandbox.property(&postgres.unit, "MainPID")?;

    sandbox.sh(&format!("kill -KILL {pid}"))?;
    let closed = guard.wait_closed(secs(60))?;
    assert_eq!(closed, "proved");
    assert_eq!(postgres.query("select answer from kept")?.as_deref(), Some("42"), "its data are what they were");
    ensure!(sandbox.property(&postgres.unit, "MainPID")? != pid);
    sandbox.wait_until("it to be up", secs(30), || up("service.postgres"))?;

    let opened = guard.records("opened")?;
    let watches: Vec<_> = opened.iter().map(|record| &record["body"]["opened"]["plan"]["watch"]).collect();
    assert_eq!(watches, ["service.postgres"], "one attempt, at the instance");
    let turned = guard.records("turned")?;
    let saw = |watch: &str| {
        let of = |target: &serde_json::Value| target.as_str().is_some_and(|id| id.starts_with(watch));
        turned.iter().filter(|r| of(&r["body"]["turned"]["target"]) && r["body"]["turned"]["to"] != "up").count()
    };
    assert_eq!((saw("service.postgres"), saw("service.front")), (1, 0), "{turned:#?}");
    Ok(())
}

/// Its unit ignores what the program that starts it says. Only a look afresh tells that nothing runs.
#[test]
fn a_restart_that_starts_nothing_is_not_taken_for_a_repair() -> Result<()> {
    let sandbox = Sandbox::boot("p10-broken")?;
    let postgres = Postgres::install(&sandbox)?;
    let guard = Guard::install_with(&sandbox, &format!("{QUICK_HOST}{}", instance(&postgres.unit)))?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("it to be up", secs(30), || Ok(guard.up("service.postgres")? == Some(true)))?;
    sandbox.sh("for file in /etc/postgresql/*/main/postgresql.conf; do echo nonsense >>$file; done")?;
    sandbox.sh(&format!("systemctl kill --signal=KILL {}", postgres.unit))?;
    let closed = guard.wait_closed(secs(60))?;
    ensure!(closed != "proved", "{closed}");
    assert_eq!(guard.up("service.postgres")?, Some(false));

    // The owner mends it. The next attempt proves itself.
    sandbox.sh("sed -i '/^nonsense$/d' /etc/postgresql/*/main/postgresql.conf")?;
    sandbox.wait_until("it to be up again", secs(90), || Ok(guard.up("service.postgres")? == Some(true)))?;
    postgres.wait_answers()?;
    Ok(())
}

#[test]
fn doctor_says_that_a_watch_on_the_front_sees_nothing_and_what_to_watch() -> Result<()> {
    let sandbox = Sandbox::boot("p10-doctor")?;
    let postgres = Postgres::install(&sandbox)?;
    let guard = Guard::install_with(&sandbox, &front())?;
    let blind = guard.run(&["doctor"])?;
    assert_eq!(blind.code(), Some(1), "{blind:?}");
    for said in ["postgresql.service runs /bin/true: it cannot fail", &postgres.unit] {
        ensure!(blind.stdout.contains(said), "{said}: {}", blind.stdout);
    }

    let watches_beside = format!("[[service.front.probe.unit]]\nunit = \"{}\"\n", postgres.unit);
    for seeing in [front() + &watches_beside, instance(&postgres.unit)] {
        guard.configure(&seeing)?;
        let well = guard.run(&["doctor"])?;
        ensure!(well.code() == Some(0) && !well.stdout.contains("cannot fail"), "{seeing}: {well:?}");
    }
    Ok(())
}
