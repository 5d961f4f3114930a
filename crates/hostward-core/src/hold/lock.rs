//! A foreign deploy lock over time: who holds it, and for how long, as far as looks can tell. A deploy ends within minutes;
//! a lock that is held for longer is said to be stale, and still respected (safety.md, "DeployInProgress").

use serde::{Deserialize, Serialize};

use crate::ask::LockState;
use crate::id::Str;
use crate::time::{Ms, Now};

/// After this long somebody should look at the process that is named.
const DEPLOY_LOCK_STALE: Ms = Ms::mins(30);

/// What the looks so far came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LockSeen {
    #[default]
    NotYet,
    /// Or none is declared.
    Free,
    Held(HeldLock),
}

/// A lock that is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    state: LockState,
    /// Boot time at which it was taken, as far as can be told.
    since: Ms,
}

/// The same, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// `held by flock -n /run/deploy.lock deploy (pid 4711)`, `cannot be read: ...`
    pub says: Str,
    pub pid: Option<u32>,
    pub command: Option<Str>,
    pub held_for: Ms,
    /// The condition `deploy_lock_stale`.
    pub stale: bool,
}

impl LockSeen {
    /// After one more look. A holder that was there at the first look of all may have held it for as long as it runs; any
    /// other took it since the look before.
    #[must_use]
    pub(crate) fn look(self, asked: Now, state: Option<&LockState>) -> LockSeen {
        let Some(state) = state.filter(|state| **state != LockState::Free) else { return LockSeen::Free };
        let since = match (self, state) {
            (LockSeen::Held(was), _) if was.is_held_by_the_same(state) => was.since,
            (LockSeen::NotYet, LockState::Held { age: Some(age), .. }) => asked.up.saturating_sub(*age),
            _ => asked.up,
        };
        LockSeen::Held(HeldLock { state: state.clone(), since })
    }

    pub(crate) fn held(&self) -> Option<&HeldLock> {
        match self {
            LockSeen::Held(lock) => Some(lock),
            LockSeen::NotYet | LockSeen::Free => None,
        }
    }
}

impl HeldLock {
    /// A holder that /proc did not name may be anybody, also the one before.
    fn is_held_by_the_same(&self, state: &LockState) -> bool {
        match (&self.state, state) {
            (LockState::Held { pid: Some(was), .. }, LockState::Held { pid: Some(is), .. }) => was == is,
            _ => true,
        }
    }

    /// Why nobody can tell whether it is held: then it counts as held.
    pub(crate) fn unreadable(&self) -> Option<&Str> {
        match &self.state {
            LockState::Unreadable(why) => Some(why),
            LockState::Held { .. } | LockState::Free => None,
        }
    }

    pub(crate) fn view(&self, now: Now) -> LockView {
        let (says, pid, command) = match &self.state {
            LockState::Held { pid: Some(pid), command: Some(command), .. } => {
                (format!("held by {command} (pid {pid})"), Some(*pid), Some(command.clone()))
            }
            LockState::Held { pid: Some(pid), command: None, .. } => (format!("held by pid {pid}"), Some(*pid), None),
            LockState::Held { pid: None, .. } | LockState::Free => ("held".to_owned(), None, None),
            LockState::Unreadable(why) => (format!("cannot be read: {why}"), None, None),
        };
        let held_for = now.up.saturating_sub(self.since);
        LockView { says: says.into(), pid, command, held_for, stale: held_for >= DEPLOY_LOCK_STALE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now { boot: 1, up: Ms::secs(secs), wall: Ms::hours(1) }
    }

    fn held(pid: u32, age_secs: u64) -> LockState {
        LockState::Held { pid: Some(pid), command: Some("deploy".into()), age: Some(Ms::secs(age_secs)) }
    }

    /// (when, what was seen), and for how long it is said to be held at the end.
    fn check(looks: &[(u64, LockState)], held_for_secs: Option<u64>) {
        let seen = looks.iter().fold(LockSeen::NotYet, |seen, (when, state)| seen.look(at(*when), Some(state)));
        let last = looks.last().map_or(0, |(when, _)| *when);
        assert_eq!(seen.held().map(|lock| lock.view(at(last)).held_for), held_for_secs.map(Ms::secs), "{looks:?}");
    }

    #[test]
    fn how_long_a_lock_is_held_is_counted_from_the_look_that_first_found_it() {
        let unknown = LockState::Held { pid: None, command: None, age: None };
        let unreadable = LockState::Unreadable("EACCES".into());
        check(&[(100, LockState::Free)], None);
        // Who held it before we first looked has done so for at most as long as it runs.
        check(&[(5000, held(7, 4000))], Some(4000));
        check(&[(5000, held(7, 4000)), (5030, held(7, 4030))], Some(4030));
        // A process that has run for days takes it now.
        check(&[(5000, LockState::Free), (5030, held(7, 4000)), (5090, held(7, 4060))], Some(60));
        // One deploy after the other is no lock that was forgotten.
        check(&[(5000, LockState::Free), (5030, held(7, 9)), (7000, held(8, 3))], Some(0));
        check(&[(5000, LockState::Free), (5030, held(7, 9)), (5060, LockState::Free)], None);
        // A holder that is not named takes nothing from what is known.
        check(&[(5000, held(7, 10)), (5030, unknown.clone()), (5060, held(7, 70))], Some(70));
        check(&[(5000, unknown), (6900, unreadable)], Some(1900));
    }

    #[test]
    fn it_is_stale_after_thirty_minutes_and_names_its_holder() {
        let lock = LockSeen::NotYet.look(at(3600), Some(&held(7, 0)));
        let view = |secs: u64| lock.held().map(|lock| lock.view(at(secs)));
        assert_eq!(view(3600 + 1799).map(|view| view.stale), Some(false));
        let stale = LockView {
            says: "held by deploy (pid 7)".into(),
            pid: Some(7),
            command: Some("deploy".into()),
            held_for: Ms::mins(30),
            stale: true,
        };
        assert_eq!(view(3600 + 1800), Some(stale));
    }

    #[test]
    fn a_lock_that_nobody_declares_is_free() {
        assert_eq!(LockSeen::NotYet.look(at(1), None), LockSeen::Free);
    }
}
