//! What a storage watch may do: whom it stops, how it mounts, whom it refreshes.

use hostward_core::id::UnitName;
use hostward_core::watch::storage::{Dependent, Remedy};

use crate::commands;
use crate::finding::{Finding, Said, shown};
use crate::reader::Reader;
use crate::scalar;

/// Of holders, oneshots, dependents and commands: each is a step of a plan.
const PARTS_MAX: usize = 8;

pub(crate) fn read(table: &mut Reader<'_>) -> Remedy {
    let holders = units(table, "holders");
    let lazy = table.flag("lazy").unwrap_or(false);
    let rebind = table.value("rebind").and_then(|list| commands::read(&list, PARTS_MAX));
    let rebind = rebind.map_or_else(Vec::new, |said| said.value.into_iter().map(values).collect());
    let oneshots = units(table, "oneshots");
    let dependents = table.tables("dependents", PARTS_MAX).into_iter().filter_map(dependent).collect();
    Remedy { holders: values(holders), lazy, rebind, oneshots: values(oneshots), dependents }
}

/// `[[storage.NAME.dependents]]`
fn dependent(mut table: Reader<'_>) -> Option<Dependent> {
    let unit = table.need("unit", &scalar::UNIT);
    let smoke = table.value("smoke").and_then(|words| commands::argv(&words)).map(values);
    table.finish();
    Some(Dependent { unit: unit?.value, smoke })
}

fn units(table: &mut Reader<'_>, key: &'static str) -> Vec<Said<UnitName>> {
    let mut units = table.list(key, &scalar::UNIT).unwrap_or_default();
    if let Some(more) = units.get(PARTS_MAX) {
        let finding = Finding::error(format!("{} are more than the limit of {PARTS_MAX} {key}", units.len()));
        table.push(&more.at, finding.help("name the units that use the paths, not what goes down with them"));
    }
    let mut seen: Vec<Said<UnitName>> = Vec::new();
    units.retain(|unit| {
        let first = seen.iter().find(|first| first.value == unit.value);
        if let Some(first) = first {
            let finding = Finding::error(format!("{} is named twice", shown(unit.value.as_str())));
            table.push(&unit.at, finding.also(&first.at, "first named here").help("keep one of them"));
            return false;
        }
        seen.push(unit.clone());
        true
    });
    units
}

fn values<T>(said: Vec<Said<T>>) -> Vec<T> {
    said.into_iter().map(|said| said.value).collect()
}
