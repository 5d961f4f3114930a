//! What holds the remedy of a job: doubt about what was seen, caps, a cure without gain, a sibling that would be hurt,
//! storage that is lost.

use std::path::Path;

use super::remedy::{Case, Kind, marks};
use super::{Runner, Spec, key};
use crate::ask::JobReading;
use crate::hold::{Held, Hold, Lift};
use crate::id::UnitName;
use crate::judge::Code;
use crate::ledger::Attempt;
use crate::time::{Ms, Now};
use crate::watch::Spec as Kinds;
use crate::world::World;

/// So many in a row that gained nothing are no remedy.
const CIRCUIT: usize = 3;
pub(super) const DAY: Ms = Ms::hours(24);

impl Spec {
    /// A job is down for one reason after another, and each is to be seen twice: one that was slow all day, and whose runner
    /// is not seen for a moment, is not yet one that nobody runs.
    pub(super) fn unsure(&self, case: &Case<'_>) -> Option<Held> {
        case.world.target(case.target)?.verdict.down()?;
        let (now, need) = (case.world.now, self.confirm(Some(case.code)));
        let told = case.memo.tracks.get(&case.job.id)?.told().filter(|told| told.code == case.code);
        let (looks, age) = told.map_or((0, Ms::ZERO), |told| (told.looks, now.since(told.since)));
        (looks < need.runs || age < need.age).then(|| {
            let value = format!("seen {} {looks} times over {age}", case.code.label());
            let threshold = format!("{} times over {}", need.runs, need.age);
            Held::new(Hold::Confirming, value, threshold, Lift::Fact("the next look".into()))
        })
    }

    /// Who else would be stopped, and progressed or began a moment ago.
    pub(super) fn hurt(&self, case: &Case<'_>, stopped: &[UnitName]) -> Option<Held> {
        let now = case.world.now;
        let worker = self.asked.worker.as_ref().is_some_and(|worker| stopped.contains(worker));
        let in_it = |job: &&JobReading| match Runner::of(self, job, case.last.worker.as_ref()) {
            Runner::Own(unit) | Runner::Foreign(unit) => stopped.contains(&unit),
            Runner::Stranger(process) => process.unit.is_some_and(|unit| stopped.contains(&unit)),
            // The worker may well be who holds its lock.
            Runner::Worker | Runner::Hidden | Runner::Unknown(_) => worker,
            Runner::Nobody => false,
        };
        let others = case.last.jobs.iter().filter(|job| job.id != case.job.id).filter(in_it);
        let busy = others.filter_map(|job| Some((job, case.memo.tracks.get(&job.id)?.anchor())));
        let (job, at) = busy.filter(|(_, at)| now.since(*at) < self.remedy.guard).max_by_key(|(_, at)| *at)?;
        let value = format!("{} would be stopped with it, and progressed {} ago", key(&job.id), now.since(at));
        let threshold = format!("nobody within {}", self.remedy.guard);
        Some(Held::new(Hold::SiblingActive, value, threshold, Lift::At(now.reach(at, self.remedy.guard))))
    }

    /// Every time counts, whatever came of it: what helps for an hour, again and again, is no remedy.
    pub(super) fn capped(&self, case: &Case<'_>) -> Option<Held> {
        let now = case.world.now;
        let taken: Vec<Now> = taken_up(case).map(|a| a.at).filter(|at| now.since(*at) < DAY).collect();
        let limit = self.remedy.per_day as usize;
        let first = taken.len().checked_sub(limit).and_then(|n| taken.get(n))?;
        let value = format!("taken up {} times within a day", taken.len());
        Some(Held::new(Hold::TargetCap, value, format!("{limit} a day"), Lift::At(now.reach(*first, DAY))))
    }

    pub(super) fn useless(&self, case: &Case<'_>) -> Option<Held> {
        let marks: Vec<u64> = taken_up(case).map(|attempt| attempt.mark.unwrap_or(0)).collect();
        let count = case.memo.tracks.get(&case.job.id)?.count().unwrap_or(0);
        let last = marks.len().checked_sub(CIRCUIT).and_then(|n| marks.get(n..))?;
        // What nobody runs gains nothing: its mark is tried once a day, and stops nobody.
        let trial = taken_up(case).last().map(|attempt| attempt.at);
        let trial = trial.filter(|_| case.code != Code::Stalled && self.remedy.retry.is_some());
        if trial.is_some_and(|at| case.world.now.since(at) >= DAY) {
            return None;
        }
        // A counter that fell counts from nothing: a new phase.
        let ends = last.iter().skip(1).chain([&count]);
        let gains: Vec<u64> = last.iter().zip(ends).map(|(from, to)| to.checked_sub(*from).unwrap_or(*to)).collect();
        let gain = self.remedy.gain;
        gains.iter().all(|gained| *gained < gain).then(|| {
            let gained = gains.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let value = format!("the last {CIRCUIT} times gained {gained}");
            let gains = || Lift::Fact(format!("it gains {gain}").into());
            let lift = trial.map_or_else(gains, |at| Lift::At(case.world.now.reach(at, DAY)));
            Held::new(Hold::CircuitOpen, value, format!("{gain} by one of them"), lift)
        })
    }
}

/// Times that this job was taken up, in their order.
fn taken_up<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Attempt> {
    let attempts = case.world.state.targets.get(case.target).map(|brake| &brake.attempts);
    let rungs = Kind::ALL.map(|kind| marks(kind).then(|| kind.rung()));
    attempts.into_iter().flatten().filter(move |attempt| rungs.contains(&Some(attempt.rung.clone())))
}

/// No sign shows who runs it, and somebody does.
pub(super) fn at_work(case: &Case<'_>) -> Option<Held> {
    case.memo.tracks.get(&case.job.id)?.rises().then(|| {
        let value = "its count rose at the last look: somebody runs it";
        Held::new(Hold::Confirming, value, "a look at which it stands still", Lift::Fact("the next look".into()))
    })
}

/// A hot path that another watch judges lost, at or above one of these, or below it: nobody is sent to write there.
pub(super) fn storage_lost<'a>(world: &World, paths: impl IntoIterator<Item = &'a Path>) -> Option<Held> {
    let paths: Vec<&Path> = paths.into_iter().collect();
    let storage = world.policy.watches.iter().filter(|(_, watch)| matches!(watch.spec, Kinds::Storage(_)));
    let targets = storage.filter_map(|(id, _)| Some((id, world.live.get(id)?)));
    let down = targets.flat_map(|(id, live)| {
        let down =
            live.targets.iter().filter(|(key, target)| key.starts_with('/') && target.verdict.down().is_some());
        down.map(move |(key, _)| (id, Path::new(&**key)))
    });
    let (watch, lost) =
        { down }.find(|(_, lost)| paths.iter().any(|path| path.starts_with(lost) || lost.starts_with(path)))?;
    let value = format!("{} of {watch} is lost", lost.display());
    let lift = Lift::Fact(format!("{} is up", lost.display()).into());
    Some(Held::new(Hold::DependencyDown, value, "its storage first", lift))
}
