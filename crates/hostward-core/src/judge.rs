//! Judge: streaks of looks become verdicts.
//!
//! A streak is kept for each question of a target, so that a unit that is up and a probe that is down never take turns
//! on a shared one. Unknown is not unhealthy: it holds the last verdict, ages it, and in the end says so; nothing ever
//! acts on it. (safety.md, "From observation to condition".)

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ask::Fault;
use crate::hold::Lift;
use crate::id::Str;
use crate::planted::{Bug, planted};
use crate::time::{Ms, Now};

/// Up counts after this many looks in a row (`recover_runs`), but the first look ever counts at once.
const RECOVER_RUNS: u32 = 2;

/// Why something is down. Closed: it is a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    Failed,
    CrashLooping,
    Inactive,
    /// Its start goes on and on, and nothing ends it.
    Starting,
    Masked,
    NotFound,
    BadUnit,
    ProbeSilent,
    ProbeStatus,
    ProbeBody,
    ProbeHeader,
    ProbeExec,
    ProbeUnit,
    /// A component of a deep health body.
    Component,
    /// Something was not set up, or not as it must be.
    Config,
    CertificateExpiring,
    CertificateUntrusted,
    NameUnresolved,
    Drift,
    InterpreterGone,
    NoEnvironment,
    /// A mount that answers for nobody any more: its server is gone, its handles are forgotten.
    Stale,
    /// No answer within the deadline.
    Hung,
    Missing,
    WrongSource,
    BaseDown,
    Readonly,
    Unwritable,
    DiskSpace,
    DiskInodes,
    DiskFilling,
    /// A job that runs and gets nowhere.
    Stalled,
    /// It progresses, and far too slowly.
    Degraded,
    /// Its record says that it runs, and nobody runs it.
    Orphaned,
    /// Somebody runs it, and its record does not say so.
    Unrecorded,
    /// What it lies on does not answer: no fault of the job's.
    Infrastructure,
    /// It failed while its folder was lost, which answers again.
    Interrupted,
    /// Work waits, and fewer run than should.
    Underfilled,
    /// Work waits, and who takes it up stands still.
    Idle,
}

impl Code {
    pub fn label(self) -> &'static str {
        match self {
            Code::Failed => "failed",
            Code::CrashLooping => "crash_looping",
            Code::Inactive => "inactive",
            Code::Starting => "starting",
            Code::Masked => "masked",
            Code::NotFound => "not_found",
            Code::BadUnit => "bad_unit",
            Code::ProbeSilent => "probe_silent",
            Code::ProbeStatus => "probe_status",
            Code::ProbeBody => "probe_body",
            Code::ProbeHeader => "probe_header",
            Code::ProbeExec => "probe_exec",
            Code::ProbeUnit => "probe_unit",
            Code::Component => "component",
            Code::Config => "config",
            Code::CertificateExpiring => "certificate_expiring",
            Code::CertificateUntrusted => "certificate_untrusted",
            Code::NameUnresolved => "name_unresolved",
            Code::Drift => "drift",
            Code::InterpreterGone => "interpreter_gone",
            Code::NoEnvironment => "no_environment",
            Code::Stale => "stale",
            Code::Hung => "hung",
            Code::Missing => "missing",
            Code::WrongSource => "wrong_source",
            Code::BaseDown => "base_down",
            Code::Readonly => "readonly",
            Code::Unwritable => "unwritable",
            Code::DiskSpace => "disk_space",
            Code::DiskInodes => "disk_inodes",
            Code::DiskFilling => "disk_filling",
            Code::Stalled => "stalled",
            Code::Degraded => "degraded",
            Code::Orphaned => "orphaned",
            Code::Unrecorded => "unrecorded",
            Code::Infrastructure => "infrastructure",
            Code::Interrupted => "interrupted",
            Code::Underfilled => "underfilled",
            Code::Idle => "idle",
        }
    }
}

/// A code, and the sentence that a person reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    pub detail: Str,
}

impl Reason {
    pub fn new(code: Code, detail: impl Into<Str>) -> Self {
        Reason { code, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.label(), self.detail)
    }
}

/// What one look showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    Up,
    Down(Reason),
    Unknown(Fault),
}

/// What an answer says of one target of the watch that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub key: Str,
    pub shown: Shown,
    pub confirm: Confirm,
    /// Something happened that is worth a record before any verdict: a main process died.
    pub fact: Option<Str>,
}

/// What a look says of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Neither up nor down: a unit between two states.
    Nothing,
    Seen(Seen),
    /// There is no such target any more.
    Gone,
}

/// What makes a "down" count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    pub runs: u32,
    pub age: Ms,
    /// Somebody may be in the middle of the very change: wait until they are done.
    pub quiet: Option<Quiet>,
}

impl Confirm {
    /// One look is enough.
    pub const AT_ONCE: Confirm = Confirm { runs: 1, age: Ms::ZERO, quiet: None };
}

/// A tree that must have been left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// When it was last changed: wall clock, as files say it.
    pub touched: Ms,
    pub calm: Ms,
    /// Instead of `calm`, while something that needs it is down.
    pub urgent: Ms,
}

/// What we hold to be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not enough was seen yet.
    Pending,
    Up,
    Down(Reason),
    /// No answer for so long that the last verdict means nothing any more.
    Unknown(Fault),
}

impl Verdict {
    /// None: it is not known.
    pub fn up(&self) -> Option<bool> {
        match self {
            Verdict::Up => Some(true),
            Verdict::Down(_) => Some(false),
            Verdict::Pending | Verdict::Unknown(_) => None,
        }
    }

    pub fn down(&self) -> Option<&Reason> {
        match self {
            Verdict::Down(reason) => Some(reason),
            _ => None,
        }
    }
}

/// The streak of one question about one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aspect {
    pub raw: Option<Seen>,
    pub raw_since: Now,
    /// When the look that said so was asked for. Later looks may have said nothing.
    pub raw_at: Now,
    pub runs: u32,
    pub confirm: Confirm,
    pub verdict: Verdict,
    pub since: Now,
    /// The last look that was no fault.
    pub known: Now,
    /// When its last answer was asked for.
    pub asked: Now,
    pub fault: Option<Fault>,
}

impl Aspect {
    pub fn new(now: Now) -> Self {
        Aspect {
            raw: None,
            raw_since: now,
            raw_at: Now::default(),
            runs: 0,
            confirm: Confirm::AT_ONCE,
            verdict: Verdict::Pending,
            since: now,
            known: now,
            asked: Now::default(),
            fault: None,
        }
    }

    /// Takes one look into account. `urgent`: something that needs this is down.
    pub fn look(&mut self, asked: Now, seen: Option<Seen>, confirm: Confirm, urgent: bool) {
        self.asked = asked;
        match misjudged(seen) {
            Some(Seen::Unknown(fault)) => self.fault = Some(fault),
            None => {
                self.fault = None;
                self.known = asked;
            }
            Some(seen) => {
                self.fault = None;
                self.known = asked;
                self.confirm = confirm;
                if same(self.raw.as_ref(), &seen) {
                    self.runs = self.runs.saturating_add(1);
                } else {
                    self.raw_since = asked;
                    self.runs = 1;
                }
                self.raw = Some(seen);
                self.raw_at = asked;
                self.conclude(asked, urgent);
            }
        }
    }

    fn conclude(&mut self, now: Now, urgent: bool) {
        let to = match &self.raw {
            Some(Seen::Up) if self.runs >= RECOVER_RUNS || self.verdict == Verdict::Pending => Verdict::Up,
            Some(Seen::Down(reason)) if self.unconfirmed(now, urgent).is_none() => Verdict::Down(reason.clone()),
            // Still down, for a reason that is not confirmed yet: the old reason stands.
            _ => return,
        };
        let same_class = std::mem::discriminant(&to) == std::mem::discriminant(&self.verdict);
        if !same_class {
            self.since = now;
        }
        self.verdict = to;
    }

    /// What a raw "down" still lacks to count: value, threshold, and when it could be there.
    pub fn unconfirmed(&self, now: Now, urgent: bool) -> Option<(String, String, Lift)> {
        let Some(Seen::Down(_)) = &self.raw else { return None };
        let age = now.since(self.raw_since);
        if self.runs < self.confirm.runs || age < self.confirm.age {
            let value = format!("seen {} times over {age}", self.runs);
            let threshold = format!("{} times over {}", self.confirm.runs, self.confirm.age);
            let lift = match self.confirm.age.saturating_sub(age) {
                Ms::ZERO => Lift::Fact("the next look".into()),
                left => Lift::At(now.up + left),
            };
            return Some((value, threshold, lift));
        }
        let quiet = self.confirm.quiet?;
        let need = if urgent { quiet.urgent } else { quiet.calm };
        let calm = now.wall.saturating_sub(quiet.touched);
        (calm < need).then(|| {
            (
                format!("the tree changed {calm} ago"),
                format!("quiet for {need}"),
                Lift::At(now.up + (need.saturating_sub(calm))),
            )
        })
    }

    /// After `stale_after` without an answer the last verdict is no longer held. True: it has just become unknown.
    pub fn age(&mut self, now: Now, stale_after: Ms) -> bool {
        let Some(fault) = &self.fault else { return false };
        if now.since(self.known) < stale_after || matches!(self.verdict, Verdict::Unknown(_)) {
            return false;
        }
        self.verdict = Verdict::Unknown(fault.clone());
        self.since = now;
        self.raw = None;
        self.runs = 0;
        true
    }

    /// Our own hand was on it: nothing seen before is evidence any more.
    pub fn touch(&mut self, now: Now) {
        self.runs = 0;
        self.raw_since = now;
    }
}

/// What was seen, but for the bug that takes the unknown for down.
fn misjudged(seen: Option<Seen>) -> Option<Seen> {
    match seen {
        Some(Seen::Unknown(fault)) if planted(Bug::UnknownIsDown) => {
            Some(Seen::Down(Reason::new(Code::Failed, fault.to_string())))
        }
        seen => seen,
    }
}

fn same(old: Option<&Seen>, new: &Seen) -> bool {
    match (old, new) {
        // A probe that is silent and answers 502 in turn is down all the same.
        (Some(Seen::Up), Seen::Up) | (Some(Seen::Down(_)), Seen::Down(_)) => true,
        _ => false,
    }
}

/// One thing that is kept well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// By the number of the probe that asks.
    pub aspects: BTreeMap<u16, Aspect>,
    pub verdict: Verdict,
    pub since: Now,
    /// Our last act on anything of its footprint.
    pub touched: Option<Now>,
    /// When facts were last recorded for it, and how many were not: at most ten a minute are.
    pub noted: VecDeque<Now>,
    pub missed: u32,
}

impl Target {
    pub fn new(now: Now) -> Self {
        Target {
            aspects: BTreeMap::new(),
            verdict: Verdict::Pending,
            since: now,
            touched: None,
            noted: VecDeque::new(),
            missed: 0,
        }
    }

    /// One verdict from all aspects: the first that is down, else the first unknown, else up when all are. What fell is
    /// up again only when every question said so since: a probe that was left out meanwhile still shows its old "up", and
    /// so does one whose "down" is not confirmed yet.
    pub fn judged(&self) -> Verdict {
        let all = || self.aspects.values().map(|aspect| &aspect.verdict);
        let find = |is: fn(&Verdict) -> bool| all().find(|v| is(v)).cloned();
        let says_up = |aspect: &Aspect| aspect.raw == Some(Seen::Up) && aspect.raw_at.not_before(self.since);
        let all_say_up = || self.aspects.values().all(says_up);
        find(|v| matches!(v, Verdict::Down(_)))
            .or_else(|| find(|v| matches!(v, Verdict::Unknown(_))))
            .or_else(|| find(|v| matches!(v, Verdict::Pending)))
            .or_else(|| (self.verdict.down().is_some() && !all_say_up()).then(|| self.verdict.clone()))
            .unwrap_or(if self.aspects.is_empty() { Verdict::Pending } else { Verdict::Up })
    }

    /// The newest moment that it speaks of.
    pub fn newest(&self) -> Now {
        let asked = self.aspects.values().map(|aspect| aspect.asked.max(aspect.raw_since));
        asked.chain(self.touched).chain([self.since]).max().unwrap_or_default()
    }

    /// Looked at since our own last act: what we see is not a shadow of what we did.
    pub fn fresh(&self) -> bool {
        self.touched.is_none_or(|touched| self.aspects.values().all(|a| a.asked.not_before(touched)))
    }

    /// It looks down, or was judged so and not looked at since our own last act: a remedy is thought of. What is still
    /// judged down and looks well again is left to recover.
    pub(crate) fn calls_for_remedy(&self) -> bool {
        self.suspect().is_some() || self.verdict.down().is_some() && !self.fresh()
    }

    /// Still judged down, and what was seen since our own last act does not say so: the next looks will tell.
    pub fn recovering(&self) -> bool {
        self.verdict.down().is_some() && (!self.fresh() || self.suspect().is_none())
    }

    /// A question's last look was "down", whether it counts yet or not.
    pub fn suspect(&self) -> Option<&Reason> {
        self.aspects.values().find_map(|aspect| match &aspect.raw {
            Some(Seen::Down(reason)) => Some(reason),
            _ => None,
        })
    }

    pub fn touch(&mut self, now: Now) {
        if planted(Bug::OldLook) {
            return;
        }
        self.touched = Some(now);
        for aspect in self.aspects.values_mut() {
            aspect.touch(now);
        }
    }

    /// Since when it is down or looks so.
    pub fn fell(&self) -> Option<Now> {
        let raw = |a: &Aspect| matches!(a.raw, Some(Seen::Down(_))).then_some(a.raw_since);
        self.aspects.values().filter_map(raw).min().or(self.verdict.down().map(|_| self.since))
    }
}

#[cfg(test)]
mod tests;
