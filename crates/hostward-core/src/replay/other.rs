//! A recording under another policy, or one that was begun while its engine ran: the engine asks for itself, and the
//! recording answers what it knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Played, Recording};
use crate::ask::{Answer, AskKey, Fault, Question};
use crate::engine::{Begin, Effect, Engine, Event, Memory};
use crate::id::RunId;
use crate::policy::Policy;
use crate::run::Ticket;
use crate::time::{Ms, Now};

/// More turns than this for each event are a spin, and the end.
const TURNS_MAX: usize = 10_000;

/// What the recording knew of each question, in order of time.
struct Known {
    looks: BTreeMap<Question, Vec<(Now, Answer)>>,
    /// When it was heard what an act came to.
    acts: BTreeMap<Ticket, Now>,
}

pub(super) fn play(recording: &Recording, policy: Arc<Policy>) -> Played {
    let known = known(recording);
    let memory = if policy == recording.begin.policy { recording.begin.memory.clone() } else { Memory::default() };
    let begin = Begin { policy, memory, ..recording.begin.clone() };
    let mut now = begin.now;
    let first = begin.state.seq;
    let (engine, effects) = Engine::new(begin);
    let said = effects.iter().filter(|effect| matches!(effect, Effect::Append(_))).count() as u64;
    let shift = if recording.start { 0 } else { said };
    let mut player = Player { engine, known, first, shift, played: Played::default(), queue: VecDeque::new() };
    player.take(now, effects);
    let mut turns = 0;
    for (at, event) in &recording.events {
        // What comes before the recorded event: the engine's own wakeups, and the answers to what it asked.
        while player.played.ends.is_none() {
            let due = player.engine.next_wakeup().filter(|due| *due < at.up && at.boot == now.boot);
            let next = match (player.queue.pop_front(), due) {
                (Some(event), _) => event,
                (None, Some(due)) => {
                    now = now.plus(due.saturating_sub(now.up));
                    Event::Wake
                }
                (None, None) => break,
            };
            turns += 1;
            if turns > TURNS_MAX + recording.events.len() * 64 {
                player.played.ends = Some("the engine goes in a circle: a bug".into());
            }
            player.turn(now, next);
        }
        if player.played.ends.is_some() {
            break;
        }
        now = *at;
        match event {
            Event::Ended(ticket, outcome) => player.turn(now, Event::Ended(player.here(*ticket), outcome.clone())),
            event if passes(event) => player.turn(now, event.clone()),
            _ => {}
        }
    }
    player.played
}

/// What happened to the host or was said by an operator; answers and the disk's words are given anew, and the policy is
/// the one that is asked about.
fn passes(event: &Event) -> bool {
    matches!(event, Event::Hint(_) | Event::Lag(_) | Event::Order(..) | Event::LedgerBad(_) | Event::LedgerGood)
}

/// What was answered to which question, and when it was heard what an act came to.
fn known(recording: &Recording) -> Known {
    let mut known = Known { looks: BTreeMap::new(), acts: BTreeMap::new() };
    let mut questions: BTreeMap<AskKey, Question> = BTreeMap::new();
    for (id, watch) in &recording.begin.policy.watches {
        for (n, probe) in (0u16..).zip(watch.spec.probes()) {
            questions.insert(AskKey::Probe(id.clone(), n), (*probe.question).clone());
        }
        questions.insert(AskKey::Gate(id.clone()), Question::Gate(recording.begin.policy.gate(watch)));
    }
    for (now, event) in &recording.events {
        match event {
            Event::Answered { key, asked, answer } => {
                if let Some(question) = questions.get(key) {
                    known.looks.entry(question.clone()).or_default().push((*asked, answer.clone()));
                }
            }
            Event::Ended(ticket, _) => {
                known.acts.insert(*ticket, *now);
            }
            _ => {}
        }
    }
    known
}

struct Player {
    engine: Engine,
    known: Known,
    /// The last record before the recording.
    first: u64,
    /// Records that say that an engine began, which the recording does not have.
    shift: u64,
    played: Played,
    queue: VecDeque<Event>,
}

impl Player {
    fn turn(&mut self, now: Now, event: Event) {
        let effects = self.engine.handle(now, event);
        self.take(now, effects);
    }

    fn take(&mut self, now: Now, effects: Vec<Effect>) {
        self.played.take(&effects);
        for effect in effects {
            match effect {
                Effect::Ask { key, asked, question, .. } => {
                    let answer = self.answer(now, &question);
                    self.queue.push_back(Event::Answered { key, asked, answer });
                }
                Effect::Append(record) => self.queue.push_back(Event::Durable(record.seq)),
                Effect::Perform { ticket, plan, .. } if !self.will_hear(now, ticket) => {
                    let act = ticket.act(&plan).map_or_else(String::new, |(act, _)| act.to_string());
                    self.played.ends = Some(format!("it would {act}; what came of that was not recorded"));
                }
                _ => {}
            }
        }
    }

    /// A run is numbered by its record: as long as the same was decided, the same is meant.
    fn here(&self, Ticket { run: RunId(run), at, tries }: Ticket) -> Ticket {
        let run = if run > self.first { run + self.shift } else { run };
        Ticket { run: RunId(run), at, tries }
    }

    fn recorded(&self, Ticket { run: RunId(run), at, tries }: Ticket) -> Ticket {
        let run = if run > self.first { run - self.shift } else { run };
        Ticket { run: RunId(run), at, tries }
    }

    /// What an act that is made now came to is still ahead in the recording.
    fn will_hear(&self, now: Now, ticket: Ticket) -> bool {
        self.known.acts.get(&self.recorded(ticket)).is_some_and(|heard| heard.not_before(now))
    }

    /// What the recording next saw of it, or else last.
    fn answer(&self, now: Now, question: &Question) -> Answer {
        let unknown = || Err(Fault::Probe("the recording never asked this".into()));
        let Some(looks) = self.known.looks.get(question) else { return unknown() };
        let next = looks.partition_point(|(asked, _)| !asked.not_before(now));
        let near = looks
            .get(next)
            .filter(|(asked, _)| asked.since(now) <= Ms::secs(1))
            .or_else(|| next.checked_sub(1).and_then(|last| looks.get(last)).or_else(|| looks.first()));
        near.map_or_else(unknown, |(_, answer)| answer.clone())
    }
}
