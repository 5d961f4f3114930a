//! What a named world demands of one watch, beside the laws that hold in every world.

use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};

/// `[[expect]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub watch: String,
    /// Plans that are opened to heal one of its targets, in the whole story: so many at least ...
    #[serde(default)]
    pub least: usize,
    /// ... and at most.
    #[serde(default = "any")]
    pub most: usize,
    /// Nothing of it is down for longer than this.
    #[serde(default)]
    pub down: Option<Ms>,
    /// While it is down, no longer than this passes without a try: to do nothing for ever is no safety.
    #[serde(default)]
    pub every: Option<Ms>,
    /// Well in the end, and not held by anybody's choice.
    #[serde(default)]
    pub up: bool,
}

fn any() -> usize {
    usize::MAX
}
