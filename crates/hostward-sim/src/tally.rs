//! What was played, and what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hostward_core::time::Ms;
use hostward_sim::coverage::Coverage;
use hostward_sim::law::Laws;
use hostward_sim::run::{Outcome, play, play_twice};
use hostward_sim::scenario::Scenario;
use hostward_sim::shrink::shrink;
use hostward_sim::trace::Trace;

use crate::Arguments;

pub(crate) struct Tally {
    begun: Instant,
    stories: u64,
    steps: u64,
    lasted: Ms,
    coverage: Coverage,
    failed: bool,
    breaches: BTreeMap<&'static str, Vec<String>>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            begun: Instant::now(),
            stories: 0,
            steps: 0,
            lasted: Ms::ZERO,
            coverage: Coverage::default(),
            failed: false,
            breaches: BTreeMap::new(),
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How often each effect was wanted in it.
    pub(crate) fn play(
        &mut self,
        arguments: &Arguments,
        laws: Laws,
        story: &Scenario,
        twice: bool,
    ) -> Result<BTreeMap<&'static str, u32>> {
        if arguments.tell {
            let told = play(story, laws, Trace::Told);
            told.breach.iter().for_each(|breach| println!("{}: {}", breach.law, breach.why));
            return Ok(told.counts);
        }
        let outcome = if twice { play_twice(story, laws) } else { play(story, laws, Trace::Off) };
        self.stories += 1;
        self.steps += outcome.steps;
        self.lasted = self.lasted + outcome.lasted;
        self.coverage.add(&outcome.coverage);
        if let Some(breach) = &outcome.breach {
            self.failed = true;
            self.breaches.entry(breach.law).or_default().push(story.name.clone());
            if !arguments.census {
                failed(arguments, laws, story, &outcome)?;
            }
        }
        Ok(outcome.counts)
    }

    pub(crate) fn tell(&mut self, arguments: &Arguments) {
        let took = self.begun.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "rates are rounded")]
        let rate = self.steps as f64 / took;
        let hours = self.lasted.as_secs_f64() / 3600.0;
        if arguments.json {
            let rates = serde_json::json!({
                "stories": self.stories, "steps": self.steps, "steps_a_second": rate, "hours_a_second": hours / took,
            });
            println!("{rates}");
            return;
        }
        if !arguments.quiet {
            print!("{}", self.coverage.table());
        }
        for (law, stories) in &self.breaches {
            let shown = stories.get(..12).unwrap_or(stories);
            println!("broken {} times: {law}, by {}", stories.len(), shown.join(", "));
        }
        println!(
            "{} stories, {} steps, {hours:.0} simulated hours in {took:.1} s: {rate:.0} steps/s, {:.0} hours/s",
            self.stories,
            self.steps,
            hours / took
        );
        let missing = arguments.covered.map(|times| self.coverage.missing(times)).unwrap_or_default();
        if !missing.is_empty() {
            println!("not reached often enough: {}", missing.join("; "));
            self.failed = true;
        }
    }
}

/// Shrinks the story, plays it once more for its trace, and says where both are.
fn failed(arguments: &Arguments, laws: Laws, story: &Scenario, outcome: &Outcome) -> Result<()> {
    let Some(breach) = &outcome.breach else { bail!("nothing was broken") };
    println!("{}: {} is broken: {}", story.name, breach.law, breach.why);
    if arguments.quiet {
        return Ok(());
    }
    let small = shrink(story, breach);
    let again = play(&small, laws, Trace::Kept(Vec::new()));
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("make '{}'", arguments.out.display()))?;
    let name = format!("{}-{}", story.name.replace(' ', "-"), breach.law);
    let (world, trace) =
        (arguments.out.join(format!("{name}.json")), arguments.out.join(format!("{name}.trace.jsonl")));
    std::fs::write(&world, serde_json::to_string_pretty(&small)?)
        .with_context(|| format!("write '{}'", world.display()))?;
    std::fs::write(&trace, again.lines.join("\n") + "\n").with_context(|| format!("write '{}'", trace.display()))?;
    std::fs::write(arguments.out.join(format!("{name}.state.txt")), &again.state)
        .context("write what the engine knew")?;
    if let Some(breach) = &again.breach {
        println!(
            "shrunk to {} faults: at {} (step {}): {}",
            small.faults.len(),
            breach.real,
            breach.step,
            breach.why
        );
    }
    for fault in &small.faults {
        println!("  {}", serde_json::to_string(fault)?);
    }
    println!("again: cargo xtask sim --world {}\ntrace: {}", world.display(), trace.display());
    Ok(())
}
