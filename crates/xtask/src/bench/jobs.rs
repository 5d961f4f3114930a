//! `jobs`: passes over many jobs, what a log costs that is far larger than what is read of it, and jobs that stand still.

mod fleet;
mod memory;
mod passes;
mod stalls;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hostward_tests::{Guard, QUICK_HOST};

use super::{Figure, Programs, host};
use fleet::Fleet;

const JOBS: usize = 200;
const BY_FOLDER: &str = "job.folder";
const BY_COMMAND: &str = "job.command";
/// A provider that takes no time of its own but its start.
const LIST: [&str; 2] = ["/bin/cat", Fleet::LIST];

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let mut figures = many(programs)?;
    figures.extend(stalls::measure(programs)?);
    Ok(figures)
}

fn many(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-jobs", programs)?;
    let mut fleet = Fleet::install(&sandbox, JOBS)?;
    let mut config = QUICK_HOST.to_owned();
    for (watch, provider) in
        [(BY_FOLDER, format!("directory = \"{}\"", Fleet::FOLDER)), (BY_COMMAND, format!("run = {LIST:?}"))]
    {
        write!(
            config,
            "[{watch}]\nmode = \"observe\"\ninterval = \"1h\"\nstalled_after = \"1d\"\n{}[{watch}.provider]\n{provider}\n{}",
            Fleet::WORKER,
            Fleet::counted(watch)
        )?;
    }
    let guard = Guard::install_binary(&sandbox, &programs.hostward, &config)?;
    sandbox.sh("systemctl start hostward")?;
    for watch in [BY_FOLDER, BY_COMMAND] {
        sandbox.wait_until(watch, Duration::from_mins(1), || Ok(guard.up(watch)? == Some(true)))?;
    }
    let mut figures = passes::measure(&guard, &mut fleet)?;
    figures.extend(memory::measure(&guard, &mut fleet)?);
    Ok(figures)
}
