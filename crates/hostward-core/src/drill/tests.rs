use super::*;
use crate::ask::{Active, ClosureReading, Look, On, PathQ, PathReading, Space, Write};
use crate::fixture;
use crate::id::UnitName;
use crate::watch::storage::{self, Expected, HotPath, Lies, Remedy};

const BOX: &str = "/srv/box";
const A: &str = "/srv/jobs/a";
const B: &str = "/srv/jobs/b";

fn own() -> HotPath {
    let asked = PathQ { path: BOX.into(), bind: None, user: None, write: Write::Never };
    let base = Some(UnitName::new("srv-box.mount"));
    HotPath { asked, expected: Expected { lies: Lies::Mounted, source: None, fstype: None, base } }
}

fn bound(hot: &str, cold: &str) -> HotPath {
    let asked = PathQ { path: hot.into(), bind: Some(cold.into()), user: None, write: Write::Canary };
    HotPath { asked, expected: Expected::default() }
}

fn policy() -> Policy {
    let spec = storage::Spec {
        paths: vec![own(), bound(A, "/srv/box/a"), bound(B, "/srv/box/b")],
        manifest: None,
        disks: Vec::new(),
        interval: Ms::secs(60),
        deadline: Ms::secs(10),
        confirm_runs: 2,
        confirm_age: Ms::secs(120),
        remedy: Remedy { holders: vec![UnitName::new("worker.service")], ..Remedy::default() },
    };
    // Nobody may act here in earnest: a drill asks nobody.
    let watch = Watch { spec: Spec::Storage(spec), mode: Mode::Observe, ..fixture::service("box") };
    Policy {
        watches: [(id(), watch), (WatchId::new("service.api"), fixture::service("api"))].into(),
        ..Policy::default()
    }
}

fn id() -> WatchId {
    WatchId::new("storage.box")
}

fn reading(path: &str, cold: Option<&str>, look: Look) -> PathReading {
    let on = |point: &str, folder: &str| On {
        id: 7,
        point: point.into(),
        device: "0:42".into(),
        folder: folder.into(),
        source: "box:/".into(),
        fstype: "fuse.sshfs".into(),
        read_only: false,
        waiting: Some(0),
    };
    let folder = cold.map_or("/", |cold| cold.trim_start_matches(BOX));
    let bind = cold.map(|_| on(BOX, folder));
    PathReading {
        path: path.into(),
        on: Some(on(path, folder)),
        fenced: false,
        automount: false,
        cold: cold.map(Into::into),
        bind,
        look,
    }
}

fn seen(look: Look) -> PathsReading {
    let closure = ClosureReading {
        active: true,
        members: vec![UnitName::new("part.service")],
        one_way: Vec::new(),
        stop_timeout: Ms::secs(30),
        wakers: Vec::new(),
    };
    let well = || Look::Answered(Space::default());
    PathsReading {
        paths: vec![
            reading(BOX, None, well()),
            reading(A, Some("/srv/box/a"), look),
            reading(B, Some("/srv/box/b"), well()),
        ],
        units: vec![(UnitName::new("srv-box.mount"), Ok(Active::Active))],
        holders: vec![(UnitName::new("worker.service"), Ok(closure))],
        ..PathsReading::default()
    }
}

fn drill(path: &str, wound: Wound) -> Drill {
    let seen = seen(Look::Answered(Space::default()));
    Drill { policy: policy(), watch: id(), path: path.into(), wound, seen, wall: Ms::hours(500_000) }
}

fn acts(played: &Played) -> Vec<String> {
    let (_, plan) = played.plan.as_ref().unwrap_or_else(|| panic!("nothing was begun: {:?}", played.holds));
    plan.steps.iter().filter_map(|step| step.act.as_ref()).map(ToString::to_string).collect()
}

/// Each plan is the one that the same incident makes, and its steps suffice.
#[test]
fn each_wound_is_healed_by_the_plan_that_its_evidence_supports() {
    let quiesced = ["keep the evidence", "stop worker.service, part.service"];
    let all = [
        "unmount /srv/box",
        "unmount /srv/jobs/a",
        "unmount /srv/jobs/b",
        "lift the fence of /srv/box",
        "restart srv-box.mount",
        "bind /srv/box/a to /srv/jobs/a",
        "bind /srv/box/b to /srv/jobs/b",
    ];
    let one = ["unmount /srv/jobs/a", "bind /srv/box/a to /srv/jobs/a"];
    let bare = ["fence /srv/jobs/a", "bind /srv/box/a to /srv/jobs/a"];
    let abort = "abort the FUSE connection 0:42, shared by /srv/box, /srv/jobs/a, /srv/jobs/b";
    let table: [(&str, Wound, &[&str], &[&str]); 4] = [
        (A, Wound::Stale, &quiesced, &one),
        (A, Wound::Missing, &quiesced, &bare),
        (BOX, Wound::Stale, &quiesced, &all),
        (BOX, Wound::Hung, &["keep the evidence", abort, quiesced[1]], &all),
    ];
    for (path, wound, first, rest) in table {
        let played = drill(path, wound).play().unwrap();
        assert_eq!(acts(&played), [first, rest].concat(), "{path} {wound}");
        assert_eq!(played.closing, Some(Closing::Proved), "{path} {wound}");
        let before = played.records.iter().filter(|record| record.at.since(played.began) == Ms::ZERO);
        assert_eq!(before.count(), 0, "nothing is known of it before it is seen");
    }
}

#[test]
fn what_no_remedy_fits_is_held_and_says_why() {
    let mut drill = drill(BOX, Wound::Missing);
    let watch = drill.policy.watches.get_mut(&id()).unwrap();
    let Spec::Storage(spec) = &mut watch.spec else { panic!("it is storage") };
    spec.paths[0].expected.base = None;
    let played = drill.play().unwrap();
    assert_eq!((played.closing, played.plan.is_none()), (None, true));
    assert!(
        played.holds.iter().any(|held| held.value.contains("nothing says how /srv/box is mounted")),
        "{:?}",
        played.holds
    );
}

#[test]
fn what_cannot_be_played_is_named() {
    let none = Drill { watch: WatchId::new("storage.none"), ..drill(A, Wound::Stale) };
    assert_eq!(none.play().unwrap_err(), NoDrill::NoStorage(WatchId::new("storage.none")));
    let service = Drill { watch: WatchId::new("service.api"), ..drill(A, Wound::Stale) };
    assert_eq!(service.play().unwrap_err(), NoDrill::NoStorage(WatchId::new("service.api")));
    let elsewhere = drill("/srv/elsewhere", Wound::Stale).play().unwrap_err();
    assert!(elsewhere.to_string().ends_with("it has: /srv/box, /srv/jobs/a, /srv/jobs/b"), "{elsewhere}");
    let failed = Look::Failed { call: crate::ask::Call::Open, errno: 107, why: "not connected".into() };
    let unwell = Drill { seen: seen(failed), ..drill(A, Wound::Hung) }.play().unwrap_err();
    assert!(matches!(&unwell, NoDrill::Unwell { path, .. } if **path == *A), "{unwell}");
}
