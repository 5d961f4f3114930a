//! The actor's side: acts become jobs of PID 1, whose outcomes are told, told twice, or lost.

use hostward_core::id::{RunId, UnitName};
use hostward_core::plan::{Act, Arm, Stop};
use hostward_core::run::{At, Outcome, Ticket};
use hostward_core::time::Ms;

use super::{Due, Host};
use crate::scenario::What;

/// One act under way, or ended and not forgotten.
#[derive(Clone, Debug)]
pub struct Job {
    pub act: Act,
    pub ended: Option<Outcome>,
    pub began: Ms,
    /// It does its work when it ends.
    works: bool,
    /// The engine that begun it, or one that adopted it, hears of its end.
    followed: bool,
}

/// A timer of PID 1's that starts what we stopped.
#[derive(Clone, Debug)]
pub struct Undo {
    pub units: Vec<UnitName>,
    pub armed: Ms,
    number: u64,
}

impl Host {
    /// The actor begins an act, its undo armed first.
    pub fn perform(&mut self, ticket: Ticket, act: &Act, deadline: Ms, arm: Option<&Arm>) {
        // A lost try may still be running: it ends before the next one begins.
        for tries in 1..ticket.tries {
            self.forget(Ticket { tries, ..ticket });
        }
        if self.active.any(|what| *what == What::BusAway) {
            self.told.push((ticket, Outcome::Lost("the bus is away".into())));
            return;
        }
        if let Some(arm) = arm {
            if self.active.any(|what| *what == What::ArmFails) {
                if matches!(ticket.at, At::Go(_)) {
                    self.told.push((ticket, Outcome::Failed("its undo could not be armed".into())));
                    return;
                }
            } else {
                self.arm(arm);
            }
        }
        if let Some(refusal) = self.refusal(act) {
            self.told.push((ticket, refusal));
            return;
        }
        let works = !self.active.any(|what| matches!(what, What::CureFails | What::CureNothing));
        let mut takes = if works { self.begin(act) } else { Ms(50) };
        if let (Act::Command(_), Some(slow)) = (act, self.active.find(slow)) {
            takes = takes + slow;
        }
        let works = works && takes <= deadline;
        let job = Job { act: act.clone(), ended: None, began: self.clock.real, works, followed: true };
        self.jobs.insert(ticket, job);
        self.later(takes.min(deadline), Due::JobEnds(ticket));
    }

    fn refusal(&self, act: &Act) -> Option<Outcome> {
        let Act::Stop(stop) = act else { return None };
        let unit = self.find(&stop.unit)?;
        let more = self.closure(unit).into_iter().map(|n| &self.units[n].name).find(|u| !stop.closure.contains(u))?;
        Some(Outcome::Failed(format!("refused by the actor: {more} would stop with {}", stop.unit).into()))
    }

    /// Units move at once; commands do their work at their end.
    fn begin(&mut self, act: &Act) -> Ms {
        match act {
            Act::Command(command) => match command.argv.first().map(|verb| &**verb) {
                Some("/srv/bin/sync") => command.argv.get(1).map_or(Ms::secs(20), |env| self.takes(env)),
                _ => Ms::secs(2),
            },
            Act::Restart(name) => {
                let Some(n) = self.find(name) else { return Ms(5) };
                let takes = self.units[n].plan.stop + Ms(50);
                self.reset_failed(n);
                self.restart(n);
                takes
            }
            Act::Stop(stop) => self.begin_stop(stop),
            Act::Start(units) => {
                for name in units {
                    if let Some(n) = self.find(name) {
                        self.reset_failed(n);
                        self.start(n);
                    }
                }
                Ms(100)
            }
            Act::Fence(_) | Act::Unfence(_) => Ms(30),
            // No toy makes these.
            Act::Abort(_) | Act::Unmount(_) | Act::Bind(_) | Act::Gather(_) | Act::Launch(_) => Ms(5),
        }
    }

    fn begin_stop(&mut self, stop: &Stop) -> Ms {
        let Some(n) = self.find(&stop.unit) else { return Ms(5) };
        let mut takes = Ms(5);
        for name in std::iter::once(&stop.unit).chain(&stop.closure) {
            if let Some(n) = self.find(name)
                && self.units[n].stoppable()
            {
                self.units[n].by_us = true;
                takes = takes.max(self.units[n].plan.stop + Ms(10));
            }
        }
        self.stop(n);
        takes
    }

    fn takes(&self, env: &str) -> Ms {
        self.envs.iter().find(|known| known.name == env).map_or(Ms::secs(20), |env| env.takes)
    }

    pub(super) fn job_ends(&mut self, ticket: Ticket) {
        // Cancelled meanwhile.
        let Some(job) = self.jobs.get(&ticket) else { return };
        let (act, works) = (job.act.clone(), job.works);
        let lost = self.active.any(|what| *what == What::CureLost);
        let outcome = if self.active.any(|what| *what == What::CureFails) {
            Outcome::Failed("exited 1".into())
        } else if works || self.active.any(|what| *what == What::CureNothing) {
            if works { self.work(&act) } else { Outcome::Ok }
        } else {
            Outcome::Failed("timed out".into())
        };
        let outcome = if lost { Outcome::Lost("the bus went away".into()) } else { outcome };
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        job.ended = Some(outcome.clone());
        if job.followed {
            self.told.push((ticket, outcome));
        }
    }

    /// What an act comes to.
    fn work(&mut self, act: &Act) -> Outcome {
        if let Some(broken) = self.active.find(breaks)
            && let Some(n) = self.units.iter().position(|unit| unit.plan.name == broken)
        {
            self.fail(n);
        }
        match act {
            Act::Command(command) => self.ran(&command.argv),
            Act::Start(units) => {
                let down = units.iter().find(|name| self.unit(name).is_some_and(|u| !u.running() && !u.masked));
                down.map_or(Outcome::Ok, |name| Outcome::Failed(format!("{name}: job failed").into()))
            }
            Act::Fence(path) | Act::Unfence(path) => {
                let fenced = matches!(act, Act::Fence(_));
                if let Some(key) = self.toys.iter_mut().find_map(|toy| toy.at(path)) {
                    key.fenced = fenced;
                }
                Outcome::Ok
            }
            Act::Abort(_) | Act::Unmount(_) | Act::Bind(_) | Act::Gather(_) | Act::Launch(_) => {
                Outcome::Failed("the simulator has neither storage nor jobs".into())
            }
            Act::Restart(_) | Act::Stop(_) => Outcome::Ok,
        }
    }

    fn ran(&mut self, argv: &[hostward_core::id::Str]) -> Outcome {
        let wall = self.clock.wall();
        match (argv.first().map(|verb| &**verb), argv.get(1)) {
            (Some("/srv/bin/sync"), Some(name)) => {
                if let Some(env) = self.envs.iter_mut().find(|env| *env.name == **name) {
                    (env.missing, env.gone, env.touched, env.down_since) = (false, false, wall, None);
                }
                Outcome::Ok
            }
            (Some("/toy/mend" | "/toy/replace"), Some(name)) => {
                let holds = |toy: &super::Toy| {
                    let holder = toy.holder.as_ref().and_then(|h| self.units.iter().find(|u| u.plan.name == *h));
                    toy.keys.iter().any(|key| key.key == *name) && holder.is_some_and(super::Unit::running)
                };
                if self.toys.iter().any(holds) {
                    return Outcome::Failed("it is held".into());
                }
                let mut keys = self.toys.iter_mut().flat_map(|toy| &mut toy.keys);
                if let Some(key) = keys.find(|key| key.key == *name) {
                    (key.broken, key.down_since) = (false, None);
                }
                Outcome::Ok
            }
            _ => Outcome::Ok,
        }
    }

    pub fn arm(&mut self, arm: &Arm) {
        self.ids += 1;
        let (number, armed) = (self.ids, self.clock.real);
        let undo = Undo { units: arm.owed.units.clone(), armed, number };
        self.undos.insert(arm.run, undo);
        self.later(arm.after, Due::Undo { run: arm.run, number });
    }

    pub(super) fn undo_fires(&mut self, run: RunId, number: u64) {
        if self.undos.get(&run).is_none_or(|undo| undo.number != number) {
            return;
        }
        let Some(undo) = self.undos.remove(&run) else { return };
        self.undone.extend(undo.units.iter().cloned());
        self.fired.push((run, undo.armed));
        for name in &undo.units {
            if let Some(n) = self.find(name) {
                self.reset_failed(n);
                self.start(n);
            }
        }
    }

    /// The ticket's unit is stopped, whatever it does, and forgotten.
    pub fn forget(&mut self, ticket: Ticket) {
        self.jobs.remove(&ticket);
    }

    /// The engine is gone: nobody follows its jobs. Only transient units outlive it.
    pub fn orphan(&mut self) {
        self.told.clear();
        self.jobs.retain(|_, job| matches!(job.act, Act::Command(_)));
        self.jobs.values_mut().for_each(|job| job.followed = false);
    }

    /// A new engine asks what became of its tickets, and drops whatever else is left; undos only when it knows whose.
    pub fn adopt(&mut self, tickets: &[Ticket], runs: Option<&[RunId]>) {
        self.jobs.retain(|ticket, _| tickets.contains(ticket));
        self.undos.retain(|run, _| runs.is_none_or(|runs| runs.contains(run)));
        for ticket in tickets {
            let told = match self.jobs.get_mut(ticket) {
                Some(job) => {
                    job.followed = true;
                    job.ended.clone()
                }
                None => Some(Outcome::Lost("nobody remembers it".into())),
            };
            self.told.extend(told.map(|outcome| (*ticket, outcome)));
        }
    }
}

fn slow(what: &What) -> Option<Ms> {
    if let What::CureSlow(by) = what { Some(*by) } else { None }
}

fn breaks(what: &What) -> Option<String> {
    if let What::CureBreaks(name) = what { Some(name.clone()) } else { None }
}
