//! What is declared: the union of every want-list, as names with version specifiers that apply to this environment.
//!
//! A list that cannot be understood is a fault, never an empty list. The text of a line is never quoted in an error:
//! an include may point at any file, and an index option may hold a password.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use hostward_core::ask::{Fault, WantList};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use pep440_rs::VersionSpecifiers;
use pep508_rs::{MarkerEnvironment, MarkerTree, Requirement, VersionOrUrl};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{normalise, requirements, uvlock};
use crate::files::{self, unreadable};

/// A lock of a thousand packages with their hashes has about 3 MiB.
pub(super) const MAX_FILE: usize = 16 * 1024 * 1024;
/// Requirements of one environment: a hundred times what was seen.
const MAX_WANTS: usize = 20_000;

/// Everything that must be installed.
#[derive(Debug)]
pub(super) struct Wants<'a> {
    markers: &'a MarkerEnvironment,
    /// By name and by how it is said, so that the same requirement in two lists counts once.
    required: BTreeMap<(String, String), VersionSpecifiers>,
    /// The newest change of a list.
    pub(super) touched: Ms,
    digest: Sha256,
}

/// One requirement. No specifier: any version will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) name: String,
    pub(super) specifiers: VersionSpecifiers,
}

impl<'a> Wants<'a> {
    pub(super) fn new(markers: &'a MarkerEnvironment) -> Self {
        Wants { markers, required: BTreeMap::new(), touched: Ms::ZERO, digest: Sha256::new() }
    }

    pub(super) fn markers(&self) -> &'a MarkerEnvironment {
        self.markers
    }

    pub(super) fn add(&mut self, list: &WantList) -> Result<(), Fault> {
        match list {
            WantList::Requirements(path) => requirements::read(self, path),
            WantList::UvLock(path) => {
                let text = self.read_list("uv.lock", path)?;
                for want in uvlock::closure(&text, path, self.markers)? {
                    self.require(want)?;
                }
                Ok(())
            }
            WantList::Pyproject(path) => {
                let text = self.read_list("pyproject.toml", path)?;
                for line in dependencies(&text, path)? {
                    let noun = || format!("a dependency of '{}'", path.display());
                    self.require_line(&line, noun)?;
                }
                Ok(())
            }
            WantList::Inline(lines) => {
                for line in lines {
                    self.hash(line.as_bytes());
                    // Written in our own configuration: fit to be quoted.
                    self.require_line(line, || format!("required: '{line}'"))?;
                }
                Ok(())
            }
        }
    }

    /// Reads a want-list's file; its content counts for the digest, its age for `touched`.
    pub(super) fn read_list(&mut self, noun: &str, path: &Path) -> Result<String, Fault> {
        let contents = files::read(noun, path, MAX_FILE)?;
        self.hash(&contents.bytes);
        self.touched = self.touched.max(contents.modified);
        files::text(noun, path, contents)
    }

    pub(super) fn require(&mut self, want: Want) -> Result<(), Fault> {
        self.required.insert((want.name, say(&want.specifiers)), want.specifiers);
        if self.required.len() > MAX_WANTS {
            return Err(unreadable(format!("the want-lists hold over {MAX_WANTS} requirements")));
        }
        Ok(())
    }

    pub(super) fn required(&self) -> impl Iterator<Item = (&str, &VersionSpecifiers)> {
        self.required.iter().map(|((name, _), specifiers)| (name.as_str(), specifiers))
    }

    /// SHA-256 in hex over the lists' contents, each behind its length.
    pub(super) fn digest(self) -> Str {
        let mut hex = String::with_capacity(64);
        for byte in self.digest.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex.into()
    }

    fn require_line(&mut self, line: &str, noun: impl FnOnce() -> String) -> Result<(), Fault> {
        match parse(line, self.markers) {
            Ok(Some(want)) => self.require(want),
            Ok(None) => Ok(()),
            Err(NotPep508) => Err(unreadable(format!("{} is no requirement (PEP 508)", noun()))),
        }
    }

    fn hash(&mut self, content: &[u8]) {
        self.digest.update(content.len().to_be_bytes());
        self.digest.update(content);
    }
}

/// The text is no requirement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotPep508;

/// `name [extras] specifier ; marker` or `name [extras] @ url ; marker`. `None`: its marker does not apply here.
///
/// A URL's version is not judged: only what is behind it knows.
pub(super) fn parse(line: &str, markers: &MarkerEnvironment) -> Result<Option<Want>, NotPep508> {
    let line = match line.split_once('@') {
        // Not left to the crate: it would look up environment variables and paths to make the URL whole.
        Some((name, url)) if is_name(name) => {
            let marker = [" ;", "\t;"].iter().find_map(|sep| url.split_once(sep)).map(|(_, marker)| marker);
            match marker {
                Some(marker) => format!("{name};{marker}"),
                None => name.to_owned(),
            }
        }
        _ => line.to_owned(),
    };
    let requirement: Requirement = Requirement::from_str(&line).map_err(|_| NotPep508)?;
    if !requirement.marker.evaluate(markers, &[]) {
        return Ok(None);
    }
    let specifiers = match requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers,
        Some(VersionOrUrl::Url(_)) | None => VersionSpecifiers::empty(),
    };
    Ok(Some(Want { name: normalise(requirement.name.as_ref()), specifiers }))
}

/// As an operator writes it: `>=1.2,<2`; empty for any version.
pub(super) fn say(specifiers: &VersionSpecifiers) -> String {
    specifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Evaluates a marker of a lock file.
pub(super) fn applies(marker: &str, markers: &MarkerEnvironment) -> Result<bool, NotPep508> {
    let tree: MarkerTree = MarkerTree::from_str(marker).map_err(|_| NotPep508)?;
    Ok(tree.evaluate(markers, &[]))
}

/// `name` or `name[extra,extra]`, and nothing else.
fn is_name(text: &str) -> bool {
    let name = text.split('[').next().unwrap_or(text).trim();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(legal)
}

/// `[project]` of a pyproject.toml (PEP 621).
#[derive(Debug, Deserialize)]
struct Pyproject {
    project: Option<Project>,
}

#[derive(Debug, Deserialize)]
struct Project {
    name: Option<String>,
    dependencies: Option<Vec<String>>,
    #[serde(default)]
    dynamic: Vec<String>,
}

fn dependencies(text: &str, path: &Path) -> Result<Vec<String>, Fault> {
    let Some(project) = pyproject(text, path)?.project else {
        return Err(unreadable(format!("pyproject.toml '{}' has no [project] table", path.display())));
    };
    match project.dependencies {
        Some(dependencies) => Ok(dependencies),
        None if project.dynamic.iter().any(|field| field == "dependencies") => {
            let text = format!("pyproject.toml '{}' leaves its dependencies to the build (dynamic)", path.display());
            Err(unreadable(text))
        }
        None => Ok(Vec::new()),
    }
}

/// The name under which a project's directory is installed; `None`: only its build knows.
pub(super) fn project_name(directory: &Path) -> Result<Option<String>, Fault> {
    let path = directory.join("pyproject.toml");
    let Some(contents) = files::read_if_any("pyproject.toml", &path, MAX_FILE)? else { return Ok(None) };
    let text = files::text("pyproject.toml", &path, contents)?;
    Ok(pyproject(&text, &path)?.project.and_then(|project| project.name).map(|name| normalise(&name)))
}

fn pyproject(text: &str, path: &Path) -> Result<Pyproject, Fault> {
    toml::from_str(text).map_err(|e| unreadable(format!("pyproject.toml '{}': {}", path.display(), e.message())))
}
