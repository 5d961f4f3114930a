//! The application's tree: which commit is checked out, and whether somebody is at work in it.
//!
//! Reads `.git` itself. git is never started: it refuses another user's checkout ("dubious ownership"), and
//! `git status` writes the index. Rule: gitrepository-layout(5).

use std::path::{Path, PathBuf};

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use hostward_core::time::Ms;

use crate::files;

/// HEAD and loose refs hold one line.
const MAX_REF: usize = 4096;
/// A repository of a hundred thousand tags.
const MAX_PACKED: usize = 16 * 1024 * 1024;
/// A symbolic ref to a symbolic ref; git's own limit (refs.c, SYMREF_MAXDEPTH).
const MAX_SYMREFS: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The newest change of the top directory and of what git writes when an operator works.
    pub(super) touched: Ms,
    pub(super) revision: Option<Str>,
}

impl Tree {
    /// A tree that does not exist, or is no checkout, has neither.
    pub(super) fn look(tree: &Path) -> Result<Tree, Fault> {
        let mut touched = files::modified("tree", tree)?.unwrap_or_default();
        let Some(git) = git_dir(tree)? else { return Ok(Tree { touched, revision: None }) };
        for file in ["index", "HEAD", "FETCH_HEAD"] {
            touched = touched.max(files::modified("git directory", &git.join(file))?.unwrap_or_default());
        }
        Ok(Tree { touched, revision: revision(&git)? })
    }
}

/// `.git`, or where a worktree's or submodule's `.git` file says (`gitdir: PATH`).
fn git_dir(tree: &Path) -> Result<Option<PathBuf>, Fault> {
    let dot_git = tree.join(".git");
    match std::fs::metadata(&dot_git) {
        Ok(meta) if meta.is_dir() => Ok(Some(dot_git)),
        Ok(_) => Ok(line("git link", &dot_git)?
            .and_then(|line| line.strip_prefix("gitdir:").map(|path| tree.join(path.trim())))),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(files::fault("git directory", &dot_git, e)),
    }
}

/// HEAD, followed to a commit; `None`: the branch has no commit yet, or refs are kept in a way not known here.
fn revision(git: &Path) -> Result<Option<Str>, Fault> {
    let common = line("git commondir", &git.join("commondir"))?.map_or(git.to_owned(), |path| git.join(path));
    let mut name = "HEAD".to_owned();
    for _ in 0..MAX_SYMREFS {
        // HEAD is the worktree's own, branches are the repository's.
        let mut found = line("git ref", &git.join(&name))?;
        if found.is_none() && common != git {
            found = line("git ref", &common.join(&name))?;
        }
        let Some(found) = found else { return packed(&common, &name) };
        match found.strip_prefix("ref:") {
            Some(next) if is_ref(next.trim()) => next.trim().clone_into(&mut name),
            Some(_) => return Ok(None),
            None => return Ok(commit(&found)),
        }
    }
    Ok(None)
}

fn packed(common: &Path, name: &str) -> Result<Option<Str>, Fault> {
    let path = common.join("packed-refs");
    let Some(contents) = files::read_if_any("git packed-refs", &path, MAX_PACKED)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&contents.bytes);
    let hit = text.lines().filter_map(|line| line.split_once(' ')).find(|(_, packed)| *packed == name);
    Ok(hit.and_then(|(hash, _)| commit(hash)))
}

/// SHA-1 or SHA-256 in hex; anything else that stood in the file is not repeated.
fn commit(text: &str) -> Option<Str> {
    let hash = text.trim();
    (matches!(hash.len(), 40 | 64) && hash.bytes().all(|b| b.is_ascii_hexdigit())).then(|| hash.into())
}

/// A ref's name stays below the git directory.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && !name.split('/').any(|part| part.is_empty() || part.starts_with('.'))
}

/// The first line of a small file. A directory where a ref could be (`refs/heads/a` beside `a/b`) is no ref.
fn line(noun: &str, path: &Path) -> Result<Option<String>, Fault> {
    if path.is_dir() {
        return Ok(None);
    }
    let contents = files::read_if_any(noun, path, MAX_REF)?;
    Ok(contents.map(|c| String::from_utf8_lossy(&c.bytes).lines().next().unwrap_or_default().trim().to_owned()))
}
