//! What a reconcile's commands must and must not do, as far as their words tell.
//!
//! A reconcile rebuilds the environment of the deployed revision from the declared lock. Commands that fetch another
//! revision, migrate, or install something that the lock does not say are refused. This catches mistakes, not malice: a
//! script may do what it likes, and the operator answers for it.

use std::ops::ControlFlow;
use std::path::Path;

use hostward_core::ask::WantList;
use hostward_core::id::Str;

use crate::baseline;
use crate::finding::{Finding, Place, Said, shown};

/// The commands beside what they should rebuild from.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) commands: &'a [Vec<Said<Str>>],
    pub(crate) lock: &'a WantList,
    pub(crate) dir: Option<&'a Path>,
}

/// Programs, the words that make them fetch or migrate, and what that does. Without words: always.
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
        match recipe.use_of_lock(&words) {
            ControlFlow::Continue(true) => used = true,
            ControlFlow::Continue(false) => {}
            ControlFlow::Break(finding) => {
                used = true;
                faults.push((program.at.clone(), finding));
            }
        }
    }
    if !used && faults.is_empty() && recipe.commands.iter().any(|command| !command.is_empty()) {
        let finding = Finding::error(format!("no command uses the lock {}", recipe.lock_shown()));
        faults.push((run.clone(), finding.help(recipe.how())));
    }
    faults
}

impl Recipe<'_> {
    /// Continue: whether the command uses the lock. Break: it installs, and not from the lock.
    fn use_of_lock(&self, words: &[&str]) -> ControlFlow<Finding, bool> {
        let named = words.iter().any(|word| self.names_lock(word));
        let installs = installs(words);
        if has(words, "uv", &["sync"]) {
            let frozen = words.iter().any(|word| ["--frozen", "--locked"].contains(word));
            if !matches!(self.lock, WantList::Requirements(_)) && !frozen {
                let finding = Finding::error("`uv sync` without --frozen may change the lock");
                return ControlFlow::Break(finding.help("add --frozen"));
            }
            return if named || self.in_project(words) {
                ControlFlow::Continue(true)
            } else {
                ControlFlow::Break(self.beside())
            };
        }
        // The project itself, without what it requires: the lock has nothing to say about it.
        let itself = words.contains(&"--no-deps") && words.iter().any(|word| ["-e", "--editable"].contains(word));
        let project =
            matches!(self.lock, WantList::Pyproject(_)) && words.iter().any(|word| self.names_project(word));
        match (named || project, installs && !itself) {
            (true, _) => ControlFlow::Continue(true),
            (false, false) => ControlFlow::Continue(false),
            (false, true) => ControlFlow::Break(self.beside()),
        }
    }

    fn beside(&self) -> Finding {
        Finding::error(format!("this installs without the lock {}", self.lock_shown())).help(self.how())
    }

    fn lock_file(&self) -> &Path {
        baseline::file(self.lock).unwrap_or(Path::new(""))
    }

    fn lock_shown(&self) -> String {
        shown(&self.lock_file().display().to_string())
    }

    fn how(&self) -> String {
        let file = self.lock_file().display();
        let project = self.lock_file().parent().unwrap_or(Path::new("/")).display();
        match self.lock {
            WantList::UvLock(_) => format!("use it: uv sync --frozen --project {project}"),
            WantList::Pyproject(_) => {
                format!("use it: pip install {project}, or uv sync --frozen --project {project}")
            }
            WantList::Requirements(_) | WantList::Inline(_) => format!("name it among the arguments: -r {file}"),
        }
    }

    /// The word is the lock's path, or ends in it after a `=` or an option's letter.
    fn names_lock(&self, word: &str) -> bool {
        self.is(word, self.lock_file())
            || word.split_once('=').is_some_and(|(_, path)| self.is(path, self.lock_file()))
            || word.strip_prefix("-r").is_some_and(|path| self.is(path, self.lock_file()))
    }

    fn names_project(&self, word: &str) -> bool {
        // Extras: `/opt/example[prod]`.
        let path = word.split('[').next().unwrap_or(word);
        !path.is_empty() && self.lock_file().parent().is_some_and(|project| self.is(path, project))
    }

    fn in_project(&self, words: &[&str]) -> bool {
        let Some(project) = self.lock_file().parent() else { return false };
        let mut named = words.iter().enumerate().filter_map(|(n, word)| {
            ["--project", "--directory"].iter().find_map(|option| match word.strip_prefix(option)? {
                "" => words.get(n + 1).copied(),
                rest => rest.strip_prefix('='),
            })
        });
        match named.next() {
            Some(path) => self.is(path, project),
            None => self.dir == Some(project),
        }
    }

    /// `said`, taken from `dir` when it is relative, is `path`.
    fn is(&self, said: &str, path: &Path) -> bool {
        if said.is_empty() {
            return false;
        }
        let said = Path::new(said);
        let whole = self.dir.map_or_else(|| said.to_owned(), |dir| dir.join(said));
        // `.` at the end or in the middle says nothing.
        whole.components().eq(path.components())
    }
}

/// The arguments; those that a shell would take apart, taken apart.
fn words(command: &[Said<Str>]) -> Vec<&str> {
    let shell = command.first().is_some_and(|program| SHELLS.contains(&base(&program.value)));
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
