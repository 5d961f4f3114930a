//! What the stages' own tests begin with: a moment, a policy of services, a world that knows nothing, a plan of one restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ask::{JobsQ, Listing, OutputQ, Provider, PythonQ, RunnerQ, Source, UnitReading, Write};
use crate::graph::Graph;
use crate::hold::Storm;
use crate::id::{Resource, Rung, Str, TargetId, UnitName, WatchId};
use crate::judge::{Aspect, Code, Confirm, Reason, Seen, Target, Verdict};
use crate::ledger::State;
use crate::plan::{Act, Check, Heal, OnCrash, OnFail, Plan, Proof, Step, Want};
use crate::policy::{Brakes, Mode, Policy, Watch};
use crate::starvation::Starvation;
use crate::time::{Ms, Now};
use crate::watch::{Spec, baseline, job, service};
use crate::world::{Live, Start, World};

pub(crate) const BRAKES: Brakes =
    Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(5) };

pub(crate) fn at(up: Ms) -> Now {
    Now { boot: 1, up, wall: Ms::hours(1000) + up }
}

pub(crate) fn watch(name: &str) -> WatchId {
    WatchId::new(format!("service.{name}"))
}

pub(crate) fn target(name: &str) -> TargetId {
    TargetId::new(watch(name), format!("{name}.service"))
}

pub(crate) fn service(name: &str) -> Watch {
    let spec = service::Spec::new(UnitName::new(format!("{name}.service")));
    Watch {
        app: None,
        mode: Mode::Act,
        sentinel: None,
        compat: None,
        brakes: BRAKES,
        needs: Vec::new(),
        reach: None,
        spec: Spec::Service(spec),
    }
}

/// An environment that nobody may rebuild.
pub(crate) fn baseline() -> Spec {
    Spec::Baseline(baseline::Spec {
        python: PythonQ { venv: "/srv/venv".into(), wants: Vec::new(), tree: None },
        interval: Ms::mins(5),
        quiet: Ms::secs(60),
        urgent_quiet: Ms::secs(20),
        reconcile: None,
    })
}

/// Services of these names, none of which was looked at.
pub(crate) fn world(now: Now, names: &[&str]) -> World {
    let watches = names.iter().map(|name| (watch(name), service(name))).collect();
    let policy = Policy { watches, ..Policy::default() };
    World {
        now,
        rejected: None,
        config_error: None,
        start: Start::Normal,
        state: State::default(),
        ledger_bad: None,
        live: policy.watches.iter().map(|(id, watch)| (id.clone(), Live::new(watch))).collect(),
        graph: Graph::of(&policy),
        policy: Arc::new(policy),
        starvation: Starvation::default(),
        storm: Storm::default(),
        ill: BTreeSet::new(),
    }
}

/// It is judged down since this moment, and was looked at then.
pub(crate) fn falls(world: &mut World, id: &TargetId, since: Now) {
    let reason = Reason::new(Code::Failed, "it failed");
    let mut aspect = Aspect::new(since);
    aspect.look(since, Some(Seen::Down(reason.clone())), Confirm::AT_ONCE, false);
    let mut fallen = Target::new(since);
    fallen.aspects.insert(0, aspect);
    fallen.verdict = Verdict::Down(reason);
    if let Some(live) = world.live.get_mut(&id.watch) {
        live.targets.insert(id.key.clone(), fallen);
    }
    world.reckon(&id.watch);
}

/// Restarts the unit of that name.
pub(crate) fn plan(name: &str) -> Plan {
    let unit = UnitName::new(format!("{name}.service"));
    let check = Check::Fact(Arc::new(crate::ask::Question::Unit(unit.clone())), Want::StartedSince);
    let proof = Proof { checks: vec![check], passes: 1, every: Ms(500), within: Ms::secs(30), soak: Ms::ZERO };
    let rung = Rung::new("restart");
    Plan {
        watch: watch(name),
        rung: rung.clone(),
        heals: vec![Heal::new(target(name), rung, "failed")],
        touches: vec![Resource::Unit(unit.clone())],
        cost: 1,
        basis: Vec::new(),
        why: "it is down".into(),
        steps: vec![Step {
            act: Some(Act::Restart(unit)),
            deadline: Ms::secs(90),
            proof: Some(proof),
            crash: OnCrash::Again,
            back: None,
            unless: None,
            fail: OnFail::Unwind,
        }],
    }
}

/// A unit that runs since it was started at this moment.
pub(crate) fn runs(started: Ms) -> UnitReading {
    UnitReading::service(started)
}

pub(crate) fn words(words: &[&str]) -> Vec<Str> {
    words.iter().map(|word| Str::from(*word)).collect()
}

/// With all that it may declare but a queue.
pub(crate) fn job() -> job::Spec {
    job::Spec {
        asked: JobsQ {
            from: Provider::Command(Listing {
                run: words(&["/opt/jobs", "list"]),
                user: None,
                env: None,
                timeout: Ms::secs(30),
            }),
            words: BTreeMap::new(),
            progress: vec![Source::Log { files: "log".into(), count: "(\\d+)".into() }],
            runner: RunnerQ {
                unit: Some("crawl@{id}.service".into()),
                lock: Some("{output}/lock".into()),
                argument: None,
            },
            output: Some(OutputQ { user: Some("crawl".into()), write: Write::Access }),
            worker: Some(UnitName::new("worker.service")),
            disk: Some("/srv".into()),
            answer: Ms::secs(10),
        },
        interval: Ms::mins(5),
        stalled_after: Ms::hours(1),
        agree: 1,
        degraded: Some(job::Rate { per_minute: 2, runs: 6, within: Ms::mins(5) }),
        remedy: job::Remedy {
            retry: Some(words(&["/opt/jobs", "retry", "{id}"])),
            recover: Some(words(&["/opt/jobs", "recover", "{id}"])),
            record: Some(words(&["/opt/jobs", "record", "{id}"])),
            user: None,
            env: None,
            guard: Ms::mins(10),
            per_day: 3,
            gain: 10,
        },
        queue: None,
        respect_stop: Ms::mins(30),
    }
}
