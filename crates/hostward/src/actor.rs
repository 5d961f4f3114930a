//! The one port through which anything is changed on this host.
//!
//! In-process for now. It trusts the brain as little as a separate root process would: a plan is checked again, against
//! this side's own copy of the policy, before each of its steps. Nothing else in Hostward calls a method of systemd that
//! starts, stops or restarts.

use std::sync::{Arc, PoisonError, RwLock};

use hostward_core::check;
use hostward_core::id::UnitName;
use hostward_core::plan::{Act, Plan};
use hostward_core::policy::Policy;
use hostward_core::run::{Outcome, Ticket};

use crate::bus::Bus;

#[derive(Clone, Debug)]
pub(crate) struct Actor {
    bus: Bus,
    policy: Arc<RwLock<Arc<Policy>>>,
}

impl Actor {
    pub(crate) fn new(bus: Bus, policy: Arc<Policy>) -> Actor {
        Actor { bus, policy: Arc::new(RwLock::new(policy)) }
    }

    pub(crate) fn adopt_policy(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// One step of one plan. Its word proves nothing; the brain looks afresh.
    pub(crate) async fn perform(&self, ticket: Ticket, plan: &Plan) -> Outcome {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        if let Err(flaw) = check::check(&policy, plan) {
            return Outcome::Failed(format!("refused by the actor: {flaw}").into());
        }
        let Some(step) = plan.steps.get(usize::from(ticket.step)) else {
            return Outcome::Failed("refused by the actor: the plan has no such step".into());
        };
        let systemd = match self.bus.link().await {
            Ok(systemd) => systemd,
            Err(fault) => return Outcome::Lost(fault.to_string().into()),
        };
        match &step.act {
            None => Outcome::Ok,
            Some(Act::Command(command)) => systemd.run_command(&ticket.unit(), command, step.deadline).await,
            Some(Act::Restart(unit)) => systemd.restart(unit, step.deadline).await,
        }
    }

    /// What became of a step that was begun before we started.
    pub(crate) async fn adopt(&self, ticket: Ticket, plan: &Plan) -> Outcome {
        let step = plan.steps.get(usize::from(ticket.step));
        let Some((Act::Command(_), deadline)) = step.and_then(|s| Some((s.act.as_ref()?, s.deadline))) else {
            return Outcome::Lost("the end of its job was not seen".into());
        };
        match self.bus.link().await {
            Ok(systemd) => match systemd.adopt(&ticket.unit(), deadline).await {
                Some(outcome) => outcome,
                None => Outcome::Lost(format!("no unit {} is left of it", ticket.unit()).into()),
            },
            Err(fault) => Outcome::Lost(fault.to_string().into()),
        }
    }

    /// Ends a step's unit, whatever it is doing, and forgets it.
    pub(crate) async fn release(&self, ticket: Ticket) {
        self.release_unit(&ticket.unit()).await;
    }

    /// Ends every step of ours that is not among `kept`: left behind by an engine that is no more.
    pub(crate) async fn release_others(&self, kept: &[Ticket]) {
        let kept: Vec<UnitName> = kept.iter().map(Ticket::unit).collect();
        let Ok(systemd) = self.bus.link().await else { return };
        for unit in systemd.list_steps().await.unwrap_or_default() {
            if !kept.contains(&unit) {
                self.release_unit(&unit).await;
            }
        }
    }

    async fn release_unit(&self, unit: &UnitName) {
        if let Ok(systemd) = self.bus.link().await {
            // A unit that cannot be forgotten costs a line in `systemctl --failed`, and the next start tries again.
            let _ = systemd.release(unit).await;
        }
    }
}
