//! The engine's own life: it begins from what the disk kept, dies in the middle, is replaced, and orders are given to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hostward_core::command::{Command, OrderId, Reply};
use hostward_core::engine::{Begin, Engine, Event, Memory};
use hostward_core::id::WatchId;
use hostward_core::ledger::{Origin, State};
use hostward_core::time::Ms;

use super::{Due, Sim};
use crate::scenario::What;
use crate::scenario::fault::Tail;

/// The daemon writes its evidence down about as often as this.
const SAVE_EVERY: Ms = Ms::mins(5);

impl Sim {
    /// An engine begins, from what the disk kept.
    pub(super) fn begin(&mut self) {
        if self.engine.is_some() {
            return;
        }
        let (state, damaged) = self.open_ledger();
        let boot_id = self.host.clock.boot_id();
        self.boot = if state.boot_id == boot_id { state.boot } else { state.boot + 1 };
        self.shadow = state.clone();
        self.book.begin(self.real(), self.now(), &self.disk.records, damaged.is_some());
        // A one-minute process is no daemon: the next minute's is no abnormal start.
        self.book.safe &= self.scenario.timer.is_none();
        let rejected = self.host.active.any(|what| *what == What::BadConfig);
        let begin = Begin {
            now: self.now(),
            boot_id: boot_id.into(),
            policy: Arc::clone(&self.policy),
            rejected: rejected.then(|| "line 1: it does not load".into()),
            state,
            memory: if damaged.is_some() { Memory::default() } else { self.memory.clone() },
            damaged: damaged.map(Into::into),
            origin: if self.scenario.timer.is_some() { Origin::Trigger } else { Origin::Daemon },
        };
        self.trace.begin(&begin);
        self.coverage.starts += 1;
        match catch_unwind(AssertUnwindSafe(|| Engine::new(begin))) {
            Ok((engine, effects)) => {
                self.engine = Some(engine);
                self.remembered = true;
                let wanted = effects.len();
                self.perform(effects);
                self.turned("begin", wanted, true);
            }
            Err(panic) => self.panicked(&*panic),
        }
        if self.scenario.timer.is_some() && self.engine.is_some() {
            self.cycle();
        }
    }

    /// As `hostward`'s store does it: what does not fold is set aside, and evidence without a ledger means that the
    /// ledger was taken away.
    fn open_ledger(&mut self) -> (State, Option<&'static str>) {
        if self.disk.damaged {
            self.disk.set_aside();
            return (State::default(), Some("record 17: checksum"));
        }
        if self.disk.records.is_empty() && self.remembered {
            return (State::default(), Some("the ledger is gone"));
        }
        let state = self.disk.fold().unwrap_or_else(|bad| {
            self.blame("refold_equals_state", format!("what was written does not fold: {bad}"));
            State::default()
        });
        (state, None)
    }

    /// SIGKILL: no last word.
    pub(super) fn die(&mut self, tail: Tail) {
        if self.engine.take().is_none() {
            return;
        }
        let full = self.host.active.any(|what| *what == What::DiskFull);
        let kept = self.disk.die(tail, full);
        self.buried(kept);
        self.host.orphan();
    }

    fn buried(&mut self, kept: usize) {
        self.life += 1;
        self.muted.clear();
        self.book.began = self.real();
        self.orders.clear();
        self.trace.dies();
        let last = kept.checked_sub(1).and_then(|n| self.disk.records.get(n)).map_or(0, |record| record.seq);
        self.book.die(last);
    }

    pub(super) fn crash(&mut self, tail: Tail, down: Ms) {
        self.die(tail);
        self.later(down, |life| Due::Begin { life });
    }

    /// It says its last word, which the disk takes, and another one begins.
    pub(super) fn replace(&mut self, down: Ms) {
        let now = self.now();
        if let Some(engine) = &mut self.engine {
            self.memory = engine.memory();
            let effects = engine.stop(now);
            self.perform(effects);
            // `Writer::close` waits for the disk, once.
            if !self.host.active.any(|what| *what == What::DiskFull) {
                self.disk.writing = Some(self.disk.records.len());
            }
        }
        self.crash(Tail::Kept, down);
    }

    /// An operator restarts the daemon.
    pub(crate) fn restart_engine(&mut self) {
        self.replace(Ms::secs(1));
    }

    pub(super) fn reboot(&mut self, down: Ms, power_cut: bool) {
        if self.engine.take().is_some() {
            let full = self.host.active.any(|what| *what == What::DiskFull);
            let kept = if power_cut { self.disk.power_cut() } else { self.disk.die(Tail::Kept, full) };
            self.buried(kept);
        } else if power_cut {
            let kept = self.disk.power_cut();
            self.buried(kept);
        } else {
            self.life += 1;
        }
        if self.book.jumped {
            self.book.doubt = Some(self.real());
        }
        self.host.reboot();
        self.later(down, |life| Due::Begin { life });
    }

    /// Evidence is written down now and then.
    pub(crate) fn save_memory(&mut self) {
        let real = self.real();
        if self.book.saved.is_none_or(|at| real.saturating_sub(at) >= SAVE_EVERY)
            && let Some(engine) = &self.engine
        {
            self.memory = engine.memory();
            self.book.saved = Some(real);
        }
    }

    pub(crate) fn order(&mut self, command: Command) -> OrderId {
        self.order_ids += 1;
        let id = self.order_ids;
        if self.engine.is_some() {
            self.orders.insert(id, self.real());
            self.tell(Event::Order(id, command));
        }
        id
    }

    /// One of the one-minute processes: a whole cycle of every watch.
    fn cycle(&mut self) {
        let watch = self.policy.watches.keys().next().cloned().unwrap_or_else(|| WatchId::new("service.none"));
        let nth = usize::try_from(self.order_ids).unwrap_or(0) % self.policy.watches.len().max(1);
        let watch = self.policy.watches.keys().nth(nth).cloned().unwrap_or(watch);
        self.order(Command::Cycle { watch, patience: Ms::mins(2) });
    }

    pub(super) fn replied(&mut self, id: OrderId, reply: &Reply) {
        self.orders.remove(&id);
        self.coverage.reply(reply);
        if self.scenario.timer.is_some() && self.orders.is_empty() {
            self.later(Ms(1), |life| Due::Timer { life });
        }
    }

    /// A one-minute process ends; the next one comes at its time.
    pub(super) fn timer(&mut self) {
        let every = self.scenario.timer.unwrap_or(Ms::mins(1));
        self.replace(every);
    }
}
