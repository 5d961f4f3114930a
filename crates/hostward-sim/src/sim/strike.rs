//! Faults strike, and are over.

use std::sync::Arc;

use hostward_core::command::Command;
use hostward_core::engine::{Event, Hint};
use hostward_core::id::{Str, WatchId};
use hostward_core::starvation::Lag;
use hostward_core::time::Ms;

use super::{Due, Sim};
use crate::law::debts::hinders_undo;
use crate::scenario::fault::{Side, When};
use crate::scenario::{What, policy};

impl Sim {
    pub(super) fn schedule_faults(&mut self) {
        let begin = self.real();
        for n in 0..self.scenario.faults.len() {
            match self.scenario.faults[n].at.clone() {
                When::After(span) => self.at(begin + span, Due::Strike(n)),
                When::Effect { .. } => self.waiting.push(n),
            }
        }
    }

    pub(super) fn strike_at(&mut self, effect: &'static str, count: u32, at: Side) {
        if self.calm || self.waiting.is_empty() {
            return;
        }
        let faults = &self.scenario.faults;
        let meant = |n: &usize| match &faults[*n].at {
            When::Effect { name, nth, side } => name == effect && *nth == count && *side == at,
            When::After(_) => false,
        };
        let (struck, waiting): (Vec<usize>, Vec<usize>) = self.waiting.iter().partition(|n| meant(n));
        self.waiting = waiting;
        for n in struck {
            self.coverage.moment(effect, at);
            // Only what ends the engine comes in the middle of a turn; whatever it would be told waits for the next.
            match self.scenario.faults[n].what {
                What::Crash { .. } | What::Reboot { .. } | What::Damage => self.strike(n),
                _ => self.at(self.real(), Due::Strike(n)),
            }
        }
    }

    pub(super) fn strike(&mut self, n: usize) {
        let fault = self.scenario.faults[n].clone();
        if self.calm {
            return;
        }
        self.coverage.fault(&fault.what);
        self.trace.tell(self.real(), "fault", || format!("{:?} for {}", fault.what, fault.lasts));
        if fault.lasts > Ms::ZERO {
            self.host.active.0.push((n, fault.what.clone(), self.real()));
            self.at(self.real() + fault.lasts, Due::Lift(n));
        }
        self.breaks(&fault.what);
        self.somebody(&fault.what);
        self.ourselves(&fault.what);
        if matches!(fault.what, What::Touch(_) | What::HintStorm | What::Starve { .. }) {
            self.pulse(n);
        }
        if is_gate(&fault.what) {
            self.gates_moved();
        }
    }

    /// What happens again and again while it lasts.
    pub(super) fn pulse(&mut self, n: usize) {
        if !self.host.active.0.iter().any(|(of, ..)| *of == n) {
            return;
        }
        let what = self.scenario.faults[n].what.clone();
        let wall = self.host.clock.wall();
        match what {
            What::Touch(name) => {
                let env = self.host.envs.iter_mut().find(|env| env.name == name);
                if let Some(env) = env {
                    env.touched = wall;
                }
                self.at(self.real() + Ms::secs(5), Due::Pulse(n));
            }
            What::HintStorm => {
                for unit in 0..self.host.units.len() {
                    self.host.hint(unit);
                }
                self.at(self.real() + Ms(200), Due::Pulse(n));
            }
            What::Starve { late, echo } => {
                self.tell(Event::Lag(Lag { late, echo: echo.then_some(Ms(20)) }));
                self.at(self.real() + Ms::secs(5), Due::Pulse(n));
            }
            _ => {}
        }
    }

    fn service(&self, name: &str) -> Option<usize> {
        self.host.units.iter().position(|unit| unit.plan.name == name)
    }

    /// Things of the host that break.
    fn breaks(&mut self, what: &What) {
        let wall = self.host.clock.wall();
        let now = self.real();
        match what {
            What::Fail(name) => self.at_unit(name, super::super::host::Host::fail),
            What::Kill(name) => self.at_unit(name, |host, n| host.exit(n, "killed 9", "signal")),
            What::CrashLoop { service, after } => {
                let after = *after;
                self.at_unit(service, |host, n| {
                    host.units[n].crashes = Some(after);
                    host.exit(n, "exited 1", "exit-code");
                });
            }
            What::Silent { service, stubborn } => {
                let stubborn = *stubborn;
                self.at_unit(service, |host, n| host.units[n].silent = Some(stubborn));
            }
            What::Degraded { service, stubborn } => {
                let stubborn = *stubborn;
                self.at_unit(service, |host, n| host.units[n].degraded = Some(stubborn));
            }
            What::Flapping(name) => self.at_unit(name, |host, n| host.units[n].flapping = true),
            What::Relapse { service, after } => {
                let after = *after;
                self.at_unit(service, |host, n| {
                    host.units[n].relapses = Some(after);
                    host.units[n].silent = Some(false);
                });
            }
            What::StartFails(name) => self.at_unit(name, |host, n| host.units[n].refuses = true),
            What::Drift(name) | What::Gone(name) | What::Revision(name) => {
                let gone = matches!(what, What::Gone(_));
                let revision = matches!(what, What::Revision(_));
                if let Some(env) = self.host.envs.iter_mut().find(|env| env.name == *name) {
                    env.gone |= gone;
                    env.missing |= !gone;
                    env.revision += u32::from(revision);
                    env.touched = wall;
                    env.down_since.get_or_insert(now);
                }
            }
            What::BreakToy { toy, key } => {
                let key = policy::key(toy, *key);
                let mut keys = self.host.toys.iter_mut().flat_map(|toy| &mut toy.keys);
                if let Some(found) = keys.find(|found| found.key == key) {
                    found.broken = true;
                    found.down_since.get_or_insert(now);
                }
            }
            _ => {}
        }
    }

    fn at_unit(&mut self, name: &str, act: impl FnOnce(&mut crate::host::Host, usize)) {
        if let Some(n) = self.service(name) {
            act(&mut self.host, n);
        }
    }

    /// People, and what they order.
    fn somebody(&mut self, what: &What) {
        let watch = |name: &Option<String>| name.as_deref().map(WatchId::new);
        match what {
            What::Stop(name) => self.at_unit(name, |host, n| {
                let was = host.units[n].running();
                host.stop(n);
                if was {
                    host.units[n].by_hand = Some(host.clock.real);
                }
            }),
            // Whoever stopped it has changed his mind, whether it comes up or not.
            What::Start(name) => self.at_unit(name, |host, n| {
                host.units[n].by_hand = None;
                host.start(n);
            }),
            What::Restart(name) => self.at_unit(name, |host, n| {
                host.units[n].by_hand = None;
                host.restart(n);
            }),
            What::Mask(name) => self.at_unit(name, |host, n| {
                host.units[n].masked = true;
                // Its owner took it over.
                host.units[n].by_us = false;
                host.stop(n);
                host.hint(n);
            }),
            What::Disable(name) => self.at_unit(name, |host, n| {
                host.units[n].disabled = true;
                host.stop(n);
                host.hint(n);
            }),
            What::Pause { watch: of, span } => {
                let reason = Str::from("work on it");
                self.order(Command::Pause { watch: watch(of), span: *span, reason });
            }
            What::Resume { watch: of } => {
                self.order(Command::Resume { watch: watch(of) });
            }
            What::Clear { watch: of } => {
                self.order(Command::Clear { watch: watch(of) });
            }
            What::Look => {
                self.order(Command::Look { watch: None });
            }
            What::View => {
                self.order(Command::View);
            }
            What::Cycle(name) => {
                self.order(Command::Cycle { watch: WatchId::new(name.as_str()), patience: Ms::mins(2) });
            }
            What::Apply(name) => self.apply(name),
            What::Reload { watch, change } => {
                let watch = WatchId::new(watch.as_str());
                let policy = policy::changed(&self.policy, &watch, *change);
                self.reload(policy, Some(watch));
            }
            What::BadConfig => self.tell(Event::Rejected("line 1: it does not load".into())),
            _ => {}
        }
    }

    fn apply(&mut self, name: &str) {
        let Some(engine) = &self.engine else { return };
        let (of, others): (Vec<_>, Vec<_>) = engine.world().ill.iter().partition(|id| id.watch.as_str() == name);
        // With nothing to do about it, an operator turns to what there is.
        let plan = of.into_iter().chain(others).find_map(|id| engine.world().propose(id)?.plan);
        if let Some(plan) = plan {
            self.book.word.insert(plan.hash().to_string(), self.host.clock.real);
            self.order(Command::Apply { plan: plan.hash(), patience: Ms::mins(1) });
        }
    }

    pub(crate) fn reload(&mut self, policy: Arc<hostward_core::policy::Policy>, watch: Option<WatchId>) {
        let now = self.real();
        self.policy = Arc::clone(&policy);
        let all: Vec<WatchId> = match watch {
            Some(watch) => vec![watch],
            None => policy.watches.keys().cloned().collect(),
        };
        self.changed.extend(all.into_iter().map(|watch| (watch, now)));
        self.tell(Event::Policy(policy));
    }

    /// The engine and its machine.
    fn ourselves(&mut self, what: &What) {
        match what {
            What::Damage => self.disk.damaged = true,
            What::Crash { tail, down } => self.crash(*tail, *down),
            What::Replace { down } => self.replace(*down),
            What::Reboot { down, power_cut } => self.reboot(*down, *power_cut),
            What::WallJump(by) => {
                self.host.clock.jump(*by);
                if *by > 0 {
                    self.book.jumped = true;
                    let booted = self.host.clock.booted;
                    self.book.doubt = self.book.doubt.max((booted > Ms::ZERO).then_some(booted));
                }
            }
            _ => {}
        }
    }

    fn gates_moved(&mut self) {
        if self.hears() {
            self.later(Ms(1), |life| Due::Tell { life, event: Event::Hint(Hint::Gates) });
        }
    }

    /// A fault is over.
    pub(super) fn lift(&mut self, n: usize) {
        let Some(at) = self.host.active.0.iter().position(|(of, ..)| *of == n) else { return };
        let (_, what, _) = self.host.active.0.remove(at);
        self.trace.tell(self.real(), "over", || format!("{what:?}"));
        if hinders_undo(&what) {
            self.book.hindered = Some(self.real());
        }
        match &what {
            What::CrashLoop { service, .. } => self.at_unit(service, |host, n| host.units[n].crashes = None),
            What::Silent { service, stubborn: true } => self.at_unit(service, |host, n| host.units[n].silent = None),
            What::Degraded { service, stubborn: true } => {
                self.at_unit(service, |host, n| host.units[n].degraded = None);
            }
            What::Flapping(name) => self.at_unit(name, |host, n| host.units[n].flapping = false),
            What::Relapse { service, .. } => self.at_unit(service, |host, n| host.units[n].relapses = None),
            What::StartFails(name) => self.at_unit(name, |host, n| host.units[n].refuses = false),
            What::Mask(name) => self.at_unit(name, |host, n| {
                host.units[n].masked = false;
                host.hint(n);
            }),
            What::Disable(name) => self.at_unit(name, |host, n| {
                host.units[n].disabled = false;
                host.hint(n);
            }),
            What::Mute(_) => self.unmute(n),
            What::BusAway | What::HintsLost => {
                self.later(Ms(5), |life| Due::Tell { life, event: Event::Hint(Hint::Units) });
            }
            What::Reload { .. } => {
                let policy = super::declared(&self.scenario);
                self.reload(policy, None);
            }
            What::BadConfig => {
                let policy = Arc::clone(&self.policy);
                self.reload(policy, None);
            }
            _ => {}
        }
        if is_gate(&what) {
            self.gates_moved();
        }
    }

    /// Nothing goes wrong any more: what lasted is over, what waited never comes.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.waiting.clear();
        while let Some((n, ..)) = self.host.active.0.first() {
            self.lift(*n);
        }
        let policy = super::declared(&self.scenario);
        if *self.policy != *policy {
            self.reload(policy, None);
        }
    }
}

/// Sentinels are watched for by inotify.
fn is_gate(what: &What) -> bool {
    matches!(what, What::NoHostSentinel | What::NoSentinel(_) | What::BadSentinel(_))
}
