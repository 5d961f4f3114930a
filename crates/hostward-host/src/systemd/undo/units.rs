//! The two units of an undo: their names, what they are told, and what may stand in them.

use std::path::PathBuf;

use hostward_core::id::UnitName;
use zbus::Variant;

use super::{UNITS_MAX, UndoError};
use crate::systemd::escape::UNIT_NAME_MAX;
use crate::systemd::fence::fencing;
use crate::systemd::unit::Properties;

pub(super) const PREFIX: &str = "hostward-undo-";
/// systemd's default of a minute would be a minute more of outage.
const ACCURACY_MICROS: u64 = 100_000;
/// For systemctl, which only queues jobs.
const SERVICE_TIMEOUT_MICROS: u64 = 60_000_000;

pub(super) type Settings<'a> = Vec<(&'static str, Variant<'a>)>;

pub(super) fn timer_settings(run: &str, elapses_micros: u64) -> Settings<'_> {
    let mut settings = common(run);
    settings.push(("TimersMonotonic", Variant::new(vec![("OnStartupSec", elapses_micros)])));
    settings.push(("AccuracyUSec", Variant::from(ACCURACY_MICROS)));
    settings.push(("RemainAfterElapse", Variant::from(true)));
    settings
}

pub(super) fn service<'a>(
    run: &str,
    systemctl: &'a str,
    units: &'a [UnitName],
    fences: &'a [PathBuf],
) -> Settings<'a> {
    let line = |verb: &[&'a str]| -> Vec<&'a str> {
        let words = [systemctl].into_iter().chain(verb.iter().copied()).chain(["--"]);
        words.chain(units.iter().map(UnitName::as_str)).collect()
    };
    let mut settings = common(run);
    settings.push(("Type", Variant::from("oneshot")));
    settings.push(("TimeoutStartUSec", Variant::from(SERVICE_TIMEOUT_MICROS)));
    // A path that cannot be closed must not keep down for ever what nobody else will start.
    let fences = fences.iter().filter_map(|path| path.to_str()).map(fencing);
    let fences: Vec<(&str, Vec<&str>, Vec<&str>)> =
        fences.map(|argv| (argv[0], argv.to_vec(), vec!["ignore-failure", "no-env-expand"])).collect();
    if !fences.is_empty() {
        settings.push(("ExecStartPreEx", Variant::new(fences)));
    }
    // A start limit that was hit would refuse the start. That there is nothing to reset is no failure.
    settings.push(("ExecStartPre", Variant::new(vec![(systemctl, line(&["reset-failed"]), true)])));
    settings.push(("ExecStart", Variant::new(vec![(systemctl, line(&["start", "--no-block"]), false)])));
    settings
}

/// Without default dependencies: an undo waits for no target. So it is said here that neither unit outlives the system.
fn common(run: &str) -> Settings<'static> {
    vec![
        ("Description", Variant::from(format!("Hostward: gives back what run {run} stopped"))),
        ("CollectMode", Variant::from("inactive-or-failed")),
        ("DefaultDependencies", Variant::from(false)),
        ("Conflicts", Variant::from(vec!["shutdown.target"])),
        ("Before", Variant::from(vec!["shutdown.target"])),
    ]
}

/// ExecStart's first command; after the `--`.
pub(super) fn started_by(service: &Properties<'_>) -> Vec<UnitName> {
    let Some(Variant::Array(commands)) = service.0.get("ExecStart") else { return Vec::new() };
    let Some(Variant::Structure(command)) = commands.iter().next() else { return Vec::new() };
    let Some(Variant::Array(argv)) = command.fields().get(1) else { return Vec::new() };
    let words = argv.iter().filter_map(|word| <&str>::try_from(word).ok());
    words.skip_while(|word| *word != "--").skip(1).map(UnitName::new).collect()
}

/// The folders that ExecStartPre's mounts go over.
pub(super) fn fenced_by(service: &Properties<'_>) -> Vec<PathBuf> {
    let Some(Variant::Array(commands)) = service.0.get("ExecStartPre") else { return Vec::new() };
    let folder = |command: &Variant<'_>| {
        let Variant::Structure(command) = command else { return None };
        let Some(Variant::Array(argv)) = command.fields().get(1) else { return None };
        let words: Vec<&str> = argv.iter().filter_map(|word| <&str>::try_from(word).ok()).collect();
        let (first, folder) = (words.first()?, words.last()?);
        (*first == "mount").then(|| PathBuf::from(folder))
    };
    commands.iter().filter_map(folder).collect()
}

/// systemctl takes `*` for a pattern and systemd refuses what no unit can be called: neither is left to be found out
/// when nobody is there.
pub(super) fn check(run: &str, units: &[UnitName]) -> Result<(), UndoError> {
    let named =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.".contains(&b));
    // Room for the number and the suffix.
    if !named(run) || PREFIX.len() + run.len() + 30 > UNIT_NAME_MAX {
        return Err(UndoError::BadRun(run.into()));
    }
    if units.is_empty() || units.len() > UNITS_MAX {
        return Err(UndoError::Count { run: run.into(), count: units.len() });
    }
    let is_unit = |unit: &&UnitName| {
        let name = unit.as_str();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || br":-_.\@".contains(&b));
        plain
            && name.len() <= UNIT_NAME_MAX
            && name.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && !kind.is_empty())
    };
    match units.iter().find(|unit| !is_unit(unit)) {
        Some(unit) => Err(UndoError::BadUnit(unit.clone())),
        None => Ok(()),
    }
}

/// `hostward-undo-7-2.timer` is the third of run `7`.
pub(super) fn parse(timer: &UnitName) -> Option<(&str, u64)> {
    let (run, number) = timer.as_str().strip_prefix(PREFIX)?.strip_suffix(".timer")?.rsplit_once('-')?;
    Some((run, number.parse().ok()?))
}

pub(super) fn service_of(timer: &UnitName) -> UnitName {
    let stem = timer.as_str().strip_suffix(".timer").unwrap_or(timer.as_str());
    UnitName::new(format!("{stem}.service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_run_and_number() {
        let table = [
            ("hostward-undo-7-0.timer", Some(("7", 0))),
            ("hostward-undo-a-b-12.timer", Some(("a-b", 12))),
            ("hostward-undo-7-0.service", None),
            ("hostward-undo-7.timer", None),
            ("hostward-undo-7-x.timer", None),
            ("hostward-step-7-0.timer", None),
        ];
        for (name, expected) in table {
            assert_eq!(parse(&UnitName::new(name)), expected, "{name}");
        }
        assert_eq!(service_of(&UnitName::new("hostward-undo-7-0.timer")).as_str(), "hostward-undo-7-0.service");
    }

    #[test]
    fn nothing_is_armed_that_would_not_work() {
        let good = r"srv-x\x2dy.mount getty@tty1.service";
        let table = [
            ("7", good, true),
            ("a:b_c.d-e", good, true),
            ("", good, false),
            ("a b", good, false),
            ("a/b", good, false),
            ("7", "", false),
            ("7", "w*.service", false),
            ("7", "w[ab].service", false),
            ("7", "worker", false),
            ("7", ".service", false),
            ("7", "w.service $HOME.service", false),
        ];
        for (run, units, good) in table {
            let names: Vec<UnitName> = units.split_whitespace().map(UnitName::new).collect();
            assert_eq!(check(run, &names).is_ok(), good, "{run}: {units}");
        }
        let many = vec![UnitName::new("w.service"); UNITS_MAX + 1];
        assert_eq!(check("7", &many), Err(UndoError::Count { run: "7".into(), count: UNITS_MAX + 1 }));
        assert!(check(&"r".repeat(UNIT_NAME_MAX), &many[..1]).is_err());
    }
}
