//! A host with an sshfs mount, two folders of it bound, and a worker that writes there, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::world::refold;
use crate::ask::{
    Active, Answer, AskKey, Call, ClosureReading, Connection, Fault, GateReading, Look, ManifestReading, Mount, On,
    PathQ, PathReading, PathsQ, PathsReading, Question, Reading, SentinelState, Space, UnitReading, Write,
};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::fixture::{self, at};
use crate::hold::Hold;
use crate::id::{TargetId, UnitName, WatchId};
use crate::ledger::{Body, Closing, Origin, Record, State};
use crate::plan::{Act, Arm, Plan, Unmount};
use crate::policy::{Brakes, Policy, Watch};
use crate::run::Outcome;
use crate::time::{Ms, Now};
use crate::watch::Spec;
use crate::watch::storage::{self, Expected, HotPath, Lies, Remedy};

pub(super) const BOX: &str = "/srv/box";
pub(super) const A: &str = "/srv/jobs/a";
pub(super) const B: &str = "/srv/jobs/b";
const ENOTCONN: i32 = 107;

pub(super) fn own() -> HotPath {
    let asked = PathQ { path: BOX.into(), bind: None, user: None, write: Write::Never };
    let base = Some(UnitName::new("box.service"));
    let expected = Expected { lies: Lies::Mounted, source: Some("box:/".into()), fstype: None, base };
    HotPath { asked, expected }
}

pub(super) fn bound(job: &str) -> HotPath {
    let asked = PathQ {
        path: format!("/srv/jobs/{job}").into(),
        bind: Some(format!("{BOX}/{job}").into()),
        user: None,
        write: Write::Canary,
    };
    HotPath { asked, expected: Expected::default() }
}

pub(super) fn spec() -> storage::Spec {
    storage::Spec {
        paths: vec![own(), bound("a"), bound("b")],
        manifest: None,
        disks: Vec::new(),
        interval: Ms::secs(60),
        deadline: Ms::secs(10),
        confirm_runs: 2,
        confirm_age: Ms::secs(120),
        remedy: Remedy { holders: vec![UnitName::new("worker.service")], ..Remedy::default() },
    }
}

const BRAKES: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 6, soak: Ms::secs(60) };

pub(super) fn policy(spec: storage::Spec) -> Policy {
    let hot = Watch { spec: Spec::Storage(spec), brakes: BRAKES, ..fixture::service("hot") };
    Policy { watches: [(hot_id(), hot)].into(), ..Policy::default() }
}

pub(super) fn hot_id() -> WatchId {
    WatchId::new("storage.hot")
}

/// What is mounted somewhere: which device of sshfs, and which folder of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mounted {
    Box(u32, PathBuf),
    Fence,
    /// Somebody else's.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Server {
    Serves,
    Dead,
    Hangs,
}

pub(super) struct Host {
    pub(super) now: Now,
    pub(super) engine: Engine,
    pub(super) policy: Arc<Policy>,
    pub(super) records: Vec<Record>,
    pub(super) stacks: BTreeMap<PathBuf, Vec<Mounted>>,
    /// The sshfs of each device.
    pub(super) servers: BTreeMap<u32, Server>,
    pub(super) units: BTreeSet<&'static str>,
    /// Folders of the box that are gone.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Somebody has files open there.
    pub(super) busy: BTreeSet<PathBuf>,
    /// Folders for which the server does not answer, though it does for others.
    pub(super) slow: BTreeSet<PathBuf>,
    /// Where an automount lies beneath.
    pub(super) automounts: BTreeSet<PathBuf>,
    pub(super) read_only: bool,
    pub(super) unreachable: bool,
    pub(super) queue: BTreeMap<(Ms, u64), Event>,
    pub(super) ids: u64,
    pub(super) did: Vec<String>,
    pub(super) armed: Vec<Arm>,
    /// How often each question was asked.
    pub(super) asked: BTreeMap<AskKey, usize>,
}

impl Host {
    pub(super) fn with(spec: storage::Spec) -> Host {
        Host::of(policy(spec))
    }

    pub(super) fn of(policy: Policy) -> Host {
        let policy = Arc::new(policy);
        let now = at(Ms::hours(1));
        let (engine, effects) = begun(now, &policy, State::default());
        let mut host = Host {
            now,
            engine,
            policy,
            records: Vec::new(),
            stacks: BTreeMap::new(),
            servers: [(1, Server::Serves)].into(),
            units: ["box.service", "worker.service", "part.service", "viewer.service"].into(),
            gone: BTreeSet::new(),
            busy: BTreeSet::new(),
            slow: BTreeSet::new(),
            automounts: BTreeSet::new(),
            read_only: false,
            unreachable: false,
            queue: BTreeMap::new(),
            ids: 0,
            did: Vec::new(),
            armed: Vec::new(),
            asked: BTreeMap::new(),
        };
        host.stack(BOX, Mounted::Box(1, "/".into()));
        host.stack(A, Mounted::Box(1, "/a".into()));
        host.stack(B, Mounted::Box(1, "/b".into()));
        host.take(effects);
        host
    }

    pub(super) fn stack(&mut self, path: &str, mounted: Mounted) {
        self.stacks.entry(path.into()).or_default().push(mounted);
    }

    pub(super) fn dies(&mut self) {
        self.queue.clear();
        self.now = self.now.plus(Ms::secs(1));
        let (engine, effects) = begun(self.now, &self.policy, refold(&self.records));
        self.engine = engine;
        self.take(effects);
    }

    pub(super) fn top(&self, path: &Path) -> Option<&Mounted> {
        self.stacks.get(path)?.last()
    }

    /// Where a path lies, fences left out: the mount, and the path within it.
    pub(super) fn on(&self, path: &Path) -> On {
        let root = On {
            id: 1,
            point: "/".into(),
            device: "8:1".into(),
            folder: path.to_owned(),
            source: "/dev/sda1".into(),
            fstype: "ext4".into(),
            read_only: false,
            waiting: None,
        };
        let real =
            |path: &Path| self.stacks.get(path).and_then(|stack| stack.iter().rev().find(|m| **m != Mounted::Fence));
        let found = path.ancestors().find_map(|point| Some((point, real(point)?)));
        match found {
            None => root,
            Some((point, Mounted::Box(device, folder))) => On {
                id: 10 + u64::from(*device),
                point: point.into(),
                device: format!("0:{device}").into(),
                folder: folder.join(path.strip_prefix(point).unwrap_or(path)).components().collect(),
                source: "box:/".into(),
                fstype: "fuse.sshfs".into(),
                read_only: false,
                waiting: Some(0),
            },
            Some((point, _)) => On { point: point.into(), device: "8:2".into(), source: "other".into(), ..root },
        }
    }

    pub(super) fn look(&self, q: &PathQ) -> PathReading {
        let on = self.on(&q.path);
        let device = on.device.strip_prefix("0:").and_then(|minor| minor.parse().ok());
        let fenced = self.top(&q.path) == Some(&Mounted::Fence);
        let server = device.and_then(|device: u32| self.servers.get(&device)).filter(|_| !fenced);
        let look = match server {
            // Which call meets it first, and since when it hangs, is another at each look.
            Some(Server::Dead) => {
                let call = if (self.now.up.0 / 1000).is_multiple_of(2) { Call::Open } else { Call::Statvfs };
                Look::Failed { call, errno: ENOTCONN, why: "not connected".into() }
            }
            _ if self.slow.contains(&q.path) => Look::Stuck { at: q.path.clone(), age: Ms::secs(10) },
            Some(Server::Hangs) => Look::Stuck { at: q.path.clone(), age: Ms(self.now.up.0 % 60_000) },
            _ if self.read_only && q.write != Write::Never => {
                Look::Failed { call: Call::Write, errno: 30, why: "read-only".into() }
            }
            _ => Look::Answered(Space::default()),
        };
        let bind = q.bind.as_deref().map(|cold| self.on(cold));
        let automount = self.automounts.contains(&on.point);
        PathReading { path: q.path.clone(), on: Some(on), fenced, automount, cold: q.bind.clone(), bind, look }
    }

    pub(super) fn paths(&self, q: &PathsQ) -> PathsReading {
        let bound = |job: &str| self::bound(job).asked;
        let listed: Vec<PathQ> = q.manifest.iter().flat_map(|_| ["a", "b"].map(bound)).collect();
        let paths: Vec<PathReading> = q.paths.iter().chain(&listed).map(|q| self.look(q)).collect();
        let points = paths.iter().filter_map(|seen| seen.bind.as_ref()).map(|on| on.point.clone());
        let points: BTreeSet<PathBuf> =
            points.filter(|point| point != Path::new("/") && q.paths.iter().all(|q| q.path != *point)).collect();
        let under = points.into_iter().map(|path| PathQ { path, bind: None, user: None, write: Write::Never });
        let stuck = paths.iter().filter(|seen| matches!(seen.look, Look::Stuck { .. }));
        let devices: BTreeSet<&str> = stuck.filter_map(|seen| seen.on.as_ref()).map(|on| &*on.device).collect();
        let minor = |device: &str| device.strip_prefix("0:").and_then(|minor| minor.parse::<u32>().ok());
        let hung: Vec<u32> = devices.into_iter().filter_map(minor).collect();
        let of = |device: u32| {
            let on_it = |stack: &&Vec<Mounted>| stack.iter().any(|m| matches!(m, Mounted::Box(d, _) if *d == device));
            self.stacks.iter().filter(|(_, stack)| on_it(stack)).map(|(path, _)| path.clone()).collect()
        };
        PathsReading {
            under: under.map(|q| self.look(&q)).collect(),
            units: q.units.iter().map(|unit| (unit.clone(), Ok(self.active(unit)))).collect(),
            holders: q.holders.iter().map(|unit| (unit.clone(), Ok(self.closure(unit)))).collect(),
            connections: hung
                .into_iter()
                .map(|device| Connection { device: format!("0:{device}").into(), points: of(device) })
                .collect(),
            manifest: q.manifest.as_ref().map(|_| ManifestReading { entries: 2, ..ManifestReading::default() }),
            paths,
            ..PathsReading::default()
        }
    }

    pub(super) fn runs(&self, unit: &UnitName) -> bool {
        self.units.contains(unit.as_str())
    }

    pub(super) fn active(&self, unit: &UnitName) -> Active {
        if self.runs(unit) { Active::Active } else { Active::Inactive }
    }

    pub(super) fn closure(&self, unit: &UnitName) -> ClosureReading {
        let members = [UnitName::new("part.service")].into_iter().filter(|unit| self.runs(unit)).collect();
        let idle = ClosureReading {
            active: true,
            members: Vec::new(),
            one_way: Vec::new(),
            stop_timeout: Ms::secs(30),
            wakers: Vec::new(),
        };
        let wakers = ["worker.timer"].map(UnitName::new).into_iter().filter(|unit| self.runs(unit));
        let wakers = wakers.map(|unit| (unit, idle.clone())).collect();
        ClosureReading { active: self.runs(unit), members, wakers, ..idle }
    }

    pub(super) fn answer(&self, question: &Question) -> Answer {
        Ok(match question {
            Question::Paths(q) => Reading::Paths(Box::new(self.paths(q))),
            Question::Mount(path) => Reading::Mount(self.top(path).map(|mounted| Mount {
                source: if *mounted == Mounted::Fence { Mount::FENCE.into() } else { "box:/".into() },
                fstype: "x".into(),
                read_only: false,
            })),
            Question::Unit(unit) => {
                let needs =
                    if unit.as_str() == "front.service" { vec![UnitName::new("worker.service")] } else { Vec::new() };
                let reading = UnitReading { active: self.active(unit), needs, ..fixture::runs(self.now.up) };
                Reading::Unit(Box::new(reading))
            }
            Question::Gate(_) => Reading::Gate(GateReading {
                sentinels: vec![SentinelState::Present],
                unreachable: self.unreachable.then(|| "box:22: no answer".into()),
                ..GateReading::default()
            }),
            _ => return Err(Fault::Timeout),
        })
    }

    pub(super) fn later(&mut self, after: Ms, event: Event) {
        self.ids += 1;
        self.queue.insert((self.now.up + after, self.ids), event);
    }

    pub(super) fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, .. } => {
                    *self.asked.entry(key.clone()).or_default() += 1;
                    let answer = self.answer(&question);
                    self.later(Ms(5), Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => {
                    self.later(Ms(2), Event::Durable(record.seq));
                    self.records.push(record);
                }
                Effect::Perform { ticket, plan, arm } => {
                    let (act, _) = ticket.act(&plan).expect("it has an act");
                    self.did.push(act.to_string());
                    self.armed.extend(arm);
                    let outcome = self.act(act);
                    self.later(Ms::secs(1), Event::Ended(ticket, outcome));
                }
                Effect::Adopt { tickets, .. } => {
                    for (ticket, _) in tickets {
                        self.later(Ms(4), Event::Ended(ticket, Outcome::Lost("nobody remembers it".into())));
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn act(&mut self, act: &Act) -> Outcome {
        let failed = |why: &str| Outcome::Failed(why.into());
        match act {
            Act::Stop(stop) => self.units.retain(|name| stop.units().all(|unit| unit.as_str() != *name)),
            Act::Start(units) => {
                let known = ["worker.timer", "worker.service", "part.service", "box.service", "viewer.service"];
                self.units.extend(known.iter().filter(|name| units.iter().any(|unit| unit.as_str() == **name)));
            }
            Act::Restart(unit) if ["box.service", "srv-box.mount"].contains(&unit.as_str()) => {
                let device = self.servers.keys().max().map_or(1, |last| last + 1);
                self.servers.insert(device, Server::Serves);
                self.units.insert("box.service");
                self.stack(BOX, Mounted::Box(device, "/".into()));
            }
            Act::Abort(abort) => {
                let minor = abort.device.strip_prefix("0:").and_then(|minor| minor.parse().ok()).expect("a minor");
                self.servers.insert(minor, Server::Dead);
            }
            Act::Unmount(unmount) if self.busy.contains(&unmount.path) && !unmount.lazy => {
                return failed("timed out");
            }
            Act::Unmount(Unmount { path, was, .. }) => {
                assert_eq!(self.on(path).mark(), *was, "only what was seen is taken off");
                let stack = self.stacks.entry(path.clone()).or_default();
                stack.pop();
                stack.push(Mounted::Fence);
            }
            Act::Fence(path) if self.top(path) == Some(&Mounted::Fence) => {}
            Act::Fence(path) => self.stacks.entry(path.clone()).or_default().push(Mounted::Fence),
            Act::Unfence(path) => {
                let stack = self.stacks.get_mut(path).expect("something is mounted");
                assert_eq!(stack.pop(), Some(Mounted::Fence), "what is to be opened is closed");
            }
            Act::Bind(bind) if self.gone.contains(&bind.cold) => return failed("exited 32"),
            Act::Bind(bind) => {
                if self.top(&bind.hot) == Some(&Mounted::Fence) {
                    self.stacks.get_mut(&bind.hot).and_then(Vec::pop);
                }
                assert_eq!(self.top(&bind.hot), None, "nothing is covered");
                let On { device, folder, .. } = self.on(&bind.cold);
                let minor = device.strip_prefix("0:").and_then(|minor| minor.parse().ok()).expect("of the box");
                self.stacks.entry(bind.hot.clone()).or_default().push(Mounted::Box(minor, folder));
            }
            Act::Restart(_) | Act::Command(_) | Act::Gather(_) | Act::Launch(_) => {}
        }
        Outcome::Ok
    }

    /// True: it came to be so.
    pub(super) fn run_until(&mut self, span: Ms, is: impl Fn(&Host) -> bool) -> bool {
        let end = self.now.up + span;
        while !is(self) {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let wake = self.engine.next_wakeup().map(|at| at.max(self.now.up));
            let Some(next) = queued.into_iter().chain(wake).min().filter(|next| *next <= end) else {
                self.now = self.now.plus(end.saturating_sub(self.now.up));
                return false;
            };
            self.now = self.now.plus(next.saturating_sub(self.now.up));
            let event = if queued == Some(next) { self.queue.pop_first().unwrap().1 } else { Event::Wake };
            let effects = self.engine.handle(self.now, event);
            self.take(effects);
        }
        true
    }

    pub(super) fn plans(&self) -> Vec<&Plan> {
        let opened = self.records.iter().filter_map(|record| match &record.body {
            Body::Opened { plan, .. } => Some(&**plan),
            _ => None,
        });
        opened.collect()
    }

    pub(super) fn closings(&self) -> Vec<&Closing> {
        let closed = self.records.iter().filter_map(|record| match &record.body {
            Body::Closed { result, .. } => Some(result),
            _ => None,
        });
        closed.collect()
    }

    /// The first plan, once it was opened: its acts.
    pub(super) fn planned(&mut self) -> Vec<String> {
        assert!(self.run_until(Ms::mins(10), |host| !host.plans().is_empty()), "no plan: {:?}", self.holds(A));
        let acts = self.plans()[0].steps.iter().filter_map(|step| step.act.as_ref()).map(ToString::to_string);
        acts.collect()
    }

    /// The n-th run, to its end.
    pub(super) fn closed(&mut self, n: usize) -> Closing {
        assert!(self.run_until(Ms::hours(7), |host| host.closings().len() >= n), "{:?}", self.did);
        self.closings()[n - 1].clone()
    }

    pub(super) fn healthy(&self) -> bool {
        [BOX, A, B].iter().all(|path| self.is_well(path)) && self.units.contains("worker.service")
    }

    pub(super) fn is_well(&self, path: &str) -> bool {
        match self.top(Path::new(path)) {
            Some(Mounted::Box(device, _)) => self.servers[device] == Server::Serves,
            _ => false,
        }
    }

    /// The holds of a path, and what the first of them says.
    pub(super) fn holds(&self, path: &str) -> (Vec<Hold>, String) {
        let view = self.engine.view();
        let id = TargetId::new(hot_id(), path);
        let watch = view.watch(&hot_id()).expect("it is shown");
        let target = watch.targets.iter().find(|target| target.id == id).expect("it is shown");
        let said = target.holds.first().map(|held| held.value.to_string()).unwrap_or_default();
        (target.holds.iter().map(|held| held.hold).collect(), said)
    }

    pub(super) fn healed(&self, n: usize) -> Vec<&str> {
        self.plans()[n].heals.iter().map(|heal| &*heal.target.key).collect()
    }
}

pub(super) fn begun(now: Now, policy: &Arc<Policy>, state: State) -> (Engine, Vec<Effect>) {
    Engine::new(Begin {
        now,
        boot_id: "5ca1ab1e".into(),
        policy: Arc::clone(policy),
        rejected: None,
        state,
        memory: Memory::default(),
        damaged: None,
        origin: Origin::Daemon,
    })
}

pub(super) fn lost(server: Server) -> Host {
    let mut host = Host::with(spec());
    assert!(
        host.run_until(Ms::mins(3), |host| host.engine.view().watch(&hot_id()).is_some_and(|w| w.targets.len() == 3))
    );
    host.servers.insert(1, server);
    host
}
