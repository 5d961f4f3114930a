//! Environments and toys: what is mended by commands.

use std::path::{Path, PathBuf};

use hostward_core::ask::{Interpreter, PythonReading, Unmet};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use hostward_core::watch::toy::ToyReading;

use crate::scenario::{self, policy};

#[derive(Clone, Debug)]
pub struct Env {
    pub name: String,
    pub venv: PathBuf,
    pub missing: bool,
    pub gone: bool,
    /// Wall clock: files have no other.
    pub touched: Ms,
    pub revision: u32,
    /// How long its commands take.
    pub takes: Ms,
    /// Since when it is not as declared.
    pub down_since: Option<Ms>,
}

impl Env {
    pub fn new(plan: &scenario::Env, wall: Ms) -> Env {
        Env {
            name: plan.name.clone(),
            venv: policy::venv(&plan.name),
            missing: false,
            gone: false,
            touched: wall.saturating_sub(Ms::hours(5)),
            revision: 1,
            takes: plan.takes,
            down_since: None,
        }
    }

    pub fn broken(&self) -> bool {
        self.missing || self.gone
    }

    pub fn reading(&self) -> PythonReading {
        let unmet = Unmet { name: "slowapi".into(), wanted: "==0.1.9".into(), found: None };
        let gone = || Interpreter::Gone("bin/python leads nowhere".into());
        PythonReading {
            interpreter: if self.gone { gone() } else { Interpreter::Version("3.11".into()) },
            installed: 41,
            required: 42,
            unmet: if self.missing { vec![unmet] } else { Vec::new() },
            unmet_total: u32::from(self.missing),
            touched: self.touched,
            revision: Some(format!("{:07x}", self.revision).into()),
            wants_digest: format!("{:064x}", self.revision).into(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Toy {
    pub name: String,
    pub root: PathBuf,
    pub holder: Option<String>,
    pub keys: Vec<Key>,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub key: Str,
    pub broken: bool,
    pub fenced: bool,
    pub down_since: Option<Ms>,
}

impl Toy {
    pub fn new(plan: &scenario::Toy) -> Toy {
        let key = |n| Key { key: policy::key(&plan.name, n), broken: false, fenced: false, down_since: None };
        Toy {
            name: plan.name.clone(),
            root: policy::root(&plan.name),
            holder: plan.holder.clone(),
            keys: (0..plan.keys).map(key).collect(),
        }
    }

    pub fn reading(&self, keys: &[Str]) -> ToyReading {
        let named = |is: fn(&Key) -> bool| {
            self.keys.iter().filter(|key| keys.contains(&key.key) && is(key)).map(|key| key.key.clone()).collect()
        };
        ToyReading { broken: named(|key| key.broken), fenced: named(|key| key.fenced), holder: None }
    }

    pub fn fenced_at(&self, path: &Path) -> bool {
        self.keys.iter().any(|key| key.fenced && self.root.join(&*key.key) == path)
    }

    pub(super) fn at(&mut self, path: &Path) -> Option<&mut Key> {
        let root = self.root.clone();
        self.keys.iter_mut().find(|key| root.join(&*key.key) == path)
    }

    /// A fence is a tmpfs: no reboot keeps it.
    pub(super) fn fences_fall(&mut self) {
        self.keys.iter_mut().for_each(|key| key.fenced = false);
    }
}
