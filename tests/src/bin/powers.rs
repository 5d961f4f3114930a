//! The powers of hostward-host on the host that this runs on: one call, its result as a line of JSON. Only for tests,
//! which run it inside a sandbox; it is in no package.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use hostward_core::ask::JobsQ;
use hostward_core::id::UnitName;
use hostward_core::plan::{Command, Launch, Owed};
use hostward_core::run::Outcome;
use hostward_core::time::Ms;
use hostward_host::child::{self, Children};
use hostward_host::http;
use hostward_host::jobs::Jobs;
use hostward_host::mounts::mount_at;
use hostward_host::paths::{self, Lookers};
use hostward_host::systemd::{Systemd, Undo, UndoState};
use serde_json::{Value, json};

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // What the powers start of themselves.
    match words.first() {
        Some(&paths::SUBCOMMAND) => return Ok(paths::answer_stdin()),
        Some(&child::SUBCOMMAND) => return Ok(child::answer_stdin()),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        let (systemd, _events) = Systemd::connect().await?;
        call(&systemd, &words).await
    });
    // A child that hangs is not waited for.
    runtime.shutdown_background();
    println!("{}", said?);
    Ok(ExitCode::SUCCESS)
}

async fn call(systemd: &Systemd, words: &[&str]) -> Result<Value> {
    Ok(match words {
        ["closure", unit] => {
            let closure = systemd.closure(&UnitName::new(*unit)).await?;
            json!({
                "unit": closure.unit.as_str(),
                "members": names(&closure.members),
                "one_way": names(&closure.one_way),
                "wakers": names(&closure.wakers),
                "stop_timeout_ms": closure.stop_timeout.0,
            })
        }
        ["stop-timeout", unit] => json!(systemd.stop_timeout(&UnitName::new(*unit)).await?.0),
        ["take-down", unit, deadline] => {
            let down = systemd.take_down(&UnitName::new(*unit), millis(deadline)?).await;
            json!({ "outcome": shown(&down.outcome), "along": outcomes(&down.along) })
        }
        ["start-all", deadline, units @ ..] => {
            outcomes(&systemd.start_all(&unit_names(units), millis(deadline)?).await)
        }
        ["arm", run, after, words @ ..] => {
            let paths = |mark| words.iter().filter_map(move |word| word.strip_prefix(mark)).map(Into::into).collect();
            let units: Vec<&str> = words.iter().copied().filter(|word| !word.contains('/')).collect();
            let owed = Owed { units: unit_names(&units), fences: paths("fence:"), covers: paths("cover:") };
            json!(systemd.arm(run, &owed, millis(after)?).await?.as_str())
        }
        ["push", run, after] => json!(systemd.push(run, millis(after)?).await?.as_str()),
        // Until it is killed.
        ["push-on", run, after] => loop {
            systemd.push(run, millis(after)?).await?;
        },
        ["disarm", run] => json!(systemd.disarm(run).await?),
        ["armed"] => systemd.armed().await?.iter().map(undo).collect(),
        ["fence", path] => json!(systemd.fence(Path::new(path)).await?),
        ["unfence", path] => json!(systemd.unfence(Path::new(path)).await?),
        ["fence-often", path, times] => {
            for _ in 0..times.parse()? {
                systemd.fence(Path::new(path)).await?;
                systemd.unfence(Path::new(path)).await?;
            }
            Value::Null
        }
        ["mount-at", path] => mount_at(Path::new(path))?
            .map(|mount| json!({ "fstype": mount.fstype, "source": mount.source, "options": mount.options }))
            .into(),
        ["launch", unit, user, env, argv @ ..] => {
            let argv = argv.iter().map(|word| (*word).into()).collect();
            let given = |word: &str| (word != "-").then(|| word.to_owned());
            let command =
                Command { argv, user: given(user).map(Into::into), dir: None, env: given(env).map(Into::into) };
            json!(shown(&systemd.launch(&Launch { unit: UnitName::new(*unit), command }, Ms::secs(20)).await))
        }
        // Questions of one list, one after the other: what is kept between two looks is kept.
        ["jobs", file] => {
            let ourselves = || "/proc/self/exe".into();
            let (children, lookers) = (Children::new(ourselves()), Lookers::new(ourselves()));
            let jobs = Jobs::new(children, lookers, http::Client::default());
            let questions: Vec<JobsQ> = serde_json::from_slice(&std::fs::read(file)?)?;
            let mut answers = Vec::new();
            for q in questions {
                answers.push(jobs.ask(&q, q.deadline().into(), Ok(systemd.clone())).await);
            }
            json!(answers)
        }
        _ => bail!("no such power: {}", words.join(" ")),
    })
}

fn unit_names(words: &[&str]) -> Vec<UnitName> {
    words.iter().map(|word| UnitName::new(*word)).collect()
}

fn names(units: &[UnitName]) -> Vec<&str> {
    units.iter().map(UnitName::as_str).collect()
}

fn millis(text: &str) -> Result<Ms> {
    Ok(Ms(text.parse().with_context(|| format!("read milliseconds from '{text}'"))?))
}

/// In their order.
fn outcomes(all: &[(UnitName, Outcome)]) -> Value {
    all.iter().map(|(unit, outcome)| json!([unit.as_str(), shown(outcome)])).collect()
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Failed(why) => format!("failed: {why}"),
        Outcome::Lost(why) => format!("lost: {why}"),
    }
}

fn undo(undo: &Undo) -> Value {
    let left = match undo.state {
        UndoState::Waiting { left } => Some(left.0),
        UndoState::Fired => None,
    };
    json!({ "run": &*undo.run, "timer": undo.timer.as_str(), "units": names(&undo.owed.units), "left_ms": left })
}
