//! Run: the execution of a plan, as far as it was recorded.
//!
//! What comes next is a pure function of the records, so a daemon that died in the middle goes on where the ledger says.

use serde::{Deserialize, Serialize};

use crate::id::{RunId, Str, UnitName};
use crate::ledger::{Closing, Origin};
use crate::plan::{OnCrash, Plan, Step};
use crate::time::Now;

/// A run that was opened and not yet closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    pub plan: Plan,
    pub origin: Origin,
    pub opened: Now,
    /// One a step that was begun, in order.
    pub steps: Vec<StepRun>,
}

/// How far one step has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    pub began: Now,
    /// Times it was begun: 1, or 2 after a crash lost the first.
    pub tries: u16,
    pub end: Option<StepEnd>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    Done,
    /// Its proof did not come in time, with what was last seen and what the act itself had said.
    Unproved(Str),
    /// Never begun or given up before its act: these holds came up.
    Held(Vec<Str>),
}

/// What the records say comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Begin(u16),
    /// Begun, not ended.
    Amid(u16),
    Close(Closing),
}

/// One try at one step. It names the step's transient unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket {
    pub run: RunId,
    pub step: u16,
    pub tries: u16,
}

impl Ticket {
    /// `hostward-step-RUN-STEP-TRY.service`: the same before and after a restart of ours.
    pub fn unit(&self) -> UnitName {
        UnitName::new(format!("hostward-step-{}-{}-{}.service", self.run, self.step, self.tries))
    }
}

/// What the actor says of a ticket. It proves nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// `exited 1`, `timed out`, `refused: ...`
    Failed(Str),
    /// It cannot be known: the bus went away, or nobody remembers the ticket.
    Lost(Str),
}

impl OpenRun {
    pub(crate) fn new(plan: Plan, origin: Origin, opened: Now) -> Self {
        OpenRun { plan, origin, opened, steps: Vec::new() }
    }

    pub fn next(&self) -> Next {
        let step = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        match self.steps.last().map(|last| &last.end) {
            Some(None) => Next::Amid(step(self.steps.len() - 1)),
            Some(Some(StepEnd::Unproved(why))) => {
                Next::Close(Closing::Unproved { step: step(self.steps.len() - 1), why: why.clone() })
            }
            Some(Some(StepEnd::Held(holds))) => {
                Next::Close(Closing::Held { step: step(self.steps.len() - 1), holds: holds.clone() })
            }
            None | Some(Some(StepEnd::Done)) if self.steps.len() == self.plan.steps.len() => {
                Next::Close(Closing::Proved)
            }
            None | Some(Some(StepEnd::Done)) => Next::Begin(step(self.steps.len())),
        }
    }

    pub fn step(&self, n: u16) -> Option<&Step> {
        self.plan.steps.get(usize::from(n))
    }

    pub fn step_run(&self, n: u16) -> Option<&StepRun> {
        self.steps.get(usize::from(n))
    }

    /// A step whose outcome a crash lost may begin again, once, if it says so.
    pub(crate) fn may_begin_again(&self, n: u16) -> bool {
        self.step(n).is_some_and(|step| step.crash == OnCrash::Again)
            && self.step_run(n).is_some_and(|run| run.tries == 1)
    }

    /// None: the record does not fit.
    pub(crate) fn began(&mut self, step: u16, again: bool, at: Now) -> Option<()> {
        match self.next() {
            Next::Begin(next) if next == step && !again => {
                self.steps.push(StepRun { began: at, tries: 1, end: None });
            }
            Next::Amid(amid) if amid == step && again => {
                let run = self.steps.last_mut()?;
                run.tries += 1;
                run.began = at;
            }
            _ => return None,
        }
        Some(())
    }

    /// None: the record does not fit. A step that was held before it began is recorded as ended only.
    pub(crate) fn ended(&mut self, step: u16, end: StepEnd) -> Option<()> {
        match (self.next(), &end) {
            (Next::Amid(amid), _) if amid == step => self.steps.last_mut()?.end = Some(end),
            (Next::Begin(next), StepEnd::Held(_)) if next == step => {
                self.steps.push(StepRun { began: self.opened, tries: 0, end: Some(end) });
            }
            _ => return None,
        }
        Some(())
    }
}
