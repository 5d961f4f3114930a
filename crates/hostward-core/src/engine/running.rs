//! Runs: each step is checked, intended, performed and proved; then the records say what comes next.
//!
//! | phase | event | record | next |
//! | --- | --- | --- | --- |
//! | Checking | a fresh gate and basis, nothing holds | Began | Intending |
//! | Checking | an ending hold | Ended(Held) | what the records say |
//! | Intending | durable, and the leave is fresh | - | Performing; Proving when the step only waits |
//! | Intending | durable too late | - | Checking once more |
//! | Intending | ledger bad | Ended(Held) | what the records say |
//! | Performing | outcome ok | - | Proving, its whole time |
//! | Performing | any other outcome, or deadline + 20 s | - | Proving, one fresh look |
//! | Proving | proved | Ended(Done) | what the records say |
//! | Proving | not proved, outcome lost, may run again | - | Checking, then Began again |
//! | Proving | not proved | Ended(Unproved), Ended(Lost) | what the records say |
//! | Resting | its backoff is over | Returning | Performing: no holds, no wait for the disk; Doubting when it may be owed no more |
//! | Doubting | a fresh look, or none in time | - | Performing; what the records say when it is owed no more |
//! | start | amid an act | - | Performing, adopted |
//! | start | amid a wait | - | Proving |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, Engine};
use crate::ask::{AskKey, Question, Reading};
use crate::hold::{self, Held, Hold, Lift, Permit};
use crate::id::{RunId, Str, TargetId, UnitName, WatchId};
use crate::ledger::{Body, Closing};
use crate::plan::{Act, Check, Proof, Unless};
use crate::planted::{Bug, planted};
use crate::prove::{Proving, Round, Said, speaks_against};
use crate::run::{Amid, At, Next, Outcome, StepEnd, Ticket};
use crate::time::{Ms, Now};

/// systemd ends a step at its deadline, and what ignores SIGTERM 10 s later; after this its word is no longer waited for.
const WORD_SLACK: Ms = Ms::secs(20);
/// A gate that cannot be read holds a forward step, and what a plan rests on may have moved; this long their looks are
/// waited for first.
const LOOK_PATIENCE: Ms = Ms::secs(25);
/// The numbers of the questions whether what a run stopped still stands still: behind those of any proof.
const STILL: u16 = 1 << 12;
/// The number of the question whether an act has become harmful.
const UNLESS: u16 = 1 << 13;

#[derive(Debug, Default)]
pub(super) struct Runs {
    phases: BTreeMap<RunId, Phase>,
    /// To be released once the record that ended them is durable.
    releases: Vec<(u64, Ticket)>,
    /// Those whose undo is armed with PID 1.
    pub(super) armed: BTreeSet<RunId>,
}

#[derive(Debug)]
enum Phase {
    Checking {
        since: Now,
        goal: Goal,
    },
    Intending {
        seq: u64,
        since: Now,
    },
    /// A give-back that may be owed no more: somebody else may have seen to it.
    Doubting {
        since: Now,
    },
    /// Since its act was made; of one that was adopted only its intent is known.
    Performing {
        ticket: Ticket,
        since: Now,
        until: Ms,
    },
    Proving(Proving),
    Resting {
        until: Ms,
    },
}

/// What a fresh leave is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Begin,
    /// The outcome of the first try was lost.
    Again,
    /// The intent became durable too late for the looks before it.
    Act,
}

impl Runs {
    pub(super) fn check(&mut self, run: RunId, now: Now) {
        self.phases.insert(run, Phase::Checking { since: now, goal: Goal::Begin });
    }

    pub(super) fn next_due(&self) -> Option<Ms> {
        let due = |phase: &Phase| match phase {
            Phase::Checking { since, .. } | Phase::Doubting { since } => Some(since.up + LOOK_PATIENCE),
            Phase::Intending { .. } => None,
            Phase::Performing { until, .. } | Phase::Resting { until } => Some(*until),
            Phase::Proving(proving) => Some(proving.until),
        };
        self.phases.values().filter_map(due).min()
    }

    fn perform(&mut self, ticket: Ticket, now: Now, deadline: Ms) {
        let until = now.up + deadline + WORD_SLACK;
        self.phases.insert(ticket.run, Phase::Performing { ticket, since: now, until });
    }
}

impl Engine {
    /// After a start: what was under way is looked at, never blindly repeated.
    pub(super) fn recover_runs(&mut self) {
        let now = self.world.now;
        let mut adopt = Vec::new();
        let open: Vec<RunId> = self.world.state.runs.keys().copied().collect();
        for id in &open {
            let Some(run) = self.world.state.runs.get(id) else { continue };
            let phase = match run.amid() {
                Some(Amid { act: Some(_), at: At::Go(_), .. }) if planted(Bug::BlindRepeat) => {
                    Phase::Checking { since: now, goal: Goal::Again }
                }
                Some(Amid { act: Some(_), at, tries, began, deadline, .. }) => {
                    let ticket = Ticket { run: *id, at, tries };
                    adopt.push((ticket, Arc::new(run.plan.clone())));
                    let left = deadline.saturating_sub(now.since(began)).max(Ms::secs(30));
                    Phase::Performing { ticket, since: began, until: now.up + left + WORD_SLACK }
                }
                Some(Amid { proof: Some(proof), began, .. }) => {
                    Phase::Proving(Proving::new(now, began, &proof, None))
                }
                _ => Phase::Checking { since: now, goal: Goal::Begin },
            };
            self.runs.phases.insert(*id, phase);
            self.touch(*id);
        }
        // An empty list is still said: whatever else of ours runs, or is armed, was left by an engine that is no more.
        // With a lost ledger the memory of what was stopped is lost too: then PID 1 alone still knows it.
        let lost = self.world.state.lost.is_some_and(|at| at.boot == now.boot);
        let runs = (!lost).then(|| open.clone());
        self.out.push(Effect::Adopt { tickets: adopt, runs });
        // One that gave back may have died before it dropped its undo, which is then dropped with its next record.
        let gave_back = |id: &RunId| self.world.state.runs.get(id).is_some_and(|run| !run.backs.is_empty());
        let gave_back: Vec<RunId> = open.iter().copied().filter(gave_back).collect();
        self.runs.armed.extend(gave_back);
        for id in open {
            self.arm(id);
        }
    }

    pub(super) fn drive_runs(&mut self) {
        let open: Vec<RunId> = self.runs.phases.keys().copied().collect();
        for id in open {
            self.drive(id);
        }
        let durable = self.durable;
        let (ready, kept): (Vec<_>, Vec<_>) = self.runs.releases.drain(..).partition(|(seq, _)| *seq <= durable);
        self.runs.releases = kept;
        self.out.extend(ready.into_iter().map(|(_, ticket)| Effect::Release(ticket)));
    }

    fn drive(&mut self, id: RunId) {
        let Some(run) = self.world.state.runs.get(&id) else {
            self.runs.phases.remove(&id);
            return;
        };
        match run.next() {
            Next::Close(result) => return self.close(id, result),
            Next::Back(due) => {
                if let Some(until) = self.give_back(id, &due) {
                    self.runs.phases.insert(id, Phase::Resting { until });
                }
                return;
            }
            Next::Begin(_) | Next::Amid(_) => {}
        }
        match self.runs.phases.get(&id) {
            None => {}
            Some(Phase::Resting { .. }) => self.runs.check(id, self.world.now),
            Some(Phase::Checking { since, goal }) => self.checking(id, *since, *goal),
            Some(Phase::Intending { seq, since }) => self.intending(id, *seq, *since),
            Some(Phase::Doubting { since }) => self.doubting(id, *since),
            Some(Phase::Performing { ticket, until, .. }) => {
                let (ticket, until) = (*ticket, *until);
                if self.world.now.up >= until {
                    self.out.push(Effect::Cancel(ticket));
                    self.act_ended(ticket, Outcome::Lost("the actor said nothing".into()));
                }
            }
            Some(Phase::Proving(_)) => self.proving(id),
        }
    }

    fn checking(&mut self, id: RunId, since: Now, goal: Goal) {
        let Some(run) = self.world.state.runs.get(&id) else { return };
        let (Next::Begin(step) | Next::Amid(At::Go(step))) = run.next() else { return };
        let (plan, origin, mut stopped) = (run.plan.clone(), run.origin, run.stopped());
        let unless = run.step(step).and_then(|step| step.unless.clone());
        // What this very step is to stop need not stand still yet.
        if let Some(Act::Stop(stop)) = run.step(step).and_then(|step| step.act.as_ref()) {
            stopped.retain(|unit| stop.units().all(|own| own != unit));
        }
        for (n, unit) in (STILL..).zip(&stopped) {
            self.asks.add_proof(id, n, &Arc::new(Question::Unit(unit.clone())));
        }
        if let Some(unless) = &unless {
            self.asks.add_proof(id, UNLESS, &unless.question);
        }
        let watch = self.world.policy.watches.get(&plan.watch);
        let rests_on = watch.and_then(|watch| watch.spec.rests_on());
        let probe = rests_on.map(|n| AskKey::Probe(plan.watch.clone(), n));
        let gates = plan.permitted_by().into_iter().map(|watch| AskKey::Gate(watch.clone()));
        let still = (STILL..).zip(&stopped).map(|(n, _)| AskKey::Proof(id, n));
        let doubt = unless.iter().map(|_| AskKey::Proof(id, UNLESS));
        let missing: Vec<AskKey> =
            gates.chain(probe).chain(still).chain(doubt).filter(|key| !self.asks.since(key, since)).collect();
        if !missing.is_empty() && self.world.now.since(since) < LOOK_PATIENCE {
            for key in &missing {
                self.demand(key, since);
            }
            return;
        }
        // A look that failed comes again at its own pace.
        if self.world.blind(&plan).is_some() && self.world.now.since(since) < LOOK_PATIENCE {
            return;
        }
        let mut held = Vec::new();
        let permit = hold::permit(&self.world, &plan, step, since, origin).map_err(|found| held.extend(found)).ok();
        held.extend(self.no_longer_stopped(id, &stopped));
        held.extend(unless.filter(|unless| self.speaks_against(id, unless, since)).map(|unless| moot(&unless)));
        match permit {
            Some(permit) if held.is_empty() => match goal {
                Goal::Begin | Goal::Again => self.begin_step(id, &permit, goal == Goal::Again),
                Goal::Act => self.act(id),
            },
            _ => {
                let holds = held.into_iter().map(|h| format!("{}: {}", h.hold.label(), h.value).into()).collect();
                self.hold_step(id, step, holds, goal == Goal::Again);
            }
        }
    }

    /// What we stopped and somebody started again: the rest of the plan counts on its standing still.
    fn no_longer_stopped(&self, id: RunId, stopped: &[UnitName]) -> Option<Held> {
        let runs = |n: u16| match self.asks.proof(id, n) {
            Some((_, Ok(Reading::Unit(unit)))) => unit.running(),
            _ => false,
        };
        let (_, unit) = (STILL..).zip(stopped).find(|(n, _)| runs(*n))?;
        let value = format!("{unit} was started meanwhile");
        Some(Held::new(Hold::BasisMoved, value, "what we stopped stands still", Lift::Fact("a new plan".into())))
    }

    fn speaks_against(&self, id: RunId, unless: &Unless, since: Now) -> bool {
        let answer = self.asks.proof(id, UNLESS).filter(|(asked, _)| asked.not_before(since));
        answer.is_some_and(|(_, answer)| speaks_against(unless, answer, self.world.now))
    }

    /// Before the first act a held step owes nothing; after a lost one it may.
    fn hold_step(&mut self, id: RunId, step: u16, holds: Vec<Str>, acted: bool) {
        let lost = acted || self.amid(id).is_some_and(|amid| amid.tries > 1);
        let end = if lost {
            StepEnd::Lost(format!("its outcome was lost, and it was not begun again: {}", holds.join("; ")).into())
        } else {
            StepEnd::Held(holds)
        };
        self.end_step(id, At::Go(step), end);
    }

    /// The intent goes to the ledger; nothing is done before it is durable.
    fn begin_step(&mut self, id: RunId, permit: &Permit, again: bool) {
        let seq = self.record(Body::Began { run: id, step: permit.step(), again });
        self.runs.phases.insert(id, Phase::Intending { seq, since: self.world.now });
    }

    fn intending(&mut self, id: RunId, seq: u64, since: Now) {
        let Some(Amid { at: At::Go(n), .. }) = self.amid(id) else { return };
        if self.world.ledger_bad.is_some() {
            self.hold_step(id, n, vec![Hold::LedgerUnwritable.label().into()], false);
            return;
        }
        if self.durable < seq {
            return;
        }
        let now = self.world.now;
        // A disk that took its time: what was looked up before may have changed since.
        if now.since(since) > hold::GATE_FRESH {
            self.runs.phases.insert(id, Phase::Checking { since: now, goal: Goal::Act });
            return;
        }
        self.act(id);
    }

    fn act(&mut self, id: RunId) {
        let Some(amid) = self.amid(id) else { return };
        if amid.act.is_none() {
            self.arm(id);
            self.prove(id, &amid, amid.began, None);
            return;
        }
        self.perform_at(id, &amid);
    }

    /// A give-back asks no gate; only whether somebody else has seen to it, where an act of ours would undo that.
    pub(super) fn give_back_at(&mut self, id: RunId, amid: &Amid) {
        match &amid.unless {
            Some(unless) => {
                self.asks.add_proof(id, UNLESS, &unless.question);
                self.runs.phases.insert(id, Phase::Doubting { since: self.world.now });
                self.doubting(id, self.world.now);
            }
            None => self.perform_at(id, amid),
        }
    }

    fn doubting(&mut self, id: RunId, since: Now) {
        let Some(amid) = self.amid(id) else { return };
        let Some(unless) = &amid.unless else { return };
        let key = AskKey::Proof(id, UNLESS);
        if !self.asks.since(&key, since) && self.world.now.since(since) < LOOK_PATIENCE {
            self.demand(&key, since);
        } else if self.speaks_against(id, unless, since) {
            self.end_step(id, amid.at, StepEnd::Done);
        } else {
            self.perform_at(id, &amid);
        }
    }

    pub(super) fn perform_at(&mut self, id: RunId, amid: &Amid) {
        let Some(run) = self.world.state.runs.get(&id) else { return };
        let plan = Arc::new(run.plan.clone());
        let ticket = Ticket { run: id, at: amid.at, tries: amid.tries };
        let arm = self.push(id);
        self.touch(id);
        self.runs.perform(ticket, self.world.now, amid.deadline);
        self.out.push(Effect::Perform { ticket, plan, arm });
    }

    /// The actor's word. A bad one shortens the proof to one fresh look; it never decides by itself.
    pub(super) fn act_ended(&mut self, ticket: Ticket, outcome: Outcome) {
        let acted = match self.runs.phases.get(&ticket.run) {
            Some(Phase::Performing { ticket: ours, since, .. }) if *ours == ticket => *since,
            _ => return,
        };
        let Some(amid) = self.amid(ticket.run) else { return };
        self.touch(ticket.run);
        let said = match outcome {
            Outcome::Ok => None,
            Outcome::Failed(why) => Some(Said::Failed(why)),
            Outcome::Lost(why) => Some(Said::Lost(why)),
        };
        match said {
            said if amid.proof.is_some() => self.prove(ticket.run, &amid, acted, said),
            None => self.end_step(ticket.run, amid.at, StepEnd::Done),
            Some(said) => self.unproved(ticket.run, &amid, Some(said), "its outcome was its only proof"),
        }
    }

    fn prove(&mut self, id: RunId, amid: &Amid, acted: Now, said: Option<Said>) {
        let Some(proof) = &amid.proof else { return };
        for (check, of) in (0u16..).zip(&proof.checks) {
            if let Check::Fact(question, _) = of {
                self.asks.add_proof(id, check, question);
            }
        }
        self.runs.phases.insert(id, Phase::Proving(Proving::new(self.world.now, acted, proof, said)));
        self.proving(id);
    }

    fn proving(&mut self, id: RunId) {
        let Some(amid) = self.amid(id) else { return };
        let Some(proof) = &amid.proof else { return };
        let Some(Phase::Proving(proving)) = self.runs.phases.get_mut(&id) else { return };
        let mut proving = proving.clone();
        let round =
            proving.round(&self.world, proof, |check| self.asks.proof(id, u16::try_from(check).unwrap_or(u16::MAX)));
        let (since, said) = (proving.since, proving.said.clone());
        self.runs.phases.insert(id, Phase::Proving(proving));
        match round {
            Round::Waiting => self.ask_for(id, proof, since),
            Round::Proved => self.end_step(id, amid.at, StepEnd::Done),
            Round::Unproved(seen) => self.unproved(id, &amid, said, &seen),
        }
    }

    fn ask_for(&mut self, id: RunId, proof: &Proof, since: Now) {
        for (check, of) in (0u16..).zip(&proof.checks) {
            match of {
                Check::Fact(question, _) => {
                    self.asks.add_proof(id, check, question);
                    self.demand(&AskKey::Proof(id, check), since);
                }
                Check::Target(target) => self.demand_watch(&target.watch, since),
            }
        }
    }

    fn unproved(&mut self, id: RunId, amid: &Amid, said: Option<Said>, seen: &str) {
        let again = match (amid.at, &said) {
            (At::Go(n), Some(Said::Lost(_))) => {
                self.world.state.runs.get(&id).is_some_and(|run| run.may_begin_again(n))
            }
            _ => false,
        };
        if again {
            // Whatever is left of the lost try ends first: never two of them at once.
            if amid.act.is_some() {
                self.out.push(Effect::Cancel(Ticket { run: id, at: amid.at, tries: amid.tries }));
            }
            self.runs.phases.insert(id, Phase::Checking { since: self.world.now, goal: Goal::Again });
            return;
        }
        let end = match said {
            None => StepEnd::Unproved(seen.into()),
            Some(Said::Failed(said)) => StepEnd::Unproved(format!("{said}; {seen}").into()),
            Some(Said::Lost(said)) => StepEnd::Lost(format!("{said}; {seen}").into()),
        };
        self.end_step(id, amid.at, end);
    }

    fn end_step(&mut self, id: RunId, at: At, end: StepEnd) {
        let amid = self.amid(id);
        let running = amid.as_ref().filter(|_| end != StepEnd::Done).map(|amid| self.came_back(id, amid));
        let ticket = amid.filter(|amid| amid.act.is_some());
        let ticket = ticket.map(|amid| Ticket { run: id, at: amid.at, tries: amid.tries });
        let seq = self.record(match at {
            At::Go(step) => Body::Ended { run: id, step, end },
            At::Back(step) => Body::Returned { run: id, step, end, running: running.unwrap_or_default() },
        });
        self.runs.releases.extend(ticket.map(|ticket| (seq, ticket)));
        self.asks.drop_proofs(id);
        self.disarm(id);
        self.runs.check(id, self.world.now);
    }

    fn close(&mut self, id: RunId, result: Closing) {
        self.touch(id);
        self.runs.phases.remove(&id);
        self.asks.drop_proofs(id);
        self.record(Body::Closed { run: id, result });
        self.disarm(id);
    }

    /// Nothing seen before our own act is evidence: not of what the plan touches, nor of what needs that.
    fn touch(&mut self, id: RunId) {
        let Some(run) = self.world.state.runs.get(&id) else { return };
        let touches = &run.plan.touches;
        let clashes = |resources: Vec<crate::id::Resource>| {
            resources.iter().any(|resource| touches.iter().any(|touched| touched.clashes(resource)))
        };
        let policy = Arc::clone(&self.world.policy);
        let mut ours: BTreeSet<WatchId> = BTreeSet::new();
        for (watch, declared) in &policy.watches {
            if clashes(declared.spec.provides()) {
                ours.extend(self.world.graph.dependents(watch).cloned());
                ours.insert(watch.clone());
            } else if clashes(declared.spec.needs(&policy, declared)) {
                ours.insert(watch.clone());
            }
        }
        let now = self.world.now;
        let healed: Vec<TargetId> = run.plan.heals.iter().map(|heal| heal.target.clone()).collect();
        for TargetId { watch, key } in healed.iter().filter(|id| !ours.contains(&id.watch)) {
            let live = self.world.live.get_mut(watch);
            if let Some(target) = live.and_then(|live| live.targets.get_mut(key)) {
                target.touch(now);
            }
            self.world.reckon(watch);
        }
        for watch in ours {
            if let Some(live) = self.world.live.get_mut(&watch) {
                live.targets.values_mut().for_each(|target| target.touch(now));
            }
            self.world.reckon(&watch);
        }
    }

    /// The place that a run is in the middle of.
    pub(super) fn amid(&self, id: RunId) -> Option<Amid> {
        self.world.state.runs.get(&id)?.amid()
    }
}

fn moot(unless: &Unless) -> Held {
    Held::new(Hold::BasisMoved, unless.to_string(), "as it was planned for", Lift::Fact("a new plan".into()))
}
