//! `hostward-sim`: plays stories until one breaks a law, or enough were played.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use hostward_core::time::Ms;
use hostward_sim::coverage::Coverage;
use hostward_sim::law::{self, Laws};
use hostward_sim::run::{Outcome, play, play_twice};
use hostward_sim::scenario::{Scenario, generate};
use hostward_sim::shrink::shrink;
use hostward_sim::trace::Trace;

/// Plays the real engine in a simulated world and looks at its laws after every event.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds; one, unless --steps says otherwise
    #[arg(long)]
    seeds: Option<u64>,
    /// Seeds are played until so many steps were made
    #[arg(long)]
    steps: Option<u64>,
    /// Play this story instead
    #[arg(long, conflicts_with_all = ["seeds", "steps"])]
    world: Option<PathBuf>,
    /// Look at this law alone
    #[arg(long)]
    law: Option<String>,
    /// Every n-th story is played twice, and compared byte for byte
    #[arg(long, default_value_t = 16)]
    twice: u64,
    /// Fail when something that must be reached was not
    #[arg(long)]
    covered: bool,
    /// Say nothing but the verdict
    #[arg(long)]
    quiet: bool,
    /// Where a failure's story and trace are written
    #[arg(long, default_value = "target/sim-failures")]
    out: PathBuf,
    /// Name the laws, and end
    #[arg(long)]
    laws: bool,
    /// Plant this bug in the core for every story
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
    /// Go on after a breach, and count them by law
    #[arg(long)]
    census: bool,
}

fn main() -> ExitCode {
    // A panic of the core's is a breach like any other, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    match simulate(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostward-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<bool> {
    if arguments.laws {
        law::ALL.iter().for_each(|law| println!("{}: {}", law.name, law.says));
        law::OTHERS.iter().for_each(|(name, says)| println!("{name}: {says}"));
        return Ok(true);
    }
    #[cfg(feature = "planted")]
    if let Some(name) = &arguments.plant {
        let bug = hostward_sim::planted::by_name(name).with_context(|| format!("no bug is called '{name}'"))?;
        hostward_core::planted::plant(Some(bug));
    }
    let laws = match &arguments.law {
        Some(name) => Laws::only(name).with_context(|| format!("no law is called '{name}'"))?,
        None => Laws::default(),
    };
    let mut tally = Tally::new();
    if let Some(path) = &arguments.world {
        let text = std::fs::read_to_string(path).with_context(|| format!("read '{}'", path.display()))?;
        let story: Scenario = if path.extension().is_some_and(|e| e == "json") {
            serde_json::from_str(&text).with_context(|| format!("understand '{}'", path.display()))?
        } else {
            toml::from_str(&text).with_context(|| format!("understand '{}'", path.display()))?
        };
        tally.play(arguments, laws, &story, true)?;
    } else {
        let seeds = arguments.seeds.unwrap_or(if arguments.steps.is_some() { u64::MAX } else { 1 });
        let steps = arguments.steps.unwrap_or(u64::MAX);
        for n in 0..seeds {
            if tally.steps >= steps || tally.failed && !arguments.census {
                break;
            }
            let story = generate::scenario(arguments.seed.wrapping_add(n));
            tally.play(arguments, laws, &story, arguments.twice > 0 && n % arguments.twice == 0)?;
        }
    }
    tally.tell(arguments);
    Ok(!tally.failed)
}

struct Tally {
    begun: Instant,
    stories: u64,
    steps: u64,
    lasted: Ms,
    coverage: Coverage,
    failed: bool,
    breaches: std::collections::BTreeMap<&'static str, Vec<u64>>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            begun: Instant::now(),
            stories: 0,
            steps: 0,
            lasted: Ms::ZERO,
            coverage: Coverage::default(),
            failed: false,
            breaches: std::collections::BTreeMap::new(),
        }
    }

    fn play(&mut self, arguments: &Arguments, laws: Laws, story: &Scenario, twice: bool) -> Result<()> {
        let outcome = if twice { play_twice(story, laws) } else { play(story, laws, Trace::Off) };
        self.stories += 1;
        self.steps += outcome.steps;
        self.lasted = self.lasted + outcome.lasted;
        self.coverage.add(&outcome.coverage);
        if let Some(breach) = &outcome.breach {
            self.failed = true;
            self.breaches.entry(breach.law).or_default().push(story.seed);
            if !arguments.census {
                failed(arguments, laws, story, &outcome)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, arguments: &Arguments) {
        let took = self.begun.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "rates are rounded")]
        let rate = self.steps as f64 / took;
        let hours = self.lasted.as_secs_f64() / 3600.0;
        if !arguments.quiet {
            print!("{}", self.coverage.table());
        }
        for (law, seeds) in &self.breaches {
            let shown: Vec<String> = seeds.iter().take(12).map(ToString::to_string).collect();
            println!("broken {} times: {law}, by seeds {}", seeds.len(), shown.join(", "));
        }
        println!(
            "{} stories, {} steps, {hours:.0} simulated hours in {took:.1} s: {rate:.0} steps/s, {:.0} hours/s",
            self.stories,
            self.steps,
            hours / took
        );
        let missing = self.coverage.missing();
        if arguments.covered && !missing.is_empty() {
            println!("never reached: {}", missing.join("; "));
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
    let small = shrink(story, breach.law, laws);
    let again = play(&small, laws, Trace::Kept(Vec::new()));
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("make '{}'", arguments.out.display()))?;
    let name = format!("{}-{}", story.name.replace(' ', "-"), breach.law);
    let (world, trace) =
        (arguments.out.join(format!("{name}.json")), arguments.out.join(format!("{name}.trace.jsonl")));
    std::fs::write(&world, serde_json::to_string_pretty(&small)?)
        .with_context(|| format!("write '{}'", world.display()))?;
    std::fs::write(&trace, again.lines.join("\n") + "\n").with_context(|| format!("write '{}'", trace.display()))?;
    std::fs::write(arguments.out.join(format!("{name}.state.txt")), &again.state).context("write what the engine knew")?;
    if let Some(breach) = &again.breach {
        println!("shrunk to {} faults: at {} (step {}): {}", small.faults.len(), breach.real, breach.step, breach.why);
    }
    for fault in &small.faults {
        println!("  {}", serde_json::to_string(fault)?);
    }
    println!("again: cargo xtask sim --world {}\ntrace: {}", world.display(), trace.display());
    Ok(())
}
