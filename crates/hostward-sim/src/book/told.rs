//! What the engine was told by one question's answers, judged by the simulator for itself.

use hostward_core::ask::{Active, Answer, HttpReading, Interpreter, Load, Mount, Reading};
use hostward_core::plan::Want;
use hostward_core::time::{Ms, Now};

/// The answers to one question, the newest first of interest.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// When it was last asked, in real time.
    pub asked: Ms,
    /// The last answer that was no fault: asked when, said when, what.
    pub known: Option<(Ms, Ms, Reading)>,
    /// The last answer of all: asked when, a fault or not.
    pub last: Option<(Ms, bool)>,
    /// When the last answer that may mean "down" was asked for.
    pub down: Option<Ms>,
}

impl Told {
    pub(super) fn take(&mut self, real: Ms, _asked: Now, answer: &Answer) {
        self.last = Some((self.asked, answer.is_ok()));
        if let Ok(reading) = answer {
            if may_be_down(reading) {
                self.down = Some(self.asked);
            }
            self.known = Some((self.asked, real, reading.clone()));
        }
    }

    /// Asked for at `since` or later, it said so much.
    pub fn since(&self, since: Ms) -> Option<&Reading> {
        self.known.as_ref().filter(|(asked, ..)| *asked >= since).map(|(.., reading)| reading)
    }
}

/// Somebody could call this down: the simulator's own judgement, which is wide.
pub fn may_be_down(reading: &Reading) -> bool {
    match reading {
        Reading::Unit(unit) => {
            !unit.running() || unit.restarts > 0 || unit.load != Load::Loaded || unit.active == Active::Activating
        }
        Reading::Http(HttpReading::Answered(answer)) => answer.status != 200,
        Reading::Http(_) | Reading::Tcp(_) | Reading::Exec(_) => true,
        Reading::Python(python) => python.unmet_total > 0 || !matches!(python.interpreter, Interpreter::Version(_)),
        Reading::Toy(toy) => !toy.broken.is_empty() || !toy.fenced.is_empty(),
        Reading::Gate(_) | Reading::Closure(_) | Reading::Mount(_) | Reading::Paths(_) | Reading::Jobs(_) => false,
    }
}

/// The reading is what a proof wants. `began`: the boot time at which the act was performed; none: in another boot.
pub fn proves(want: Want, reading: &Reading, performed: Option<Ms>) -> bool {
    match (want, reading) {
        (Want::StartedSince, Reading::Unit(unit)) => {
            unit.running() && unit.job.is_none() && performed.is_none_or(|at| unit.main_started >= at)
        }
        (Want::NoDrift, Reading::Python(_) | Reading::Toy(_)) => match reading {
            Reading::Toy(toy) => toy.broken.is_empty(),
            _ => !may_be_down(reading),
        },
        (Want::Stopped, Reading::Unit(unit)) => {
            matches!(unit.active, Active::Inactive | Active::Failed) && unit.job.is_none()
        }
        (Want::Returned, Reading::Unit(unit)) => {
            unit.running() && unit.job.is_none() || matches!(unit.load, Load::Masked | Load::NotFound)
        }
        (Want::Fenced, Reading::Mount(mount)) => mount.as_ref().is_some_and(Mount::is_fence),
        (Want::NotFenced, Reading::Mount(mount)) => !mount.as_ref().is_some_and(Mount::is_fence),
        _ => false,
    }
}
