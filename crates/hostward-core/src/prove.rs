//! Prove: only a fresh look ends a step. A call that returned, a job that is "done", an exit status of 0 prove nothing.

use crate::ask::{Active, Answer, Interpreter, Load, Look as Seeing, Mount, PathReading, Reading};
use crate::id::Str;
use crate::judge::Seen;
use crate::plan::{Check, Proof, Unless, Want};
use crate::planted::{Bug, planted};
use crate::time::{Ms, Now};
use crate::world::World;

/// After an act that did not end well, one look decides; this is how long it may take to come.
const ONE_LOOK: Ms = Ms::secs(30);

/// A proof under way.
#[derive(Clone, Debug)]
pub struct Proving {
    /// Looks asked for before this are no evidence.
    pub since: Now,
    /// When the act was made. What began between its intent and itself is not its doing.
    acted: Now,
    /// Boot time after which it is not proved.
    pub until: Ms,
    /// What the act itself said, when it did not say "ok": then one look decides.
    pub said: Option<Said>,
    passes: u32,
    passing_since: Option<Now>,
    last_failure: Option<Str>,
}

/// An act's own bad word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Failed(Str),
    /// A crash or a lost bus took the outcome with it.
    Lost(Str),
}

/// What a round of looks came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Some answers are still missing, or the next round is not due.
    Waiting,
    Proved,
    Unproved(Str),
}

/// One check in one round.
enum Look {
    Waiting,
    Pass,
    Fail(Str),
    /// No later look would say otherwise.
    Over(Str),
}

impl Proving {
    pub fn new(now: Now, acted: Now, proof: &Proof, said: Option<Said>) -> Self {
        let within = if said.is_some() { ONE_LOOK } else { proof.within };
        let until = now.up + within;
        Proving { since: now, acted, until, said, passes: 0, passing_since: None, last_failure: None }
    }

    /// Judges the looks since `self.since`. `answer(n)` is what came back for the n-th check, and when it was asked for.
    pub fn round<'a>(
        &mut self,
        world: &World,
        proof: &Proof,
        answer: impl Fn(usize) -> Option<(Now, &'a Answer)>,
    ) -> Round {
        let now = world.now;
        let mut failed = None;
        let mut waiting = false;
        for (n, check) in proof.checks.iter().enumerate() {
            match look(world, check, self.since, self.acted, answer(n)) {
                Look::Pass => {}
                Look::Waiting => waiting = true,
                Look::Fail(why) => failed = failed.or(Some(why)),
                Look::Over(why) => return Round::Unproved(why),
            }
        }
        // Of a return each unit counts: what came back beside the one that did not is told.
        if waiting && (failed.is_none() || is_return(proof)) {
            self.last_failure = failed.or(self.last_failure.take());
            return self.late(now);
        }
        match failed {
            None => {
                self.passes += 1;
                let passing_since = *self.passing_since.get_or_insert(self.since);
                let soaked = now.since(passing_since) >= proof.soak;
                if self.said.is_some() || self.passes >= proof.passes && soaked {
                    return Round::Proved;
                }
            }
            Some(why) => {
                if self.said.is_some() {
                    return Round::Unproved(why);
                }
                self.passes = 0;
                self.passing_since = None;
                self.last_failure = Some(why);
            }
        }
        self.since = now.plus(proof.every);
        self.late(now)
    }

    fn late(&self, now: Now) -> Round {
        if now.up < self.until {
            return Round::Waiting;
        }
        Round::Unproved(self.last_failure.clone().unwrap_or_else(|| "no look came in time".into()))
    }
}

/// What an act must not be made in the presence of. What could not be looked at says nothing.
pub fn speaks_against(unless: &Unless, answer: &Answer, now: Now) -> bool {
    answer.as_ref().is_ok_and(|reading| matches!(fact(unless.want, reading, now, now.boot), Look::Pass))
}

fn is_return(proof: &Proof) -> bool {
    proof.checks.iter().all(|check| matches!(check, Check::Fact(_, Want::Returned)))
}

fn look(world: &World, check: &Check, since: Now, acted: Now, answer: Option<(Now, &Answer)>) -> Look {
    match check {
        Check::Target(id) => {
            let Some(target) = world.target(id) else { return Look::Waiting };
            let mut worst = if target.aspects.is_empty() { Look::Waiting } else { Look::Pass };
            for aspect in target.aspects.values() {
                match &aspect.raw {
                    _ if !aspect.asked.not_before(since) => worst = Look::Waiting,
                    Some(Seen::Down(reason)) if aspect.raw_at.not_before(since) => {
                        return Look::Fail(reason.detail.clone());
                    }
                    Some(Seen::Up) if aspect.raw_at.not_before(since) => {}
                    // It was asked, and the look said nothing: the unit is between two states.
                    _ => {
                        return Look::Fail(
                            aspect.fault.as_ref().map_or("it is starting".into(), |f| f.to_string().into()),
                        );
                    }
                }
            }
            worst
        }
        Check::Fact(_, want) => match answer {
            Some((asked, answer)) if asked.not_before(since) => match answer {
                Ok(reading) => fact(*want, reading, acted, world.now.boot),
                Err(fault) => Look::Fail(fault.to_string().into()),
            },
            _ => Look::Waiting,
        },
    }
}

fn fact(want: Want, reading: &Reading, acted: Now, boot: u32) -> Look {
    match (want, reading) {
        (Want::StartedSince, Reading::Unit(unit)) => {
            // Across a reboot any start is later than the act.
            let since = if acted.boot == boot && !planted(Bug::TrueBefore) { acted.up } else { Ms(1) };
            if unit.running() && unit.main_started >= since && unit.job.is_none() {
                Look::Pass
            } else if unit.active == Active::Failed && unit.job.is_none() {
                // systemd starts it no more: what rests on it need not wait for the rest of its time.
                Look::Over(format!("it has failed: {}", unit.result).into())
            } else {
                Look::Fail(format!("it is {:?}, not started since the act", unit.active).to_lowercase().into())
            }
        }
        (Want::Stopped, Reading::Unit(unit)) => {
            let stopped = matches!(unit.active, Active::Inactive | Active::Failed) && unit.job.is_none();
            verdict(stopped, || format!("it is {:?}", unit.active).to_lowercase())
        }
        (Want::Returned, Reading::Unit(unit)) => {
            let theirs = matches!(unit.load, Load::Masked | Load::NotFound);
            verdict(theirs || unit.running() && unit.job.is_none(), || {
                format!("it is {:?}", unit.active).to_lowercase()
            })
        }
        (Want::Fenced | Want::NotFenced, Reading::Mount(mount)) => {
            let fenced = mount.as_ref().is_some_and(Mount::is_fence);
            verdict(fenced == (want == Want::Fenced), || {
                if fenced { "it is fenced" } else { "it is not fenced" }.into()
            })
        }
        (Want::NotMounted, Reading::Mount(mount)) => match mount {
            Some(mount) if !mount.is_fence() => Look::Fail(format!("{} is mounted there", mount.source).into()),
            _ => Look::Pass,
        },
        (Want::Freed | Want::Answers | Want::Bound, Reading::Paths(reading)) => {
            let failed = reading.paths.iter().find_map(|seen| stands(want, seen));
            failed.map_or(Look::Pass, |why| Look::Fail(why.into()))
        }
        #[cfg(feature = "toy")]
        (Want::NoDrift, Reading::Toy(toy)) => verdict(toy.broken.is_empty(), || "it is broken".into()),
        (Want::NoDrift, Reading::Python(python)) => match (&python.interpreter, python.unmet.first()) {
            (Interpreter::Version(_), None) => Look::Pass,
            (Interpreter::Version(_), Some(unmet)) => Look::Fail(unmet.to_string().into()),
            (Interpreter::Gone(why), _) => Look::Fail(why.clone()),
            (Interpreter::NoEnvironment, _) => Look::Fail("there is no environment".into()),
        },
        _ => Look::Fail("the answer is to another question".into()),
    }
}

/// What a path still lacks.
fn stands(want: Want, seen: &PathReading) -> Option<String> {
    let path = seen.path.display();
    match &seen.look {
        Seeing::Stuck { .. } => return Some(format!("{path} hangs")),
        Seeing::Unasked(fault) => return Some(fault.to_string()),
        Seeing::Failed { call, why, .. } if want != Want::Freed => return Some(format!("{path}: {call}: {why}")),
        Seeing::Failed { .. } | Seeing::Answered(_) => {}
    }
    let mounted = seen.on.as_ref().filter(|on| on.point == seen.path && !seen.fenced);
    match (want, mounted, &seen.bind) {
        (Want::Freed, ..) => None,
        (_, None, _) => Some(format!("nothing is mounted at {path}")),
        (Want::Bound, Some(on), Some(cold)) if !on.same(cold) => Some(format!("something else is mounted at {path}")),
        (Want::Bound, Some(_), Some(cold)) if cold.beneath(&seen.path) => {
            Some(format!("what is bound to {path} lies on the disk beneath it"))
        }
        _ => None,
    }
}

fn verdict(is: bool, why: impl FnOnce() -> String) -> Look {
    if is { Look::Pass } else { Look::Fail(why().into()) }
}

#[cfg(test)]
mod tests;
