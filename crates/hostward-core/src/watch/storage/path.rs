//! One path: what its look and its place among the mounts come to. The order is that of the certain before the inferred:
//! what the kernel answered on the path itself, then where it lies, then what keeps it, then whether it takes writes.
//!
//! Invariant: a detail that could not be read vetoes nothing that was proved without it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ask::{Active, Call, Fault, Look, On, PathReading, Write};
use crate::id::{Str, UnitName};
use crate::judge::{Code, Reason, Seen};

/// What a path is declared to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub lies: Lies,
    /// As mountinfo has it: a device, `user@host:/path`.
    pub source: Option<Str>,
    /// `fuse.sshfs`, `ext4`.
    pub fstype: Option<Str>,
    /// The unit without which the mount is nothing.
    pub base: Option<UnitName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lies {
    /// It is a mount point itself.
    #[default]
    Mounted,
    /// It is a folder on what is mounted here.
    Below(PathBuf),
}

/// A base's unit, as systemd told it.
pub(super) type Base = (UnitName, Result<Active, Fault>);

/// errno(3), by their numbers on every architecture that Debian has, but for MIPS and SPARC.
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EPERM: i32 = 1;
const ENOTDIR: i32 = 20;
const EROFS: i32 = 30;
const ELOOP: i32 = 40;
/// A FUSE server is gone.
const ENOTCONN: i32 = 107;
const EHOSTDOWN: i32 = 112;
/// An NFS server forgot the handle.
const ESTALE: i32 = 116;

pub(super) fn judge(seen: &PathReading, write: Write, expected: &Expected, units: &[Base]) -> Seen {
    if elsewhere(&seen.look) {
        return answered(&seen.look);
    }
    // Of what it would mount nobody knows before it does.
    if seen.on.as_ref().is_some_and(|on| &*on.fstype == "autofs") {
        return Seen::Unknown(Fault::Config("it is an automount that has mounted nothing yet".into()));
    }
    dead(seen)
        .or_else(|| missing(seen, expected))
        .or_else(|| wrong_source(seen, expected))
        .or_else(|| base_down(expected, units))
        .or_else(|| read_only(seen, write))
        .or_else(|| unwritable(seen))
        .map_or_else(|| answered(&seen.look), Seen::Down)
}

/// There is nothing to be had from it: what a mount made anew may cure.
pub(super) fn lost(seen: &PathReading, expected: &Expected) -> Option<Reason> {
    dead(seen).or_else(|| missing(seen, expected).filter(|_| !elsewhere(&seen.look)))
}

/// Mountinfo knows the real path alone: of one behind a link it does not tell what is mounted there. mount(8) follows the
/// link, so a remedy would cover what is well.
fn elsewhere(look: &Look) -> bool {
    matches!(look, Look::Failed { call: Call::Open, errno: ELOOP | ENOTDIR, .. })
}

/// What answers so answers for nobody any more.
pub(in crate::watch) fn is_lost(errno: i32) -> bool {
    matches!(errno, ENOTCONN | ESTALE | EIO | EHOSTDOWN)
}

/// It does not answer, or what was mounted answers for nobody any more.
pub(super) fn dead(seen: &PathReading) -> Option<Reason> {
    match &seen.look {
        Look::Stuck { at, age } => {
            let waiting = seen.on.as_ref().and_then(|on| on.waiting);
            let waiting = waiting.map_or_else(String::new, |n| format!("; {n} requests wait for its server"));
            let whose = if *at == seen.path { String::new() } else { format!(" from {}", at.display()) };
            Some(Reason::new(Code::Hung, format!("no answer{whose} for {age}{}{waiting}", of(seen))))
        }
        Look::Failed { call, errno, why } if is_lost(*errno) => {
            Some(Reason::new(Code::Stale, format!("{call}: {why}{}", of(seen))))
        }
        _ => None,
    }
}

/// Nothing is mounted where something must be, or there is no such folder.
fn missing(seen: &PathReading, expected: &Expected) -> Option<Reason> {
    let missing = |detail: String| Some(Reason::new(Code::Missing, detail));
    if seen.fenced {
        return missing("it is fenced: what was mounted there could not be mounted again".to_owned());
    }
    let point = match &expected.lies {
        Lies::Mounted => &seen.path,
        Lies::Below(point) => point,
    };
    // A folder may lie on a mount of its own within the one that is declared.
    let within = |on: &On| on.point == *point || expected.lies != Lies::Mounted && on.point.starts_with(point);
    match (&seen.on, &seen.look) {
        (Some(on), _) if !within(on) => {
            missing(format!("nothing is mounted at {}: it lies on {}", point.display(), named(on)))
        }
        (_, Look::Failed { errno: ENOENT, why, .. }) => missing(why.to_string()),
        _ => None,
    }
}

/// Something else is mounted there, or another folder of it than the one that is to be bound.
pub(super) fn wrong_source(seen: &PathReading, expected: &Expected) -> Option<Reason> {
    let on = seen.on.as_ref()?;
    let wanted = if let Some(declared) = differs(on, expected) {
        format!("{declared} was declared")
    } else {
        let cold = seen.bind.as_ref().filter(|cold| (&cold.device, &cold.folder) != (&on.device, &on.folder))?;
        format!("it is to be bound to {} of {}", cold.folder.display(), named(cold))
    };
    let is = format!("{} of {}", on.folder.display(), named(on));
    Some(Reason::new(Code::WrongSource, format!("it is {is}, and {wanted}")))
}

/// What would be bound to a path that is lost is not what was declared of it: whoever writes there would write elsewhere.
pub(super) fn wrong_bind(cold: &On, expected: &Expected) -> Option<String> {
    let declared = differs(cold, expected)?;
    Some(format!("what would be bound is {} of {}, and {declared} was declared", cold.folder.display(), named(cold)))
}

/// What was declared of it, and is not so.
fn differs(on: &On, expected: &Expected) -> Option<Str> {
    let pairs = [(&expected.source, &on.source), (&expected.fstype, &on.fstype)];
    pairs.into_iter().find_map(|(want, is)| want.clone().filter(|want| want != is))
}

/// What cannot be known of a unit says nothing against its mount.
fn base_down(expected: &Expected, units: &[Base]) -> Option<Reason> {
    let base = expected.base.as_ref()?;
    let (_, state) = units.iter().find(|(unit, _)| unit == base)?;
    let is = match state.as_ref().ok()? {
        Active::Active | Active::Reloading | Active::Activating => return None,
        Active::Inactive | Active::Deactivating => "not running",
        Active::Failed => "failed",
    };
    Some(Reason::new(Code::BaseDown, format!("{base} is {is}")))
}

fn read_only(seen: &PathReading, write: Write) -> Option<Reason> {
    let mounted = seen.on.as_ref().filter(|on| write != Write::Never && on.read_only);
    match (&seen.look, mounted) {
        (Look::Failed { call, errno: EROFS, why }, _) => {
            Some(Reason::new(Code::Readonly, format!("{call}: {why}{}", of(seen))))
        }
        (Look::Answered(_) | Look::Failed { call: Call::Access | Call::Write, .. }, Some(on)) => {
            Some(Reason::new(Code::Readonly, format!("{} is mounted read-only", named(on))))
        }
        _ => None,
    }
}

fn unwritable(seen: &PathReading) -> Option<Reason> {
    match &seen.look {
        Look::Failed { call: call @ (Call::Access | Call::Write), why, .. } => {
            Some(Reason::new(Code::Unwritable, format!("{call}: {why}")))
        }
        _ => None,
    }
}

/// Nothing speaks against it: it is up, unless the look itself came to nothing that is known.
fn answered(look: &Look) -> Seen {
    match look {
        Look::Answered(_) => Seen::Up,
        Look::Unasked(fault) => Seen::Unknown(fault.clone()),
        Look::Failed { errno: EACCES | EPERM, call, why } => {
            Seen::Unknown(Fault::Denied(format!("{call}: {why}: say with `user` who may look").into()))
        }
        Look::Failed { errno: ENOTDIR, .. } => Seen::Unknown(Fault::Config("it is not a folder".into())),
        Look::Failed { errno: ELOOP, .. } => {
            Seen::Unknown(Fault::Config("a symbolic link is on the way: declare the real path".into()))
        }
        Look::Failed { call, why, .. } => Seen::Unknown(Fault::Unreadable(format!("{call}: {why}").into())),
        // Told of above.
        Look::Stuck { .. } => Seen::Unknown(Fault::Timeout),
    }
}

fn named(on: &On) -> String {
    format!("{} ({})", on.source, on.fstype)
}

fn of(seen: &PathReading) -> String {
    seen.on.as_ref().map_or_else(String::new, |on| format!(" ({}, {})", on.source, on.fstype))
}
