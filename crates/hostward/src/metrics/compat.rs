//! The names that an existing fleet's rules and dashboards read, beside our own. What is not known is absent, never 0.

mod crawl;

use hostward_core::ask::Active;
use hostward_core::hold::Hold;
use hostward_core::judge::{Code, Verdict};
use hostward_core::ledger::Settlement;
use hostward_core::time::{Ms, Now};
use hostward_core::view::{TargetView, View, WatchView};

use super::{Families, count, flag, kept, wall};

type Done = Result<(), prometheus::Error>;

pub(super) fn of_watch(out: &Families, view: &View, prefix: &str, watch: &WatchView) -> Done {
    if let Some(fleet) = prefix.strip_suffix("_storage_hotpath_auto_recover") {
        common(out, prefix, watch)?;
        hot_paths(out, view, prefix, watch)?;
        return tiering(out, fleet, watch);
    }
    match prefix.strip_suffix("_crawl_auto_recover") {
        Some(fleet) => crawl::of_watch(out, fleet, watch),
        None => drift(out, prefix, watch),
    }
}

fn observed(watch: &WatchView) -> Option<Now> {
    watch.targets.iter().filter_map(|target| target.observed).min()
}

fn common(out: &Families, prefix: &str, watch: &WatchView) -> Done {
    let name = |rest: &str| format!("{prefix}_{rest}");
    out.gauge(&name("metrics_ok"), "1: these metrics could be made.", &[], 1.0)?;
    if let Some(observed) = observed(watch) {
        out.gauge(&name("last_run_timestamp_seconds"), "The last pass.", &[], wall(observed))?;
    }
    if let Some(enabled) = watch.enabled {
        out.gauge(&name("enabled"), "1: the sentinel is present.", &[], flag(enabled))?;
    }
    Ok(())
}

fn hot_paths(out: &Families, view: &View, prefix: &str, watch: &WatchView) -> Done {
    let name = |rest: &str| format!("{prefix}_{rest}");
    let down = |target: &&TargetView| matches!(target.verdict, Verdict::Down(_));
    let detected = kept(watch).filter(down).count();
    out.gauge(&name("detected_targets"), "Paths that are down.", &[], count(detected))?;
    if let Some(healthy) = last_healthy(watch) {
        out.gauge(&name("last_healthy_timestamp_seconds"), "When all was well.", &[], wall(healthy))?;
    }
    let locked = flag(watch.deploy_lock_held == Some(true));
    out.gauge(&name("deploy_lock_active"), "1: the deploy lock is held.", &[], locked)?;
    let age = watch.deploy_lock.as_ref().map_or(-1.0, |lock| lock.held_for.as_secs_f64());
    out.gauge(&name("deploy_lock_age_seconds"), "How long it has been held; -1: it is not.", &[], age)?;
    for (rest, span) in [("apply_1h", Ms::hours(1)), ("apply_24h", Ms::days(1))] {
        let within = watch.runs.iter().filter(|(_, at)| view.at.since(*at) < span).count();
        out.gauge(&name(rest), "Runs that were begun within it.", &[], count(within))?;
    }
    let attempts = kept(watch).flat_map(|target| target.attempts.values()).flat_map(|settled| settled.values());
    let help = "Attempts that have settled, each path's counted by itself.";
    out.counter(&name("apply_total"), help, &[], attempts.sum())?;
    let last = kept(watch).filter_map(|target| target.last_attempt).max_by_key(|(run, ..)| *run);
    if let Some((_, at, settled)) = last {
        out.gauge(&name("last_apply_timestamp_seconds"), "When the last run began.", &[], wall(at))?;
        if let Some(settled) = settled {
            let ok = flag(settled == Settlement::Cleared);
            out.gauge(&name("last_apply_ok"), "1: the last run cleared it.", &[], ok)?;
        }
    }
    Ok(())
}

/// When all is up, the last look; else the moment before the first fell.
fn last_healthy(watch: &WatchView) -> Option<Now> {
    let mut fell = None;
    for target in kept(watch) {
        match target.verdict {
            Verdict::Up => {}
            Verdict::Down(_) => fell = fell.into_iter().chain([target.since]).min(),
            Verdict::Pending | Verdict::Unknown(_) => return None,
        }
    }
    fell.or_else(|| observed(watch))
}

fn tiering(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    let name = |rest: &str| format!("{fleet}_{rest}");
    if let Some(observed) = observed(watch) {
        out.gauge(&name("tiering_metrics_timestamp_seconds"), "The last pass.", &[], wall(observed))?;
    }
    let manifest = watch.targets.iter().find(|target| target.part.as_deref() == Some("manifest"));
    if let Some(ok) = manifest.and_then(|manifest| manifest.verdict.up()) {
        out.gauge(&name("tiering_manifest_ok"), "1: each line of the manifest is watched.", &[], flag(ok))?;
    }
    for target in kept(watch) {
        let path = [("path", &*target.id.key)];
        if let Some(ok) = target.verdict.up() {
            out.gauge(&name("tiering_hot_path_ok"), "1: this path is well.", &path, flag(ok))?;
        }
        if let Some(errno) = target.errno {
            let help = "What the last look at it failed with; 0: nothing. Absent while it hangs.";
            out.gauge(&name("tiering_hot_path_errno"), help, &path, f64::from(errno))?;
        }
    }
    for (unit, active) in &watch.bases {
        let unit = [("unit", unit.as_str())];
        let runs = matches!(active, Active::Active | Active::Reloading);
        out.gauge(&name("systemd_unit_ok"), "1: a unit that keeps a mount runs.", &unit, flag(runs))?;
        let failed = flag(*active == Active::Failed);
        out.gauge(&name("systemd_unit_failed"), "1: it failed.", &unit, failed)?;
    }
    if !watch.bases.is_empty() {
        let runs = watch.bases.iter().all(|(_, active)| matches!(active, Active::Active | Active::Reloading));
        let lost =
            kept(watch).any(|target| matches!(&target.verdict, Verdict::Down(reason) if is_mounts(reason.code)));
        out.gauge(&name("storagebox_mount_ok"), "1: the mounts answer.", &[], flag(runs && !lost))?;
    }
    Ok(())
}

/// It speaks against the mount, and not only against the right to write there.
fn is_mounts(code: Code) -> bool {
    matches!(code, Code::Stale | Code::Hung | Code::Missing | Code::WrongSource | Code::BaseDown)
}

fn drift(out: &Families, prefix: &str, watch: &WatchView) -> Done {
    common(out, prefix, watch)?;
    let name = |rest: &str| format!("{prefix}_{rest}");
    let held = flag(watch.deploy_lock_held == Some(true));
    out.gauge(&name("deploy_lock_present"), "1: the deploy lock is held.", &[], held)?;
    if let Some((result, reason)) = drift_result(watch) {
        let labels = [("result", result), ("reason", reason)];
        out.gauge(&name("last_result"), "What the last cycle came to; always 1.", &labels, 1.0)?;
    }
    Ok(())
}

/// The fleet's own words for what a cycle came to.
fn drift_result(watch: &WatchView) -> Option<(&'static str, &'static str)> {
    let target = watch.targets.first()?;
    let disabled = watch.enabled == Some(false);
    let failed = matches!(target.last_attempt, Some((_, _, Some(settled))) if settled != Settlement::Cleared);
    let cleared = matches!(target.last_attempt, Some((_, _, Some(Settlement::Cleared) | None)));
    Some(match &target.verdict {
        _ if disabled => ("skip", "disabled"),
        _ if watch.deploy_lock_held == Some(true) => ("skip", "deploy_lock_held"),
        Verdict::Up if cleared => ("ok", "reconciled_successfully"),
        Verdict::Up => ("ok", "no_dependency_drift"),
        Verdict::Pending | Verdict::Unknown(_) => return None,
        Verdict::Down(_) if braked(watch) => {
            if failed {
                ("fail", "reconcile_script_failed")
            } else {
                ("skip", "cooldown")
            }
        }
        Verdict::Down(_) if failed => ("fail", "reconcile_script_failed"),
        Verdict::Down(_) => ("skip", "dry_run_would_reconcile"),
    })
}

fn braked(watch: &WatchView) -> bool {
    [Hold::Cooldown, Hold::TargetCap, Hold::CircuitOpen].into_iter().any(|hold| watch.holds(hold))
}
