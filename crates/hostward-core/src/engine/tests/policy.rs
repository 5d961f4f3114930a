//! The declared state of the virtual host: one app with a service and a baseline, at the documented defaults.

use std::path::PathBuf;

use crate::ask::{HttpQ, PythonQ, WantList};
use crate::id::{AppName, TargetId, UnitName, WatchId};
use crate::policy::{App, Brakes, Mode, Policy, Watch};
use crate::time::Ms;
use crate::watch::{Spec, baseline, service};

pub(super) const UNIT: &str = "example-api.service";
pub(super) const HOST_SENTINEL: &str = "/etc/hostward/enabled";
pub(super) const WATCH_SENTINEL: &str = "/etc/hostward/baseline.enabled";
pub(super) const REVISION: &str = "3f0c1de";
pub(super) const SOAK: Ms = Ms::mins(5);

pub(super) fn api() -> TargetId {
    TargetId::new(WatchId::new("service.api"), UNIT)
}

pub(super) fn drift() -> TargetId {
    TargetId::new(WatchId::new("baseline.app"), "python")
}

pub(super) fn policy() -> Policy {
    let app = AppName::new("example");
    let example = App {
        lock: Some(PathBuf::from("/run/example/deploy.lock")),
        sentinel: None,
        replaces: Vec::new(),
        tree: Some(PathBuf::from("/srv/example")),
    };
    let service = Watch {
        app: Some(app.clone()),
        mode: Mode::Act,
        sentinel: None,
        compat: None,
        brakes: Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: SOAK },
        needs: Vec::new(),
        reach: None,
        spec: Spec::Service(service_spec()),
    };
    let baseline = Watch {
        app: Some(app.clone()),
        mode: Mode::Act,
        sentinel: Some(PathBuf::from(WATCH_SENTINEL)),
        compat: None,
        brakes: Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 4, soak: SOAK },
        needs: Vec::new(),
        reach: None,
        spec: Spec::Baseline(baseline_spec()),
    };
    Policy {
        apps: [(app, example)].into(),
        watches: [(api().watch, service), (drift().watch, baseline)].into(),
        ..Policy::default()
    }
}

/// Only the service, outside any app.
pub(super) fn service_only() -> Policy {
    let mut policy = policy();
    policy.watches.remove(&drift().watch);
    policy
}

fn service_spec() -> service::Spec {
    let question = HttpQ::get("http://127.0.0.1:8000/health", Vec::new());
    service::Spec {
        http: vec![service::HttpProbe::new(question)],
        ladder: vec![service::Step::Restart, service::Step::Reconcile(drift().watch), service::Step::Notify],
        ..service::Spec::new(UnitName::new(UNIT))
    }
}

pub(super) const COMMAND: [&str; 3] = ["/srv/example/venv/bin/uv", "sync", "--frozen"];

fn baseline_spec() -> baseline::Spec {
    let lock = PathBuf::from("/srv/example/uv.lock");
    baseline::Spec {
        python: PythonQ {
            venv: PathBuf::from("/srv/example/venv"),
            wants: vec![WantList::UvLock(lock)],
            tree: Some(PathBuf::from("/srv/example")),
        },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: Some(baseline::Reconcile {
            run: vec![COMMAND.map(Into::into).to_vec()],
            user: Some("example".into()),
            dir: Some(PathBuf::from("/srv/example")),
            deadline: Ms::mins(15),
            when: baseline::When::UnitDown,
            quiesce: Vec::new(),
            restart: vec![UnitName::new(UNIT)],
            prove: Some(api().watch),
            prove_within: Ms::mins(2),
        }),
    }
}
