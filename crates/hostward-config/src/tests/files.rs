//! Directories: which files are read, which mask which, and what is said of those that cannot be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use hostward_core::id::WatchId;

use super::line;
use crate::{LoadError, load, load_from, parse};

struct Roots {
    _dir: tempfile::TempDir,
    etc: PathBuf,
    lib: PathBuf,
}

fn roots() -> Roots {
    let dir = tempfile::tempdir().unwrap();
    let (etc, lib) = (dir.path().join("etc"), dir.path().join("lib"));
    fs::create_dir_all(etc.join("conf.d")).unwrap();
    fs::create_dir_all(lib.join("conf.d")).unwrap();
    Roots { _dir: dir, etc, lib }
}

fn service(name: &str) -> String {
    format!("[service.{name}]\nunit = \"{name}.service\"\n")
}

#[test]
fn no_configuration_is_a_case_of_its_own() {
    let roots = roots();
    fs::write(roots.etc.join("conf.d/a.toml"), "nonsense").unwrap();
    let absent = load_from(&[roots.etc.clone(), roots.lib.clone()]).unwrap_err();
    assert!(matches!(&absent, LoadError::Absent { looked } if *looked == [roots.etc, roots.lib]), "{absent}");
    assert!(absent.to_string().starts_with("no configuration: no hostward.toml in "), "{absent}");
}

#[test]
fn a_file_masks_those_of_its_name_in_later_directories() {
    let roots = roots();
    fs::write(roots.lib.join("hostward.toml"), "nonsense").unwrap();
    fs::write(roots.etc.join("hostward.toml"), "").unwrap();
    fs::write(roots.etc.join("conf.d/20-b.toml"), service("b")).unwrap();
    fs::write(roots.lib.join("conf.d/10-a.toml"), service("a")).unwrap();
    fs::write(roots.lib.join("conf.d/20-b.toml"), service("masked")).unwrap();
    fs::write(roots.lib.join("conf.d/30-c.toml"), service("off")).unwrap();
    symlink("/dev/null", roots.etc.join("conf.d/30-c.toml")).unwrap();
    fs::write(roots.etc.join("conf.d/40-d.toml.bak"), "nonsense").unwrap();
    fs::write(roots.etc.join("conf.d/.#20-b.toml"), "nonsense").unwrap();

    let loaded = load_from(&[roots.etc.clone(), roots.lib.clone()]).unwrap();
    let watches: Vec<&str> = loaded.policy.watches.keys().map(WatchId::as_str).collect();
    assert_eq!(watches, ["service.a", "service.b"]);
    let read = [
        roots.etc.join("hostward.toml"),
        roots.lib.join("conf.d/10-a.toml"),
        roots.etc.join("conf.d/20-b.toml"),
        roots.etc.join("conf.d/30-c.toml"),
    ];
    assert_eq!(loaded.sources, read);
}

#[test]
fn what_cannot_be_read_is_said_and_never_left_out_in_silence() {
    let roots = roots();
    fs::write(roots.etc.join("hostward.toml"), "").unwrap();
    fs::write(roots.etc.join("conf.d/large.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    fs::write(roots.etc.join("conf.d/latin1.toml"), b"# ok\nx = \"caf\xe9\"\n").unwrap();
    fs::create_dir(roots.etc.join("conf.d/dir.toml")).unwrap();
    symlink("nowhere", roots.etc.join("conf.d/link.toml")).unwrap();
    let Err(LoadError::Rejected(rejected)) = load(&roots.etc) else { panic!("accepted") };
    let said: Vec<String> = rejected
        .errors
        .iter()
        .map(|error| format!("{} {}", error.file.file_name().unwrap().display(), line(error)))
        .collect();
    assert_eq!(
        said,
        [
            "dir.toml 0:0 cannot be read: not a regular file | -",
            "large.toml 0:0 larger than 1 MiB | split it into files in conf.d",
            "latin1.toml 2:9 this is not UTF-8 | save the file as UTF-8",
            "link.toml 0:0 cannot be read: No such file or directory (os error 2) | -",
        ]
    );
}

#[test]
fn what_two_files_declare_is_refused_with_both_places() {
    let twice = "[host]\n[metrics]\n[app.x]\n[service.api]\napp = \"x\"\nunit = \"api.service\"\n";
    let rejected = parse(&[("hostward.toml", twice), ("conf.d/a.toml", twice)]).unwrap_err();
    let said: Vec<String> = rejected
        .errors
        .iter()
        .map(|error| {
            let first = error.related.as_ref().unwrap();
            let at = |file: &PathBuf, line, column| format!("{}:{line}:{column}", file.display());
            let here = at(&error.file, error.line, error.column);
            format!("{here} {}, {} {}", error.message, first.message, at(&first.file, first.line, first.column))
        })
        .collect();
    assert_eq!(
        said,
        [
            "conf.d/a.toml:1:2 [host] is declared twice, first declared here hostward.toml:1:2",
            "conf.d/a.toml:2:2 [metrics] is declared twice, first declared here hostward.toml:2:2",
            "conf.d/a.toml:3:6 [app.x] is declared twice, first declared here hostward.toml:3:6",
            "conf.d/a.toml:4:10 [service.api] is declared twice, first declared here hostward.toml:4:10",
        ]
    );
}

#[test]
fn tables_of_one_kind_may_be_spread_over_files() {
    let main = "[service.a]\napp = \"x\"\nunit = \"a.service\"\nremedy.ladder = [\"reconcile:env\"]\n";
    let more = "[app.x]\ntree = \"/opt/x\"\n[baseline.env]\napp = \"x\"\n\
                python = { venv = \"/opt/x/.venv\", lock = \"/opt/x/uv.lock\" }\n\
                reconcile.run = [[\"/usr/bin/uv\", \"sync\", \"--frozen\", \"--project\", \"/opt/x\"]]\n";
    let loaded = parse(&[("hostward.toml", main), ("conf.d/x.toml", more)]).unwrap();
    assert_eq!(loaded.policy.watches.len(), 2);
    assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
}
