//! Observe: the closed vocabulary of questions and answers.
//!
//! A question is asked at the edge with a deadline; its answer carries extracted facts, bounded in size, and no
//! judgement: what they mean is the core's to say, so that a recording can be judged again under another policy.

mod jobs;
mod paths;
mod serves;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Str, UnitName, WatchId};
use crate::time::Ms;

pub use jobs::{
    Effort, Folder, Found, JobReading, JobState, JobsQ, JobsReading, Listing, Measure, OutputQ, Place, Process,
    Provider, RunnerQ, RunnerReading, Source,
};
pub use paths::{
    Call, Connection, Look, ManifestQ, ManifestReading, Mark, On, PathQ, PathReading, PathsQ, PathsReading, Refused,
    Space, Write,
};
pub use serves::{
    ExecQ, ExecReading, Header, HttpAnswer, HttpQ, HttpReading, Method, Picked, Secret, TcpQ, TcpReading, TlsReading,
    Where, Worth,
};

/// One question about the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    Unit(UnitName),
    Http(HttpQ),
    Tcp(TcpQ),
    Exec(ExecQ),
    Python(PythonQ),
    Gate(GateQ),
    /// What stops when this unit is stopped.
    Closure(UnitName),
    /// What is mounted at this very path.
    Mount(PathBuf),
    Paths(PathsQ),
    Jobs(JobsQ),
    #[cfg(feature = "toy")]
    Toy(crate::watch::toy::ToyQ),
}

/// A Python environment, read natively, against what is declared for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PythonQ {
    /// The environment's root: the directory that holds `pyvenv.cfg`.
    pub venv: PathBuf,
    /// What must be installed. All of them count.
    pub wants: Vec<WantList>,
    /// The application's tree: its git index and top directory tell whether somebody is at work.
    pub tree: Option<PathBuf>,
}

/// Where requirements are read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WantList {
    /// `requirements*.txt`, `*.lock` in pip's format: pins, markers, `-r` and `-c` includes, hashes.
    Requirements(PathBuf),
    /// `uv.lock`: the closure of its root package for this interpreter's markers.
    UvLock(PathBuf),
    /// `pyproject.toml`: `project.dependencies`.
    Pyproject(PathBuf),
    /// Requirements written in the configuration (PEP 508).
    Inline(Vec<Str>),
}

/// Everything at the edge that may forbid an act, looked up in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GateQ {
    /// Files whose presence permits acting: all must be present, regular and root's.
    pub sentinels: Vec<PathBuf>,
    /// A foreign deploy script's flock.
    pub lock: Option<PathBuf>,
    /// Trees in which a running pip, uv, npm, poetry or git means that an operator is at work.
    pub trees: Vec<PathBuf>,
    /// Old actors that must be neither active nor enabled.
    pub replaces: Vec<UnitName>,
    /// Our textfile: another `.prom` beside it that carries `families` means that another actor still reports.
    pub textfile: Option<PathBuf>,
    /// Prefixes of family names that are ours alone.
    pub families: Vec<Str>,
    /// `reach`: `tcp:HOST:PORT` of what its remedies cannot do without.
    #[serde(default)]
    pub reach: Option<Str>,
}

/// What came back. A probe that could not be made is a [`Fault`], never a "down".
pub type Answer = Result<Reading, Fault>;

/// Extracted facts, one variant a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    Unit(Box<UnitReading>),
    Http(HttpReading),
    Tcp(TcpReading),
    Exec(ExecReading),
    Python(PythonReading),
    Gate(GateReading),
    Closure(ClosureReading),
    /// None: it is no mount point.
    Mount(Option<Mount>),
    Paths(Box<PathsReading>),
    Jobs(Box<JobsReading>),
    #[cfg(feature = "toy")]
    Toy(crate::watch::toy::ToyReading),
}

/// A unit's stop closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureReading {
    /// The unit itself is active: only then is there anything to stop, and to give back.
    pub active: bool,
    /// Those of its closure that are active, in the order in which they are to be started again.
    pub members: Vec<UnitName>,
    /// Those that no start brings back: scopes, transient units. With one of them the unit is not stopped.
    #[serde(default)]
    pub one_way: Vec<UnitName>,
    /// The longest chain of stop timeouts among all of them.
    pub stop_timeout: Ms,
    /// Active units that start it, or one of its members, again while it should be down, each with its own stop closure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wakers: Vec<(UnitName, ClosureReading)>,
}

/// The topmost mount of a path, as `/proc/self/mountinfo` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: Str,
    pub fstype: Str,
    pub read_only: bool,
}

impl Mount {
    /// The source under which our own fences are mounted.
    pub const FENCE: &str = "hostward-fence";

    pub fn is_fence(&self) -> bool {
        &*self.source == Mount::FENCE
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Not answered within the question's deadline. For HTTP a time-out of the *peer* is a reading, not this.
    #[error("no answer within the deadline")]
    Timeout,
    #[error("the system bus is away: {0}")]
    BusAway(Str),
    #[error("not permitted: {0}")]
    Denied(Str),
    /// We could not make sense of what we read.
    #[error("unreadable: {0}")]
    Unreadable(Str),
    /// Our own machinery failed: a child could not be started, a descriptor was not to be had.
    #[error("the probe itself failed: {0}")]
    Probe(Str),
    /// What was declared cannot be asked: a command that does not exist, a credential that is missing.
    #[error("a mistake in what was declared: {0}")]
    Config(Str),
}

impl Fault {
    /// The closed name that metrics use as a label.
    pub fn label(&self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::BusAway(_) => "bus_away",
            Fault::Denied(_) => "denied",
            Fault::Unreadable(_) => "unreadable",
            Fault::Probe(_) => "probe",
            Fault::Config(_) => "config",
        }
    }
}

/// org.freedesktop.systemd1.Unit.LoadState.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    Loaded,
    NotFound,
    Masked,
    /// `bad-setting` or `error`: systemd refuses the unit file.
    Bad,
}

/// org.freedesktop.systemd1.Unit.ActiveState.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Active {
    Active,
    Reloading,
    Inactive,
    Failed,
    Activating,
    Deactivating,
}

/// One unit, as `ListUnitsByNames` and one `GetAll` tell it.
#[expect(clippy::struct_excessive_bools, reason = "systemd's own properties, each independent of the others")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitReading {
    pub load: Load,
    pub active: Active,
    pub sub: Str,
    /// `success`, `exit-code`, `signal`, `start-limit-hit`, ... Empty for a unit that is no service.
    pub result: Str,
    /// NRestarts: automatic restarts since the last start by hand or reset-failed.
    pub restarts: u32,
    /// InvocationID in hex; empty when it never ran.
    pub invocation: Str,
    /// A job is queued for it: `start`, `restart`, ...
    pub job: Option<Str>,
    /// Something wants it running: it is enabled, or an installed unit wants, requires or binds it.
    pub wanted: bool,
    /// UnitFileState is `disabled`.
    pub disabled: bool,
    /// The Conditions of its last start were met.
    pub condition: bool,
    /// NeedDaemonReload: the unit file on disk is newer than what systemd runs.
    pub needs_reload: bool,
    /// RestartUSec, when Restart= is not `no`.
    pub restart_every: Option<Ms>,
    /// MainPID while it runs.
    pub main_pid: Option<u32>,
    /// ExecMainStartTimestampMonotonic, as boot time; zero: never.
    pub main_started: Ms,
    /// ExecMainExitTimestampMonotonic, as boot time; zero: never, or still running.
    pub main_exited: Ms,
    /// How the main process last ended: `exited 1`, `killed 9`; empty while unknown.
    pub main_end: Str,
    /// ActiveEnterTimestampMonotonic, as boot time; zero: never.
    pub active_since: Ms,
    /// InactiveExitTimestampMonotonic, as boot time: when its last start began.
    pub starting_since: Ms,
    /// TimeoutStopUSec.
    pub stop_timeout: Ms,
    /// Requires=, Requisite=, BindsTo=, and the mounts of RequiresMountsFor=, which systemd adds to Requires=. After= is
    /// order, and no need.
    #[serde(default)]
    pub needs: Vec<UnitName>,
    /// Processor time that the processes in its cgroup, and children of theirs that have ended, have had; none: not known.
    #[serde(default)]
    pub busy: Option<Ms>,
}

impl UnitReading {
    /// A service that has run since `started`, and of which nothing else is to be said.
    pub fn service(started: Ms) -> UnitReading {
        UnitReading {
            load: Load::Loaded,
            active: Active::Active,
            sub: "running".into(),
            result: "success".into(),
            restarts: 0,
            invocation: "1".into(),
            job: None,
            wanted: true,
            disabled: false,
            condition: true,
            needs_reload: false,
            restart_every: None,
            main_pid: Some(100),
            main_started: started,
            main_exited: Ms::ZERO,
            main_end: "".into(),
            active_since: started,
            starting_since: started,
            stop_timeout: Ms::secs(90),
            needs: Vec::new(),
            busy: None,
        }
    }

    pub fn running(&self) -> bool {
        matches!(self.active, Active::Active | Active::Reloading)
    }

    /// It ran and does not: its last end was clean, and no failed Condition explains it.
    pub fn stopped_cleanly(&self) -> bool {
        let clean = self.active == Active::Inactive && self.result.as_ref() == "success" && self.condition;
        clean && !self.invocation.is_empty()
    }
}

/// A Python environment beside its want-lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonReading {
    pub interpreter: Interpreter,
    /// Distributions found in site-packages.
    pub installed: u32,
    /// Requirements that apply here, their markers considered.
    pub required: u32,
    /// Those that are not met, in order of name; at most 100, `unmet_total` counts them all.
    pub unmet: Vec<Unmet>,
    pub unmet_total: u32,
    /// The newest modification among site-packages, the want-lists, the tree's top and its git index: wall clock.
    pub touched: Ms,
    /// Commit of the tree, when it is a git checkout.
    pub revision: Option<Str>,
    /// SHA-256 in hex over the want-lists' contents: what an environment would be rebuilt from.
    pub wants_digest: Str,
}

/// The environment's interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpreter {
    /// `3.11`, as the environment's own directories name it.
    Version(Str),
    /// `bin/python` leads nowhere: the system's Python was upgraded or removed. This is drift.
    Gone(Str),
    /// There is no environment: the directory or its `pyvenv.cfg` does not exist. This is drift.
    NoEnvironment,
}

/// A requirement that the environment does not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unmet {
    /// Normalised (PEP 503).
    pub name: Str,
    /// As required: `==1.2`, `>=0.115`; empty for any version.
    pub wanted: Str,
    /// The version that is installed; none: not installed.
    pub found: Option<Str>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            None => write!(f, "{}{} is not installed", self.name, self.wanted),
            Some(found) => write!(f, "{}{} is required, {found} is installed", self.name, self.wanted),
        }
    }
}

/// The state of everything that may forbid an act.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReading {
    /// In the question's order.
    pub sentinels: Vec<SentinelState>,
    /// None: no lock is declared.
    pub lock: Option<LockState>,
    pub operators: Vec<Operator>,
    pub system: SystemState,
    /// Those of `replaces` that are active or enabled.
    pub old_actors: Vec<UnitName>,
    /// Textfiles of others that carry our families; node_exporter would keep one of the two values.
    pub rivals: Vec<PathBuf>,
    /// Why `reach` does not answer; none: it does, or none is declared.
    #[serde(default)]
    pub unreachable: Option<Str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentinelState {
    Present,
    Absent,
    /// A directory, a link, a device: it permits nothing.
    NotAFile,
    /// Not owned by root, or writable by others: anybody could have made it.
    NotRoots,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockState {
    Free,
    Held {
        pid: Option<u32>,
        command: Option<Str>,
        /// How long its holder has run, at least.
        age: Option<Ms>,
    },
    /// EACCES, not a regular file, ...: counts as held, and is alerted.
    Unreadable(Str),
}

/// A process of somebody who is changing the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    pub pid: u32,
    /// `pip install -r requirements.lock`, at most 200 characters, its secrets masked.
    pub command: Str,
    /// How long it has run.
    #[serde(default)]
    pub age: Option<Ms>,
}

/// org.freedesktop.systemd1.Manager.SystemState.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemState {
    Starting,
    /// `running` or `degraded`.
    #[default]
    Running,
    Stopping,
    Maintenance,
}

/// How a watch asks one of its questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub question: Arc<Question>,
    pub pace: Pace,
    pub deadline: Ms,
}

/// How often a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// While all is well.
    pub every: Ms,
    /// While its last look was not "up".
    pub confirm_every: Ms,
}

/// Who asks. At most one question is under way for each key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKey {
    /// The n-th probe of a watch.
    Probe(WatchId, u16),
    /// What may forbid a watch to act.
    Gate(WatchId),
    /// The n-th check of the step that a run is proving.
    Proof(crate::id::RunId, u16),
}

impl AskKey {
    pub fn watch(&self) -> Option<&WatchId> {
        match self {
            AskKey::Probe(watch, _) | AskKey::Gate(watch) => Some(watch),
            AskKey::Proof(..) => None,
        }
    }
}
