//! What all kinds of watch have in common: app, mode, sentinel, compat names, brakes.

use std::path::PathBuf;

use hostward_core::id::{AppName, Str, WatchId};
use hostward_core::ledger::ATTEMPTS_KEPT;
use hostward_core::policy::{Brakes, Mode, Watch};
use hostward_core::watch::Spec;

use crate::draft::{Claim, Draft, Mention};
use crate::finding::{Finding, Said, shown};
use crate::reader::Reader;
use crate::scalar;

/// Reads the common keys; the kind reads its own, and asks for the watch when it has them.
pub(crate) fn read(table: &mut Reader<'_>, id: &WatchId, draft: &mut Draft, brakes: Brakes) -> Common {
    let app = table.get("app", &scalar::NAME).map(|said| {
        let app = AppName::new(said.value);
        draft.mention(id, Mention::App(app.clone()), &said.at);
        app
    });
    let mode = table.get("mode", &scalar::MODE);
    if let Some(mode) = &mode {
        draft.mention(id, Mention::Mode(mode.value), &mode.at);
    }
    let sentinel = table.get("sentinel", &scalar::SENTINEL).map(|said| said.value);
    let compat = table.table("metrics").and_then(|mut metrics| {
        let compat = metrics.get("compat", &scalar::COMPAT);
        metrics.finish();
        compat
    });
    if let Some(compat) = &compat {
        fits(table, id, compat);
        draft.claim(id, Claim::Compat(compat.value.clone()), &compat.at);
    }
    let needs = table.list("needs", &scalar::WATCH).unwrap_or_default();
    let needs = needs.into_iter().map(|said| {
        let watch = WatchId::new(said.value);
        draft.mention(id, Mention::Needs(watch.clone()), &said.at);
        watch
    });
    let needs = needs.collect();
    let reach = table.get("reach", &scalar::REACH).map(|said| said.value);
    let brakes = table.table("brakes").map_or(brakes, |table| read_brakes(table, brakes));
    let (mode, compat) = (mode.map(|said| said.value), compat.map(|said| said.value));
    Common { app, mode, sentinel, compat, brakes, needs, reach }
}

/// Each family is filled by the kind that it speaks of.
fn fits(table: &mut Reader<'_>, id: &WatchId, compat: &Said<Str>) {
    let families = [("storage", scalar::COMPAT_STORAGE), ("job", scalar::COMPAT_JOBS)];
    let own = families.iter().find(|(kind, _)| *kind == id.kind()).map_or(scalar::COMPAT_DRIFT, |(_, family)| family);
    if compat.value.ends_with(own) {
        return;
    }
    let finding = Finding::error(format!("{} is no family of {id}", shown(&compat.value)));
    table.push(&compat.at, finding.help(format!("this watch fills PREFIX{own}")));
}

/// More attempts than this are not remembered, so no cap may be above it.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const ATTEMPTS_MAX: u32 = ATTEMPTS_KEPT as u32;

#[derive(Debug)]
pub(crate) struct Common {
    app: Option<AppName>,
    mode: Option<Mode>,
    sentinel: Option<PathBuf>,
    compat: Option<Str>,
    brakes: Brakes,
    needs: Vec<WatchId>,
    reach: Option<Str>,
}

impl Common {
    pub(crate) fn watch(self, spec: Spec) -> Watch {
        let Common { app, mode, sentinel, compat, brakes, needs, reach } = self;
        // The host's mode is the ceiling: without a word of its own a watch goes as far as that.
        Watch { app, mode: mode.unwrap_or(Mode::Act), sentinel, compat, brakes, needs, reach, spec }
    }
}

fn read_brakes(mut table: Reader<'_>, default: Brakes) -> Brakes {
    let brakes = Brakes {
        cooldown: table.or("cooldown", &scalar::PERIOD, default.cooldown),
        plateau: table.or("plateau", &scalar::PERIOD, default.plateau),
        per_hour: table.integer("per_hour", 1..=ATTEMPTS_MAX).unwrap_or(default.per_hour),
        per_day: table.integer("per_day", 1..=ATTEMPTS_MAX).unwrap_or(default.per_day),
        soak: table.or("soak", &scalar::PERIOD, default.soak),
    };
    if brakes.plateau < brakes.cooldown {
        let message = format!("the plateau ({}) is shorter than the cooldown ({})", brakes.plateau, brakes.cooldown);
        let finding = Finding::error(message).help("the cooldown doubles up to the plateau: set the plateau as well");
        table.push(table.at(), finding);
    }
    table.finish();
    brakes
}
