//! Whether a watched unit can be watched at all: one that does not exist, and one whose state says nothing.

use std::collections::BTreeMap;
use std::path::Path;

use hostward_core::id::UnitName;
use hostward_core::policy::{Policy, Watch};

use super::{Findings, Grade};
use crate::verb::systemctl;

const PROPERTIES: [&str; 6] = ["LoadState", "ExecStart", "Type", "RemainAfterExit", "ConsistsOf", "UnitFileState"];

/// What systemd says of a unit, by property.
type Shown = BTreeMap<String, String>;

pub(super) fn units(found: &mut Findings, policy: &Policy) {
    for (watch, unit) in policy.watches.values().filter_map(|watch| Some((watch, watch.spec.unit()?))) {
        let shown = systemctl::show(&[unit.as_str()], &PROPERTIES);
        let Some(shown) = shown.ok().and_then(|shown| shown.into_iter().next()) else { continue };
        match complaint(unit, &shown, eyes(watch)) {
            Some((grade, says, fix)) => found.add(grade, "unit", says, fix),
            None => found.ok("unit", unit.to_string()),
        }
    }
}

/// What a watch looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eyes {
    /// The unit's state, and nothing else.
    State,
    /// Probes as well.
    Probes,
}

fn eyes(watch: &Watch) -> Eyes {
    // The first question is the unit's state.
    if watch.spec.probes().len() > 1 { Eyes::Probes } else { Eyes::State }
}

/// What is wrong with it as something to be watched, and what to do instead.
fn complaint(unit: &UnitName, shown: &Shown, eyes: Eyes) -> Option<(Grade, String, String)> {
    let get = |key: &str| shown.get(key).map_or("", String::as_str);
    if get("LoadState") == "not-found" {
        let fix = "correct `unit`, or install it".to_owned();
        return Some((Grade::Problem, format!("{unit} does not exist"), fix));
    }
    let oneshot = get("Type") == "oneshot";
    let remains = get("RemainAfterExit") == "yes";
    if oneshot && !remains {
        let says = format!("{unit} ends when it has done its work: its watch would call it down each time");
        let fix = "watch what it starts, or give it RemainAfterExit=yes and the watch a probe".to_owned();
        return Some((Grade::Problem, says, fix));
    }
    let nothing = [Path::new("/bin/true"), Path::new("/usr/bin/true")];
    let program = systemctl::program(get("ExecStart"));
    if eyes == Eyes::State && (unit.as_str().ends_with(".target") || program.is_some_and(|p| nothing.contains(&p))) {
        let does = if program.is_some() { "runs /bin/true" } else { "runs nothing" };
        let says = format!("{unit} {does}: it cannot fail, so a watch on it sees nothing");
        return Some((Grade::Problem, says, instead(get("ConsistsOf"))));
    }
    if eyes == Eyes::State && oneshot {
        let says = format!("{unit} stays active when its program has ended: only its start can fail");
        return Some((Grade::Warning, says, instead(get("ConsistsOf"))));
    }
    if get("UnitFileState") == "disabled" {
        let says = format!("{unit} is not enabled: it is gone after a reboot");
        return Some((Grade::Warning, says, format!("systemctl enable {unit}")));
    }
    None
}

/// A front knows what is part of it.
fn instead(consists_of: &str) -> String {
    match consists_of {
        "" => "watch the unit that runs, or add a probe".to_owned(),
        parts => format!("watch what runs instead: {parts}; or add a probe"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUE: &str = "ExecStart={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no }";
    const SERVER: &str = "ExecStart={ path=/opt/serve ; argv[]=/opt/serve ; ignore_errors=no }";

    /// A unit, what systemd says of it, what the watch has; how grave that is, and part of what is said.
    type Case<'a> = (&'a str, &'a [&'a str], Eyes, Option<Grade>, &'a str);

    fn said(unit: &str, shown: &[&str], eyes: Eyes) -> Option<(Grade, String)> {
        let shown = shown.iter().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
        complaint(&UnitName::new(unit), &shown.collect(), eyes).map(|(grade, says, fix)| (grade, says + " → " + &fix))
    }

    #[test]
    fn a_state_that_says_nothing_is_a_fault_of_the_watch_unless_a_probe_looks_further() {
        let front = ["Type=oneshot", "RemainAfterExit=yes", TRUE, "ConsistsOf=db@15-main.service db@15-two.service"];
        let stays = ["Type=oneshot", "RemainAfterExit=yes", SERVER];
        let ends = ["Type=oneshot", "RemainAfterExit=no", SERVER];
        let cases: [Case; 10] = [
            (
                "db.service",
                &front,
                Eyes::State,
                Some(Grade::Problem),
                "instead: db@15-main.service db@15-two.service",
            ),
            ("db.service", &front, Eyes::Probes, None, ""),
            ("web.target", &[], Eyes::State, Some(Grade::Problem), "runs nothing: it cannot fail"),
            ("web.target", &[], Eyes::Probes, None, ""),
            ("rules.service", &stays, Eyes::State, Some(Grade::Warning), "only its start can fail"),
            ("rules.service", &stays, Eyes::Probes, None, ""),
            ("job.service", &ends, Eyes::Probes, Some(Grade::Problem), "would call it down each time"),
            ("api.service", &["Type=simple", SERVER], Eyes::State, None, ""),
            ("api.service", &["UnitFileState=disabled", SERVER], Eyes::State, Some(Grade::Warning), "enable api"),
            ("api.service", &["LoadState=not-found"], Eyes::State, Some(Grade::Problem), "does not exist"),
        ];
        for (unit, shown, eyes, grade, words) in cases {
            let said = said(unit, shown, eyes);
            assert_eq!(said.as_ref().map(|(grade, _)| *grade), grade, "{unit} {eyes:?}: {said:?}");
            assert!(said.is_none_or(|(_, said)| said.contains(words)), "{unit} {eyes:?}");
        }
    }
}
