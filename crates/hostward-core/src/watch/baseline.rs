//! The baseline watch: an environment that must hold what its lock file says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::{PythonQ, WantList};
use crate::id::{Str, UnitName, WatchId};
use crate::time::Ms;

/// `[baseline.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub python: PythonQ,
    /// Default 5 min. A pass older than two of these is Unknown.
    pub interval: Ms,
    /// Drift counts after two passes over a tree that was quiet this long. Default 60 s.
    pub quiet: Ms,
    /// The same while a unit of the app is down. Default 20 s.
    pub urgent_quiet: Ms,
    pub reconcile: Option<Reconcile>,
}

/// `[baseline.NAME.reconcile]`: rebuild the environment of the deployed revision. Never pulls, never migrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The operator's commands, in order; each must use the declared lock and start with an absolute path.
    pub run: Vec<Vec<Str>>,
    /// Whom they run as. Default root.
    pub user: Option<Str>,
    pub dir: Option<PathBuf>,
    /// For each command. Default 15 min.
    pub deadline: Ms,
    pub when: When,
    /// `then.restart`: those that are down are restarted afterwards.
    pub restart: Vec<UnitName>,
    /// `then.prove`: the watch that must be up at the end.
    pub prove: Option<WatchId>,
    /// How long that may take. Default 2 min.
    pub prove_within: Ms,
}

/// When a drift may be reconciled in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Only while a unit of the app is down: installing below a healthy one could break it.
    #[default]
    UnitDown,
    AnyDrift,
}

impl Spec {
    /// Where an operator's pip or git would be at work: the tree, the environment, and the lock's directory.
    pub fn trees(&self) -> Vec<PathBuf> {
        let mut trees = vec![self.python.venv.clone()];
        trees.extend(self.python.tree.clone());
        trees.extend(self.python.wants.iter().filter_map(|want| match want {
            WantList::Requirements(file) | WantList::UvLock(file) | WantList::Pyproject(file) => {
                file.parent().map(PathBuf::from)
            }
            WantList::Inline(_) => None,
        }));
        trees
    }
}
