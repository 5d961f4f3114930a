//! One systemd service and its process: its state machine, and what systemd would say of it.

use std::collections::VecDeque;

use hostward_core::ask::{Active, ClosureReading, HttpAnswer, HttpReading, Load, UnitReading};
use hostward_core::id::{Str, UnitName};
use hostward_core::time::Ms;

use super::{Due, Host};
use crate::clock::Clock;
use crate::scenario::{Service, policy};

/// A missing package is imported this long after the start.
const IMPORTS_AFTER: Ms = Ms(300);
/// StartLimitBurst=5 within StartLimitIntervalSec=10: systemd's defaults.
const START_BURST: usize = 5;
const START_INTERVAL: Ms = Ms::secs(10);
const STOP_TIMEOUT: Ms = Ms::secs(20);

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that a fault does, alone or with any other")]
pub struct Unit {
    pub plan: Service,
    pub name: UnitName,
    pub url: Str,
    pub masked: bool,
    pub disabled: bool,
    pub active: Active,
    sub: &'static str,
    result: &'static str,
    restarts: u32,
    invocation: u64,
    job: Option<&'static str>,
    /// When its main process began and ended, in real time.
    pub started: Option<Ms>,
    exited: Option<Ms>,
    main_end: &'static str,
    active_since: Ms,
    starting_since: Ms,
    pub(super) epoch: u64,
    starts: VecDeque<Ms>,
    /// Nobody answers. True: not even after a restart.
    pub silent: Option<bool>,
    /// 503. True: also after a restart.
    pub degraded: Option<bool>,
    pub flapping: bool,
    /// Its process ends this soon after each start.
    pub crashes: Option<Ms>,
    /// It falls silent this long after each start.
    pub relapses: Option<Ms>,
    /// A start does not bring it up.
    pub refuses: bool,
    /// An act of ours took it down, and it has not been up since.
    pub by_us: bool,
    /// When it was last taken down by anybody, or by its own end.
    pub down_since: Option<Ms>,
    /// When somebody stopped it by hand; none once it has been up again.
    pub by_hand: Option<Ms>,
}

impl Unit {
    pub fn new(plan: &Service) -> Unit {
        Unit {
            name: policy::unit(&plan.name),
            url: policy::url(&plan.name),
            plan: plan.clone(),
            masked: false,
            disabled: false,
            active: Active::Inactive,
            sub: "dead",
            result: "success",
            restarts: 0,
            invocation: 0,
            job: None,
            started: None,
            exited: None,
            main_end: "",
            active_since: Ms::ZERO,
            starting_since: Ms::ZERO,
            epoch: 0,
            starts: VecDeque::new(),
            silent: None,
            degraded: None,
            flapping: false,
            crashes: None,
            relapses: None,
            refuses: false,
            by_us: false,
            down_since: None,
            by_hand: None,
        }
    }

    /// Its process begins.
    pub(super) fn begin(&mut self, now: Ms) {
        self.epoch += 1;
        self.invocation += 1;
        (self.active, self.sub, self.result, self.job) = (Active::Active, "running", "success", None);
        (self.started, self.exited, self.main_end) = (Some(now), None, "");
        (self.active_since, self.starting_since) = (now, now);
        self.silent = self.silent.filter(|stubborn| *stubborn);
        self.degraded = self.degraded.filter(|stubborn| *stubborn);
        self.by_us = false;
        self.by_hand = None;
        self.down_since = None;
    }

    pub(super) fn power_off(&mut self) {
        self.end(Ms::ZERO, "", "success");
        (self.active, self.sub, self.job) = (Active::Inactive, "dead", None);
        (self.started, self.exited) = (None, None);
        (self.active_since, self.starting_since, self.restarts) = (Ms::ZERO, Ms::ZERO, 0);
        self.by_us = false;
        self.by_hand = None;
        self.starts.clear();
    }

    fn end(&mut self, now: Ms, how: &'static str, result: &'static str) {
        self.epoch += 1;
        if self.exited.is_none() && self.started.is_some() {
            (self.exited, self.main_end) = (Some(now), how);
        }
        self.result = result;
        self.down_since.get_or_insert(now);
    }

    pub fn running(&self) -> bool {
        matches!(self.active, Active::Active | Active::Reloading)
    }

    /// Nothing is about to start it.
    pub fn job_free(&self) -> bool {
        self.job != Some("start")
    }

    /// Whoever asks it gets his answer.
    pub(super) fn serves(&self, now: Ms) -> bool {
        let listens = self.started.is_some_and(|started| now.saturating_sub(started) >= self.plan.start);
        self.running() && (!self.plan.http || listens && self.silent.is_none() && !self.ill(now))
    }

    fn ill(&self, now: Ms) -> bool {
        self.degraded.is_some() || self.flapping && (now.0 / 15_000).is_multiple_of(2)
    }

    pub fn loaded(&self) -> bool {
        !self.masked
    }

    /// Something stops with it that is up, or on its way up.
    pub(super) fn stoppable(&self) -> bool {
        matches!(self.active, Active::Active | Active::Reloading | Active::Activating)
    }

    pub(super) fn http(&self, now: Ms) -> HttpReading {
        let listens = self.started.is_some_and(|started| now.saturating_sub(started) >= self.plan.start);
        if !self.running() || !listens {
            return HttpReading::Silent("connection refused".into());
        }
        if self.silent.is_some() {
            return HttpReading::TimedOut(Ms::secs(2));
        }
        let status = if self.ill(now) { 503 } else { 200 };
        HttpReading::Answered(HttpAnswer { status, json: true, excerpt: "{}".into(), ..HttpAnswer::default() })
    }

    pub(super) fn reading(&self, clock: &Clock) -> UnitReading {
        let up = |real: Ms| Ms(real.saturating_sub(clock.booted).0.max(1));
        let stamp = |real: Option<Ms>| real.map_or(Ms::ZERO, up);
        UnitReading {
            load: if self.masked { Load::Masked } else { Load::Loaded },
            active: self.active,
            sub: self.sub.into(),
            result: self.result.into(),
            restarts: self.restarts,
            invocation: if self.invocation == 0 { "".into() } else { format!("{:032x}", self.invocation).into() },
            job: self.job.map(Into::into),
            wanted: !self.disabled,
            disabled: self.disabled,
            condition: true,
            needs_reload: false,
            restart_every: self.plan.restart,
            main_pid: self.running().then_some(100 + u32::try_from(self.invocation).unwrap_or(0)),
            main_started: stamp(self.started),
            main_exited: stamp(self.exited),
            main_end: self.main_end.into(),
            active_since: if self.active_since == Ms::ZERO { Ms::ZERO } else { up(self.active_since) },
            starting_since: if self.starting_since == Ms::ZERO { Ms::ZERO } else { up(self.starting_since) },
            stop_timeout: STOP_TIMEOUT,
            needs: self.plan.requires.iter().chain(&self.plan.binds_to).map(|name| policy::unit(name)).collect(),
            busy: None,
        }
    }
}

/// A unit that nobody has heard of.
pub(super) fn not_found() -> UnitReading {
    let service = Service {
        name: "nobody".into(),
        app: None,
        imports: None,
        requires: Vec::new(),
        binds_to: Vec::new(),
        part_of: Vec::new(),
        restart: None,
        start: Ms::ZERO,
        stop: Ms::ZERO,
        watched: false,
        http: false,
        sentinel: false,
        mode: hostward_core::policy::Mode::Observe,
        needs: Vec::new(),
        ladder: Vec::new(),
        brakes: None,
    };
    UnitReading { load: Load::NotFound, ..Unit::new(&service).reading(&Clock::new(Ms::ZERO)) }
}

/// What anybody may do to units; what follows from it.
impl Host {
    /// The main process ends by itself.
    pub(super) fn crash(&mut self, n: usize) {
        self.exit(n, "exited 1", "exit-code");
    }

    pub fn exit(&mut self, n: usize, how: &'static str, result: &'static str) {
        let now = self.clock.real;
        if !self.units[n].running() {
            return;
        }
        self.units[n].end(now, how, result);
        self.bound_stop(n);
        let unit = &mut self.units[n];
        unit.job = None;
        let limited =
            unit.starts.iter().filter(|at| now.saturating_sub(**at) < START_INTERVAL).count() >= START_BURST;
        match unit.plan.restart {
            Some(after) if !limited => {
                (unit.active, unit.sub) = (Active::Activating, "auto-restart");
                let epoch = unit.epoch;
                self.later(after, Due::Start { unit: n, epoch, auto: true });
            }
            limit => {
                (unit.active, unit.sub) = (Active::Failed, "failed");
                if limit.is_some() {
                    unit.result = "start-limit-hit";
                }
            }
        }
        self.hint(n);
    }

    /// The process ends and nothing restarts it.
    pub fn fail(&mut self, n: usize) {
        if !self.units[n].stoppable() {
            return;
        }
        let now = self.clock.real;
        self.units[n].end(now, "exited 1", "exit-code");
        self.bound_stop(n);
        let unit = &mut self.units[n];
        (unit.active, unit.sub, unit.job) = (Active::Failed, "failed", None);
        self.hint(n);
    }

    /// BindsTo=: what is bound to a unit that went away stops.
    fn bound_stop(&mut self, n: usize) {
        let name = self.units[n].plan.name.clone();
        let bound: Vec<usize> = (0..self.units.len())
            .filter(|other| self.units[*other].plan.binds_to.contains(&name) && self.units[*other].stoppable())
            .collect();
        for other in bound {
            self.stop_one(other);
        }
    }

    pub(super) fn start_now(&mut self, n: usize, auto: bool) {
        let now = self.clock.real;
        if self.units[n].masked {
            return self.stopped(n);
        }
        let lacks = self.lacks(&self.units[n]);
        let unit = &mut self.units[n];
        unit.restarts = if auto { unit.restarts + 1 } else { 0 };
        unit.starts.retain(|at| now.saturating_sub(*at) < START_INTERVAL);
        if unit.starts.len() == 2 * START_BURST {
            unit.starts.pop_front();
        }
        unit.starts.push_back(now);
        if unit.refuses {
            unit.end(now, "exited 203", "exit-code");
            (unit.active, unit.sub, unit.job) = (Active::Failed, "failed", None);
            self.hint(n);
            return;
        }
        unit.begin(now);
        let epoch = unit.epoch;
        let (crashes, relapses) = (unit.crashes, unit.relapses);
        if let Some(after) = lacks.then_some(IMPORTS_AFTER).or(crashes) {
            self.later(after, Due::Exit { unit: n, epoch });
        }
        if let Some(after) = relapses {
            self.later(after, Due::Silence { unit: n, epoch });
        }
        self.hint(n);
    }

    pub(super) fn stopped(&mut self, n: usize) {
        let unit = &mut self.units[n];
        (unit.active, unit.sub, unit.job) = (Active::Inactive, "dead", None);
        self.hint(n);
    }

    fn stop_one(&mut self, n: usize) {
        let (now, unit) = (self.clock.real, &mut self.units[n]);
        let takes = if unit.running() { unit.plan.stop } else { Ms(5) };
        unit.end(now, "killed 15", "success");
        (unit.active, unit.sub, unit.job) = (Active::Deactivating, "stop-sigterm", Some("stop"));
        let epoch = unit.epoch;
        self.later(takes, Due::Stopped { unit: n, epoch });
        self.hint(n);
    }

    /// StopUnit: with everything that requires it, is bound to it or is part of it.
    pub fn stop(&mut self, n: usize) {
        let all: Vec<usize> = std::iter::once(n).chain(self.closure(n)).collect();
        for n in all {
            if self.units[n].stoppable() {
                self.stop_one(n);
            }
        }
    }

    /// StartUnit: with everything that it requires.
    pub fn start(&mut self, n: usize) {
        if self.units[n].stoppable() || self.units[n].masked {
            return;
        }
        let needs = [self.units[n].plan.requires.clone(), self.units[n].plan.binds_to.clone()].concat();
        for name in needs {
            if let Some(need) = self.find(&policy::unit(&name)) {
                self.start(need);
            }
        }
        let unit = &mut self.units[n];
        unit.epoch += 1;
        unit.job = Some("start");
        let epoch = unit.epoch;
        self.later(Ms(20), Due::Start { unit: n, epoch, auto: false });
    }

    /// RestartUnit: what stops with it starts with it.
    pub fn restart(&mut self, n: usize) {
        let all: Vec<usize> = std::iter::once(n).chain(self.closure(n)).collect();
        for n in all {
            let now = self.clock.real;
            let unit = &mut self.units[n];
            if unit.masked {
                continue;
            }
            let takes = if unit.running() { unit.plan.stop } else { Ms(5) };
            unit.end(now, "killed 15", "success");
            (unit.active, unit.sub, unit.job) = (Active::Deactivating, "stop-sigterm", Some("restart"));
            let epoch = unit.epoch;
            self.later(takes, Due::Start { unit: n, epoch, auto: false });
            self.hint(n);
        }
    }

    /// ResetFailedUnit.
    pub fn reset_failed(&mut self, n: usize) {
        let unit = &mut self.units[n];
        unit.starts.clear();
        unit.restarts = 0;
        if unit.active == Active::Failed {
            (unit.active, unit.sub, unit.result) = (Active::Inactive, "dead", "success");
        }
    }

    /// What stops with a unit and is up, nearest first: the order of their return.
    pub fn closure(&self, n: usize) -> Vec<usize> {
        let mut found = vec![n];
        let mut next = 0;
        while let Some(of) = found.get(next) {
            let name = &self.units[*of].plan.name;
            let takes = |unit: &Unit| {
                [&unit.plan.requires, &unit.plan.binds_to, &unit.plan.part_of].iter().any(|all| all.contains(name))
            };
            let more: Vec<usize> = (0..self.units.len())
                .filter(|m| !found.contains(m) && takes(&self.units[*m]) && self.units[*m].stoppable())
                .collect();
            found.extend(more);
            next += 1;
        }
        found.split_off(1)
    }

    pub(super) fn closure_reading(&self, n: usize) -> ClosureReading {
        ClosureReading {
            active: self.units[n].stoppable(),
            members: self.closure(n).into_iter().map(|m| self.units[m].name.clone()).collect(),
            one_way: Vec::new(),
            stop_timeout: STOP_TIMEOUT,
            wakers: Vec::new(),
        }
    }
}
