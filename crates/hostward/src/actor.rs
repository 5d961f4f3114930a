//! The one port through which anything is changed on this host.
//!
//! In-process for now. It trusts the brain as little as a separate root process would: a plan is checked again, against
//! this side's own copy of the policy, before each of its steps. Nothing else in Hostward calls a method of systemd that
//! starts, stops or restarts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use hostward_core::check;
use hostward_core::id::{RunId, UnitName};
use hostward_core::plan::{Abort, Act, Arm, Plan, Stop};
use hostward_core::policy::Policy;
use hostward_core::run::{At, Outcome, Ticket};
use hostward_core::time::Ms;
use hostward_host::systemd::Systemd;
use hostward_host::{evidence, fuse};

use crate::bus::Bus;

#[derive(Clone, Debug)]
pub(crate) struct Actor {
    bus: Bus,
    policy: Arc<RwLock<Arc<Policy>>>,
    /// Where evidence is kept.
    evidence: PathBuf,
    whose: Whose,
}

/// Whose the steps and undos are that no run of ours knows.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// An engine's of this ledger before us: ours to end.
    Ours,
    /// The host's own engine's.
    Theirs,
}

/// The same program, also when the one on disk was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";

impl Actor {
    pub(crate) fn new(bus: Bus, policy: Arc<Policy>, evidence: PathBuf) -> Actor {
        Actor { bus, policy: Arc::new(RwLock::new(policy)), evidence, whose: Whose::Ours }
    }

    /// Of an engine with a ledger of its own, beside the host's: it ends nothing that it did not begin.
    pub(crate) fn beside(bus: Bus, policy: Arc<Policy>, evidence: PathBuf) -> Actor {
        Actor { whose: Whose::Theirs, ..Actor::new(bus, policy, evidence) }
    }

    pub(crate) fn adopt_policy(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// One act of one plan. Its word proves nothing; the brain looks afresh. What PID 1 is to undo is armed first: an act
    /// whose undo cannot be armed is not made.
    pub(crate) async fn perform(&self, ticket: Ticket, plan: &Plan, arm: Option<&Arm>) -> Outcome {
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        // A give-back is owed whatever the configuration says by now.
        if let (At::Go(_), Err(flaw)) = (ticket.at, check::check(&policy, plan)) {
            return Outcome::Failed(format!("refused by the actor: {flaw}").into());
        }
        let Some((act, deadline)) = ticket.act(plan) else {
            return Outcome::Failed("refused by the actor: the plan has no such act".into());
        };
        let systemd = match self.bus.link().await {
            Ok(systemd) => systemd,
            Err(fault) => return Outcome::Lost(fault.to_string().into()),
        };
        // A lost try may still be running: it ends before the next one begins.
        for tries in 1..ticket.tries {
            if let Err(fault) = systemd.end_step(&Ticket { tries, ..ticket }.unit()).await {
                return Outcome::Failed(format!("the try before this one does not end: {fault}").into());
            }
        }
        let armed = match arm {
            Some(arm) => systemd.arm(&arm.run.to_string(), &arm.owed, arm.after).await.map(drop),
            None => Ok(()),
        };
        // A give-back is itself the undo.
        if let (At::Go(_), Err(e)) = (ticket.at, armed) {
            return Outcome::Failed(format!("its undo could not be armed: {e}").into());
        }
        match act {
            Act::Command(command) => systemd.run_command(&ticket.unit(), command, deadline).await,
            Act::Restart(unit) => systemd.restart(unit, deadline).await,
            Act::Stop(stop) => self::stop(&systemd, stop, deadline).await,
            Act::Start(units) => worst(systemd.start_all(units, deadline).await),
            Act::Fence(path) => said(systemd.fence(path).await),
            Act::Unfence(path) => said(systemd.unfence(path).await),
            Act::Unmount(unmount) => said(systemd.unmount(unmount, deadline).await),
            Act::Bind(bind) => said(systemd.bind(bind, deadline).await),
            Act::Abort(abort) => self::abort(abort.clone(), deadline).await,
            Act::Launch(launch) => systemd.launch(launch, deadline).await,
            Act::Gather(gather) => {
                said(evidence::keep(Path::new(OURSELVES), &self.evidence, ticket.run, gather, deadline).await)
            }
        }
    }

    /// The run lives: PID 1 waits longer.
    pub(crate) async fn arm(&self, arm: &Arm) {
        if let Ok(systemd) = self.bus.link().await {
            // One that cannot be pushed fires early, and the run sees that what it stopped runs again.
            let _ = systemd.arm(&arm.run.to_string(), &arm.owed, arm.after).await;
        }
    }

    pub(crate) async fn disarm(&self, run: RunId) {
        if let Ok(systemd) = self.bus.link().await {
            // One that is left starts what runs already; the next start of ours drops it.
            let _ = systemd.disarm(&run.to_string()).await;
        }
    }

    /// Drops every undo but those of open runs: left behind by an engine that is no more.
    pub(crate) async fn disarm_others(&self, open: &[RunId]) {
        let Whose::Ours = self.whose else { return };
        let Ok(systemd) = self.bus.link().await else { return };
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        for undo in systemd.armed().await.unwrap_or_default() {
            if !open.iter().any(|run| **run == *undo.run) {
                let _ = systemd.disarm(&undo.run).await;
            }
        }
    }

    /// What became of a step that was begun before we started.
    pub(crate) async fn adopt(&self, ticket: Ticket, plan: &Plan) -> Outcome {
        let systemd = match self.bus.link().await {
            Ok(systemd) => systemd,
            Err(fault) => return Outcome::Lost(fault.to_string().into()),
        };
        let lost = |unit: &UnitName| Outcome::Lost(format!("no unit {unit} is left of it").into());
        match ticket.act(plan) {
            Some((Act::Command(_), deadline)) => {
                systemd.adopt(&ticket.unit(), deadline).await.unwrap_or_else(|| lost(&ticket.unit()))
            }
            // It runs beside us, whoever of us began it. One that has ended may have been begun, too.
            Some((Act::Launch(launch), _)) => match systemd.launched(&launch.unit).await {
                Ok(true) => Outcome::Ok,
                Ok(false) => lost(&launch.unit),
                Err(fault) => Outcome::Lost(fault.to_string().into()),
            },
            _ => Outcome::Lost("the end of its job was not seen".into()),
        }
    }

    /// Ends a step's unit, whatever it is doing, and forgets it.
    pub(crate) async fn release(&self, ticket: Ticket) {
        self.release_unit(&ticket.unit()).await;
    }

    /// Ends every step of ours that is not among `kept`: left behind by an engine that is no more.
    pub(crate) async fn release_others(&self, kept: &[Ticket]) {
        let Whose::Ours = self.whose else { return };
        let kept: Vec<UnitName> = kept.iter().map(Ticket::unit).collect();
        let Ok(systemd) = self.bus.link().await else { return };
        for unit in systemd.list_steps().await.unwrap_or_default() {
            if !kept.contains(&unit) {
                self.release_unit(&unit).await;
                // One that still ran has its end to come; whoever is to be adopted does not wait for that.
                let systemd = systemd.clone();
                tokio::spawn(async move { systemd.end_step(&unit).await });
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

/// Stops a unit, when no more goes down with it than the plan gives back.
async fn stop(systemd: &Systemd, stop: &Stop, deadline: Ms) -> Outcome {
    let closure = match systemd.closure(&stop.unit).await {
        Ok(closure) => closure,
        Err(e) => return Outcome::Failed(format!("refused by the actor: {e}").into()),
    };
    if let Some(woken) = &stop.wakes {
        match systemd.closure(woken).await {
            Ok(closure) if closure.wakers.contains(&stop.unit) => {}
            Ok(_) => return Outcome::Failed(format!("refused by the actor: {} starts no {woken}", stop.unit).into()),
            Err(e) => return Outcome::Failed(format!("refused by the actor: {e}").into()),
        }
    }
    let planned = |unit: &&UnitName| stop.closure.contains(unit);
    if let Some(more) = closure.members.iter().chain(&closure.one_way).find(|unit| !planned(unit)) {
        return Outcome::Failed(format!("refused by the actor: {more} would stop with {}", stop.unit).into());
    }
    systemd.take_down(&stop.unit, deadline).await.outcome
}

/// All that did not go well, in one word.
fn worst(outcomes: Vec<(UnitName, Outcome)>) -> Outcome {
    let mut failed = Vec::new();
    let mut lost = Vec::new();
    for (unit, outcome) in outcomes {
        match outcome {
            Outcome::Ok => {}
            Outcome::Failed(why) => failed.push(format!("{unit}: {why}")),
            Outcome::Lost(why) => lost.push(format!("{unit}: {why}")),
        }
    }
    match (failed.is_empty(), lost.is_empty()) {
        (true, true) => Outcome::Ok,
        (false, _) => Outcome::Failed(failed.join("; ").into()),
        (true, false) => Outcome::Lost(lost.join("; ").into()),
    }
}

/// On a thread: the kernel answers at once, or nobody can say when.
async fn abort(abort: Abort, deadline: Ms) -> Outcome {
    let written = tokio::task::spawn_blocking(move || fuse::abort(&abort));
    match tokio::time::timeout(deadline.into(), written).await {
        Ok(Ok(done)) => said(done),
        Ok(Err(e)) => Outcome::Lost(e.to_string().into()),
        Err(_) => Outcome::Lost("the kernel has not ended it yet".into()),
    }
}

/// With all that led to it.
fn said<E: std::error::Error>(done: Result<(), E>) -> Outcome {
    let Err(e) = done else { return Outcome::Ok };
    let causes = std::iter::successors(e.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    Outcome::Failed(std::iter::once(e.to_string()).chain(causes).collect::<String>().into())
}
