//! The truth about each target, as nobody on the host knows it: is it well, and since when not.

use hostward_core::id::TargetId;
use hostward_core::time::Ms;

use crate::host::Host;
use crate::scenario::{Scenario, policy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Unit(usize),
    Env(usize),
    Key(usize, usize),
}

#[derive(Clone, Debug)]
pub struct Truth {
    pub id: TargetId,
    pub subject: Subject,
    /// Since when it is down.
    pub down: Option<Ms>,
    /// When it was last down.
    pub last: Option<Ms>,
}

pub fn of(scenario: &Scenario) -> Vec<Truth> {
    let truth = |id, subject| Truth { id, subject, down: None, last: None };
    let units = scenario.services.iter().enumerate().filter(|(_, service)| service.watched).map(|(n, service)| {
        let id = TargetId::new(policy::service_watch(&service.name), policy::unit(&service.name).as_str());
        truth(id, Subject::Unit(n))
    });
    let envs = scenario.envs.iter().enumerate();
    let envs = envs.map(|(n, env)| truth(TargetId::new(policy::env_watch(&env.name), "python"), Subject::Env(n)));
    let toys = scenario.toys.iter().enumerate().flat_map(|(n, toy)| {
        (0..toy.keys).map(move |key| {
            let id = TargetId::new(policy::toy_watch(&toy.name), policy::key(&toy.name, key));
            truth(id, Subject::Key(n, key as usize))
        })
    });
    units.chain(envs).chain(toys).collect()
}

impl Truth {
    pub fn look(&mut self, host: &Host) {
        let now = host.clock.real;
        if self.subject.well(host) {
            self.down = None;
        } else {
            self.down.get_or_insert(now);
            self.last = Some(now);
        }
    }
}

impl Subject {
    pub fn well(self, host: &Host) -> bool {
        match self {
            Subject::Unit(n) => host.serves(n),
            Subject::Env(n) => !host.envs[n].broken(),
            Subject::Key(toy, key) => {
                let key = &host.toys[toy].keys[key];
                !key.broken && !key.fenced
            }
        }
    }
}
