//! How far one job has come, as far as we saw it: counters, and when they last rose.
//!
//! Progress is a counter that rises. One that falls is a new phase, and no progress; one that is first seen is a
//! beginning. A run begins its window anew, but only the first few without progress do: a worker that takes the same job up
//! many times a minute would never be found otherwise.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::{Found, Measure};
use crate::id::Str;
use crate::judge::{Code, Seen};
use crate::time::{Ms, Now};

/// Runs without progress that each have a window of their own. One more than the recoveries that a circuit allows.
const FLAT_RUNS: u32 = 4;
/// Files of one counter whose last numbers are remembered.
const FILES_KEPT: usize = 4;

/// `degraded` of a job watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Less than this a minute is too slow ...
    pub per_minute: u32,
    /// ... in so many looks in a row (default 6) ...
    pub runs: u32,
    /// ... of a job that progressed within this (default 5 min).
    pub within: Ms,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    /// What this run is told from others by; none while it does not run.
    run: Option<Str>,
    /// It had not failed at the last look.
    #[serde(default)]
    intact: bool,
    /// Its folder was lost when it was last seen intact, or when it was first seen to have failed.
    #[serde(default)]
    struck: bool,
    /// Its window began.
    since: Now,
    /// Runs that began since it last progressed.
    flat_runs: u32,
    /// One for each source, in their order.
    counters: Vec<Option<Counter>>,
    /// Of the last look at them.
    #[serde(default)]
    looked: Now,
    #[serde(default)]
    told: Option<Told>,
    /// The first counter at the last look, for the rate.
    sampled: Option<(Now, u64)>,
    rate: Option<f64>,
    slow: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    count: u64,
    /// It tells what was spent, and nothing of how far the job has come.
    #[serde(default)]
    effort: bool,
    rose: Option<Now>,
    /// The last number in each of the files that told one. Two logs that are written in turn are the newest in turn: from
    /// the number in the one to that in the other nothing rises.
    #[serde(default)]
    files: Vec<(PathBuf, u64)>,
}

/// What the last looks came to, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) code: Code,
    pub(super) looks: u32,
    pub(super) since: Now,
}

impl Track {
    pub(super) fn new(now: Now) -> Track {
        Track {
            run: None,
            intact: false,
            struck: false,
            since: now,
            flat_runs: 0,
            counters: Vec::new(),
            looked: now,
            told: None,
            sampled: None,
            rate: None,
            slow: 0,
        }
    }

    /// A job that fails while its folder is lost is not the one to blame; one that had failed before is.
    pub(super) fn lies(&mut self, lost: bool, failed: bool) {
        let blamed = failed && !self.intact;
        self.struck = if failed { self.struck || lost && !blamed } else { lost };
        self.intact = !failed;
    }

    pub(super) fn struck(&self) -> bool {
        self.struck
    }

    /// It does not run: its next run is another one.
    pub(super) fn rest(&mut self) {
        self.run = None;
        (self.sampled, self.rate, self.slow) = (None, None, 0);
    }

    /// `run` tells this run from others, and `agree` counters must have risen for it to be progress.
    pub(super) fn look(&mut self, now: Now, run: &Str, found: &[Found], agree: u32) {
        if self.run.as_ref() != Some(run) {
            self.begin(now, run);
        }
        self.looked = now;
        let before = self.progress(agree);
        self.counters.resize(found.len(), None);
        for (counter, found) in self.counters.iter_mut().zip(found) {
            match found {
                Found::Count(measure) => {
                    counter.get_or_insert_with(|| Counter::new(measure.count)).look(now, measure);
                }
                Found::Effort(spent) => {
                    let effort = || Counter { effort: true, ..Counter::new(*spent) };
                    counter.get_or_insert_with(effort).look(now, &Measure { count: *spent, ..Measure::default() });
                }
                Found::Nothing(_) | Found::Failed { .. } | Found::Stuck | Found::Unasked(_) => {}
            }
        }
        let progress = self.progress(agree);
        if progress > before {
            self.flat_runs = 0;
            self.since = now;
        }
    }

    fn begin(&mut self, now: Now, run: &Str) {
        let first = self.run.is_none() && self.flat_runs == 0 && self.counters.is_empty();
        self.run = Some(run.clone());
        if !first {
            self.flat_runs = self.flat_runs.saturating_add(1);
        }
        if self.flat_runs < FLAT_RUNS {
            self.since = now;
            // What it counts from may be another thing now: what is seen first is no rise.
            self.counters.clear();
        }
        (self.sampled, self.rate, self.slow) = (None, None, 0);
    }

    /// When so many of its counters had risen since.
    fn progress(&self, agree: u32) -> Option<Now> {
        let mut rose: Vec<Now> = self.counters.iter().flatten().filter_map(|counter| counter.rose).collect();
        rose.sort_by(|a, b| b.cmp(a));
        rose.get(usize::try_from(agree.max(1) - 1).unwrap_or(usize::MAX)).copied()
    }

    /// How fast it is between two looks.
    pub(super) fn pace(&mut self, now: Now, found: &[Found], slow: Option<&Pace>) {
        let count = found.iter().find_map(|found| match found {
            Found::Count(measure) => Some(measure.count),
            _ => None,
        });
        let Some(count) = count else { return };
        let Some((at, before)) = self.sampled.replace((now, count)) else { return };
        let (Some(gained), minutes) = (count.checked_sub(before), now.since(at).as_secs_f64() / 60.0) else {
            (self.rate, self.slow) = (None, 0);
            return;
        };
        if minutes <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = gained as f64 / minutes;
        self.rate = Some(rate);
        let too_slow = |slow: &Pace| rate < f64::from(slow.per_minute) && now.since(self.since) <= slow.within;
        self.slow = if slow.is_some_and(too_slow) { self.slow.saturating_add(1) } else { 0 };
    }

    pub(super) fn runs(&self) -> bool {
        self.run.is_some()
    }

    /// The last progress, or the beginning of its window.
    pub(super) fn anchor(&self) -> Now {
        self.since
    }

    /// Its counters that rose within this.
    pub(super) fn risen(&self, now: Now, within: Ms) -> usize {
        let rose = self.counters.iter().flatten().filter_map(|counter| counter.rose);
        rose.filter(|rose| now.since(*rose) < within).count()
    }

    /// The last look saw one of its counters rise.
    pub(super) fn rises(&self) -> bool {
        let rose = |counter: &Counter| counter.rose == Some(self.looked);
        self.run.is_some() && self.counters.iter().flatten().any(rose)
    }

    /// Takes note of what a look came to. One that saw nothing changes nothing.
    pub(super) fn tell(&mut self, now: Now, seen: &Seen) {
        self.told = match (seen, self.told) {
            (Seen::Unknown(_), told) => told,
            (Seen::Up, _) => None,
            (Seen::Down(reason), Some(told)) if told.code == reason.code => {
                Some(Told { looks: told.looks.saturating_add(1), ..told })
            }
            (Seen::Down(reason), _) => Some(Told { code: reason.code, looks: 1, since: now }),
        };
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.told
    }

    /// None: it was not seen to.
    pub(super) fn progressed(&self) -> Option<Now> {
        self.counts().filter_map(|counter| counter.rose).max()
    }

    /// Of the first counter that is known.
    pub(super) fn count(&self) -> Option<u64> {
        self.counts().next().map(|counter| counter.count)
    }

    fn counts(&self) -> impl Iterator<Item = &Counter> {
        self.counters.iter().flatten().filter(|counter| !counter.effort)
    }

    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    pub(super) fn slow(&self) -> u32 {
        self.slow
    }
}

impl Counter {
    fn new(count: u64) -> Counter {
        Counter { count, effort: false, rose: None, files: Vec::new() }
    }

    fn look(&mut self, now: Now, measure: &Measure) {
        let known = measure.file.as_ref().and_then(|file| self.files.iter().position(|(known, _)| known == file));
        let before = known.map_or(self.count, |known| self.files.remove(known).1);
        if measure.count > before {
            self.rose = Some(now);
        }
        self.count = measure.count;
        if let Some(file) = &measure.file {
            self.files.push((file.clone(), measure.count));
            self.files.drain(..self.files.len().saturating_sub(FILES_KEPT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Fault, Measure};

    fn at(secs: u64) -> Now {
        let up = Ms::secs(secs);
        Now { boot: 1, up, wall: Ms::hours(1) + up }
    }

    fn count(count: u64) -> Found {
        Found::Count(Measure { count, ..Measure::default() })
    }

    /// Looks at one counter a minute, and how long it stands at the end.
    fn stands(looks: &[Option<u64>]) -> u64 {
        let mut track = Track::new(at(0));
        for (n, look) in (0..).zip(looks) {
            let found = look.map_or(Found::Nothing("no line".into()), count);
            track.look(at(n * 60), &"1".into(), &[found], 1);
        }
        let last = looks.len() as u64 - 1;
        (at(last * 60).since(track.anchor())).0 / 60_000
    }

    #[test]
    fn only_what_rises_is_progress() {
        let table: [(&[Option<u64>], u64); 7] = [
            (&[Some(5), Some(5), Some(5)], 2),
            (&[Some(5), Some(6), Some(6)], 1),
            // First seen late: that is a beginning.
            (&[None, None, Some(5)], 2),
            (&[None, None, Some(5), Some(6)], 0),
            // A new phase, and its first step.
            (&[Some(50), Some(3), Some(3)], 2),
            (&[Some(50), Some(3), Some(4)], 0),
            (&[None, None, None, None], 3),
        ];
        for (looks, minutes) in table {
            assert_eq!(stands(looks), minutes, "{looks:?}");
        }
    }

    /// Two logs that match are written in turn.
    #[test]
    fn from_one_log_to_the_other_nothing_rises() {
        let found = |file: &str, count: u64| Found::Count(Measure { count, file: Some(file.into()), touched: None });
        let mut track = Track::new(at(0));
        let mut rises = Vec::new();
        let looks = [("a", 100), ("b", 7), ("a", 100), ("b", 7), ("a", 130), ("b", 7), ("b", 8), ("c", 9), ("d", 3)];
        for (n, (file, count)) in (0u64..).zip(looks) {
            track.look(at(n * 60), &"1".into(), &[found(file, count)], 1);
            rises.push(track.rises());
        }
        assert_eq!(rises, [false, false, false, false, true, false, true, true, false]);
    }

    #[test]
    fn two_that_must_agree_are_no_progress_alone() {
        let mut track = Track::new(at(0));
        let looks = [(0, 1, 1), (60, 2, 1), (120, 3, 1), (180, 3, 2), (240, 3, 3)];
        let seen: Vec<u64> = looks
            .iter()
            .map(|(now, a, b)| {
                track.look(at(*now), &"1".into(), &[count(*a), count(*b)], 2);
                at(*now).since(track.anchor()).0 / 1000
            })
            .collect();
        // The other one rose at 180, and the first had at 120.
        assert_eq!(seen, [0, 60, 120, 0, 60]);
        track.look(at(300), &"1".into(), &[Found::Unasked(Fault::Timeout), count(9)], 2);
        assert_eq!(at(300).since(track.anchor()), Ms::secs(120), "what could not be asked did not rise");
    }

    #[test]
    fn effort_is_progress_beside_a_counter_alone() {
        let mut track = Track::new(at(0));
        for (now, n, anchor) in [(0, 1, 0), (60, 1, 0), (120, 1, 0), (180, 2, 180), (240, 2, 180), (300, 2, 180)] {
            track.look(at(now), &"1".into(), &[Found::Effort(now), count(n)], 2);
            assert_eq!(track.anchor(), at(anchor), "{now}");
        }
        assert_eq!((track.count(), track.progressed()), (Some(2), Some(at(180))));
        let mut track = Track::new(at(0));
        track.look(at(0), &"1".into(), &[Found::Effort(9), Found::Nothing("no line".into())], 2);
        assert_eq!(track.count(), None, "what it spends is no gain of a remedy");
    }

    #[test]
    fn who_is_begun_anew_again_and_again_has_no_new_window_each_time() {
        let mut track = Track::new(at(0));
        let mut anchors = Vec::new();
        for run in 0..8u64 {
            track.look(at(run * 60), &run.to_string().into(), &[Found::Nothing("none".into())], 1);
            anchors.push(track.anchor().up.0 / 60_000);
        }
        assert_eq!(anchors, [0, 1, 2, 3, 3, 3, 3, 3]);
        track.look(at(600), &"9".into(), &[count(1)], 1);
        track.look(at(660), &"9".into(), &[count(2)], 1);
        assert_eq!(track.anchor(), at(660), "it progresses");
        track.look(at(720), &"10".into(), &[count(0)], 1);
        assert_eq!(track.anchor(), at(720), "and has its window again");
    }

    #[test]
    fn what_fails_while_its_storage_is_lost_was_struck() {
        // Whether it was lost, and had failed, at each look.
        let table = [
            (&[(false, false), (true, false), (true, true), (false, true)][..], true),
            (&[(false, false), (true, true), (false, true), (false, true)], true),
            (&[(true, false), (false, true)], true),
            (&[(true, false), (false, false), (false, true)], false),
            (&[(false, false), (false, true), (true, true), (false, true)], false),
            // Nobody saw it before it failed.
            (&[(true, true), (false, true)], false),
        ];
        for (looks, struck) in table {
            let mut track = Track::new(at(0));
            for (lost, failed) in looks {
                track.lies(*lost, *failed);
            }
            assert_eq!(track.struck(), struck, "{looks:?}");
        }
    }

    #[test]
    fn who_rested_begins_anew() {
        let mut track = Track::new(at(0));
        track.look(at(0), &"1".into(), &[count(7)], 1);
        track.rest();
        track.rest();
        track.look(at(7200), &"1".into(), &[count(7)], 1);
        assert_eq!(track.anchor(), at(7200));
    }

    #[test]
    fn the_rate_is_between_two_looks_and_slow_ones_in_a_row_are_counted() {
        let slow = Pace { per_minute: 2, runs: 6, within: Ms::mins(5) };
        let mut track = Track::new(at(0));
        let mut seen = Vec::new();
        for (now, n) in [(0, 10), (60, 14), (120, 15), (180, 16), (240, 3), (300, 4), (360, 40)] {
            track.look(at(now), &"1".into(), &[count(n)], 1);
            track.pace(at(now), &[count(n)], Some(&slow));
            seen.push((track.rate().map(|rate| format!("{rate:.0}")), track.slow()));
        }
        let expected =
            [(None, 0), (Some("4"), 0), (Some("1"), 1), (Some("1"), 2), (None, 0), (Some("1"), 1), (Some("36"), 0)];
        assert_eq!(seen, expected.map(|(rate, slow)| (rate.map(str::to_owned), slow)));
    }
}
