//! `[storage.NAME]`: what is read, and what is refused.

use hostward_core::ask::{ManifestQ, PathQ, Write};
use hostward_core::id::{UnitName, WatchId};
use hostward_core::time::Ms;
use hostward_core::watch::Spec;
use hostward_core::watch::storage::{self, Dependent, Disk, Expected, HotPath, Lies, Manifest, Remedy};

use super::{bad, good, line};

fn storage(text: &str, name: &str) -> storage::Spec {
    match good(text).policy.watches.remove(&WatchId::new(name)).map(|watch| watch.spec) {
        Some(Spec::Storage(spec)) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_watch_has_every_default() {
    let asked = PathQ { path: "/srv/hot".into(), bind: None, user: None, write: Write::Never };
    let spec = storage::Spec {
        paths: vec![HotPath { asked, expected: Expected::default() }],
        manifest: None,
        disks: vec![],
        interval: Ms::secs(60),
        deadline: Ms::secs(10),
        confirm_runs: 2,
        confirm_age: Ms::secs(120),
        remedy: Remedy::default(),
    };
    assert_eq!(storage("[[storage.x.paths]]\npath = \"/srv/hot\"", "storage.x"), spec);
}

#[test]
fn the_example_reads_as_it_says() {
    let text = include_str!("../../../../examples/storage/hostward.toml");
    let base = storage(text, "storage.box");
    let expected = Expected {
        lies: Lies::Mounted,
        source: Some("jobs@box.example.org:/data".into()),
        fstype: Some("fuse.sshfs".into()),
        base: Some(UnitName::new("srv-box.mount")),
    };
    let asked = PathQ { path: "/srv/box".into(), bind: None, user: Some("worker".into()), write: Write::Never };
    assert_eq!(base.paths, [HotPath { asked, expected: expected.clone() }]);
    let jobs = storage(text, "storage.jobs");
    let asked = ManifestQ {
        file: "/etc/example/hot-paths".into(),
        roots: vec!["/srv/jobs".into()],
        user: Some("worker".into()),
        write: Write::Canary,
    };
    let expected = Expected { source: None, base: None, ..expected };
    assert_eq!(jobs.manifest, Some(Manifest { asked, expected }));
    let disk = Disk { path: "/".into(), used: 90, inodes: 90, full_within: Ms::hours(24) };
    assert_eq!((jobs.disks, jobs.paths), (vec![disk], vec![]));
}

#[test]
fn a_folder_below_a_mount() {
    let spec = storage("[[storage.x.paths]]\npath = \"/srv/box/7\"\nbelow = \"/srv/box\"", "storage.x");
    assert_eq!(spec.paths[0].expected.lies, Lies::Below("/srv/box".into()));
}

#[test]
fn what_it_may_do() {
    let text = r#"
[storage.x]
roots    = ["/srv"]
holders  = ["worker.service"]
lazy     = true
reach    = "tcp:box.example.org:22"
rebind   = [["/opt/rebind", "all"]]
oneshots = ["tiering.service"]
[[storage.x.paths]]
path = "/srv/hot"
base = "srv-hot.mount"
[[storage.x.dependents]]
unit  = "viewer.service"
smoke = ["/opt/smoke"]
"#;
    let remedy = Remedy {
        holders: vec![UnitName::new("worker.service")],
        lazy: true,
        rebind: vec![vec!["/opt/rebind".into(), "all".into()]],
        oneshots: vec![UnitName::new("tiering.service")],
        dependents: vec![Dependent { unit: UnitName::new("viewer.service"), smoke: Some(vec!["/opt/smoke".into()]) }],
    };
    assert_eq!(storage(text, "storage.x").remedy, remedy);
    assert_eq!(
        good(text).policy.watches[&WatchId::new("storage.x")].reach.as_deref(),
        Some("tcp:box.example.org:22")
    );
}

const HOT: &str = "[[storage.x.paths]]\npath = \"/srv/hot\"\n";

#[test]
fn refusals() {
    let table: [(String, &str); 25] = [
        (
            "[storage.x]\ninterval = \"60s\"".into(),
            "1:10 [storage.x] watches nothing | add [[storage.x.paths]], [storage.x.manifest] or [[storage.x.disks]]",
        ),
        ("[[storage.x.paths]]\nsource = \"a\"".into(), "1:1 [storage.x.paths] has no `path` | add path = "),
        ("[[storage.x.paths]]\npath = \"srv\"".into(), "2:8 `srv` is not an absolute path |"),
        ("[[storage.x.paths]]\npath = \"/srv/../etc\"".into(), "2:8 `/srv/../etc` contains .. |"),
        (
            format!("[storage.x]\nroots = [\"/srv/jobs\"]\n{HOT}"),
            "4:8 `/srv/hot` lies outside `roots` | a watch touches nothing outside its roots",
        ),
        (format!("{HOT}{HOT}"), "4:8 `/srv/hot` belongs to [storage.x] already | one watch judges a path"),
        (
            format!("{HOT}{}", HOT.replace(".x.", ".y.")),
            "4:8 `/srv/hot` belongs to [storage.x] already | one watch judges a path",
        ),
        (
            format!(
                "{HOT}base = \"srv-hot.mount\"\n[[storage.y.paths]]\npath = \"/b\"\nbind = \"/srv/hot/b\"\nbase = \"srv-hot.mount\""
            ),
            "7:8 `srv-hot.mount` belongs to [storage.x] already | declare all its paths in one watch",
        ),
        (
            format!("{HOT}[[storage.x.paths]]\npath = \"/srv/hot/in\""),
            "4:8 `/srv/hot/in` is a mount point within `/srv/hot` | watch it in a watch of its own",
        ),
        (format!("{HOT}below = \"/srv/other\""), "3:9 `/srv/hot` does not lie below `/srv/other` |"),
        (format!("{HOT}below = \"/srv\"\nbind = \"/a\""), "4:8 what is bound to a path makes it a mount point |"),
        (format!("{HOT}write = \"canari\""), "3:9 `canari` is no way of trying | did you mean `canary`?"),
        (
            "[storage.x.manifest]\nfile = \"/etc/hot\"".into(),
            "1:12 a manifest without `roots` could name any path of this host | add roots",
        ),
        (
            format!("{HOT}bind = \"/a\"\nbase = \"box.service\""),
            "4:8 where does box.service mount? | add a path with this `base`",
        ),
        (
            format!("{HOT}base = \"srv-box.mount\""),
            "2:8 srv-box.mount mounts at `/srv/box`, and this path lies on `/srv/hot` | name the unit that mounts `/srv/hot`",
        ),
        (
            format!(
                "{HOT}base = \"b.service\"\n[[storage.x.paths]]\npath = \"/srv/b/7\"\nbelow = \"/srv/b\"\nbase = \"b.service\""
            ),
            "5:8 b.service mounts at `/srv/hot`, and this path lies on `/srv/b` | name the unit that mounts `/srv/b`",
        ),
        (
            format!("[storage.x]\nlazy = \"yes\"\n{HOT}"),
            "2:8 `lazy` must be true or false, not text | write lazy = true, without quotes",
        ),
        (format!("[storage.x]\nholders = []\n{HOT}"), "2:11 `holders` is empty |"),
        (
            format!("[storage.x]\nholders = [\"w.service\", \"w.service\"]\n{HOT}"),
            "2:25 `w.service` is named twice | keep one of them",
        ),
        (
            format!(
                "[storage.x]\noneshots = [{}\"i.service\"]\n{HOT}",
                "abcdefgh".chars().fold(String::new(), |all, c| all + &format!("\"{c}.service\", "))
            ),
            "2:117 9 are more than the limit of 8 oneshots |",
        ),
        (
            format!("[storage.x]\nrebind = [[\"mount\", \"-a\"]]\n{HOT}"),
            "2:12 `mount` is not an absolute path | commands run without a shell",
        ),
        (format!("[storage.x]\nreach = \"box\"\n{HOT}"), "2:9 `box` cannot be reached | write tcp:HOST:PORT"),
        (
            format!("[[storage.x.dependents]]\nsmoke = [\"/bin/true\"]\n{HOT}"),
            "1:1 [storage.x.dependents] has no `unit` |",
        ),
        (
            format!("[[storage.x.dependents]]\nunit = \"v.service\"\nsmoke = [\"true\"]\n{HOT}"),
            "3:10 `true` is not an absolute path |",
        ),
        ("[[storage.x.disks]]\npath = \"/\"\nused = 0".into(), "3:8 `used` is out of range: `0` | from 1 to 100"),
    ];
    let said = |text: &str| bad(text).errors.iter().map(line).collect::<Vec<String>>();
    let wrong = |(text, want): &(String, &str)| {
        let said = said(text);
        (said.len() != 1 || !said[0].starts_with(want)).then(|| format!("{text}\n{said:#?}"))
    };
    let wrong: Vec<String> = table.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn disks_twice() {
    let text = "[[storage.x.disks]]\npath = \"/\"\n[[storage.x.disks]]\npath = \"//\"";
    let said: Vec<String> = bad(text).errors.iter().map(line).collect();
    assert_eq!(said, ["4:8 this disk is declared twice | keep one of them"]);
}

/// Its own commands may mount it from whatever they like; what is bound may come from a mount elsewhere.
#[test]
fn a_base_may_mount_elsewhere_where_something_else_makes_the_mount() {
    let commands = format!("[storage.x]\nrebind = [[\"/opt/rebind\"]]\n{HOT}base = \"srv-box.mount\"");
    assert!(good(&commands).warnings.is_empty());
    assert!(good(&format!("{HOT}bind = \"/srv/box/hot\"\nbase = \"srv-box.mount\"")).warnings.is_empty());
}

#[test]
fn a_bind_of_anything_is_doubted() {
    let list = "[storage.x]\nroots = [\"/srv\"]\n[storage.x.manifest]\nfile = \"/etc/hot\"";
    let help = "add `base`, `source` or `fstype`, or declare that mount as a path: while it is lost, \
                a folder of the disk beneath may be bound";
    let table = [
        (format!("{HOT}bind = \"/box/7\""), "2:8 nothing says which mount `/box/7` lies on"),
        (list.to_owned(), "3:12 nothing says which mount what its paths are bound to lies on"),
    ];
    for (text, wanted) in table {
        let said: Vec<String> = good(&text).warnings.iter().map(line).collect();
        assert_eq!(said, [format!("{wanted} | {help}")], "{text}");
        let box_too =
            format!("{text}\n[[storage.x.paths]]\npath = \"/box\"").replace("\"/srv\"]", "\"/srv\", \"/box\"]");
        for mended in [format!("{text}\nsource = \"me@box:/\""), format!("{text}\nfstype = \"nfs4\""), box_too] {
            assert!(good(&mended).warnings.is_empty(), "{mended}");
        }
    }
}
