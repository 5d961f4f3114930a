//! Passes over many jobs that get on, listed by a folder and by a command, at first sight and steadily; beside the script.

use anyhow::{Context, Result};
use hostward_tests::Guard;
use serde_json::Value;

use super::fleet::Fleet;
use super::{BY_COMMAND, BY_FOLDER, JOBS, LIST};
use crate::bench::host;
use crate::bench::looks::look;
use crate::bench::report::{Figure, median};

const RUNS: usize = 30;
const GOAL_MS: f64 = 50.0;
const PEER: &str = "/opt/fleet/peer.py";

/// Milliseconds of each of them, run after run.
#[derive(Default)]
struct Times {
    steady: [Vec<f64>; 2],
    first: [Vec<f64>; 2],
    peer: Vec<f64>,
}

pub(super) fn measure(guard: &Guard<'_>, fleet: &mut Fleet<'_>) -> Result<Vec<Figure>> {
    let sandbox = guard.sandbox();
    sandbox.write(PEER, "0755", include_str!("peer.py"))?;
    let mut times = Times::default();
    // In turn, so that a busy moment meets all of them.
    for _ in 0..RUNS {
        for (watch, (steady, first)) in
            [BY_FOLDER, BY_COMMAND].into_iter().zip(times.steady.iter_mut().zip(&mut times.first))
        {
            fleet.grow()?;
            steady.push(look(guard, watch)?);
            fleet.ensure_read(guard, watch)?;
            fleet.renew()?;
            first.push(look(guard, watch)?);
            fleet.ensure_read(guard, watch)?;
        }
        let told = sandbox.exec(["python3", PEER].iter().chain(&LIST))?.ok()?;
        let told: Value = serde_json::from_str(&told).context("read what the peer found")?;
        fleet.ensure_told(&told)?;
        times.peer.push(told["took_ms"].as_f64().context("the peer says no time")?);
    }
    let (provider, whole) = (LIST.join(" "), format!("python3 {PEER} {}", LIST.join(" ")));
    let runs = RUNS.to_string();
    let nanos: Vec<Vec<u64>> = host::inside(sandbox, &["timed", &runs, &provider, &whole])?;
    let [provider, whole] = nanos.as_slice() else { anyhow::bail!("timed {} commands, not two", nanos.len()) };
    Ok(times.figures(&host::millis(provider), &host::millis(whole)))
}

impl Times {
    fn figures(&self, provider: &[f64], whole: &[f64]) -> Vec<Figure> {
        let figure = |what: &str, millis: &[f64]| Figure::many("jobs", what, "ms", millis);
        let own = median(&self.peer);
        let [folder, command] = &self.steady;
        let [first_by_folder, first_by_command] = &self.first;
        vec![
            figure(&format!("a steady pass over {JOBS} jobs, listed by a folder"), folder)
                .goal(GOAL_MS)
                .peer("the script, without its start", own),
            figure("the same, listed by a command", command)
                .goal(GOAL_MS + median(provider))
                .peer("the script, with its start", median(whole)),
            figure("the command alone, exec to exit", provider),
            figure("a pass at first sight of their logs, listed by a folder", first_by_folder),
            figure("the same, listed by a command", first_by_command),
            figure("the script, without its start and the command", &self.peer),
            figure("the script with both, exec to exit", whole),
        ]
    }
}
