//! Record: what the ledger says, and the fold that is our live state.
//!
//! State changes by [`State::apply`] and by nothing else; the engine emits each record that it applies. So a restart, a
//! test and `hostward history` fold the same records to the same state. Stamps and costs are kept; thresholds are not,
//! so that a reload needs no migration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::hold::Hold;
use crate::id::{Resource, RunId, Rung, Str, TargetId, UnitName, WatchId};
use crate::plan::{Heal, Plan};
use crate::planted::{Bug, planted};
use crate::run::{OpenRun, StepEnd};
use crate::time::{Ms, Now};

pub use efficacy::{Efficacy, Tally};
pub use snapshot::SEQ_MAX;

mod efficacy;
mod snapshot;

/// Attempts kept a target: a cap above this is refused by the configuration.
pub const ATTEMPTS_KEPT: usize = 64;
/// Charges kept: a budget above this is refused by the configuration.
pub const CHARGES_KEPT: usize = 256;
/// Starts kept: three abnormal ones within ten minutes are what is looked for.
const STARTS_KEPT: usize = 8;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    pub at: Now,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// An engine began. `boot_id` is the kernel's; a new one begins a new boot in all stamps.
    Started {
        boot_id: Str,
        version: Str,
    },
    /// It ended in good order.
    Stopped,
    /// Something happened to a target: not a verdict yet. `missed`: as many like it went unrecorded before this one.
    Noted {
        target: TargetId,
        fact: Str,
        missed: u32,
    },
    /// A verdict changed.
    Turned {
        target: TargetId,
        to: Turn,
        incident: Option<u64>,
    },
    /// A plan was first held, or is held for other reasons than before.
    Held {
        target: TargetId,
        holds: Vec<Str>,
        /// The rung that would have been taken, when nothing but the operator's leave was missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        would: Option<Rung>,
    },
    /// The intent. Durable before the first act; the attempt is charged here, so a crash cannot make it free.
    Opened {
        plan: Box<Plan>,
        origin: Origin,
    },
    Began {
        run: RunId,
        step: u16,
        again: bool,
    },
    Ended {
        run: RunId,
        step: u16,
        end: StepEnd,
    },
    Closed {
        run: RunId,
        result: Closing,
    },
    /// What an attempt came to, once it is known.
    Settled {
        run: RunId,
        target: TargetId,
        result: Settlement,
    },
    /// What a step took is being given back: try after try, exempt from every hold, and not waited for on the disk.
    Returning {
        run: RunId,
        step: u16,
    },
    Returned {
        run: RunId,
        step: u16,
        end: StepEnd,
        /// Beside an end that is not good: those of its units that were seen to run again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        running: Vec<UnitName>,
    },
    /// An operator paused a watch, or every watch, for a while.
    Paused {
        watch: Option<WatchId>,
        span: Ms,
        reason: Str,
    },
    Resumed {
        watch: Option<WatchId>,
    },
    /// The ledger before this was lost, damaged or a later version's: all caps count as spent until an operator says otherwise.
    Damaged {
        why: Str,
    },
    /// An operator looked at the damage (`hostward clear`).
    Cleared,
    /// An operator looked at what is stuck of this watch, or of every watch (`hostward clear WATCH`).
    Unstuck {
        watch: Option<WatchId>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    Up,
    Down {
        reason: Str,
        detail: Str,
        blame: Option<TargetId>,
    },
    Unknown {
        fault: Str,
    },
    /// A part that is no longer named: nothing is remembered of it, so that names that change for ever fill nothing.
    Gone,
}

/// Who asked for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Daemon,
    Trigger,
    /// An operator's `hostward apply`: `mode = "propose"` does not hold it.
    Apply,
    /// An engine without hands: it sees, judges and plans, and begins nothing.
    Look,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// Every step proved.
    Proved,
    /// A step was not proved.
    Unproved { step: u16, why: Str },
    /// A hold came up before a forward step.
    Held { step: u16, holds: Vec<Str> },
    /// A way back was given up, or nobody can tell what a step left: the footprint is frozen.
    Stuck { step: u16, why: Str },
}

/// What became of one target by one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// Proved, and still up after the soak.
    Cleared,
    NotCleared,
    /// Proved, but down again within the hour.
    Relapsed,
    /// Not cleared, and put back as it was.
    Undone,
    /// Not cleared, and what it left is frozen.
    UndoFailed,
}

impl Settlement {
    pub const ALL: [Settlement; 5] = [
        Settlement::Cleared,
        Settlement::NotCleared,
        Settlement::Relapsed,
        Settlement::Undone,
        Settlement::UndoFailed,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Settlement::Cleared => "cleared",
            Settlement::NotCleared => "not_cleared",
            Settlement::Relapsed => "relapsed",
            Settlement::Undone => "undone",
            Settlement::UndoFailed => "undo_failed",
        }
    }
}

/// One charged try at one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub run: RunId,
    pub rung: Rung,
    pub at: Now,
    /// When the run closed as proved: the soak begins.
    pub proved: Option<Now>,
    pub settled: Option<Settlement>,
    /// The code of what was wrong.
    #[serde(default = "no_text")]
    pub reason: Str,
    /// Since when it had been judged down.
    #[serde(default)]
    pub fell: Option<Now>,
    /// As the plan said ([`Heal`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<Str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u64>,
}

/// What is remembered of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Brake {
    pub attempts: VecDeque<Attempt>,
    /// Since the last attempt that cleared.
    pub failures: u32,
    /// By rung and settlement, for ever: what metrics count.
    pub totals: BTreeMap<Rung, BTreeMap<Settlement, u64>>,
    pub turn: Option<(Turn, Now)>,
    pub incident: Option<u64>,
    /// The holds last recorded for it, so that the same are not recorded twice.
    pub held: Vec<Str>,
    /// Since when its remedy waits for the host's budget, and for nothing else that does not pass by itself.
    #[serde(default)]
    pub queued: Option<Now>,
    /// What each rung was worth against each reason.
    #[serde(default)]
    pub efficacy: Vec<Efficacy>,
    /// Times it came up again though nobody had tried anything.
    #[serde(default)]
    pub spontaneous: Tally,
    /// By rung, the incidents in which it would have been taken, had the operator given leave.
    #[serde(default)]
    pub would: BTreeMap<Rung, u64>,
    /// The incident of the newest of them, so that it is counted once, however its holds change.
    #[serde(default)]
    pub would_in: Option<(u64, Rung)>,
}

impl Brake {
    pub fn unsettled(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.settled.is_none())
    }

    fn note_held(&mut self, holds: &[Str], at: Now) {
        let has = |hold: Hold| holds.iter().any(|held| **held == *hold.label());
        let waits = |hold: Hold| hold == Hold::BudgetSpent || hold.beside_budget();
        // Leave that cannot be known now is neither given nor refused: nobody loses his place by it, nor finds one.
        let unknown = has(Hold::GateUnknown);
        let alone = holds.iter().all(|held| Hold::named(held).is_some_and(|h| waits(h) || h == Hold::GateUnknown));
        let begins = (has(Hold::BudgetSpent) && !unknown).then_some(at);
        self.queued = if alone { self.queued.or(begins) } else { None };
        self.held = holds.to_vec();
    }

    fn note_would(&mut self, rung: &Rung) {
        let now = Some((self.incident.unwrap_or_default(), rung.clone()));
        if self.would_in != now {
            *self.would.entry(rung.clone()).or_default() += 1;
            self.would_in = now;
        }
    }

    fn nothing_held(&mut self) {
        self.held.clear();
        self.queued = None;
    }
}

/// Everything folded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub seq: u64,
    pub boot_id: String,
    pub boot: u32,
    pub targets: BTreeMap<TargetId, Brake>,
    pub runs: BTreeMap<RunId, OpenRun>,
    /// Costs charged, for the host's budget.
    pub charges: VecDeque<(Now, u32)>,
    /// Engine starts without a good end before them.
    pub abnormal_starts: VecDeque<Now>,
    /// An engine is running, or died without a word.
    pub running: bool,
    pub damaged: Option<(Now, Str)>,
    /// When a ledger before this was last lost: what PID 1 was told for its runs is not known here, until the host boots
    /// anew. That an operator says "clear" does not change it.
    #[serde(default)]
    pub lost: Option<Now>,
    pub incidents: u64,
    #[serde(default)]
    pub pauses: Vec<Pause>,
    #[serde(default)]
    pub stuck: Vec<Stuck>,
}

/// Maintenance: an operator's word, with an end and a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// None: every watch.
    pub watch: Option<WatchId>,
    pub at: Now,
    pub span: Ms,
    pub reason: Str,
}

impl Pause {
    pub fn over(&self, now: Now) -> bool {
        now.since(self.at) >= self.span
    }
}

/// What a run touched when its undo was given up. No plan touches it before an operator has looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    pub run: RunId,
    pub watch: WatchId,
    pub touches: Vec<Resource>,
    pub why: Str,
    pub at: Now,
}

/// A record that does not fit the state it meets: the ledger was edited, or we have a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("record {got} follows record {after}")]
    Sequence { after: u64, got: u64 },
    #[error("record {seq} names run {run}, which is not open")]
    NoSuchRun { seq: u64, run: RunId },
    #[error("record {seq} does not fit step {step} of run {run}")]
    Step { seq: u64, run: RunId, step: u16 },
}

impl State {
    /// The only way state changes. It knows no policy and no clock.
    pub fn apply(&mut self, record: &Record) -> Result<(), BadRecord> {
        let seq = record.seq;
        if seq != self.seq + 1 {
            return Err(BadRecord::Sequence { after: self.seq, got: seq });
        }
        let at = record.at;
        match &record.body {
            Body::Started { boot_id, .. } => self.started(boot_id, at),
            Body::Stopped => self.running = false,
            Body::Noted { .. } => {}
            Body::Turned { target, to: Turn::Gone, .. } => drop(self.targets.remove(target)),
            Body::Turned { target, to, incident } => {
                let brake = self.targets.entry(target.clone()).or_default();
                brake.note_recovery(to, at);
                brake.turn = Some((to.clone(), at));
                brake.incident = *incident;
                if !matches!(to, Turn::Down { .. }) {
                    brake.nothing_held();
                }
                if *incident == Some(seq) {
                    self.incidents += 1;
                }
            }
            Body::Held { target, holds, would } => {
                let brake = self.targets.entry(target.clone()).or_default();
                brake.note_held(holds, at);
                if let Some(rung) = would {
                    brake.note_would(rung);
                }
            }
            Body::Opened { plan, origin } => self.opened(RunId(seq), plan, *origin, at),
            Body::Began { run, step, again } => {
                self.run(seq, *run)?.began(*step, *again, at).ok_or(BadRecord::Step {
                    seq,
                    run: *run,
                    step: *step,
                })?;
            }
            Body::Ended { run, step, end } => {
                let open = self.run(seq, *run)?;
                open.ended(*step, end.clone()).ok_or(BadRecord::Step { seq, run: *run, step: *step })?;
            }
            Body::Returning { run, step } => {
                let open = self.run(seq, *run)?;
                open.returning(*step, at).ok_or(BadRecord::Step { seq, run: *run, step: *step })?;
            }
            Body::Returned { run, step, end, running } => {
                let open = self.run(seq, *run)?;
                open.returned(*step, end.clone(), running).ok_or(BadRecord::Step { seq, run: *run, step: *step })?;
            }
            Body::Closed { run, result } => {
                self.run(seq, *run)?;
                self.closed(*run, result, at);
            }
            Body::Settled { run, target, result } => self.settled(*run, target, *result),
            Body::Damaged { why } => (self.damaged, self.lost) = (Some((at, why.clone())), Some(at)),
            Body::Cleared => self.damaged = None,
            Body::Paused { watch, span, reason } => self.paused(watch.as_ref(), *span, reason, at),
            Body::Resumed { watch } => self.resumed(watch.as_ref(), at),
            Body::Unstuck { watch } => self.unstuck(watch.as_ref()),
        }
        self.seq = seq;
        Ok(())
    }

    fn run(&mut self, seq: u64, run: RunId) -> Result<&mut OpenRun, BadRecord> {
        self.runs.get_mut(&run).ok_or(BadRecord::NoSuchRun { seq, run })
    }

    fn started(&mut self, boot_id: &str, at: Now) {
        if self.boot_id != boot_id {
            boot_id.clone_into(&mut self.boot_id);
            self.boot = at.boot;
        }
        if self.running {
            push_bounded(&mut self.abnormal_starts, at, STARTS_KEPT);
        }
        self.running = true;
    }

    fn opened(&mut self, id: RunId, plan: &Plan, origin: Origin, at: Now) {
        for heal in &plan.heals {
            let brake = self.targets.entry(heal.target.clone()).or_default();
            let fell = match brake.turn {
                Some((Turn::Down { .. }, fell)) => Some(fell),
                _ => None,
            };
            let Heal { rung, reason, about, mark, .. } = heal.clone();
            let attempt = Attempt { run: id, rung, at, proved: None, settled: None, reason, fell, about, mark };
            push_bounded(&mut brake.attempts, attempt, ATTEMPTS_KEPT);
            brake.nothing_held();
        }
        if !planted(Bug::ChargedLate) {
            push_bounded(&mut self.charges, (at, plan.cost), CHARGES_KEPT);
        }
        self.runs.insert(id, OpenRun::new(plan.clone(), origin, at));
    }

    fn closed(&mut self, run: RunId, result: &Closing, at: Now) {
        let Some(open) = self.runs.remove(&run) else { return };
        if planted(Bug::ChargedLate) {
            push_bounded(&mut self.charges, (open.opened, open.plan.cost), CHARGES_KEPT);
        }
        if let Closing::Stuck { why, .. } = result {
            let (watch, touches) = (open.plan.watch.clone(), open.plan.touches.clone());
            self.stuck.push(Stuck { run, watch, touches, why: why.clone(), at });
        }
        let undone = open.put_back();
        for heal in &open.plan.heals {
            let settled = match result {
                Closing::Proved => {
                    if let Some(attempt) = self.attempt(run, &heal.target) {
                        attempt.proved = Some(at);
                    }
                    continue;
                }
                Closing::Stuck { .. } => Settlement::UndoFailed,
                Closing::Unproved { .. } | Closing::Held { .. } if undone => Settlement::Undone,
                Closing::Unproved { .. } | Closing::Held { .. } => Settlement::NotCleared,
            };
            self.settled(run, &heal.target, settled);
        }
    }

    fn paused(&mut self, watch: Option<&WatchId>, span: Ms, reason: &Str, at: Now) {
        self.resumed(watch, at);
        self.pauses.push(Pause { watch: watch.cloned(), at, span, reason: reason.clone() });
    }

    /// Also forgets every pause that is over: by the record's own stamp, so that the fold needs no clock.
    fn resumed(&mut self, watch: Option<&WatchId>, at: Now) {
        self.pauses.retain(|pause| pause.watch.as_ref() != watch && !pause.over(at));
    }

    fn unstuck(&mut self, watch: Option<&WatchId>) {
        let meant = |of: &WatchId| watch.is_none_or(|watch| watch == of);
        self.stuck.retain(|stuck| !meant(&stuck.watch));
        self.runs.values_mut().filter(|run| meant(&run.plan.watch)).for_each(OpenRun::waive);
    }

    /// Pauses of a watch that are not over.
    pub fn pauses_of<'a>(&'a self, watch: &'a WatchId, now: Now) -> impl Iterator<Item = &'a Pause> + 'a {
        let meant = move |pause: &&Pause| pause.watch.as_ref().is_none_or(|of| of == watch);
        self.pauses.iter().filter(meant).filter(move |pause| !pause.over(now))
    }

    /// Units that we stopped and that do not run again yet, whoever stopped them.
    pub fn stopped(&self) -> BTreeSet<UnitName> {
        self.runs.values().flat_map(OpenRun::stopped).collect()
    }

    fn attempt(&mut self, run: RunId, target: &TargetId) -> Option<&mut Attempt> {
        self.targets.get_mut(target)?.attempts.iter_mut().find(|attempt| attempt.run == run)
    }

    fn settled(&mut self, run: RunId, target: &TargetId, result: Settlement) {
        let Some(attempt) = self.attempt(run, target) else { return };
        if attempt.settled.replace(result) == Some(result) {
            return;
        }
        let attempt = attempt.clone();
        let rung = attempt.rung.clone();
        let Some(brake) = self.targets.get_mut(target) else { return };
        brake.note_efficacy(&attempt, result);
        let totals = brake.totals.entry(rung).or_default();
        // A relapse takes nothing back: counters never fall. It is counted beside the "cleared" that it belies.
        *totals.entry(result).or_default() += 1;
        // Counted anew: a relapse also takes back the clearing that had ended the row before it.
        let settled = brake.attempts.iter().rev().filter_map(|attempt| attempt.settled);
        let row = settled.take_while(|settled| *settled != Settlement::Cleared).count();
        brake.failures = u32::try_from(row).unwrap_or(u32::MAX);
    }

    /// How many engines died within `span` without a good end.
    pub fn abnormal_starts_within(&self, now: Now, span: Ms) -> usize {
        self.abnormal_starts.iter().filter(|at| now.since(**at) < span).count()
    }

    /// What was charged within `span`.
    pub fn charged_within(&self, now: Now, span: Ms) -> impl Iterator<Item = (Now, u32)> + '_ {
        self.charges.iter().copied().filter(move |(at, _)| now.since(*at) < span)
    }
}

fn no_text() -> Str {
    "".into()
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, limit: usize) {
    if queue.len() == limit {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests;
