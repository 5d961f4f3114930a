//! Hot paths that are lost and mounted anew: what the plan says for each reason, and what comes of it.

mod host;
mod last_look;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use host::{A, B, BOX, Host, Mounted, Server, hot_id, lost, policy, spec};

use super::world::refold;
use crate::ask::{AskKey, ManifestQ, Write};
use crate::fixture;
use crate::hold::Hold;
use crate::id::{Str, TargetId, UnitName, WatchId};
use crate::ledger::Closing;
use crate::plan::Arm;
use crate::policy::Mode;
use crate::time::Ms;
use crate::watch::storage::{self, Dependent, Expected, Manifest};
use crate::watch::{Spec, service};

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
        "lift the fence of /srv/box",
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

/// A union of several servers of which one is slow: the abort would end the others with it.
#[test]
fn a_connection_that_answers_somebody_is_not_aborted() {
    let mut host = lost(Server::Serves);
    host.slow.insert(A.into());
    assert!(!host.run_until(Ms::hours(1), |host| !host.plans().is_empty()), "{:?}", host.plans());
    let (holds, said) = host.holds(A);
    assert_eq!(holds, [Hold::NoRemedy]);
    assert!(said.contains("which answers"), "{said}");
    host.slow.extend([BOX, B].map(PathBuf::from));
    assert!(host.planned()[1].starts_with("abort the FUSE connection 0:1"), "nobody is left");
}

/// What is bare is closed before anything else; the bind opens it.
#[test]
fn a_path_without_a_mount_is_closed_until_it_has_one() {
    let mut host = lost(Server::Serves);
    host.stacks.remove(Path::new(A));
    let want = [
        "keep the evidence",
        "stop worker.service, part.service",
        "fence /srv/jobs/a",
        "bind /srv/box/a to /srv/jobs/a",
    ];
    assert_eq!(host.planned(), want);
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.healthy());
}

/// Somebody who is no holder writes there all the while, to no disk beneath: open is only what another unit mounts.
#[test]
fn what_is_taken_off_is_closed_until_it_is_bound() {
    let mut host = lost(Server::Dead);
    let mut open = BTreeSet::new();
    while host.closings().is_empty() {
        let acts = host.did.len();
        assert!(host.run_until(Ms::hours(1), |host| host.did.len() > acts || !host.closings().is_empty()));
        let bare = |path: &&str| host.top(Path::new(path)).is_none();
        open.extend([BOX, A, B].into_iter().filter(bare).map(|path| (path, host.did.last().cloned())));
    }
    assert_eq!(open, [(BOX, Some("lift the fence of /srv/box".to_owned()))].into());
}

/// A timer would start the worker amid the plan: it stands still as well, and returns last.
#[test]
fn who_would_start_a_holder_meanwhile_stands_still() {
    let mut host = lost(Server::Dead);
    host.units.insert("worker.timer");
    let planned = host.planned();
    let stops = ["stop worker.timer, which would start worker.service", "stop worker.service, part.service"];
    assert_eq!(planned[1..3], stops);
    assert_eq!(host.closed(1), Closing::Proved);
    let returned = host.did.len() - 2;
    assert_eq!(host.did[returned..], ["start worker.service, part.service", "start worker.timer"]);
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
    assert_eq!(host.did[9..], ["fence /srv/jobs/b", "start worker.service, part.service"]);
    host.gone.clear();
    assert!(host.run_until(Ms::hours(7), Host::healthy), "{:?} {:?}", host.holds(B), host.did);
    assert_eq!(host.healed(1), [B]);
    let acts: Vec<String> =
        host.plans()[1].steps.iter().filter_map(|s| s.act.as_ref()).map(ToString::to_string).collect();
    assert_eq!(acts[2..], ["bind /srv/box/b to /srv/jobs/b"]);
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
    host.gone.clear();
    assert!(host.run_until(Ms::hours(1), Host::healthy), "{:?}", host.did);
    assert_eq!(host.plans()[1].rung.as_str(), "rebind");
}

/// A base that answers is made anew only when a rebind did not help and nobody is left who would lose it.
#[test]
fn a_base_that_answers_is_left_to_those_for_whom_it_does() {
    for (paths, rung) in [(&[A][..], "rebind"), (&[A, B], "remount")] {
        let mut host = lost(Server::Serves);
        for path in paths {
            host.stacks.remove(Path::new(path));
            host.gone.insert(path.replace("/srv/jobs", BOX).into());
        }
        assert!(host.run_until(Ms::hours(3), |host| host.plans().len() > 1), "{:?}", host.did);
        assert_eq!(host.plans()[1].rung.as_str(), rung, "{paths:?}");
    }
}

/// What is still bare when PID 1 has to give back is closed by it as well.
#[test]
fn pid_1_closes_what_is_bare_before_it_starts_who_writes() {
    let mut host = lost(Server::Dead);
    assert_eq!(host.closed(1), Closing::Proved);
    let bare: Vec<usize> = host.armed.iter().map(|arm| arm.owed.fences.len() + arm.owed.covers.len()).collect();
    assert_eq!(bare, [0, 1, 2, 3, 3, 3, 2, 1, 0], "at each act from the stop on");
}

/// Also where nobody is stopped; and soon, for each step pushes it ahead.
#[test]
fn pid_1_closes_what_is_bare_though_nobody_is_to_return() {
    let mut spec = spec();
    spec.remedy.holders.clear();
    let mut host = Host::with(spec);
    host.run_until(Ms::mins(3), |_| false);
    host.servers.insert(1, Server::Dead);
    assert_eq!(host.closed(1), Closing::Proved);
    let owed = |arm: &Arm| (arm.owed.units.len(), arm.owed.fences.len(), arm.owed.covers.len());
    let armed: Vec<_> = host.armed.iter().map(owed).collect();
    let taken = [(0, 0, 1), (0, 1, 1), (0, 2, 1)];
    assert_eq!(armed, [&taken[..], &[(0, 3, 0), (0, 3, 0), (0, 2, 0), (0, 1, 0)]].concat());
    let longest = host.armed.iter().map(|arm| arm.after).max();
    assert_eq!(longest, Some(Ms::mins(3) + Ms::secs(180 + 60)), "of the base's restart and its looks");
}

/// Whenever it dies: the worker returns, every path is well or closed, and the attempt counts once.
#[test]
fn a_death_at_any_act_leaves_nothing_stopped_and_nothing_bare() {
    for act in 1..=9 {
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

/// What systemd mounts when it is asked for, it mounts over whatever we put there.
#[test]
fn what_an_automount_mounts_is_left_to_it() {
    for paths in [&[BOX][..], &[A, B]] {
        let mut host = lost(Server::Dead);
        host.automounts.extend(paths.iter().map(PathBuf::from));
        assert!(!host.run_until(Ms::mins(30), |host| !host.plans().is_empty()), "{:?}", host.plans());
        let (holds, said) = host.holds(A);
        assert_eq!(holds, [Hold::NoRemedy]);
        assert!(said.contains("is an automount"), "{said}");
    }
}

/// Between the unmount of the wrong disk and the mount of the right one nobody is in an operator's way.
#[test]
fn a_reason_that_has_just_changed_is_looked_at_again() {
    let mut host = lost(Server::Serves);
    host.stack(A, Mounted::Other);
    host.run_until(Ms::mins(10), |_| false);
    host.stacks.remove(Path::new(A));
    let missing = |host: &Host| host.holds(A).1.contains("missing since the last look");
    assert!(host.run_until(Ms::secs(20), missing), "{:?}", host.holds(A));
    assert!(host.plans().is_empty());
    assert!(host.run_until(Ms::secs(20), |host| !host.plans().is_empty()));
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

/// What is shown is what can be applied: it does not change with each look.
#[test]
fn a_plan_stays_the_same_from_look_to_look() {
    for server in [Server::Dead, Server::Hangs] {
        let mut policy = policy(spec());
        policy.watches.get_mut(&hot_id()).expect("it is declared").reach = Some("tcp:box:22".into());
        let mut host = Host::of(policy);
        host.unreachable = true;
        host.run_until(Ms::mins(1), |_| false);
        host.servers.insert(1, server);
        let mut hashes = BTreeSet::new();
        for _ in 0..20 {
            host.run_until(Ms::secs(31), |_| false);
            let view = host.engine.view();
            let targets = &view.watch(&hot_id()).expect("it is shown").targets;
            let own = targets.iter().find(|target| &*target.id.key == BOX && target.holds.len() == 1);
            hashes.extend(own.and_then(|target| target.plan.as_ref()).map(|(hash, _)| hash.clone()));
        }
        assert_eq!(hashes.len(), 1, "{server:?}");
    }
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
        "lift the fence of /srv/jobs/a",
        "run `/opt/rebind all`",
        "start tiering.service",
        "restart viewer.service",
        "run `/opt/smoke`",
    ];
    assert_eq!(host.planned(), want);

    // Of a base that is made anew, what the commands mount is healed along.
    let mut host = Host::with(spec.clone());
    host.run_until(Ms::mins(3), |_| false);
    host.servers.insert(1, Server::Dead);
    let planned = host.planned();
    let want = ["unmount /srv/jobs/b", "lift the fence of /srv/box", "restart box.service"];
    let mended = ["lift the fence of /srv/jobs/a", "lift the fence of /srv/jobs/b", "run `/opt/rebind all`"];
    assert_eq!(planned[4..10], [want, mended].concat());

    let mut host = Host::with(spec);
    host.run_until(Ms::mins(3), |_| false);
    host.read_only = true;
    let planned = host.planned();
    assert_eq!(planned[2..4], ["run `/opt/rebind all`", "start tiering.service"]);
}

/// What was closed while something dead lay beneath is opened, freed of that, and mounted anew.
#[test]
fn a_fence_over_a_dead_mount_goes_first() {
    let mut host = lost(Server::Serves);
    host.servers.insert(9, Server::Dead);
    host.stacks.insert(A.into(), vec![Mounted::Box(9, "/a".into()), Mounted::Fence]);
    let want = ["lift the fence of /srv/jobs/a", "unmount /srv/jobs/a", "bind /srv/box/a to /srv/jobs/a"];
    assert_eq!(host.planned()[2..], want);
    assert_eq!(host.closed(1), Closing::Proved);
    assert!(host.healthy());
}

/// Of a manifest only the line says what is bound; whether that stands is asked of the mount that it comes from.
#[test]
fn what_a_manifest_lists_is_mounted_anew_like_any_other() {
    let listed = |user: Option<Str>| {
        let asked = ManifestQ { file: "/etc/hot".into(), roots: vec!["/srv/jobs".into()], user, write: Write::Never };
        Manifest { asked, expected: Expected { base: Some(UnitName::new("srv-box.mount")), ..Expected::default() } }
    };
    let spec = storage::Spec { paths: Vec::new(), manifest: Some(listed(None)), ..spec() };
    for (server, rung) in [(Server::Serves, "rebind"), (Server::Dead, "remount")] {
        let mut host = Host::with(spec.clone());
        host.units.insert("srv-box.mount");
        assert!(host.run_until(Ms::mins(3), |host| {
            host.engine.view().watch(&hot_id()).is_some_and(|w| w.targets.len() == 3)
        }));
        host.servers.insert(1, server);
        for path in [A, B].iter().filter(|_| server == Server::Serves) {
            host.stacks.remove(Path::new(path));
        }
        let planned = host.planned();
        assert_eq!(host.plans()[0].rung.as_str(), rung, "{planned:?}");
        assert_eq!(host.healed(0), [A, B]);
        let remounts = planned.contains(&"restart srv-box.mount".to_owned());
        assert_eq!(remounts, server == Server::Dead, "{planned:?}");
        assert_eq!(planned.contains(&"unmount /srv/box".to_owned()), remounts, "{planned:?}");
        assert_eq!(host.closed(1), Closing::Proved);
        assert!([A, B].iter().all(|path| host.is_well(path)));
    }
}

/// A writer is not started onto what lies beneath its storage, however long that is lost; nor is a unit that systemd would
/// start it for.
#[test]
fn a_holder_is_kept_down_while_its_storage_is_lost() {
    let mut policy = policy(spec());
    for name in ["worker", "front"] {
        let mut service = fixture::service(name);
        service.spec = Spec::Service(service::Spec::new(UnitName::new(format!("{name}.service"))));
        policy.watches.insert(fixture::watch(name), service);
    }
    let mut host = Host::of(policy);
    host.units.insert("front.service");
    assert!(
        host.run_until(Ms::mins(1), |host| host.engine.view().watch(&hot_id()).is_some_and(|w| w.targets.len() == 3))
    );
    host.stack(A, Mounted::Other);
    host.run_until(Ms::mins(5), |_| false);
    host.units.remove("worker.service");
    host.units.remove("front.service");
    assert!(!host.run_until(Ms::hours(3), |host| !host.plans().is_empty()), "{:?}", host.plans());
    let view = host.engine.view();
    for name in ["worker", "front"] {
        let service = view.watch(&fixture::watch(name)).expect("it is shown");
        let holds: Vec<Hold> = service.targets[0].holds.iter().map(|held| held.hold).collect();
        assert!(holds.contains(&Hold::DependencyDown), "{name}: {holds:?}");
    }
}

/// Its unit does not run, and somebody mounted it by hand.
#[test]
fn a_base_that_serves_is_not_unmounted() {
    let mut host = lost(Server::Serves);
    host.units.remove("box.service");
    host.stacks.remove(Path::new(A));
    let mut all = Vec::new();
    for _ in 0..3 {
        let n = host.plans().len();
        if !host.run_until(Ms::hours(2), |host| host.plans().len() > n) {
            break;
        }
        let plan = host.plans()[n];
        all.extend(plan.steps.iter().filter_map(|step| step.act.as_ref()).map(ToString::to_string));
    }
    assert!(!all.contains(&"unmount /srv/box".to_owned()), "{all:#?}");
}

/// It takes a mount off that answers: where that does not come back, nobody writes beneath.
#[test]
fn a_restart_of_a_base_that_is_mounted_owes_its_fence() {
    let mut host = lost(Server::Serves);
    for path in [A, B] {
        host.stacks.remove(Path::new(path));
        host.gone.insert(path.replace("/srv/jobs", BOX).into());
    }
    assert!(host.run_until(Ms::hours(3), |host| host.plans().len() > 1), "{:?}", host.did);
    let plan = host.plans()[1];
    assert_eq!(plan.rung.as_str(), "remount");
    let fence = crate::plan::Act::Fence(BOX.into());
    let owed = plan.steps.iter().any(|step| step.back.as_ref().is_some_and(|back| back.act == fence));
    let acts: Vec<String> = plan.steps.iter().filter_map(|s| s.act.as_ref()).map(ToString::to_string).collect();
    assert!(owed, "{acts:#?}");
}

/// D6, for an hour: nobody may free the mount that hangs. It is looked at, and nothing of that adds up.
#[test]
fn an_hour_of_a_hung_mount_costs_its_looks_and_nothing_more() {
    let mut policy = policy(spec());
    policy.watches.get_mut(&hot_id()).expect("it is declared").mode = Mode::Observe;
    policy.watches.insert(fixture::watch("api"), fixture::service("api"));
    let mut host = Host::of(policy);
    host.units.insert("api.service");
    host.run_until(Ms::mins(3), |_| false);
    host.servers.insert(1, Server::Hangs);
    host.run_until(Ms::mins(10), |_| false);
    let asked = |host: &Host, watch: &WatchId| -> usize {
        let of = |key: &AskKey| matches!(key, AskKey::Probe(id, _) if id == watch);
        host.asked.iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum()
    };
    let kept = |host: &Host| serde_json::to_string(&host.engine.memory()).expect("it is kept").len();
    let watches = [hot_id(), fixture::watch("api")];
    let before = watches.clone().map(|watch| asked(&host, &watch));
    let (records, memory) = (host.records.len(), kept(&host));
    host.run_until(Ms::hours(1), |_| false);
    let looks = [0, 1].map(|n| asked(&host, &watches[n]) - before[n]);
    // Each quarter of a minute, for as long as something is wrong; the other at its own pace.
    assert!((235..=241).contains(&looks[0]), "{looks:?}");
    assert!((59..=61).contains(&looks[1]), "{looks:?}");
    assert_eq!(host.records.len(), records, "{:#?}", &host.records[records..]);
    // Stamps have more digits by now.
    assert!(kept(&host) < memory + 200, "{memory} bytes before, {} now", kept(&host));
    assert!([BOX, A, B].iter().all(|path| host.holds(path).0 == [Hold::ObserveOnly]), "{:?}", host.holds(A));
    assert!(host.plans().is_empty());

    host.servers.insert(1, Server::Serves);
    let up = |host: &Host| host.engine.view().watch(&hot_id()).is_some_and(|watch| watch.up() == Some(true));
    assert!(host.run_until(Ms::mins(2), up), "it is well as soon as it answers");
}

/// While the holders are stopped an operator mounts all of it by hand: that is left, and no fence goes over it.
#[test]
fn what_was_remounted_meanwhile_is_left() {
    for acts in [2, 3, 5] {
        let mut host = lost(Server::Dead);
        assert!(host.run_until(Ms::mins(10), |host| host.did.len() == acts), "{:?}", host.did);
        // Of one that is mounted again the kernel may give the very numbers of the last: only that it answers tells.
        for device in [1, 9] {
            host.servers.insert(device, Server::Serves);
        }
        let device = if acts == 3 { 1 } else { 9 };
        for (path, folder) in [(BOX, "/"), (A, "/a"), (B, "/b")] {
            host.stacks.insert(path.into(), vec![Mounted::Box(device, folder.into())]);
        }
        assert_ne!(host.closed(1), Closing::Proved);
        assert_eq!(host.did[acts..], ["start worker.service, part.service"], "nothing is taken off or covered");
        assert!(host.healthy());
    }
}

/// Who hangs was freed by its server meanwhile.
#[test]
fn what_answers_again_is_not_aborted() {
    let mut host = lost(Server::Hangs);
    assert!(host.run_until(Ms::mins(10), |host| host.did.len() == 1), "{:?}", host.did);
    host.servers.insert(1, Server::Serves);
    let closing = host.closed(1);
    assert!(matches!(closing, Closing::Held { step: 1, .. }), "{closing:?}");
    assert_eq!(host.did, ["keep the evidence"]);
}
