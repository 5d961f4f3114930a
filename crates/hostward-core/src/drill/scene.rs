//! The host that is played: its mounts as they were seen, but for those that are lost by now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Wound;
use crate::ask::{
    Active, Answer, Call, ClosureReading, Connection, Fault, GateReading, LockState, Look, Mount, On, PathQ,
    PathReading, PathsQ, PathsReading, Question, Reading, SentinelState, Space, SystemState, UnitReading, Write,
};
use crate::id::{Str, UnitName};
use crate::plan::Act;
use crate::run::Outcome;
use crate::time::{Ms, Now};

/// errno(3), "Transport endpoint is not connected": what a mount without its server says.
const ENOTCONN: i32 = 107;
const EROFS: i32 = 30;
/// No device has this number: what was mounted before the mount that is there now.
const FORMER: &str = "0:0";

/// How a mount point differs from what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lost {
    /// Its server is gone; whether what is mounted is an older mount than the one that was seen.
    Dead {
        former: bool,
    },
    Hangs,
    /// Nothing is mounted there.
    Bare,
}

#[derive(Debug)]
pub(super) struct Scene {
    seen: PathsReading,
    lost: BTreeMap<PathBuf, Lost>,
    fenced: BTreeSet<PathBuf>,
    stopped: BTreeSet<UnitName>,
    /// When each unit was started last.
    started: BTreeMap<UnitName, Ms>,
}

impl Scene {
    pub(super) fn new(seen: PathsReading) -> Scene {
        let fenced = seen.paths.iter().filter(|seen| seen.fenced).map(|seen| seen.path.clone()).collect();
        let (lost, stopped, started) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Scene { seen, lost, fenced, stopped, started }
    }

    /// What is bound there alone is taken to be bound from an older mount; a mount of its own takes all that is bound from
    /// it along, and so does what hangs.
    pub(super) fn lose(&mut self, path: &Path, wound: Wound) {
        let Some(reading) = self.find(path) else { return };
        let point = reading.on.as_ref().map_or(path, |on| &on.point).to_owned();
        let bound = reading.cold.is_some();
        match wound {
            Wound::Missing => self.set([point], &Lost::Bare),
            Wound::Stale if bound => self.set([point], &Lost::Dead { former: true }),
            Wound::Stale => self.set(self.sharing(&point), &Lost::Dead { former: false }),
            Wound::Hung => self.set(self.sharing(&point), &Lost::Hangs),
        }
    }

    fn set(&mut self, points: impl IntoIterator<Item = PathBuf>, lost: &Lost) {
        self.lost.extend(points.into_iter().map(|point| (point, lost.clone())));
    }

    /// Every mount point of the same device, its own first.
    fn sharing(&self, point: &Path) -> Vec<PathBuf> {
        let device = self.device(point);
        let shared = self.mounts().filter(|on| Some(&on.device) == device.as_ref()).map(|on| on.point.clone());
        let others: BTreeSet<PathBuf> = shared.filter(|other| other != point).collect();
        std::iter::once(point.to_owned()).chain(others).collect()
    }

    fn device(&self, point: &Path) -> Option<Str> {
        self.mounts().find(|on| on.point == point).map(|on| on.device.clone())
    }

    /// Those that were seen.
    fn mounts(&self) -> impl Iterator<Item = &On> {
        self.all().filter_map(|seen| seen.on.as_ref())
    }

    fn all(&self) -> impl Iterator<Item = &PathReading> {
        self.seen.paths.iter().chain(&self.seen.under)
    }

    fn find(&self, path: &Path) -> Option<&PathReading> {
        self.all().find(|seen| seen.path == path)
    }

    /// It takes its deadline until there is an answer.
    pub(super) fn hangs(&self, question: &Question) -> bool {
        let Question::Paths(q) = question else { return false };
        let hangs = |path: &Path| {
            let point = self.find(path).and_then(|seen| seen.on.as_ref()).map_or(path, |on| &on.point);
            self.lost.get(point) == Some(&Lost::Hangs)
        };
        q.paths.iter().any(|q| hangs(&q.path))
    }

    pub(super) fn answer(&self, question: &Question, now: Now) -> Answer {
        Ok(match question {
            Question::Paths(q) => Reading::Paths(Box::new(self.paths(q))),
            Question::Mount(path) => Reading::Mount(self.mount(path)),
            Question::Unit(unit) => Reading::Unit(Box::new(self.unit(unit, now))),
            Question::Closure(unit) => Reading::Closure(self.closure(unit)?),
            Question::Gate(q) => Reading::Gate(GateReading {
                sentinels: vec![SentinelState::Present; q.sentinels.len()],
                lock: q.lock.as_ref().map(|_| LockState::Free),
                system: SystemState::Running,
                ..GateReading::default()
            }),
            _ => return Err(Fault::Probe("a drill knows of storage only".into())),
        })
    }

    fn paths(&self, q: &PathsQ) -> PathsReading {
        let one = q.paths.len() == 1 && self.seen.paths.len() != 1;
        // A proof's question is of one path; the watch's own is of all that was seen, the manifest's included.
        let asked = |seen: &&PathReading| !one || q.paths.iter().any(|q| q.path == seen.path);
        let paths: Vec<PathReading> =
            self.seen.paths.iter().filter(asked).map(|seen| self.look(seen, write(q, &seen.path))).collect();
        let under = self.seen.under.iter();
        let known = |path: &Path| paths.iter().any(|seen| seen.path == path);
        let others = under.clone().filter(|seen| one && asked(seen) && !known(&seen.path));
        let others: Vec<PathReading> = others.map(|seen| self.look(seen, Write::Never)).collect();
        let holders = self.seen.holders.iter().map(|(unit, _)| (unit.clone(), self.closure(unit)));
        PathsReading {
            paths: paths.into_iter().chain(others).collect(),
            under: under.map(|seen| self.look(seen, Write::Never)).collect(),
            units: self.seen.units.iter().map(|(unit, state)| (unit.clone(), self.active(unit, state))).collect(),
            holders: holders.collect(),
            connections: self.connections(),
            ..self.seen.clone()
        }
    }

    fn look(&self, seen: &PathReading, write: Write) -> PathReading {
        let point = seen.on.as_ref().map_or(&seen.path, |on| &on.point);
        let mut now = seen.clone();
        now.fenced = self.fenced.contains(&seen.path);
        now.bind = seen.bind.as_ref().map(|on| self.place(on));
        let failed = |call, errno, why: &str| Look::Failed { call, errno, why: why.into() };
        match self.lost.get(point) {
            None => {}
            Some(Lost::Dead { former }) => {
                now.look = failed(Call::Statvfs, ENOTCONN, "Transport endpoint is not connected");
                if let (true, Some(on)) = (former, &mut now.on) {
                    on.device = FORMER.into();
                }
            }
            Some(Lost::Hangs) => now.look = Look::Stuck { at: seen.path.clone(), age: Ms::secs(10) },
            Some(Lost::Bare) => {
                now.look = Look::Answered(Space::default());
                now.on = now.on.as_ref().map(|on| self.place(on));
            }
        }
        if now.fenced {
            now.look = match write {
                Write::Never => Look::Answered(Space::default()),
                Write::Access | Write::Canary => failed(Call::Write, EROFS, "Read-only file system"),
            };
        }
        now
    }

    /// Where what lay on this mount lies now: where nothing is mounted, on the disk beneath.
    fn place(&self, on: &On) -> On {
        if self.lost.get(&on.point) != Some(&Lost::Bare) {
            return on.clone();
        }
        let beneath = Path::new("/");
        let (device, source, fstype) = ("0:1".into(), "the disk beneath".into(), "?".into());
        On {
            id: 0,
            point: beneath.into(),
            device,
            source,
            fstype,
            folder: on.point.clone(),
            waiting: None,
            read_only: false,
        }
    }

    fn connections(&self) -> Vec<Connection> {
        let hung = self.lost.iter().filter(|(_, lost)| **lost == Lost::Hangs).map(|(point, _)| point);
        let mut found: Vec<Connection> = Vec::new();
        for point in hung {
            let Some(device) = self.device(point) else { continue };
            match found.iter_mut().find(|other| other.device == device) {
                Some(other) => other.points.push(point.clone()),
                None => found.push(Connection { device, points: vec![point.clone()] }),
            }
        }
        found
    }

    fn mount(&self, path: &Path) -> Option<Mount> {
        if self.fenced.contains(path) {
            return Some(Mount { source: Mount::FENCE.into(), fstype: "tmpfs".into(), read_only: true });
        }
        let mut mounts = self.mounts();
        let on = mounts.find(|on| on.point == path).filter(|_| self.lost.get(path) != Some(&Lost::Bare))?;
        Some(Mount { source: on.source.clone(), fstype: on.fstype.clone(), read_only: on.read_only })
    }

    fn active(&self, unit: &UnitName, seen: &Result<Active, Fault>) -> Result<Active, Fault> {
        match seen {
            _ if self.stopped.contains(unit) => Ok(Active::Inactive),
            _ if self.started.contains_key(unit) => Ok(Active::Active),
            seen => seen.clone(),
        }
    }

    fn closure(&self, unit: &UnitName) -> Result<ClosureReading, Fault> {
        let found = self.seen.holders.iter().find(|(holder, _)| holder == unit);
        let Some((_, seen)) = found else { return Err(Fault::Probe("nobody asked for it".into())) };
        let seen = seen.clone()?;
        let members = seen.members.iter().filter(|member| !self.stopped.contains(*member)).cloned().collect();
        Ok(ClosureReading { active: seen.active && !self.stopped.contains(unit), members, ..seen })
    }

    fn unit(&self, unit: &UnitName, now: Now) -> UnitReading {
        let seen = self.seen.units.iter().find(|(other, _)| other == unit).map(|(_, state)| state);
        let state = seen.map_or(Ok(Active::Active), |seen| self.active(unit, seen));
        let active = if self.stopped.contains(unit) { Active::Inactive } else { state.unwrap_or(Active::Active) };
        // Since before the drill, when it was not started in it.
        let started = self.started.get(unit).copied().unwrap_or(Ms::secs(1)).min(now.up);
        UnitReading { active, ..UnitReading::service(started) }
    }

    /// Each act succeeds, and does what it says.
    pub(super) fn act(&mut self, act: &Act, now: Now) -> Outcome {
        match act {
            Act::Stop(stop) => self.stopped.extend(stop.units().cloned()),
            Act::Start(units) => units.iter().for_each(|unit| self.start(unit, now)),
            Act::Restart(unit) => {
                self.start(unit, now);
                self.restore(|seen| seen.cold.is_none());
            }
            Act::Abort(abort) => {
                let freed = abort.points.iter().chain([&abort.path]).cloned();
                self.set(freed, &Lost::Dead { former: false });
            }
            Act::Unmount(unmount) => {
                self.set([unmount.path.clone()], &Lost::Bare);
                self.fenced.insert(unmount.path.clone());
            }
            Act::Bind(bind) => {
                self.fenced.remove(&bind.hot);
                self.lost.remove(&bind.hot);
            }
            // The operator's own commands mount what is missing; those of a smoke test find nothing to mount.
            Act::Command(_) => self.restore(|seen| seen.cold.is_some()),
            Act::Fence(path) => drop(self.fenced.insert(path.clone())),
            Act::Unfence(path) => drop(self.fenced.remove(path)),
            Act::Gather(_) | Act::Launch(_) => {}
        }
        Outcome::Ok
    }

    fn start(&mut self, unit: &UnitName, now: Now) {
        self.stopped.remove(unit);
        self.started.insert(unit.clone(), now.up);
    }

    /// What was bare is mounted again, of those that are so.
    fn restore(&mut self, so: impl Fn(&PathReading) -> bool) {
        let points: BTreeSet<PathBuf> =
            self.all().filter(|seen| so(seen)).filter_map(|seen| Some(seen.on.as_ref()?.point.clone())).collect();
        self.lost.retain(|point, lost| *lost != Lost::Bare || !points.contains(point));
    }
}

fn write(q: &PathsQ, path: &Path) -> Write {
    let of = |q: &PathQ| q.write;
    let listed = || q.manifest.as_ref().map_or(Write::Never, |manifest| manifest.write);
    q.paths.iter().find(|q| q.path == path).map_or_else(listed, of)
}
