//! Replay: what was observed, run through the engine again, perhaps under another policy. Which decisions change?
//!
//! A recording is a line for each event, after one that says how the engine began. Answers carry extracted facts and no
//! judgement ([`crate::ask`]), so another policy can judge them. The same input gives the same output, byte for byte.
//!
//! Played under its own policy from an engine's start, the events are fed as they came. Played otherwise, the engine asks
//! at moments of its own: it is told what the recording last knew of that very question, and of one that was never asked,
//! that it cannot be known. Where it would act and the recording did not, the recording can tell no further: it ends.

mod other;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ask::{Answer, AskKey};
use crate::engine::{Begin, Effect, Engine, Event};
use crate::ledger::{Body, Record, Turn};
use crate::policy::Policy;
use crate::time::Now;

/// Version of the lines; a recording of another is refused.
pub const VERSION: u32 = 1;

/// One line of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Begin {
        version: u32,
        /// The engine began here; else the recording was begun while it ran.
        start: bool,
        begin: Box<Begin>,
    },
    Event {
        now: Now,
        event: Box<Event>,
    },
    /// The same answer as the last to this question.
    Same {
        now: Now,
        key: AskKey,
        asked: Now,
    },
}

/// Makes lines; it remembers each question's last answer, so that what does not change costs little.
#[derive(Debug, Default)]
pub struct Recorder {
    last: BTreeMap<AskKey, Answer>,
}

impl Recorder {
    pub fn begin(&mut self, begin: Begin, start: bool) -> Line {
        self.last.clear();
        Line::Begin { version: VERSION, start, begin: Box::new(begin) }
    }

    pub fn event(&mut self, now: Now, event: &Event) -> Line {
        if let Event::Answered { key, asked, answer } = event {
            if self.last.get(key) == Some(answer) {
                return Line::Same { now, key: key.clone(), asked: *asked };
            }
            // A proof's question is of one run only, and runs are many.
            if !matches!(key, AskKey::Proof(..)) {
                self.last.insert(key.clone(), answer.clone());
            }
        }
        Line::Event { now, event: Box::new(event.clone()) }
    }
}

/// Why lines are no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecording {
    #[error("it is empty")]
    Empty,
    #[error("it does not say how the engine began")]
    NoBegin,
    #[error("it is of version {0}; version {VERSION} is understood here")]
    Version(u32),
    #[error("line {0} repeats an answer that was not given before")]
    NothingToRepeat(usize),
}

/// A whole recording in memory.
#[derive(Clone, Debug)]
pub struct Recording {
    begin: Begin,
    start: bool,
    events: Vec<(Now, Event)>,
}

impl Recording {
    pub fn of(lines: impl IntoIterator<Item = Line>) -> Result<Recording, BadRecording> {
        let mut lines = lines.into_iter();
        let (version, start, begin) = match lines.next() {
            Some(Line::Begin { version, start, begin }) => (version, start, *begin),
            Some(_) => return Err(BadRecording::NoBegin),
            None => return Err(BadRecording::Empty),
        };
        if version != VERSION {
            return Err(BadRecording::Version(version));
        }
        let mut last: BTreeMap<AskKey, Answer> = BTreeMap::new();
        let mut events = Vec::new();
        for (n, line) in lines.enumerate() {
            match line {
                // Another engine began: what follows is another recording.
                Line::Begin { .. } => break,
                Line::Event { now, event } => {
                    if let Event::Answered { key, answer, .. } = &*event {
                        last.insert(key.clone(), answer.clone());
                    }
                    events.push((now, *event));
                }
                Line::Same { now, key, asked } => {
                    let answer = last.get(&key).cloned().ok_or(BadRecording::NothingToRepeat(n + 2))?;
                    events.push((now, Event::Answered { key, asked, answer }));
                }
            }
        }
        Ok(Recording { begin, start, events })
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn policy(&self) -> &Policy {
        &self.begin.policy
    }

    /// What was decided, under its own policy.
    pub fn play(&self) -> Played {
        if self.start { self.verbatim() } else { other::play(self, Arc::clone(&self.begin.policy)) }
    }

    /// What would be decided under another policy.
    pub fn play_under(&self, policy: Arc<Policy>) -> Played {
        other::play(self, policy)
    }

    fn verbatim(&self) -> Played {
        let (mut engine, effects) = Engine::new(self.begin.clone());
        let mut played = Played::default();
        played.take(&effects);
        for (now, event) in &self.events {
            let effects = engine.handle(*now, event.clone());
            played.take(&effects);
        }
        played
    }
}

/// What an engine decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Played {
    pub decisions: Vec<Decision>,
    /// Why it ends before the recording does.
    pub ends: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub at: Now,
    pub says: String,
}

impl Played {
    fn take(&mut self, effects: &[Effect]) {
        let records = effects.iter().filter_map(|effect| match effect {
            Effect::Append(record) => Some(record),
            _ => None,
        });
        self.decisions.extend(records.filter_map(decision));
    }
}

/// Verdicts, holds, runs and what they came to; facts and the bookkeeping of steps are none.
fn decision(record: &Record) -> Option<Decision> {
    let says = match &record.body {
        Body::Turned { target, to, .. } => match to {
            Turn::Up => format!("{target} is up"),
            Turn::Gone => format!("{target} is no longer named"),
            Turn::Unknown { fault } => format!("{target} is unknown: {fault}"),
            Turn::Down { reason, detail, .. } => format!("{target} is down, {reason}: {detail}"),
        },
        Body::Held { target, holds, .. } => format!("{target} is held: {}", holds.join(", ")),
        Body::Opened { plan, .. } => format!("{} begins {}: {}", plan.watch, plan.rung, plan.why),
        Body::Closed { result, .. } => format!("a run ends: {result:?}"),
        Body::Settled { target, result, .. } => format!("{target} is settled: {}", result.label()),
        _ => return None,
    };
    Some(Decision { at: record.at, says })
}
