//! What the operator of a scenario's host declared, as the engine reads it; and the names of things in both worlds.

use std::path::PathBuf;
use std::sync::Arc;

use hostward_core::ask::{HttpQ, PythonQ, WantList};
use hostward_core::id::{AppName, Str, UnitName, WatchId};
use hostward_core::policy::{self, Brakes, Mode, Policy, Watch};
use hostward_core::time::Ms;
use hostward_core::watch::{Spec, baseline, service, toy};

use super::{Env, Rung, Scenario, Service, Toy};

pub const HOST_SENTINEL: &str = "/etc/hostward/enabled";
pub const TEXTFILE: &str = "/var/lib/node_exporter/hostward.prom";
pub const REACH: &str = "tcp:192.0.2.1:443";

pub fn unit(service: &str) -> UnitName {
    UnitName::new(format!("{service}.service"))
}
pub fn url(service: &str) -> Str {
    format!("http://{service}.local/health").into()
}
pub fn venv(env: &str) -> PathBuf {
    format!("/srv/{env}/venv").into()
}
pub fn tree(env: &str) -> PathBuf {
    format!("/srv/{env}").into()
}
pub fn root(toy: &str) -> PathBuf {
    format!("/toy/{toy}").into()
}
/// Unique on the host: a toy's commands name the key alone.
pub fn key(toy: &str, n: u32) -> Str {
    format!("{toy}-{n}").into()
}
pub fn lock(app: &str) -> PathBuf {
    format!("/run/{app}/deploy.lock").into()
}
pub fn old_actor(app: &str) -> UnitName {
    UnitName::new(format!("old-{app}.timer"))
}
pub fn sentinel(watch: &WatchId) -> PathBuf {
    format!("/etc/hostward/{watch}.enabled").into()
}
pub fn app_sentinel(app: &str) -> PathBuf {
    format!("/etc/hostward/app.{app}.enabled").into()
}
pub fn service_watch(name: &str) -> WatchId {
    WatchId::new(format!("service.{name}"))
}
pub fn env_watch(name: &str) -> WatchId {
    WatchId::new(format!("baseline.{name}"))
}
pub fn toy_watch(name: &str) -> WatchId {
    WatchId::new(format!("toy.{name}"))
}

const SERVICE: Brakes =
    Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(5) };
const OTHER: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 4, soak: Ms::mins(5) };

impl Scenario {
    pub fn policy(&self) -> Policy {
        let host = policy::Host {
            sentinel: HOST_SENTINEL.into(),
            mode: self.host.mode,
            settle: self.host.settle,
            budget: self.host.budget,
            textfile: Some(TEXTFILE.into()),
        };
        let apps = self.apps.iter().map(|app| {
            let declared = policy::App {
                lock: app.lock.then(|| lock(&app.name)),
                sentinel: app.sentinel.then(|| app_sentinel(&app.name)),
                replaces: app.replaces.then(|| old_actor(&app.name)).into_iter().collect(),
                tree: None,
            };
            (AppName::new(app.name.as_str()), declared)
        });
        let services = self.services.iter().filter(|s| s.watched).map(|s| (service_watch(&s.name), self.service(s)));
        let envs = self.envs.iter().map(|env| (env_watch(&env.name), baseline(env)));
        let toys = self.toys.iter().map(|toy| (toy_watch(&toy.name), toy_of(toy)));
        Policy { host, apps: apps.collect(), watches: services.chain(envs).chain(toys).collect() }
    }

    fn service(&self, service: &Service) -> Watch {
        let http = service::HttpProbe::new(HttpQ::get(url(&service.name), Vec::new()));
        let env = self.envs.iter().find(|env| Some(&env.app) == service.app.as_ref());
        let ladder = service.ladder.iter().filter_map(|rung| match rung {
            Rung::Restart => Some(service::Step::Restart),
            Rung::Reconcile => env.map(|env| service::Step::Reconcile(env_watch(&env.name))),
            Rung::Notify => Some(service::Step::Notify),
        });
        let spec = service::Spec {
            http: service.http.then_some(http).into_iter().collect(),
            ladder: ladder.collect(),
            ..service::Spec::new(unit(&service.name))
        };
        let id = service_watch(&service.name);
        let needs = service.needs.iter().map(|name| service_watch(name)).collect();
        let app = service.app.as_deref().map(AppName::new);
        let brakes = service.brakes.unwrap_or(SERVICE);
        let mut watch = watch(app, service.mode, &id, service.sentinel, brakes, Spec::Service(spec));
        watch.needs = needs;
        watch
    }
}

fn baseline(env: &Env) -> Watch {
    let argv = |n: u32| vec![Str::from("/srv/bin/sync"), env.name.as_str().into(), n.to_string().into()];
    let reconcile = baseline::Reconcile {
        run: (1..=env.commands).map(argv).collect(),
        user: Some("app".into()),
        dir: Some(tree(&env.name)),
        deadline: Ms::mins(15),
        when: if env.any_drift { baseline::When::AnyDrift } else { baseline::When::UnitDown },
        quiesce: env.quiesce.iter().map(|name| unit(name)).collect(),
        restart: env.restart.iter().map(|name| unit(name)).collect(),
        prove: env.prove.as_deref().map(service_watch),
        prove_within: Ms::mins(2),
    };
    let python = PythonQ {
        venv: venv(&env.name),
        wants: vec![WantList::UvLock(tree(&env.name).join("uv.lock"))],
        tree: Some(tree(&env.name)),
    };
    let spec = baseline::Spec {
        python,
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: (env.commands > 0).then_some(reconcile),
    };
    let id = env_watch(&env.name);
    let app = Some(AppName::new(env.app.as_str()));
    let mut watch = watch(app, env.mode, &id, env.sentinel, env.brakes.unwrap_or(OTHER), Spec::Baseline(spec));
    watch.reach = env.reach.then(|| REACH.into());
    watch
}

fn toy_of(toy: &Toy) -> Watch {
    let spec = toy::Spec {
        root: root(&toy.name),
        keys: (0..toy.keys).map(|n| key(&toy.name, n)).collect(),
        holder: toy.holder.as_deref().map(unit),
        interval: toy.interval,
        crash: toy.crash,
        replaces: toy.replaces,
    };
    watch(None, toy.mode, &toy_watch(&toy.name), toy.sentinel, toy.brakes.unwrap_or(OTHER), Spec::Toy(spec))
}

fn watch(app: Option<AppName>, mode: Mode, id: &WatchId, own: bool, brakes: Brakes, spec: Spec) -> Watch {
    Watch {
        app,
        mode,
        sentinel: own.then(|| sentinel(id)),
        compat: Some(format!("compat_{}", id.name()).into()),
        brakes,
        needs: Vec::new(),
        reach: None,
        spec,
    }
}

/// One change of the policy in mid-story.
pub fn changed(policy: &Policy, watch: &WatchId, change: super::fault::Change) -> Arc<Policy> {
    use super::fault::Change;
    let mut policy = policy.clone();
    if change == Change::Remove {
        policy.watches.remove(watch);
    } else if let Some(watch) = policy.watches.get_mut(watch) {
        match change {
            Change::Observe => watch.mode = Mode::Observe,
            Change::Propose => watch.mode = Mode::Propose,
            Change::Act => watch.mode = Mode::Act,
            Change::Slower => watch.brakes.cooldown = watch.brakes.cooldown * 2,
            Change::Remove => {}
        }
    }
    Arc::new(policy)
}
