//! `[baseline.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hostward_core::ask::{PythonQ, WantList};
use hostward_core::id::{AppName, Str, WatchId};
use hostward_core::policy::{App, Brakes, Watch};
use hostward_core::time::Ms;
use hostward_core::watch;
use hostward_core::watch::baseline::{Reconcile, Spec, When};

use crate::commands::{self, Recipe};
use crate::common;
use crate::draft::{Claim, Draft, Mention};
use crate::finding::{Finding, Said};
use crate::reader::Reader;
use crate::scalar::{self, Scalar, choice};

/// watches.md, "baseline", Cooldown.
pub(crate) const BRAKES: Brakes =
    Brakes { cooldown: Ms::mins(15), plateau: Ms::hours(6), per_hour: 2, per_day: 4, soak: Ms::secs(60) };
/// A reconcile is a handful of commands; a longer one is a script.
const COMMANDS_LIMIT: usize = 32;

pub(crate) fn read(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<Watch> {
    let common = common::read(&mut table, id, draft, BRAKES);
    let interval = table.or("interval", &scalar::PERIOD, Ms::mins(5));
    let quiet = table.or("quiet", &scalar::SPAN, Ms::secs(60));
    let urgent_quiet = table.get("urgent_quiet", &scalar::SPAN);
    if let Some(urgent) = urgent_quiet.as_ref().filter(|urgent| urgent.value > quiet) {
        let finding = Finding::error(format!("urgent_quiet ({}) is longer than quiet ({quiet})", urgent.value));
        table.push(&urgent.at, finding.help("it is the shorter wait, while a unit of the app is down"));
    }
    let tree = table.get("tree", &scalar::PATH).map(|said| said.value);
    let environment = table.need_table("python", "`venv` and `lock`").map(|table| environment(table, id, draft));
    let reconcile = table.table("reconcile").and_then(|table| reconcile(table, environment.as_ref(), id, draft));
    table.finish();
    let Environment { venv, lock, required } = environment?;
    let mut wants: Vec<WantList> = lock.declared().cloned().into_iter().collect();
    wants.extend(required.map(WantList::Inline));
    let python = PythonQ { venv: venv?, wants, tree };
    let urgent_quiet = urgent_quiet.map_or(Ms::secs(20).min(quiet), |said| said.value);
    let spec = Spec { python, interval, quiet, urgent_quiet, reconcile };
    Some(common.watch(watch::Spec::Baseline(spec)))
}

/// `[baseline.NAME.python]`
#[derive(Debug)]
struct Environment {
    venv: Option<PathBuf>,
    lock: Lock,
    required: Option<Vec<Str>>,
}

/// What a reconcile may rebuild from.
#[derive(Debug)]
enum Lock {
    Declared(WantList),
    Absent,
    /// What stands there was refused: nothing can be said about its use.
    Unread,
}

impl Lock {
    fn declared(&self) -> Option<&WantList> {
        match self {
            Lock::Declared(want) => Some(want),
            Lock::Absent | Lock::Unread => None,
        }
    }
}

fn environment(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Environment {
    let venv = table.need("venv", &scalar::PATH);
    if let Some(venv) = &venv {
        draft.claim(id, Claim::Venv(venv.value.clone()), &venv.at);
    }
    if !table.has("lock") && !table.has("required") {
        let finding = Finding::error(format!("[{}] says of nothing that it must be installed", table.path()));
        table.push(table.at(), finding.help("add lock = \"/.../requirements.lock\", or required = [\"fastapi\"]"));
    }
    let lock = match table.get("lock", &scalar::PATH) {
        Some(said) => Lock::Declared(want_list(said.value)),
        None if table.has("lock") => Lock::Unread,
        None => Lock::Absent,
    };
    let required = table.list("required", &scalar::REQUIREMENT).map(values);
    table.finish();
    Environment { venv: venv.map(|said| said.value), lock, required }
}

/// The format goes by the file's name, as pip and uv themselves do it.
fn want_list(file: PathBuf) -> WantList {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("uv.lock") => WantList::UvLock(file),
        Some("pyproject.toml") => WantList::Pyproject(file),
        _ => WantList::Requirements(file),
    }
}

/// A baseline without a tree of its own has its app's.
pub(crate) fn inherit_tree(watch: &mut Watch, apps: &BTreeMap<AppName, App>) {
    let app = watch.app.as_ref().and_then(|name| apps.get(name));
    if let watch::Spec::Baseline(spec) = &mut watch.spec
        && spec.python.tree.is_none()
    {
        spec.python.tree = app.and_then(|app| app.tree.clone());
    }
}

const WHEN: Scalar<When> = Scalar {
    expected: "a condition",
    example: "\"unit-down\"",
    parse: |text| choice("condition", text, &[("unit-down", When::UnitDown), ("any-drift", When::AnyDrift)]),
};

fn reconcile(
    mut table: Reader<'_>,
    environment: Option<&Environment>,
    id: &WatchId,
    draft: &mut Draft,
) -> Option<Reconcile> {
    let lock = environment.map_or(&Lock::Unread, |environment| &environment.lock);
    if matches!(lock, Lock::Absent) {
        let finding = Finding::error("a reconcile without a lock file has nothing to rebuild from");
        table.push(table.at(), finding.help("declare `lock` beside `required`, or leave the reconcile out"));
    }
    let run = run(&mut table);
    let user = table.get("user", &scalar::USER).map(|said| said.value);
    let dir = table.get("dir", &scalar::PATH).map(|said| said.value);
    let deadline = table.or("deadline", &scalar::PERIOD, Ms::mins(15));
    let when = table.or("when", &WHEN, When::default());
    let quiesce = table.list("quiesce", &scalar::UNIT).unwrap_or_default();
    let mut then = table.table("then");
    let (mut restart, mut prove, mut prove_within) = (Vec::new(), None, Ms::mins(2));
    if let Some(then) = &mut then {
        restart = then.list("restart", &scalar::UNIT).unwrap_or_default();
        prove = then.get("prove", &scalar::WATCH);
        prove_within = then.or("within", &scalar::PERIOD, prove_within);
    }
    if let Some(then) = then {
        then.finish();
    }
    if let Some(run) = &run {
        let venv = environment.and_then(|environment| environment.venv.as_deref());
        let recipe = Recipe { commands: &run.value, lock: lock.declared(), dir: dir.as_deref(), venv };
        for (at, finding) in commands::faults(&recipe, &run.at) {
            table.push(&at, finding);
        }
    }
    table.finish();
    let prove = prove.map(|said| {
        let watch = WatchId::new(said.value);
        draft.mention(id, Mention::Prove(watch.clone()), &said.at);
        watch
    });
    Some(Reconcile {
        run: run?.value.into_iter().map(values).collect(),
        user,
        dir,
        deadline,
        when,
        quiesce: values(quiesce),
        restart: values(restart),
        prove,
        prove_within,
    })
}

fn values<T>(said: Vec<Said<T>>) -> Vec<T> {
    said.into_iter().map(|said| said.value).collect()
}

/// Lists of commands, each a list that begins with an absolute path.
fn run(table: &mut Reader<'_>) -> Option<Said<Vec<Vec<Said<Str>>>>> {
    if !table.has("run") {
        let finding = Finding::error(format!("[{}] has no `run`", table.path()));
        table.push(
            table.at(),
            finding.help("add run = [[\"/.../bin/pip\", \"install\", \"-r\", \"/.../requirements.lock\"]]"),
        );
    }
    commands::read(&table.value("run")?, COMMANDS_LIMIT)
}
