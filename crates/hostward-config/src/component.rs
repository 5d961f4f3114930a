//! `components` of an HTTP probe.

use std::collections::{BTreeMap, BTreeSet};

use hostward_core::ask::Picked;
use hostward_core::id::{Str, WatchId};
use hostward_core::watch::service::Components;

use crate::assertion;
use crate::draft::{Draft, Mention};
use crate::finding::{Finding, Said, shown};
use crate::reader::Reader;
use crate::scalar::{self, Complaint, Scalar};

/// As many as are looked at.
const NAMES_LIMIT: usize = 64;
const STATES_LIMIT: usize = 16;

/// Where they are, and what they mean.
pub(crate) fn read(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<(Str, Components)> {
    let at = table.need("at", &AT);
    let ok = states(&mut table, "ok", "ok");
    let not_configured = states(&mut table, "not_configured", "not_configured");
    if let Some(both) = ok.iter().find(|state| not_configured.contains(state)) {
        let finding = Finding::error(format!("{both} is both `ok` and `not_configured`"));
        table.push(table.at(), finding.help("a state is one or the other"));
    }
    let restart_on = table.list("restart_on", &NAME).unwrap_or_default();
    if restart_on.len() > NAMES_LIMIT {
        let finding = Finding::error(format!("`restart_on` has more than {NAMES_LIMIT} names"));
        table.push(table.at(), finding.help("no more components are looked at"));
    }
    let restart_on: BTreeSet<Str> = restart_on.into_iter().map(|said| said.value).collect();
    let mut causes = BTreeMap::new();
    for (name, watch) in table.table("causes").iter().flat_map(causes_of) {
        let cause = WatchId::new(watch.value);
        draft.mention(id, Mention::Cause(cause.clone()), &watch.at);
        if restart_on.contains(&name) {
            // Without this component the service is down: what it rests on comes first, as with `needs`.
            draft.mention(id, Mention::Needs(cause.clone()), &watch.at);
        }
        causes.insert(name, cause);
    }
    table.finish();
    Some((at?.value, Components { ok, not_configured, restart_on, causes }))
}

fn causes_of(table: &Reader<'_>) -> Vec<(Str, Said<Str>)> {
    let named = table.entries().filter_map(|(name, value)| {
        if let Err(complaint) = (NAME.parse)(name.value) {
            table.push(&name.at, complaint.into());
            return None;
        }
        Some((Str::from(name.value), value.scalar(&scalar::WATCH)?))
    });
    named.collect()
}

fn states(table: &mut Reader<'_>, key: &'static str, default: &str) -> Vec<Picked> {
    let items = table.value(key).and_then(|value| value.items("a state"));
    let Some(items) = items else { return vec![Picked::Text(default.into())] };
    if let Some(one) = items.get(STATES_LIMIT) {
        let finding = Finding::error(format!("`{key}` has more than {STATES_LIMIT} states"));
        one.complain(finding.help("name those that the service uses"));
    }
    items.iter().filter_map(assertion::picked).collect()
}

const AT: Scalar<Str> = Scalar {
    expected: "a JSON pointer with one *",
    example: "\"/checks/*/status\"",
    parse: |text| {
        if let Some(help) = assertion::pointer_fault(text) {
            return Err(Complaint::new(format!("{} is not a JSON pointer", shown(text)), help));
        }
        match text.split('/').filter(|segment| *segment == "*").count() {
            1 => Ok(text.into()),
            n => {
                let help = "one segment stands for the component's name: /checks/*/status";
                Err(Complaint::new(format!("{} has {n} wildcards", shown(text)), help))
            }
        }
    },
};

/// It becomes a metric's label, and part of a target's name.
const NAME: Scalar<Str> = Scalar {
    expected: "a component's name",
    example: "\"db\"",
    parse: |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
            let help = "as the body has it: at most 64 letters, digits and _.-";
            return Err(Complaint::new(format!("{} cannot be a component's name", shown(text)), help));
        }
        Ok(text.into())
    },
};
