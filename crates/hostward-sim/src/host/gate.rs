//! Everything that may forbid an act, as it is: sentinels, locks, people at work, the system's state.

use std::path::Path;

use hostward_core::ask::{GateQ, GateReading, LockState, Operator, SentinelState, SystemState};
use hostward_core::id::WatchId;
use hostward_core::time::Ms;

use super::Host;
use crate::scenario::{What, policy};

impl Host {
    pub(super) fn gate(&self, gate: &GateQ) -> GateReading {
        GateReading {
            sentinels: gate.sentinels.iter().map(|path| self.sentinel(path)).collect(),
            lock: gate.lock.as_deref().map(|path| self.lock(path)),
            operators: gate.trees.iter().filter_map(|tree| self.operator(tree)).collect(),
            system: self.system(),
            old_actors: gate
                .replaces
                .iter()
                .filter(|unit| {
                    self.active.any(|what| matches!(what, What::OldActor(app) if policy::old_actor(app) == **unit))
                })
                .cloned()
                .collect(),
            rivals: gate
                .textfile
                .iter()
                .filter(|_| self.active.any(|what| *what == What::Rival))
                .map(|file| file.with_file_name("old.prom"))
                .collect(),
            unreachable: gate
                .reach
                .as_ref()
                .filter(|_| self.active.any(|what| *what == What::Unreachable))
                .map(|reach| format!("{reach} does not answer").into()),
        }
    }

    fn sentinel(&self, path: &Path) -> SentinelState {
        let of = |name: &str| match name.strip_prefix("app.") {
            Some(app) => policy::app_sentinel(app),
            None => policy::sentinel(&WatchId::new(name)),
        };
        let state = self.active.find(|what| match what {
            What::NoHostSentinel => (path == Path::new(policy::HOST_SENTINEL)).then_some(SentinelState::Absent),
            What::NoSentinel(name) => (of(name) == path).then_some(SentinelState::Absent),
            What::BadSentinel(name) => (of(name) == path).then_some(SentinelState::NotRoots),
            _ => None,
        });
        state.unwrap_or(SentinelState::Present)
    }

    fn lock(&self, path: &Path) -> LockState {
        let held = self.active.0.iter().find_map(|(_, what, since)| match what {
            What::DeployLock(app) if policy::lock(app) == path => Some(LockState::Held {
                pid: Some(4711),
                command: Some("deploy.sh".into()),
                age: Some(self.clock.real.saturating_sub(*since)),
            }),
            What::LockUnreadable(app) if policy::lock(app) == path => Some(LockState::Unreadable("EACCES".into())),
            _ => None,
        });
        held.unwrap_or(LockState::Free)
    }

    fn operator(&self, tree: &Path) -> Option<Operator> {
        self.active.0.iter().find_map(|(_, what, since)| match what {
            What::Operator(env) if tree.starts_with(policy::tree(env)) => Some(Operator {
                pid: 4712,
                command: "pip install -r requirements.lock".into(),
                age: Some(self.clock.real.saturating_sub(*since)),
            }),
            _ => None,
        })
    }

    fn system(&self) -> SystemState {
        let boots = self.clock.boots > 1 && self.clock.up() < Ms::secs(20);
        let said = self.active.find(|what| match what {
            What::System(state) => Some(*state),
            _ => None,
        });
        said.unwrap_or(if boots { SystemState::Starting } else { SystemState::Running })
    }
}
