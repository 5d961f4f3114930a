//! The crawl, worker and per-job families of an existing fleet. A crawl is one example of a job: its names live here alone.

use hostward_core::ask::{Active, JobState};
use hostward_core::judge::{Code, Verdict};
use hostward_core::ledger::Settlement;
use hostward_core::policy::Mode;
use hostward_core::time::Ms;
use hostward_core::view::{TargetView, WatchView};
use hostward_core::watch::job::{JobView, WORKER};

use super::super::{Families, count, flag, kept, wall};
use super::{Done, common, observed};

/// Numbers that only the application knows: exported when the provider gives them under these names.
const NUMBERS: [&str; 6] = [
    "container_restarts_done",
    "new_crawl_phase_count",
    "temp_dirs_count",
    "errors_timeout",
    "errors_http",
    "errors_other",
];

pub(super) fn of_watch(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    recovery(out, fleet, watch)?;
    worker(out, fleet, watch)?;
    host(out, fleet, watch)?;
    for (target, job) in jobs(watch).filter(|(_, job)| job.state == JobState::Running) {
        running(out, fleet, target, job)?;
    }
    pending(out, fleet, watch)
}

fn jobs(watch: &WatchView) -> impl Iterator<Item = (&TargetView, &JobView)> {
    kept(watch).filter_map(|target| Some((target, target.job.as_ref()?)))
}

fn in_state(watch: &WatchView, is: fn(JobState) -> bool) -> usize {
    jobs(watch).filter(|(_, job)| is(job.state)).count()
}

fn down_for(target: &TargetView, code: Code) -> bool {
    matches!(&target.verdict, Verdict::Down(reason) if reason.code == code)
}

fn source(job: &JobView) -> [(&'static str, &str); 2] {
    [("job_id", &*job.id), ("source", job.group.as_deref().unwrap_or(""))]
}

fn recovery(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    let prefix = format!("{fleet}_crawl_auto_recover");
    common(out, &prefix, watch)?;
    let name = |rest: &str| format!("{prefix}_{rest}");
    let of = |code| count(jobs(watch).filter(|(target, _)| down_for(target, code)).count());
    let runs = in_state(watch, |state| state == JobState::Running);
    out.gauge(&name("running_jobs"), "Jobs that run, by their own word.", &[], count(runs))?;
    out.gauge(&name("stalled_jobs"), "Jobs that get nowhere.", &[], of(Code::Stalled))?;
    out.gauge(&name("degraded_jobs"), "Jobs that are too slow.", &[], of(Code::Degraded))?;
    lock(out, &prefix, watch)?;
    for (_, job) in jobs(watch) {
        let help = "Looks in a row that were too slow.";
        out.gauge(&name("degraded_streak"), help, &source(job), f64::from(job.slow))?;
    }
    let tries = |rungs: &[&str]| -> u64 {
        let settled =
            kept(watch).flat_map(|target| &target.attempts).filter(|(rung, _)| rungs.contains(&rung.as_str()));
        settled.flat_map(|(_, settled)| settled.values()).sum()
    };
    let help = "Times that a job was taken up again, settled.";
    out.counter(&name("recoveries_total"), help, &[], tries(&["retry", "recover"]))?;
    out.counter(&name("starts_total"), "Times that the queue was filled, settled.", &[], tries(&["fill"]))?;
    let told = kept(watch).filter(|target| target.job.is_some());
    last_result(out, &prefix, watch, told, "recovered", "no_stalled_jobs")
}

fn worker(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    let Some((_, active)) = watch.bases.first() else { return Ok(()) };
    let prefix = format!("{fleet}_worker_auto_start");
    common(out, &prefix, watch)?;
    let name = |rest: &str| format!("{prefix}_{rest}");
    let runs = matches!(active, Active::Active | Active::Reloading);
    out.gauge(&name("worker_active"), "1: the worker runs.", &[], flag(runs))?;
    let running = in_state(watch, |state| state == JobState::Running);
    out.gauge(&name("jobs_running"), "Jobs that run, by their own word.", &[], count(running))?;
    out.gauge(&name("jobs_pending"), "Jobs that wait.", &[], count(in_state(watch, JobState::waits)))?;
    let lost = jobs(watch).filter(|(target, _)| down_for(target, Code::Orphaned)).count();
    out.gauge(
        &name("reconciled_running_jobs"),
        "Jobs that nobody runs though their record says so.",
        &[],
        count(lost),
    )?;
    lock(out, &prefix, watch)?;
    let Some(target) = kept(watch).find(|target| &*target.id.key == WORKER) else { return Ok(()) };
    let tries = |is: fn(Settlement) -> bool| -> u64 {
        let settled = target.attempts.values().flat_map(|settled| settled.iter());
        settled.filter(|(settled, _)| is(**settled)).map(|(_, n)| *n).sum()
    };
    out.counter(&name("start_attempts_total"), "Starts, settled.", &[], tries(|_| true))?;
    out.counter(&name("start_success_total"), "Starts that cleared it.", &[], tries(|s| s == Settlement::Cleared))?;
    out.counter(&name("start_fail_total"), "Starts that did not.", &[], tries(|s| s != Settlement::Cleared))?;
    if let Some((_, at, settled)) = target.last_attempt {
        out.gauge(&name("last_start_attempt_timestamp_seconds"), "The last start.", &[], wall(at))?;
        match settled {
            Some(Settlement::Cleared) => {
                out.gauge(&name("last_start_success_timestamp_seconds"), "It cleared it.", &[], wall(at))?;
            }
            Some(_) => out.gauge(&name("last_start_fail_timestamp_seconds"), "It did not.", &[], wall(at))?,
            None => {}
        }
    }
    last_result(out, &prefix, watch, std::iter::once(target), "started", "worker_not_idle")
}

fn lock(out: &Families, prefix: &str, watch: &WatchView) -> Done {
    let held = flag(watch.deploy_lock_held == Some(true));
    out.gauge(&format!("{prefix}_deploy_lock_present"), "1: the deploy lock is held.", &[], held)
}

/// The fleet's own words for what a cycle came to: of what is down, the last try; else that there was nothing to do.
fn last_result<'a>(
    out: &Families,
    prefix: &str,
    watch: &WatchView,
    targets: impl Iterator<Item = &'a TargetView>,
    done: &'static str,
    idle: &'static str,
) -> Done {
    let targets: Vec<&TargetView> = targets.collect();
    let down = || targets.iter().filter(|target| matches!(target.verdict, Verdict::Down(_)));
    let last = targets.iter().filter_map(|target| target.last_attempt).max_by_key(|(run, ..)| *run);
    let failed = matches!(last, Some((_, _, Some(settled))) if settled != Settlement::Cleared);
    let (result, reason) = match (watch.enabled, down().next()) {
        (Some(false), _) => ("skip", "disabled"),
        _ if watch.deploy_lock_held == Some(true) => ("skip", "deploy_lock_held"),
        (_, None) if last.is_some() && !failed => ("ok", done),
        (_, None) => ("ok", idle),
        (_, Some(_)) if failed => ("fail", "not_cleared"),
        (_, Some(_)) if watch.mode == Mode::Act => ("skip", "held"),
        (_, Some(_)) => ("skip", "dry_run"),
    };
    let labels = [("result", result), ("reason", reason)];
    out.gauge(&format!("{prefix}_last_result"), "What the last cycle came to; always 1.", &labels, 1.0)
}

fn host(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    let name = |rest: &str| format!("{fleet}_{rest}");
    out.gauge(&name("crawl_metrics_ok"), "1: these metrics could be made.", &[], 1.0)?;
    if let Some(observed) = observed(watch) {
        out.gauge(&name("crawl_metrics_timestamp_seconds"), "The last pass.", &[], wall(observed))?;
    }
    let running = in_state(watch, |state| state == JobState::Running);
    let waiting = in_state(watch, JobState::waits);
    out.gauge(&name("crawl_running_jobs"), "Jobs that run, by their own word.", &[], count(running))?;
    out.gauge(&name("jobs_pending_crawl"), "Jobs that wait.", &[], count(waiting))?;
    if let Some((_, active)) = watch.bases.first() {
        let runs = matches!(active, Active::Active | Active::Reloading);
        out.gauge(&name("worker_active"), "1: the worker runs.", &[], flag(runs))?;
        let should = flag(running + waiting > 0);
        out.gauge(&name("worker_should_be_running"), "1: there is work.", &[], should)?;
    }
    Ok(())
}

fn running(out: &Families, fleet: &str, target: &TargetView, job: &JobView) -> Done {
    let name = |rest: &str| format!("{fleet}_crawl_running_job_{rest}");
    let labels = source(job);
    let gauge = |rest: &str, help: &str, value: f64| out.gauge(&name(rest), help, &labels, value);
    gauge("stalled", "1: it gets nowhere.", flag(down_for(target, Code::Stalled)))?;
    gauge("progress_known", "1: it has a number.", flag(job.count.is_some()))?;
    let seconds = |age: Option<Ms>| age.map(Ms::as_secs_f64);
    if let Some(age) = seconds(job.progressed) {
        gauge("last_progress_age_seconds", "How long ago it was seen to progress.", age)?;
    }
    if let Some(age) = seconds(job.age) {
        gauge("started_age_seconds", "How long it has run, by its own word.", age)?;
    }
    if let Some(rate) = job.rate {
        gauge("crawl_rate_ppm", "Its pace a minute, between the last two looks.", rate)?;
    }
    for number in NUMBERS {
        if let Some(value) = job.numbers.get(number).and_then(serde_json::Number::as_f64) {
            gauge(number, "As its provider says it.", value)?;
        }
    }
    if let Some(errno) = job.errno {
        gauge("output_dir_ok", "1: its folder answers.", flag(errno == 0))?;
        gauge("output_dir_errno", "What the last look at its folder failed with; 0: nothing.", f64::from(errno))?;
    }
    let of = |label: &str| job.sources.iter().find(|source| &*source.label == label);
    if let Some(errno) = of("log").and_then(|log| log.errno) {
        gauge("log_probe_ok", "1: its log could be read.", flag(errno == 0))?;
        gauge("log_probe_errno", "What reading its log failed with; 0: nothing.", f64::from(errno))?;
    }
    let Some(state) = of("state") else { return Ok(()) };
    if let Some(errno) = state.errno {
        gauge("state_file_ok", "1: its state file could be read.", flag(errno == 0))?;
        gauge("state_file_errno", "What reading its state file failed with; 0: nothing.", f64::from(errno))?;
        gauge("state_parse_ok", "1: its state file has the number.", flag(state.known))?;
    }
    Ok(())
}

/// Jobs that wait: whether they could write once they run.
fn pending(out: &Families, fleet: &str, watch: &WatchView) -> Done {
    let name = |rest: &str| format!("{fleet}_crawl_annual_pending_{rest}");
    let probed: Vec<(&JobView, i32)> =
        jobs(watch).filter(|(_, job)| job.state.waits()).filter_map(|(_, job)| Some((job, job.errno?))).collect();
    for (job, errno) in &probed {
        let writable = flag(*errno == 0);
        out.gauge(&name("job_output_dir_writable"), "1: its folder takes writes.", &source(job), writable)?;
        let help = "What the last look at its folder failed with; 0: nothing.";
        out.gauge(&name("job_output_dir_writable_errno"), help, &source(job), f64::from(*errno))?;
    }
    out.gauge(&name("jobs_probed"), "Jobs that wait and whose folder was looked at.", &[], count(probed.len()))
}
