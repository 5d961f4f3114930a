//! View: what metrics, `status`, `explain` and `plan` read. One picture, made from the world in one go, so that no two of
//! them can disagree.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ask::{Active, LockState, Probe, Reading, SentinelState};
use crate::hold::{Held, Hold, Lift, LockView};
use crate::id::{AppName, RunId, Rung, Str, TargetId, UnitName, WatchId};
use crate::judge::{Reason, Seen, Target, Verdict};
use crate::ledger::{Efficacy, Pause, Settlement, Stuck, Tally};
use crate::plan::{Plan, PlanHash};
use crate::policy::{Mode, Watch};
use crate::run::OpenRun;
use crate::time::{Ms, Now};
use crate::watch::job::JobView;
use crate::watch::storage::Room;
use crate::watch::{Memo, Spec};
use crate::world::{Start, World};

/// Version of this shape in `--json`; it rises when a field changes meaning or goes.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    pub version: u32,
    pub at: Now,
    pub safe_mode: bool,
    /// The newest configuration was refused: why. The one before it is in force.
    pub config_error: Option<Str>,
    /// The engine came up on the last good configuration and only observes.
    pub observing_only: bool,
    pub ledger_seq: u64,
    pub ledger_bad: Option<Str>,
    pub ledger_damaged: Option<Str>,
    pub incidents_total: u64,
    pub budget_remaining: u32,
    pub watches: Vec<WatchView>,
    pub runs: Vec<RunView>,
    /// How late our own timers were of late; none on a host that is not starved.
    #[serde(default)]
    pub starved: Option<Ms>,
    /// Maintenance that is not over.
    #[serde(default)]
    pub pauses: Vec<Pause>,
    /// What no plan touches before an operator has looked.
    #[serde(default)]
    pub stuck: Vec<Stuck>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatchView {
    pub id: WatchId,
    pub app: Option<AppName>,
    pub mode: Mode,
    /// Every sentinel is there. None: not known.
    pub enabled: Option<bool>,
    /// A deploy lock is held or cannot be read. None: none is declared, or not known.
    pub deploy_lock_held: Option<bool>,
    /// Who holds it, and for how long. None: nobody.
    #[serde(default)]
    pub deploy_lock: Option<LockView>,
    pub compat: Option<Str>,
    pub targets: Vec<TargetView>,
    /// Every remedy that may be tried here.
    pub rungs: Vec<Rung>,
    /// Baselines: how many requirements are not met.
    pub drift_items: Option<u32>,
    /// Baselines: the commit of the tree.
    pub revision: Option<Str>,
    /// Watches that it cannot do without: declared, and as systemd says.
    #[serde(default)]
    pub needs: Vec<WatchId>,
    /// Needs that systemd knows of and that close a circle: they count for nothing.
    #[serde(default)]
    pub needs_cut: Vec<WatchId>,
    /// Units that a run of this watch stopped and that do not run again yet.
    #[serde(default)]
    pub stopped_by_us: Vec<UnitName>,
    #[serde(default)]
    pub paused: bool,
    /// A give-back goes on failing, or was given up: an operator should look.
    #[serde(default)]
    pub stuck: bool,
    /// When each run of the last day that was to heal something of it began.
    #[serde(default)]
    pub runs: Vec<(RunId, Now)>,
    /// Units that it rests on, as they were last seen: those that keep a storage watch's mounts, a job watch's worker.
    #[serde(default)]
    pub bases: Vec<(UnitName, Active)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetView {
    pub id: TargetId,
    /// The name of a part, which is told of and remedied by nothing: `component/db`. None: what the watch keeps.
    #[serde(default)]
    pub part: Option<Str>,
    pub verdict: Verdict,
    pub since: Now,
    /// The last answer that was no fault, whichever question's is the oldest.
    pub observed: Option<Now>,
    /// One line a question: what the last look said.
    pub looks: Vec<Look>,
    /// Seen down, not judged so yet.
    pub suspect: Option<Reason>,
    /// Of a disk: what is left of it.
    #[serde(default)]
    pub room: Option<Room>,
    /// Of a hot path: errno(3) of the call that failed at the last look; 0: none did. None: it did not come back.
    #[serde(default)]
    pub errno: Option<i32>,
    /// Of a job: how far it has come.
    #[serde(default)]
    pub job: Option<JobView>,
    /// Whose fault it is.
    pub blame: Option<TargetId>,
    pub incident: Option<u64>,
    /// What would be done, and its hash.
    pub plan: Option<(PlanHash, Plan)>,
    /// Everything that holds it.
    pub holds: Vec<Held>,
    pub attempts: BTreeMap<Rung, BTreeMap<Settlement, u64>>,
    pub last_attempt: Option<(RunId, Now, Option<Settlement>)>,
    /// By rung, incidents in which it would have been taken, had there been leave to act.
    #[serde(default)]
    pub would: BTreeMap<Rung, u64>,
    /// Times it came up again though nobody had tried anything, and how long that took.
    #[serde(default)]
    pub spontaneous: Tally,
    /// What each rung was worth against each reason.
    #[serde(default)]
    pub efficacy: Vec<Efficacy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Look {
    pub question: Str,
    pub said: Str,
    pub asked: Now,
    /// The beginning of the last answer, secrets masked.
    #[serde(default)]
    pub excerpt: Option<Str>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunView {
    pub id: RunId,
    pub hash: PlanHash,
    pub run: OpenRun,
}

impl View {
    pub fn of(world: &World) -> View {
        let budget = world.policy.host.budget;
        let spent: u32 = world.state.charged_within(world.now, budget.per).map(|(_, cost)| cost).sum();
        View {
            version: VERSION,
            at: world.now,
            safe_mode: matches!(world.start, Start::Safe(_)),
            config_error: world.config_error.clone(),
            observing_only: world.rejected.is_some(),
            ledger_seq: world.state.seq,
            ledger_bad: world.ledger_bad.clone(),
            ledger_damaged: world.state.damaged.as_ref().map(|(_, why)| why.clone()),
            incidents_total: world.state.incidents,
            budget_remaining: budget.cost.saturating_sub(spent),
            watches: world.policy.watches.iter().map(|(id, watch)| watch_view(world, id, watch)).collect(),
            runs: world
                .state
                .runs
                .iter()
                .map(|(id, run)| RunView { id: *id, hash: run.plan.hash(), run: run.clone() })
                .collect(),
            starved: world.starvation.starved(world.now).map(|(late, _)| late),
            pauses: world.state.pauses.iter().filter(|pause| !pause.over(world.now)).cloned().collect(),
            stuck: world.state.stuck.clone(),
        }
    }

    pub fn watch(&self, id: &WatchId) -> Option<&WatchView> {
        self.watches.iter().find(|watch| watch.id == *id)
    }
}

impl WatchView {
    /// The worst of what it keeps, its parts aside; none while nothing was judged.
    pub fn up(&self) -> Option<bool> {
        let verdicts = || self.targets.iter().filter(|target| target.part.is_none()).map(|target| &target.verdict);
        if verdicts().any(|v| v.down().is_some()) {
            return Some(false);
        }
        let all_up = verdicts().next().is_some() && verdicts().all(|v| *v == Verdict::Up);
        all_up.then_some(true)
    }

    pub fn unknown(&self) -> bool {
        let kept = self.targets.iter().filter(|target| target.part.is_none());
        kept.into_iter().any(|target| matches!(target.verdict, Verdict::Unknown(_)))
    }

    pub fn holds(&self, hold: Hold) -> bool {
        let kept = self.targets.iter().filter(|target| target.part.is_none());
        kept.into_iter().any(|target| target.holds.iter().any(|held| held.hold == hold))
    }
}

fn watch_view(world: &World, id: &WatchId, watch: &Watch) -> WatchView {
    let live = world.live.get(id);
    let gate = live.and_then(|live| live.gate.as_ref()).and_then(|(_, answer)| match answer {
        Ok(Reading::Gate(reading)) => Some(reading),
        _ => None,
    });
    let python = live.and_then(|live| match &live.memo {
        Memo::Baseline(memo) => memo.last.as_ref(),
        Memo::Service(_) | Memo::Storage(_) | Memo::Job(_) => None,
        #[cfg(feature = "toy")]
        Memo::Toy(_) => None,
    });
    let targets = live.map(|live| live.targets.iter().collect::<Vec<_>>()).unwrap_or_default();
    let probes = watch.spec.probes();
    WatchView {
        id: id.clone(),
        app: watch.app.clone(),
        mode: if world.rejected.is_some() { Mode::Observe } else { world.policy.mode(watch) },
        enabled: gate.map(|gate| gate.sentinels.iter().all(|s| *s == SentinelState::Present)),
        deploy_lock_held: gate.and_then(|gate| gate.lock.as_ref()).map(|lock| *lock != LockState::Free),
        deploy_lock: live.and_then(|live| live.lock.held()).map(|lock| lock.view(world.now)),
        compat: watch.compat.clone(),
        rungs: watch.spec.rungs(),
        drift_items: python.map(|reading| reading.unmet_total),
        revision: python.and_then(|reading| reading.revision.clone()),
        needs: world.graph.causes(id).cloned().collect(),
        needs_cut: world.graph.cut(id).cloned().collect(),
        stopped_by_us: of_runs(world, id).flat_map(OpenRun::not_back).collect(),
        paused: world.state.pauses_of(id, world.now).next().is_some(),
        stuck: of_runs(world, id).any(|run| run.stuck().is_some())
            || world.state.stuck.iter().any(|s| s.watch == *id),
        runs: runs_of_the_day(world, id),
        bases: live.map(|live| watch.spec.bases(live)).unwrap_or_default(),
        targets: targets
            .into_iter()
            .map(|(key, target)| {
                target_view(world, &watch.spec, &probes, TargetId::new(id.clone(), key.clone()), target)
            })
            .collect(),
    }
}

/// Each once, however many targets it was to heal.
fn runs_of_the_day(world: &World, id: &WatchId) -> Vec<(RunId, Now)> {
    let brakes = world.state.targets.iter().filter(|(target, _)| target.watch == *id).map(|(_, brake)| brake);
    let attempts = brakes.flat_map(|brake| &brake.attempts).map(|attempt| (attempt.run, attempt.at));
    let runs: BTreeMap<RunId, Now> = attempts.filter(|(_, at)| world.now.since(*at) < Ms::days(1)).collect();
    runs.into_iter().collect()
}

fn of_runs<'a>(world: &'a World, id: &'a WatchId) -> impl Iterator<Item = &'a OpenRun> + 'a {
    world.state.runs.values().filter(move |run| run.plan.watch == *id)
}

fn target_view(world: &World, spec: &Spec, probes: &[Probe], id: TargetId, target: &Target) -> TargetView {
    let proposal = world.propose(&id);
    let (plan, mut holds) = proposal.map(|p| (p.plan, p.holds)).unwrap_or_default();
    // What only a person lifts is what a person should read first.
    holds.sort_by_key(|held| !matches!(held.lift, Lift::Operator(_)));
    let brake = world.state.targets.get(&id);
    let excerpts = world.live.get(&id.watch).and_then(|live| match &live.memo {
        Memo::Service(memo) => Some(&memo.excerpts),
        Memo::Baseline(_) | Memo::Storage(_) | Memo::Job(_) => None,
        #[cfg(feature = "toy")]
        Memo::Toy(_) => None,
    });
    let room = world.live.get(&id.watch).and_then(|live| match &live.memo {
        Memo::Storage(memo) => memo.room(&id.key),
        _ => None,
    });
    let errno = world.live.get(&id.watch).and_then(|live| match &live.memo {
        Memo::Storage(memo) => memo.errno(&id.key),
        _ => None,
    });
    let job = world.live.get(&id.watch).and_then(|live| match &live.memo {
        Memo::Job(memo) => match spec {
            Spec::Job(spec) => memo.job(spec, &id.key, world.now),
            _ => None,
        },
        _ => None,
    });
    let looks = target.aspects.iter().filter_map(|(n, aspect)| {
        let probe = probes.get(usize::from(*n))?;
        let said = match (&aspect.fault, &aspect.raw) {
            (Some(fault), _) | (None, Some(Seen::Unknown(fault))) => format!("unknown: {fault}"),
            (None, Some(Seen::Up)) => "up".to_owned(),
            (None, Some(Seen::Down(reason))) => format!("down: {}", reason.detail),
            (None, None) => "says nothing yet".to_owned(),
        };
        let excerpt = excerpts.and_then(|excerpts| excerpts.get(n)).cloned();
        Some(Look { question: question(&probe.question), said: said.into(), asked: aspect.asked, excerpt })
    });
    TargetView {
        part: spec.is_part(&id.key).then(|| id.key.clone()),
        verdict: target.verdict.clone(),
        since: target.since,
        observed: target.aspects.values().map(|a| a.known).min(),
        looks: looks.collect(),
        suspect: target.suspect().cloned(),
        room,
        errno,
        job,
        blame: target.suspect().and_then(|_| world.blame(&id)),
        incident: brake.and_then(|brake| brake.incident),
        plan: plan.map(|plan| (plan.hash(), plan)),
        holds,
        attempts: brake.map(|brake| brake.totals.clone()).unwrap_or_default(),
        last_attempt: brake.and_then(|b| b.attempts.back()).map(|a| (a.run, a.at, a.settled)),
        would: brake.map(|brake| brake.would.clone()).unwrap_or_default(),
        spontaneous: brake.map(|brake| brake.spontaneous.clone()).unwrap_or_default(),
        efficacy: brake.map(|brake| brake.efficacy.clone()).unwrap_or_default(),
        id,
    }
}

/// A question, as a person would put it.
pub fn question(question: &crate::ask::Question) -> Str {
    use crate::ask::Question;
    match question {
        Question::Unit(unit) => format!("unit {unit}").into(),
        Question::Http(http) => format!("{} {}", http.method.label(), http.url).into(),
        Question::Tcp(tcp) => format!("connect to {}", tcp.at).into(),
        // Its arguments may hold what only its owner should see.
        Question::Exec(exec) => format!("run {}", exec.run.first().map_or("", |program| program)).into(),
        Question::Python(python) => format!("environment {}", python.venv.display()).into(),
        Question::Gate(_) => "gate".into(),
        Question::Closure(unit) => format!("what stops with {unit}").into(),
        Question::Mount(path) => format!("mount {}", path.display()).into(),
        Question::Paths(_) => "hot paths".into(),
        Question::Jobs(_) => "jobs".into(),
        #[cfg(feature = "toy")]
        Question::Toy(_) => "toy".into(),
    }
}

#[cfg(test)]
mod tests;
