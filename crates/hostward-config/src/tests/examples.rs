//! The shipped examples load, say what they look like, and never make a half-written file look whole.

use std::path::{Path, PathBuf};

use hostward_core::ask::{HttpQ, Picked, PythonQ, WantList};
use hostward_core::expect::Test;
use hostward_core::id::{AppName, Str, UnitName, WatchId};
use hostward_core::policy::{App, Brakes, Host, Mode, Watch};
use hostward_core::time::Ms;
use hostward_core::watch::Spec;
use hostward_core::watch::baseline::{self, Reconcile, When};
use hostward_core::watch::service::{self, HttpProbe, Statuses, Step};

use super::good;
use crate::{load, parse};

const NAMES: [&str; 8] = ["minimal", "api-and-venv", "healtharchive", "jobs", "notify", "probes", "queue", "storage"];

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(dir(name).join("hostward.toml")).expect("an example is in the repository")
}

#[test]
fn every_example_loads_without_a_warning() {
    for name in NAMES {
        let loaded = load(&dir(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.render_warnings(false));
    }
}

/// What the page on services gives to be copied: its own stanzas together are one configuration.
#[test]
fn the_stanzas_for_debians_own_services_load_without_a_warning() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/usage/service.md");
    let page = std::fs::read_to_string(page).expect("the page is in the repository");
    let section =
        page.split("\n## ").find(|section| section.starts_with("Debian's own services")).expect("a section");
    let blocks = section.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let loaded = good(&blocks.collect::<Vec<_>>().join("\n"));
    let watches: Vec<&str> = loaded.policy.watches.keys().map(WatchId::as_str).collect();
    assert_eq!(watches, ["service.nginx", "service.postgres", "service.redis", "service.web"]);
    assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
}

#[test]
fn the_least_configuration_has_every_default() {
    let policy = good(&text("minimal")).policy;
    assert_eq!(policy.host, Host::default());
    let brakes =
        Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::secs(60) };
    let spec = Spec::Service(service::Spec::new(UnitName::new("example-api.service")));
    let watch =
        Watch { app: None, mode: Mode::Act, sentinel: None, compat: None, brakes, needs: vec![], reach: None, spec };
    assert_eq!(policy.watches.into_iter().collect::<Vec<_>>(), [(WatchId::new("service.api"), watch)]);
}

#[test]
fn the_commented_example_reads_as_it_says() {
    let loaded = good(&text("api-and-venv"));
    let app = App {
        lock: Some("/tmp/example-deploy.lock".into()),
        sentinel: None,
        replaces: vec![UnitName::new("example-drift-auto-reconcile.timer")],
        tree: Some("/opt/example".into()),
    };
    assert_eq!(loaded.policy.apps[&AppName::new("example")], app);
    assert_eq!(loaded.export.listen, Some(([127, 0, 0, 1], 9469).into()));

    let Spec::Service(api) = &loaded.policy.watches[&WatchId::new("service.api")].spec else { panic!("a service") };
    let probe = HttpProbe {
        question: HttpQ::get("http://127.0.0.1:8001/api/health", vec!["/checks/*/status".into(), "/ok".into()]),
        every: Ms::secs(10),
        timeout: Ms::secs(2),
        status: Statuses::one(200),
        json: vec![Test::All(Picked::Text("ok".into())), Test::Eq(Picked::Bool(true))],
        headers: vec![],
        tls_days: 14,
        components: None,
    };
    assert_eq!(api.http, [probe]);
    assert_eq!(api.ladder, [Step::Restart, Step::Reconcile(WatchId::new("baseline.app")), Step::Notify]);

    let watch = &loaded.policy.watches[&WatchId::new("baseline.app")];
    let pip = ["/opt/example/.venv/bin/pip", "install", "--no-deps", "-r", "/opt/example/requirements.lock"];
    let spec = baseline::Spec {
        python: PythonQ {
            venv: "/opt/example/.venv".into(),
            wants: vec![
                WantList::Requirements("/opt/example/requirements.lock".into()),
                WantList::Inline(vec!["fastapi>=0.115".into(), "slowapi".into()]),
            ],
            // The app's.
            tree: Some("/opt/example".into()),
        },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: Some(Reconcile {
            run: vec![pip.map(Into::into).to_vec()],
            user: Some("deploy".into()),
            dir: Some("/opt/example".into()),
            deadline: Ms::mins(15),
            when: When::UnitDown,
            quiesce: vec![],
            restart: vec![UnitName::new("example-api.service")],
            prove: Some(WatchId::new("service.api")),
            prove_within: Ms::mins(2),
        }),
    };
    assert_eq!(watch.spec, Spec::Baseline(spec));
    assert_eq!(watch.brakes, crate::baseline::BRAKES);
}

#[test]
fn an_existing_fleets_names_stay() {
    let policy = good(&text("healtharchive")).policy;
    let watch = &policy.watches[&WatchId::new("baseline.healtharchive")];
    assert_eq!(watch.compat.as_deref(), Some("healtharchive_drift_auto_reconcile"));
    let gate = policy.gate(watch);
    let sentinels = ["/etc/hostward/enabled", "/etc/healtharchive/drift-auto-reconcile-enabled"];
    assert_eq!(gate.sentinels, sentinels.map(PathBuf::from));
    assert_eq!(gate.lock, Some("/tmp/healtharchive-deploy.lock".into()));
    let storage = &policy.watches[&WatchId::new("storage.tiering")];
    let families = ["storage_hotpath_auto_recover", "tiering", "storagebox_mount", "systemd_unit"];
    assert_eq!(policy.gate(storage).families, families.map(|name| Str::from(format!("healtharchive_{name}"))));
}

/// A file cut off at any byte never panics, and one that was cut inside a key or a value is refused.
#[test]
fn a_half_written_file_is_never_taken_for_a_whole_one() {
    for name in NAMES {
        let whole = text(name);
        assert!(whole.is_ascii(), "{name}: every byte is a place to cut");
        for end in 0..=whole.len() {
            let cut = &whole[..end];
            let read = parse(&[("hostward.toml", cut)]);
            if let Err(rejected) = &read {
                let rendered = rejected.render(false);
                assert!(rendered.starts_with("error: "), "{name}, cut at {end}:\n{rendered}");
            }
            assert!(!torn(cut) || read.is_err(), "{name}, cut at {end}, was accepted: {:?}", cut.lines().last());
        }
    }
}

/// Any one byte lost or mistyped: accepted or refused, never a panic.
#[test]
fn a_slip_of_the_hand_never_panics() {
    let whole = text("api-and-venv");
    for at in 0..whole.len() {
        for slip in ["", "\"", "[", "=", "\n", "\u{e9}"] {
            let slipped = [&whole[..at], slip, &whole[at + 1..]].concat();
            if let Err(rejected) = parse(&[("hostward.toml", &slipped)]) {
                assert!(!rejected.errors.is_empty() && !rejected.render(false).is_empty());
            }
        }
    }
}

/// Cut inside a key, a string, a list or a table's header.
fn torn(cut: &str) -> bool {
    let code: Vec<&str> = cut.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
    let last = code.last().copied().unwrap_or_default().trim();
    let count = |c: char| code.iter().map(|line| line.matches(c).count()).sum::<usize>();
    let key_only = !last.is_empty() && !last.contains(['=', '[', ']', '"', ',']);
    !cut.ends_with('\n') && (key_only || last.ends_with('=')) || count('"') % 2 == 1 || count('[') != count(']')
}
