//! The storage watch: hot paths that must answer, lie on what was declared, and take what is written to them.
//!
//! Each path is a target with a verdict of its own (`path`). One that is lost is mounted anew (`remedy` says by which rung,
//! `refit` in which steps), its base first when that is lost as well (`base`). Disk headroom and the manifest's own state
//! are parts beside them, told of only. (watches.md, "storage", where each number comes from.)

mod base;
mod disk;
mod path;
mod refit;
mod remedy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Draft;
use crate::ask::{
    Active, Answer, Call, ClosureReading, Connection, Fault, Look, ManifestQ, ManifestReading, Pace, PathQ,
    PathReading, PathsQ, PathsReading, Probe, Question, Reading, Write,
};
use crate::id::{Resource, Rung, Str, TargetId, UnitName};
use crate::judge::{Code, Confirm, Reason, Seen, Shown, Sight};
use crate::plan::Act;
use crate::starvation::Starvation;
use crate::time::{Ms, Now};
use crate::world::{Live, World};

pub(super) use disk::percent;
pub use disk::{Disk, Room};
pub(super) use path::is_lost;
pub use path::{Expected, Lies};
pub use remedy::{Dependent, Remedy};

/// `[storage.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub paths: Vec<HotPath>,
    pub manifest: Option<Manifest>,
    pub disks: Vec<Disk>,
    /// Default 60 s.
    pub interval: Ms,
    /// For each answer of a mount; one that takes longer is hung. Default 10 s.
    pub deadline: Ms,
    /// A "down" counts after this many looks (default 2) ...
    pub confirm_runs: u32,
    /// ... and this long (default 120 s).
    pub confirm_age: Ms,
    #[serde(default)]
    pub remedy: Remedy,
}

/// `[[storage.NAME.paths]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotPath {
    pub asked: PathQ,
    pub expected: Expected,
}

/// `[storage.NAME.manifest]`: each of its lines is a path that must be a mount point, bound to its cold folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub asked: ManifestQ,
    pub expected: Expected,
}

/// Paths that a watch declares, and as many that its manifest names: each is judged, shown and exported.
pub const PATHS_MAX: usize = 1000;
/// While something is wrong: a mount that is stuck costs no child at all, one that is stale answers at once.
const CONFIRM_EVERY: Ms = Ms::secs(15);
/// So long a silence on a starved host is nobody's fault.
const STARVED_PATIENCE: Ms = Ms::mins(5);
/// The part that the manifest itself is. Paths begin with a slash, and parts do not.
const MANIFEST: &str = "manifest";

/// What is remembered between looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    /// Paths that the manifest named when it was last read.
    listed: BTreeSet<Str>,
    /// Since when each path that does not answer has not.
    silent: BTreeMap<Str, Now>,
    disks: BTreeMap<Str, disk::Memo>,
    #[serde(default)]
    last: Option<Last>,
}

/// What a plan is made of: the last look, of the paths only at those that were not well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Last {
    ill: BTreeMap<Str, PathReading>,
    /// What each is down for, and in how many looks it was for the same: what an operator is at work on changes.
    steady: BTreeMap<Str, (Loss, u32)>,
    under: Vec<PathReading>,
    units: Vec<(UnitName, Result<Active, Fault>)>,
    holders: Vec<(UnitName, Result<ClosureReading, Fault>)>,
    connections: Vec<Connection>,
    /// Of a connection that somebody hangs on, by its device: a path that answers all the same.
    #[serde(default)]
    answering: BTreeMap<Str, PathBuf>,
}

/// Reasons that stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Loss {
    /// What is mounted there is dead.
    Dead,
    Missing,
    Other,
}

impl Loss {
    fn of(code: Code) -> Loss {
        match code {
            Code::Stale | Code::Hung => Loss::Dead,
            Code::Missing => Loss::Missing,
            _ => Loss::Other,
        }
    }
}

impl Memo {
    /// errno(3) of the call that failed at the last look at a path; 0: none did. None: it did not come back.
    pub fn errno(&self, key: &str) -> Option<i32> {
        match self.last.as_ref()?.ill.get(key).map(|seen| &seen.look) {
            Some(Look::Failed { errno, .. }) => Some(*errno),
            Some(Look::Answered(_)) | None => Some(0),
            Some(Look::Stuck { .. } | Look::Unasked(_)) => None,
        }
    }

    /// The units that keep its mounts, of which it is known whether they run.
    pub fn bases(&self) -> Vec<(UnitName, Active)> {
        let units = self.last.iter().flat_map(|last| &last.units);
        units.filter_map(|(unit, state)| Some((unit.clone(), *state.as_ref().ok()?))).collect()
    }

    /// What the last look at a disk found.
    pub fn room(&self, key: &str) -> Option<Room> {
        self.disks.get(key)?.room()
    }
}

/// What is told of beside the paths.
pub(super) fn is_part(key: &str) -> bool {
    !key.starts_with('/')
}

fn key(path: &Path) -> Str {
    path.display().to_string().into()
}

impl Spec {
    pub(super) fn probes(&self) -> Vec<Probe> {
        let refreshed = self.remedy.dependents.iter().map(|dependent| &dependent.unit);
        let question = PathsQ {
            paths: self.paths.iter().map(|path| path.asked.clone()).collect(),
            manifest: self.manifest.as_ref().map(|manifest| manifest.asked.clone()),
            disks: self.disks.iter().map(|disk| disk.path.clone()).collect(),
            units: self.bases().chain(refreshed).cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            holders: self.remedy.holders.clone(),
        };
        vec![Probe {
            question: Arc::new(Question::Paths(question)),
            pace: self.pace(),
            deadline: self.deadline * PathsQ::PASS,
        }]
    }

    pub(super) fn pace(&self) -> Pace {
        Pace { every: self.interval, confirm_every: CONFIRM_EVERY.min(self.interval) }
    }

    /// The units that make its mounts.
    pub fn bases(&self) -> impl Iterator<Item = &UnitName> {
        let declared = self.paths.iter().map(|path| &path.expected);
        declared.chain(self.manifest.iter().map(|manifest| &manifest.expected)).filter_map(|e| e.base.as_ref())
    }

    /// What is bound comes from somewhere: if another watch keeps that, it comes first.
    pub(super) fn needs(&self) -> Vec<Resource> {
        let cold = self.paths.iter().filter_map(|path| path.asked.bind.clone()).map(Resource::Path);
        self.bases().cloned().map(Resource::Unit).chain(cold).collect()
    }

    pub(super) fn provides(&self) -> Vec<Resource> {
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.asked.roots);
        self.paths.iter().map(|path| &path.asked.path).chain(listed).cloned().map(Resource::Path).collect()
    }

    pub(super) fn rungs() -> Vec<Rung> {
        remedy::Kind::ALL.map(remedy::Kind::rung).to_vec()
    }

    pub(super) fn draft(&self, world: &World, target: &TargetId, live: &Live, memo: &Memo) -> Draft {
        if is_part(&target.key) {
            return remedy::none(&target.key);
        }
        self.remedy_for(world, target, live, memo)
    }

    pub(super) fn allows(&self, act: &Act) -> bool {
        self.permits(act)
    }

    /// Nobody starts this unit while a path is lost: it would write to whatever lies beneath.
    pub fn keeps_down(&self, unit: &UnitName, reason: Code) -> bool {
        let lost = matches!(reason, Code::Stale | Code::Hung | Code::Missing | Code::WrongSource);
        lost && self.remedy.holders.contains(unit)
    }

    pub(super) fn stale_after(&self) -> Ms {
        (self.interval * 2).max(Ms::mins(2))
    }

    pub(super) fn read(&self, memo: &mut Memo, asked: Now, answer: &Answer, starvation: &Starvation) -> Vec<Sight> {
        match answer {
            Ok(Reading::Paths(reading)) => {
                // Each of a thousand is looked up among as many.
                let declared = self.paths.iter().map(|path| (&*path.asked.path, path)).collect();
                let mut sights = Vec::new();
                let mut last = Last::beside(reading);
                for seen in &reading.paths {
                    let Some((write, expected)) = self.expected(&declared, &seen.path) else { continue };
                    let key = key(&seen.path);
                    let judged = if self.starved(memo, asked, &key, &seen.look, starvation) {
                        unknown(&Fault::Timeout)
                    } else {
                        path::judge(seen, write, expected, &reading.units)
                    };
                    last.note(memo.last.as_ref(), &key, seen, &judged);
                    sights.push(self.sight(key, judged));
                }
                memo.last = Some(last);
                sights.extend(reading.disks.iter().filter_map(|seen| self.read_disk(memo, asked, seen)));
                if let Some(manifest) = &reading.manifest {
                    sights.extend(self.read_manifest(memo, manifest, reading));
                }
                sights
            }
            Ok(_) => Vec::new(),
            Err(fault) => self.keys(memo).into_iter().map(|key| self.sight(key, unknown(fault))).collect(),
        }
    }

    /// Everything that there is a verdict on.
    fn keys(&self, memo: &Memo) -> BTreeSet<Str> {
        let declared = self.paths.iter().map(|path| key(&path.asked.path));
        let disks = self.disks.iter().map(Disk::key);
        let manifest = self.manifest.iter().map(|_| MANIFEST.into());
        declared.chain(memo.listed.iter().cloned()).chain(disks).chain(manifest).collect()
    }

    fn sight(&self, key: Str, seen: Seen) -> Sight {
        let confirm = Confirm { runs: self.confirm_runs, age: self.confirm_age, quiet: None };
        Sight { key, shown: Shown::Seen(seen), confirm, fact: None }
    }

    /// None: a recording under another policy may tell of paths that this one does not declare.
    fn expected<'a>(&'a self, declared: &BTreeMap<&Path, &'a HotPath>, path: &Path) -> Option<(Write, &'a Expected)> {
        let listed = || self.manifest.as_ref().map(|manifest| (manifest.asked.write, &manifest.expected));
        declared.get(path).map(|path| (path.asked.write, &path.expected)).or_else(listed)
    }

    /// A path that is silent on a starved host says nothing of its mount. It counts after five minutes without one
    /// answer, if our own listener does answer: then it is not the host.
    fn starved(&self, memo: &mut Memo, now: Now, key: &Str, look: &Look, starvation: &Starvation) -> bool {
        if !matches!(look, Look::Stuck { .. }) {
            memo.silent.remove(key);
            return false;
        }
        let since = *memo.silent.entry(key.clone()).or_insert(now);
        let short = now.since(since) < STARVED_PATIENCE;
        starvation.starved(now).is_some() && (short || !starvation.echoes(self.deadline))
    }

    fn read_disk(&self, memo: &mut Memo, asked: Now, seen: &PathReading) -> Option<Sight> {
        let disk = self.disks.iter().find(|disk| disk.path == seen.path)?;
        let judged = match &seen.look {
            Look::Answered(space) => memo.disks.entry(disk.key()).or_default().judge(asked, *space, disk),
            Look::Failed { call, why, .. } => unknown(&Fault::Unreadable(format!("{call}: {why}").into())),
            Look::Stuck { .. } => unknown(&Fault::Timeout),
            Look::Unasked(fault) => unknown(fault),
        };
        Some(self.sight(disk.key(), judged))
    }

    /// What is wrong with the manifest is a part's condition: the paths that it does name are watched all the same. A
    /// path that it names no more is gone; one of a manifest that cannot be read is not to be known.
    fn read_manifest(&self, memo: &mut Memo, read: &ManifestReading, all: &PathsReading) -> Vec<Sight> {
        let paths = &all.paths;
        let known: BTreeSet<&Path> = self.paths.iter().map(|path| &*path.asked.path).collect();
        let declared = |path: &Path| known.contains(path);
        let listed: BTreeSet<Str> =
            paths.iter().filter(|seen| !declared(&seen.path)).map(|seen| key(&seen.path)).collect();
        let before = memo.listed.iter().filter(|key| !listed.contains(*key)).cloned();
        let mut sights: Vec<Sight> = match &read.unread {
            Some(fault) => before.map(|key| self.sight(key, unknown(fault))).collect(),
            None => before.map(|key| Sight { shown: Shown::Gone, ..self.sight(key, Seen::Up) }).collect(),
        };
        sights.push(self.sight(MANIFEST.into(), self.judge_manifest(read, all)));
        if read.unread.is_none() {
            memo.silent.retain(|key, _| listed.contains(key) || declared(Path::new(&**key)));
            memo.listed = listed;
        }
        sights
    }

    fn judge_manifest(&self, read: &ManifestReading, all: &PathsReading) -> Seen {
        let file = self.manifest.as_ref().map_or_else(String::new, |m| m.asked.file.display().to_string());
        let down = |detail: String| Seen::Down(Reason::new(Code::Config, detail));
        match (&read.unread, read.refused.first()) {
            (Some(Fault::Config(why)), _) => down(format!("{file}: {why}")),
            (Some(fault), _) => unknown(fault),
            (None, Some(first)) => {
                let more = match read.refused_total {
                    0 | 1 => String::new(),
                    n => format!("; {} more lines are refused", n - 1),
                };
                down(format!("{file}:{}: {}{more}", first.line, first.why))
            }
            (None, None) if read.entries == 0 => down(format!("{file} names no path")),
            (None, None) => match self.forgotten(all) {
                Some(fence) => {
                    let path = fence.display();
                    down(format!("{path} is closed by our fence, and named no more: `umount -l {path}` opens it"))
                }
                None => Seen::Up,
            },
        }
    }

    /// A fence of ours where the manifest once named a path: no plan lifts it.
    fn forgotten<'a>(&self, all: &'a PathsReading) -> Option<&'a Path> {
        let named = |fence: &&PathBuf| {
            let points = self.paths.iter().map(HotPath::point);
            all.paths.iter().map(|seen| &*seen.path).chain(points).any(|path| *path == ***fence)
        };
        let lost = |fence: &&PathBuf| self.lists(fence) && !named(fence) && !self.is_point_of_base(fence);
        all.fences.iter().find(lost).map(PathBuf::as_path)
    }
}

impl Last {
    fn beside(reading: &PathsReading) -> Last {
        Last {
            ill: BTreeMap::new(),
            steady: BTreeMap::new(),
            under: reading.under.clone(),
            units: reading.units.clone(),
            holders: reading.holders.clone(),
            connections: reading.connections.clone(),
            answering: answering(reading),
        }
    }

    fn note(&mut self, before: Option<&Last>, key: &Str, seen: &PathReading, judged: &Seen) {
        if *judged == Seen::Up {
            return;
        }
        self.ill.insert(key.clone(), seen.clone());
        if let Seen::Down(reason) = judged {
            let loss = Loss::of(reason.code);
            let known = before.and_then(|last| last.steady.get(key)).filter(|(known, _)| *known == loss);
            let looks = known.map_or(1, |(_, looks)| looks.saturating_add(1));
            self.steady.insert(key.clone(), (loss, looks));
        }
    }
}

/// Of each connection that somebody hangs on, a path that its server answered for.
fn answering(reading: &PathsReading) -> BTreeMap<Str, PathBuf> {
    let hung = |device: &Str| reading.connections.iter().any(|connection| connection.device == *device);
    let answered = |seen: &&PathReading| {
        let written = matches!(seen.look, Look::Failed { call: Call::Access | Call::Write, .. });
        !seen.fenced && (matches!(seen.look, Look::Answered(_)) || written && path::dead(seen).is_none())
    };
    let device = |seen: &PathReading| Some((seen.on.as_ref()?.device.clone(), seen.path.clone()));
    let answered = reading.paths.iter().chain(&reading.under).filter(answered).filter_map(device);
    answered.filter(|(device, _)| hung(device)).collect()
}

fn runs(state: &Result<Active, Fault>) -> bool {
    matches!(state, Ok(Active::Active | Active::Reloading))
}

fn unknown(fault: &Fault) -> Seen {
    Seen::Unknown(fault.clone())
}

#[cfg(test)]
mod tests;
