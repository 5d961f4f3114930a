//! Orders: a look or a whole cycle that somebody waits for.

use super::{Effect, Engine};
use crate::ask::AskKey;
use crate::command::{Command, OrderId, PAUSE_MAX, Reply};
use crate::hold::{Hold, Lift};
use crate::id::{Str, TargetId, WatchId};
use crate::judge::{Aspect, Target, Verdict};
use crate::ledger::{Body, Origin};
use crate::plan::Plan;
use crate::time::{Ms, Now};
use crate::watch::Memo;

/// A look that brings no answer ends here: the longest question's deadline and what comes after it.
const LOOK_PATIENCE: Ms = Ms::secs(40);

#[derive(Debug)]
pub(super) struct Order {
    id: OrderId,
    since: Now,
    until: Ms,
    /// Empty: all.
    scope: Vec<WatchId>,
    cycle: bool,
}

impl Order {
    pub(super) fn until(&self) -> Ms {
        self.until
    }
}

impl Engine {
    pub(super) fn order(&mut self, id: OrderId, command: Command) {
        let now = self.world.now;
        let (scope, patience, cycle) = match command {
            Command::View => return self.reply(id),
            Command::Clear { watch } => return self.clear(id, watch),
            Command::Pause { watch, span, reason } => return self.pause(id, watch, span, reason),
            Command::Resume { watch } => return self.resume(id, watch),
            Command::Apply { plan, patience } => return self.apply(id, plan, patience),
            Command::Look { watch: None } => {
                (self.world.policy.watches.keys().cloned().collect(), LOOK_PATIENCE, false)
            }
            Command::Look { watch: Some(watch) } => (vec![watch], LOOK_PATIENCE, false),
            Command::Cycle { watch, patience } => {
                let mut family = self.world.family(&watch);
                if family.is_empty() {
                    family.push(watch);
                }
                (family, patience, true)
            }
        };
        if let Some(asked) = scope.iter().find(|id| !self.world.policy.watches.contains_key(id)) {
            return self.no_such_watch(id, asked);
        }
        for watch in &scope {
            self.demand_watch(watch, now);
            self.demand(&AskKey::Gate(watch.clone()), now);
        }
        self.orders.push(Order { id, since: now, until: now.up + patience, scope, cycle });
    }

    fn clear(&mut self, id: OrderId, watch: Option<WatchId>) {
        if watch.is_none() && self.world.state.damaged.is_some() {
            self.record(Body::Cleared);
        }
        let meant = |of: &WatchId| watch.as_ref().is_none_or(|watch| watch == of);
        let state = &self.world.state;
        let frozen = state.stuck.iter().any(|stuck| meant(&stuck.watch));
        if frozen || state.runs.values().any(|run| run.stuck().is_some() && meant(&run.plan.watch)) {
            self.record(Body::Unstuck { watch });
        }
        self.reply(id);
    }

    fn pause(&mut self, id: OrderId, watch: Option<WatchId>, span: Ms, reason: Str) {
        if let Some(asked) = self.unknown(watch.as_ref()) {
            return self.no_such_watch(id, &asked);
        }
        if span == Ms::ZERO || span > PAUSE_MAX || reason.trim().is_empty() {
            let why = format!("a pause has a reason, and an end within {PAUSE_MAX}").into();
            self.out.push(Effect::Reply(id, Reply::Refused { why }));
            return;
        }
        self.record(Body::Paused { watch, span, reason });
        self.reply(id);
    }

    /// Also of a watch that is gone from the configuration: its pause is not.
    fn resume(&mut self, id: OrderId, watch: Option<WatchId>) {
        let paused = self.world.state.pauses.iter().any(|pause| pause.watch == watch);
        match self.unknown(watch.as_ref()) {
            Some(asked) if !paused => return self.no_such_watch(id, &asked),
            _ => {}
        }
        if paused {
            self.record(Body::Resumed { watch });
        }
        self.reply(id);
    }

    fn unknown(&self, watch: Option<&WatchId>) -> Option<WatchId> {
        watch.filter(|watch| !self.world.policy.watches.contains_key(watch)).cloned()
    }

    fn no_such_watch(&mut self, id: OrderId, asked: &WatchId) {
        let known = self.world.policy.watches.keys().cloned().collect();
        self.out.push(Effect::Reply(id, Reply::NoSuchWatch { asked: asked.clone(), known }));
    }

    fn reply(&mut self, id: OrderId) {
        let reply = Reply::View(Box::new(self.view()));
        self.out.push(Effect::Reply(id, reply));
    }

    pub(super) fn answer_orders(&mut self) {
        let done: Vec<usize> =
            (0..self.orders.len()).rev().filter(|n| self.orders.get(*n).is_some_and(|o| self.done(o))).collect();
        for n in done {
            let order = self.orders.remove(n);
            self.reply(order.id);
        }
    }

    fn done(&self, order: &Order) -> bool {
        let late = self.world.now.up >= order.until;
        if order.cycle {
            // Nobody but us would see it through: a process that ends leaves no run behind.
            // What it owes and cannot give back is left to PID 1's timer and to the next process.
            let alone =
                self.origin == Origin::Trigger && self.world.state.runs.values().any(|run| run.stuck().is_none());
            // A run that has begun is seen through: its steps have deadlines of their own.
            !alone && !self.running(&order.scope) && (late || self.looked(order) && !self.waiting(order))
        } else {
            late || self.looked(order)
        }
    }

    fn looked(&self, order: &Order) -> bool {
        self.looked_since(&order.scope, order.since)
    }

    /// Every question of these, and their gates, was asked at `since` or later and is answered, if only by a fault.
    pub(super) fn looked_since<'a>(&self, scope: impl IntoIterator<Item = &'a WatchId>, since: Now) -> bool {
        scope.into_iter().all(|id| {
            let probes = self.world.policy.watches.get(id).map_or(0, |watch| watch.spec.probes_count());
            (0..probes).all(|n| self.asks.since(&AskKey::Probe(id.clone(), n), since))
                && self.asks.since(&AskKey::Gate(id.clone()), since)
        })
    }

    fn running(&self, scope: &[WatchId]) -> bool {
        let healed = |plan: &Plan| plan.heals.iter().any(|heal| scope.contains(&heal.target.watch));
        self.world.state.runs.values().any(|run| run.stuck().is_none() && healed(&run.plan))
    }

    /// Something in scope is about to be decided before the order's time is over.
    fn waiting(&self, order: &Order) -> bool {
        order.scope.iter().any(|id| {
            let Some(live) = self.world.live.get(id) else { return false };
            let troubled = matches!(&live.memo, Memo::Service(memo) if memo.troubled(self.world.now));
            let recovering = live.targets.values().any(Target::recovering);
            let judged_down = live.targets.values().any(|t| t.verdict.down().is_some());
            let deciding =
                live.targets.keys().any(|key| self.deciding(&TargetId::new(id.clone(), key.clone()), order));
            // A unit between two states has no verdict yet; a probe that cannot be made may never have one, nor one of a
            // unit that is down.
            let unjudged = live.targets.values().any(|target| {
                let silent = |aspect: &Aspect| aspect.verdict == Verdict::Pending && aspect.fault.is_none();
                target.verdict.down().is_none() && target.aspects.values().any(silent)
            });
            deciding || recovering || unjudged || troubled && !judged_down
        })
    }

    /// All that holds it passes by itself in time.
    fn deciding(&self, target: &TargetId, order: &Order) -> bool {
        let Some(proposal) = self.world.propose(target) else { return false };
        proposal.plan.is_some()
            && proposal.holds.iter().all(|held| match (held.hold, &held.lift) {
                (Hold::Unsettled, _) | (_, Lift::Operator(_)) => false,
                (hold, Lift::At(at)) => hold.passing() && *at <= order.until,
                (hold, Lift::Fact(_)) => hold.passing() || hold == Hold::DependencyDown,
            })
    }
}
