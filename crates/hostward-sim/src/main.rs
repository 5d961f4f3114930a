//! `hostward-sim`: plays stories until one breaks a law, or enough were played.

mod hunt;
mod tally;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use hostward_sim::law::{self, Laws};
use hostward_sim::scenario::{Scenario, generate, sweep};
use tally::Tally;

/// Plays the real engine in a simulated world and looks at its laws after every event.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin with a seed that nobody has played: made from the time of day, and printed
    #[arg(long, conflicts_with = "seed")]
    fresh: bool,
    /// Seeds make barrages: everything goes wrong at once, and shortly
    #[arg(long)]
    barrage: bool,
    /// How many seeds; one, unless --steps says otherwise
    #[arg(long)]
    seeds: Option<u64>,
    /// Seeds are played until so many steps were made
    #[arg(long)]
    steps: Option<u64>,
    /// Seeds are played for so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Play these stories instead
    #[arg(long, num_args = 1.., conflicts_with_all = ["seeds", "steps", "seconds", "fresh"])]
    world: Vec<PathBuf>,
    /// Look at this law alone
    #[arg(long)]
    law: Option<String>,
    /// Every n-th story is played twice, and compared byte for byte
    #[arg(long, default_value_t = 16)]
    twice: u64,
    /// Fail when a hold, a rung, a fault or a crash point was not reached so often, or anything else not once
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "1")]
    covered: Option<u64>,
    /// Say nothing but the verdict
    #[arg(long)]
    quiet: bool,
    /// Say the rates alone, as JSON
    #[arg(long, conflicts_with_all = ["tell", "covered", "quiet"])]
    json: bool,
    /// Where a failure's story and trace are written
    #[arg(long, default_value = "target/sim-failures")]
    out: PathBuf,
    /// Name the laws, and end
    #[arg(long)]
    laws: bool,
    /// Tell what the ledger would say, record by record
    #[arg(long)]
    tell: bool,
    /// Look for every bug of the core's that can be planted, by the story that is known to find it
    #[arg(long)]
    planted: bool,
    /// Plant this bug, and play whatever else is said
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
        for law in law::ALL {
            println!("{}: {}", law.name, law.says);
        }
        for (name, says) in law::OTHERS {
            println!("{name}: {says}");
        }
        return Ok(true);
    }
    if arguments.planted {
        return hunt::all(arguments.quiet);
    }
    if let Some(name) = &arguments.plant {
        hunt::plant(name)?;
    }
    let laws = match &arguments.law {
        Some(name) => Laws::only(name).with_context(|| format!("no law is called '{name}'"))?,
        None => Laws::default(),
    };
    let mut tally = Tally::new();
    if arguments.world.is_empty() {
        seeds(arguments, laws, &mut tally)?;
    }
    for path in &arguments.world {
        world(arguments, laws, &mut tally, &story(path)?)?;
    }
    tally.tell(arguments);
    Ok(!tally.failed())
}

fn seeds(arguments: &Arguments, laws: Laws, tally: &mut Tally) -> Result<()> {
    let bounded = arguments.steps.is_some() || arguments.seconds.is_some();
    let seeds = arguments.seeds.unwrap_or(if bounded { u64::MAX } else { 1 });
    let steps = arguments.steps.unwrap_or(u64::MAX);
    let first = if arguments.fresh { fresh() } else { arguments.seed };
    if arguments.fresh {
        println!("seeds from {first} on; again: --seed {first}");
    }
    for n in 0..seeds {
        let late = arguments.seconds.is_some_and(|seconds| tally.took().as_secs() >= seconds);
        if tally.steps() >= steps || late || tally.failed() && !arguments.census {
            break;
        }
        let made = if arguments.barrage { generate::barrage } else { generate::scenario };
        let story = made(first.wrapping_add(n));
        let twice = arguments.twice > 0 && n % arguments.twice == 0;
        tally.play(arguments, laws, &story, twice)?;
    }
    Ok(())
}

/// A named world, and every story of its sweeps.
fn world(arguments: &Arguments, laws: Laws, tally: &mut Tally, story: &Scenario) -> Result<()> {
    let counts = tally.play(arguments, laws, story, false)?;
    for one in sweep::stories(story, &counts) {
        if tally.failed() && !arguments.census {
            break;
        }
        tally.play(arguments, laws, &one, false)?;
    }
    Ok(())
}

fn story(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read '{}'", path.display()))?;
    let understood = || format!("understand '{}'", path.display());
    if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).with_context(understood)
    } else {
        toml::from_str(&text).with_context(understood)
    }
}

/// Far from the seeds that anybody writes down, and never the same twice.
fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() * 1000
}
