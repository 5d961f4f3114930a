//! The service watch: a unit that must run, and probes that say whether it serves.
//!
//! Down is one of: failed as read by a query; crash-looping, which systemd shows as "active" most of the time; inactive
//! though wanted; or a required probe down. (watches.md, "service", where each number comes from.)

mod component;
mod probe;
mod starved;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::steps::{self, prove_step, restart_step};
use super::{Draft, storage};
use crate::ask::{Active, Answer, Fault, Load, Pace, Probe, Question, Reading, UnitReading};
use crate::hold::{Circuit, Held, circuit, tried};
use crate::id::{Resource, Rung, Str, TargetId, UnitName, WatchId};
use crate::judge::{Code, Confirm, Reason, Seen, Shown, Sight};
use crate::plan::{Basis, COST_RESTART, Check, Heal, Plan};
use crate::policy::{Policy, Watch};
use crate::starvation::Starvation;
use crate::time::{Ms, Now};
use crate::world::{Live, World};
use probe::{Declared, Judged};
use words::{ended, fact, told_of};

pub use component::Components;
pub use probe::{ExecProbe, HttpProbe, OnTimeout, Statuses, TcpProbe, UnitProbe, down_statuses, tls_days};

/// `[service.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub unit: UnitName,
    /// Resync of the unit's state; signals come at once. Default 60 s.
    pub interval: Ms,
    pub http: Vec<HttpProbe>,
    #[serde(default)]
    pub tcp: Vec<TcpProbe>,
    #[serde(default)]
    pub exec: Vec<ExecProbe>,
    /// Other units that must run.
    #[serde(default)]
    pub units: Vec<UnitProbe>,
    /// A probe's "down" counts after this many runs (default 2) ...
    pub confirm_runs: u32,
    /// ... and this long (default 10 s).
    pub confirm_age: Ms,
    /// A start may take this long before a silent probe counts; once an episode. Default 30 s.
    pub start_grace: Ms,
    /// A clean stop that nobody explains is somebody's decision for this long. Default 30 min.
    pub respect_stop: Ms,
    /// In order of cost. Default: restart, notify.
    pub ladder: Vec<Step>,
}

/// One rung of a service's ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `restart`
    Restart,
    /// `reconcile:NAME`: the plan of `[baseline.NAME]`, with this service among what it heals.
    Reconcile(WatchId),
    /// `notify`: the end of the ladder; a person is told.
    Notify,
}

impl Step {
    /// The name under which an attempt is charged; none for what attempts nothing.
    pub(super) fn rung(&self) -> Option<Rung> {
        match self {
            Step::Restart => Some(Rung::new("restart")),
            Step::Reconcile(baseline) => Some(Rung::new(format!("reconcile:{}", baseline.name()))),
            Step::Notify => None,
        }
    }
}

/// A unit's state while something is wrong; signals come at once.
const CONFIRM_EVERY: Ms = Ms::secs(5);
/// systemd is already restarting it: this many within the window are a loop.
const LOOP_RESTARTS: u32 = 3;
/// ... and the window is at least this.
const LOOP_WINDOW: Ms = Ms::secs(60);
/// A start that takes longer than this, and than twice what it took before, is one that does not end.
const STARTING_MAX: Ms = Ms::mins(10);
/// A run longer than this, and than twice what a start takes, is no part of a loop.
const LOOP_RUN: Ms = Ms::secs(30);
/// Restarts remembered: more than the fastest loop shows between two looks.
const RESTARTS_KEPT: usize = 32;

/// Whether a look at a unit shows the run that the look before it showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Same,
    Another,
}

/// What is remembered between looks at a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    pub last: Option<Box<UnitReading>>,
    last_at: Now,
    /// Automatic restarts: when seen, how many.
    restarts: VecDeque<(Now, u32)>,
    longest_run: Ms,
    /// The longest that a start was seen to take until it was ready.
    #[serde(default)]
    start_to_ready: Ms,
    /// The start that this episode's grace counts from.
    episode: Option<Now>,
    /// When the last end that was told began, and how a main process last ended.
    told: Ms,
    last_end: String,
    /// When a clean stop was first seen.
    stopped: Option<Now>,
    /// When each probe last answered at all, or was first asked.
    #[serde(default)]
    answered: BTreeMap<u16, Now>,
    /// Probes whose newest look ran out of time, and of how much.
    #[serde(default)]
    timed_out: BTreeMap<u16, Ms>,
    /// When the processor time that its processes have had was last seen to change.
    #[serde(default)]
    worked: Option<Now>,
    /// The parts that each probe spoke of.
    #[serde(default)]
    parts: BTreeMap<u16, BTreeSet<Str>>,
    /// What each probe's last answer looked like, for people.
    #[serde(default)]
    pub excerpts: BTreeMap<u16, Str>,
}

impl Spec {
    /// Every default, and no probe.
    pub fn new(unit: UnitName) -> Spec {
        Spec {
            unit,
            interval: Ms::secs(60),
            http: Vec::new(),
            tcp: Vec::new(),
            exec: Vec::new(),
            units: Vec::new(),
            confirm_runs: 2,
            confirm_age: Ms::secs(10),
            start_grace: Ms::secs(30),
            respect_stop: Ms::mins(30),
            ladder: vec![Step::Restart, Step::Notify],
        }
    }

    pub fn probes(&self) -> Vec<Probe> {
        let unit = Probe {
            question: Arc::new(Question::Unit(self.unit.clone())),
            pace: self.unit_pace(),
            deadline: Ms::secs(5),
        };
        std::iter::once(unit).chain(self.declared().map(Declared::probe)).collect()
    }

    pub(super) fn probes_count(&self) -> usize {
        1 + self.http.len() + self.tcp.len() + self.exec.len() + self.units.len()
    }

    pub(super) fn pace(&self, n: u16) -> Option<Pace> {
        match usize::from(n).checked_sub(1) {
            None => Some(self.unit_pace()),
            Some(n) => self.declared().nth(n).map(Declared::pace),
        }
    }

    fn unit_pace(&self) -> Pace {
        Pace { every: self.interval, confirm_every: CONFIRM_EVERY }
    }

    /// In the order of their numbers: the unit is the first question, and these follow.
    fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        let http = self.http.iter().map(Declared::Http);
        let tcp = self.tcp.iter().map(Declared::Tcp);
        let exec = self.exec.iter().map(Declared::Exec);
        http.chain(tcp).chain(exec).chain(self.units.iter().map(Declared::Unit))
    }

    fn key(&self) -> Str {
        self.unit.as_str().into()
    }

    /// A part of the service: told of, and remedied by nothing.
    pub(super) fn is_part(&self, key: &str) -> bool {
        key != self.unit.as_str()
    }

    /// The watch whose fault a component's state is.
    pub(super) fn cause(&self, key: &str) -> Option<&WatchId> {
        let name = component::named(key)?;
        self.http
            .iter()
            .filter_map(|http| http.components.as_ref())
            .find_map(|components| components.causes.get(name))
    }

    pub(super) fn read(
        &self,
        memo: &mut Memo,
        n: u16,
        asked: Now,
        answer: &Answer,
        starvation: &Starvation,
    ) -> Vec<Sight> {
        let Some(probe) = usize::from(n).checked_sub(1).and_then(|n| self.declared().nth(n)) else {
            return vec![self.read_unit(memo, asked, answer)];
        };
        let judged = probe.judge(asked, answer);
        memo.excerpts.remove(&n);
        memo.excerpts.extend(judged.excerpt.clone().map(|excerpt| (n, excerpt)));
        if judged.service == Some(Seen::Up) && probe.shows_service() {
            memo.restarts.clear();
        }
        let starved = memo.starved(n, asked, probe.deadline(), &judged, starvation);
        let confirm = Confirm { runs: self.confirm_runs, age: self.confirm_age, quiet: None };
        let counts = |seen: &Seen| !starved && self.counts(memo, asked, seen);
        let sight = |key: Str, seen: Option<Seen>| {
            let confirm = if matches!(seen, Some(Seen::Down(_))) { confirm } else { Confirm::AT_ONCE };
            Sight { key, shown: seen.map_or(Shown::Nothing, Shown::Seen), confirm, fact: None }
        };
        let mut sights = vec![sight(self.key(), judged.service.clone().filter(counts))];
        sights.extend(judged.parts.iter().map(|(key, seen)| sight(key.clone(), Some(seen.clone()).filter(counts))));
        sights.extend(memo.unspoken(n, &judged));
        sights
    }

    fn read_unit(&self, memo: &mut Memo, asked: Now, answer: &Answer) -> Sight {
        let (seen, fact) = match answer {
            Err(fault) => (Some(Seen::Unknown(fault.clone())), None),
            Ok(Reading::Unit(reading)) => {
                let fact = memo.remember(asked, reading);
                (memo.judge_unit(asked, &self.unit), fact)
            }
            Ok(_) => (Some(Seen::Unknown(Fault::Probe("another question's answer".into()))), None),
        };
        let shown = seen.map_or(Shown::Nothing, Shown::Seen);
        Sight { key: self.key(), shown, confirm: Confirm::AT_ONCE, fact }
    }

    /// A probe that is down counts only for a unit that systemd holds to be up, past its start, and not being restarted:
    /// else the unit's own state is the news.
    fn counts(&self, memo: &Memo, asked: Now, seen: &Seen) -> bool {
        if !matches!(seen, Seen::Down(_)) {
            return true;
        }
        let running = memo.last.as_ref().is_none_or(|unit| unit.running());
        let starting = memo.episode.is_some_and(|began| asked.since(began) < self.start_grace);
        let restarting = memo.restarts_within_window(asked) > 0;
        running && !starting && !restarting
    }

    /// The least rung that fits what is wrong, that was tried least, and that still works against it.
    pub(super) fn draft(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        let Some(reason) = world.target(target).and_then(|t| t.verdict.down().or(t.suspect())) else {
            return Draft::none("nothing is wrong");
        };
        if self.is_part(&target.key) {
            return Draft::none(told_of(&target.key, reason));
        }
        if matches!(reason.code, Code::NotFound | Code::BadUnit) {
            return Draft::none(format!("{} cannot be started: {}", self.unit, reason.detail));
        }
        let ladder = self.ladder.iter().take_while(|step| **step != Step::Notify);
        let fitting = ladder.filter_map(|step| self.rung(world, target, live, memo, step, reason));
        let brake = world.state.targets.get(target);
        let limits = world.policy.watches.get(&target.watch).map(|watch| watch.brakes);
        let worn = |draft: &Draft| match (&draft.plan, brake, limits) {
            (Some(plan), Some(brake), Some(limits)) => {
                let own = plan.heals.iter().find(|heal| heal.target == *target);
                own.map(|heal| {
                    let circuit = circuit(world.now, brake, &heal.rung, &heal.reason, limits, plan.cost);
                    (circuit, tried(world.now, brake, &heal.rung))
                })
            }
            _ => None,
        };
        let worn = |draft: &Draft| match worn(draft) {
            Some((Circuit::Closed, tried)) => (Ms::ZERO, tried),
            Some((Circuit::Open(until), tried)) => (until, tried),
            None => (Ms::ZERO, 0),
        };
        fitting.min_by_key(worn).map_or_else(
            || Draft::none(format!("no rung of the ladder fits {}", reason.code.label())),
            |draft| draft.held(memo.perhaps_ours(world, target)),
        )
    }

    /// One rung made concrete; none when it does not fit what is wrong.
    fn rung(
        &self,
        world: &World,
        target: &TargetId,
        live: &Live,
        memo: &Memo,
        step: &Step,
        reason: &Reason,
    ) -> Option<Draft> {
        match step {
            // systemd restarts it already, or was told to let it start for as long as it takes: a database that recovers
            // would begin anew.
            Step::Restart if matches!(reason.code, Code::CrashLooping | Code::Starting) => None,
            Step::Restart => Some(Draft::plan(self.restart(target, live, memo, reason))),
            Step::Reconcile(baseline) => {
                let mut draft = super::lent(world, baseline)?;
                let reason = reason.code.label();
                draft.plan.as_mut()?.heals.push(Heal::new(target.clone(), step.rung()?, reason));
                Some(draft)
            }
            Step::Notify => None,
        }
    }

    fn restart(&self, target: &TargetId, live: &Live, memo: &Memo, reason: &Reason) -> Plan {
        let mut steps = vec![restart_step(&self.unit, memo.last.as_ref().map(|u| u.stop_timeout))];
        steps.push(prove_step(vec![Check::Target(target.clone())], self.start_grace + Ms::mins(1)));
        let rung = Rung::new("restart");
        Plan {
            watch: target.watch.clone(),
            rung: rung.clone(),
            heals: vec![Heal::new(target.clone(), rung, reason.code.label())],
            touches: vec![Resource::Unit(self.unit.clone())],
            cost: COST_RESTART,
            basis: vec![Basis::policy(&live.digest)],
            why: format!("{} is down: {}", self.unit, reason.detail).into(),
            steps,
        }
    }

    /// A state that somebody chose is respected: a mask and a disabled unit until it is changed, a clean stop for a while.
    pub(super) fn by_hand(&self, memo: &Memo, now: Now) -> Option<Held> {
        steps::by_hand(&self.unit, memo.last.as_ref()?, memo.stopped, self.respect_stop, now)
    }
}

/// The environments of its app: a service cannot run without them.
pub(super) fn needs(policy: &Policy, watch: &Watch) -> Vec<Resource> {
    let same_app = |other: &Watch| watch.app.is_some() && other.app == watch.app;
    let holds = |storage: &storage::Spec| watch.spec.unit().is_some_and(|unit| storage.remedy.holders.contains(unit));
    let needed = |other: &Watch| match &other.spec {
        super::Spec::Baseline(spec) if same_app(other) => vec![Resource::Path(spec.python.venv.clone())],
        super::Spec::Storage(spec) if holds(spec) => spec.provides(),
        super::Spec::Service(_) | super::Spec::Baseline(_) | super::Spec::Storage(_) | super::Spec::Job(_) => {
            Vec::new()
        }
        #[cfg(feature = "toy")]
        super::Spec::Toy(_) => Vec::new(),
    };
    policy.watches.values().flat_map(needed).collect()
}

impl Memo {
    /// Takes a look at the unit in; says what happened, when something did.
    fn remember(&mut self, now: Now, unit: &UnitReading) -> Option<Str> {
        let last = self.last.replace(Box::new(unit.clone()));
        let since_last = now.since(std::mem::replace(&mut self.last_at, now));
        self.note_work(now, last.as_deref().and_then(|last| last.busy), unit.busy);
        let Some(last) = last else {
            self.told = unit.main_exited;
            self.episode = (unit.main_started > Ms::ZERO).then_some(Now { up: unit.main_started, ..now });
            self.note_stop(now, unit, Run::Same);
            return None;
        };
        let rose = unit.restarts.saturating_sub(last.restarts);
        if unit.restarts < last.restarts {
            // reset-failed, or a start by hand: a new base line.
            self.restarts.clear();
            self.longest_run = Ms::ZERO;
        }
        self.note_run(&last, unit);
        if rose > 0 {
            if self.restarts.is_empty() {
                self.episode = Some(now);
            }
            self.note_restarts(now, rose, since_last);
        } else if unit.invocation != last.invocation && unit.restarts == 0 {
            self.episode = Some(now);
        }
        let run = if unit.invocation == last.invocation { Run::Same } else { Run::Another };
        self.note_stop(now, unit, run);
        self.tell(&last, unit, rose)
    }

    /// One fact for each end of a main process, whether we saw the end itself or only the restart after it.
    fn tell(&mut self, last: &UnitReading, unit: &UnitReading, rose: u32) -> Option<Str> {
        if !unit.main_end.is_empty() {
            self.last_end = unit.main_end.to_string();
        }
        let ended = unit.main_exited > self.told;
        self.told = self.told.max(unit.main_exited);
        // A clean end was its owner's stop or restart: no news.
        let crashed = ended && unit.result.as_ref() != "success";
        let unseen = rose > 0 && unit.main_exited == Ms::ZERO && last.main_exited == Ms::ZERO;
        let failed = unit.active == Active::Failed && last.active != Active::Failed && !ended;
        (crashed || unseen || failed).then(|| fact(unit))
    }

    /// Restarts seen after a long gap (the timer path) count in proportion: 12 in five minutes are 2 or 3 a window.
    fn note_restarts(&mut self, now: Now, rose: u32, gap: Ms) {
        let window = self.window();
        let counted = if gap <= window {
            rose
        } else {
            u32::try_from(u64::from(rose).saturating_mul(window.0) / gap.0.max(1)).unwrap_or(u32::MAX)
        };
        if counted > 0 {
            if self.restarts.len() == RESTARTS_KEPT {
                self.restarts.pop_front();
            }
            self.restarts.push_back((now, counted));
        }
    }

    /// A long run ends a loop; a short one tells how wide the window must be. So does one that never became ready, however
    /// long systemd waited for it: that was no run.
    fn note_run(&mut self, last: &UnitReading, unit: &UnitReading) {
        let began = if unit.main_exited >= unit.main_started { unit.main_started } else { last.main_started };
        if unit.main_exited > last.main_exited && unit.main_exited > began && began > Ms::ZERO {
            let run = unit.main_exited.saturating_sub(began);
            if run > self.loop_run() && unit.active_since >= began {
                self.restarts.clear();
            } else {
                self.longest_run = self.longest_run.max(run);
            }
        }
        if unit.running() && unit.active_since > unit.starting_since {
            self.start_to_ready = self.start_to_ready.max(unit.active_since.saturating_sub(unit.starting_since));
        }
        if unit.running()
            && self.last_at.up.saturating_sub(unit.main_started) > self.loop_run()
            && unit.main_started > Ms::ZERO
        {
            self.restarts.clear();
        }
    }

    /// Inactive with a clean result that no failed Condition explains: somebody stopped it.
    fn note_stop(&mut self, now: Now, unit: &UnitReading, run: Run) {
        match (unit.stopped_cleanly(), self.stopped) {
            (true, None) => self.stopped = Some(now),
            // Started and stopped once more while nobody looked: it is the last stop that is respected.
            (true, Some(_)) if run == Run::Another => self.stopped = Some(now),
            (false, Some(_)) => self.stopped = None,
            _ => {}
        }
    }

    fn loop_run(&self) -> Ms {
        LOOP_RUN.max(self.start_to_ready * 2)
    }

    /// The parts that this probe spoke of before and not now: they are gone from a whole answer, and not to be known from
    /// any other.
    fn unspoken(&mut self, n: u16, judged: &Judged) -> Vec<Sight> {
        let spoken: BTreeSet<Str> = judged.parts.iter().map(|(key, _)| key.clone()).collect();
        let known = self.parts.entry(n).or_default();
        let fault = match &judged.service {
            Some(Seen::Unknown(fault)) => fault.clone(),
            _ => Fault::Unreadable("the answer does not tell".into()),
        };
        let shown = if judged.complete { Shown::Gone } else { Shown::Seen(Seen::Unknown(fault)) };
        let unspoken = known.difference(&spoken).map(|key| Sight {
            key: key.clone(),
            shown: shown.clone(),
            confirm: Confirm::AT_ONCE,
            fact: None,
        });
        let unspoken = unspoken.collect();
        if judged.complete {
            known.clear();
        }
        known.extend(spoken);
        unspoken
    }

    fn window(&self) -> Ms {
        let every = self.last.as_ref().and_then(|u| u.restart_every).unwrap_or(Ms::ZERO).min(Ms::mins(10));
        LOOP_WINDOW.max((every + self.longest_run) * 4)
    }

    fn restarts_within_window(&self, now: Now) -> u32 {
        let window = self.window();
        self.restarts.iter().filter(|(at, _)| now.since(*at) <= window).map(|(_, n)| n).sum()
    }

    /// systemd ends a start that takes too long, unless it was told to wait for ever. A wait between two starts is none.
    fn starts_for_ever(&self, now: Now, unit: &UnitReading) -> Option<String> {
        let starting = unit.active == Active::Activating && unit.sub.starts_with("start");
        let takes = now.up.saturating_sub(unit.starting_since);
        let late = STARTING_MAX.max(self.start_to_ready * 2);
        (starting && unit.starting_since > Ms::ZERO && takes >= late)
            .then(|| format!("starting for {takes}, and longer than {late}"))
    }

    /// Restarts that systemd made of late: something is wrong, though no verdict says so yet.
    pub fn troubled(&self, now: Now) -> bool {
        self.restarts_within_window(now) > 0
    }

    fn judge_unit(&self, now: Now, name: &UnitName) -> Option<Seen> {
        let unit = self.last.as_ref()?;
        let down = |code, detail: String| Some(Seen::Down(Reason::new(code, detail)));
        match unit.load {
            Load::NotFound => return down(Code::NotFound, format!("{name} does not exist")),
            Load::Bad => return down(Code::BadUnit, format!("systemd refuses the unit file of {name}")),
            Load::Masked => return down(Code::Masked, format!("{name} is masked")),
            Load::Loaded => {}
        }
        let restarts = self.restarts_within_window(now);
        if restarts >= LOOP_RESTARTS && unit.active != Active::Failed {
            let end = if self.last_end.is_empty() { "ended" } else { &self.last_end };
            let detail = format!("{restarts} automatic restarts within {}, last {end}", self.window());
            return down(Code::CrashLooping, detail);
        }
        if let Some(detail) = self.starts_for_ever(now, unit) {
            return down(Code::Starting, detail);
        }
        match unit.active {
            // A queued job: systemd is about to change this very state.
            _ if unit.job.is_some() => None,
            Active::Active | Active::Reloading => Some(Seen::Up),
            Active::Failed => down(Code::Failed, format!("failed ({})", ended(unit))),
            Active::Inactive if !unit.condition => {
                down(Code::Inactive, "a Condition of its start was not met".into())
            }
            Active::Inactive => down(Code::Inactive, format!("not running ({})", ended(unit))),
            Active::Activating | Active::Deactivating => None,
        }
    }
}

#[cfg(test)]
mod tests;
