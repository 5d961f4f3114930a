//! Time-outs on a starved host: the service's fault, or the host's?

use super::Memo;
use super::probe::Judged;
use crate::hold::{Held, Hold, Lift};
use crate::id::TargetId;
use crate::judge::Seen;
use crate::starvation::Starvation;
use crate::time::{Ms, Now};
use crate::world::World;

/// So long a time-out on a starved host is nobody's fault.
const STARVED_PATIENCE: Ms = Ms::mins(5);
/// Who had no processor time for so long, on a host that has some for us, does not wait for it.
const IDLE: Ms = Ms::secs(45);

impl Memo {
    /// A probe that ran out of time on a starved host says nothing of the service. It counts after five minutes without
    /// one answer, if our own listener does answer and the service does nothing at all: then it is not the host. One that
    /// gets processor time and is not done with it waits its turn as everybody else there does.
    pub(super) fn starved(
        &mut self,
        n: u16,
        asked: Now,
        timeout: Ms,
        judged: &Judged,
        starvation: &Starvation,
    ) -> bool {
        if judged.waited.is_none() {
            // A fault of our own is no answer.
            if !matches!(judged.service, Some(Seen::Unknown(_))) {
                self.answered.insert(n, asked);
                self.timed_out.remove(&n);
            }
            return false;
        }
        self.answered.entry(n).or_insert(asked);
        self.timed_out.insert(n, timeout);
        starvation.starved(asked).is_some() && self.patient(n, asked, starvation)
    }

    /// The time-outs of this probe may still be the host's own.
    pub(super) fn patient(&self, n: u16, now: Now, starvation: &Starvation) -> bool {
        let recent = self.answered.get(&n).is_none_or(|last| now.since(*last) < STARVED_PATIENCE);
        let host = |timeout: &Ms| recent || self.works() || !starvation.echoes(*timeout);
        self.timed_out.get(&n).is_some_and(host)
    }

    fn works(&self) -> bool {
        self.worked.is_some_and(|worked| self.last_at.since(worked) < IDLE)
    }

    /// A first figure tells nothing yet. One that falls does: a process has ended.
    pub(super) fn note_work(&mut self, now: Now, before: Option<Ms>, busy: Option<Ms>) {
        match (before, busy) {
            (Some(before), Some(busy)) if before == busy => {}
            (_, Some(_)) => self.worked = Some(now),
            (_, None) => self.worked = None,
        }
    }

    /// Starvation is measured a moment after it began: what was judged by time-outs alone until then is no evidence.
    pub(super) fn perhaps_ours(&self, world: &World, target: &TargetId) -> Option<Held> {
        let (late, until) = world.starvation.starved(world.now)?;
        let aspects = &world.target(target)?.aspects;
        let mut down = aspects.iter().filter(|(_, aspect)| matches!(aspect.raw, Some(Seen::Down(_)))).peekable();
        down.peek()?;
        down.all(|(n, _)| self.patient(*n, world.now, &world.starvation)).then(|| {
            let value = format!("only time-outs, and our own timers are {late} late");
            let threshold = format!("an answer, or none for {STARVED_PATIENCE} from one that does nothing at all");
            Held::new(Hold::Pressure, value, threshold, Lift::At(until))
        })
    }
}
