//! `[baseline.NAME]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    let python = table.need_table("python", "`venv` and `lock`").and_then(|table| python(table, tree, id, draft));
    let lock = python.as_ref().and_then(|python| python.wants.iter().find(|want| file(want).is_some()));
    // Whether commands use the lock can only be said of an environment that was read.
    let reconcile = table.table("reconcile").and_then(|table| reconcile(table, python.is_some(), lock, id, draft));
    table.finish();
    let urgent_quiet = urgent_quiet.map_or(Ms::secs(20).min(quiet), |said| said.value);
    let spec = Spec { python: python?, interval, quiet, urgent_quiet, reconcile };
    Some(common.watch(watch::Spec::Baseline(spec)))
}

fn python(mut table: Reader<'_>, tree: Option<PathBuf>, id: &WatchId, draft: &mut Draft) -> Option<PythonQ> {
    let venv = table.need("venv", &scalar::PATH);
    if let Some(venv) = &venv {
        draft.claim(id, Claim::Venv(venv.value.clone()), &venv.at);
    }
    if !table.has("lock") && !table.has("required") {
        let finding = Finding::error(format!("[{}] says of nothing that it must be installed", table.path()));
        table.push(table.at(), finding.help("add lock = \"/.../requirements.lock\", or required = [\"fastapi\"]"));
    }
    let lock = table.get("lock", &scalar::PATH);
    let required = table.list("required", &scalar::REQUIREMENT);
    table.finish();
    let mut wants: Vec<WantList> = lock.map(|said| want_list(said.value)).into_iter().collect();
    wants.extend(required.map(|list| WantList::Inline(list.into_iter().map(|said| said.value).collect())));
    Some(PythonQ { venv: venv?.value, wants, tree })
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

pub(crate) fn file(want: &WantList) -> Option<&Path> {
    match want {
        WantList::Requirements(file) | WantList::UvLock(file) | WantList::Pyproject(file) => Some(file),
        WantList::Inline(_) => None,
    }
}

const WHEN: Scalar<When> = Scalar {
    expected: "a condition",
    example: "\"unit-down\"",
    parse: |text| choice("condition", text, &[("unit-down", When::UnitDown), ("any-drift", When::AnyDrift)]),
};

fn reconcile(
    mut table: Reader<'_>,
    environment_known: bool,
    lock: Option<&WantList>,
    id: &WatchId,
    draft: &mut Draft,
) -> Option<Reconcile> {
    if environment_known && lock.is_none() {
        let finding = Finding::error("a reconcile without a lock file has nothing to rebuild from");
        table.push(table.at(), finding.help("declare `lock` beside `required`, or leave the reconcile out"));
    }
    let run = run(&mut table);
    let user = table.get("user", &scalar::USER).map(|said| said.value);
    let dir = table.get("dir", &scalar::PATH).map(|said| said.value);
    let deadline = table.or("deadline", &scalar::PERIOD, Ms::mins(15));
    let when = table.or("when", &WHEN, When::default());
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
    if let (Some(run), Some(lock)) = (&run, lock) {
        let recipe = Recipe { commands: &run.value, lock, dir: dir.as_deref() };
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
    let list = table.value("run")?;
    let commands = list.items("commands, each a list of its own")?;
    if commands.len() > COMMANDS_LIMIT {
        let finding =
            Finding::error(format!("{} commands are more than the limit of {COMMANDS_LIMIT}", commands.len()));
        list.complain(finding.help("put them into a script"));
    }
    let mut run = Vec::new();
    for command in commands {
        let Some(words) = command.items("the program and its arguments") else { continue };
        let said: Vec<Said<Str>> = words.iter().filter_map(|word| word.scalar(&scalar::TEXT)).collect();
        if let Some(program) = said.first()
            && let Err(complaint) = scalar::path(&program.value)
        {
            let help = "commands run without a shell or PATH: write the program's whole path";
            table.push(&program.at, Finding::error(complaint.message).help(help));
        }
        run.push(said);
    }
    Some(Said { value: run, at: list.at() })
}
