//! One job: what its list, its runner, its counters and its folder come to. What it lies on is told before what it does:
//! a job on storage that is lost is not the one that is broken.

use super::{Runner, SourceView, Spec, Track};
use crate::ask::{Fault, Found, JobReading, JobState, Look, Source};
use crate::judge::{Code, Reason, Seen};
use crate::time::Now;
use crate::watch::storage::is_lost;

pub(super) fn judge(spec: &Spec, job: &JobReading, runner: &Runner, track: &Track, now: Now) -> Seen {
    let down = |code, detail: String| Seen::Down(Reason::new(code, detail));
    if job.state == JobState::Failed && !runner.runs() {
        return match unusable(job) {
            _ if !track.struck() => Seen::Up,
            Some(why) => down(Code::Infrastructure, why),
            None => down(Code::Interrupted, "it failed while its folder was lost, which answers again".into()),
        };
    }
    if let Some(why) = infrastructure(job) {
        return down(Code::Infrastructure, why);
    }
    if job.state != JobState::Running {
        return match runner {
            _ if runner.runs() => {
                down(Code::Unrecorded, format!("{} runs it, and its record says {}", who(runner), job.state.label()))
            }
            Runner::Unknown(why) => {
                Seen::Unknown(Fault::Unreadable(format!("whether anybody runs it: {why}").into()))
            }
            _ => unwritable(job).map_or(Seen::Up, |why| down(Code::Unwritable, why)),
        };
    }
    let still = now.since(track.anchor());
    if *runner == Runner::Nobody {
        return down(Code::Orphaned, "its record says that it runs, and nobody runs it".into());
    }
    if let Some(why) = unwritable(job) {
        return down(Code::Unwritable, why);
    }
    // Without one counter that could be looked at nothing is known of its progress, however long that is.
    if let Some(fault) = unseen(job) {
        return Seen::Unknown(fault);
    }
    if still >= spec.stalled_after {
        // What could not be asked may have risen: it is stalled when that would change nothing.
        if let Some(fault) = doubt(spec, job, track, now) {
            return Seen::Unknown(fault);
        }
        let so_far = track.count().map_or_else(|| "and no number yet".to_owned(), |count| format!("at {count}"));
        return down(Code::Stalled, format!("no progress for {}, {so_far}", spec.stalled_after));
    }
    if let Some(degraded) = spec.degraded.filter(|degraded| track.slow() >= degraded.runs) {
        let detail = format!("less than {} a minute in {} looks", degraded.per_minute, degraded.runs);
        return down(Code::Degraded, detail);
    }
    Seen::Up
}

fn who(runner: &Runner) -> String {
    match runner {
        Runner::Own(unit) | Runner::Foreign(unit) => unit.to_string(),
        Runner::Worker => "the worker".into(),
        Runner::Stranger(process) => format!("process {}", process.pid),
        Runner::Hidden | Runner::Nobody | Runner::Unknown(_) => "somebody".into(),
    }
}

/// Nobody could work in its folder now.
pub(super) fn unusable(job: &JobReading) -> Option<String> {
    infrastructure(job).or_else(|| unwritable(job))
}

/// The same, of what was there: a folder that is not there yet was not lost.
pub(super) fn lost(job: &JobReading) -> bool {
    infrastructure(job).is_some() || unwritable(job).is_some() && !job.look.as_ref().is_some_and(Look::is_absent)
}

/// A call on its folder or its files came back as from storage that is gone, or does not come back.
fn infrastructure(job: &JobReading) -> Option<String> {
    let folder = match &job.look {
        Some(Look::Stuck { .. }) => Some("its folder hangs".to_owned()),
        Some(Look::Failed { errno, why, call }) if is_lost(*errno) => Some(format!("its folder: {call}: {why}")),
        _ => None,
    };
    let file = || {
        job.progress.iter().find_map(|found| match found {
            Found::Stuck => Some("a look at its progress hangs".to_owned()),
            Found::Failed { errno, why } if is_lost(*errno) => Some(format!("its progress: {why}")),
            _ => None,
        })
    };
    folder.or_else(file)
}

/// As the user whom the jobs run as.
fn unwritable(job: &JobReading) -> Option<String> {
    match &job.look {
        Some(Look::Failed { call, why, .. }) => Some(format!("its folder: {call}: {why}")),
        _ => None,
    }
}

fn unseen(job: &JobReading) -> Option<Fault> {
    let counters = job.progress.iter().filter(|found| !matches!(found, Found::Effort(_)));
    let mut faults = counters.map(unasked);
    let first = faults.next()?;
    faults.fold(first, Option::and)
}

/// With those that could not be asked, as many of its counters may have risen as must.
fn doubt(spec: &Spec, job: &JobReading, track: &Track, now: Now) -> Option<Fault> {
    let faults: Vec<Fault> = job.progress.iter().filter_map(unasked).collect();
    let may = track.risen(now, spec.stalled_after) + faults.len();
    faults.into_iter().next().filter(|_| may >= spec.agree as usize)
}

fn unasked(found: &Found) -> Option<Fault> {
    match found {
        Found::Count(_) | Found::Effort(_) | Found::Nothing(_) => None,
        Found::Unasked(fault) => Some(fault.clone()),
        Found::Failed { why, .. } => Some(Fault::Unreadable(why.clone())),
        Found::Stuck => Some(Fault::Timeout),
    }
}

/// Of the last look at its folder.
pub(super) fn errno(job: &JobReading) -> Option<i32> {
    match job.look.as_ref()? {
        Look::Answered(_) => Some(0),
        Look::Failed { errno, .. } => Some(*errno),
        Look::Stuck { .. } | Look::Unasked(_) => None,
    }
}

pub(super) fn source(source: &Source, found: &Found) -> SourceView {
    let (known, errno, touched) = match found {
        Found::Count(measure) => (true, Some(0), measure.touched),
        Found::Effort(_) => (true, Some(0), None),
        Found::Nothing(_) => (false, Some(0), None),
        Found::Failed { errno, .. } => (false, Some(*errno), None),
        Found::Stuck | Found::Unasked(_) => (false, None, None),
    };
    SourceView { label: source.label().into(), known, errno, touched }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Measure;
    use crate::id::UnitName;
    use crate::time::Ms;
    use crate::watch::job::fixture::{job, spec};

    /// Looks, one an hour, at two counters of which so many must agree: a number, `-` for none, `!` for what may not be read.
    fn judged(agree: u32, looks: &[&str]) -> &'static str {
        let spec = Spec { agree, ..spec() };
        let at = |hours: u64| Now { boot: 1, up: Ms::hours(1 + hours), wall: Ms::hours(100 + hours) };
        let mut track = Track::new(at(0));
        let mut seen = Seen::Up;
        for (n, look) in (0u64..).zip(looks) {
            let found = |word: &str| match word {
                "-" => Found::Nothing("no line".into()),
                "!" => Found::Failed { errno: 13, why: "denied".into() },
                count => Found::Count(Measure { count: count.parse().unwrap(), ..Measure::default() }),
            };
            let job = JobReading { progress: look.split(' ').map(found).collect(), ..job() };
            track.look(at(n), &"1".into(), &job.progress, agree);
            seen = judge(&spec, &job, &Runner::Own(UnitName::new("a.service")), &track, at(n));
        }
        match seen {
            Seen::Up => "up",
            Seen::Down(reason) => reason.code.label(),
            Seen::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn what_could_not_be_asked_is_no_evidence_of_a_stall() {
        let table: [(u32, &[&str], &str); 9] = [
            (1, &["1 1", "1 1", "1 1"], "stalled"),
            (1, &["- -", "- -", "- -"], "stalled"),
            (1, &["1 1", "1 1", "1 2"], "up"),
            (1, &["! !"], "unknown"),
            // It may have risen, and one that rises is enough.
            (1, &["1 !", "1 !", "1 !"], "unknown"),
            (2, &["1 1", "2 1", "3 1"], "stalled"),
            (2, &["1 1", "2 !", "3 !"], "unknown"),
            // Whatever it would have said: the other one does not rise.
            (2, &["1 1", "1 !", "1 !"], "stalled"),
            (2, &["1 1", "2 2", "3 3"], "up"),
        ];
        for (agree, looks, expected) in table {
            assert_eq!(judged(agree, looks), expected, "{agree} of {looks:?}");
        }
    }
}
