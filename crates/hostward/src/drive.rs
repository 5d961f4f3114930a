//! The loop's one step, shared by the daemon, the timer path and the verbs that only look: one event, one turn of the
//! engine, its effects performed.

use std::time::Duration;

use hostward_core::command::{Command, OrderId, Reply};
use hostward_core::engine::{Begin, Effect, Engine, Event};
use hostward_core::id::Str;
use hostward_core::ledger::Record;
use hostward_core::starvation::STARVED;
use hostward_core::time::{Ms, Now};
use hostward_core::view::View;
use hostward_core::world::World;
use hostward_host::ledger::Writer;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::durations::Durations;
use crate::edge::{Edge, Written};
use crate::spans::Spans;

/// The loop turns at least this often: the watchdog is fed by a turn and by nothing else.
const TURN_AT_LEAST: Duration = Duration::from_secs(15);

/// A disk that takes longer than this for one record is as good as none: fdatasync(2) took 50 ms at p99 under writers.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How late a sleep of ours ended. Begun afresh by each turn, so that our own work does not count.
async fn slept(span: Duration) -> Ms {
    let due = tokio::time::Instant::now() + span;
    tokio::time::sleep_until(due).await;
    Ms(u64::try_from(due.elapsed().as_millis()).unwrap_or(u64::MAX))
}

pub(crate) struct Drive {
    engine: Engine,
    clock: Clock,
    pub(crate) edge: Edge,
    events: mpsc::Receiver<Event>,
    written: watch::Receiver<Written>,
    orders: OrderId,
    spans: Spans,
}

impl Drive {
    /// Begins the engine and performs its first effects. `tell` hears of each record.
    pub(crate) fn begin(
        begin: Begin,
        clock: Clock,
        edge: Edge,
        events: mpsc::Receiver<Event>,
        written: watch::Receiver<Written>,
        tell: &mut dyn FnMut(&Record),
    ) -> Drive {
        let mut edge = edge;
        if let Some(recording) = &mut edge.recording {
            recording.begin(begin.clone(), true);
        }
        let spans = Spans::of(&begin.state);
        let (engine, effects) = Engine::new(begin);
        let mut drive = Drive { engine, clock, edge, events, written, orders: 0, spans };
        drive.perform(effects, tell);
        drive
    }

    /// The next event. Cancel-safe: nothing is taken from a queue before it is returned.
    pub(crate) async fn next(&mut self) -> Event {
        let now = self.clock.now();
        let wake: Duration = self.engine.next_wakeup().map_or(TURN_AT_LEAST, |at| at.saturating_sub(now.up).into());
        let waiting = self.edge.hands.as_ref().and_then(|hands| hands.ledger.oldest_waiting());
        let stalled = self.engine.world().ledger_bad.is_none().then(|| stall(waiting)).flatten();
        let wake = match stalled {
            Some(Stall::Said(why)) => return Event::LedgerBad(why),
            Some(Stall::In(span)) => wake.min(span),
            None => wake,
        };
        tokio::select! {
            biased;
            // Cancel-safe: `changed` marks the value as seen only when it completes.
            Ok(()) = self.written.changed() => {
                let written = self.written.borrow_and_update().clone();
                match written.bad {
                    Some(why) => Event::LedgerBad(why.into()),
                    None if self.engine.world().ledger_bad.is_some() => Event::LedgerGood,
                    None => Event::Durable(written.durable),
                }
            }
            // Cancel-safe by its documentation.
            Some(event) = self.events.recv() => event,
            late = slept(wake.min(TURN_AT_LEAST)) => {
                if late >= STARVED {
                    self.edge.measure(late);
                }
                Event::Wake
            }
        }
    }

    pub(crate) fn turn(&mut self, event: Event, tell: &mut dyn FnMut(&Record)) {
        let now = self.clock.now();
        let durable = matches!(event, Event::LedgerGood).then(|| self.written.borrow().durable);
        self.handle(now, event, tell);
        if let Some(durable) = durable {
            self.handle(now, Event::Durable(durable), tell);
        }
    }

    fn handle(&mut self, now: Now, event: Event, tell: &mut dyn FnMut(&Record)) {
        if let Some(recording) = &mut self.edge.recording {
            recording.event(now, &event, || self.engine.begin_here());
        }
        if let Event::Policy(policy) = &event {
            self.spans.keep(policy);
        }
        let effects = self.engine.handle(now, event);
        self.perform(effects, tell);
    }

    /// Gives an order; its reply comes through the channel.
    pub(crate) fn order(&mut self, command: Command, tell: &mut dyn FnMut(&Record)) -> oneshot::Receiver<Reply> {
        self.orders += 1;
        let id = self.orders;
        let (send, receive) = oneshot::channel();
        self.edge.replies.insert(id, send);
        self.turn(Event::Order(id, command), tell);
        receive
    }

    /// Turns until an order is answered.
    pub(crate) async fn until(&mut self, command: Command, tell: &mut dyn FnMut(&Record)) -> Option<Reply> {
        let mut reply = self.order(command, tell);
        loop {
            match reply.try_recv() {
                Ok(reply) => return Some(reply),
                Err(oneshot::error::TryRecvError::Closed) => return None,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let event = self.next().await;
            self.turn(event, tell);
        }
    }

    /// The engine's last words, on disk when this returns. The number of records that are not.
    pub(crate) fn stop(self, tell: &mut dyn FnMut(&Record)) -> usize {
        self.end(tell).map_or(0, Writer::close)
    }

    /// The engine's last words, on their way to the disk: closing the ledger waits for them.
    pub(crate) fn end(mut self, tell: &mut dyn FnMut(&Record)) -> Option<Writer> {
        let effects = self.engine.stop(self.clock.now());
        self.perform(effects, tell);
        self.edge.hands.map(|hands| hands.ledger)
    }

    pub(crate) fn view(&self) -> View {
        self.engine.view()
    }

    pub(crate) fn memory(&self) -> hostward_core::engine::Memory {
        self.engine.memory()
    }

    pub(crate) fn world(&self) -> &World {
        self.engine.world()
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// What is exported as histograms.
    pub(crate) fn durations(&self) -> [&Durations; 3] {
        [&self.edge.eyes.durations, &self.spans.detect, &self.spans.clear]
    }

    pub(crate) fn seq(&self) -> u64 {
        self.engine.world().state.seq
    }

    /// What is wrong with the ledger and holds nothing.
    pub(crate) fn ledger_problem(&self) -> Option<String> {
        self.written.borrow().not_rotated.as_ref().map(|why| format!("ledger: {why}; it grows beyond its limit"))
    }

    fn perform(&mut self, effects: Vec<Effect>, tell: &mut dyn FnMut(&Record)) {
        for effect in effects {
            if let Effect::Append(record) = &effect {
                tell(record);
                self.spans.note(record, |id| self.engine.world().target(id)?.fell());
            }
            self.edge.perform(effect);
        }
        // Here the state is the fold of exactly what was handed over.
        self.edge.rotate(&self.engine.world().state);
    }
}

/// A record that waits for the disk.
#[derive(Debug, PartialEq)]
enum Stall {
    /// Too long: nothing is to begin, for its intent would wait as well.
    Said(Str),
    /// Not yet: too long after this.
    In(Duration),
}

fn stall(waiting: Option<Duration>) -> Option<Stall> {
    let waited = waiting?;
    Some(match STALLED_AFTER.checked_sub(waited) {
        Some(left) if !left.is_zero() => Stall::In(left),
        _ => Stall::Said(format!("a record has waited {} s for the disk", waited.as_secs()).into()),
    })
}

/// Without a ledger everything counts as written at once: an engine without hands never acts on it.
pub(crate) fn always_written() -> watch::Receiver<Written> {
    let (_, get) = watch::channel(Written { durable: u64::MAX, ..Written::default() });
    get
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_waits_for_ten_seconds_is_said_and_one_that_has_just_begun_is_waited_for() {
        assert_eq!(stall(None), None);
        assert_eq!(stall(Some(Duration::from_secs(4))), Some(Stall::In(Duration::from_secs(6))));
        let said = |secs: u64| Some(Stall::Said(format!("a record has waited {secs} s for the disk").into()));
        assert_eq!(stall(Some(Duration::from_secs(10))), said(10));
        assert_eq!(stall(Some(Duration::from_millis(75_900))), said(75));
    }
}
