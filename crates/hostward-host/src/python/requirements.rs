//! pip's requirements files, and locks in that format.
//!
//! Understood: pins, ranges, markers, comments, line continuations, per-requirement options (`--hash`), `-r`, `-c`,
//! `-e`, URLs and paths. Ignored: options about indexes. Never fetched: an include by URL is a fault.
//! Rule: <https://pip.pypa.io/en/stable/reference/requirements-file-format/>.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hostward_core::ask::Fault;
use pep440_rs::VersionSpecifiers;

use super::normalise;
use super::wants::{self, Want, Wants};
use crate::files::unreadable;

/// Includes within includes; pip itself has no limit.
const MAX_DEPTH: usize = 8;
/// Files in all, so that a fan of includes stays bounded.
const MAX_FILES: usize = 64;

/// Adds what a requirements file and its includes demand.
pub(super) fn read(wants: &mut Wants<'_>, path: &Path) -> Result<(), Fault> {
    let mut reader = Reader { wants, seen: BTreeSet::new(), required: Vec::new(), constraints: Vec::new() };
    reader.file(path, Role::Require, 0)?;
    let Reader { wants, required, constraints, .. } = reader;
    for mut want in required {
        let bounds = constraints.iter().filter(|c| c.name == want.name).flat_map(|c| c.specifiers.iter());
        // pip-compile's habit: a lock that is its own constraints. The same bound twice says nothing new.
        let bounds: Vec<_> = bounds.filter(|bound| !want.specifiers.iter().any(|s| s == *bound)).cloned().collect();
        want.specifiers = want.specifiers.iter().cloned().chain(bounds).collect();
        wants.require(want)?;
    }
    Ok(())
}

/// What a file's lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Require,
    /// `-c`: versions of what is required elsewhere; its includes are constraints too.
    Constrain,
}

struct Reader<'w, 'm> {
    wants: &'w mut Wants<'m>,
    seen: BTreeSet<(PathBuf, Role)>,
    required: Vec<Want>,
    constraints: Vec<Want>,
}

/// One logical line.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Include(&'a str),
    Constraint(&'a str),
    Editable(&'a str),
    Requirement(&'a str),
    Option,
}

type MakeLine<'a> = fn(&'a str) -> Line<'a>;

impl Reader<'_, '_> {
    fn file(&mut self, path: &Path, role: Role, depth: usize) -> Result<(), Fault> {
        // Two files that include each other may do so by ever longer paths: `../a/../a`.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert((real, role)) {
            return Ok(());
        }
        if depth > MAX_DEPTH || self.seen.len() > MAX_FILES {
            let path = path.display();
            let text = format!("requirements file '{path}': over {MAX_DEPTH} deep or {MAX_FILES} files included");
            return Err(unreadable(text));
        }
        let text = self.wants.read_list("requirements file", path)?;
        for (number, line) in logical_lines(&text) {
            self.line(path, number, &line, role, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, path: &Path, number: usize, line: &str, role: Role, depth: usize) -> Result<(), Fault> {
        let at = || format!("requirements file '{}' line {number}", path.display());
        let base = path.parent().unwrap_or(Path::new("/"));
        let want = match classify(line) {
            Line::Option => return Ok(()),
            Line::Include(to) | Line::Constraint(to) if to.contains("://") => {
                return Err(unreadable(format!("{} includes a URL, which is not fetched", at())));
            }
            Line::Include(to) => return self.file(&join(base, to), role, depth + 1),
            Line::Constraint(to) => return self.file(&join(base, to), Role::Constrain, depth + 1),
            Line::Editable(what) => nameless(what, base)?,
            Line::Requirement(text) => match wants::parse(text, self.wants.markers()) {
                Ok(want) => want,
                Err(wants::NotPep508) if is_nameless(text) => {
                    let (what, marker) = text.split_once(" ;").unwrap_or((text, ""));
                    let applies =
                        marker.trim().is_empty() || wants::applies(marker, self.wants.markers()) != Ok(false);
                    if applies { nameless(what.trim(), base)? } else { None }
                }
                Err(wants::NotPep508) => return Err(unreadable(format!("{} is no requirement (PEP 508)", at()))),
            },
        };
        match role {
            Role::Require => self.required.extend(want),
            Role::Constrain => self.constraints.extend(want),
        }
        Ok(())
    }
}

/// Joins continued lines and drops comments, as pip does; with the number of each one's first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, raw) in text.lines().enumerate() {
        let comment = raw.trim_start().starts_with('#');
        let continued = raw.strip_suffix('\\').filter(|_| !comment);
        let (first, mut line) = open.take().unwrap_or((n + 1, String::new()));
        if !comment {
            line.push_str(continued.unwrap_or(raw));
        }
        if continued.is_some() {
            open = Some((first, line));
        } else {
            lines.push((first, line));
        }
    }
    lines.extend(open);
    lines
        .into_iter()
        .map(|(n, line)| (n, without_comment(&line).trim().to_owned()))
        .filter(|(_, l)| !l.is_empty())
        .collect()
}

/// A `#` begins a comment at the line's start or after white space: in a URL it is a fragment.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (i, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..i];
        }
        before = c;
    }
    line
}

fn classify<'a>(line: &'a str) -> Line<'a> {
    let options: [(&[&str], MakeLine<'a>); 3] = [
        (&["-r", "--requirement"], Line::Include),
        (&["-c", "--constraint"], Line::Constraint),
        (&["-e", "--editable"], Line::Editable),
    ];
    for (names, make) in options {
        for name in names {
            let Some(rest) = line.strip_prefix(name) else { continue };
            let long = name.starts_with("--");
            // `-rbase.txt` and `-r=base.txt` are legal, `--requirements` is another word.
            if !long || rest.starts_with(['=', ' ', '\t']) {
                let value = rest.trim_start().trim_start_matches('=').trim();
                return make(without_options(value.trim_matches(['"', '\''])));
            }
        }
    }
    if line.starts_with('-') { Line::Option } else { Line::Requirement(without_options(line)) }
}

/// Cuts `--hash=...` and the like: from the first word that starts with a dash.
fn without_options(line: &str) -> &str {
    let mut before = 'x';
    for (i, c) in line.char_indices() {
        if c == '-' && before.is_whitespace() {
            return line[..i].trim_end();
        }
        before = c;
    }
    line
}

fn join(base: &Path, to: &str) -> PathBuf {
    base.join(to.strip_prefix("file://").unwrap_or(to))
}

/// A path, an archive or a URL without a name in front.
fn is_nameless(text: &str) -> bool {
    let what = text.split([';', '[']).next().unwrap_or(text).trim();
    let archive = [".whl", ".tar.gz", ".zip", ".tgz"].iter().any(|suffix| what.ends_with(suffix));
    text.contains("://") || what.starts_with(['.', '/', '~']) || archive || what.contains('/')
}

/// The name that a URL, an archive or a directory installs; its version is not judged. `None`: only its build knows.
fn nameless(what: &str, base: &Path) -> Result<Option<Want>, Fault> {
    let any = |name: String| Some(Want { name, specifiers: VersionSpecifiers::empty() });
    let (location, fragment) = what.split_once('#').unwrap_or((what, ""));
    if let Some(egg) = fragment.split('&').find_map(|part| part.strip_prefix("egg=")) {
        return Ok(any(normalise(egg.split('[').next().unwrap_or(egg))));
    }
    // `-e name @ url`.
    if let Some((name, _)) = what.split_once(" @ ") {
        return Ok(any(normalise(name.split('[').next().unwrap_or(name))));
    }
    let file = location.split('?').next().unwrap_or(location).rsplit('/').next().unwrap_or(location);
    if let Some(stem) = file.strip_suffix(".whl") {
        return Ok(stem.split('-').next().map(normalise).and_then(any));
    }
    if let Some(stem) = [".tar.gz", ".zip", ".tgz"].iter().find_map(|suffix| file.strip_suffix(suffix)) {
        let named = stem.rsplit_once('-').filter(|_| !location.contains("/archive/"));
        return Ok(named.map(|(name, _)| normalise(name)).and_then(any));
    }
    if location.contains("://") && !location.starts_with("file://") {
        return Ok(None);
    }
    let directory = location.split('[').next().unwrap_or(location).trim();
    Ok(wants::project_name(&join(base, directory))?.and_then(any))
}
