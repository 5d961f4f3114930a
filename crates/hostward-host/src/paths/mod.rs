//! Hot paths, looked at so that none can wedge the daemon: where each lies is read from PID 1's mountinfo, which never
//! hangs, and the touching is left to disposable children, one a mount at a time.
//!
//! Invariants: this process touches no watched path; a child is killed at its deadline and its end is not awaited; while
//! one that was killed has not ended, its mount is stuck, and no other child is started for it. Rules: safety.md; watches.md,
//! "storage".

mod asks;
mod below;
mod lanes;
mod look;
mod looker;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostward_core::ask::{Connection, Fault, Look, ManifestQ, On, PathQ, PathReading, PathsQ, PathsReading, Write};
use hostward_core::time::Ms;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::fuse;
use crate::mounts::{MountInfo, OF_PID_1, Table};
use lanes::Lanes;
use looker::{End, Looker};
use manifest::Listed;

pub(crate) use asks::{Ask, Said};
pub use asks::{SUBCOMMAND, answer_stdin};
pub(crate) use below::{Links, open_below};

/// Mounts that bound folders come from: a host has a handful.
const UNDER_MAX: usize = 64;
/// Mounts that are asked at once, each with its child of about 3 MiB.
const AT_ONCE: usize = 4;
/// Paths of one mount that are seen to hang in one pass, each for as long as an answer may take.
const HANGS_MAX: usize = 4;

/// Asks children, `program __look`.
#[derive(Clone, Debug)]
pub struct Lookers {
    program: PathBuf,
    lanes: Lanes,
    places: Arc<Semaphore>,
}

/// How long things may take: each answer of a child, and the whole pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) answer: Duration,
    pub(crate) until: Instant,
}

/// What came of one thing that a child was asked.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Said(Said),
    Stuck { at: PathBuf, age: Ms },
    Unasked(Fault),
}

/// Whose children: what one kind of question hangs on must not make another's look hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Paths,
    /// A job's files may lie behind links into any other file system.
    Jobs,
}

impl Lookers {
    pub fn new(program: PathBuf) -> Lookers {
        Lookers { program, lanes: Lanes::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Mounts whose killed child has not ended: each hangs in the kernel.
    pub fn stuck(&self) -> usize {
        self.lanes.stuck()
    }

    /// One pass over everything, but for the units, which the bus knows. `deadline` is the pass's.
    ///
    /// Cancel-safe: dropped, it kills its children.
    pub async fn ask(&self, q: &PathsQ, deadline: Duration) -> PathsReading {
        let pass = u32::try_from(PathsQ::PASS).unwrap_or(1);
        let limits = Limits { answer: deadline / pass, until: Instant::now() + deadline };
        let table = mounted().await;
        let listed = match &q.manifest {
            Some(manifest) => Some(self.list(q, manifest, table.as_ref(), limits).await),
            None => None,
        };
        let hot = listed.iter().zip(&q.manifest).flat_map(|(listed, q)| {
            listed.pairs.iter().map(|(cold, hot)| PathQ {
                path: hot.clone(),
                bind: Some(cold.clone()),
                user: q.user.clone(),
                write: q.write,
            })
        });
        let disk = |path: &PathBuf| PathQ { path: path.clone(), bind: None, user: None, write: Write::Never };
        let mut asked: Vec<PathQ> = q.paths.iter().cloned().chain(hot).collect();
        let paths = asked.len();
        asked.extend(under(table.as_ref(), &asked));
        let beside = asked.len();
        asked.extend(q.disks.iter().map(disk));
        let mut readings = self.look(asked, table.as_ref(), limits).await;
        let after = mounted().await;
        for seen in &mut readings {
            unsettle(seen, table.as_ref(), after.as_ref());
        }
        let disks = readings.split_off(beside);
        let fences = table.iter().flat_map(Table::fences).map(Path::to_owned).collect();
        let connections = table.map_or_else(Vec::new, |table| hanging(&table, &readings));
        let under = readings.split_off(paths);
        let manifest = listed.map(|listed| listed.reading);
        let (units, holders) = (Vec::new(), Vec::new());
        PathsReading { paths: readings, manifest, disks, units, holders, under, connections, fences }
    }

    async fn list(&self, q: &PathsQ, manifest: &ManifestQ, table: Option<&Table>, limits: Limits) -> Listed {
        let declared = q.paths.iter().map(|path| path.path.clone()).collect();
        let asked = vec![Ask::Manifest(manifest.clone(), declared)];
        match self.hear(For::Paths, asked, table, limits).await.pop() {
            Some(Heard::Said(Said::Manifest(listed))) => listed,
            Some(Heard::Unasked(fault)) => Listed::unread(fault),
            _ => Listed::unread(Fault::Timeout),
        }
    }

    async fn look(&self, asked: Vec<PathQ>, table: Option<&Table>, limits: Limits) -> Vec<PathReading> {
        let readings: Vec<PathReading> = asked.iter().map(|q| placed(table, q)).collect();
        let heard = self.hear(For::Paths, asked.into_iter().map(Ask::Path).collect(), table, limits).await;
        readings.into_iter().zip(heard).map(|(reading, heard)| PathReading { look: seen(heard), ..reading }).collect()
    }

    /// What came of each, in their order. All that lie on one file system share a child; file systems are asked beside
    /// each other.
    pub(crate) async fn hear(&self, of: For, asked: Vec<Ask>, table: Option<&Table>, limits: Limits) -> Vec<Heard> {
        let mut groups: BTreeMap<String, Vec<(usize, Ask)>> = BTreeMap::new();
        let mut heard = vec![Heard::Unasked(Fault::Probe("its look was lost".into())); asked.len()];
        for (n, ask) in asked.into_iter().enumerate() {
            groups.entry(lane(of, table, ask.at())).or_default().push((n, ask));
        }
        let mut looks = tokio::task::JoinSet::new();
        for (lane, members) in groups {
            let lookers = self.clone();
            looks.spawn(async move {
                let (places, asks): (Vec<usize>, Vec<Ask>) = members.into_iter().unzip();
                (places, lookers.hear_on(&lane, asks, limits).await)
            });
        }
        while let Some(done) = looks.join_next().await {
            let Ok((places, found)) = done else { continue };
            for (n, found) in places.into_iter().zip(found) {
                if let Some(heard) = heard.get_mut(n) {
                    *heard = found;
                }
            }
        }
        heard
    }

    /// Those of one file system. What hangs speaks for itself: its connection may have several servers, of which one is
    /// slow. So those after it are asked by another child, a few times; whom that does not reach is taken to hang as well.
    async fn hear_on(&self, lane: &str, asks: Vec<Ask>, limits: Limits) -> Vec<Heard> {
        let mut heard: Vec<Heard> = Vec::with_capacity(asks.len());
        // One that has not ended is no news, and is not waited for.
        let children = if self.lanes.is_stuck(lane) { 1 } else { HANGS_MAX };
        let mut rest = Heard::Unasked(Fault::Timeout);
        for last in (1..=children).map(|n| n == children) {
            let left = asks.get(heard.len()..).unwrap_or_default();
            let at: Vec<PathBuf> = left.iter().map(|ask| ask.at().to_owned()).collect();
            let (said, end) = self.child(lane, &at, left, limits).await;
            heard.extend(said.into_iter().map(Heard::Said));
            rest = match end {
                End::Stuck { at, since } => Heard::Stuck { at, age: Ms(since.elapsed().as_secs() * 1000) },
                End::Failed(fault) => Heard::Unasked(fault),
                End::OutOfTime | End::Whole => Heard::Unasked(Fault::Timeout),
            };
            let hangs = matches!(rest, Heard::Stuck { .. });
            let more = hangs && heard.len() + 1 < asks.len() && Instant::now() + limits.answer <= limits.until;
            if last || !more || !self.lanes.freed(lane).await {
                break;
            }
            heard.push(rest.clone());
        }
        heard.into_iter().chain(std::iter::repeat(rest)).take(asks.len()).collect()
    }

    /// A child's answers, as far as they came, and why no more came. `at` names what it answers about, in its order.
    async fn child(&self, lane: &str, at: &[PathBuf], asks: &[Ask], limits: Limits) -> (Vec<Said>, End) {
        let nothing = |end| (Vec::new(), end);
        let turn = match self.lanes.enter(lane, limits.until).await {
            Ok(turn) => turn,
            Err(end) => return nothing(end),
        };
        // Never closed; if it were, a child more would be the least harm.
        let Ok(_place) = tokio::time::timeout_at(limits.until, self.places.acquire()).await else {
            return nothing(End::OutOfTime);
        };
        match Looker::start(&self.program, turn, asks) {
            Ok(looker) => looker.hear(at, limits).await,
            Err(fault) => nothing(End::Failed(fault)),
        }
    }
}

/// Off the loop's thread: a thousand lines take milliseconds.
async fn mounted() -> Option<Table> {
    tokio::task::spawn_blocking(|| Table::read(OF_PID_1).ok()).await.ok().flatten()
}

/// What answered may be the disk beneath a mount that went meanwhile: then nobody knows who answered.
fn unsettle(seen: &mut PathReading, before: Option<&Table>, after: Option<&Table>) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let on = |table: &Table| table.below(&seen.path).map(|mount| mount.id);
    if matches!(seen.look, Look::Answered(_)) && on(before) != on(after) {
        seen.look = Look::Unasked(Fault::Probe("what is mounted there changed during the look".into()));
    }
}

/// The mounts that bound folders come from, each once; those that are asked about anyway are left out, and the root, from
/// which nothing is bound.
fn under(table: Option<&Table>, asked: &[PathQ]) -> Vec<PathQ> {
    let Some(table) = table else { return Vec::new() };
    let paths: BTreeSet<&Path> = asked.iter().map(|q| &*q.path).collect();
    let mut found: BTreeMap<&Path, &PathQ> = BTreeMap::new();
    for q in asked {
        let point = q.bind.as_deref().and_then(|cold| table.below(cold)).map(|mount| &*mount.point);
        if let Some(point) = point.filter(|point| *point != Path::new("/") && !paths.contains(point)) {
            found.entry(point).or_insert(q);
        }
    }
    let asked = |(point, q): (&Path, &PathQ)| PathQ {
        path: point.to_owned(),
        bind: None,
        user: q.user.clone(),
        write: Write::Never,
    };
    found.into_iter().take(UNDER_MAX).map(asked).collect()
}

/// The FUSE connections that looks hang on, with all their mounts.
fn hanging(table: &Table, readings: &[PathReading]) -> Vec<Connection> {
    let stuck = readings.iter().filter(|seen| matches!(seen.look, Look::Stuck { .. }));
    let devices: BTreeSet<&str> = stuck.filter_map(|seen| seen.on.as_ref()).map(|on| &*on.device).collect();
    let mounts = devices.into_iter().map(|device| (device, table.points_of(device)));
    let fuse = mounts.filter(|(_, mounts)| mounts.iter().all(|mount| fuse::is_fuse(mount)));
    let connection = |(device, mounts): (&str, Vec<&MountInfo>)| Connection {
        device: device.into(),
        points: mounts.iter().map(|mount| mount.point.clone()).collect(),
    };
    fuse.map(connection).collect()
}

/// A look, as one that was asked for.
pub(crate) fn seen(heard: Heard) -> Look {
    match heard {
        Heard::Said(Said::Path(look)) => look,
        Heard::Said(_) => Look::Unasked(Fault::Probe("another question's answer".into())),
        Heard::Stuck { at, age } => Look::Stuck { at, age },
        Heard::Unasked(fault) => Look::Unasked(fault),
    }
}

/// Paths of one lane are asked by one child: those of one file system. Without mountinfo nobody knows who shares what.
fn lane(of: For, table: Option<&Table>, path: &Path) -> String {
    let mount = table.and_then(|table| table.below(path));
    let place = mount.map_or_else(|| path.display().to_string(), |mount| mount.device.clone());
    match of {
        For::Paths => place,
        For::Jobs => format!("jobs {place}"),
    }
}

fn placed(table: Option<&Table>, q: &PathQ) -> PathReading {
    let at = |path: &Path| table?.below(path);
    let on = |path: &Path| Some(on(at(path)?, path));
    PathReading {
        path: q.path.clone(),
        on: table.and_then(|table| Some(self::on(table.below_fences(&q.path)?, &q.path))),
        fenced: at(&q.path).is_some_and(MountInfo::is_fence),
        automount: table.is_some_and(|table| table.automount(&q.path)),
        cold: q.bind.clone(),
        bind: q.bind.as_deref().and_then(on),
        look: Look::Unasked(Fault::Probe("its look was lost".into())),
    }
}

fn on(mount: &MountInfo, path: &Path) -> On {
    let rest = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
    On {
        id: mount.id,
        point: mount.point.clone(),
        device: mount.device.as_str().into(),
        // Without the slash that an empty rest would add.
        folder: mount.root.join(rest).components().collect(),
        source: mount.source.as_str().into(),
        fstype: mount.fstype.as_str().into(),
        read_only: mount.read_only(),
        waiting: fuse::waiting(mount),
    }
}

#[cfg(test)]
mod tests;
