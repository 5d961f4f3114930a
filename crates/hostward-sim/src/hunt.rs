//! `--planted`: every bug that can be planted is looked for, and told of in a table.

use anyhow::Result;

#[cfg(not(feature = "planted"))]
const WITHOUT: &str = "built without its bugs; `--features planted` has them";

#[cfg(not(feature = "planted"))]
pub(crate) fn all(_: bool) -> Result<bool> {
    anyhow::bail!(WITHOUT)
}

#[cfg(not(feature = "planted"))]
pub(crate) fn plant(_: &str) -> Result<()> {
    anyhow::bail!(WITHOUT)
}

#[cfg(feature = "planted")]
pub(crate) fn plant(name: &str) -> Result<()> {
    let bug = hostward_core::planted::Bug::ALL.into_iter().find(|bug| bug.name() == name);
    hostward_core::planted::plant(Some(anyhow::Context::with_context(bug, || format!("no bug is called '{name}'"))?));
    Ok(())
}

/// False: a bug was not found, or another law than the one that it breaks said so, or its story breaks a law without it.
/// `quiet`: as fast as can be, so nothing is shrunk.
#[cfg(feature = "planted")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
pub(crate) fn all(quiet: bool) -> Result<bool> {
    use hostward_sim::planted::{FINDS, Found};

    println!("{:<18} {:<10} {:<40} {:>7} {:>9} {:>7}", "bug", "story", "law that it breaks", "step", "faults", "ms");
    let mut good = true;
    for find in FINDS {
        let Found { bug, story, breach, control, took, faults: (needed, all) } = find.play(!quiet);
        let (law, step) = breach.as_ref().map_or(("none", 0), |breach| (breach.law, breach.step));
        let faults = if quiet { all.to_string() } else { format!("{needed} of {all}") };
        println!("{bug:<18} {story:<10} {law:<40} {step:>7} {faults:>9} {:>7}", took.as_millis());
        if law != find.law {
            println!("  {} was to be broken: {}", find.law, bug.says());
            good = false;
        }
        if let Some(breach) = control {
            println!("  without the bug the story breaks {}: {}", breach.law, breach.why);
            good = false;
        }
    }
    let unknown =
        hostward_core::planted::Bug::ALL.into_iter().filter(|bug| FINDS.iter().all(|find| find.bug != *bug));
    for bug in unknown {
        println!("{bug}: no story is known that finds it");
        good = false;
    }
    Ok(good)
}
