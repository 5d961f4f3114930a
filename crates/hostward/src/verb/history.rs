//! `history`: the ledger, with the daemon dead or alive.

use std::collections::BTreeMap;

use anyhow::Result;
use hostward_core::id::{Rung, TargetId};
use hostward_core::ledger::{Body, Efficacy, Record, Tally};
use serde::Serialize;

use super::Out;
use crate::exit::Exit;
use crate::render;
use crate::store::{self, Paths};

pub(crate) fn history(paths: &Paths, out: Out, watch: Option<&str>, last: Option<usize>) -> Result<Exit> {
    let folded = store::read_ledger(paths)?;
    let of = |record: &&Record| watch.is_none_or(|name| concerns(record, name));
    let records: Vec<&Record> = folded.records.iter().filter(of).collect();
    let skip = last.map_or(0, |last| records.len().saturating_sub(last));
    let shown = records.get(skip..).unwrap_or_default();
    out.print(&shown, || {
        if shown.is_empty() { "the ledger is empty\n".to_owned() } else { render::history(shown.iter().copied()) }
    })?;
    if let Some(damaged) = &folded.damaged {
        eprintln!("hostward: the ledger is damaged {damaged}; what stands before it is shown");
    }
    Ok(Exit::Ok)
}

/// What `history --stats --json` prints, one a target.
#[derive(Serialize)]
struct Worth<'a> {
    target: &'a TargetId,
    efficacy: &'a [Efficacy],
    spontaneous: &'a Tally,
    would: &'a BTreeMap<Rung, u64>,
}

/// What the remedies were worth, from the fold.
pub(crate) fn stats(paths: &Paths, out: Out, watch: Option<&str>) -> Result<Exit> {
    let state = store::read_ledger(paths)?.state;
    let of = |target: &TargetId| watch.is_none_or(|name| is(target, name));
    let targets = || state.targets.iter().filter(|(target, _)| of(target));
    let mut worth = Vec::new();
    for (target, brake) in targets() {
        let (efficacy, spontaneous, would) = (brake.efficacy.as_slice(), &brake.spontaneous, &brake.would);
        worth.push(Worth { target, efficacy, spontaneous, would });
    }
    out.print(&worth, || render::stats(targets()))?;
    Ok(Exit::Ok)
}

/// A run's records belong to every watch that it heals; what names no watch belongs to all.
fn concerns(record: &Record, name: &str) -> bool {
    let is = |target: &TargetId| is(target, name);
    match &record.body {
        Body::Noted { target, .. }
        | Body::Turned { target, .. }
        | Body::Held { target, .. }
        | Body::Settled { target, .. } => is(target),
        Body::Opened { plan, .. } => plan.heals.iter().any(|heal| is(&heal.target)),
        _ => true,
    }
}

fn is(target: &TargetId, name: &str) -> bool {
    target.watch.as_str() == name || target.watch.name() == name
}
