//! What was reached: counted, so that a law which never had its chance to be broken is not taken for one that held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hostward_core::command::{Applied, Reply};
use hostward_core::engine::Engine;
use hostward_core::hold::Hold;
use hostward_core::ledger::{Body, Closing, Record};
use hostward_core::plan::{Act, Plan};
use hostward_core::run::{At, StepEnd, Ticket};

use crate::scenario::What;
use crate::scenario::fault::Side;

/// Counts by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    pub counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    pub starts: u64,
}

impl Coverage {
    pub fn count(&mut self, kind: &'static str, name: &str) {
        let names = self.counts.entry(kind).or_default();
        match names.get_mut(name) {
            Some(n) => *n += 1,
            None => drop(names.insert(name.to_owned(), 1)),
        }
    }

    pub fn record(&mut self, record: &Record) {
        match &record.body {
            Body::Held { holds, .. } => holds.iter().for_each(|hold| self.count("hold", hold)),
            Body::Opened { plan, .. } => plan.heals.iter().for_each(|heal| {
                let rung = heal.rung.as_str().split(':').next().unwrap_or_default();
                self.count("rung", rung);
            }),
            Body::Ended { end, .. } => self.end("step", end),
            Body::Returned { end, .. } => self.end("give-back", end),
            Body::Closed { result, .. } => self.count("closing", closing(result)),
            Body::Settled { result, .. } => self.count("settlement", result.label()),
            _ => {}
        }
    }

    fn end(&mut self, kind: &'static str, end: &StepEnd) {
        let name = match end {
            StepEnd::Done => "done",
            StepEnd::Unproved(_) => "unproved",
            StepEnd::Lost(_) => "lost",
            StepEnd::Held(_) => "held",
        };
        self.count(kind, name);
        if let StepEnd::Held(holds) = end {
            // `label: value`, each.
            let labels: BTreeSet<&str> = holds.iter().filter_map(|hold| hold.split(':').next()).collect();
            for label in labels {
                self.count("hold that ended a run", label);
            }
        }
    }

    pub fn act(&mut self, ticket: Ticket, plan: &Plan) {
        let name = match ticket.act(plan) {
            Some((Act::Command(_), _)) => "command",
            Some((Act::Restart(_), _)) => "restart",
            Some((Act::Stop(_), _)) => "stop",
            Some((Act::Start(_), _)) => "start",
            Some((Act::Fence(_), _)) => "fence",
            Some((Act::Unfence(_), _)) => "unfence",
            // No toy makes these.
            Some((Act::Abort(_) | Act::Unmount(_) | Act::Bind(_) | Act::Gather(_), _)) => "of storage",
            Some((Act::Launch(_), _)) => "of jobs",
            None => "none",
        };
        let kind = if matches!(ticket.at, At::Go(_)) { "act" } else { "act given back" };
        self.count(kind, name);
        if ticket.tries > 1 {
            self.count(kind, "another try");
        }
    }

    pub fn fault(&mut self, what: &What) {
        let name = what.name();
        assert!(What::NAMES.contains(&name.as_str()), "{name} is missing among the names of faults");
        self.count("fault", &name);
    }

    pub fn moment(&mut self, effect: &str, side: Side) {
        let side = if side == Side::Before { "before" } else { "after" };
        self.count("struck", &format!("{side} {effect}"));
    }

    pub fn reply(&mut self, reply: &Reply) {
        let name = match reply {
            Reply::View(_) => "view",
            Reply::NoSuchWatch { .. } => "no such watch",
            Reply::Refused { .. } => "refused",
            Reply::Applied(applied) => match &**applied {
                Applied::Ran { .. } => "applied: ran",
                Applied::Runs { .. } => "applied: runs",
                Applied::Moved { .. } => "applied: moved",
                Applied::Unknown { .. } => "applied: unknown",
                Applied::Held { .. } => "applied: held",
            },
        };
        self.count("reply", name);
    }

    /// Holds that are never recorded, because nothing is judged down yet: read where the operator would read them.
    pub fn proposals(&mut self, engine: &Engine) {
        let world = engine.world();
        let found: BTreeSet<Hold> =
            world.ill.iter().filter_map(|id| world.propose(id)).flat_map(|p| p.holds).map(|held| held.hold).collect();
        for hold in found {
            self.count("hold", hold.label());
        }
    }

    pub fn add(&mut self, other: &Coverage) {
        self.starts += other.starts;
        for (kind, names) in &other.counts {
            let own = self.counts.entry(kind).or_default();
            for (name, n) in names {
                *own.entry(name.clone()).or_default() += n;
            }
        }
    }

    fn of(&self, kind: &str, name: &str) -> u64 {
        self.counts.get(kind).and_then(|names| names.get(name)).copied().unwrap_or(0)
    }

    /// What must be reached in a run of some size, and was not: each hold, rung, fault and crash point so many times, and
    /// everything else once.
    pub fn missing(&self, times: u64) -> Vec<String> {
        let holds = Hold::ALL.iter().map(|hold| ("hold", hold.label(), times));
        let faults = What::NAMES.iter().map(|name| ("fault", *name, times));
        let often = OFTEN.iter().flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name, times)));
        let once = ONCE.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, *name, 1)));
        let wanted = holds.chain(faults).chain(often).chain(once);
        let rare = wanted.filter(|(kind, name, times)| self.of(kind, name) < *times);
        rare.map(|(kind, name, _)| format!("{kind} {name}: {}", self.of(kind, name))).collect()
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        for (kind, names) in &self.counts {
            let _ = writeln!(text, "{kind}");
            let mut row = String::new();
            for (name, n) in names {
                let cell = format!("{name} {n}");
                if row.len() + cell.len() > 104 {
                    let _ = writeln!(text, "  {row}");
                    row.clear();
                }
                if !row.is_empty() {
                    row.push_str(", ");
                }
                row.push_str(&cell);
            }
            let _ = writeln!(text, "  {row}");
        }
        let _ = writeln!(text, "engines begun\n  {}", self.starts);
        text
    }
}

fn closing(result: &Closing) -> &'static str {
    match result {
        Closing::Proved => "proved",
        Closing::Unproved { .. } => "unproved",
        Closing::Held { .. } => "held",
        Closing::Stuck { .. } => "stuck",
    }
}

/// Beside every hold and every fault: what must be reached again and again. An effect is reached when something struck
/// before or after it.
const OFTEN: &[(&str, &[&str])] = &[
    ("rung", &["restart", "reconcile", "mend", "replace"]),
    (
        "struck",
        &[
            "before opened",
            "after opened",
            "before began",
            "after began",
            "before perform",
            "after perform",
            "before ended",
            "after ended",
            "before closed",
            "after closed",
            "before returning",
            "after returning",
            "before perform_back",
            "after perform_back",
            "before returned",
            "after returned",
            "before settled",
            "after settled",
            "before arm",
            "after arm",
            "before disarm",
            "after disarm",
            "before adopt",
            "after adopt",
        ],
    ),
];

/// What a run of some thousand seeds must have reached at all.
const ONCE: &[(&str, &[&str])] = &[
    ("closing", &["proved", "unproved", "held", "stuck"]),
    ("settlement", &["cleared", "not_cleared", "relapsed"]),
    ("step", &["done", "unproved", "lost", "held"]),
    ("give-back", &["done", "unproved"]),
    ("act", &["command", "restart", "stop", "unfence", "another try"]),
    ("act given back", &["start", "fence", "command", "another try"]),
    ("reply", &["view", "applied: ran", "applied: held"]),
];
