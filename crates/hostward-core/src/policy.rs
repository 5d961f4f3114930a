//! What the operator declared, after every check. Built by hostward-config; the core only reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::GateQ;
use crate::id::{AppName, Str, UnitName, WatchId};
use crate::time::Ms;
use crate::watch::Spec;

/// One whole, valid configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub host: Host,
    pub apps: BTreeMap<AppName, App>,
    pub watches: BTreeMap<WatchId, Watch>,
}

/// `[host]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The file whose presence permits any act at all.
    pub sentinel: PathBuf,
    /// No watch may do more than this.
    pub mode: Mode,
    /// A verdict stands this long before anything follows it, so that nobody's restart by hand is raced.
    pub settle: Ms,
    pub budget: Budget,
    /// `metrics.textfile`: looked at for rivals, and written by the daemon.
    pub textfile: Option<PathBuf>,
}

impl Default for Host {
    fn default() -> Self {
        Host {
            sentinel: PathBuf::from("/etc/hostward/enabled"),
            mode: Mode::Act,
            settle: Ms::secs(1),
            budget: Budget { cost: 12, per: Ms::hours(1) },
            textfile: None,
        }
    }
}

/// What all plans together may cost in a rolling window: restart 1, reconcile 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub cost: u32,
    pub per: Ms,
}

/// How far a watch may go. Ordered: the lesser of host and watch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Judge, plan, report. Never act.
    Observe,
    /// Prepare the plan and wait for the operator.
    Propose,
    Act,
}

impl Mode {
    pub fn label(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Propose => "propose",
            Mode::Act => "act",
        }
    }
}

/// `[app.NAME]`: what its watches have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// A foreign deploy script's flock: while it is held, none of the app's watches acts.
    pub lock: Option<PathBuf>,
    pub sentinel: Option<PathBuf>,
    /// Old actors that must be off before we act.
    pub replaces: Vec<UnitName>,
    /// The application's tree, where an operator's pip or git means hands off.
    pub tree: Option<PathBuf>,
}

/// One watch: what all kinds have in common, and its own part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub app: Option<AppName>,
    pub mode: Mode,
    pub sentinel: Option<PathBuf>,
    /// `metrics.compat`: the prefix of an existing fleet's family, exported beside ours.
    pub compat: Option<Str>,
    pub brakes: Brakes,
    /// Watches whose targets it cannot do without, beside those that its kind knows of.
    #[serde(default)]
    pub needs: Vec<WatchId>,
    /// `tcp:HOST:PORT` of what its remedies cannot do without.
    #[serde(default)]
    pub reach: Option<Str>,
    pub spec: Spec,
}

impl Watch {
    /// What the names begin with that it exports for an existing fleet: nobody else may export them.
    fn families(&self) -> Vec<Str> {
        let Some(compat) = &self.compat else { return Vec::new() };
        let beside = |suffix: &str, names: &[&str]| -> Vec<Str> {
            let fleet = compat.strip_suffix(suffix).into_iter();
            fleet.flat_map(|fleet| names.iter().map(move |rest| format!("{fleet}_{rest}").into())).collect()
        };
        let storage = beside("_storage_hotpath_auto_recover", &["tiering", "storagebox_mount", "systemd_unit"]);
        let jobs = beside("_crawl_auto_recover", &["worker", "crawl", "jobs_pending_crawl"]);
        std::iter::once(compat.clone()).chain(storage).chain(jobs).collect()
    }
}

/// How often a target may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brakes {
    /// After an attempt; doubles with each that did not clear.
    pub cooldown: Ms,
    /// Where the doubling ends, and the pace of the single trials past a daily cap.
    pub plateau: Ms,
    /// Hard: every attempt counts.
    pub per_hour: u32,
    /// Counts attempts that did not clear, or relapsed within an hour.
    pub per_day: u32,
    /// A cleared target must stay up this long before the attempt counts as cleared.
    pub soak: Ms,
}

impl Policy {
    pub fn mode(&self, watch: &Watch) -> Mode {
        self.host.mode.min(watch.mode)
    }

    pub fn app(&self, watch: &Watch) -> Option<&App> {
        watch.app.as_ref().and_then(|name| self.apps.get(name))
    }

    /// What must be looked up before this watch may act.
    pub fn gate(&self, watch: &Watch) -> GateQ {
        let app = self.app(watch);
        let sentinels = [Some(&self.host.sentinel), app.and_then(|a| a.sentinel.as_ref()), watch.sentinel.as_ref()];
        let mut trees: Vec<PathBuf> = app.and_then(|a| a.tree.clone()).into_iter().collect();
        trees.extend(watch.spec.trees());
        trees.sort();
        trees.dedup();
        GateQ {
            sentinels: sentinels.into_iter().flatten().cloned().collect(),
            lock: app.and_then(|a| a.lock.clone()),
            trees,
            replaces: app.map(|a| a.replaces.clone()).unwrap_or_default(),
            textfile: self.host.textfile.clone(),
            families: watch.families(),
            reach: watch.reach.clone(),
        }
    }
}
