//! The edge: performs the engine's effects and brings their ends back as events. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use hostward_core::ask::{AskKey, Question};
use hostward_core::command::{OrderId, Reply};
use hostward_core::engine::{Effect, Event};
use hostward_core::id::RunId;
use hostward_core::ledger::{Record, State};
use hostward_core::plan::{Arm, Plan};
use hostward_core::run::Ticket;
use hostward_core::starvation::Lag;
use hostward_core::time::{Ms, Now};
use hostward_host::ledger::{AppendError, LedgerEvent, Writer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::actor::Actor;
use crate::echo;
use crate::eyes::Eyes;
use crate::recorder::Recording;

/// Events on their way to the engine. A full queue makes probes wait, never the loop.
pub(crate) const EVENTS_MAX: usize = 1024;

/// What the ledger's thread last said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) durable: u64,
    pub(crate) bad: Option<String>,
    /// The file goes on growing, because no new one could be begun.
    pub(crate) not_rotated: Option<String>,
}

/// The callback for the ledger's thread, and where its word is read.
pub(crate) fn ledger_word() -> (impl FnMut(LedgerEvent) + Send + 'static, watch::Receiver<Written>) {
    let (set, get) = watch::channel(Written::default());
    let tell = move |event| {
        set.send_modify(|written| match event {
            LedgerEvent::Durable(seq) => written.durable = seq,
            LedgerEvent::Failed(why) => written.bad = Some(why),
            LedgerEvent::Recovered => written.bad = None,
            LedgerEvent::NotRotated(why) => written.not_rotated = Some(why),
        });
    };
    (tell, get)
}

#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) eyes: Eyes,
    /// None: this engine only looks (`check`, `plan`): whatever it would do is left undone.
    pub(crate) hands: Option<Hands>,
    pub(crate) replies: BTreeMap<OrderId, oneshot::Sender<Reply>>,
    /// Where what is observed is kept, when the configuration wants it.
    pub(crate) recording: Option<Recording>,
}

/// What an engine that may act has beside its eyes.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) actor: Actor,
    pub(crate) ledger: Writer,
    performing: BTreeMap<Ticket, AbortHandle>,
    /// More records waited than are kept: the file no longer tells all, and only a new start can mend it.
    pub(crate) overflowed: bool,
}

impl Hands {
    pub(crate) fn new(actor: Actor, ledger: Writer) -> Hands {
        Hands { actor, ledger, performing: BTreeMap::new(), overflowed: false }
    }
}

impl Edge {
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { key, asked, question, deadline } => self.ask(key, asked, question, deadline),
            Effect::Append(record) => self.append(&record),
            Effect::Reply(id, reply) => {
                if let Some(waiting) = self.replies.remove(&id) {
                    // Whoever asked may have gone: then nobody misses the answer.
                    let _ = waiting.send(reply);
                }
            }
            Effect::Perform { ticket, plan, arm } => self.begin(ticket, plan, arm),
            Effect::Arm(arm) => self.with_actor(|actor| async move { actor.arm(&arm).await }),
            Effect::Disarm(run) => self.with_actor(|actor| async move { actor.disarm(run).await }),
            Effect::Cancel(ticket) => {
                if let Some(abort) = self.hands.as_mut().and_then(|hands| hands.performing.remove(&ticket)) {
                    abort.abort();
                }
                self.release(ticket);
            }
            Effect::Release(ticket) => self.release(ticket),
            Effect::Adopt { tickets, runs } => self.adopt(tickets, runs),
        }
    }

    fn ask(&self, key: AskKey, asked: Now, question: Arc<Question>, deadline: Ms) {
        let (eyes, events) = (self.eyes.clone(), self.events.clone());
        tokio::spawn(async move {
            let answer = eyes.answer(&key, &question, deadline.into()).await;
            // Nobody listens: we are ending.
            let _ = events.send(Event::Answered { key, asked, answer }).await;
        });
    }

    /// Tells the engine how starved this host is. What waits for the answer is not the loop.
    pub(crate) fn measure(&self, late: Ms) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ = events.send(Event::Lag(Lag { late, echo: echo::echo().await })).await;
        });
    }

    fn append(&mut self, record: &Record) {
        let Some(hands) = &mut self.hands else { return };
        if hands.overflowed {
            return;
        }
        let appended = match serde_json::to_vec(record) {
            Ok(json) => hands.ledger.append(record.seq, &json),
            Err(_) => Err(AppendError::NotALine(record.seq)),
        };
        hands.overflowed = appended.is_err();
    }

    /// A ledger that has grown is given the state that a new file begins with.
    pub(crate) fn rotate(&self, state: &State) {
        let Some(hands) = &self.hands else { return };
        // After an overflow the state is ahead of the file, and a new start is near. A state that cannot be stored is
        // not asked for again.
        if !hands.overflowed && hands.ledger.wants_snapshot() {
            let _ = hands.ledger.snapshot(state);
        }
    }

    fn begin(&mut self, ticket: Ticket, plan: Arc<Plan>, arm: Option<Arm>) {
        let Some(hands) = &mut self.hands else { return };
        let (actor, events) = (hands.actor.clone(), self.events.clone());
        let task = tokio::spawn(async move {
            let outcome = actor.perform(ticket, &plan, arm.as_ref()).await;
            let _ = events.send(Event::Ended(ticket, outcome)).await;
        });
        hands.performing.retain(|_, task| !task.is_finished());
        hands.performing.insert(ticket, task.abort_handle());
    }

    fn release(&self, ticket: Ticket) {
        self.with_actor(|actor| async move { actor.release(ticket).await });
    }

    fn with_actor<F: Future<Output = ()> + Send + 'static>(&self, act: impl FnOnce(Actor) -> F) {
        if let Some(hands) = &self.hands {
            tokio::spawn(act(hands.actor.clone()));
        }
    }

    fn adopt(&self, tickets: Vec<(Ticket, Arc<Plan>)>, runs: Option<Vec<RunId>>) {
        let Some(hands) = &self.hands else { return };
        let (actor, events) = (hands.actor.clone(), self.events.clone());
        tokio::spawn(async move {
            let kept: Vec<Ticket> = tickets.iter().map(|(ticket, _)| *ticket).collect();
            actor.release_others(&kept).await;
            if let Some(runs) = runs {
                actor.disarm_others(&runs).await;
            }
            for (ticket, plan) in tickets {
                let (actor, events) = (actor.clone(), events.clone());
                tokio::spawn(async move {
                    let outcome = actor.adopt(ticket, &plan).await;
                    let _ = events.send(Event::Ended(ticket, outcome)).await;
                });
            }
        });
    }
}
