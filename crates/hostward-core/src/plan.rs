//! Plan: a remedy made concrete. The same object is printed, hashed, checked, recorded, sent to the actor and executed,
//! so that a dry run cannot differ from the act.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ask::{Mark, Question};
use crate::id::{Resource, RunId, Rung, Str, TargetId, UnitName, WatchId};
use crate::planted::{Bug, planted};
use crate::time::Ms;

/// What a restart costs of the host's budget.
pub const COST_RESTART: u32 = 1;
/// What taking a mount down to its base and making it anew costs of it.
pub const COST_REMOUNT: u32 = 3;
/// What rebuilding an environment costs of it.
pub const COST_RECONCILE: u32 = 5;

/// Content only; its execution is a run ([`crate::run`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose plan this is: its gate, mode and policy govern it.
    pub watch: WatchId,
    pub rung: Rung,
    /// What it is to cure. Each is charged under its own rung before the first act.
    pub heals: Vec<Heal>,
    /// What it touches: no other plan may touch these meanwhile, and nothing seen of them before counts afterwards.
    pub touches: Vec<Resource>,
    /// Its dearest act, in units of the host's budget.
    pub cost: u32,
    /// What it rests on. If any of these moves, no further step is taken.
    pub basis: Vec<Basis>,
    /// One sentence: why this, for what.
    pub why: Str,
    pub steps: Vec<Step>,
}

/// A target to be cured, and the rung of *its* ladder that this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heal {
    pub target: TargetId,
    pub rung: Rung,
    /// The code of what is wrong with it: a rung's worth is counted for each reason by itself.
    #[serde(default = "no_text", skip_serializing_if = "str::is_empty")]
    pub reason: Str,
    /// What of the target it is for, where that has parts: of a queue, the jobs that are started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<Str>,
    /// How far the target had come by then: what the remedy gained is told by the next one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u64>,
}

impl Heal {
    pub fn new(target: TargetId, rung: Rung, reason: impl Into<Str>) -> Heal {
        Heal { target, rung, reason: reason.into(), about: Vec::new(), mark: None }
    }
}

/// A fact that must still hold when a step begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    pub what: Str,
    pub value: Str,
}

impl Basis {
    /// The watch's own declaration, by its digest: every plan rests on it.
    pub(crate) fn policy(digest: &Str) -> Basis {
        Basis { what: "policy".into(), value: digest.clone() }
    }
}

/// One act and the fresh look that proves it; or, without an act, a wait for that look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub act: Option<Act>,
    /// If a fresh look says this, the plan is for a world that is no more: the run ends before the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Unless>,
    /// How long the act may take.
    pub deadline: Ms,
    /// Only this ends the step. None: the act is declared repeatable and its own outcome ends it; never on a plan's
    /// last step.
    pub proof: Option<Proof>,
    /// What to do when a crash lost the outcome and the look does not prove it.
    pub crash: OnCrash,
    /// How what it takes away is given back. Recorded with the plan, so before anything is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    #[serde(default, skip_serializing_if = "OnFail::is_unwind")]
    pub fail: OnFail,
}

/// What a step owes once it has begun. Exempt from every hold, cap, budget and sentinel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    pub when: When,
    pub act: Act,
    /// If a fresh look says this, it is owed no more. A look that does not come holds nothing up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Unless>,
    pub deadline: Ms,
    /// Facts only, never a watch's target: the watch may be gone from the configuration by then.
    pub proof: Proof,
    /// After this many failures of its own it is given up and the footprint frozen; 0: never, it is a debt.
    pub tries: u8,
}

impl Step {
    /// Its act and the looks at it, at most.
    pub(crate) fn lasts(&self) -> Ms {
        self.deadline + self.proof.as_ref().map_or(Ms::ZERO, |proof| proof.within)
    }
}

impl Back {
    /// The same of a give-back.
    pub(crate) fn lasts(&self) -> Ms {
        self.deadline + self.proof.within
    }
}

/// A fact in whose presence an act would do harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unless {
    pub question: Arc<Question>,
    pub want: Want,
}

/// When a step's [`Back`] falls due. What a run that failed still owes goes back in reverse order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At the end of the run, however it ended: a worker that was stopped is resumed.
    Last,
    /// As soon as this step has ended, and at the latest like `Last`.
    After(u16),
    /// Only when the run failed: a way back, or a fence around what could not be repaired.
    Failed,
    /// At the end of the run, unless this step was proved: a fence around what that step did not mend.
    Until(u16),
}

/// What a step that is not proved means for those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    #[default]
    Unwind,
    /// The step was a courtesy: the next one follows whatever it came to.
    GoOn,
}

impl OnFail {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
    fn is_unwind(&self) -> bool {
        *self == OnFail::Unwind
    }
}

/// The closed set of powers. A new one is a new variant here, in the checker and in the actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// One of the operator's declared commands, in a transient unit of its own.
    Command(Command),
    /// ResetFailedUnit, then RestartUnit: a loop or a start limit is left at once, and what Requires the unit comes back.
    Restart(UnitName),
    /// StopUnit, with what stops along. Refused when more would stop than is listed here.
    Stop(Stop),
    /// ResetFailedUnit and StartUnit for each, in this order; one that fails does not keep the others stopped.
    Start(Vec<UnitName>),
    /// A read-only tmpfs over a path that lost its storage: whoever writes there gets EROFS, not the root disk.
    Fence(PathBuf),
    /// Lifts our own fence, and nothing else that may be mounted there.
    Unfence(PathBuf),
    /// Ends a FUSE connection whose server answers nobody: whoever hangs on it gets an error, and its mounts are dead.
    /// Refused when more mounts share it than are listed here, or when it is not the one that was seen.
    Abort(Abort),
    /// Takes off the one mount at this very path that was seen there, and no other, and closes the path with a fence at once.
    Unmount(Unmount),
    /// Binds a folder to a path at which nothing is mounted, but for our own fence, which is lifted for it.
    Bind(Bind),
    /// Keeps what a person will want to know and a remedy destroys. Changes nothing.
    Gather(Gather),
    /// Begins something that outlives the plan, in a transient unit that is found again by its name.
    Launch(Launch),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub unit: UnitName,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// A path that hangs on it.
    pub path: PathBuf,
    /// `MAJOR:MINOR`.
    pub device: Str,
    /// Every mount point of that device.
    pub points: Vec<PathBuf>,
    /// What was seen at `path`. Of a plan that an older version made: nothing, and it is refused.
    #[serde(default)]
    pub was: Mark,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmount {
    pub path: PathBuf,
    /// Also while somebody has files open there, who then keeps them.
    pub lazy: bool,
    /// What was seen there. Of a plan that an older version made: nothing, and it is refused.
    #[serde(default)]
    pub was: Mark,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub cold: PathBuf,
    pub hot: PathBuf,
}

/// What is told of in an evidence bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// Who has files open below these.
    pub paths: Vec<PathBuf>,
    /// Their journals.
    pub units: Vec<UnitName>,
}

/// A unit that is stopped by us, and the units that systemd stops with it: its stop closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub unit: UnitName,
    /// RequiredBy, BoundBy, ConsistsOf, PropagatesStopTo, transitively; those that were active, in the order in which
    /// they are to be started again.
    pub closure: Vec<UnitName>,
    /// The unit for whose sake it is stopped, which it would start meanwhile. None: for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes: Option<UnitName>,
}

impl Stop {
    /// The unit that was declared to stand still.
    pub fn declared(&self) -> &UnitName {
        self.wakes.as_ref().unwrap_or(&self.unit)
    }

    /// Everything that it takes down, in the order of their return.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        let closure = if planted(Bug::ClosureForgotten) { &[][..] } else { &self.closure };
        std::iter::once(&self.unit).chain(closure)
    }
}

/// What PID 1 is to give back when nobody pushes this forward in time: our undo, should we be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    pub run: RunId,
    pub owed: Owed,
    pub after: Ms,
}

/// What a run has to give back: paths are closed, and then units started, whatever came of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// In the order of their return.
    pub units: Vec<UnitName>,
    /// Paths at which nothing is mounted by our doing. What is mounted there by then is left.
    pub fences: Vec<PathBuf>,
    /// Paths whose dead mount is being taken off: closed over what is still mounted, for that may go at any moment.
    pub covers: Vec<PathBuf>,
}

impl Owed {
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.fences.is_empty() && self.covers.is_empty()
    }
}

/// An argument vector; no shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub argv: Vec<Str>,
    pub user: Option<Str>,
    pub dir: Option<PathBuf>,
    /// `NAME=VALUE` lines: systemd.exec(5), EnvironmentFile=.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// Begin the step again, once.
    Again,
    /// End the forward steps and give back what is owed.
    #[serde(alias = "stop")]
    Unwind,
    /// Nobody can tell what it left: its whole footprint is frozen until an operator has looked.
    Stuck,
}

/// Checks that must hold in fresh looks, `passes` times `every` apart and for `soak`, all `within` the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub checks: Vec<Check>,
    pub passes: u32,
    pub every: Ms,
    pub within: Ms,
    pub soak: Ms,
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Every question of this target answers "up".
    Target(TargetId),
    Fact(Arc<Question>, Want),
}

/// What the answer must be. Each was false before the act it proves, or it would prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// The unit runs, and its main process began after the act did. "Is active" was true before.
    StartedSince,
    /// Interpreter present, every requirement met.
    NoDrift,
    /// The unit neither runs nor is about to.
    Stopped,
    /// The unit runs; or it was masked or removed meanwhile, and is not ours to start any more.
    Returned,
    /// Our fence is what is mounted there, or is not.
    Fenced,
    NotFenced,
    /// Nothing is mounted at the path, our fence aside.
    NotMounted,
    /// No look hangs there any more.
    Freed,
    /// It is a mount point, and it answers.
    Answers,
    /// The same, and it is the folder that is to be bound to it, which does not come from the disk beneath.
    Bound,
}

/// The first 12 hex digits of a plan's SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanHash(pub Str);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Plan {
    /// Over the plan's JSON, the form in which it is printed, recorded and sent.
    pub fn hash(&self) -> PlanHash {
        PlanHash(short_digest(self))
    }

    /// The watches whose gates and modes must permit it: its own, and those of what it heals.
    pub fn permitted_by(&self) -> BTreeSet<&WatchId> {
        self.heals.iter().map(|heal| &heal.target.watch).chain([&self.watch]).collect()
    }

    /// Some of what `other` touches, this one touches too.
    pub fn clashes(&self, other: &Plan) -> bool {
        self.touches.iter().any(|a| other.touches.iter().any(|b| a.clashes(b)))
    }
}

/// 12 hex digits of the SHA-256 over a value's JSON. Our own types always serialise; a failure hashes as empty text.
pub(crate) fn short_digest(value: &impl Serialize) -> Str {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(&json);
    let mut hex = String::with_capacity(12);
    for byte in digest.iter().take(6) {
        hex.extend([byte >> 4, byte & 15].map(|half| char::from_digit(u32::from(half), 16).unwrap_or('0')));
    }
    hex.into()
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Command(command) => {
                write!(f, "run `{}`", command.argv.join(" "))?;
                match &command.user {
                    Some(user) => write!(f, " as {user}"),
                    None => Ok(()),
                }
            }
            Act::Restart(unit) => write!(f, "restart {unit}"),
            Act::Stop(stop) => {
                write!(f, "stop {}", join(stop.units()))?;
                stop.wakes.as_ref().map_or(Ok(()), |unit| write!(f, ", which would start {unit}"))
            }
            Act::Start(units) => write!(f, "start {}", join(units.iter())),
            Act::Fence(path) => write!(f, "fence {}", path.display()),
            Act::Unfence(path) => write!(f, "lift the fence of {}", path.display()),
            Act::Abort(abort) => {
                let (device, points) = (&abort.device, abort.points.iter().map(|point| point.display().to_string()));
                write!(f, "abort the FUSE connection {device}, shared by {}", points.collect::<Vec<_>>().join(", "))
            }
            Act::Unmount(Unmount { path, lazy: false, .. }) => write!(f, "unmount {}", path.display()),
            Act::Unmount(Unmount { path, lazy: true, .. }) => write!(f, "unmount {}, lazily", path.display()),
            Act::Bind(bind) => write!(f, "bind {} to {}", bind.cold.display(), bind.hot.display()),
            Act::Gather(_) => f.write_str("keep the evidence"),
            Act::Launch(launch) => write!(f, "start `{}` as {}", launch.command.argv.join(" "), launch.unit),
        }
    }
}

fn join<'a>(units: impl Iterator<Item = &'a UnitName>) -> String {
    units.map(UnitName::as_str).collect::<Vec<_>>().join(", ")
}

fn no_text() -> Str {
    "".into()
}

impl fmt::Display for Unless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Check::Fact(Arc::clone(&self.question), self.want).fmt(f)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Target(target) if target.key.starts_with('/') => write!(f, "{} is up", target.key),
            Check::Target(target) => write!(f, "{} is up", target.watch),
            Check::Fact(question, want) => match (&**question, want) {
                (Question::Unit(unit), Want::StartedSince) => write!(f, "{unit} runs, started after the act"),
                (Question::Python(python), Want::NoDrift) => write!(f, "no drift in {}", python.venv.display()),
                (Question::Unit(unit), Want::Stopped) => write!(f, "{unit} is stopped"),
                (Question::Unit(unit), Want::Returned) => write!(f, "{unit} runs again"),
                (Question::Mount(path), Want::Fenced) => write!(f, "{} is fenced", path.display()),
                (Question::Mount(path), Want::NotFenced) => write!(f, "{} is not fenced", path.display()),
                (Question::Mount(path), Want::NotMounted) => write!(f, "nothing is mounted at {}", path.display()),
                (Question::Paths(q), want) => {
                    let paths: Vec<String> = q.paths.iter().map(|q| q.path.display().to_string()).collect();
                    let is = match want {
                        Want::Freed => "hangs nobody",
                        Want::Bound => "is bound and answers",
                        _ => "is mounted and answers",
                    };
                    write!(f, "{} {is}", paths.join(", "))
                }
                (question, want) => write!(f, "{want:?} of {question:?}"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
