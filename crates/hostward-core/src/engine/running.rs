//! Runs: each step is checked, intended, performed and proved; then the records say what comes next.
//!
//! | phase | event | record | next |
//! | --- | --- | --- | --- |
//! | Checking | a fresh gate and basis, nothing holds | Began | Intending |
//! | Checking | an ending hold | Ended(Held) | closed |
//! | Intending | durable | - | Performing; Proving when the step only waits |
//! | Intending | ledger bad | Ended(Held) | closed |
//! | Performing | outcome ok | - | Proving, its whole time |
//! | Performing | any other outcome, or deadline + 20 s | - | Proving, one fresh look |
//! | Proving | proved | Ended(Done) | the next step |
//! | Proving | not proved, outcome lost, may run again | Began again | Checking |
//! | Proving | not proved | Ended(Unproved) | closed |
//! | start | amid an act | - | Performing, adopted |
//! | start | amid a wait | - | Proving |

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Effect, Engine};
use crate::ask::AskKey;
use crate::hold::{self, Hold, Permit};
use crate::id::{RunId, Str};
use crate::ledger::Body;
use crate::plan::{Check, Plan, Step};
use crate::prove::{Proving, Round, Said};
use crate::run::{Next, Outcome, StepEnd, Ticket};
use crate::time::{Ms, Now};

/// systemd ends a step at its deadline, and what ignores SIGTERM 10 s later; after this its word is no longer waited for.
const WORD_SLACK: Ms = Ms::secs(20);
/// A gate that cannot be read holds a forward step, and what a plan rests on may have moved; this long their looks are
/// waited for first.
const LOOK_PATIENCE: Ms = Ms::secs(25);

#[derive(Debug, Default)]
pub(super) struct Runs {
    phases: BTreeMap<RunId, Phase>,
    /// To be released once the record that ended them is durable.
    releases: Vec<(u64, Ticket)>,
}

#[derive(Debug)]
enum Phase {
    Checking { since: Now, again: bool },
    Intending { seq: u64 },
    Performing { ticket: Ticket, until: Ms },
    Proving(Proving),
}

impl Runs {
    pub(super) fn check(&mut self, run: RunId, now: Now) {
        self.phases.insert(run, Phase::Checking { since: now, again: false });
    }

    pub(super) fn next_due(&self) -> Option<Ms> {
        let due = |phase: &Phase| match phase {
            Phase::Checking { since, .. } => Some(since.up + LOOK_PATIENCE),
            Phase::Intending { .. } => None,
            Phase::Performing { until, .. } => Some(*until),
            Phase::Proving(proving) => Some(proving.until),
        };
        self.phases.values().filter_map(due).min()
    }
}

impl Engine {
    /// After a start: what was under way is looked at, never blindly repeated.
    pub(super) fn recover_runs(&mut self) {
        let now = self.world.now;
        let mut adopt = Vec::new();
        let open: Vec<RunId> = self.world.state.runs.keys().copied().collect();
        for id in open {
            let Some(run) = self.world.state.runs.get(&id) else { continue };
            let phase = match run.next() {
                Next::Begin(_) | Next::Close(_) => Phase::Checking { since: now, again: false },
                Next::Amid(n) => match (run.step(n), run.step_run(n)) {
                    (Some(Step { act: Some(_), deadline, .. }), Some(begun)) => {
                        let ticket = Ticket { run: id, step: n, tries: begun.tries };
                        adopt.push((ticket, Arc::new(run.plan.clone())));
                        let left = deadline.saturating_sub(now.since(begun.began)).max(Ms::secs(30));
                        Phase::Performing { ticket, until: now.up + left + WORD_SLACK }
                    }
                    (Some(Step { proof: Some(proof), .. }), _) => Phase::Proving(Proving::new(now, proof, None)),
                    _ => Phase::Checking { since: now, again: false },
                },
            };
            self.runs.phases.insert(id, phase);
            self.touch(id);
        }
        // An empty list is still said: whatever else of ours runs was left by an engine that is no more.
        self.out.push(Effect::Adopt(adopt));
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
        if let Next::Close(result) = run.next() {
            self.close(id, result);
            return;
        }
        match self.runs.phases.get(&id) {
            None => {}
            Some(Phase::Checking { since, again }) => self.checking(id, *since, *again),
            Some(Phase::Intending { seq }) => self.intending(id, *seq),
            Some(Phase::Performing { ticket, until }) => {
                let (ticket, until) = (*ticket, *until);
                if self.world.now.up >= until {
                    self.out.push(Effect::Cancel(ticket));
                    self.act_ended(ticket, Outcome::Lost("the actor said nothing".into()));
                }
            }
            Some(Phase::Proving(_)) => self.proving(id),
        }
    }

    fn checking(&mut self, id: RunId, since: Now, again: bool) {
        let Some(run) = self.world.state.runs.get(&id) else { return };
        let step = match run.next() {
            Next::Begin(n) | Next::Amid(n) => n,
            Next::Close(_) => return,
        };
        let plan = run.plan.clone();
        let watch = self.world.policy.watches.get(&plan.watch);
        let rests_on = watch.and_then(|watch| watch.spec.rests_on());
        let probe = rests_on.map(|n| AskKey::Probe(plan.watch.clone(), n));
        let gates = plan.permitted_by().into_iter().map(|watch| AskKey::Gate(watch.clone()));
        let keys = gates.chain(probe);
        let missing: Vec<AskKey> = keys.filter(|key| !self.asks.since(key, since)).collect();
        if !missing.is_empty() && self.world.now.since(since) < LOOK_PATIENCE {
            for key in &missing {
                self.demand(key, since);
            }
            return;
        }
        match hold::permit(&self.world, &plan, step, since) {
            Ok(permit) => self.begin_step(id, &permit, again),
            Err(held) => {
                let holds = held.into_iter().map(|h| format!("{}: {}", h.hold.label(), h.value).into()).collect();
                self.end_step(id, step, StepEnd::Held(holds));
            }
        }
    }

    /// The intent goes to the ledger; nothing is done before it is durable.
    fn begin_step(&mut self, id: RunId, permit: &Permit, again: bool) {
        let seq = self.record(Body::Began { run: id, step: permit.step(), again });
        self.runs.phases.insert(id, Phase::Intending { seq });
    }

    fn intending(&mut self, id: RunId, seq: u64) {
        let Some((n, step, plan, tries)) = self.amid(id) else { return };
        if self.world.ledger_bad.is_some() {
            self.end_step(id, n, StepEnd::Held(vec![Hold::LedgerUnwritable.label().into()]));
            return;
        }
        if self.durable < seq {
            return;
        }
        let now = self.world.now;
        if step.act.is_some() {
            let ticket = Ticket { run: id, step: n, tries };
            self.touch(id);
            let until = now.up + step.deadline + WORD_SLACK;
            self.runs.phases.insert(id, Phase::Performing { ticket, until });
            self.out.push(Effect::Perform { ticket, plan: Arc::new(plan) });
        } else {
            self.prove(id, n, &step, None);
        }
    }

    /// The actor's word. A bad one shortens the proof to one fresh look; it never decides by itself.
    pub(super) fn act_ended(&mut self, ticket: Ticket, outcome: Outcome) {
        let ours = |phase: &Phase| matches!(phase, Phase::Performing { ticket: t, .. } if *t == ticket);
        if !self.runs.phases.get(&ticket.run).is_some_and(ours) {
            return;
        }
        let Some((n, step, _, _)) = self.amid(ticket.run) else { return };
        self.touch(ticket.run);
        let said = match outcome {
            Outcome::Ok => None,
            Outcome::Failed(why) => Some(Said::Failed(why)),
            Outcome::Lost(why) => Some(Said::Lost(why)),
        };
        if step.proof.is_some() {
            self.prove(ticket.run, n, &step, said);
        } else {
            match said {
                None => self.end_step(ticket.run, n, StepEnd::Done),
                Some(said) => self.unproved(ticket.run, n, Some(said), "its outcome was its only proof"),
            }
        }
    }

    fn prove(&mut self, id: RunId, n: u16, step: &Step, said: Option<Said>) {
        let Some(proof) = &step.proof else { return };
        for (check, of) in (0u16..).zip(&proof.checks) {
            if let Check::Fact(question, _) = of {
                self.asks.add_proof(id, check, question);
            }
        }
        debug_assert!(self.amid(id).is_some_and(|(amid, ..)| amid == n));
        self.runs.phases.insert(id, Phase::Proving(Proving::new(self.world.now, proof, said)));
        self.proving(id);
    }

    fn proving(&mut self, id: RunId) {
        let Some((n, step, _, _)) = self.amid(id) else { return };
        let (Some(proof), Some(began)) = (&step.proof, self.began(id, n)) else { return };
        let Some(Phase::Proving(proving)) = self.runs.phases.get_mut(&id) else { return };
        let mut proving = proving.clone();
        let round = proving
            .round(&self.world, proof, began, |check| self.asks.proof(id, u16::try_from(check).unwrap_or(u16::MAX)));
        let (since, said) = (proving.since, proving.said.clone());
        self.runs.phases.insert(id, Phase::Proving(proving));
        match round {
            Round::Waiting => {
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
            Round::Proved => self.end_step(id, n, StepEnd::Done),
            Round::Unproved(seen) => self.unproved(id, n, said, &seen),
        }
    }

    fn unproved(&mut self, id: RunId, n: u16, said: Option<Said>, seen: &str) {
        let again = matches!(said, Some(Said::Lost(_)))
            && self.world.state.runs.get(&id).is_some_and(|run| run.may_begin_again(n));
        if again {
            // Whatever is left of the lost try ends first: never two of them at once.
            if let Some((_, Step { act: Some(_), .. }, _, tries)) = self.amid(id) {
                self.out.push(Effect::Cancel(Ticket { run: id, step: n, tries }));
            }
            self.runs.phases.insert(id, Phase::Checking { since: self.world.now, again: true });
            return;
        }
        let why = match said {
            None => Str::from(seen),
            Some(Said::Failed(said) | Said::Lost(said)) => format!("{said}; {seen}").into(),
        };
        self.end_step(id, n, StepEnd::Unproved(why));
    }

    fn end_step(&mut self, id: RunId, n: u16, end: StepEnd) {
        let ticket = self
            .amid(id)
            .and_then(|(_, step, _, tries)| step.act.is_some().then_some(Ticket { run: id, step: n, tries }));
        let seq = self.record(Body::Ended { run: id, step: n, end });
        self.runs.releases.extend(ticket.map(|ticket| (seq, ticket)));
        self.asks.drop_proofs(id);
        self.runs.phases.insert(id, Phase::Checking { since: self.world.now, again: false });
    }

    fn close(&mut self, id: RunId, result: crate::ledger::Closing) {
        self.touch(id);
        self.runs.phases.remove(&id);
        self.asks.drop_proofs(id);
        self.record(Body::Closed { run: id, result });
    }

    /// Nothing seen before our own act is evidence: not of what the plan touches, nor of what needs that.
    fn touch(&mut self, id: RunId) {
        let Some(run) = self.world.state.runs.get(&id) else { return };
        let touches = &run.plan.touches;
        let clashes = |resources: Vec<crate::id::Resource>| {
            resources.iter().any(|resource| touches.iter().any(|touched| touched.clashes(resource)))
        };
        let policy = Arc::clone(&self.world.policy);
        let ours: Vec<_> = policy
            .watches
            .iter()
            .filter(|(_, watch)| clashes(watch.spec.provides()) || clashes(watch.spec.needs(&policy, watch)))
            .map(|(watch, _)| watch.clone())
            .collect();
        let now = self.world.now;
        for watch in ours {
            if let Some(live) = self.world.live.get_mut(&watch) {
                live.targets.values_mut().for_each(|target| target.touch(now));
            }
        }
    }

    /// The step that a run is in the middle of.
    fn amid(&self, id: RunId) -> Option<(u16, Step, Plan, u16)> {
        let run = self.world.state.runs.get(&id)?;
        let Next::Amid(n) = run.next() else { return None };
        Some((n, run.step(n)?.clone(), run.plan.clone(), run.step_run(n)?.tries))
    }

    fn began(&self, id: RunId, n: u16) -> Option<Now> {
        Some(self.world.state.runs.get(&id)?.step_run(n)?.began)
    }
}
