//! Shrinking: of a story that breaks a law, what the breach does not need is left out.

use hostward_core::time::Ms;

use crate::law::{Breach, Laws};
use crate::run::{Outcome, play};
use crate::scenario::Scenario;
use crate::trace::Trace;

/// Plays at most so many stories for it.
const TRIES: u32 = 400;

/// A smaller story may break its law later than the whole one; it is played for this much longer.
const LATER: Ms = Ms::hours(1);

/// The smallest story found that breaks the same law.
pub fn shrink(scenario: &Scenario, breach: &Breach) -> Scenario {
    // What is expected of a named world is expected of all of it.
    if !scenario.expect.is_empty() {
        return scenario.clone();
    }
    let mut shrinking = Shrinking { best: scenario.clone(), law: breach.law, last: breach.real + LATER, tries: 0 };
    loop {
        let before = size(&shrinking.best);
        shrinking.faults();
        shrinking.parts();
        shrinking.time();
        if size(&shrinking.best) == before || shrinking.tries >= TRIES {
            return shrinking.best;
        }
    }
}

fn size(scenario: &Scenario) -> (usize, usize, u64) {
    let parts = scenario.services.len() + scenario.envs.len() + scenario.toys.len() + scenario.apps.len();
    (scenario.faults.len(), parts, scenario.trouble.0)
}

struct Shrinking {
    best: Scenario,
    law: &'static str,
    /// No story is played past this, unless its law is about the end.
    last: Ms,
    tries: u32,
}

impl Shrinking {
    /// Takes the smaller story when it still breaks the law.
    fn accept(&mut self, smaller: Scenario) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let mut played = smaller.clone();
        if self.law != "all_is_well_in_the_end" {
            played.calm = played.calm.min(self.last.saturating_sub(played.trouble));
        }
        let Outcome { breach, .. } = play(&played, Laws { only: Some(self.law) }, Trace::Off);
        let still = breach.is_some_and(|breach| breach.law == self.law);
        if still {
            self.best = smaller;
        }
        still
    }

    fn faults(&mut self) {
        let mut chunk = self.best.faults.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut smaller = self.best.clone();
                smaller.faults.drain(at..(at + chunk).min(smaller.faults.len()));
                if !self.accept(smaller) {
                    at += chunk;
                }
            }
            if chunk == 1 {
                return;
            }
            chunk /= 2;
        }
    }

    /// Services, environments, toys that nothing refers to.
    fn parts(&mut self) {
        for n in (0..self.best.services.len()).rev() {
            let mut smaller = self.best.clone();
            let gone = smaller.services.remove(n).name;
            for service in &mut smaller.services {
                for names in [&mut service.requires, &mut service.binds_to, &mut service.part_of, &mut service.needs]
                {
                    names.retain(|name| *name != gone);
                }
            }
            for env in &mut smaller.envs {
                env.quiesce.retain(|name| *name != gone);
                env.restart.retain(|name| *name != gone);
                env.prove = env.prove.take().filter(|name| *name != gone);
            }
            for toy in &mut smaller.toys {
                toy.holder = toy.holder.take().filter(|name| *name != gone);
            }
            self.accept(smaller);
        }
        for n in (0..self.best.envs.len()).rev() {
            let mut smaller = self.best.clone();
            let gone = smaller.envs.remove(n).name;
            for service in &mut smaller.services {
                service.imports = service.imports.take().filter(|name| *name != gone);
            }
            self.accept(smaller);
        }
        for n in (0..self.best.toys.len()).rev() {
            let mut smaller = self.best.clone();
            smaller.toys.remove(n);
            self.accept(smaller);
        }
    }

    fn time(&mut self) {
        for part in [2, 4, 8] {
            let mut smaller = self.best.clone();
            smaller.trouble = Ms(smaller.trouble.0 - smaller.trouble.0 / part);
            self.accept(smaller);
        }
        for n in 0..self.best.faults.len() {
            let mut smaller = self.best.clone();
            smaller.faults[n].lasts = smaller.faults[n].lasts / 2;
            self.accept(smaller);
        }
    }
}
