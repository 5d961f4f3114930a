//! What an account says of a trouble: its cause, its tries, what holds it, and whether that matters more than before.

use super::*;
use crate::fixture::falls;
use crate::hold::Hold;
use crate::judge::{Target, Verdict};
use crate::ledger::{Attempt, Origin};

const CRITICAL: Rule = Rule {
    watches: Vec::new(),
    severity: Severity::Critical,
    after: Ms::ZERO,
    remind: None,
    limit: Budget { cost: 20, per: Ms::hours(1) },
};

impl Table {
    /// The next message, all that is owed being due.
    fn told(&mut self) -> Message {
        self.pass(Ms::secs(5));
        let mut begun = self.begun();
        assert_eq!(begun.len(), 1, "{begun:?}");
        begun.remove(0).1
    }

    fn tries(&mut self, watch: &str, attempts: &[(Now, Option<Settlement>)]) {
        let brake = self.world.state.targets.entry(target(watch)).or_default();
        brake.attempts = (1..)
            .zip(attempts)
            .map(|(run, (at, settled))| Attempt {
                run: RunId(run),
                rung: Rung::new("restart"),
                at: *at,
                proved: None,
                settled: *settled,
                reason: "failed".into(),
                fell: None,
                about: Vec::new(),
                mark: None,
            })
            .collect();
    }

    fn set_mode(&mut self, mode: Mode) {
        let policy = Arc::make_mut(&mut self.world.policy);
        policy.watches.values_mut().for_each(|watch| watch.mode = mode);
    }

    /// Down by its own look as well as by the ledger.
    fn really_falls(&mut self, watch: &str) {
        let now = self.world.now;
        falls(&mut self.world, &target(watch), now);
        self.falls(watch);
    }
}

/// What had cleared it, and fell again within the hour, belongs to what came after it; a failure of old does not.
#[test]
fn its_tries_are_those_since_it_began() {
    let mut table = Table::new(Rule::default());
    let fell = table.world.now.plus(Ms::hours(3));
    let before = |span: Ms| Now { up: fell.up.saturating_sub(span), wall: fell.wall.saturating_sub(span), ..fell };
    let (hour, bit) = (Ms::hours(1), Ms(1));
    let cases = [
        (before(hour), Settlement::Relapsed, false),
        (before(hour.saturating_sub(bit)), Settlement::Relapsed, true),
        (before(bit), Settlement::Relapsed, true),
        (before(bit), Settlement::NotCleared, false),
        (fell, Settlement::NotCleared, true),
        (fell.plus(bit), Settlement::Relapsed, true),
    ];
    table.world.now = fell;
    table.tries("service.api", &cases.map(|(at, settled, _)| (at, Some(settled))));
    table.falls("service.api");
    let did: Vec<u64> = table.told().did.iter().map(|tried| tried.run.0).collect();
    let want: Vec<u64> = (1..).zip(&cases).filter(|(_, (.., counts))| *counts).map(|(run, _)| run).collect();
    assert_eq!(did, want);
}

/// The newest six: a message is no history.
#[test]
fn a_message_names_the_newest_tries() {
    let mut table = Table::new(Rule::default());
    let now = table.world.now;
    table.tries("service.api", &[(now, Some(Settlement::NotCleared)); 8]);
    table.falls("service.api");
    let did: Vec<u64> = table.told().did.iter().map(|tried| tried.run.0).collect();
    assert_eq!(did, [3, 4, 5, 6, 7, 8]);
}

#[test]
fn the_end_waits_two_minutes_for_what_is_still_tried_and_says_what_it_came_to() {
    let under_way = |settled: Option<Settlement>| {
        let mut table = Table::new(Rule::default());
        table.falls("service.api");
        table.hears(Ms::mins(1), &["5 ops down service.api"]);
        let now = table.world.now;
        table.tries("service.api", &[(now, settled)]);
        table.rises("service.api");
        (table, now)
    };
    let (mut table, _) = under_way(Some(Settlement::NotCleared));
    table.hears(Ms::mins(1), &["0 ops cleared service.api"]);

    let (mut table, _) = under_way(None);
    table.hears(Ms::mins(5), &["120 ops cleared service.api"]);

    let (mut table, now) = under_way(None);
    table.pass(Ms::secs(30));
    table.tries("service.api", &[(now, Some(Settlement::Cleared))]);
    table.record(Body::Stopped);
    let (_, message) = table.begun().remove(0);
    let came_to: Vec<Came> = message.did.iter().map(|tried| tried.came_to).collect();
    assert_eq!((message.event, came_to), (Event::Cleared, vec![Came::To(Settlement::Cleared)]));
}

#[test]
fn what_only_a_person_lifts_is_worse_and_named_first() {
    let mut table = Table::of(&[(OPS, Rule::default()), ("phone", CRITICAL)]);
    table.really_falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    // No record says so: it is looked up, once a second.
    table.set_mode(Mode::Observe);
    table.pass(Ms::secs(1));
    let begun = table.begun();
    let said: Vec<String> = begun.iter().map(|(name, message)| super::said(name, message)).collect();
    assert_eq!(said, ["ops held service.api", "phone held service.api"]);
    let holds: Vec<Hold> = begun[0].1.held.iter().map(|held| held.hold).collect();
    assert_eq!(holds.first(), Some(&Hold::ObserveOnly), "what an operator lifts comes first: {holds:?}");
    assert!(holds.contains(&Hold::GateUnknown), "{holds:?}");
    for (name, _) in &begun {
        table.desk.ended(table.world.now, name, Delivered::Sent);
    }
    // Not any more; that is no news, and what mattered once is told to its end.
    table.set_mode(Mode::Act);
    table.hears(Ms::mins(1), &[]);
    table.rises("service.api");
    table.hears(Ms::mins(1), &["0 ops cleared service.api", "0 phone cleared service.api"]);
}

/// It fell again to "held" and back: what is called to mind is what is so now.
#[test]
fn what_is_called_to_mind_is_what_holds_now() {
    let mut table = Table::new(Rule { remind: Some(Ms::hours(1)), ..Rule::default() });
    table.set_mode(Mode::Observe);
    table.really_falls("service.api");
    table.hears(Ms::mins(1), &["5 ops held service.api"]);
    table.set_mode(Mode::Act);
    table.hears(Ms::hours(1), &["3545 ops down service.api reminder 1"]);
    let now = table.world.now;
    table.tries("service.api", &[(now, Some(Settlement::NotCleared))]);
    table.record(Body::Stopped);
    table.set_mode(Mode::Observe);
    table.hears(Ms::hours(1), &["3545 ops held service.api reminder 2"]);
    table.set_mode(Mode::Act);
    table.hears(Ms::hours(1), &["3545 ops not_cleared service.api reminder 3"]);
}

/// Paused, it is not called to mind; what only a person lifts is, all the same.
#[test]
fn a_pause_silences_what_is_worked_on() {
    for (mode, reminders) in [(Mode::Act, 0), (Mode::Observe, 2)] {
        let mut table = Table::new(Rule { remind: Some(Ms::hours(1)), ..Rule::default() });
        let pause = Body::Paused { watch: None, span: Ms::hours(9), reason: "I am on it".into() };
        table.record(pause);
        table.set_mode(mode);
        table.really_falls("service.api");
        assert_eq!(table.sent(Ms::hours(2) + Ms::mins(1), Delivered::Sent).len(), 1 + reminders, "{mode:?}");
    }
}

#[test]
fn a_failed_remedy_is_told_to_who_hears_only_of_the_worst() {
    let mut table = Table::of(&[(OPS, Rule::default()), ("phone", CRITICAL)]);
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    let plan = crate::fixture::plan("api");
    let run = RunId(table.world.state.seq + 1);
    table.record(Body::Opened { plan: Box::new(plan), origin: Origin::Daemon });
    table.hears(Ms::mins(1), &[]);
    let result = Settlement::NotCleared;
    table.record(Body::Settled { run, target: target("service.api"), result });
    table.hears(Ms::hours(1), &["0 ops not_cleared service.api", "0 phone not_cleared service.api"]);
}

#[test]
fn it_says_what_is_wrong_and_who_needs_it() {
    let mut table = Table::new(Rule::default());
    let api = target("service.api");
    let live = table.world.live.get_mut(&api.watch).expect("it is declared");
    live.targets.insert(api.key, Target::new(table.world.now));
    let incident = table.falls("service.db");
    let message = table.told();
    assert_eq!((&*message.condition, &*message.reason, &*message.detail), ("down", "failed", "the unit is failed"));
    assert_eq!(message.needed_by, [WatchId::new("service.api")]);
    table.desk.ended(table.world.now, OPS, Delivered::Sent);
    table.follows("service.api", "service.db", incident);
    table.tries("service.db", &[(table.world.now, Some(Settlement::NotCleared))]);
    table.record(Body::Stopped);
    let message = table.told();
    assert_eq!(message.dependents, [WatchId::new("service.api")]);
    assert_eq!(message.needed_by, [], "it is down itself");
}

#[test]
fn what_cannot_be_known_is_told_as_that() {
    let mut table = Table::new(Rule::default());
    let target = target("service.api");
    let fault = crate::ask::Fault::Timeout;
    let live = table.world.live.get_mut(&target.watch).expect("it is declared");
    let mut unknown = Target::new(table.world.now);
    unknown.verdict = Verdict::Unknown(fault);
    live.targets.insert(target.key.clone(), unknown);
    let incident = Some(table.world.state.seq + 1);
    table.turn("service.api", Turn::Unknown { fault: "timed out".into() }, incident);
    let message = table.told();
    assert_eq!((&*message.condition, &*message.reason, &*message.detail), ("unknown", "unknown", "timed out"));
}
