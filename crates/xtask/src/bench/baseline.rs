//! `baseline`: a pass over 500 distributions, here and in the child that the daemon asks.

use std::process::Stdio;

use anyhow::{Context, Result};

use super::report::median;
use super::{Figure, Programs, host};

const DISTRIBUTIONS: usize = 500;
const PASSES: &str = "300";
const RUNS: &str = "100";
const GOAL_MS: f64 = 10.0;
const VENV: &str = "/opt/bench/venv";
const LOCK: &str = "/opt/bench/requirements.lock";
const QUESTION: &str = "/opt/bench/question.json";

/// The least that Python itself needs for the same question, without the interpreter's start.
const PEER: &str = "
import importlib.metadata, statistics, sys, time
def read():
    started = time.perf_counter()
    found = {d.metadata['Name']: d.version for d in importlib.metadata.distributions(path=[sys.argv[1]])}
    assert len(found) == int(sys.argv[2])
    return time.perf_counter() - started
read()
print(statistics.median(read() for _ in range(15)) * 1000)
";

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-baseline", programs)?;
    sandbox.sh(&format!("mkdir /opt/bench; python3 -m venv --without-pip {VENV}"))?;
    host::distributions(&sandbox, VENV, LOCK, DISTRIBUTIONS)?;
    let question = serde_json::json!({"python": {"venv": VENV, "wants": [{"requirements": LOCK}], "tree": null}});
    sandbox.write(QUESTION, "0644", question.to_string())?;
    hostward_tests::install_hostward(&sandbox, &programs.hostward, "")?;

    let passes = sandbox.sh(&format!("{} {PASSES} <{QUESTION}", host::PASS))?;
    let passes: Vec<u64> = serde_json::from_str(&passes).context("read the passes' times")?;
    let said = sandbox.sh(&format!("hostward __probe <{QUESTION}"))?;
    anyhow::ensure!(said.contains("\"installed\":500"), "the child says: {said}");
    let children: Vec<Vec<u64>> =
        host::inside(&sandbox, &["timed", RUNS, "--stdin", QUESTION, "/usr/bin/hostward __probe"])?;
    let site = sandbox.sh(&format!("echo {VENV}/lib/python3*/site-packages"))?;
    let count = DISTRIBUTIONS.to_string();
    let peer = sandbox.command(["python3", "-c", PEER, site.trim(), &count]).stderr(Stdio::inherit()).output()?;
    let peer: f64 = String::from_utf8(peer.stdout)?.trim().parse().context("read importlib's time")?;

    let pass = host::millis(&passes);
    let child = host::millis(children.first().context("nothing was timed")?);
    let floor = median(&pass);
    Ok(vec![
        Figure::many("baseline", "a pass over 500 distributions, warm", "ms", &pass)
            .goal(GOAL_MS)
            .peer("importlib.metadata", peer),
        Figure::many("baseline", "the same in a child, exec to exit", "ms", &child).peer("a pass", floor),
    ])
}
