//! The edge: effects are performed with delays and mistakes, and come back as events.

use std::sync::Arc;

use hostward_core::ask::{Answer, AskKey, Fault, HttpAnswer, HttpReading, Interpreter, Question, Reading, Unmet};
use hostward_core::engine::{Effect, Event};
use hostward_core::id::WatchId;
use hostward_core::run::{Outcome, Ticket};
use hostward_core::starvation::STARVED;
use hostward_core::time::{Ms, Now};

use super::{Due, Sim};
use crate::disk::RETRY_EVERY;
use crate::rng::keyed;
use crate::scenario::What;

impl Sim {
    pub(super) fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { key, asked, question, deadline } => self.ask(key, asked, question, deadline),
            Effect::Append(record) => {
                self.disk.append(record);
                self.write();
            }
            Effect::Perform { ticket, plan, arm } => {
                self.coverage.act(ticket, &plan);
                let after = self.some("act", Ms(2), Ms(20));
                self.later(after, |life| Due::Act { life, ticket, plan, arm });
            }
            Effect::Arm(arm) => self.later(Ms(7), |life| Due::Arm { life, arm }),
            Effect::Disarm(run) => self.later(Ms(7), |life| Due::Disarm { life, run }),
            Effect::Cancel(ticket) | Effect::Release(ticket) => self.host.forget(ticket),
            Effect::Adopt { tickets, runs } => {
                let tickets = tickets.into_iter().map(|(ticket, _)| ticket).collect();
                self.later(Ms(4), |life| Due::Adopt { life, tickets, runs });
            }
            Effect::Reply(id, reply) => self.replied(id, &reply),
        }
    }

    /// A delay that no fault names.
    fn some(&mut self, purpose: &'static str, low: Ms, high: Ms) -> Ms {
        let nth = self.counts.entry(purpose).or_default();
        *nth += 1;
        let drawn = keyed(self.scenario.seed, purpose, u64::from(*nth));
        let delay = Ms(low.0 + drawn % (high.0 - low.0 + 1));
        delay * (1 + self.starved().0 / 50)
    }

    /// How late our own timers are.
    pub(super) fn starved(&self) -> Ms {
        let late = self.host.active.find(|what| match what {
            What::Starve { late, .. } => Some(*late),
            _ => None,
        });
        late.unwrap_or(Ms::ZERO)
    }

    pub(crate) fn bus_away(&self) -> bool {
        self.host.active.any(|what| *what == What::BusAway)
    }

    pub(super) fn hears(&self) -> bool {
        self.engine.is_some() && !self.bus_away() && !self.host.active.any(|what| *what == What::HintsLost)
    }

    /// Whose question it is.
    fn asker(&self, key: &AskKey) -> Option<WatchId> {
        match key {
            AskKey::Proof(run, _) => {
                self.engine.as_ref()?.world().state.runs.get(run).map(|open| open.plan.watch.clone())
            }
            key => key.watch().cloned(),
        }
    }

    fn ask(&mut self, key: AskKey, asked: Now, question: Arc<Question>, deadline: Ms) {
        let watch = self.asker(&key);
        let meant = |name: &str| name.is_empty() || watch.as_ref().is_some_and(|watch| watch.as_str() == name);
        let mute = self.host.active.0.iter().find(|(_, what, _)| matches!(what, What::Mute(name) if meant(name)));
        if let Some((fault, ..)) = mute {
            self.muted.push((*fault, key, asked));
            return;
        }
        let slow = self.host.active.find(|what| match what {
            What::Slow { watch, by } if meant(watch) => Some(*by),
            _ => None,
        });
        if slow.is_some() {
            self.book.slowed = Some(self.real());
        }
        let (low, high) = match &*question {
            Question::Python(_) => (Ms(5), Ms(50)),
            Question::Http(_) => (Ms(3), Ms(30)),
            _ => (Ms(1), Ms(8)),
        };
        let takes = self.some("ask", low, high) + slow.unwrap_or(Ms::ZERO);
        if takes > deadline {
            let answer = match &*question {
                Question::Http(_) => Ok(Reading::Http(HttpReading::TimedOut(deadline))),
                _ => Err(Fault::Timeout),
            };
            let event = Event::Answered { key, asked, answer };
            return self.later(deadline, |life| Due::Tell { life, event });
        }
        // What is told is what was so a while before.
        let then = takes / 2;
        let after = takes.saturating_sub(then);
        self.later(after, |life| Due::Sample { life, key, asked, question, then });
    }

    /// Whatever hung ends: its questions were never answered, and are told so.
    pub(super) fn unmute(&mut self, fault: usize) {
        let (ended, muted) = std::mem::take(&mut self.muted).into_iter().partition(|(of, ..)| *of == fault);
        self.muted = muted;
        let ended: Vec<(usize, AskKey, Now)> = ended;
        for (_, key, asked) in ended {
            let event = Event::Answered { key, asked, answer: Err(Fault::Probe("it was killed".into())) };
            self.later(Ms(3), |life| Due::Tell { life, event });
        }
    }

    /// What the edge makes of a question at this moment.
    pub(super) fn sample(&mut self, key: &AskKey, question: &Question) -> Answer {
        let watch = self.asker(key);
        let meant = |name: &str| name.is_empty() || watch.as_ref().is_some_and(|watch| watch.as_str() == name);
        let active = &self.host.active;
        if active.any(|what| matches!(what, What::Blind(name) if meant(name))) {
            return Err(Fault::Denied("it may not be read".into()));
        }
        let by_bus = matches!(question, Question::Unit(_) | Question::Gate(_) | Question::Closure(_));
        if by_bus && self.bus_away() {
            return Err(Fault::BusAway("connection refused".into()));
        }
        let answer = self.host.answer(question);
        // Only probes lie: when PID 1 does, or what forbids an act, nothing can be asked of anybody.
        if !matches!(key, AskKey::Probe(..)) || matches!(question, Question::Unit(_) | Question::Closure(_)) {
            return answer;
        }
        let up = active.any(|what| matches!(what, What::LieUp(name) if meant(name)));
        let down = active.any(|what| matches!(what, What::LieDown(name) if meant(name)));
        if up || down {
            self.book.lied = Some(self.real());
            return answer.map(|reading| lie(reading, up));
        }
        if let (Question::Http(_), late) = (question, self.starved())
            && late >= Ms(100)
            && !keyed(self.scenario.seed, "starved", self.steps).is_multiple_of(4)
        {
            // Timers that are less late than this do not tell the engine: to it, the answer is only slow.
            if late < STARVED {
                self.book.slowed = Some(self.real());
            }
            return Ok(Reading::Http(HttpReading::TimedOut(Ms::secs(2))));
        }
        answer
    }

    /// A word on a ticket, on its way to the engine.
    pub(super) fn word(&mut self, ticket: Ticket, outcome: Outcome) {
        let late = self.host.active.find(|what| match what {
            What::WordLate(by) => Some(*by),
            _ => None,
        });
        let twice = self.host.active.any(|what| *what == What::WordTwice);
        let after = Ms(1) + late.unwrap_or(Ms::ZERO);
        if twice {
            let event = Event::Ended(ticket, outcome.clone());
            self.later(after + Ms(40), |life| Due::Tell { life, event });
        }
        let event = Event::Ended(ticket, outcome);
        self.later(after, |life| Due::Tell { life, event });
    }

    /// The writer takes what waits, when it is not writing already.
    pub(super) fn write(&mut self) {
        if self.disk.writing.is_some() || self.disk.durable == self.disk.records.len() {
            return;
        }
        let count = self.disk.records.len();
        self.disk.writing = Some(count);
        let slow = self.host.active.find(|what| match what {
            What::DiskSlow(by) => Some(*by),
            _ => None,
        });
        let after = self.scenario.host.disk + slow.unwrap_or(Ms::ZERO);
        self.later(after, |life| Due::Commit { life, count, tries: 0 });
    }

    pub(super) fn commit(&mut self, count: usize, tries: u32) {
        if self.host.active.any(|what| *what == What::DiskFull) {
            self.later(RETRY_EVERY, |life| Due::Commit { life, count, tries: tries + 1 });
            if !std::mem::replace(&mut self.disk.failing, true) {
                self.tell(Event::LedgerBad("No space left on device".into()));
            }
            return;
        }
        self.disk.writing = None;
        self.disk.durable = count;
        if !self.host.active.any(|what| *what == What::DiskLies) {
            self.disk.physical = count;
        }
        let seq = self.disk.records.get(count - 1).map_or(0, |record| record.seq);
        if std::mem::take(&mut self.disk.failing) {
            self.tell(Event::LedgerGood);
        }
        self.tell(Event::Durable(seq));
        self.write();
    }
}

fn lie(reading: Reading, up: bool) -> Reading {
    match reading {
        Reading::Http(_) => {
            let status = if up { 200 } else { 500 };
            Reading::Http(HttpReading::Answered(HttpAnswer {
                status,
                json: true,
                excerpt: "{}".into(),
                ..HttpAnswer::default()
            }))
        }
        Reading::Python(mut python) => {
            let unmet = Unmet { name: "requests".into(), wanted: "==2.0".into(), found: None };
            if up {
                python.interpreter = Interpreter::Version("3.11".into());
            }
            python.unmet = if up { Vec::new() } else { vec![unmet] };
            python.unmet_total = u32::from(!up);
            Reading::Python(python)
        }
        Reading::Toy(mut toy) => {
            toy.broken.clear();
            Reading::Toy(toy)
        }
        other => other,
    }
}
