//! `scrape`: GET /metrics with the example configuration.

use anyhow::Result;

use super::report::median;
use super::{Figure, Programs, host};

const RUNS: &str = "1000";
/// testing.md, for 500 targets; the example has two.
const GOAL_P99_MS: f64 = 2.0;

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-scrape", programs)?;
    let (_, guard) = host::example(&sandbox, programs)?;
    guard.start()?;
    let nanos: [Vec<u64>; 2] = host::inside(&sandbox, &["scrapes", RUNS, "127.0.0.1:9469"])?;
    let [ours, floor] = nanos.map(|nanos| host::millis(&nanos));
    let figure = Figure::many("scrape", "GET /metrics", "ms", &ours).goal_p99(GOAL_P99_MS);
    // Its own p99 tells how much of ours is waiting for a CPU.
    let peer = Figure::many("scrape", "the same bytes from memory", "ms", &floor);
    Ok(vec![figure.peer("the same bytes from memory", median(&floor)), peer])
}
