//! `engine`: one turn of the engine with 500 watches, and how quickly the simulator turns it with a world around it.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Figure, Programs};
use crate::run::{program, read};

/// A healthy host's turn must be lost in the noise of what wakes it.
const GOAL_HEALTHY_P99_US: f64 = 100.0;
/// A scrape waits for at most one turn, also in an incident: its own goal is 2 ms.
const GOAL_DOWN_WORST_MS: f64 = 2.0;

/// What `examples/turns.rs` prints.
#[derive(Debug, Deserialize)]
struct Turned {
    watches: usize,
    bytes_a_watch: u32,
    healthy: Times,
    down_and_held: Times,
    down_and_free: Times,
}

/// Of the thread's own processor time.
#[derive(Debug, Deserialize)]
struct Times {
    turns: usize,
    p50_us: f64,
    p99_us: f64,
    worst_us: f64,
}

impl Times {
    fn figure(&self, what: &str) -> Figure {
        Figure::told("engine", format!("{what}: one turn"), "us", (self.p50_us, self.p99_us), self.turns)
    }

    fn worst(&self, what: &str) -> Figure {
        Figure::one("engine", format!("{what}: the worst turn"), "ms", self.worst_us / 1000.0)
    }
}

/// What the simulator prints with `--json`.
#[derive(Debug, Deserialize)]
struct Simulated {
    stories: usize,
    steps_a_second: f64,
    hours_a_second: f64,
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let turned = read(program(&programs.turns.to_string_lossy(), [""; 0]))?;
    let turned: Turned = serde_json::from_str(&turned).context("read the turns' times")?;
    let simulator = crate::sim::release()?;
    let stories = crate::sim::FIXED.into_iter().chain(["--twice", "0", "--json"]);
    let simulated = read(program(&simulator.to_string_lossy(), stories))?;
    let simulated: Simulated = serde_json::from_str(&simulated).context("read the simulator's rates")?;

    let healthy = format!("{} healthy watches", turned.watches);
    let (held, free) = (format!("{} down and held", turned.watches), format!("{} down, free to act", turned.watches));
    let stories = format!("{} simulated stories, all laws looked at", simulated.stories);
    Ok(vec![
        turned.healthy.figure(&healthy).goal_p99(GOAL_HEALTHY_P99_US),
        turned.healthy.worst(&healthy),
        turned.down_and_held.figure(&held),
        turned.down_and_held.worst(&held).goal(GOAL_DOWN_WORST_MS),
        turned.down_and_free.figure(&free),
        turned.down_and_free.worst(&free).goal(GOAL_DOWN_WORST_MS),
        Figure::one("engine", "resident memory a watch", "kB", f64::from(turned.bytes_a_watch) / 1000.0),
        Figure::one("engine", &stories, "steps/s", simulated.steps_a_second),
        Figure::one("engine", &stories, "simulated h/s", simulated.hours_a_second),
    ])
}
