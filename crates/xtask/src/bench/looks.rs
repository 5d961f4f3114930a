//! One look of a watch, asked for, and how long it took by the daemon's own histogram: without the verb that asked.

use anyhow::{Context, Result, ensure};
use hostward_tests::Guard;

/// What one forced look added to the histogram, in milliseconds.
pub(super) fn look(guard: &Guard<'_>, watch: &str) -> Result<f64> {
    let before = looks(guard, watch)?;
    guard.run(&["check", watch])?.ok()?;
    let after = looks(guard, watch)?;
    ensure!(after.0 == before.0 + 1, "{} looks at {watch}, and one was asked for", after.0 - before.0);
    Ok((after.1 - before.1) * 1e3)
}

/// How many there were, and the seconds that all of them took.
fn looks(guard: &Guard<'_>, watch: &str) -> Result<(u64, f64)> {
    let metrics = guard.metrics()?;
    let value = |field: &str| {
        let name = format!("hostward_probe_duration_seconds_{field}{{watch=\"{watch}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).with_context(|| format!("no metric '{name}'"))
    };
    Ok((value("count")?.parse()?, value("sum")?.parse()?))
}
