//! What the desk keeps, what it writes down, and when it lets go.

use super::*;

impl Table {
    /// As the file says.
    fn kept(&self) -> usize {
        let file = serde_json::to_value(&self.desk).expect("a desk serialises");
        file["troubles"].as_object().expect("they are a map").len()
    }

    fn begins(&mut self) -> Message {
        let mut begun = self.begun();
        assert_eq!(begun.len(), 1, "{begun:?}");
        begun.remove(0).1
    }

    fn ended(&mut self, delivered: Delivered) {
        self.desk.ended(self.world.now, OPS, delivered);
    }
}

/// Before a message is on its way the file must say so; nothing else is worth a write.
#[test]
fn the_file_is_written_when_it_would_say_something_else() {
    let mut table = Table::new(Rule::default());
    assert!(table.desk.take_changed(), "who is to be told");
    assert!(!table.desk.take_changed(), "it was taken");
    table.record(Body::Stopped);
    assert!(!table.desk.take_changed(), "a record that is no trouble");
    table.falls("service.api");
    assert!(table.desk.take_changed(), "a trouble");
    table.pass(Ms::secs(5));
    assert_eq!(table.begun().len(), 1);
    assert!(table.desk.take_changed(), "a message is on its way");
    table.ended(Delivered::Sent);
    assert!(table.desk.take_changed(), "it arrived");
    table.pass(Ms::mins(1));
    assert_eq!(table.begun(), []);
    assert!(!table.desk.take_changed());
    table.unseen(Body::Turned { target: target("service.api"), to: Turn::Up, incident: None });
    table.desk.look(&table.world);
    assert!(table.desk.take_changed(), "it is over");
}

#[test]
fn it_is_sending_until_it_hears_what_became_of_it() {
    let mut table = Table::new(Rule::default());
    assert!(!table.desk.is_sending());
    table.falls("service.api");
    table.pass(Ms::secs(5));
    assert!(!table.desk.is_sending(), "it is only due");
    table.begins();
    assert!(table.desk.is_sending());
    table.ended(Delivered::Failed);
    assert!(!table.desk.is_sending());
    assert_eq!(table.counts().0, Counts { failed: 1, ..Counts::default() });
    table.pass(Ms::secs(5));
    table.begins();
    table.ended(Delivered::Unclear);
    assert_eq!(table.counts().0, Counts { failed: 2, ..Counts::default() });
}

/// What a dead man's switch reads: silence must mean that all is well.
#[test]
fn a_notifier_is_calm_while_nothing_is_open_that_it_would_hear_of() {
    let db = Rule { watches: vec![Pattern::new("*.db")], ..Rule::default() };
    let critical = Rule { severity: Severity::Critical, ..Rule::default() };
    let mut table = Table::of(&[(OPS, Rule::default()), ("db", db), ("phone", critical)]);
    let calm = |table: &Table| [OPS, "db", "phone"].map(|name| table.desk.is_calm(name));
    assert_eq!(calm(&table), [true; 3]);
    assert!(table.desk.is_calm("nobody"));
    table.falls("service.api");
    assert_eq!(calm(&table), [false, true, true]);
    table.record(Body::Damaged { why: "torn".into() });
    assert_eq!(calm(&table), [false; 3], "that concerns all");
    table.record(Body::Cleared);
    table.rises("service.api");
    assert_eq!(calm(&table), [true; 3], "it is over, though nobody was told yet");
}

#[test]
fn what_is_over_and_told_is_forgotten() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    table.rises("service.api");
    let message = table.begins();
    assert_eq!(message.event, Event::Cleared);
    table.desk.look(&table.world);
    assert_eq!(table.kept(), 1, "it is on its way, and may not arrive");
    table.ended(Delivered::Sent);
    table.desk.look(&table.world);
    assert_eq!(table.kept(), 0);
    let file = serde_json::to_value(&table.desk).expect("a desk serialises");
    assert_eq!(file["lines"][OPS]["marks"], serde_json::json!({}), "nor is it known what was told of it");
}

#[test]
fn what_nobody_could_be_told_in_a_day_is_a_number() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.rises("service.api");
    let over = table.world.now;
    let day = Ms::hours(24);
    while table.world.now.since(over) < day.saturating_sub(Ms::mins(20)) {
        table.begins();
        table.ended(Delivered::Failed);
        table.pass(Ms::mins(10));
    }
    table.world.now = over.plus(day.saturating_sub(Ms(1)));
    table.desk.look(&table.world);
    assert_eq!((table.kept(), table.counts().0.dropped), (1, 0));
    table.pass(Ms(1));
    table.desk.look(&table.world);
    assert_eq!((table.kept(), table.counts().0.dropped), (0, 1));
    table.hears(Ms::mins(20), &["0 ops more - +1"]);
}

/// What began with this process, and with no record: it died too often.
#[test]
fn a_new_process_looks_at_all_there_is() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    table.restart();
    table.world.start = Start::Safe(3);
    table.world.state.abnormal_starts.push_back(table.world.now);
    table.hears(Ms::mins(1), &["5 ops safe_mode -"]);
}

/// Also when it has more records than the old one had, and fewer incidents.
#[test]
fn a_ledger_with_fewer_incidents_is_another_one() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    for name in ["service.db", "service.web"] {
        table.falls(name);
        table.rises(name);
    }
    table.sent(Ms::mins(1), Delivered::Sent);
    table.world.state = State::default();
    let incident = Some(table.world.state.seq + 1);
    table.unseen(Body::Turned { target: target("service.api"), to: down(None), incident });
    for _ in 0..9 {
        table.unseen(Body::Stopped);
    }
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
}

/// What one was told of the first time says nothing of the second.
#[test]
fn what_comes_again_before_its_end_was_told_is_told_anew() {
    let mut table = Table::new(Rule::default());
    table.record(Body::Damaged { why: "torn".into() });
    table.hears(Ms::mins(1), &["5 ops ledger_damaged -"]);
    table.record(Body::Cleared);
    table.begins();
    table.ended(Delivered::Failed);
    table.record(Body::Damaged { why: "torn again".into() });
    table.hears(Ms::mins(1), &["5 ops ledger_damaged -"]);
}

#[test]
fn a_message_names_what_else_is_open_of_what_was_told() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.record(Body::Damaged { why: "torn".into() });
    table.pass(Ms::secs(5));
    let opens = |table: &mut Table| {
        let message = table.begins();
        table.ended(Delivered::Sent);
        let open: Vec<String> = message.open.iter().map(ToString::to_string).collect();
        (message.event, open)
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(opens(&mut table), (Event::LedgerDamaged, names(&[])), "the other one was not told yet");
    assert_eq!(opens(&mut table), (Event::Down, names(&["ledger"])));
    table.rises("service.api");
    table.falls("service.db");
    assert_eq!(opens(&mut table), (Event::Cleared, names(&["ledger"])), "not itself");
    table.pass(Ms::secs(5));
    assert_eq!(opens(&mut table), (Event::Down, names(&["ledger"])), "not what is over");
    table.record(Body::Cleared);
    assert_eq!(opens(&mut table), (Event::Cleared, names(&["service.db"])));
}

/// A reminder is due so long after the message arrived, however long that took.
#[test]
fn a_reminder_counts_from_when_it_was_told() {
    let mut table = Table::new(Rule { remind: Some(Ms::hours(1)), ..Rule::default() });
    table.falls("service.api");
    table.pass(Ms::secs(5));
    table.begins();
    table.pass(Ms::mins(2));
    table.ended(Delivered::Sent);
    table.hears(Ms::mins(61), &["3600 ops down service.api reminder 1"]);
}

#[test]
fn each_number_is_a_message_of_its_own() {
    let mut table = Table::new(limited(1, Ms::hours(1)));
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        table.falls("service.db");
        table.pass(Ms::mins(1));
        assert_eq!(table.begun(), []);
        table.pass(Ms::hours(1));
        ids.push(table.begins().id);
        table.ended(Delivered::Sent);
        table.rises("service.db");
        table.pass(Ms::mins(2));
        assert_eq!(table.begun(), [], "its end is a number too");
    }
    assert_eq!(ids, ["more/0", "more/1"]);
}
