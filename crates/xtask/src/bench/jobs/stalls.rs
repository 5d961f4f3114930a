//! Jobs that stand still: how long after the time that each may is it judged, and what follows decided.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostward_tests::{Guard, QUICK_HOST};

use super::fleet::Fleet;
use crate::bench::inside::Standstills;
use crate::bench::report::Figure;
use crate::bench::{Programs, host};

/// Their stops are spread over two intervals, so that each phase of it is met.
const JOBS: usize = 20;
const INTERVAL_MS: usize = 5000;
const STALLED_AFTER_MS: usize = 20_000;
const WATCH: &str = "job.slow";

pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let sandbox = host::boot("bench-stalls", programs)?;
    let fleet = Fleet::install(&sandbox, JOBS)?;
    let config = format!(
        "{QUICK_HOST}[{WATCH}]\nmode = \"observe\"\ninterval = \"{INTERVAL_MS}ms\"\n\
         stalled_after = \"{STALLED_AFTER_MS}ms\"\n{}[{WATCH}.provider]\ndirectory = \"{}\"\n{}",
        Fleet::WORKER,
        Fleet::FOLDER,
        Fleet::counted(WATCH)
    );
    let guard = Guard::install_binary(&sandbox, &programs.hostward, &config)?;
    sandbox.sh("systemctl start hostward")?;
    sandbox.wait_until("the jobs to be up", Duration::from_secs(30), || Ok(guard.up(WATCH)? == Some(true)))?;

    let mut arguments = vec!["standstill".to_owned(), WATCH.to_owned()];
    let millis = [
        ("--stalled-after-ms", STALLED_AFTER_MS),
        ("--warm-ms", 2 * INTERVAL_MS),
        ("--gap-ms", 2 * INTERVAL_MS / JOBS),
    ];
    arguments.extend(millis.into_iter().flat_map(|(option, millis)| [option.to_owned(), millis.to_string()]));
    arguments.extend(fleet.logs().map(|log| format!("--log={log}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stood: Standstills = host::inside(&sandbox, &arguments)?;
    ensure!(stood.judged.len() == JOBS, "{} of {JOBS} jobs were judged", stood.judged.len());
    let goal = f64::from(u32::try_from(INTERVAL_MS)?);
    let figure = |what: &str, nanos: &[u64]| {
        let what = format!("a stall's time over, to {what}, interval {} s", INTERVAL_MS / 1000);
        Figure::many("jobs", what, "ms", &host::millis(nanos)).goal(goal).goal_p99(goal)
    };
    Ok(vec![figure("the verdict", &stood.judged), figure("its plan, held", &stood.decided)])
}
