//! `uv.lock`: the closure of the locked project for this environment.
//!
//! Follows `dependencies` and the extras that they name, as far as their markers apply here; never the development
//! groups. The project itself is where the closure begins and is not required to be installed.
//! Rule: uv's lock format, version 1 (<https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile>).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hostward_core::ask::Fault;
use pep440_rs::{Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::MarkerEnvironment;
use serde::Deserialize;

use super::normalise;
use super::wants::{Want, applies};
use crate::files::unreadable;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lock {
    version: u32,
    #[serde(default)]
    manifest: Manifest,
    #[serde(default, rename = "package")]
    packages: Vec<Package>,
}

#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: Source,
    #[serde(default)]
    resolution_markers: Vec<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    editable: Option<String>,
    r#virtual: Option<String>,
    directory: Option<String>,
    git: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
}

impl Source {
    /// The directory of a project that is locked with its sources.
    fn project(&self) -> Option<&str> {
        self.editable.as_deref().or(self.r#virtual.as_deref()).or(self.directory.as_deref())
    }
}

/// Everything that must be installed, in order of name.
pub(super) fn closure(text: &str, path: &Path, markers: &MarkerEnvironment) -> Result<Vec<Want>, Fault> {
    let noun = format!("uv.lock '{}'", path.display());
    let lock: Lock = toml::from_str(text).map_err(|e| unreadable(format!("{noun}: {}", e.message())))?;
    if lock.version != 1 {
        return Err(unreadable(format!("{noun} has version {}, 1 is understood", lock.version)));
    }
    let walk = Walk { noun: &noun, markers, by_name: by_name(&lock) };
    let roots = roots(&lock);
    if roots.is_empty() {
        return Err(unreadable(format!("{noun} names no project of its own (editable or virtual)")));
    }
    walk.from(&roots, &lock)
}

/// `.`, else the workspace's members, else every project locked with its sources.
fn roots(lock: &Lock) -> Vec<usize> {
    let those = |is_root: &dyn Fn(&Package) -> bool| -> Vec<usize> {
        lock.packages.iter().enumerate().filter(|(_, p)| is_root(p)).map(|(i, _)| i).collect()
    };
    let top = those(&|p| p.source.project() == Some("."));
    if !top.is_empty() {
        return top;
    }
    let members: BTreeSet<String> = lock.manifest.members.iter().map(|name| normalise(name)).collect();
    let members = those(&|p| p.source.project().is_some() && members.contains(&normalise(&p.name)));
    if members.is_empty() { those(&|p| p.source.editable.is_some() || p.source.r#virtual.is_some()) } else { members }
}

fn by_name(lock: &Lock) -> BTreeMap<String, Vec<usize>> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, package) in lock.packages.iter().enumerate() {
        by_name.entry(normalise(&package.name)).or_default().push(i);
    }
    by_name
}

struct Walk<'a> {
    noun: &'a str,
    markers: &'a MarkerEnvironment,
    by_name: BTreeMap<String, Vec<usize>>,
}

impl Walk<'_> {
    fn from(&self, roots: &[usize], lock: &Lock) -> Result<Vec<Want>, Fault> {
        // A package is visited once for itself and once for each extra: the lock's size bounds the walk.
        let mut todo: Vec<(usize, Option<String>)> = roots.iter().map(|root| (*root, None)).collect();
        let mut seen: BTreeSet<(usize, Option<String>)> = todo.iter().cloned().collect();
        while let Some((at, extra)) = todo.pop() {
            let package = &lock.packages[at];
            let dependencies = match &extra {
                None => Some(&package.dependencies),
                // An extra that the package does not have is a warning to uv too.
                Some(extra) => {
                    package.optional_dependencies.iter().find(|(name, _)| normalise(name) == *extra).map(|(_, d)| d)
                }
            };
            for dependency in dependencies.into_iter().flatten() {
                if !self.applies(dependency.marker.as_deref())? {
                    continue;
                }
                let to = self.choose(dependency, lock)?;
                let extras = dependency.extra.iter().map(|extra| Some(normalise(extra)));
                for next in std::iter::once(None).chain(extras) {
                    if seen.insert((to, next.clone())) {
                        todo.push((to, next));
                    }
                }
            }
        }
        let packages: BTreeSet<usize> = seen.into_iter().map(|(at, _)| at).collect();
        let installed = packages.into_iter().filter(|at| !roots.contains(at)).map(|at| &lock.packages[at]);
        // A virtual project is never installed, only what it depends on.
        installed.filter(|p| p.source.r#virtual.is_none()).map(|p| self.want(p)).collect()
    }

    /// The one package that a dependency means here.
    fn choose(&self, dependency: &Dependency, lock: &Lock) -> Result<usize, Fault> {
        let name = normalise(&dependency.name);
        let all = self.by_name.get(&name).map_or(&[][..], Vec::as_slice);
        let mut candidates = Vec::new();
        for at in all {
            let package = &lock.packages[*at];
            let named = dependency.version.is_none() || dependency.version == package.version;
            if named && (all.len() == 1 || self.any_applies(&package.resolution_markers)?) {
                candidates.push(*at);
            }
        }
        match candidates[..] {
            [one] => Ok(one),
            [] => Err(unreadable(format!("{} has no {name} for this environment", self.noun))),
            _ => Err(unreadable(format!("{} has more than one {name} for this environment", self.noun))),
        }
    }

    fn any_applies(&self, markers: &[String]) -> Result<bool, Fault> {
        for marker in markers {
            if self.applies(Some(marker))? {
                return Ok(true);
            }
        }
        Ok(markers.is_empty())
    }

    fn applies(&self, marker: Option<&str>) -> Result<bool, Fault> {
        let Some(marker) = marker else { return Ok(true) };
        applies(marker, self.markers)
            .map_err(|_| unreadable(format!("{}: '{marker}' is no marker (PEP 508)", self.noun)))
    }

    /// Sources that are built here may say another version than the lock did: only their name counts.
    fn want(&self, package: &Package) -> Result<Want, Fault> {
        let name = normalise(&package.name);
        let built = package.source.project().is_some() || package.source.git.is_some();
        let specifiers = match package.version.as_deref().filter(|_| !built) {
            None => VersionSpecifiers::empty(),
            Some(version) => {
                let version: Version = version
                    .parse()
                    .map_err(|_| unreadable(format!("{}: version '{version}' of {name} (PEP 440)", self.noun)))?;
                VersionSpecifiers::from_iter([VersionSpecifier::equals_version(version)])
            }
        };
        Ok(Want { name, specifiers })
    }
}
