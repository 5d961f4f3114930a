//! Units that are to stand still for a while: those that run, each once, with what stops along; and before them whoever
//! would start one of them again meanwhile.

use super::Draft;
use crate::ask::ClosureReading;
use crate::id::UnitName;
use crate::plan::Stop;
use crate::time::Ms;

/// What starts a unit when its turn comes (systemd.unit(5), "TriggeredBy="). Whatever else wakes one upholds it.
const TRIGGERS: [&str; 3] = [".socket", ".timer", ".path"];

/// The stops, in their order, each with the longest that it may take.
pub(super) fn stops<'a>(
    units: &[UnitName],
    closure: impl Fn(&UnitName) -> Option<&'a ClosureReading>,
) -> Result<Vec<(Stop, Ms)>, Box<Draft>> {
    let unknown = |unit: &UnitName| Box::new(Draft::unready(format!("what stops with {unit} is not known yet")));
    let mut known = Vec::with_capacity(units.len());
    for unit in units {
        known.push((unit, closure(unit).ok_or_else(|| unknown(unit))?));
    }
    let wakes =
        |unit: &UnitName| known.iter().any(|(_, closure)| closure.wakers.iter().any(|(waker, _)| waker == unit));
    let (first, then): (Vec<_>, Vec<_>) = known.iter().partition(|(unit, _)| wakes(unit));
    let mut quiesced = Quiesced { declared: units, stops: Vec::new() };
    for (unit, closure) in first.into_iter().chain(then) {
        quiesced.wakers(unit, closure)?;
        quiesced.stop(unit, closure, None)?;
    }
    Ok(quiesced.stops)
}

struct Quiesced<'a> {
    declared: &'a [UnitName],
    stops: Vec<(Stop, Ms)>,
}

impl Quiesced<'_> {
    /// A socket, timer or path stands still as well. What upholds a unit is more than that: its operator says whether it may.
    fn wakers(&mut self, unit: &UnitName, closure: &ClosureReading) -> Result<(), Box<Draft>> {
        for (waker, its) in &closure.wakers {
            if TRIGGERS.iter().any(|kind| waker.as_str().ends_with(kind)) {
                self.stop(waker, its, Some(unit))?;
            } else if !self.declared.contains(waker) && !self.stopped(waker) {
                let why = format!(
                    "{waker} upholds {unit}: it would start it again at once, unless it stands still as well"
                );
                return Err(Box::new(Draft::none(why)));
            }
        }
        Ok(())
    }

    fn stop(&mut self, unit: &UnitName, its: &ClosureReading, wakes: Option<&UnitName>) -> Result<(), Box<Draft>> {
        if let Some(lost) = its.one_way.first() {
            let why = format!("to stop {unit} would end {lost}, which no start brings back");
            return Err(Box::new(Draft::none(why)));
        }
        if its.active && !self.stopped(unit) {
            let closure = its.members.iter().filter(|member| !self.stopped(member)).cloned().collect();
            self.stops.push((Stop { unit: unit.clone(), closure, wakes: wakes.cloned() }, its.stop_timeout));
        }
        Ok(())
    }

    fn stopped(&self, unit: &UnitName) -> bool {
        self.stops.iter().any(|(stop, _)| stop.units().any(|other| other == unit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// `"web: part <web.socket(log) !gone"`: a unit that runs with what stops along, who wakes it, and what it ends.
    fn closures(text: &str) -> BTreeMap<UnitName, ClosureReading> {
        let reading = |words: &str| {
            let word = |mark: char| {
                words.split_whitespace().filter_map(move |word| word.strip_prefix(mark)).map(str::to_owned)
            };
            let names = |words: Vec<String>| words.into_iter().map(UnitName::new).collect::<Vec<_>>();
            let waker = |text: String| {
                let (name, along) = text.split_once('(').unwrap_or((&text, ")"));
                let along = along.trim_end_matches(')').split(',').filter(|name| !name.is_empty());
                let members = along.map(UnitName::new).collect();
                (UnitName::new(name), ClosureReading { members, ..idle() })
            };
            ClosureReading {
                active: !words.contains("idle"),
                members: names(word('+').collect()),
                one_way: names(word('!').collect()),
                wakers: word('<').map(waker).collect(),
                ..idle()
            }
        };
        let entry =
            |line: &str| line.split_once(':').map(|(unit, words)| (UnitName::new(unit.trim()), reading(words)));
        text.split(';').filter_map(entry).collect()
    }

    fn idle() -> ClosureReading {
        let (members, one_way, wakers) = (Vec::new(), Vec::new(), Vec::new());
        ClosureReading { active: true, members, one_way, stop_timeout: Ms::secs(30), wakers }
    }

    #[test]
    fn who_would_start_one_again_stands_still_first() {
        let table = [
            ("a: +part", "stop a, part"),
            ("a: idle", ""),
            ("a: +part; part:", "stop a, part"),
            ("a: <a.socket", "stop a.socket, which would start a; stop a"),
            // A job between two runs of its timer.
            ("a: idle <a.timer", "stop a.timer, which would start a"),
            ("a: +part <a.socket(a,part)", "stop a.socket, a, part, which would start a"),
            ("a: <t.timer; b: <t.timer", "stop t.timer, which would start a; stop a; stop b"),
            ("a: <keeper; keeper:", "stop keeper; stop a"),
            ("a: <keeper", "keeper upholds a: it would start it again at once, unless it stands still as well"),
            ("a: !gone", "to stop a would end gone, which no start brings back"),
        ];
        for (text, expected) in table {
            let closures = closures(text);
            let units: Vec<UnitName> = closures.keys().cloned().collect();
            let said = match stops(&units, |unit| closures.get(unit)) {
                Ok(stops) => {
                    let acts = stops.into_iter().map(|(stop, _)| crate::plan::Act::Stop(stop).to_string());
                    acts.collect::<Vec<_>>().join("; ")
                }
                Err(draft) => draft.holds.iter().map(|held| held.value.to_string()).collect(),
            };
            assert_eq!(said, expected, "{text}");
        }
        assert!(stops(&[UnitName::new("a")], |_| None).is_err(), "what is not known is not stopped");
    }
}
