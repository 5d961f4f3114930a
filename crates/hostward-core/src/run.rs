//! Run: the execution of a plan, as far as it was recorded.
//!
//! What comes next is a pure function of the records, so a daemon that died in the middle goes on where the ledger says.
//! Forward steps come first, in order, until one fails. What they owe ([`Back`]) is given back when it falls due, last
//! taken first; a debt is tried for ever, a way back gives up and freezes what the plan touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{RunId, Str, UnitName};
use crate::ledger::{Closing, Origin};
use crate::plan::{Act, Back, OnCrash, OnFail, Owed, Plan, Proof, Step, Unless, When};
use crate::planted::{Bug, planted};
use crate::time::{Ms, Now};

/// Between two tries of the same give-back: doubles from the first ...
const BACKOFF: Ms = Ms::secs(5);
/// ... to this, where a debt is tried for ever.
const BACKOFF_MAX: Ms = Ms::mins(5);
/// A debt that failed this often is said to be stuck, while it goes on being tried.
const FAILS_STUCK: u16 = 2;

/// A run that was opened and not yet closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    pub plan: Plan,
    pub origin: Origin,
    pub opened: Now,
    /// One a step that was begun, in order.
    pub steps: Vec<StepRun>,
    /// By the step that owes it.
    #[serde(default)]
    pub backs: BTreeMap<u16, BackRun>,
}

/// How far one step has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    pub began: Now,
    /// Times it was begun: 1, or 2 after a crash lost the first; 0 when it was held before its act.
    pub tries: u16,
    pub end: Option<StepEnd>,
}

/// How far one give-back has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackRun {
    pub began: Now,
    pub tries: u16,
    /// Tries that failed, those that a crash lost not counted.
    pub fails: u16,
    /// None: under way.
    pub end: Option<StepEnd>,
    /// An operator said that it is no longer owed.
    #[serde(default)]
    pub waived: bool,
    /// Of its units, those that ran again when the last try ended.
    #[serde(default)]
    pub running: Vec<UnitName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    Done,
    /// Its proof did not come in time, with what was last seen and what the act itself had said.
    Unproved(Str),
    /// A crash or a lost bus took the outcome, and the one look after it did not prove it.
    Lost(Str),
    /// Held before its act: it owes nothing.
    Held(Vec<Str>),
}

/// What the records say comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Begin(u16),
    /// Begun, not ended.
    Amid(At),
    /// These owe, the first before the others; each has its own backoff.
    Back(Vec<u16>),
    Close(Closing),
}

/// A place in a plan: the step itself, or what it owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    Go(u16),
    Back(u16),
}

/// One try at one place. It names the step's transient unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket {
    pub run: RunId,
    pub at: At,
    pub tries: u16,
}

impl Ticket {
    /// `hostward-step-RUN-STEP-TRY.service`, or `-STEPb-` for what it owes: the same before and after a restart of ours.
    pub fn unit(&self) -> UnitName {
        let place = match self.at {
            At::Go(step) => step.to_string(),
            At::Back(step) => format!("{step}b"),
        };
        UnitName::new(format!("hostward-step-{}-{place}-{}.service", self.run, self.tries))
    }

    /// The act and its deadline; none for a step that only waits.
    pub fn act<'a>(&self, plan: &'a Plan) -> Option<(&'a Act, Ms)> {
        let (At::Go(n) | At::Back(n)) = self.at;
        let step = plan.steps.get(usize::from(n))?;
        match self.at {
            At::Go(_) => Some((step.act.as_ref()?, step.deadline)),
            At::Back(_) => step.back.as_ref().map(|back| (&back.act, back.deadline)),
        }
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

/// The place that a run is in the middle of.
#[derive(Clone, Debug)]
pub(crate) struct Amid {
    pub(crate) at: At,
    pub(crate) act: Option<Act>,
    pub(crate) deadline: Ms,
    pub(crate) unless: Option<Unless>,
    pub(crate) proof: Option<Proof>,
    pub(crate) began: Now,
    pub(crate) tries: u16,
}

impl OpenRun {
    pub(crate) fn new(plan: Plan, origin: Origin, opened: Now) -> Self {
        OpenRun { plan, origin, opened, steps: Vec::new(), backs: BTreeMap::new() }
    }

    pub fn next(&self) -> Next {
        if let Some((step, _)) = self.backs.iter().find(|(_, back)| back.end.is_none()) {
            return Next::Amid(At::Back(*step));
        }
        if let Some(StepRun { end: None, .. }) = self.steps.last() {
            return Next::Amid(At::Go(number(self.steps.len() - 1)));
        }
        let closing = self.closing();
        let due = self.due(closing.as_ref());
        match closing {
            _ if !due.is_empty() => Next::Back(due),
            Some(closing) => Next::Close(self.worst(closing)),
            None => Next::Begin(number(self.steps.len())),
        }
    }

    /// How the forward steps ended; none while there are more.
    pub(crate) fn closing(&self) -> Option<Closing> {
        let last = number(self.steps.len().checked_sub(1)?);
        let fatal = self.step(last).is_none_or(|step| step.fail == OnFail::Unwind);
        match self.steps.last()?.end.as_ref()? {
            StepEnd::Held(holds) => Some(Closing::Held { step: last, holds: holds.clone() }),
            StepEnd::Lost(why) if self.step(last)?.crash == OnCrash::Stuck => {
                Some(Closing::Stuck { step: last, why: why.clone() })
            }
            StepEnd::Lost(why) | StepEnd::Unproved(why) if fatal => {
                Some(Closing::Unproved { step: last, why: why.clone() })
            }
            _ => (self.steps.len() == self.plan.steps.len()).then_some(Closing::Proved),
        }
    }

    /// A way back that was given up outweighs why it was needed.
    fn worst(&self, closing: Closing) -> Closing {
        let given_up =
            self.backs.iter().find(|(step, back)| self.owed(**step).is_none() && !back.waived && !back.done());
        match given_up {
            Some((step, BackRun { end: Some(StepEnd::Unproved(why) | StepEnd::Lost(why)), .. })) => {
                Closing::Stuck { step: *step, why: why.clone() }
            }
            _ => closing,
        }
    }

    /// The steps whose give-back has fallen due, last taken first.
    fn due(&self, closing: Option<&Closing>) -> Vec<u16> {
        if planted(Bug::UndoSkipped) && matches!(closing, Some(Closing::Unproved { .. })) {
            return Vec::new();
        }
        let fallen = |step: &u16| match (self.owed(*step).map(|back| back.when), closing) {
            (None, _) | (Some(When::Last | When::Failed | When::Until(_)), None) => false,
            (Some(When::After(after)), None) => usize::from(after) < self.steps.len(),
            (Some(When::Last | When::After(_) | When::Until(_)), Some(_)) => true,
            (Some(When::Failed), Some(closing)) => {
                matches!(closing, Closing::Unproved { .. } | Closing::Held { .. })
            }
        };
        let mut due: Vec<u16> = (0..number(self.steps.len())).rev().filter(fallen).collect();
        // Nothing passes a way back or a fence that is still owed: writers return only behind it. Debts pass each other.
        let is_wall = |back: &Back| matches!(back.when, When::Failed | When::Until(_));
        if let Some(wall) = due.iter().position(|step| self.owed(*step).is_some_and(is_wall)) {
            due.truncate(wall + 1);
        }
        due
    }

    /// What `step` owes: its act may have happened, and nothing was given back, waived or given up yet.
    fn owed(&self, step: u16) -> Option<&Back> {
        let begun = self.step_run(step)?.tries > 0;
        let back = self.step(step)?.back.as_ref()?;
        let mended = |step: u16| self.step_run(step).is_some_and(|run| run.end == Some(StepEnd::Done));
        if matches!(back.when, When::Until(step) if mended(step)) {
            return None;
        }
        let open = self.backs.get(&step).is_none_or(|run| {
            let given_up = back.tries > 0 && run.fails >= u16::from(back.tries);
            !(run.done() || run.waived || given_up)
        });
        (begun && open).then_some(back)
    }

    /// Units that we stopped and that are not running again yet, in the order of their return.
    pub fn stopped(&self) -> Vec<UnitName> {
        let owed = |step: u16| match self.owed(step) {
            Some(Back { act: Act::Start(units), .. }) => units.clone(),
            _ => Vec::new(),
        };
        (0..number(self.steps.len())).rev().flat_map(owed).collect()
    }

    /// Of those, the units that no give-back is known to have brought up. A return is owed as a whole, so the others are
    /// still started with it.
    pub fn not_back(&self) -> Vec<UnitName> {
        let back = |unit: &UnitName| self.backs.values().any(|back| back.running.contains(unit));
        self.stopped().into_iter().filter(|unit| !back(unit)).collect()
    }

    /// All of it, and the paths that a step left bare and that no later one has mended or fenced yet.
    pub fn undo(&self) -> Owed {
        let mut owed = Owed { units: self.stopped(), ..Owed::default() };
        for n in 0..number(self.steps.len()) {
            let Some(Back { act: Act::Fence(path), .. }) = self.owed(n) else { continue };
            let unmounts = self.step(n).is_some_and(|step| matches!(step.act, Some(Act::Unmount(_))));
            let gone = self.step_run(n).is_some_and(|run| run.end == Some(StepEnd::Done));
            let paths = if unmounts && !gone { &mut owed.covers } else { &mut owed.fences };
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        owed.fences.retain(|path| !owed.covers.contains(path));
        owed
    }

    /// How long the step at hand may take at most; of what is given back, a try and the wait for the next.
    pub(crate) fn lasts(&self) -> Ms {
        match self.next() {
            Next::Begin(n) | Next::Amid(At::Go(n)) => self.step(n).map_or(Ms::ZERO, Step::lasts),
            Next::Amid(At::Back(_)) | Next::Back(_) | Next::Close(_) => {
                let backs = self.plan.steps.iter().filter_map(|step| step.back.as_ref());
                BACKOFF_MAX + backs.map(Back::lasts).max().unwrap_or(Ms::ZERO)
            }
        }
    }

    /// A way back was gone to its end: the world is as it was before.
    pub(crate) fn put_back(&self) -> bool {
        let way_back =
            |step: u16| self.step(step).and_then(|s| s.back.as_ref()).is_some_and(|b| b.when == When::Failed);
        self.backs.iter().any(|(step, back)| way_back(*step) && back.done())
    }

    /// A give-back that failed so often that a person should look; it goes on being tried.
    pub fn stuck(&self) -> Option<(u16, &Str)> {
        self.backs.iter().find_map(|(step, back)| match &back.end {
            Some(StepEnd::Unproved(why)) if back.fails >= FAILS_STUCK && !back.waived => Some((*step, why)),
            _ => None,
        })
    }

    /// Boot time before which a give-back is not tried again.
    pub(crate) fn back_due(&self, step: u16, now: Now) -> Ms {
        let Some(back) = self.backs.get(&step) else { return now.up };
        let doublings = u32::from(back.tries.saturating_sub(1)).min(16);
        now.reach(back.began, (BACKOFF * (1u64 << doublings)).min(BACKOFF_MAX))
    }

    pub fn step(&self, n: u16) -> Option<&Step> {
        self.plan.steps.get(usize::from(n))
    }

    pub fn step_run(&self, n: u16) -> Option<&StepRun> {
        self.steps.get(usize::from(n))
    }

    pub(crate) fn amid(&self) -> Option<Amid> {
        let Next::Amid(at) = self.next() else { return None };
        let (At::Go(n) | At::Back(n)) = at;
        let step = self.step(n)?;
        Some(match at {
            At::Go(_) => {
                let run = self.step_run(n)?;
                let (act, proof, unless) = (step.act.clone(), step.proof.clone(), step.unless.clone());
                Amid { at, act, unless, deadline: step.deadline, proof, began: run.began, tries: run.tries }
            }
            At::Back(_) => {
                let (back, run) = (step.back.as_ref()?, self.backs.get(&n)?);
                let (act, proof, unless) = (Some(back.act.clone()), Some(back.proof.clone()), back.unless.clone());
                Amid { at, act, unless, deadline: back.deadline, proof, began: run.began, tries: run.tries }
            }
        })
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
            Next::Amid(At::Go(amid)) if amid == step && again => {
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
            (Next::Amid(At::Go(amid)), _) if amid == step => {
                let run = self.steps.last_mut()?;
                if matches!(end, StepEnd::Held(_)) {
                    run.tries = 0;
                }
                run.end = Some(end);
            }
            (Next::Begin(next), StepEnd::Held(_)) if next == step => {
                self.steps.push(StepRun { began: self.opened, tries: 0, end: Some(end) });
            }
            _ => return None,
        }
        Some(())
    }

    /// A give-back begins. None: nothing of the kind is owed now.
    pub(crate) fn returning(&mut self, step: u16, at: Now) -> Option<()> {
        let Next::Back(due) = self.next() else { return None };
        due.contains(&step).then_some(())?;
        let fresh = BackRun { began: at, tries: 0, fails: 0, end: None, waived: false, running: Vec::new() };
        let back = self.backs.entry(step).or_insert(fresh);
        back.began = at;
        back.tries = back.tries.saturating_add(1);
        back.end = None;
        Some(())
    }

    /// None: it is not under way.
    pub(crate) fn returned(&mut self, step: u16, end: StepEnd, running: &[UnitName]) -> Option<()> {
        let back = self.backs.get_mut(&step).filter(|back| back.end.is_none())?;
        if matches!(end, StepEnd::Unproved(_)) {
            back.fails = back.fails.saturating_add(1);
        }
        back.end = Some(end);
        back.running = running.to_vec();
        Some(())
    }

    /// An operator has looked: what goes on failing is no longer owed.
    pub(crate) fn waive(&mut self) {
        for back in self.backs.values_mut() {
            back.waived |= back.fails >= FAILS_STUCK && !back.done() && back.end.is_some();
        }
    }
}

impl BackRun {
    pub(crate) fn done(&self) -> bool {
        matches!(self.end, Some(StepEnd::Done))
    }
}

fn number(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
