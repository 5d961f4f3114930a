//! What is said of a unit, and of its parts, in words.

use crate::ask::UnitReading;
use crate::id::Str;
use crate::judge::{Code, Reason};

pub(super) fn ended(unit: &UnitReading) -> String {
    match (unit.result.as_ref(), unit.main_end.as_ref()) {
        ("", "") => "never started".into(),
        (result, "") => result.into(),
        ("success", end) => end.into(),
        (result, end) => format!("{result}, {end}"),
    }
}

pub(super) fn fact(unit: &UnitReading) -> Str {
    let restarts = match unit.restarts {
        0 => String::new(),
        n => format!("; automatic restart {n}"),
    };
    format!("main process {}{restarts}", if unit.main_end.is_empty() { "ended" } else { &unit.main_end }).into()
}

/// Why nothing is done about a part.
pub(super) fn told_of(key: &str, reason: &Reason) -> String {
    let why = match reason.code {
        Code::Config => "it was never set up, and no restart does that",
        Code::CertificateExpiring | Code::CertificateUntrusted => "a restart renews no certificate",
        Code::NameUnresolved => "a restart mends no name",
        Code::Component => "by itself it starts no remedy; `restart_on` would make it the service's own",
        _ => "no remedy is known for it",
    };
    format!("{key} is told of, and nothing is done about it: {why}")
}
