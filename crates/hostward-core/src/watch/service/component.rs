//! Components: what a deep health body says of the parts that a service is made of, or rests on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::probe::unread;
use crate::ask::{Fault, HttpAnswer, Picked};
use crate::expect;
use crate::id::{Str, WatchId};
use crate::judge::{Code, Reason, Seen};

/// `components` of an HTTP probe: where they are in the body, and what their states mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    /// States that are well. Default `["ok"]`.
    pub ok: Vec<Picked>,
    /// States that mean that nobody has set it up: a mistake in the configuration of the service, which no restart mends.
    /// Default `["not_configured"]`.
    pub not_configured: Vec<Picked>,
    /// Those without which the service is down itself. Default: none.
    pub restart_on: BTreeSet<Str>,
    /// The watches whose fault a component's state is.
    pub causes: BTreeMap<Str, WatchId>,
}

/// Names of the targets that components are begin with it.
const PREFIX: &str = "component/";

/// The component that a target's key names.
pub(super) fn named(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

impl Components {
    /// What the body says of each, and of those that it should name and does not.
    pub(super) fn read(&self, answer: &HttpAnswer) -> Vec<(Str, Seen)> {
        let key = |name: &str| Str::from(format!("{PREFIX}{name}"));
        if answer.components.is_empty() {
            let why = if answer.cut { "the body is longer than was read" } else { "the body names no component" };
            return vec![(key("*"), Seen::Unknown(Fault::Config(why.into())))];
        }
        let mut parts: Vec<(Str, Seen)> =
            answer.components.iter().map(|(name, state)| (key(name), self.judge(name, state))).collect();
        let named = |name: &&Str| answer.components.iter().any(|(known, _)| known == *name);
        let expected: BTreeSet<&Str> = self.restart_on.iter().chain(self.causes.keys()).collect();
        let missing = expected.into_iter().filter(|name| !named(name));
        parts.extend(missing.map(|name| (key(name), unread("the body does not name it"))));
        if answer.components_left > 0 {
            let why = format!(
                "{} more are not looked at: 64 are, with names of letters, digits and _.-",
                answer.components_left
            );
            parts.push((key("*"), unread(&why)));
        }
        parts
    }

    /// A component without which the service is down.
    pub(super) fn restart(&self, answer: &HttpAnswer) -> Option<Reason> {
        let needed = answer.components.iter().filter(|(name, _)| self.restart_on.contains(name));
        needed.map(|(name, state)| self.judge(name, state)).find_map(|seen| match seen {
            Seen::Down(reason) if reason.code == Code::Component => Some(reason),
            _ => None,
        })
    }

    fn judge(&self, name: &str, state: &Picked) -> Seen {
        let is_one_of = |states: &[Picked]| states.iter().any(|known| expect::equal(state, known));
        if is_one_of(&self.ok) {
            return Seen::Up;
        }
        let code = if is_one_of(&self.not_configured) { Code::Config } else { Code::Component };
        Seen::Down(Reason::new(code, format!("component {name} is {state}")))
    }
}
