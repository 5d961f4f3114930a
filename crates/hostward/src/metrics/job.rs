//! Each job of a job watch, and how many there are of each state. Its name is a label: bounded in length and number, and the
//! provider's own.

use hostward_core::ask::JobState;
use hostward_core::view::WatchView;

use super::{Families, count, flag, kept, reason};

pub(super) fn of_watch(out: &Families, watch: &WatchView) -> Result<(), prometheus::Error> {
    let id = watch.id.as_str();
    for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Done) {
        let of_it = kept(watch).filter(|target| target.job.as_ref().is_some_and(|job| job.state == state));
        let labels = [("watch", id), ("state", state.label())];
        out.gauge("hostward_jobs", "Jobs that are listed, by their own word.", &labels, count(of_it.count()))?;
    }
    for target in kept(watch) {
        let Some(job) = &target.job else { continue };
        let labels = [("watch", id), ("job", &*job.id)];
        if let Some(up) = target.verdict.up() {
            out.gauge("hostward_job_up", "1: this job is well. Absent while it is not known.", &labels, flag(up))?;
        }
        let condition = [("watch", id), ("job", &*job.id), ("reason", reason(target))];
        out.gauge("hostward_job_condition", "The verdict on a job; always 1.", &condition, 1.0)?;
        if let Some(progress) = job.count {
            let help = "How far a job has come, by its first counter that is known.";
            out.gauge("hostward_job_progress", help, &labels, wide(progress))?;
        }
        if let Some(age) = job.progressed {
            let help = "How long ago a job was seen to progress. Absent while it was not.";
            out.gauge("hostward_job_progress_age_seconds", help, &labels, age.as_secs_f64())?;
        }
        if let Some(rate) = job.rate {
            out.gauge("hostward_job_progress_per_minute", "Its pace between the last two looks.", &labels, rate)?;
        }
        for (name, number) in &job.numbers {
            let Some(value) = number.as_f64() else { continue };
            let labels = [("watch", id), ("job", &*job.id), ("name", &**name)];
            out.gauge("hostward_job_number", "A number that the provider gives for a job.", &labels, value)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counters beyond 2^53 are right to a few")]
fn wide(n: u64) -> f64 {
    n as f64
}
