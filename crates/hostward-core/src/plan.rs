//! Plan: a remedy made concrete. The same object is printed, hashed, checked, recorded, sent to the actor and executed,
//! so that a dry run cannot differ from the act.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ask::Question;
use crate::id::{Resource, Rung, Str, TargetId, UnitName, WatchId};
use crate::time::Ms;

/// What a restart costs of the host's budget.
pub const COST_RESTART: u32 = 1;
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
}

/// A fact that must still hold when a step begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    pub what: Str,
    pub value: Str,
}

/// One act and the fresh look that proves it; or, without an act, a wait for that look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub act: Option<Act>,
    /// How long the act may take.
    pub deadline: Ms,
    /// Only this ends the step. None: the act is declared repeatable and its own outcome ends it; never on a plan's
    /// last step.
    pub proof: Option<Proof>,
    /// What to do when a crash lost the outcome and the look does not prove it.
    pub crash: OnCrash,
}

/// The closed set of powers. A new one is a new variant here, in the checker and in the actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// One of the operator's declared commands, in a transient unit of its own.
    Command(Command),
    /// ResetFailedUnit, then RestartUnit: a loop or a start limit is left at once, and what Requires the unit comes back.
    Restart(UnitName),
}

/// An argument vector; no shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub argv: Vec<Str>,
    pub user: Option<Str>,
    pub dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// Begin the step again, once.
    Again,
    /// End the run; nothing was taken that must be given back.
    Stop,
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
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Target(target) => write!(f, "{} is up", target.watch),
            Check::Fact(question, want) => match (&**question, want) {
                (Question::Unit(unit), Want::StartedSince) => write!(f, "{unit} runs, started after the act"),
                (Question::Python(python), Want::NoDrift) => write!(f, "no drift in {}", python.venv.display()),
                (question, want) => write!(f, "{want:?} of {question:?}"),
            },
        }
    }
}
