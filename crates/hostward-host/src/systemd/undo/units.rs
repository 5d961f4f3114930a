//! The two units of an undo: their names, what they are told, and what may stand in them.

use std::fmt::Write as _;

use hostward_core::id::UnitName;
use hostward_core::plan::Owed;
use zbus::Variant;

use super::{OWED_MAX, UndoError};
use crate::systemd::escape::UNIT_NAME_MAX;
use crate::systemd::fence::{OPTIONS, SOURCE};
use crate::systemd::unit::Properties;

pub(super) const PREFIX: &str = "hostward-undo-";
/// systemd's default of a minute would be a minute more of outage.
const ACCURACY_MICROS: u64 = 100_000;
/// For systemctl, which only queues jobs.
const SERVICE_TIMEOUT_MICROS: u64 = 60_000_000;
/// mount(8) takes 20 ms. Whatever hangs longer keeps those down who are to be started.
const CLOSE_TIMEOUT_MICROS: u64 = 20_000_000;
/// Of what does not end at SIGTERM, and again of what does not at SIGKILL.
const CLOSE_STOP_MICROS: u64 = 2_000_000;
/// `close HOW AS-LISTED PATH`: unless something is mounted there (fence), or over whatever is but a fence (cover). By the
/// shell's own words alone, for a look at a path itself may hang. -c: so would mount's.
const CLOSE: &str = r#"
closed() {
    while read -r _ _ _ _ point rest; do
        if [ "$point" = "$2" ]; then
            case "$1$rest" in fence*|*" - tmpfs SOURCE "*) return 0;; esac
        fi
    done </proc/self/mountinfo
    return 1
}
close() { closed "$1" "$2" || mount -c -t tmpfs -o OPTIONS SOURCE "$3"; }
"#;

pub(super) type Settings<'a> = Vec<(&'static str, Variant<'a>)>;

pub(super) fn timer_settings(run: &str, elapses_micros: u64) -> Settings<'_> {
    let mut settings = common(run);
    settings.push(("TimersMonotonic", Variant::new(vec![("OnStartupSec", elapses_micros)])));
    settings.push(("AccuracyUSec", Variant::from(ACCURACY_MICROS)));
    settings.push(("RemainAfterElapse", Variant::from(true)));
    settings
}

/// Starts the units, once the paths are closed or cannot be.
pub(super) fn service<'a>(run: &str, systemctl: &'a str, owed: &'a Owed, closer: &UnitName) -> Settings<'a> {
    let line = |verb: &[&'a str]| -> Vec<&'a str> {
        let words = [systemctl].into_iter().chain(verb.iter().copied()).chain(["--"]);
        words.chain(owed.units.iter().map(UnitName::as_str)).collect()
    };
    let mut settings = common(run);
    settings.push(("Type", Variant::from("oneshot")));
    settings.push(("TimeoutStartUSec", Variant::from(SERVICE_TIMEOUT_MICROS)));
    if closes(owed) {
        // Wanted and not required: a path that cannot be closed must not keep down what nobody else will start.
        settings.push(("Wants", Variant::new(vec![closer.to_string()])));
        settings.push(("After", Variant::new(vec![closer.to_string()])));
    }
    if owed.units.is_empty() {
        settings.push(("ExecStart", Variant::new(vec![("/bin/true", vec!["/bin/true"], false)])));
        return settings;
    }
    // A start limit that was hit would refuse the start. That there is nothing to reset is no failure.
    settings.push(("ExecStartPre", Variant::new(vec![(systemctl, line(&["reset-failed"]), true)])));
    settings.push(("ExecStart", Variant::new(vec![(systemctl, line(&["start", "--no-block"]), false)])));
    settings
}

/// Closes the paths, beside each other, so that one below a folder that hangs keeps no other open. The script is its
/// standard input: `$` in a command is expanded, and what forbids that (ExecStartEx) is lost at a daemon-reload.
pub(super) fn closing(run: &str, owed: &Owed) -> Option<Settings<'static>> {
    let mut settings = common(run);
    settings.push(("Type", Variant::from("oneshot")));
    settings.push(("TimeoutStartUSec", Variant::from(CLOSE_TIMEOUT_MICROS)));
    settings.push(("TimeoutStopUSec", Variant::from(CLOSE_STOP_MICROS)));
    settings.push(("StandardInput", Variant::from("data")));
    settings.push(("StandardInputData", Variant::new(script(owed).into_bytes())));
    settings.push(("ExecStart", Variant::new(vec![("/bin/sh", vec!["/bin/sh", "-s"], false)])));
    closes(owed).then_some(settings)
}

/// Its first line says what it does to whoever pushes it ahead.
fn script(owed: &Owed) -> String {
    let paths = Owed { units: Vec::new(), ..owed.clone() };
    let mut script = format!("#{}", serde_json::to_string(&paths).unwrap_or_default());
    script += &CLOSE.replace("OPTIONS", OPTIONS).replace("SOURCE", SOURCE);
    for (how, paths) in [("fence", &owed.fences), ("cover", &owed.covers)] {
        for path in paths.iter().filter_map(|path| path.to_str()) {
            let _ = writeln!(script, "close {how} {} {} &", quoted(&as_listed(path)), quoted(path));
        }
    }
    script + "wait\n"
}

/// One word of the shell's.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn closes(owed: &Owed) -> bool {
    !owed.fences.is_empty() || !owed.covers.is_empty()
}

/// A path as mountinfo writes it (proc_pid_mountinfo(5)).
fn as_listed(path: &str) -> String {
    let mut listed = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ' ' => listed.push_str(r"\040"),
            '\t' => listed.push_str(r"\011"),
            '\n' => listed.push_str(r"\012"),
            '\\' => listed.push_str(r"\134"),
            c => listed.push(c),
        }
    }
    listed
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

/// The paths that it closes.
pub(super) fn closed_by(closer: &Properties<'_>) -> Owed {
    let Some(Variant::Array(bytes)) = closer.0.get("StandardInputData") else { return Owed::default() };
    let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte).ok()).collect();
    let first = bytes.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_prefix(b"#"));
    first.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default()
}

/// systemctl takes `*` for a pattern and systemd refuses what no unit can be called: neither is left to be found out
/// when nobody is there.
pub(super) fn check(run: &str, owed: &Owed) -> Result<(), UndoError> {
    let named =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.".contains(&b));
    // Room for the number and the suffix.
    if !named(run) || PREFIX.len() + run.len() + 30 > UNIT_NAME_MAX {
        return Err(UndoError::BadRun(run.into()));
    }
    let count = owed.units.len() + owed.fences.len() + owed.covers.len();
    if count == 0 || count > OWED_MAX {
        return Err(UndoError::Count { run: run.into(), count });
    }
    let is_unit = |unit: &&UnitName| {
        let name = unit.as_str();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || br":-_.\@".contains(&b));
        plain
            && name.len() <= UNIT_NAME_MAX
            && name.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && !kind.is_empty())
    };
    match owed.units.iter().find(|unit| !is_unit(unit)) {
        Some(unit) => Err(UndoError::BadUnit(unit.clone())),
        None => Ok(()),
    }
}

/// `hostward-undo-7-2.timer` is the third of run `7`.
pub(super) fn parse(timer: &UnitName) -> Option<(&str, u64)> {
    let (run, number) = timer.as_str().strip_prefix(PREFIX)?.strip_suffix(".timer")?.rsplit_once('-')?;
    Some((run, number.parse().ok()?))
}

/// What closes the paths before [`service_of`] starts the units.
pub(super) fn closer_of(timer: &UnitName) -> UnitName {
    let stem = timer.as_str().strip_suffix(".timer").unwrap_or(timer.as_str());
    UnitName::new(format!("{stem}-close.service"))
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
    fn a_path_is_looked_for_as_mountinfo_writes_it() {
        for (path, listed) in [("/srv/x", "/srv/x"), ("/srv/a b\tc\nd\\e#", r"/srv/a\040b\011c\012d\134e#")] {
            assert_eq!(as_listed(path), listed);
        }
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
            let units: Vec<UnitName> = units.split_whitespace().map(UnitName::new).collect();
            let owed = Owed { units, ..Owed::default() };
            assert_eq!(check(run, &owed).is_ok(), good, "{run}: {owed:?}");
        }
        let many = Owed { units: vec![UnitName::new("w.service"); OWED_MAX + 1], ..Owed::default() };
        assert_eq!(check("7", &many), Err(UndoError::Count { run: "7".into(), count: OWED_MAX + 1 }));
        let fence = Owed { fences: vec!["/srv/x".into()], ..Owed::default() };
        assert_eq!(check("7", &fence), Ok(()));
        assert!(check(&"r".repeat(UNIT_NAME_MAX), &fence).is_err());
    }
}
