//! Real environments in temporary directories: everything but the interpreter.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use hostward_core::ask::{Fault, Interpreter, WantList};
use hostward_core::time::Ms;
use tempfile::TempDir;

use super::*;

/// An environment of Python 3.11 in `venv`, an application in `app`.
struct Host(TempDir);

impl Host {
    fn new(dists: &[(&str, &str)]) -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        host.write("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.2\n");
        host.write("usr/python3.11", "");
        fs::create_dir_all(host.at("venv/bin")).unwrap();
        symlink(host.at("usr/python3.11"), host.at("venv/bin/python3")).unwrap();
        symlink("python3", host.at("venv/bin/python")).unwrap();
        fs::create_dir_all(host.at(SITE)).unwrap();
        symlink("lib", host.at("venv/lib64")).unwrap();
        for (name, version) in dists {
            host.install(name, version);
        }
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
        self.at(path)
    }

    fn install(&self, name: &str, version: &str) {
        let head = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: x\n\nVersion: 666\n");
        self.write(&format!("{SITE}/{}-{version}.dist-info/METADATA", name.replace('-', "_")), &head);
    }

    fn ask(&self, wants: Vec<WantList>) -> Result<PythonReading, Fault> {
        let q = PythonQ { venv: self.at("venv"), wants, tree: Some(self.at("app")) };
        read(&q).map(|reading| match reading {
            Reading::Python(reading) => reading,
            other => panic!("{other:?}"),
        })
    }

    /// The unmet requirements of `app/requirements.txt`, as they are shown.
    fn requirements(&self, text: &str) -> Result<Vec<String>, Fault> {
        let path = self.write("app/requirements.txt", text);
        self.ask(vec![WantList::Requirements(path)]).map(|reading| shown(&reading))
    }
}

const SITE: &str = "venv/lib/python3.11/site-packages";

fn shown(reading: &PythonReading) -> Vec<String> {
    assert_eq!(reading.unmet.len(), usize::try_from(reading.unmet_total).unwrap().min(100));
    reading.unmet.iter().map(ToString::to_string).collect()
}

fn inline(lines: &[&str]) -> Vec<WantList> {
    vec![WantList::Inline(lines.iter().map(|line| (*line).into()).collect())]
}

#[test]
fn every_form_of_a_requirement_line() {
    let host =
        Host::new(&[("fastapi", "0.115.0"), ("Zope.Interface", "6.1"), ("torch", "2.5.1+cpu"), ("pre", "2.0rc1")]);
    host.write("app/pyproject.toml", "[project]\nname = 'My_App'\n");
    host.write("app/nameless/setup.py", "");
    let cases: [(&str, &[&str]); 38] = [
        ("fastapi==0.115.0", &[]),
        ("fastapi==0.115", &[]),
        ("fastapi==0.115.*", &[]),
        ("FastAPI >=0.100, <1", &[]),
        ("fastapi (>=0.100)", &[]),
        ("fastapi==0.116.0", &["fastapi==0.116.0 is required, 0.115.0 is installed"]),
        ("fastapi>=0.116,<1", &["fastapi>=0.116,<1 is required, 0.115.0 is installed"]),
        ("fastapi[all]~=0.115.0", &[]),
        ("fastapi!=0.115.0", &["fastapi!=0.115.0 is required, 0.115.0 is installed"]),
        ("missing", &["missing is not installed"]),
        ("zope_interface==6.1", &[]),
        ("zope-interface==6.*", &[]),
        ("zope-interface==6.1.1.*", &["zope-interface==6.1.1.* is required, 6.1 is installed"]),
        ("torch==2.5.1", &[]),
        ("torch==2.5.1+cu121", &["torch==2.5.1+cu121 is required, 2.5.1+cpu is installed"]),
        ("pre>=1.0", &[]),
        ("# fastapi==9\n\n   # missing\n", &[]),
        ("fastapi==0.115.0 # missing==1", &[]),
        (
            "fastapi==0.115.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nmissing",
            &["missing is not installed"],
        ),
        ("fastapi \\\n  >=0.100\n", &[]),
        ("missing ; python_version < '3.11'", &[]),
        ("missing ; python_version >= '3.11'", &["missing is not installed"]),
        ("missing ; python_full_version < '3.11.2'", &[]),
        ("missing ; sys_platform == 'win32'", &[]),
        ("missing ; platform_system == 'Linux' and extra == 'x'", &[]),
        ("--index-url https://u:p@h/simple\n--extra-index-url=x\n-i x\n--pre\n-f dir\nfastapi", &[]),
        ("-e .", &["my-app is not installed"]),
        ("--editable=./", &["my-app is not installed"]),
        ("-e ./nameless", &[]),
        ("-e git+https://h/r.git@v1#egg=Other_Thing&subdirectory=x", &["other-thing is not installed"]),
        ("fastapi @ git+https://u:p@h/r.git@v9", &[]),
        ("thing[x] @ https://h/a;b.zip ; python_version < '3'", &[]),
        ("thing @ https://h/thing.zip", &["thing is not installed"]),
        ("https://h/dl/Thing_A-1.0-py3-none-any.whl", &["thing-a is not installed"]),
        ("./dist/thing-b-1.0.tar.gz", &["thing-b is not installed"]),
        ("./dist/thing-1.0.tar.gz ; python_version < '3'", &[]),
        ("git+https://h/r.git", &[]),
        ("\u{feff}fastapi\r\n", &[]),
    ];
    for (text, unmet) in cases {
        assert_eq!(host.requirements(text).unwrap(), unmet, "{text}");
    }
}

#[test]
fn includes_require_and_constraints_only_bound_what_is_required() {
    let host = Host::new(&[("a", "1.0"), ("b", "2.0")]);
    host.write("app/more/base.txt", "b\n-r ../requirements.txt\n-c c.txt\n");
    host.write("app/more/c.txt", "b<2\nunrequired==1\n-r d.txt\n");
    host.write("app/more/d.txt", "a<3\n");
    let unmet = host.requirements("a>=1\n-r more/base.txt\n").unwrap();
    assert_eq!(unmet, ["b<2 is required, 2.0 is installed"]);
    let reading = host.ask(vec![WantList::Requirements(host.at("app/requirements.txt"))]).unwrap();
    assert_eq!((reading.required, reading.installed), (2, 2));
    // Nine files deep.
    for n in 0..9 {
        host.write(&format!("app/{n}.txt"), &format!("-r {}.txt", n + 1));
    }
    host.write("app/9.txt", "a");
    assert!(matches!(host.requirements("-r 0.txt"), Err(Fault::Unreadable(t)) if t.contains("deep")));
    assert_eq!(host.requirements("-r 2.txt"), Ok(vec![]));
}

#[test]
fn a_list_that_is_not_understood_is_a_fault_that_names_the_line_and_not_its_text() {
    let host = Host::new(&[]);
    host.write("app/secret", "root:$6$hunter2:1\n");
    for text in
        ["a\n\n==hunter2", "a\nb c hunter2\n", "-r secret", "-r https://u:hunter2@h/r.txt", "-r none.txt", "\\\n^"]
    {
        let Err(Fault::Unreadable(said)) = host.requirements(text) else { panic!("{text:?} was understood") };
        assert!(said.contains("/app/") && !said.contains("hunter2"), "{text:?}: {said}");
    }
    let Err(Fault::Unreadable(said)) = host.requirements("a\n\n==1") else { panic!() };
    assert!(said.contains("requirements.txt' line 3"), "{said}");
    let Err(Fault::Unreadable(said)) = host.ask(inline(&["a b"])) else { panic!() };
    assert!(said.contains("'a b'"), "{said}");
    for toml in ["[build-system]\n", "[project]\nname='x'\ndynamic=['dependencies']\n", "[project"] {
        let path = host.write("app/pyproject.toml", toml);
        assert!(matches!(host.ask(vec![WantList::Pyproject(path)]), Err(Fault::Unreadable(_))), "{toml}");
    }
}

#[test]
fn an_environment_that_is_gone_is_drift_and_one_that_cannot_be_read_is_a_fault() {
    let wants = || inline(&["a", "b==1", "c ; sys_platform == 'win32'"]);
    let missing = ["a is not installed", "b==1 is not installed"];
    for break_it in [(|host: &Host| fs::remove_dir_all(host.at("venv")).unwrap()) as fn(&Host), |host| {
        fs::remove_file(host.at("venv/pyvenv.cfg")).unwrap();
    }] {
        let host = Host::new(&[("a", "1"), ("b", "1")]);
        assert_eq!(shown(&host.ask(wants()).unwrap()), Vec::<String>::new());
        break_it(&host);
        let reading = host.ask(wants()).unwrap();
        assert_eq!((reading.interpreter.clone(), reading.installed), (Interpreter::NoEnvironment, 0));
        assert_eq!(shown(&reading), missing);
    }
    let host = Host::new(&[]);
    fs::remove_dir_all(host.at("venv")).unwrap();
    host.write("venv", "");
    let Err(Fault::Unreadable(said)) = host.ask(wants()) else { panic!() };
    assert!(said.contains("is a file, not a directory"), "{said}");
}

#[test]
fn the_interpreter_is_what_its_link_leads_to() {
    let interpreter = |change: fn(&Host)| {
        let host = Host::new(&[]);
        change(&host);
        host.ask(Vec::new()).unwrap().interpreter
    };
    let gone = |change: fn(&Host)| match interpreter(change) {
        Interpreter::Gone(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(interpreter(|_| ()), Interpreter::Version("3.11".into()));
    let text = gone(|host| fs::remove_file(host.at("usr/python3.11")).unwrap());
    assert!(text.ends_with("usr/python3.11, which does not exist"), "{text}");
    assert_eq!(&*gone(|host| fs::remove_file(host.at("venv/bin/python")).unwrap()), "bin/python does not exist");
    let circle = gone(|host| {
        fs::remove_file(host.at("venv/bin/python3")).unwrap();
        symlink("python", host.at("venv/bin/python3")).unwrap();
    });
    assert_eq!(&*circle, "bin/python leads in a circle");
    // The distribution was upgraded: the same link is another Python now.
    let upgraded = gone(|host| {
        host.write("usr/python3.13", "");
        fs::remove_file(host.at("usr/python3.11")).unwrap();
        symlink("python3.13", host.at("usr/python3.11")).unwrap();
    });
    assert!(upgraded.contains("python3.13") && upgraded.ends_with("made for 3.11"), "{upgraded}");
}

#[test]
fn what_counts_as_installed() {
    let host = Host::new(&[("a", "1.0")]);
    // No METADATA: the directory's name. Its remains after a failed removal do not count.
    fs::create_dir_all(host.at(&format!("{SITE}/bare_name-3.0.dist-info"))).unwrap();
    fs::create_dir_all(host.at(&format!("{SITE}/~hantom-1.0.dist-info"))).unwrap();
    host.write(
        &format!("{SITE}/long-1.dist-info/METADATA"),
        &format!("Name: long\nX: {}\nVersion: 4.0\n\n", "x".repeat(9000)),
    );
    host.write(&format!("{SITE}/old-1.2-py3.11.egg-info"), "Name: old\nVersion: 1.2\n\n");
    host.write(&format!("{SITE}/linked.egg-link"), "/srv/linked\n.");
    host.write(&format!("{SITE}/weird-x.dist-info/METADATA"), "Name: weird\nVersion: not-a-version\n\n");
    fs::create_dir_all(host.at("venv/lib/python3.9/site-packages/stale-1.0.dist-info")).unwrap();
    let wants = ["a==1", "bare.name==3", "long==4", "old==1.2", "linked>=9", "weird", "stale", "hantom"];
    let reading = host.ask(inline(&wants)).unwrap();
    assert_eq!(shown(&reading), ["hantom is not installed", "stale is not installed"]);
    assert_eq!((reading.installed, reading.required), (6, 8));
    assert!(matches!(host.ask(inline(&["weird>1"])), Err(Fault::Unreadable(t)) if t.contains("weird")));
    // An interrupted upgrade leaves both.
    host.install("a", "2.0");
    assert_eq!(shown(&host.ask(inline(&["a==2"])).unwrap()), ["a==2 is required, 1.0 and 2.0 is installed"]);
}

#[test]
fn unmet_are_in_order_at_most_a_hundred_and_the_same_one_counts_once() {
    let host = Host::new(&[]);
    let lines: Vec<String> = (0..150).rev().map(|n| format!("p{n:03}")).collect();
    let list = || inline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let reading = host.ask([list(), list()].concat()).unwrap();
    assert_eq!((reading.required, reading.unmet_total, reading.unmet.len()), (150, 150, 100));
    assert_eq!((&*reading.unmet[0].name, &*reading.unmet[99].name), ("p000", "p099"));
}

#[test]
fn a_pyproject_is_its_dependencies() {
    let host = Host::new(&[("a", "1.0")]);
    let toml = "[project]\nname='x'\ndependencies=['a>=2', \"b; python_version<'3'\"]\n[project.optional-dependencies]\nx=['c']\n";
    let path = host.write("app/pyproject.toml", toml);
    assert_eq!(shown(&host.ask(vec![WantList::Pyproject(path)]).unwrap()), ["a>=2 is required, 1.0 is installed"]);
}

#[test]
fn a_lock_is_its_closure_for_this_environment() {
    let host = Host::new(&[("direct", "1.0"), ("multi", "1.0"), ("wrong", "1.0"), ("sourced", "0.9.dev1")]);
    let path = host.write("app/uv.lock", LOCK);
    let reading = host.ask(vec![WantList::UvLock(path)]).unwrap();
    let unmet = [
        "by-extra==3.0 is not installed",
        "chosen==1.5 is not installed",
        "deep==1.0 is not installed",
        "member is not installed",
        "wrong==2.0 is required, 1.0 is installed",
    ];
    assert_eq!(shown(&reading), unmet);
    assert_eq!(reading.required, 8);
    let cases = [
        ("version = 2\n", "has version 2"),
        ("version = 1\n", "names no project"),
        ("version = 1\n[[package]]\nname='a'\nsource={virtual='.'}\ndependencies=[{name='b'}]\n", "has no b"),
        (
            "version = 1\n[[package]]\nname='a'\nsource={virtual='.'}\ndependencies=[{name='b',marker='x'}]\n",
            "marker",
        ),
    ];
    for (text, reason) in cases {
        let path = host.write("app/uv.lock", text);
        let Err(Fault::Unreadable(said)) = host.ask(vec![WantList::UvLock(path)]) else { panic!("{text}") };
        assert!(said.contains(reason), "{said}");
    }
}

const LOCK: &str = r#"
version = 1
requires-python = ">=3.9"
resolution-markers = ["python_full_version >= '3.10'", "python_full_version < '3.10'"]

[[package]]
name = "app"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "direct", extra = ["Fancy"] },
    { name = "member" },
    { name = "multi", version = "1.0", source = { registry = "https://pypi.org/simple" }, marker = "python_full_version >= '3.10'" },
    { name = "multi", version = "0.5", source = { registry = "https://pypi.org/simple" }, marker = "python_full_version < '3.10'" },
    { name = "chosen" },
    { name = "sourced" },
    { name = "windows", marker = "sys_platform == 'win32'" },
]
[package.dev-dependencies]
dev = [{ name = "devtool" }]
[package.optional-dependencies]
unasked = [{ name = "unasked" }]

[[package]]
name = "chosen"
version = "0.9"
resolution-markers = ["python_full_version < '3.10'"]
[[package]]
name = "chosen"
version = "1.5"
resolution-markers = ["python_full_version >= '3.10'"]
[[package]]
name = "direct"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "deep" }, { name = "wrong" }]
wheels = [{ url = "https://h/direct.whl", hash = "sha256:aa", size = 1 }]
[package.optional-dependencies]
fancy = [{ name = "by-extra" }]
other = [{ name = "unasked" }]
[[package]]
name = "deep"
version = "1.0"
dependencies = [{ name = "direct" }]
[[package]]
name = "by-extra"
version = "3.0"
[[package]]
name = "member"
source = { editable = "packages/member" }
[[package]]
name = "multi"
version = "0.5"
resolution-markers = ["python_full_version < '3.10'"]
[[package]]
name = "multi"
version = "1.0"
resolution-markers = ["python_full_version >= '3.10'"]
[[package]]
name = "sourced"
version = "0.9"
source = { git = "https://h/r.git#abc" }
[[package]]
name = "wrong"
version = "2.0"
[[package]]
name = "unasked"
version = "1"
[[package]]
name = "windows"
version = "1"
[[package]]
name = "devtool"
version = "1"
"#;

#[test]
fn the_digest_changes_with_the_lists_and_with_nothing_else() {
    let host = Host::new(&[]);
    let digest = |text: &str| {
        host.requirements(text).unwrap();
        host.ask(vec![WantList::Requirements(host.at("app/requirements.txt"))]).unwrap().wants_digest
    };
    host.write("app/base.txt", "x");
    let (first, other) = (digest("-r base.txt"), digest("-r base.txt #"));
    assert_eq!(first.len(), 64);
    assert_ne!(first, other);
    host.install("y", "1");
    assert_eq!(first, digest("-r base.txt"));
    host.write("app/base.txt", "x==1");
    assert_ne!(first, digest("-r base.txt"), "an include counts");
}

#[test]
fn a_checkout_says_its_commit_and_when_it_was_touched() {
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    let revision = |host: &Host| host.ask(Vec::new()).unwrap().revision.map(|r| r.to_string());
    let host = Host::new(&[]);
    assert_eq!(revision(&host), None, "no tree");
    host.write("app/.git/HEAD", "ref: refs/heads/main\n");
    assert_eq!(revision(&host), None, "no commit yet");
    host.write(
        "app/.git/packed-refs",
        &format!("# pack-refs\n{two} refs/heads/main2\n{one} refs/heads/main\n^{two}\n"),
    );
    assert_eq!(revision(&host), Some(one.clone()));
    host.write("app/.git/refs/heads/main", &format!("{two}\n"));
    assert_eq!(revision(&host), Some(two.clone()), "a loose ref hides the packed one");
    host.write("app/.git/HEAD", &format!("{one}\n"));
    assert_eq!(revision(&host), Some(one.clone()), "detached");
    host.write("app/.git/HEAD", "ref: ../../etc/shadow\n");
    assert_eq!(revision(&host), None);
    // A worktree: its HEAD is its own, the branch is the repository's.
    let host = Host::new(&[]);
    let link = host.at("repo/.git/worktrees/app");
    host.write("app/.git", &format!("gitdir: {}\n", link.display()));
    host.write("repo/.git/worktrees/app/HEAD", "ref: refs/heads/x\n");
    host.write("repo/.git/worktrees/app/commondir", "../..\n");
    host.write("repo/.git/refs/heads/x", &two);
    assert_eq!(revision(&host), Some(two));

    let index = host.write("repo/.git/worktrees/app/index", "");
    let later = std::time::SystemTime::now() + std::time::Duration::from_hours(1);
    assert!(host.ask(Vec::new()).unwrap().touched > Ms::ZERO);
    fs::File::options().write(true).open(index).unwrap().set_modified(later).unwrap();
    let later = later.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(u128::from(host.ask(Vec::new()).unwrap().touched.0), later);
}
