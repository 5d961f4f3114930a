//! `[service.NAME]`.

use std::collections::BTreeSet;

use hostward_core::id::WatchId;
use hostward_core::policy::{Brakes, Watch};
use hostward_core::time::Ms;
use hostward_core::watch::service::{HttpProbe, Spec, Step};

use crate::common;
use crate::draft::{Claim, Draft, Mention};
use crate::finding::{Finding, did_you_mean, shown};
use crate::probe;
use crate::reader::Reader;
use crate::scalar::{self, Complaint, Scalar};

/// watches.md, "service", Defaults.
pub(crate) const BRAKES: Brakes =
    Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::secs(60) };

pub(crate) fn read(mut table: Reader<'_>, id: &WatchId, draft: &mut Draft) -> Option<Watch> {
    let unit = table.need("unit", &scalar::UNIT);
    if let Some(unit) = &unit {
        draft.claim(id, Claim::Unit(unit.value.clone()), &unit.at);
    }
    let common = common::read(&mut table, id, draft, BRAKES);
    let interval = table.or("interval", &scalar::PERIOD, Ms::secs(60));
    let start_grace = table.or("start_grace", &scalar::SPAN, Ms::secs(30));
    let respect_stop = table.or("respect_stop", &scalar::SPAN_OR_FOREVER, Ms::mins(30));
    let (confirm_runs, confirm_age) = confirm(&mut table);
    let probes = probe::read(&mut table, id, unit.as_ref().map(|said| &said.value), draft);
    let ladder = remedy(&mut table, id, draft);
    table.finish();
    let unit = unit?.value;
    let probe::Probes { http, tcp, exec, units } = probes;
    let mut needs = needed(&http);
    let spec =
        Spec { unit, interval, http, tcp, exec, units, confirm_runs, confirm_age, start_grace, respect_stop, ladder };
    let mut watch = common.watch(hostward_core::watch::Spec::Service(spec));
    needs.retain(|cause| !watch.needs.contains(cause));
    watch.needs.extend(needs);
    Some(watch)
}

fn confirm(table: &mut Reader<'_>) -> (u32, Ms) {
    let (runs, age) = (2, Ms::secs(10));
    let Some(mut confirm) = table.table("confirm") else { return (runs, age) };
    let said = (confirm.integer("runs", 1..=100).unwrap_or(runs), confirm.or("age", &scalar::SPAN, age));
    confirm.finish();
    said
}

/// What the components rest on without which the service is down.
fn needed(http: &[HttpProbe]) -> Vec<WatchId> {
    let components = http.iter().filter_map(|probe| probe.components.as_ref());
    let causes = components.flat_map(|c| c.causes.iter().filter(|(name, _)| c.restart_on.contains(*name)));
    let causes: BTreeSet<&WatchId> = causes.map(|(_, cause)| cause).collect();
    causes.into_iter().cloned().collect()
}

const STEP: Scalar<Step> =
    Scalar { expected: "a rung", example: "[\"restart\", \"notify\"]", parse: |text| step(text) };

fn step(text: &str) -> Result<Step, Complaint> {
    match (text, text.split_once(':')) {
        ("restart", _) => Ok(Step::Restart),
        ("notify", _) => Ok(Step::Notify),
        (_, Some(("reconcile", name))) => {
            scalar::name(name)?;
            Ok(Step::Reconcile(WatchId::new(format!("baseline.{name}"))))
        }
        (_, Some(("rollback", name))) => {
            let what = format!("this version cannot roll {} back", shown(name));
            Err(Complaint::new(what, "it knows no releases yet: take the rung off the ladder"))
        }
        (_, None) if text == "reconcile" => {
            Err(Complaint::new("`reconcile` names no baseline", "write reconcile:NAME, for a [baseline.NAME]"))
        }
        _ => {
            let word = text.split(':').next().unwrap_or(text);
            let help = did_you_mean(word, ["restart", "reconcile:", "notify"])
                .unwrap_or_else(|| "known are: restart, reconcile:BASELINE, notify".into());
            Err(Complaint::new(format!("{} is no rung", shown(text)), help))
        }
    }
}

fn remedy(table: &mut Reader<'_>, id: &WatchId, draft: &mut Draft) -> Vec<Step> {
    let default = vec![Step::Restart, Step::Notify];
    let Some(mut remedy) = table.table("remedy") else { return default };
    let said = remedy.list("ladder", &STEP);
    let Some(said) = said else {
        remedy.finish();
        return default;
    };
    let mut ladder: Vec<Step> = Vec::new();
    for rung in said {
        if ladder.last() == Some(&Step::Notify) {
            let finding = Finding::error("this rung is never reached").help("notify is the end of a ladder");
            remedy.push(&rung.at, finding);
        } else if ladder.contains(&rung.value) {
            let finding = Finding::error("this rung is on the ladder twice");
            remedy.push(&rung.at, finding.help("a rung is tried as often as the brakes allow: name it once"));
        }
        if let Step::Reconcile(baseline) = &rung.value {
            draft.mention(id, Mention::Reconcile(baseline.clone()), &rung.at);
        }
        ladder.push(rung.value);
    }
    remedy.finish();
    ladder
}
