//! A scenario: a host, what is declared for it, and what goes wrong on it, as data.
//!
//! The same type is made from a seed, read from a file, shrunk and written beside a failure. Nothing else decides what
//! happens: two runs of one scenario are the same, byte for byte.

pub mod expect;
pub mod fault;
pub mod generate;
pub mod policy;
pub mod sweep;

use hostward_core::plan::OnCrash;
use hostward_core::policy::{Brakes, Budget, Mode};
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};

pub use expect::Expect;
pub use fault::{Fault, What, When};
pub use sweep::Sweep;

/// One whole story.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// Decides latencies and whatever else no fault names.
    #[serde(default)]
    pub seed: u64,
    /// How long things go wrong.
    pub trouble: Ms,
    /// How long the host may take afterwards to be well again, or held for a reason.
    #[serde(default = "calm")]
    pub calm: Ms,
    /// A process a minute or so, each going on from the last one's memory, instead of a daemon.
    #[serde(default)]
    pub timer: Option<Ms>,
    #[serde(default)]
    pub host: Host,
    #[serde(default)]
    pub apps: Vec<App>,
    #[serde(default)]
    pub envs: Vec<Env>,
    #[serde(default)]
    pub services: Vec<Service>,
    #[serde(default)]
    pub toys: Vec<Toy>,
    #[serde(default)]
    pub faults: Vec<Fault>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<Sweep>,
}

/// `[host]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    pub mode: Mode,
    pub settle: Ms,
    pub budget: Budget,
    /// How long one write takes to be durable.
    pub disk: Ms,
}

impl Default for Host {
    fn default() -> Self {
        let budget = Budget { cost: 12, per: Ms::hours(1) };
        Host { mode: Mode::Act, settle: Ms::secs(1), budget, disk: Ms(6) }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    #[serde(default)]
    pub lock: bool,
    #[serde(default)]
    pub sentinel: bool,
    /// An old actor that must be off.
    #[serde(default)]
    pub replaces: bool,
}

/// A Python environment, and the baseline that watches it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Env {
    pub name: String,
    pub app: String,
    #[serde(default)]
    pub sentinel: bool,
    #[serde(default = "act")]
    pub mode: Mode,
    #[serde(default)]
    pub any_drift: bool,
    /// Commands of the reconcile, in order; 0: none is declared.
    #[serde(default = "one")]
    pub commands: u32,
    /// How long each takes.
    #[serde(default = "command_takes")]
    pub takes: Ms,
    /// Services that stand still meanwhile.
    #[serde(default)]
    pub quiesce: Vec<String>,
    /// Services restarted afterwards when they are down.
    #[serde(default)]
    pub restart: Vec<String>,
    #[serde(default)]
    pub prove: Option<String>,
    #[serde(default)]
    pub reach: bool,
    #[serde(default)]
    pub brakes: Option<Brakes>,
}

/// A systemd unit, its process, its endpoint, and the watch on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    #[serde(default)]
    pub app: Option<String>,
    /// The environment that its process imports from: it ends at once when that lacks a package.
    #[serde(default)]
    pub imports: Option<String>,
    /// Requires= and After=.
    #[serde(default)]
    pub requires: Vec<String>,
    /// BindsTo= and After=.
    #[serde(default)]
    pub binds_to: Vec<String>,
    /// PartOf=.
    #[serde(default)]
    pub part_of: Vec<String>,
    /// RestartSec, with Restart=on-failure; none: Restart=no.
    #[serde(default)]
    pub restart: Option<Ms>,
    /// From the start of its process to its first answer.
    #[serde(default = "start_takes")]
    pub start: Ms,
    #[serde(default = "stop_takes")]
    pub stop: Ms,
    #[serde(default = "yes")]
    pub watched: bool,
    #[serde(default = "yes")]
    pub http: bool,
    #[serde(default)]
    pub sentinel: bool,
    #[serde(default = "act")]
    pub mode: Mode,
    /// `needs`, by the names of services.
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default = "ladder")]
    pub ladder: Vec<Rung>,
    #[serde(default)]
    pub brakes: Option<Brakes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    Restart,
    /// Of its app's environment.
    Reconcile,
    Notify,
}

/// Things that are mended while what holds them stands still.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toy {
    pub name: String,
    pub keys: u32,
    /// The service that must stand still.
    #[serde(default)]
    pub holder: Option<String>,
    #[serde(default)]
    pub sentinel: bool,
    #[serde(default = "act")]
    pub mode: Mode,
    #[serde(default = "toy_every")]
    pub interval: Ms,
    #[serde(default = "again")]
    pub crash: OnCrash,
    /// To replace one comes before mending it.
    #[serde(default)]
    pub replaces: bool,
    #[serde(default)]
    pub brakes: Option<Brakes>,
}

fn calm() -> Ms {
    Ms::hours(30)
}
fn act() -> Mode {
    Mode::Act
}
fn one() -> u32 {
    1
}
fn yes() -> bool {
    true
}
fn command_takes() -> Ms {
    Ms::secs(20)
}
fn start_takes() -> Ms {
    Ms(800)
}
fn stop_takes() -> Ms {
    Ms(200)
}
fn toy_every() -> Ms {
    Ms::secs(30)
}
fn again() -> OnCrash {
    OnCrash::Again
}
fn ladder() -> Vec<Rung> {
    vec![Rung::Restart, Rung::Reconcile, Rung::Notify]
}
