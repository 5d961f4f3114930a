use std::path::PathBuf;

use super::*;
use crate::ask::{Active, Call, On, PathsReading, Refused, Space, Write};
use crate::plan::{Abort, Bind, Command, Gather, Stop, Unmount};
use crate::starvation::Lag;

const HOT: &str = "/srv/jobs/7";
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ELOOP: i32 = 40;
const ENOTCONN: i32 = 107;
const EHOSTDOWN: i32 = 112;
const ESTALE: i32 = 116;

fn now(after: Ms) -> Now {
    Now { boot: 1, up: Ms::hours(10) + after, wall: Ms::days(20_000) + after }
}

fn base() -> UnitName {
    UnitName::new("srv-box.mount")
}

/// A hot path that is bound to a folder of an sshfs mount, and written to.
fn spec() -> Spec {
    let asked = PathQ {
        path: HOT.into(),
        bind: Some("/srv/box/7".into()),
        user: Some("worker".into()),
        write: Write::Canary,
    };
    let expected = Expected {
        lies: Lies::Mounted,
        source: Some("me@box:/data".into()),
        fstype: Some("fuse.sshfs".into()),
        base: Some(base()),
    };
    Spec {
        paths: vec![HotPath { asked, expected }],
        manifest: None,
        disks: Vec::new(),
        interval: Ms::secs(60),
        deadline: Ms::secs(10),
        confirm_runs: 2,
        confirm_age: Ms::secs(120),
        remedy: Remedy::default(),
    }
}

fn on() -> On {
    On {
        id: 7,
        point: HOT.into(),
        device: "0:45".into(),
        folder: "/7".into(),
        source: "me@box:/data".into(),
        fstype: "fuse.sshfs".into(),
        read_only: false,
        waiting: Some(0),
    }
}

fn well() -> PathReading {
    let bind = On { point: "/srv/box".into(), ..on() };
    PathReading {
        path: HOT.into(),
        on: Some(on()),
        fenced: false,
        automount: false,
        cold: Some("/srv/box/7".into()),
        bind: Some(bind),
        look: Look::Answered(Space::default()),
    }
}

fn failed(call: Call, errno: i32) -> Look {
    Look::Failed { call, errno, why: format!("errno {errno}").into() }
}

fn stuck() -> Look {
    Look::Stuck { at: HOT.into(), age: Ms::secs(30) }
}

/// What the one path comes to: the label of its reason, `up`, or that of the fault.
fn judged(spec: &Spec, seen: PathReading, state: Result<Active, Fault>) -> String {
    let reading = PathsReading { paths: vec![seen], units: vec![(base(), state)], ..PathsReading::default() };
    let sights = read(spec, &mut Memo::default(), reading);
    let [Sight { key, shown: Shown::Seen(seen), confirm, .. }] = sights.as_slice() else { panic!("{sights:?}") };
    assert_eq!((&**key, *confirm), (HOT, Confirm { runs: 2, age: Ms::secs(120), quiet: None }));
    label(seen)
}

fn label(seen: &Seen) -> String {
    match seen {
        Seen::Up => "up".into(),
        Seen::Down(reason) => reason.code.label().into(),
        Seen::Unknown(fault) => format!("unknown {}", fault.label()),
    }
}

fn read(spec: &Spec, memo: &mut Memo, reading: PathsReading) -> Vec<Sight> {
    let answer = Ok(Reading::Paths(Box::new(reading)));
    spec.read(memo, now(Ms::ZERO), &answer, &Starvation::default())
}

#[test]
fn what_a_look_comes_to() {
    let table = [
        (Look::Answered(Space::default()), "up"),
        (failed(Call::Statvfs, ENOTCONN), "stale"),
        (failed(Call::List, ESTALE), "stale"),
        (failed(Call::Open, EIO), "stale"),
        (failed(Call::Open, EHOSTDOWN), "stale"),
        (failed(Call::Write, ENOTCONN), "stale"),
        (stuck(), "hung"),
        (failed(Call::Open, ENOENT), "missing"),
        (failed(Call::Write, EROFS), "readonly"),
        (failed(Call::Access, EROFS), "readonly"),
        (failed(Call::Write, EACCES), "unwritable"),
        (failed(Call::Access, EACCES), "unwritable"),
        (failed(Call::Write, ENOSPC), "unwritable"),
        (failed(Call::Open, EACCES), "unknown denied"),
        (failed(Call::Open, ENOTDIR), "unknown config"),
        (failed(Call::Open, ELOOP), "unknown config"),
        (failed(Call::List, 99), "unknown unreadable"),
        (Look::Unasked(Fault::Probe("no child".into())), "unknown probe"),
    ];
    for (look, expected) in table {
        let shown = format!("{look:?}");
        assert_eq!(judged(&spec(), PathReading { look, ..well() }, Ok(Active::Active)), expected, "{shown}");
    }
}

#[test]
fn what_its_place_among_the_mounts_comes_to() {
    let root = || On {
        id: 1,
        point: "/".into(),
        device: "8:1".into(),
        folder: HOT.into(),
        source: "/dev/sda1".into(),
        fstype: "ext4".into(),
        read_only: false,
        waiting: None,
    };
    let table = [
        (Some(on()), "up"),
        (None, "up"),
        (Some(root()), "missing"),
        (Some(On { point: HOT.into(), ..root() }), "wrong_source"),
        (Some(On { source: "me@other:/data".into(), ..on() }), "wrong_source"),
        (Some(On { fstype: "nfs4".into(), ..on() }), "wrong_source"),
        (Some(On { folder: "/8".into(), ..on() }), "wrong_source"),
        (Some(On { device: "0:99".into(), ..on() }), "wrong_source"),
        (Some(On { fstype: "autofs".into(), source: "systemd-1".into(), ..on() }), "unknown config"),
        (Some(On { read_only: true, ..on() }), "readonly"),
    ];
    for (on, expected) in table {
        let shown = format!("{on:?}");
        assert_eq!(judged(&spec(), PathReading { on, ..well() }, Ok(Active::Active)), expected, "{shown}");
    }
}

/// mount(8) follows links: what is mounted behind one is well, and a remedy would cover it.
#[test]
fn what_is_behind_a_link_is_not_missing() {
    let root = On { point: "/".into(), device: "8:1".into(), folder: HOT.into(), ..on() };
    for errno in [ELOOP, ENOTDIR] {
        let seen = PathReading { on: Some(root.clone()), look: failed(Call::Open, errno), ..well() };
        assert_eq!(judged(&spec(), seen, Ok(Active::Active)), "unknown config", "{errno}");
    }
}

#[test]
fn what_is_not_declared_is_not_judged() {
    let mut bare = spec();
    bare.paths[0].asked.write = Write::Never;
    bare.paths[0].expected = Expected::default();
    let other = On { source: "x".into(), fstype: "y".into(), read_only: true, ..on() };
    let unbound = PathReading { on: Some(other), bind: None, ..well() };
    assert_eq!(judged(&bare, unbound, Ok(Active::Failed)), "up");
}

#[test]
fn a_folder_below_a_mount_must_lie_on_it() {
    let mut below = spec();
    below.paths[0].expected = Expected { lies: Lies::Below("/srv".into()), ..Expected::default() };
    for (point, expected) in [("/srv", "up"), ("/srv/jobs", "up"), ("/", "missing"), ("/srvx", "missing")] {
        let seen = PathReading { on: Some(On { point: point.into(), ..on() }), bind: None, ..well() };
        assert_eq!(judged(&below, seen, Ok(Active::Active)), expected, "{point}");
    }
}

#[test]
fn a_base_counts_when_its_unit_is_known_to_be_down() {
    let table = [
        (Ok(Active::Active), "up"),
        (Ok(Active::Activating), "up"),
        (Ok(Active::Failed), "base_down"),
        (Ok(Active::Inactive), "base_down"),
        (Err(Fault::BusAway("gone".into())), "up"),
    ];
    for (state, expected) in table {
        assert_eq!(judged(&spec(), well(), state.clone()), expected, "{state:?}");
    }
}

/// One that is wrong in every way is called by what is most certain; and what cannot be read never hides it.
#[test]
fn the_certain_comes_before_the_inferred() {
    let wrong = || Some(On { source: "other".into(), read_only: true, ..on() });
    let gone = || Some(On { point: "/".into(), read_only: true, ..on() });
    let table = [
        (gone(), stuck(), "hung"),
        (gone(), failed(Call::List, ENOTCONN), "stale"),
        (gone(), failed(Call::Access, EROFS), "missing"),
        (wrong(), failed(Call::Access, EROFS), "wrong_source"),
        (None, failed(Call::Access, EROFS), "base_down"),
        (None, failed(Call::List, ENOTCONN), "stale"),
        (None, stuck(), "hung"),
        (gone(), Look::Unasked(Fault::Timeout), "missing"),
        (None, Look::Unasked(Fault::Timeout), "base_down"),
    ];
    for (on, look, expected) in table {
        let shown = format!("{on:?} {look:?}");
        let seen = PathReading { on, look, ..well() };
        assert_eq!(judged(&spec(), seen, Ok(Active::Failed)), expected, "{shown}");
    }
}

#[test]
fn what_is_told_names_the_mount_and_who_waits() {
    let waiting = Some(On { waiting: Some(3), ..on() });
    let seen =
        PathReading { on: waiting, look: Look::Stuck { at: "/srv/jobs/1".into(), age: Ms::secs(30) }, ..well() };
    let sights = read(&spec(), &mut Memo::default(), PathsReading { paths: vec![seen], ..PathsReading::default() });
    let Shown::Seen(Seen::Down(reason)) = &sights[0].shown else { panic!("{sights:?}") };
    let told = "no answer from /srv/jobs/1 for 30s (me@box:/data, fuse.sshfs); 3 requests wait for its server";
    assert_eq!(&*reason.detail, told);
}

#[test]
fn a_silence_on_a_starved_host_counts_after_five_minutes() {
    let (spec, mut memo, mut starvation) = (spec(), Memo::default(), Starvation::default());
    let mut look = |after: Ms, look: Look| {
        starvation.note(now(after), Lag { late: Ms::secs(1), echo: Some(Ms(1)) });
        let paths = vec![PathReading { look, ..well() }];
        let answer = Ok(Reading::Paths(Box::new(PathsReading { paths, ..PathsReading::default() })));
        let sights = spec.read(&mut memo, now(after), &answer, &starvation);
        let Shown::Seen(seen) = &sights[0].shown else { panic!("{sights:?}") };
        label(seen)
    };
    assert_eq!(look(Ms::ZERO, stuck()), "unknown timeout");
    assert_eq!(look(Ms::mins(4), Look::Answered(Space::default())), "up");
    assert_eq!(look(Ms::mins(5), stuck()), "unknown timeout");
    assert_eq!(look(Ms::mins(9), stuck()), "unknown timeout");
    assert_eq!(look(Ms::mins(10), stuck()), "hung");
}

fn listing() -> Spec {
    let asked = ManifestQ {
        file: "/etc/example/hot-paths".into(),
        roots: vec!["/srv".into()],
        user: None,
        write: Write::Never,
    };
    Spec { manifest: Some(Manifest { asked, expected: Expected::default() }), ..spec() }
}

fn listed(paths: &[&str], manifest: ManifestReading) -> PathsReading {
    let one = |path: &&str| {
        let on = On { point: PathBuf::from(path), ..on() };
        PathReading { path: path.into(), on: Some(on), cold: None, bind: None, ..well() }
    };
    let entries = u32::try_from(paths.len()).unwrap();
    let manifest = Some(ManifestReading { entries, ..manifest });
    PathsReading { paths: paths.iter().map(one).collect(), manifest, ..PathsReading::default() }
}

/// Each target with what is seen of it.
fn seen(sights: &[Sight]) -> Vec<(String, String)> {
    let shown = |sight: &Sight| match &sight.shown {
        Shown::Gone => "gone".to_owned(),
        Shown::Seen(seen) => label(seen),
        Shown::Nothing => "nothing".to_owned(),
    };
    sights.iter().map(|sight| (sight.key.to_string(), shown(sight))).collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, label)| ((*key).to_owned(), (*label).to_owned())).collect()
}

#[test]
fn paths_come_and_go_with_their_manifest() {
    let (spec, mut memo) = (listing(), Memo::default());
    let whole = ManifestReading::default;
    let sights = read(&spec, &mut memo, listed(&["/srv/a", "/srv/b"], whole()));
    assert_eq!(seen(&sights), named(&[("/srv/a", "up"), ("/srv/b", "up"), ("manifest", "up")]));
    let sights = read(&spec, &mut memo, listed(&["/srv/b"], whole()));
    assert_eq!(seen(&sights), named(&[("/srv/b", "up"), ("/srv/a", "gone"), ("manifest", "up")]));
    let torn = ManifestReading { unread: Some(Fault::Timeout), ..whole() };
    let sights = read(&spec, &mut memo, listed(&[], torn));
    assert_eq!(seen(&sights), named(&[("/srv/b", "unknown timeout"), ("manifest", "unknown timeout")]));
    let sights = read(&spec, &mut memo, listed(&["/srv/b"], whole()));
    assert_eq!(seen(&sights), named(&[("/srv/b", "up"), ("manifest", "up")]), "it was never forgotten");
    let sights = read(&spec, &mut memo, listed(&[], whole()));
    assert_eq!(seen(&sights), named(&[("/srv/b", "gone"), ("manifest", "config")]), "no path at all is no list");
}

/// No plan lifts it any more; one of a path that is watched is lifted by the next.
#[test]
fn a_fence_where_the_manifest_once_named_a_path_is_told() {
    for (fence, told) in
        [("/srv/gone", true), ("/srv/a", false), (HOT, false), ("/srv/box", false), ("/opt/x", false)]
    {
        let fences = vec![PathBuf::from(fence)];
        let reading = PathsReading { fences, ..listed(&["/srv/a"], ManifestReading::default()) };
        let sights = read(&listing(), &mut Memo::default(), reading);
        let said = sights.iter().find(|sight| &*sight.key == "manifest").map(|sight| format!("{:?}", sight.shown));
        let said = said.expect("it is a part");
        assert_eq!(said.contains("umount -l /srv/gone"), told, "{fence}: {said}");
    }
}

#[test]
fn a_refused_line_is_named_and_the_rest_is_watched() {
    let refused = vec![Refused { line: 12, why: "one column".into() }];
    let manifest = ManifestReading { refused, refused_total: 3, ..ManifestReading::default() };
    let sights = read(&listing(), &mut Memo::default(), listed(&["/srv/a"], manifest));
    let Some(Sight { shown: Shown::Seen(Seen::Down(reason)), .. }) = sights.get(1) else { panic!("{sights:?}") };
    assert_eq!(reason.to_string(), "config: /etc/example/hot-paths:12: one column; 2 more lines are refused");
    assert_eq!(seen(&sights)[0], ("/srv/a".to_owned(), "up".to_owned()));
}

#[test]
fn without_an_answer_everything_is_unknown() {
    let mut spec = listing();
    spec.disks = vec![disk()];
    let mut memo = Memo::default();
    read(&spec, &mut memo, listed(&["/srv/a"], ManifestReading::default()));
    let sights = spec.read(&mut memo, now(Ms::ZERO), &Err(Fault::Timeout), &Starvation::default());
    let keys: Vec<String> = seen(&sights).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["/srv/a", HOT, "disk/", "manifest"]);
    assert!(seen(&sights).iter().all(|(_, label)| label == "unknown timeout"), "{sights:?}");
}

fn disk() -> Disk {
    Disk { path: "/".into(), used: 90, inodes: 95, full_within: Ms::hours(24) }
}

fn space(used: u64, inodes: u64) -> Space {
    Space {
        used_bytes: used * 1_000_000,
        free_bytes: (1000 - used) * 1_000_000,
        used_inodes: inodes,
        free_inodes: 100 - inodes,
    }
}

/// Each look at its minute: per mille used, per cent of inodes, and what it comes to.
fn disk_looks(looks: &[(u64, u64, u64, &str)]) {
    let spec = Spec { disks: vec![disk()], ..spec() };
    let mut memo = Memo::default();
    for (minute, used, inodes, expected) in looks {
        let look = Look::Answered(space(*used, *inodes));
        let disks = vec![PathReading {
            path: "/".into(),
            on: None,
            cold: None,
            bind: None,
            look,
            fenced: false,
            automount: false,
        }];
        let answer = Ok(Reading::Paths(Box::new(PathsReading { disks, ..PathsReading::default() })));
        let sights = spec.read(&mut memo, now(Ms::mins(*minute)), &answer, &Starvation::default());
        assert_eq!(seen(&sights), named(&[("disk/", expected)]), "minute {minute}");
        assert_eq!(memo.room("disk/").map(|room| room.space), Some(space(*used, *inodes)));
    }
}

#[test]
fn a_disk_is_full_by_space_or_inodes_and_stays_so_at_the_threshold() {
    disk_looks(&[
        (0, 890, 50, "up"),
        (1, 891, 50, "disk_space"),
        (2, 890, 50, "disk_space"),
        (3, 881, 50, "disk_space"),
        (4, 870, 50, "up"),
        (5, 880, 94, "up"),
        (6, 880, 95, "disk_inodes"),
        (7, 880, 94, "disk_inodes"),
        (8, 880, 92, "up"),
    ]);
}

#[test]
fn a_disk_that_grows_is_told_of_before_it_is_full() {
    // 10 per mille in half an hour, and 490 are left: a day and a half hour.
    disk_looks(&[(0, 500, 1, "up"), (29, 530, 1, "up"), (30, 510, 1, "up"), (31, 512, 1, "disk_filling")]);
    // Once told of, it is well again when there is half as much time more.
    disk_looks(&[(0, 500, 1, "up"), (30, 520, 1, "disk_filling"), (60, 518, 1, "disk_filling"), (90, 518, 1, "up")]);
    disk_looks(&[(0, 500, 1, "up"), (60, 400, 1, "up"), (120, 500, 1, "up")]);
    // What grew seven hours ago grows no more.
    disk_looks(&[(0, 500, 1, "up"), (40, 600, 1, "disk_filling"), (401, 600, 1, "up")]);
}

#[test]
fn a_disk_that_counts_no_inodes_is_not_out_of_them() {
    let mut memo = disk::Memo::default();
    let space = Space { used_bytes: 1, free_bytes: 9, used_inodes: 0, free_inodes: 0 };
    assert_eq!(memo.judge(now(Ms::ZERO), space, &disk()), Seen::Up);
}

/// Nothing is done that the operator did not write down.
#[test]
fn only_what_was_declared_is_allowed() {
    let unit = |name: &str| UnitName::new(name);
    let words = |words: &[&str]| words.iter().map(|word| Str::from(*word)).collect::<Vec<_>>();
    let remedy = Remedy {
        holders: vec![unit("worker.service")],
        lazy: false,
        rebind: vec![words(&["/opt/rebind"])],
        oneshots: vec![unit("tiering.service")],
        dependents: vec![Dependent { unit: unit("viewer.service"), smoke: Some(words(&["/opt/smoke"])) }],
    };
    let asked =
        ManifestQ { file: "/etc/hot".into(), roots: vec!["/srv/listed".into()], user: None, write: Write::Never };
    let manifest = Some(Manifest { asked, expected: Expected::default() });
    let spec = Spec { manifest, remedy, ..spec() };
    let command = |argv: &[&str], user: Option<&str>| {
        Act::Command(Command { argv: words(argv), user: user.map(Into::into), dir: None, env: None })
    };
    let bind = |cold: &str, hot: &str| Act::Bind(Bind { cold: cold.into(), hot: hot.into() });
    let unmount = |path: &str, lazy| Act::Unmount(Unmount { path: path.into(), lazy, was: on().mark() });
    let abort = |path: &str| {
        Act::Abort(Abort { path: path.into(), device: "0:45".into(), points: Vec::new(), was: on().mark() })
    };
    let stop = |name: &str| Act::Stop(Stop { unit: unit(name), closure: Vec::new(), wakes: None });
    let table = [
        (command(&["/opt/rebind"], None), true),
        (command(&["/opt/smoke"], None), true),
        (command(&["/opt/smoke"], Some("worker")), false),
        (command(&["/opt/rebind", "all"], None), false),
        (Act::Restart(base()), true),
        (Act::Restart(unit("viewer.service")), true),
        (Act::Restart(unit("worker.service")), false),
        (stop("worker.service"), true),
        (stop("viewer.service"), false),
        (Act::Start(vec![unit("tiering.service")]), true),
        (Act::Start(vec![unit("tiering.service"), unit("worker.service")]), false),
        (Act::Fence(HOT.into()), true),
        (Act::Fence("/srv/listed/1".into()), true),
        (Act::Unfence("/srv/listed".into()), false),
        (Act::Fence("/srv/other".into()), false),
        (bind("/srv/box/7", HOT), true),
        (bind("/srv/box/8", HOT), false),
        (bind("/srv/box/8", "/srv/listed/8"), true),
        (bind("/srv/box/8", "/srv/listed"), false),
        (unmount(HOT, false), true),
        (unmount(HOT, true), false),
        (unmount("/srv/box", false), true),
        (unmount("/srv", false), false),
        (abort("/srv/box"), true),
        (abort("/srv/other"), false),
        (Act::Gather(Gather { paths: vec![HOT.into()], units: Vec::new() }), true),
        (Act::Gather(Gather { paths: vec!["/etc".into()], units: Vec::new() }), false),
    ];
    for (act, allowed) in table {
        assert_eq!(spec.allows(&act), allowed, "{act:?}");
    }
}
