//! Names of things, as types, so that a unit never stands where a watch is meant.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A cheap shared string.
pub type Str = Arc<str>;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Str);

        impl $name {
            pub fn new(name: impl Into<Str>) -> Self {
                $name(name.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// `KIND.NAME` as the configuration's table says it: `service.api`, `baseline.app`.
    WatchId
}
name! {
    /// A systemd unit's full name: `example-api.service`.
    UnitName
}
name! {
    /// `[app.NAME]`.
    AppName
}
name! {
    /// What may be done, as the ladder names it: `restart`, `reconcile:app`.
    Rung
}

impl WatchId {
    /// The part before the dot: `service`.
    pub fn kind(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(kind, _)| kind)
    }
    /// The part after the dot: `api`.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, name)| name)
    }
}

/// One thing that a watch keeps well. A watch may have many; each is judged and braked by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct TargetId {
    pub watch: WatchId,
    pub key: Str,
}

impl TargetId {
    pub fn new(watch: WatchId, key: impl Into<Str>) -> Self {
        TargetId { watch, key: key.into() }
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.watch, self.key)
    }
}

impl From<TargetId> for String {
    fn from(id: TargetId) -> String {
        id.to_string()
    }
}

impl From<String> for TargetId {
    fn from(s: String) -> TargetId {
        let (watch, key) = s.split_once('#').unwrap_or((&s, ""));
        TargetId::new(WatchId::new(watch), key)
    }
}

/// Something that plans touch and targets need or provide. Two plans whose resources clash never run together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    Unit(UnitName),
    Path(PathBuf),
    /// Everything of one application: while its environment is rebuilt, none of its units is restarted.
    App(AppName),
}

impl Resource {
    /// The same unit, or one path at or below the other.
    pub fn clashes(&self, other: &Resource) -> bool {
        let within = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
        match (self, other) {
            (Resource::Unit(a), Resource::Unit(b)) => a == b,
            (Resource::Path(a), Resource::Path(b)) => within(a, b),
            (Resource::App(a), Resource::App(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Unit(unit) => write!(f, "{unit}"),
            Resource::Path(path) => write!(f, "{}", path.display()),
            Resource::App(app) => write!(f, "app {app}"),
        }
    }
}

/// The sequence number of the record that opened the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_or_within_clashes() {
        let unit = |name: &str| Resource::Unit(UnitName::new(name));
        let path = |path: &str| Resource::Path(path.into());
        let app = |name: &str| Resource::App(AppName::new(name));
        let table = [
            (unit("a.service"), unit("a.service"), true),
            (unit("a.service"), unit("b.service"), false),
            (path("/srv/a"), path("/srv/a"), true),
            (path("/srv/a"), path("/srv/a/venv"), true),
            (path("/srv/a"), path("/srv/ab"), false),
            (app("a"), app("a"), true),
            (app("a"), app("b"), false),
            (app("a"), unit("a"), false),
            (unit("/srv/a"), path("/srv/a"), false),
        ];
        for (a, b, clash) in table {
            assert_eq!((a.clashes(&b), b.clashes(&a)), (clash, clash), "{a} and {b}");
        }
    }
}
