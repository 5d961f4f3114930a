//! What a path rests on: the mount that is its own or that its folder is bound from, the unit that keeps that mount, and
//! whether it stands.

use std::path::{Path, PathBuf};

use super::path::{self, Lies};
use super::{HotPath, Last, Spec};
use crate::ask::{Active, Look, PathQ, PathReading, Write};
use crate::id::{Str, UnitName};

/// The unit that makes a mount, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) unit: UnitName,
    pub(super) point: PathBuf,
    /// Who may look at it.
    user: Option<Str>,
}

/// Whether a mount can be bound from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Well,
    Dead(String),
    Unknown(String),
}

impl Base {
    /// The question whether it is mounted and answers.
    pub(super) fn asked(&self) -> PathQ {
        PathQ { path: self.point.clone(), bind: None, user: self.user.clone(), write: Write::Never }
    }
}

impl HotPath {
    /// The mount point that it is, or lies below.
    pub fn point(&self) -> &Path {
        match &self.expected.lies {
            Lies::Mounted => &self.asked.path,
            Lies::Below(point) => point,
        }
    }
}

impl Spec {
    /// Where `unit` mounts: its name says it, or a path that is its own mount.
    pub fn mounts_at(&self, unit: &UnitName) -> Option<PathBuf> {
        let own = |path: &&HotPath| path.asked.bind.is_none() && path.expected.base.as_ref() == Some(unit);
        mount_point(unit).or_else(|| self.paths.iter().find(own).map(|path| path.point().to_owned()))
    }

    /// What `path` rests on; `cold` is what is bound to it. Declared, or that of the declared path that `cold` lies below.
    pub(super) fn base(&self, path: &Path, cold: Option<&Path>) -> Option<Base> {
        let listed = || self.manifest.as_ref().map(|m| (m.expected.base.as_ref(), m.asked.user.clone()));
        let declared = self.declared(path).map(|p| (p.expected.base.as_ref(), p.asked.user.clone()));
        if let Some((Some(unit), user)) = declared.or_else(listed) {
            return Some(Base { point: self.mounts_at(unit)?, unit: unit.clone(), user });
        }
        let cold = cold?;
        let holds = |other: &&HotPath| other.asked.bind.is_none() && cold.starts_with(other.point());
        let own = self.paths.iter().filter(holds).max_by_key(|other| other.point().as_os_str().len())?;
        let (unit, user) = (own.expected.base.clone()?, own.asked.user.clone());
        Some(Base { point: self.mounts_at(&unit)?, unit, user })
    }

    /// The path that is the base's own mount.
    pub(super) fn own(&self, base: &Base) -> Option<&HotPath> {
        self.paths.iter().find(|path| path.asked.bind.is_none() && path.point() == base.point)
    }

    pub(super) fn declared(&self, path: &Path) -> Option<&HotPath> {
        self.paths.iter().find(|other| other.asked.path == path)
    }
}

impl Last {
    /// The base as it was last seen. A mount that answers stands, also without its unit: somebody made it by hand, and
    /// others may be on it. What does not answer is dead with its unit, for a mount may outlive what answers for it.
    pub(super) fn stands(&self, spec: &Spec, base: &Base) -> Standing {
        let unit = &base.unit;
        let own = spec.own(base).map(|own| (own, self.ill.get(&super::key(&own.asked.path))));
        let mount = match own {
            Some((own, Some(seen))) => match (path::lost(seen, &own.expected), &seen.look) {
                (Some(reason), _) => Standing::Dead(format!("{} is {}", base.point.display(), reason.code.label())),
                // Somebody else's: not bound from, and not mounted over either when the unit does not run.
                (None, _) if path::wrong_source(seen, &own.expected).is_some() => {
                    return Standing::Unknown(format!("something else is mounted at {}", base.point.display()));
                }
                (None, Look::Answered(_)) => Standing::Well,
                (None, _) => Standing::Unknown(format!("{} itself is not well", base.point.display())),
            },
            Some((_, None)) => Standing::Well,
            None => self.mount_stands(&base.point),
        };
        let state = self.units.iter().find(|(other, _)| other == unit).map(|(_, state)| state);
        let stopped = matches!(state, Some(Ok(Active::Inactive | Active::Failed | Active::Deactivating)));
        if stopped && mount != Standing::Well { Standing::Dead(format!("{unit} does not run")) } else { mount }
    }

    /// A mount that is no path of this watch, by the look at it that came along.
    pub(super) fn mount_stands(&self, point: &Path) -> Standing {
        let shown = point.display();
        let Some(seen) = self.under.iter().find(|seen| seen.path == point) else {
            return Standing::Dead(format!("nothing that is bound comes from {shown}"));
        };
        match (path::dead(seen), &seen.look) {
            (Some(reason), _) => Standing::Dead(format!("{shown} is {}", reason.code.label())),
            (None, Look::Answered(_)) => Standing::Well,
            (None, look) => Standing::Unknown(format!("{shown}: {look:?}")),
        }
    }
}

/// It was bound while an older mount of the same thing was there, which has been replaced.
pub(super) fn outlived(seen: &PathReading) -> bool {
    let (Some(on), Some(cold)) = (&seen.on, &seen.bind) else { return false };
    on.device != cold.device
        && (&on.source, &on.fstype, &on.folder) == (&cold.source, &cold.fstype, &cold.folder)
        && !cold.beneath(&seen.path)
}

/// `srv-my\x2dbox.mount` mounts at `/srv/my-box` (systemd.unit(5)).
fn mount_point(unit: &UnitName) -> Option<PathBuf> {
    let name = unit.as_str().strip_suffix(".mount")?;
    let mut bytes = vec![b'/'];
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|hex| hex.get(..2)).filter(|_| *first == b'\\');
        let (byte, taken) = match hex {
            Some(hex) => (u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?, 3),
            None => (if *first == b'-' { b'/' } else { *first }, 0),
        };
        bytes.push(byte);
        rest = after.get(taken..)?;
    }
    // The root's own unit is `-.mount`.
    if bytes == b"//" { Some("/".into()) } else { String::from_utf8(bytes).ok().map(PathBuf::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_units_name_says_where() {
        let table = [
            ("srv-box.mount", Some("/srv/box")),
            (r"srv-my\x2dbox.mount", Some("/srv/my-box")),
            (r"srv-a\x20b.mount", Some("/srv/a b")),
            ("-.mount", Some("/")),
            ("box.service", None),
            (r"srv-\xzz.mount", None),
            (r"srv-\xc3.mount", None),
        ];
        for (unit, point) in table {
            assert_eq!(mount_point(&UnitName::new(unit)), point.map(PathBuf::from), "{unit}");
        }
    }
}
