//! `history`: the ledger, with the daemon dead or alive. Records are printed as they are read: there may be many.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use anyhow::{Context, Result};
use hostward_core::id::{Rung, TargetId};
use hostward_core::ledger::{Body, Efficacy, Record, Tally};
use hostward_host::ledger::History;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::Out;
use crate::exit::Exit;
use crate::render;
use crate::store::{self, Paths};
use crate::words::Words;

pub(crate) fn history(paths: &Paths, out: Out, watch: Option<&str>, last: Option<usize>) -> Result<Exit> {
    let context = || format!("read the ledger in {}", paths.state.display());
    let mut history = History::open(&paths.state).with_context(context)?;
    let mut of = Of { history: &mut history, watch };
    let printed = match last {
        Some(last) => print(&mut newest(&mut of, last).with_context(context)?, out),
        None => print(&mut of, out),
    };
    match printed {
        // A reader that has seen enough (`| head`).
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {}
        printed => printed?,
    }
    for trouble in history.troubles() {
        eprintln!("hostward: {trouble}; what stands before it is shown");
    }
    Ok(Exit::Ok)
}

/// Records, one after the other.
trait Records {
    fn next(&mut self) -> Result<Option<Record>>;
}

/// Those that concern a watch, or all.
struct Of<'a> {
    history: &'a mut History,
    watch: Option<&'a str>,
}

impl Records for Of<'_> {
    fn next(&mut self) -> Result<Option<Record>> {
        while let Some(record) = self.history.next()? {
            if self.watch.is_none_or(|name| concerns(&record, name)) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Records for VecDeque<Record> {
    fn next(&mut self) -> Result<Option<Record>> {
        Ok(self.pop_front())
    }
}

fn newest(records: &mut impl Records, last: usize) -> Result<VecDeque<Record>> {
    let mut newest = VecDeque::new();
    while let Some(record) = records.next()? {
        newest.push_back(record);
        if newest.len() > last {
            newest.pop_front();
        }
    }
    Ok(newest)
}

fn print(records: &mut impl Records, how: Out) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if how.json {
        print_json(records, &mut out)?;
    } else {
        print_words(records, &mut out)?;
    }
    Ok(out.flush()?)
}

fn print_json(records: &mut impl Records, out: &mut impl Write) -> Result<()> {
    let mut serializer = serde_json::Serializer::pretty(&mut *out);
    let mut list = serializer.serialize_seq(None).map_err(io::Error::from)?;
    while let Some(record) = records.next()? {
        list.serialize_element(&record).map_err(io::Error::from)?;
    }
    list.end().map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn print_words(records: &mut impl Records, out: &mut impl Write) -> Result<()> {
    let mut words = Words::default();
    let mut any = false;
    while let Some(record) = records.next()? {
        any = true;
        out.write_all(render::record(&mut words, &record).as_bytes())?;
    }
    if !any {
        writeln!(out, "the ledger is empty")?;
    }
    Ok(())
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
