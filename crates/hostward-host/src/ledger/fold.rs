//! Reading the ledger to where it ends: each frame is read, checked, applied and forgotten. What stays is the state.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use hostward_core::ledger::{SEQ_MAX, State};
use hostward_core::time::Now;

use super::format::{self, First, Names, Unreadable};
use super::frame::Frames;
use super::{FileError, LEDGER, Tail, place};

/// The ledger, folded.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// Beside [`Condition::Unusable`]: what of it goes on, with the damage noted in it.
    pub state: State,
    pub condition: Condition,
    pub(super) file: Place,
}

/// What the file was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// No ledger, and no trace of an earlier one.
    #[default]
    Fresh,
    Whole,
    /// A crash left an unfinished record, which was never reported durable.
    Torn(String),
    /// Not to be gone on with: all caps count as spent until an operator looked. What is wrong, and what to do.
    Unusable(String),
}

impl Condition {
    pub fn unusable(&self) -> Option<&str> {
        match self {
            Condition::Unusable(why) => Some(why),
            Condition::Fresh | Condition::Whole | Condition::Torn(_) => None,
        }
    }
}

/// The file, for the writer that goes on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    None,
    /// Of today's format: it is appended to at `end`.
    Good {
        first: u64,
        end: u64,
    },
    /// Of an older one: it stays as history, and a new file goes on from its state.
    Older {
        first: u64,
    },
    Aside(&'static str),
}

/// Folds what is below `dir`, and touches nothing. `now` gives the present as the state that was found counts boots.
pub fn fold(dir: &Path, now: &dyn Fn(&State) -> Now) -> Result<Folded, FileError> {
    let path = dir.join(LEDGER);
    let Some(file) = place::open_to_read(&path)? else {
        let traces = place::traces(dir).map_err(|e| FileError::new("list", dir, e))?;
        return if traces { lost(dir, now) } else { Ok(Folded::default()) };
    };
    let mut read = Read::file(file).map_err(|e| FileError::new("read", &path, e))?;
    let fault = read.fault.take().or_else(|| {
        let why = read.state.implausible(now(&read.state))?;
        Some(Unreadable::Damaged(why))
    });
    let Some(fault) = fault else {
        let first = read.first.unwrap_or_default();
        let file = if read.header { Place::Good { first, end: read.end } } else { Place::Older { first } };
        let condition = match read.tail {
            Tail::Torn { offset, bytes } => {
                Condition::Torn(format!("{bytes} bytes of an unfinished record at byte {offset}"))
            }
            Tail::Clean | Tail::Damaged { .. } => Condition::Whole,
        };
        return Ok(Folded { state: read.state, condition, file });
    };
    let path = path.display();
    let (prefix, why) = match fault {
        Unreadable::Damaged(why) => (place::DAMAGED, format!("'{path}' is damaged: {why}")),
        Unreadable::Newer(why) => {
            let todo = "start the later version again with this file in its place, or read it and `hostward clear`";
            (
                place::NEWER,
                format!("'{path}' is of a later version: {why}; it is kept as {}TIME: {todo}", place::NEWER),
            )
        }
    };
    // A snapshot that cannot be read or believed leaves what the generation before it says.
    let base = if read.believed { read.state } else { newest_generation(dir)?.unwrap_or_default() };
    Ok(unusable(base, read.newest, read.names, why, Place::Aside(prefix), now))
}

impl Folded {
    /// There is no ledger though, as the caller knows, there was one.
    pub fn is_gone(&mut self, now: &dyn Fn(&State) -> Now) {
        let why = "the ledger is gone".to_owned();
        *self = unusable(State::default(), 0, BTreeSet::new(), why, Place::None, now);
    }
}

/// No file, but traces of one: the generations before it are what is left.
fn lost(dir: &Path, now: &dyn Fn(&State) -> Now) -> Result<Folded, FileError> {
    let base = newest_generation(dir)?.unwrap_or_default();
    let why =
        format!("'{}' is gone; what was before it is known up to record {}", dir.join(LEDGER).display(), base.seq);
    Ok(unusable(base, 0, BTreeSet::new(), why, Place::None, now))
}

fn unusable(
    base: State,
    newest: u64,
    mut names: BTreeSet<String>,
    mut why: String,
    file: Place,
    now: &dyn Fn(&State) -> Now,
) -> Folded {
    let at = now(&base);
    let base = if base.implausible(at).is_some() { State::default() } else { base };
    let at = now(&base);
    names.extend(base.runs.values().flat_map(|run| &run.plan.touches).map(ToString::to_string));
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().collect();
        why = format!("{why}; a plan was open on {}: look at them", names.join(", "));
    }
    let (state, _) = base.salvaged(newest, &why, at);
    Folded { state, condition: Condition::Unusable(why), file }
}

fn newest_generation(dir: &Path) -> Result<Option<State>, FileError> {
    let Some(path) = place::generations(dir).map_err(|e| FileError::new("list", dir, e))?.pop() else {
        return Ok(None);
    };
    let Some(file) = place::open_to_read(&path)? else { return Ok(None) };
    let read = Read::file(file).map_err(|e| FileError::new("read", &path, e))?;
    Ok(read.believed.then_some(read.state))
}

/// One file, read to its end or to its first fault.
#[derive(Debug, Default)]
struct Read {
    state: State,
    /// It began with a snapshot of today's format.
    header: bool,
    /// The beginning could be read: `state` is what an intact prefix says.
    believed: bool,
    first: Option<u64>,
    end: u64,
    newest: u64,
    tail: Tail,
    fault: Option<Unreadable>,
    /// Beside a fault: the units that open plans name, as far as that can be told.
    names: BTreeSet<String>,
}

impl Read {
    fn file(file: File) -> std::io::Result<Read> {
        let mut frames = Frames::new(BufReader::with_capacity(1 << 16, file));
        let mut read = Read::default();
        let mut names = Names::default();
        while let Some((seq, payload)) = frames.next()? {
            if read.fault.is_some() {
                names.see(seq, payload);
            } else if let Err(fault) = read.frame(seq, payload) {
                names.see(seq, payload);
                read.fault = Some(fault);
            }
        }
        (read.end, read.newest, read.tail) = (frames.end(), frames.newest().min(SEQ_MAX), frames.tail());
        if let (None, Tail::Damaged { offset, reason }) = (&read.fault, &read.tail) {
            read.fault = Some(Unreadable::Damaged(format!("at byte {offset}: {reason}")));
        }
        // A file is complete before it gets its name: one without a beginning has lost it.
        if read.fault.is_none() && read.first.is_none() {
            read.fault = Some(Unreadable::Damaged("it has no beginning".to_owned()));
        }
        read.names = names.into_set();
        Ok(read)
    }

    fn frame(&mut self, seq: u64, payload: &[u8]) -> Result<(), Unreadable> {
        if self.first.replace(self.first.unwrap_or(seq)).is_some() {
            let record = format::record(seq, payload)?;
            return self.state.apply(&record).map_err(|e| Unreadable::Damaged(e.to_string()));
        }
        match format::first(seq, payload)? {
            First::Snapshot(state) => (self.state, self.header) = (*state, true),
            First::Record(record) => self.state.apply(&record).map_err(|e| Unreadable::Damaged(e.to_string()))?,
        }
        self.believed = true;
        Ok(())
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
