//! The service watch: a unit that must run, and probes that say whether it serves.

use serde::{Deserialize, Serialize};

use crate::ask::{HttpQ, Picked};
use crate::id::{Str, UnitName, WatchId};
use crate::time::Ms;

/// `[service.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub unit: UnitName,
    /// Resync of the unit's state; signals come at once. Default 60 s.
    pub interval: Ms,
    pub http: Vec<HttpProbe>,
    /// A probe's "down" counts after this many runs (default 2) ...
    pub confirm_runs: u32,
    /// ... and this long (default 10 s).
    pub confirm_age: Ms,
    /// A start may take this long before a silent probe counts; once an episode. Default 30 s.
    pub start_grace: Ms,
    /// A clean stop that nobody explains is somebody's decision for this long. Default 30 min.
    pub respect_stop: Ms,
    /// In order of cost. Default: restart, notify.
    pub ladder: Vec<Step>,
}

/// One rung of a service's ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `restart`
    Restart,
    /// `reconcile:NAME`: the plan of `[baseline.NAME]`, with this service among what it heals.
    Reconcile(WatchId),
    /// `notify`: the end of the ladder; a person is told.
    Notify,
}

/// `[[service.NAME.probe.http]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpProbe {
    pub question: HttpQ,
    /// Default 10 s.
    pub every: Ms,
    /// Default 2 s.
    pub timeout: Ms,
    /// `expect.status`, default 200.
    pub status: u16,
    /// `expect.json`, one for each of the question's picks, in its order.
    pub json: Vec<Test>,
}

/// What a JSON pointer must name. Without a wildcard a pointer names one value or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// `= VALUE`: names exactly this. With a wildcard: some value is named, and all are this.
    Eq(Picked),
    Ne(Picked),
    Lt(f64),
    Gt(f64),
    Exists(bool),
    /// At least one is named and all are this.
    All(Picked),
    /// At least one is this.
    Any(Picked),
    /// An array or object of this many, or text of this many characters.
    Len(u64),
}

/// Why the assertion at `pointer` does not hold; none when it does.
pub fn unmet(_pointer: &str, _test: &Test, _picked: &[Picked]) -> Option<Str> {
    None
}
