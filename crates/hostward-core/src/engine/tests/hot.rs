//! Hot paths that are lost and mounted anew: a host with an sshfs mount, two folders of it bound, and a worker that writes
//! there. What the plan says for each reason, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::world::refold;
use crate::ask::{
    Active, Answer, Call, ClosureReading, Connection, Fault, GateReading, Look, Mount, On, PathQ, PathReading,
    PathsQ, PathsReading, Question, Reading, SentinelState, Space, UnitReading, Write,
};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::fixture::{self, at};
use crate::hold::Hold;
use crate::id::{Str, TargetId, UnitName, WatchId};
use crate::ledger::{Body, Closing, Origin, Record, State};
use crate::plan::{Act, Arm, Plan};
use crate::policy::{Brakes, Policy, Watch};
use crate::run::Outcome;
use crate::time::{Ms, Now};
use crate::watch::storage::{self, Dependent, Expected, HotPath, Lies, Remedy};
use crate::watch::{Spec, service};

const BOX: &str = "/srv/box";
const A: &str = "/srv/jobs/a";
const B: &str = "/srv/jobs/b";
const ENOTCONN: i32 = 107;

fn own() -> HotPath {
    let asked = PathQ { path: BOX.into(), bind: None, user: None, write: Write::Never };
    let base = Some(UnitName::new("box.service"));
    let expected = Expected { lies: Lies::Mounted, source: Some("box:/".into()), fstype: None, base };
    HotPath { asked, expected }
}

fn bound(job: &str) -> HotPath {
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

fn policy(spec: storage::Spec) -> Policy {
    let hot = Watch { spec: Spec::Storage(spec), brakes: BRAKES, ..fixture::service("hot") };
    Policy { watches: [(hot_id(), hot)].into(), ..Policy::default() }
}

fn hot_id() -> WatchId {
    WatchId::new("storage.hot")
}

/// What is mounted somewhere: which device of sshfs, and which folder of it.
#[derive(Clone, Debug, PartialEq)]
enum Mounted {
    Box(u32, PathBuf),
    Fence,
    /// Somebody else's.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Server {
    Serves,
    Dead,
    Hangs,
}

struct Host {
    now: Now,
    engine: Engine,
    policy: Arc<Policy>,
    records: Vec<Record>,
    stacks: BTreeMap<PathBuf, Vec<Mounted>>,
    /// The sshfs of each device.
    servers: BTreeMap<u32, Server>,
    units: BTreeSet<&'static str>,
    /// Folders of the box that are gone.
    gone: BTreeSet<PathBuf>,
    /// Somebody has files open there.
    busy: BTreeSet<PathBuf>,
    read_only: bool,
    unreachable: bool,
    queue: BTreeMap<(Ms, u64), Event>,
    ids: u64,
    did: Vec<String>,
    armed: Vec<Arm>,
}

impl Host {
    fn with(spec: storage::Spec) -> Host {
        Host::of(policy(spec))
    }

    fn of(policy: Policy) -> Host {
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
            read_only: false,
            unreachable: false,
            queue: BTreeMap::new(),
            ids: 0,
            did: Vec::new(),
            armed: Vec::new(),
        };
        host.stack(BOX, Mounted::Box(1, "/".into()));
        host.stack(A, Mounted::Box(1, "/a".into()));
        host.stack(B, Mounted::Box(1, "/b".into()));
        host.take(effects);
        host
    }

    fn stack(&mut self, path: &str, mounted: Mounted) {
        self.stacks.entry(path.into()).or_default().push(mounted);
    }

    fn dies(&mut self) {
        self.queue.clear();
        self.now = self.now.plus(Ms::secs(1));
        let (engine, effects) = begun(self.now, &self.policy, refold(&self.records));
        self.engine = engine;
        self.take(effects);
    }

    fn top(&self, path: &Path) -> Option<&Mounted> {
        self.stacks.get(path)?.last()
    }

    /// Where a path lies, fences left out: the mount, and the path within it.
    fn on(&self, path: &Path) -> On {
        let root = On {
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

    fn look(&self, q: &PathQ) -> PathReading {
        let on = self.on(&q.path);
        let device = on.device.strip_prefix("0:").and_then(|minor| minor.parse().ok());
        let fenced = self.top(&q.path) == Some(&Mounted::Fence);
        let server = device.and_then(|device: u32| self.servers.get(&device)).filter(|_| !fenced);
        let look = match server {
            Some(Server::Dead) => Look::Failed { call: Call::Statvfs, errno: ENOTCONN, why: "not connected".into() },
            Some(Server::Hangs) => Look::Stuck { at: q.path.clone(), age: Ms::secs(30) },
            _ if self.read_only && q.write != Write::Never => {
                Look::Failed { call: Call::Write, errno: 30, why: "read-only".into() }
            }
            _ => Look::Answered(Space::default()),
        };
        let bind = q.bind.as_deref().map(|cold| self.on(cold));
        PathReading { path: q.path.clone(), on: Some(on), fenced, cold: q.bind.clone(), bind, look }
    }

    fn paths(&self, q: &PathsQ) -> PathsReading {
        let paths: Vec<PathReading> = q.paths.iter().map(|q| self.look(q)).collect();
        let points = paths.iter().filter_map(|seen| seen.bind.as_ref()).map(|on| on.point.clone());
        let points: BTreeSet<PathBuf> =
            points.filter(|point| point != Path::new("/") && q.paths.iter().all(|q| q.path != *point)).collect();
        let under = points.into_iter().map(|path| PathQ { path, bind: None, user: None, write: Write::Never });
        let hung = self.servers.iter().filter(|(_, server)| **server == Server::Hangs);
        let of = |device: u32| {
            let on_it = |stack: &&Vec<Mounted>| stack.iter().any(|m| matches!(m, Mounted::Box(d, _) if *d == device));
            self.stacks.iter().filter(|(_, stack)| on_it(stack)).map(|(path, _)| path.clone()).collect()
        };
        PathsReading {
            under: under.map(|q| self.look(&q)).collect(),
            units: q.units.iter().map(|unit| (unit.clone(), Ok(self.active(unit)))).collect(),
            holders: q.holders.iter().map(|unit| (unit.clone(), Ok(self.closure(unit)))).collect(),
            connections: hung
                .map(|(device, _)| Connection { device: format!("0:{device}").into(), points: of(*device) })
                .collect(),
            paths,
            ..PathsReading::default()
        }
    }

    fn runs(&self, unit: &UnitName) -> bool {
        self.units.contains(unit.as_str())
    }

    fn active(&self, unit: &UnitName) -> Active {
        if self.runs(unit) { Active::Active } else { Active::Inactive }
    }

    fn closure(&self, unit: &UnitName) -> ClosureReading {
        let members = [UnitName::new("part.service")].into_iter().filter(|unit| self.runs(unit)).collect();
        ClosureReading { active: self.runs(unit), members, one_way: Vec::new(), stop_timeout: Ms::secs(30) }
    }

    fn answer(&self, question: &Question) -> Answer {
        Ok(match question {
            Question::Paths(q) => Reading::Paths(Box::new(self.paths(q))),
            Question::Mount(path) => Reading::Mount(self.top(path).map(|mounted| Mount {
                source: if *mounted == Mounted::Fence { Mount::FENCE.into() } else { "box:/".into() },
                fstype: "x".into(),
                read_only: false,
            })),
            Question::Unit(unit) => {
                Reading::Unit(Box::new(UnitReading { active: self.active(unit), ..fixture::runs(self.now.up) }))
            }
            Question::Gate(_) => Reading::Gate(GateReading {
                sentinels: vec![SentinelState::Present],
                unreachable: self.unreachable.then(|| "box:22: no answer".into()),
                ..GateReading::default()
            }),
            _ => return Err(Fault::Timeout),
        })
    }

    fn later(&mut self, after: Ms, event: Event) {
        self.ids += 1;
        self.queue.insert((self.now.up + after, self.ids), event);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, .. } => {
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

    fn act(&mut self, act: &Act) -> Outcome {
        let failed = |why: &str| Outcome::Failed(why.into());
        match act {
            Act::Stop(stop) => self.units.retain(|name| stop.units().all(|unit| unit.as_str() != *name)),
            Act::Start(units) => {
                let known = ["worker.service", "part.service", "box.service", "viewer.service"];
                self.units.extend(known.iter().filter(|name| units.iter().any(|unit| unit.as_str() == **name)));
            }
            Act::Restart(unit) if unit.as_str() == "box.service" => {
                let device = self.servers.len() as u32 + 1;
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
            Act::Unmount(crate::plan::Unmount { path, .. }) => {
                self.stacks.get_mut(path).and_then(Vec::pop);
            }
            Act::Fence(path) => self.stacks.entry(path.clone()).or_default().push(Mounted::Fence),
            Act::Unfence(path) => {
                let stack = self.stacks.get_mut(path).expect("something is mounted");
                assert_eq!(stack.pop(), Some(Mounted::Fence), "only a fence is lifted");
            }
            Act::Bind(bind) if self.gone.contains(&bind.cold) => return failed("exited 32"),
            Act::Bind(bind) => {
                assert_eq!(self.top(&bind.hot), None, "nothing is covered");
                let On { device, folder, .. } = self.on(&bind.cold);
                let minor = device.strip_prefix("0:").and_then(|minor| minor.parse().ok()).expect("of the box");
                self.stacks.entry(bind.hot.clone()).or_default().push(Mounted::Box(minor, folder));
            }
            Act::Restart(_) | Act::Command(_) | Act::Gather(_) => {}
        }
        Outcome::Ok
    }

    /// True: it came to be so.
    fn run_until(&mut self, span: Ms, is: impl Fn(&Host) -> bool) -> bool {
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

    fn plans(&self) -> Vec<&Plan> {
        let opened = self.records.iter().filter_map(|record| match &record.body {
            Body::Opened { plan, .. } => Some(&**plan),
            _ => None,
        });
        opened.collect()
    }

    fn closings(&self) -> Vec<&Closing> {
        let closed = self.records.iter().filter_map(|record| match &record.body {
            Body::Closed { result, .. } => Some(result),
            _ => None,
        });
        closed.collect()
    }

    /// The first plan, once it was opened: its acts.
    fn planned(&mut self) -> Vec<String> {
        assert!(self.run_until(Ms::mins(10), |host| !host.plans().is_empty()), "no plan: {:?}", self.holds(A));
        let acts = self.plans()[0].steps.iter().filter_map(|step| step.act.as_ref()).map(ToString::to_string);
        acts.collect()
    }

    /// The n-th run, to its end.
    fn closed(&mut self, n: usize) -> Closing {
        assert!(self.run_until(Ms::hours(7), |host| host.closings().len() >= n), "{:?}", self.did);
        self.closings()[n - 1].clone()
    }

    fn healthy(&self) -> bool {
        [BOX, A, B].iter().all(|path| self.is_well(path)) && self.units.contains("worker.service")
    }

    fn is_well(&self, path: &str) -> bool {
        match self.top(Path::new(path)) {
            Some(Mounted::Box(device, _)) => self.servers[device] == Server::Serves,
            _ => false,
        }
    }

    /// The holds of a path, and what the first of them says.
    fn holds(&self, path: &str) -> (Vec<Hold>, String) {
        let view = self.engine.view();
        let id = TargetId::new(hot_id(), path);
        let watch = view.watch(&hot_id()).expect("it is shown");
        let target = watch.targets.iter().find(|target| target.id == id).expect("it is shown");
        let said = target.holds.first().map(|held| held.value.to_string()).unwrap_or_default();
        (target.holds.iter().map(|held| held.hold).collect(), said)
    }

    fn healed(&self, n: usize) -> Vec<&str> {
        self.plans()[n].heals.iter().map(|heal| &*heal.target.key).collect()
    }
}

fn begun(now: Now, policy: &Arc<Policy>, state: State) -> (Engine, Vec<Effect>) {
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

fn lost(server: Server) -> Host {
    let mut host = Host::with(spec());
    assert!(
        host.run_until(Ms::mins(3), |host| host.engine.view().watch(&hot_id()).is_some_and(|w| w.targets.len() == 3))
    );
    host.servers.insert(1, server);
    host
}

/// S2 in virtual time: everything that the death of the base took is in one plan, in the order of watches.md.
#[test]
fn a_dead_base_is_made_anew_and_then_what_is_bound_from_it() {
    let mut host = lost(Server::Dead);
    let planned = host.planned();
    let want = [
        "keep the evidence",
        "stop worker.service, part.service",
        "unmount /srv/box",
        "unmount /srv/jobs/a",
        "unmount /srv/jobs/b",
        "restart box.service",
        "bind /srv/box/a to /srv/jobs/a",
        "bind /srv/box/b to /srv/jobs/b",
    ];
    assert_eq!(planned, want);
    assert_eq!(host.healed(0), [BOX, A, B]);
    let plan = host.plans()[0];
    assert_eq!((plan.rung.as_str(), plan.cost), ("remount", 3));
    assert_eq!(host.closed(1), Closing::Proved);
    assert_eq!(host.did, [&want[..], &["start worker.service, part.service"]].concat(), "as planned");
    assert!(host.healthy());
    assert!(!host.run_until(Ms::mins(30), |host| host.plans().len() > 1), "once");
}

#[test]
fn what_is_bound_alone_is_bound_anew() {
    let mut host = lost(Server::Serves);
    host.servers.insert(9, Server::Dead);
    for path in [A, B] {
        host.stacks.insert(path.into(), vec![Mounted::Box(9, "/old".into())]);
    }
    let want = [
        "keep the evidence",
        "stop worker.service, part.service",
        "unmount /srv/jobs/a",
        "unmount /srv/jobs/b",
        "bind /srv/box/a to /srv/jobs/a",
        "bind /srv/box/b to /srv/jobs/b",
    ];
    assert_eq!(host.planned(), want);
    assert_eq!((host.plans()[0].rung.as_str(), host.plans()[0].cost), ("rebind", 1));
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.healthy());
}

/// The abort comes before the stop: a writer that hangs on the mount would not end.
#[test]
fn who_hangs_is_freed_first_and_everybody_who_shares_it_is_named() {
    let mut host = lost(Server::Hangs);
    let planned = host.planned();
    let abort = "abort the FUSE connection 0:1, shared by /srv/box, /srv/jobs/a, /srv/jobs/b";
    assert_eq!(planned[..3], ["keep the evidence", abort, "stop worker.service, part.service"]);
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.healthy());
}

/// What is bare is closed before anything else, and opened for the moment of the bind.
#[test]
fn a_path_without_a_mount_is_closed_until_it_has_one() {
    let mut host = lost(Server::Serves);
    host.stacks.remove(Path::new(A));
    let want = [
        "keep the evidence",
        "stop worker.service, part.service",
        "fence /srv/jobs/a",
        "lift the fence of /srv/jobs/a",
        "bind /srv/box/a to /srv/jobs/a",
    ];
    assert_eq!(host.planned(), want);
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.healthy());
}

/// D1: the unmount does not succeed. The worker is up, the attempt counts, and the path is closed, for the unmount may
/// still come to its end.
#[test]
fn an_unmount_that_fails_gives_everything_back() {
    let mut host = lost(Server::Dead);
    host.busy.insert(BOX.into());
    let closing = host.closed(1);
    assert!(matches!(closing, Closing::Unproved { step: 2, .. }), "{closing:?}");
    assert_eq!(host.did[3..], ["fence /srv/box", "start worker.service, part.service"]);
    assert!(host.units.contains("part.service"));
    let brake = &refold(&host.records).targets[&TargetId::new(hot_id(), BOX)];
    assert_eq!(brake.attempts.len(), 1);
}

/// A companion that cannot be bound stays behind its fence, and the others are healed; once it can be, it is.
#[test]
fn what_cannot_be_mounted_is_fenced_alone() {
    let mut host = lost(Server::Dead);
    host.gone.insert(format!("{BOX}/b").into());
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.is_well(A) && host.is_well(BOX));
    assert_eq!(host.top(Path::new(B)), Some(&Mounted::Fence));
    assert_eq!(host.did[8..], ["fence /srv/jobs/b", "start worker.service, part.service"]);
    host.gone.clear();
    assert!(host.run_until(Ms::hours(7), Host::healthy), "{:?} {:?}", host.holds(B), host.did);
    assert_eq!(host.healed(1), [B]);
    let acts: Vec<String> =
        host.plans()[1].steps.iter().filter_map(|s| s.act.as_ref()).map(ToString::to_string).collect();
    assert_eq!(acts[2..], ["lift the fence of /srv/jobs/b", "bind /srv/box/b to /srv/jobs/b"]);
}

#[test]
fn a_rebind_that_fails_leaves_a_fence_and_gives_back() {
    let mut host = lost(Server::Serves);
    host.stacks.remove(Path::new(A));
    host.gone.insert(format!("{BOX}/a").into());
    let closing = host.closed(1);
    assert!(matches!(closing, Closing::Unproved { .. }), "{closing:?}");
    assert_eq!(host.top(Path::new(A)), Some(&Mounted::Fence));
    assert!(host.units.contains("worker.service"));
    // A rebind has failed: the base is made anew, which nobody would have done before.
    host.gone.clear();
    assert!(host.run_until(Ms::hours(1), Host::healthy), "{:?}", host.did);
    assert_eq!(host.plans()[1].rung.as_str(), "remount");
}

/// What is still bare when PID 1 has to give back is closed by it as well.
#[test]
fn pid_1_closes_what_is_bare_before_it_starts_who_writes() {
    let mut host = lost(Server::Dead);
    assert_eq!(host.closed(1), Closing::Proved);
    let bare: Vec<usize> = host.armed.iter().map(|arm| arm.fences.len()).collect();
    assert_eq!(bare, [0, 1, 2, 3, 3, 2, 1, 0], "at each act from the stop on");
}

/// Whenever it dies: the worker returns, every path is well or closed, and the attempt counts once.
#[test]
fn a_death_at_any_act_leaves_nothing_stopped_and_nothing_bare() {
    for act in 1..=8 {
        let mut host = lost(Server::Dead);
        assert!(host.run_until(Ms::mins(10), |host| host.did.len() == act), "{act}");
        host.dies();
        let closing = host.closed(1);
        assert!(
            host.units.contains("worker.service") && host.units.contains("part.service"),
            "{act}: {:?}",
            host.did
        );
        for path in [BOX, A, B] {
            let fenced = host.top(Path::new(path)) == Some(&Mounted::Fence);
            assert!(host.is_well(path) || fenced, "{act}: {path} {closing:?} {:?}", host.did);
        }
        let brake = &refold(&host.records).targets[&TargetId::new(hot_id(), BOX)];
        assert_eq!(brake.attempts.len(), 1, "{act}");
        assert!(host.run_until(Ms::hours(7), Host::healthy), "{act}: {:?}", host.did);
    }
}

/// One that has used up its attempts is left out, and the others are healed without it.
#[test]
fn a_capped_target_blocks_nobody() {
    let mut host = lost(Server::Serves);
    host.gone.insert(format!("{BOX}/a").into());
    host.stacks.remove(Path::new(A));
    assert!(host.run_until(Ms::hours(2), |host| host.closings().len() == 2));
    let (holds, _) = host.holds(A);
    assert!(holds.contains(&Hold::TargetCap) || holds.contains(&Hold::Cooldown), "{holds:?}");
    let before = host.plans().len();
    host.stacks.remove(Path::new(B));
    assert!(host.run_until(Ms::mins(4), |host| host.plans().len() > before), "{:?}", host.holds(B));
    assert_eq!(host.healed(before), [B]);
    assert!(host.run_until(Ms::mins(5), |host| host.is_well(B)));
}

/// The caps of the base's own path hold wherever the base would be made anew.
#[test]
fn a_base_that_is_capped_is_not_made_anew_for_another() {
    let mut host = lost(Server::Dead);
    host.busy.insert(BOX.into());
    assert!(host.run_until(Ms::hours(2), |host| host.closings().len() == 2));
    let (holds, _) = host.holds(A);
    let (own, _) = host.holds(BOX);
    assert!(own.contains(&Hold::Cooldown) && holds.contains(&Hold::Cooldown), "{own:?} {holds:?}");
}

#[test]
fn a_base_that_is_down_is_started_and_nobody_is_stopped_for_it() {
    let mut host = lost(Server::Serves);
    host.units.remove("box.service");
    assert_eq!(host.planned(), ["keep the evidence", "restart box.service"]);
    assert_eq!(host.healed(0), [BOX]);
    assert_eq!(host.plans()[0].heals[0].reason.as_ref(), "base_down");
}

/// Somebody else's mount is never taken off, and what only its owner can mend is told.
#[test]
fn what_no_rung_fits_is_told() {
    let mut host = lost(Server::Serves);
    host.stack(A, Mounted::Other);
    assert!(!host.run_until(Ms::mins(10), |host| !host.plans().is_empty()));
    let (holds, said) = host.holds(A);
    assert_eq!(holds, [Hold::NoRemedy]);
    assert!(said.contains("theirs to unmount"), "{said}");

    let mut host = lost(Server::Serves);
    host.read_only = true;
    assert!(!host.run_until(Ms::mins(10), |host| !host.plans().is_empty()));
    assert_eq!(host.holds(A).0, [Hold::NoRemedy]);
}

/// A bind that outlived the mount that it came from is our own to make anew.
#[test]
fn a_bind_of_an_older_mount_is_bound_anew() {
    let mut host = lost(Server::Serves);
    host.servers.insert(2, Server::Serves);
    host.stacks.insert(BOX.into(), vec![Mounted::Box(2, "/".into())]);
    let planned = host.planned();
    assert!(planned.contains(&"bind /srv/box/a to /srv/jobs/a".to_owned()), "{planned:?}");
    assert_eq!(host.closed(1), Closing::Proved);
}

/// A folder that lies on the disk beneath the path is never bound to it: the writers would fill that disk.
#[test]
fn the_disk_beneath_is_not_bound() {
    let mut host = lost(Server::Serves);
    let mut spec = spec();
    spec.paths.remove(0);
    let mut bare = Host::with(spec);
    host.stacks.clear();
    bare.stacks.clear();
    assert!(!bare.run_until(Ms::mins(10), |host| !host.plans().is_empty()));
    let (holds, said) = bare.holds(A);
    assert_eq!(holds, [Hold::NoRemedy]);
    assert!(said.contains("disk beneath"), "{said}");
}

/// While the remote is away nothing is tried, so nothing is charged.
#[test]
fn an_unreachable_remote_charges_nothing() {
    let mut policy = policy(spec());
    let watch = policy.watches.get_mut(&hot_id()).expect("it is declared");
    watch.reach = Some("tcp:box:22".into());
    let mut host = Host::of(policy);
    host.unreachable = true;
    assert!(!host.run_until(Ms::mins(1), |host| !host.plans().is_empty()));
    host.servers.insert(1, Server::Dead);
    assert!(!host.run_until(Ms::hours(1), |host| !host.plans().is_empty()));
    assert_eq!(host.holds(BOX).0, [Hold::Unreachable]);
    host.unreachable = false;
    assert!(host.run_until(Ms::mins(10), Host::healthy));
}

/// The operator's own commands stand in for the bind, and for what no rung of ours mends.
#[test]
fn declared_commands_dependents_and_oneshots_have_their_places() {
    let mut spec = spec();
    let words = |words: &[&str]| words.iter().map(|word| Str::from(*word)).collect::<Vec<_>>();
    spec.remedy.rebind = vec![words(&["/opt/rebind", "all"])];
    spec.remedy.oneshots = vec![UnitName::new("tiering.service")];
    let viewer = Dependent { unit: UnitName::new("viewer.service"), smoke: Some(words(&["/opt/smoke"])) };
    let idle = Dependent { unit: UnitName::new("idle.service"), smoke: None };
    spec.remedy.dependents = vec![viewer, idle];
    let mut host = Host::with(spec.clone());
    host.run_until(Ms::mins(3), |_| false);
    host.servers.insert(9, Server::Dead);
    host.stacks.insert(A.into(), vec![Mounted::Box(9, "/a".into())]);
    let want = [
        "keep the evidence",
        "stop worker.service, part.service",
        "unmount /srv/jobs/a",
        "run `/opt/rebind all`",
        "start tiering.service",
        "restart viewer.service",
        "run `/opt/smoke`",
    ];
    assert_eq!(host.planned(), want);

    let mut host = Host::with(spec);
    host.run_until(Ms::mins(3), |_| false);
    host.read_only = true;
    let planned = host.planned();
    assert_eq!(planned[2..4], ["run `/opt/rebind all`", "start tiering.service"]);
}

/// A writer is not started onto what lies beneath its storage, however long that is lost.
#[test]
fn a_holder_is_kept_down_while_its_storage_is_lost() {
    let mut policy = policy(spec());
    let mut worker = fixture::service("worker");
    worker.spec = Spec::Service(service::Spec::new(UnitName::new("worker.service")));
    policy.watches.insert(fixture::watch("worker"), worker);
    let mut host = Host::of(policy);
    assert!(
        host.run_until(Ms::mins(1), |host| host.engine.view().watch(&hot_id()).is_some_and(|w| w.targets.len() == 3))
    );
    host.stack(A, Mounted::Other);
    host.run_until(Ms::mins(5), |_| false);
    host.units.remove("worker.service");
    assert!(!host.run_until(Ms::hours(3), |host| !host.plans().is_empty()), "{:?}", host.plans());
    let view = host.engine.view();
    let worker = view.watch(&fixture::watch("worker")).expect("it is shown");
    let holds: Vec<Hold> = worker.targets[0].holds.iter().map(|held| held.hold).collect();
    assert!(holds.contains(&Hold::DependencyDown), "{holds:?}");
}
