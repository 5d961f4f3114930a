//! What a reconcile's commands must and must not do, as far as their words tell.
//!
//! A reconcile rebuilds the environment of the deployed revision from the declared lock. Commands that fetch another
//! revision, migrate, or install something that the lock does not say are refused. This catches mistakes, not malice: a
//! script may do what it likes, and the operator answers for it.

use std::path::{Path, PathBuf};

use hostward_core::ask::WantList;
use hostward_core::id::Str;

use crate::finding::{Finding, Place, Said, shown};
use crate::reader::Value;
use crate::scalar;

/// A list of commands.
pub(crate) fn read(list: &Value<'_>, limit: usize) -> Option<Said<Vec<Vec<Said<Str>>>>> {
    let commands = list.items("commands, each a list of its own")?;
    if commands.len() > limit {
        let finding = Finding::error(format!("{} commands are more than the limit of {limit}", commands.len()));
        list.complain(finding.help("put them into a script"));
    }
    Some(Said { value: commands.iter().filter_map(argv).collect(), at: list.at() })
}

/// A command: a list that begins with an absolute path.
pub(crate) fn argv(command: &Value<'_>) -> Option<Vec<Said<Str>>> {
    let words = command.items("the program and its arguments")?;
    let said: Vec<Said<Str>> = words.iter().filter_map(|word| word.scalar(&scalar::TEXT)).collect();
    if let Some(program) = said.first()
        && let Err(complaint) = scalar::path(&program.value)
    {
        let help = "commands run without a shell or PATH: write the program's whole path";
        command.push(&program.at, Finding::error(complaint.message).help(help));
    }
    Some(said)
}

/// The commands beside what they should rebuild from.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) commands: &'a [Vec<Said<Str>>],
    /// None: it was refused, or there is none, which is said elsewhere.
    pub(crate) lock: Option<&'a WantList>,
    pub(crate) dir: Option<&'a Path>,
    /// What they should fill; none: it was refused.
    pub(crate) venv: Option<&'a Path>,
}

/// Programs, the words that make them fetch or migrate, and what that does.
const FORBIDDEN: [(&str, &[&str], &str); 7] = [
    ("git", &["pull", "fetch", "checkout", "reset", "switch", "merge", "rebase", "clone"], "changes the revision"),
    ("alembic", &["upgrade", "downgrade", "stamp"], "migrates the database"),
    ("manage.py", &["migrate"], "migrates the database"),
    ("django-admin", &["migrate"], "migrates the database"),
    ("flask", &["db"], "migrates the database"),
    ("hg", &["pull", "update"], "changes the revision"),
    ("svn", &["update", "switch"], "changes the revision"),
];
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

/// Everything wrong with the commands, each with its place; `run` is the place of them all.
pub(crate) fn faults(recipe: &Recipe<'_>, run: &Place) -> Vec<(Place, Finding)> {
    let mut faults = Vec::new();
    let mut used = false;
    let lock = recipe.lock.and_then(|lock| Lock::new(lock, recipe.dir));
    for command in recipe.commands {
        let Some(program) = command.first() else { continue };
        let words = words(command);
        if let Some((name, verb, effect)) = forbidden(&words) {
            let said = [name, verb].join(" ");
            let finding = Finding::error(format!("{} {effect}", shown(said.trim())));
            let help = "a reconcile rebuilds what is deployed; pulling and migrating belong to a deploy";
            faults.push((program.at.clone(), finding.help(help)));
            continue;
        }
        match lock.as_ref().map(|lock| lock.used_by(&words)) {
            None | Some(Use::None) => {}
            Some(Use::Yes) => {
                used = true;
                faults.extend(recipe.elsewhere(&words).map(|finding| (program.at.clone(), finding)));
            }
            Some(Use::Beside(finding)) => faults.push((program.at.clone(), finding)),
        }
    }
    let any = recipe.commands.iter().any(|command| !command.is_empty());
    if let Some(lock) = lock.filter(|_| any && !used && faults.is_empty()) {
        let finding = Finding::error(format!("no command uses the lock {}", lock.shown()));
        faults.push((run.clone(), finding.help(lock.how())));
    }
    faults
}

impl Recipe<'_> {
    /// The system's pip given the right lock fills the wrong environment, and the drift stays.
    fn elsewhere(&self, words: &[&str]) -> Option<Finding> {
        let venv = self.venv?;
        let inside =
            |path: &str| self.dir.map_or_else(|| PathBuf::from(path), |dir| dir.join(path)).starts_with(venv);
        // `/v/bin/pip`, `--python=/v`, `VIRTUAL_ENV=/v`.
        let named = |word: &&str| inside(word) || word.split_once('=').is_some_and(|(_, path)| inside(path));
        // uv sync builds `.venv` beside the project's files.
        let beside = has(words, "uv", &["sync"]) && venv.file_name().is_some_and(|name| name == ".venv");
        if beside || !installs(words) || words.iter().any(named) {
            return None;
        }
        let venv = venv.display();
        let finding = Finding::warning(format!("this may install into another environment than {venv}"));
        Some(finding.help(format!("name it: {venv}/bin/pip, --python {venv}, or UV_PROJECT_ENVIRONMENT={venv}")))
    }
}

/// What a command has to do with the lock.
enum Use {
    Yes,
    /// It installs nothing.
    None,
    /// It installs, and not from the lock.
    Beside(Finding),
}

/// A lock file, and the directory that relative paths begin at.
struct Lock<'a> {
    format: &'a WantList,
    file: &'a Path,
    project: &'a Path,
    dir: Option<&'a Path>,
}

impl<'a> Lock<'a> {
    fn new(format: &'a WantList, dir: Option<&'a Path>) -> Option<Self> {
        let (WantList::Requirements(file) | WantList::UvLock(file) | WantList::Pyproject(file)) = format else {
            return None;
        };
        Some(Lock { format, file, project: file.parent().unwrap_or(file), dir })
    }

    fn used_by(&self, words: &[&str]) -> Use {
        let named = words.iter().any(|word| self.names_file(word));
        if has(words, "uv", &["sync"]) {
            let frozen = words.iter().any(|word| ["--frozen", "--locked"].contains(word));
            return match self.format {
                WantList::UvLock(_) | WantList::Pyproject(_) if !frozen => {
                    let finding = Finding::error("`uv sync` without --frozen may change the lock");
                    Use::Beside(finding.help("add --frozen"))
                }
                WantList::UvLock(_) | WantList::Pyproject(_) if self.in_project(words) => Use::Yes,
                _ if named => Use::Yes,
                _ => self.beside(),
            };
        }
        // The project itself, without what it requires: the lock has nothing to say about it.
        let itself = words.contains(&"--no-deps") && words.iter().any(|word| ["-e", "--editable"].contains(word));
        let project = matches!(self.format, WantList::Pyproject(_));
        let project = project && words.iter().any(|word| self.names_project(word));
        match (named || project, installs(words) && !itself) {
            (true, _) => Use::Yes,
            (false, false) => Use::None,
            (false, true) => self.beside(),
        }
    }

    fn beside(&self) -> Use {
        Use::Beside(Finding::error(format!("this installs without the lock {}", self.shown())).help(self.how()))
    }

    fn shown(&self) -> String {
        shown(&self.file.display().to_string())
    }

    fn how(&self) -> String {
        let (file, project) = (self.file.display(), self.project.display());
        match self.format {
            WantList::UvLock(_) => format!("use it: uv sync --frozen --project {project}"),
            WantList::Pyproject(_) => {
                format!("use it: pip install {project}, or uv sync --frozen --project {project}")
            }
            WantList::Requirements(_) | WantList::Inline(_) => format!("name it among the arguments: -r {file}"),
        }
    }

    /// The word is the file's path: by itself, after a `=`, or after `-r`.
    fn names_file(&self, word: &str) -> bool {
        let option = word.split_once('=').map(|(_, path)| path).or(word.strip_prefix("-r"));
        self.is(word, self.file) || option.is_some_and(|path| self.is(path, self.file))
    }

    /// The word is the project's directory, with or without extras: `/opt/example[prod]`.
    fn names_project(&self, word: &str) -> bool {
        self.is(word.split('[').next().unwrap_or(word), self.project)
    }

    fn in_project(&self, words: &[&str]) -> bool {
        let mut named = words.iter().enumerate().filter_map(|(n, word)| {
            ["--project", "--directory"].iter().find_map(|option| match word.strip_prefix(option)? {
                "" => words.get(n + 1).copied(),
                rest => rest.strip_prefix('='),
            })
        });
        match named.next() {
            Some(path) => self.is(path, self.project),
            None => self.dir == Some(self.project),
        }
    }

    /// `said`, taken from `dir` when it is relative, is `path`.
    fn is(&self, said: &str, path: &Path) -> bool {
        let whole = self.dir.map_or_else(|| PathBuf::from(said), |dir| dir.join(said));
        // By components, so that `.` and doubled slashes say nothing.
        !said.is_empty() && whole.components().eq(path.components())
    }
}

pub(crate) fn is_shell(command: &[Said<Str>]) -> bool {
    command.first().is_some_and(|program| SHELLS.contains(&base(&program.value)))
}

/// The arguments; those that a shell would take apart, taken apart.
fn words(command: &[Said<Str>]) -> Vec<&str> {
    let shell = is_shell(command);
    let mut words = Vec::new();
    for word in command {
        if shell && word.value.contains(char::is_whitespace) {
            words.extend(
                word.value.split(|c: char| c.is_whitespace() || ";|&()\"'`".contains(c)).filter(|w| !w.is_empty()),
            );
        } else {
            words.push(&*word.value);
        }
    }
    words
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// `program` stands somewhere, and one of `verbs` after it: `sudo -u x git -C /opt/x pull`.
fn has(words: &[&str], program: &str, verbs: &[&str]) -> bool {
    verb_of(words, program, verbs).is_some()
}

fn verb_of<'w>(words: &[&'w str], program: &str, verbs: &[&str]) -> Option<&'w str> {
    let at = words.iter().position(|word| base(word) == program)?;
    words[at + 1..].iter().find(|word| verbs.contains(word)).copied()
}

/// The program, its verb, and what it does.
fn forbidden<'w>(words: &[&'w str]) -> Option<(&'static str, &'w str, &'static str)> {
    let by_verb = FORBIDDEN
        .iter()
        .find_map(|(program, verbs, effect)| Some((*program, verb_of(words, program, verbs)?, *effect)));
    // Whatever else alembic does, it works on the database.
    let run = |n: usize| n == 0 || words[n - 1] == "-m";
    let alembic = || {
        let found = words.iter().enumerate().any(|(n, word)| base(word) == "alembic" && run(n));
        found.then_some(("alembic", "", "migrates the database"))
    };
    by_verb.or_else(alembic)
}

fn installs(words: &[&str]) -> bool {
    let pip = |word: &&str| {
        base(word).strip_prefix("pip").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let pip = words.iter().position(pip).is_some_and(|at| words[at + 1..].contains(&"install"));
    let with = |program, verbs| has(words, program, verbs);
    pip || with("uv", &["install", "sync", "add"])
        || with("poetry", &["install", "update", "add", "sync"])
        || with("pdm", &["install", "update", "add", "sync"])
        || with("pipenv", &["install", "update", "sync"])
}
