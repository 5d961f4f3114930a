//! The virtual host: units as systemd shows them, environments, toys, a PID 1 that keeps what it was given.
//!
//! It decides nothing; it only moves with virtual time, as the real one was seen to.

pub mod gate;
pub mod jobs;
pub mod places;
pub mod unit;

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::ask::{Answer, Fault, HttpReading, Mount, Question, Reading};
use hostward_core::engine::Hint;
use hostward_core::id::{RunId, UnitName};
use hostward_core::run::{Outcome, Ticket};
use hostward_core::time::Ms;

use crate::clock::Clock;
use crate::scenario::{Scenario, What};
use jobs::{Job, Undo};
use places::{Env, Toy};
use unit::Unit;

/// What strikes now: the fault's number, what it is, and since when.
#[derive(Clone, Debug, Default)]
pub struct Active(pub Vec<(usize, What, Ms)>);

impl Active {
    pub fn any(&self, is: impl Fn(&What) -> bool) -> bool {
        self.0.iter().any(|(_, what, _)| is(what))
    }
    pub fn find<T>(&self, of: impl Fn(&What) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|(_, what, _)| of(what))
    }
}

/// What the host itself will do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// A transition planned for an earlier state of the unit no longer comes.
    Exit {
        unit: usize,
        epoch: u64,
    },
    Start {
        unit: usize,
        epoch: u64,
        auto: bool,
    },
    Stopped {
        unit: usize,
        epoch: u64,
    },
    Silence {
        unit: usize,
        epoch: u64,
    },
    JobEnds(Ticket),
    Undo {
        run: RunId,
        number: u64,
    },
}

#[derive(Debug)]
pub struct Host {
    pub clock: Clock,
    pub units: Vec<Unit>,
    by_name: BTreeMap<UnitName, usize>,
    pub envs: Vec<Env>,
    pub toys: Vec<Toy>,
    pub active: Active,
    /// Transient units and jobs of ours, by ticket.
    pub jobs: BTreeMap<Ticket, Job>,
    /// Armed timers of ours.
    pub undos: BTreeMap<RunId, Undo>,
    pub hints: Vec<Hint>,
    /// Outcomes for whoever follows the jobs.
    pub told: Vec<(Ticket, Outcome)>,
    /// Units for which an undo timer fired.
    pub undone: BTreeSet<UnitName>,
    /// Runs whose undo has just gone off, and when it had been armed.
    pub fired: Vec<(RunId, Ms)>,
    due: BTreeMap<(Ms, u64), Due>,
    ids: u64,
}

impl Host {
    /// All is well, and has been since the boot six minutes ago.
    pub fn new(scenario: &Scenario) -> Host {
        let clock = Clock::new(Ms::mins(6));
        let units: Vec<Unit> = scenario.services.iter().map(Unit::new).collect();
        let by_name = units.iter().enumerate().map(|(n, unit)| (unit.name.clone(), n)).collect();
        let mut host = Host {
            clock,
            units,
            by_name,
            envs: scenario.envs.iter().map(|env| Env::new(env, clock.wall())).collect(),
            toys: scenario.toys.iter().map(Toy::new).collect(),
            active: Active::default(),
            jobs: BTreeMap::new(),
            undos: BTreeMap::new(),
            hints: Vec::new(),
            told: Vec::new(),
            undone: BTreeSet::new(),
            fired: Vec::new(),
            due: BTreeMap::new(),
            ids: 0,
        };
        for unit in &mut host.units {
            unit.begin(Ms::mins(1));
        }
        host
    }

    pub fn find(&self, name: &UnitName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn unit(&self, name: &UnitName) -> Option<&Unit> {
        self.units.get(self.find(name)?)
    }

    pub fn next_due(&self) -> Option<Ms> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The first thing that is due by now happens.
    pub fn advance(&mut self) {
        if self.next_due().is_none_or(|at| at > self.clock.real) {
            return;
        }
        let Some((_, due)) = self.due.pop_first() else { return };
        match due {
            Due::Exit { unit, epoch } if self.still(unit, epoch) => self.crash(unit),
            Due::Start { unit, epoch, auto } if self.still(unit, epoch) => self.start_now(unit, auto),
            Due::Stopped { unit, epoch } if self.still(unit, epoch) => self.stopped(unit),
            Due::Silence { unit, epoch } if self.still(unit, epoch) => self.units[unit].silent = Some(false),
            Due::Exit { .. } | Due::Start { .. } | Due::Stopped { .. } | Due::Silence { .. } => {}
            Due::JobEnds(ticket) => self.job_ends(ticket),
            Due::Undo { run, number } => self.undo_fires(run, number),
        }
    }

    fn still(&self, unit: usize, epoch: u64) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.epoch == epoch)
    }

    fn later(&mut self, after: Ms, due: Due) {
        self.ids += 1;
        self.due.insert((self.clock.real + after, self.ids), due);
    }

    pub(crate) fn hint(&mut self, unit: usize) {
        self.hints.push(Hint::Unit(self.units[unit].name.clone()));
    }

    /// What an honest look would show.
    pub fn answer(&self, question: &Question) -> Answer {
        let unknown = |what: &str| Fault::Probe(format!("the simulator knows no {what}").into());
        Ok(match question {
            Question::Unit(name) => match self.unit(name) {
                Some(unit) => Reading::Unit(Box::new(unit.reading(&self.clock))),
                None => Reading::Unit(Box::new(unit::not_found())),
            },
            Question::Http(http) => Reading::Http(self.http(&http.url)),
            Question::Tcp(_) | Question::Exec(_) | Question::Paths(_) | Question::Jobs(_) => {
                return Err(unknown("such probe"));
            }
            Question::Python(python) => {
                let env = self.envs.iter().find(|env| env.venv == python.venv);
                Reading::Python(env.ok_or_else(|| unknown("environment"))?.reading())
            }
            Question::Gate(gate) => Reading::Gate(self.gate(gate)),
            Question::Closure(name) => {
                Reading::Closure(self.closure_reading(self.find(name).ok_or_else(|| unknown("unit"))?))
            }
            Question::Mount(path) => {
                let fenced = self.toys.iter().any(|toy| toy.fenced_at(path));
                let source = if fenced { Mount::FENCE } else { "/dev/vdb" };
                let fstype = if fenced { "tmpfs" } else { "ext4" };
                Reading::Mount(Some(Mount { source: source.into(), fstype: fstype.into(), read_only: fenced }))
            }
            Question::Toy(toy) => {
                let known = self.toys.iter().find(|known| known.root == toy.root);
                let mut reading = known.ok_or_else(|| unknown("toy"))?.reading(&toy.keys);
                reading.holder =
                    toy.holder.as_ref().and_then(|name| self.find(name)).map(|unit| self.closure_reading(unit));
                Reading::Toy(reading)
            }
        })
    }

    fn http(&self, url: &str) -> HttpReading {
        let unit = self.units.iter().find(|unit| *unit.url == *url);
        unit.map_or(HttpReading::Silent("no such host".into()), |unit| unit.http(self.clock.real))
    }

    /// The process runs, and whoever asks it gets his answer. What it has imported already it does not miss.
    pub fn serves(&self, unit: usize) -> bool {
        self.units[unit].serves(self.clock.real)
    }

    /// The environment of this process lacks what it imports.
    pub fn lacks(&self, unit: &Unit) -> bool {
        let env = unit.plan.imports.as_ref().and_then(|name| self.envs.iter().find(|env| env.name == *name));
        env.is_some_and(Env::broken)
    }

    /// Everything volatile is gone; what is enabled comes up again.
    pub fn reboot(&mut self) {
        self.clock.booted = self.clock.real;
        self.clock.boots += 1;
        self.jobs.clear();
        self.undos.clear();
        self.told.clear();
        self.hints.clear();
        self.due.clear();
        for toy in &mut self.toys {
            toy.fences_fall();
        }
        for n in 0..self.units.len() {
            let unit = &mut self.units[n];
            unit.power_off();
            if !unit.disabled && unit.loaded() {
                let epoch = unit.epoch;
                self.later(Ms(500 + 50 * n as u64), Due::Start { unit: n, epoch, auto: false });
            }
        }
    }
}
