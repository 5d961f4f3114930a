//! An account of each trouble that there is, from the ledger's fold and the world's own proposals.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Came, Event, Severity, Topic, Try};
use crate::hold::{Held, Lift, RELAPSE_WINDOW};
use crate::id::{RunId, Str, TargetId, WatchId};
use crate::judge::Verdict;
use crate::ledger::{Attempt, Brake, Settlement, State, Turn};
use crate::time::Now;
use crate::world::{Start, World};

/// A message names so many tries: the newest.
const TRIES_MAX: usize = 6;

/// What is to be said of one trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) event: Event,
    /// Whose trouble it is; none: the whole host's.
    pub(super) watch: Option<WatchId>,
    /// The cause among the targets of an incident.
    pub(super) cause: Option<TargetId>,
    /// All of them, the cause included.
    pub(super) targets: BTreeSet<TargetId>,
    pub(super) condition: Str,
    pub(super) reason: Str,
    pub(super) detail: Str,
    pub(super) since: Now,
    pub(super) dependents: BTreeSet<WatchId>,
    pub(super) needed_by: BTreeSet<WatchId>,
    pub(super) tries: Vec<Try>,
    #[serde(default)]
    pub(super) held: Vec<Held>,
    /// An operator knows of it.
    #[serde(default)]
    pub(super) paused: bool,
}

impl Account {
    pub(super) fn watches(&self) -> impl Iterator<Item = &WatchId> {
        self.watch.iter().chain(&self.dependents)
    }

    /// The same trouble, seen anew: it goes on since it began, and names everybody whom it ever took along.
    pub(super) fn follow(&mut self, newer: Account, state: &State) {
        let older = std::mem::replace(self, newer);
        self.since = older.since;
        self.targets.extend(older.targets);
        let cause = self.watch.clone();
        self.dependents
            .extend(older.dependents.into_iter().chain(older.watch).filter(|watch| Some(watch) != cause.as_ref()));
        self.tries = tries(state, &self.targets, self.since);
        self.event = if self.cause.is_some() { unless_held(&self.tries) } else { self.event };
        self.hold(older.held);
    }

    /// It is over; what was tried may still be under way.
    pub(super) fn settle(&mut self, world: &World) {
        if !self.targets.is_empty() {
            self.tries = tries(&world.state, &self.targets, self.since);
        }
        let watched = self.watch.as_ref().is_none_or(|watch| world.policy.watches.contains_key(watch));
        self.condition = match (watched, &self.cause) {
            (false, _) => "not_watched",
            (true, Some(_)) => "up",
            (true, None) => "over",
        }
        .into();
        self.held.clear();
    }

    pub(super) fn is_tried(&self) -> bool {
        self.tries.iter().any(|tried| tried.came_to == Came::UnderWay)
    }

    /// Now held by what only a person lifts, or not any more.
    pub(super) fn hold(&mut self, held: Vec<Held>) {
        let by_person = held.iter().any(|held| matches!(held.lift, Lift::Operator(_)));
        self.event = match self.event {
            Event::Down | Event::NotCleared | Event::Held if by_person => Event::Held,
            Event::Held => unless_held(&self.tries),
            other => other,
        };
        self.held = held;
    }

    pub(super) fn severity(&self) -> Severity {
        self.event.severity()
    }
}

/// Everything that is wrong, by the fold alone; what holds a remedy is asked for apart, for it costs more.
pub(super) fn all(world: &World) -> BTreeMap<Topic, Account> {
    let mut accounts: BTreeMap<Topic, Account> = incidents(world)
        .into_iter()
        .filter_map(|(n, members)| Some((Topic::Incident(n), incident(world, &members)?)))
        .collect();
    accounts.extend(undos(&world.state));
    if let Some((at, why)) = &world.state.damaged {
        accounts.insert(Topic::Ledger, whole_host(Event::LedgerDamaged, *at, why));
    }
    if let Start::Safe(count) = world.start {
        let at = world.state.abnormal_starts.back().copied().unwrap_or(world.now);
        let why = format!("{count} abnormal starts within ten minutes; nothing is begun");
        accounts.insert(Topic::SafeMode, whole_host(Event::SafeMode, at, &why.into()));
    }
    accounts
}

/// What holds the remedy of a target now, what an operator lifts first.
pub(super) fn holds(world: &World, target: &TargetId) -> Vec<Held> {
    let mut held = world.propose(target).map(|proposal| proposal.holds).unwrap_or_default();
    held.sort_by_key(|held| !matches!(held.lift, Lift::Operator(_)));
    held
}

/// What was tried of these since then, the newest last.
fn tries(state: &State, targets: &BTreeSet<TargetId>, since: Now) -> Vec<Try> {
    // One that had cleared it, and the clearing did not last, belongs to what came after it.
    let counts = |attempt: &&Attempt| {
        let relapsed = attempt.settled == Some(Settlement::Relapsed) && since.since(attempt.at) < RELAPSE_WINDOW;
        attempt.at.not_before(since) || relapsed
    };
    let brakes = targets.iter().filter_map(|target| state.targets.get(target));
    let tries: BTreeMap<RunId, Try> = brakes
        .flat_map(|brake| brake.attempts.iter().filter(counts).map(|attempt| (attempt.run, tried(attempt))))
        .collect();
    let left_out = tries.len().saturating_sub(TRIES_MAX);
    tries.into_values().skip(left_out).collect()
}

fn tried(attempt: &Attempt) -> Try {
    let came_to = match (attempt.settled, attempt.proved) {
        (Some(settlement), _) => Came::To(settlement),
        (None, Some(_)) => Came::Proved,
        (None, None) => Came::UnderWay,
    };
    Try { run: attempt.run, rung: attempt.rung.clone(), came_to }
}

fn unless_held(tries: &[Try]) -> Event {
    let failed = |tried: &Try| {
        matches!(tried.came_to, Came::To(Settlement::NotCleared | Settlement::Undone | Settlement::UndoFailed))
    };
    if tries.iter().any(failed) { Event::NotCleared } else { Event::Down }
}

type Members<'a> = Vec<(&'a TargetId, &'a Brake)>;

/// Open incidents of watches that are still declared.
fn incidents(world: &World) -> BTreeMap<u64, Members<'_>> {
    let mut incidents: BTreeMap<u64, Members<'_>> = BTreeMap::new();
    for (id, brake) in &world.state.targets {
        if let Some(n) = brake.incident.filter(|_| world.policy.watches.contains_key(&id.watch)) {
            incidents.entry(n).or_default().push((id, brake));
        }
    }
    incidents
}

fn incident(world: &World, members: &Members<'_>) -> Option<Account> {
    let fell = |brake: &Brake| brake.turn.as_ref().map(|(_, at)| *at);
    let blamed = |brake: &Brake| matches!(brake.turn, Some((Turn::Down { blame: Some(_), .. }, _)));
    let (cause, brake) = members.iter().min_by_key(|(_, brake)| (blamed(brake), fell(brake)))?;
    let since = members.iter().filter_map(|(_, brake)| fell(brake)).min().unwrap_or(world.now);
    let (reason, detail) = match &brake.turn {
        Some((Turn::Down { reason, detail, .. }, _)) => (reason.clone(), detail.clone()),
        Some((Turn::Unknown { fault }, _)) => ("unknown".into(), fault.clone()),
        _ => ("unknown".into(), "not looked at yet".into()),
    };
    let others = members.iter().map(|(id, _)| &id.watch).filter(|watch| **watch != cause.watch);
    let dependents: BTreeSet<WatchId> = others.cloned().collect();
    let needing = world.dependents(cause).into_iter().map(|id| id.watch);
    let needed_by = needing.filter(|watch| *watch != cause.watch && !dependents.contains(watch)).collect();
    let targets: BTreeSet<TargetId> = members.iter().map(|(id, _)| (*id).clone()).collect();
    let tries = tries(&world.state, &targets, since);
    Some(Account {
        event: unless_held(&tries),
        watch: Some(cause.watch.clone()),
        cause: Some((*cause).clone()),
        targets,
        condition: condition(world, cause),
        reason,
        detail,
        since,
        dependents,
        needed_by,
        tries,
        held: Vec::new(),
        paused: world.state.pauses_of(&cause.watch, world.now).next().is_some(),
    })
}

fn condition(world: &World, target: &TargetId) -> Str {
    match world.target(target).map(|target| &target.verdict) {
        Some(Verdict::Unknown(_)) => "unknown",
        // Whoever has just begun has not judged it yet: by the ledger it is down.
        _ => "down",
    }
    .into()
}

/// Undos that go on failing, and those that were given up.
fn undos(state: &State) -> BTreeMap<Topic, Account> {
    let failing = state.runs.iter().filter_map(|(id, run)| {
        let (step, why) = run.stuck()?;
        let detail = format!("run {id} cannot give back what step {} took: {why}; it goes on trying", step + 1);
        let watch = run.plan.watch.clone();
        Some((Topic::Undo(*id), undo(Event::UndoFailed, watch, detail, run.opened)))
    });
    let given_up = state.stuck.iter().map(|stuck| {
        let touches: Vec<String> = stuck.touches.iter().map(ToString::to_string).collect();
        let detail =
            format!("an undo of run {} was given up: {}; frozen: {}", stuck.run, stuck.why, touches.join(", "));
        (Topic::Undo(stuck.run), undo(Event::Stuck, stuck.watch.clone(), detail, stuck.at))
    });
    failing.chain(given_up).collect()
}

fn undo(event: Event, watch: WatchId, detail: String, since: Now) -> Account {
    Account { watch: Some(watch), ..whole_host(event, since, &detail.into()) }
}

fn whole_host(event: Event, since: Now, why: &Str) -> Account {
    Account {
        event,
        watch: None,
        cause: None,
        targets: BTreeSet::new(),
        condition: event.label().into(),
        reason: event.label().into(),
        detail: why.clone(),
        since,
        dependents: BTreeSet::new(),
        needed_by: BTreeSet::new(),
        tries: Vec::new(),
        held: Vec::new(),
        paused: false,
    }
}
