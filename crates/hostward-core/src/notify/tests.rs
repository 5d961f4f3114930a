//! Tables in virtual time: a world of a few watches whose targets fall and rise by records, and a desk that looks at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::graph::Graph;
use crate::id::{TargetId, UnitName};
use crate::ledger::{Body, Record, State, Turn};
use crate::policy::{Brakes, Mode, Policy, Watch};
use crate::starvation::Starvation;
use crate::watch::{Spec, service};
use crate::world::{Live, Start, World};

mod accounts;
mod desk;
mod words;

const OPS: &str = "ops";

/// A host, its ledger, and the desk of one or more notifiers.
struct Table {
    world: World,
    desk: Desk,
    rules: BTreeMap<Str, Rule>,
}

impl Table {
    fn new(rule: Rule) -> Table {
        Table::of(&[(OPS, rule)])
    }

    fn of(rules: &[(&str, Rule)]) -> Table {
        let watch = |name: &str| (WatchId::new(name), service(name));
        let names = ["service.api", "service.db", "service.web"];
        let mut policy = Policy { watches: names.into_iter().map(watch).collect(), ..Policy::default() };
        // web needs api, which needs db.
        for (of, needs) in [("service.web", "service.api"), ("service.api", "service.db")] {
            let watch = policy.watches.get_mut(&WatchId::new(of)).expect("it is declared");
            watch.needs.push(WatchId::new(needs));
        }
        let live = policy.watches.iter().map(|(id, watch)| (id.clone(), Live::new(watch))).collect();
        let world = World {
            now: Now { boot: 1, up: Ms::hours(1), wall: Ms(1_750_000_000_000) },
            graph: Graph::of(&policy),
            policy: Arc::new(policy),
            rejected: None,
            config_error: None,
            start: Start::Normal,
            state: State::default(),
            ledger_bad: None,
            live,
            starvation: Starvation::default(),
            storm: crate::hold::Storm::default(),
            ill: std::collections::BTreeSet::new(),
        };
        let rules: BTreeMap<Str, Rule> = rules.iter().map(|(name, rule)| ((*name).into(), rule.clone())).collect();
        let mut desk = Desk::default();
        desk.declare(&rules);
        desk.look(&world);
        Table { world, desk, rules }
    }

    fn record(&mut self, body: Body) {
        self.unseen(body);
        self.desk.look(&self.world);
    }

    /// A record that the desk does not hear of: another process wrote it.
    fn unseen(&mut self, body: Body) {
        let seq = self.world.state.seq + 1;
        let applied = self.world.state.apply(&Record { seq, at: self.world.now, body });
        assert_eq!(applied, Ok(()));
    }

    fn turn(&mut self, watch: &str, to: Turn, incident: Option<u64>) {
        self.record(Body::Turned { target: target(watch), to, incident });
    }

    /// A cause of its own.
    fn falls(&mut self, watch: &str) -> u64 {
        let incident = self.world.state.seq + 1;
        self.turn(watch, down(None), Some(incident));
        incident
    }

    fn follows(&mut self, watch: &str, cause: &str, incident: u64) {
        self.turn(watch, down(Some(cause)), Some(incident));
    }

    fn rises(&mut self, watch: &str) {
        self.turn(watch, Turn::Up, None);
    }

    fn pass(&mut self, span: Ms) {
        self.world.now = self.world.now.plus(span);
    }

    /// What is begun now, and left under way.
    fn begun(&mut self) -> Vec<(Str, Message)> {
        self.desk.look(&self.world);
        self.desk.letters(self.world.now)
    }

    /// What each notifier is sent within `span`, as "seconds name event watch", every delivery ending as `delivered`.
    fn sent(&mut self, span: Ms, delivered: Delivered) -> Vec<String> {
        let (start, end) = (self.world.now, self.world.now.plus(span));
        let mut sent = Vec::new();
        loop {
            let begun = self.begun();
            let idle = begun.is_empty();
            for (name, message) in begun {
                let at = self.world.now.since(start).0 / 1000;
                sent.push(format!("{at} {}", said(&name, &message)));
                self.desk.ended(self.world.now, &name, delivered);
            }
            let Some(due) = self.desk.next_due(self.world.now).filter(|due| *due <= end.up) else { break };
            assert!(!idle || due > self.world.now.up, "it spins at {due}");
            self.pass(due.saturating_sub(self.world.now.up));
        }
        self.pass(end.up.saturating_sub(self.world.now.up));
        sent
    }

    fn hears(&mut self, span: Ms, want: &[&str]) {
        assert_eq!(self.sent(span, Delivered::Sent), want);
    }

    /// kill -9: what was saved is all that is left of the desk.
    fn restart(&mut self) {
        let saved = serde_json::to_vec(&self.desk).expect("a desk serialises");
        self.desk = serde_json::from_slice(&saved).expect("what was saved is read back");
        self.desk.declare(&self.rules);
    }

    fn counts(&self) -> (Counts, usize) {
        let (_, counts, pending) = self.desk.counts(self.world.now).next().expect("there is a notifier");
        (counts, pending)
    }
}

fn said(name: &str, message: &Message) -> String {
    let watch = message.watch.as_ref().map_or("-", WatchId::as_str);
    let mut said = format!("{name} {} {watch}", message.event.label());
    for (says, what) in [
        (message.reminder > 0, format!(" reminder {}", message.reminder)),
        (message.more > 0, format!(" +{}", message.more)),
        (message.again, " again".to_owned()),
        (
            !message.dependents.is_empty(),
            format!(" with {:?}", message.dependents.iter().map(WatchId::as_str).collect::<Vec<_>>()),
        ),
    ] {
        if says {
            said.push_str(&what);
        }
    }
    said
}

fn service(name: &str) -> Watch {
    let spec = service::Spec::new(UnitName::new(format!("{}.service", WatchId::new(name).name())));
    let brakes = Brakes { cooldown: Ms::secs(60), plateau: Ms::mins(30), per_hour: 3, per_day: 6, soak: Ms::mins(1) };
    Watch {
        app: None,
        mode: Mode::Act,
        sentinel: None,
        compat: None,
        brakes,
        needs: Vec::new(),
        reach: None,
        spec: Spec::Service(spec),
    }
}

fn target(watch: &str) -> TargetId {
    TargetId::new(WatchId::new(watch), format!("{}.service", WatchId::new(watch).name()))
}

fn down(blame: Option<&str>) -> Turn {
    Turn::Down { reason: "failed".into(), detail: "the unit is failed".into(), blame: blame.map(target) }
}

fn limited(cost: u32, per: Ms) -> Rule {
    Rule { limit: Budget { cost, per }, ..Rule::default() }
}

#[test]
fn an_incident_is_told_once_and_its_end_once() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.hears(Ms::hours(9), &["5 ops down service.api"]);
    table.rises("service.api");
    table.hears(Ms::hours(9), &["0 ops cleared service.api"]);
    assert_eq!(table.counts(), (Counts { sent: 2, ..Counts::default() }, 0));
}

#[test]
fn a_cause_with_its_dependents_is_one_message_and_ends_with_the_last_of_them() {
    let mut table = Table::new(Rule::default());
    // The dependent fell first, and its cause was seen later.
    let incident = table.falls("service.api");
    table.pass(Ms::secs(1));
    table.turn("service.db", down(None), Some(incident));
    table.follows("service.api", "service.db", incident);
    table.hears(Ms::mins(1), &["4 ops down service.db with [\"service.api\"]"]);
    table.follows("service.web", "service.db", incident);
    table.hears(Ms::mins(1), &[]);
    table.rises("service.db");
    table.hears(Ms::mins(1), &[]);
    table.rises("service.api");
    table.rises("service.web");
    let told = table.sent(Ms::mins(1), Delivered::Sent);
    assert_eq!(told.len(), 1, "{told:?}");
    for watch in ["service.db", "service.api", "service.web"] {
        assert!(told[0].contains(watch), "{told:?} does not name {watch}");
    }
}

#[test]
fn what_is_over_before_it_was_told_is_one_message_unless_it_was_to_be_waited_for() {
    let mut table = Table::of(&[(OPS, Rule::default()), ("pager", Rule { after: Ms::mins(5), ..Rule::default() })]);
    table.falls("service.api");
    table.hears(Ms::secs(2), &[]);
    table.rises("service.api");
    table.hears(Ms::hours(1), &["0 ops cleared service.api"]);
    table.falls("service.api");
    table.hears(Ms::mins(6), &["5 ops down service.api", "300 pager down service.api"]);
}

#[test]
fn filters_by_watch_and_by_severity_and_the_end_follows_what_was_told() {
    let only = |pattern: &str| Rule { watches: vec![Pattern::new(pattern)], ..Rule::default() };
    let critical = Rule { severity: Severity::Critical, ..Rule::default() };
    let mut table = Table::of(&[("db", only("*.db")), ("none", only("job.*")), ("phone", critical)]);
    let incident = table.falls("service.api");
    table.hears(Ms::mins(1), &[]);
    table.turn("service.db", down(None), Some(incident));
    table.hears(Ms::mins(1), &["0 db down service.api with [\"service.db\"]"]);
    table.record(Body::Damaged { why: "torn".into() });
    // What concerns the whole host is heard by all.
    let told = ["5 db ledger_damaged -", "5 none ledger_damaged -", "5 phone ledger_damaged -"];
    table.hears(Ms::mins(1), &told);
    table.record(Body::Cleared);
    table.rises("service.api");
    table.rises("service.db");
    let told = table.sent(Ms::mins(1), Delivered::Sent);
    assert_eq!(
        told.iter().filter(|told| told.contains("phone")).count(),
        1,
        "{told:?}: not the end of what it was not told"
    );
    assert_eq!(told.iter().filter(|told| told.contains("db cleared")).count(), 2, "{told:?}");
}

#[test]
fn what_is_open_is_called_to_mind_until_somebody_pauses_it() {
    let mut table = Table::new(Rule { remind: Some(Ms::hours(4)), ..Rule::default() });
    table.falls("service.api");
    let reminded =
        ["5 ops down service.api", "14405 ops down service.api reminder 1", "28805 ops down service.api reminder 2"];
    table.hears(Ms::hours(9), &reminded);
    let watch = Some(WatchId::new("service.api"));
    table.record(Body::Paused { watch: watch.clone(), span: Ms::hours(30), reason: "I am on it".into() });
    table.hears(Ms::hours(29), &[]);
    table.record(Body::Resumed { watch });
    table.hears(Ms::hours(2), &["0 ops down service.api reminder 3"]);
    table.rises("service.api");
    table.hears(Ms::hours(9), &["0 ops cleared service.api"]);
}

#[test]
fn beyond_the_limit_there_is_one_number() {
    let mut table = Table::new(limited(2, Ms::hours(1)));
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    table.falls("service.db");
    table.hears(Ms::mins(1), &["5 ops down service.db"]);
    table.falls("service.web");
    table.hears(Ms::mins(1), &[]);
    assert_eq!(table.counts(), (Counts { sent: 2, summed: 1, ..Counts::default() }, 1));
    table.rises("service.api");
    table.hears(Ms::mins(1), &[]);
    table.restart();
    // An hour after the first of them there is room for one again.
    table.hears(Ms::hours(3), &["3365 ops more - +2"]);
    table.rises("service.web");
    table.hears(Ms::mins(1), &["0 ops cleared service.web"]);
}

#[test]
fn a_dead_notifier_is_tried_ever_more_slowly_and_hears_the_newest_word() {
    let mut table = Table::of(&[(OPS, Rule::default()), ("well", Rule::default())]);
    table.falls("service.api");
    let mut tries = Vec::new();
    for _ in 0..2000 {
        for (name, _) in table.begun() {
            if &*name == OPS {
                tries.push(table.world.now.up.saturating_sub(Ms::hours(1)).0 / 1000);
            }
            let delivered = if &*name == OPS { Delivered::Failed } else { Delivered::Sent };
            table.desk.ended(table.world.now, &name, delivered);
        }
        table.pass(Ms::secs(1));
    }
    assert_eq!(tries, [5, 10, 20, 40, 80, 160, 320, 640, 1240, 1840]);
    table.rises("service.api");
    let told = table.sent(Ms::mins(20), Delivered::Sent);
    assert_eq!(told, ["0 well cleared service.api", "440 ops cleared service.api"]);
}

#[test]
fn nothing_is_sent_to_one_that_has_not_answered_yet() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.falls("service.db");
    table.pass(Ms::secs(5));
    assert_eq!(table.begun().len(), 1);
    table.pass(Ms::hours(1));
    assert_eq!(table.begun(), []);
    assert_eq!(table.desk.next_due(table.world.now), None, "it would spin");
    table.desk.ended(table.world.now, OPS, Delivered::Sent);
    assert_eq!(table.begun().len(), 1);
}

#[test]
fn a_kill_between_open_and_delivery_loses_nothing_and_repeats_once_saying_so() {
    // Before it was begun.
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.pass(Ms::secs(5));
    table.restart();
    table.hears(Ms::mins(1), &["0 ops down service.api"]);
    // After it was begun, before its end was known.
    table.rises("service.api");
    assert_eq!(table.begun().len(), 1);
    table.restart();
    table.hears(Ms::mins(1), &["0 ops cleared service.api again"]);
    // And what was told is told.
    table.restart();
    table.hears(Ms::hours(9), &[]);
}

#[test]
fn the_same_message_has_the_same_id_in_every_try() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.pass(Ms::secs(5));
    let mut tries = Vec::new();
    for delivered in [Delivered::Unclear, Delivered::Failed, Delivered::Sent] {
        let (_, message) = table.begun().remove(0);
        tries.push((message.id.clone(), message.again));
        table.desk.ended(table.world.now, OPS, delivered);
        table.pass(Ms::mins(1));
    }
    let id = || "incident-1/down".to_owned();
    assert_eq!(tries, [(id(), false), (id(), true), (id(), false)], "one that surely failed is not told twice");
}

#[test]
fn what_came_and_went_while_nobody_looked_is_counted() {
    let mut table = Table::new(Rule::default());
    table.falls("service.db");
    table.hears(Ms::mins(1), &["5 ops down service.db"]);
    table.restart();
    for _ in 0..3 {
        let incident = Some(table.world.state.seq + 1);
        table.unseen(Body::Turned { target: target("service.api"), to: down(None), incident });
        table.unseen(Body::Turned { target: target("service.api"), to: Turn::Up, incident: None });
    }
    table.falls("service.api");
    table.hears(Ms::mins(1), &["0 ops more - +3", "5 ops down service.api"]);
}

#[test]
fn a_reboot_announces_nothing_anew_and_a_lost_file_only_what_is_open() {
    let mut table = Table::new(Rule::default());
    table.falls("service.api");
    table.falls("service.db");
    table.rises("service.db");
    table.hears(Ms::mins(1), &["0 ops cleared service.db", "5 ops down service.api"]);
    table.world.now = Now { boot: 2, up: Ms::secs(3), wall: table.world.now.wall + Ms::mins(2) };
    table.restart();
    table.hears(Ms::mins(1), &[]);
    table.desk = Desk::default();
    table.desk.declare(&table.rules);
    table.hears(Ms::mins(1), &["0 ops down service.api"]);
}

#[test]
fn beside_a_new_ledger_old_marks_say_nothing() {
    let mut table = Table::new(Rule::default());
    table.falls("service.db");
    table.rises("service.db");
    table.falls("service.api");
    table.hears(Ms::mins(1), &["0 ops cleared service.db", "5 ops down service.api"]);
    table.world.state = State::default();
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
}

#[test]
fn a_watch_that_is_gone_from_the_configuration_is_over() {
    let mut table = Table::new(Rule { remind: Some(Ms::hours(1)), ..Rule::default() });
    table.falls("service.api");
    table.hears(Ms::mins(1), &["5 ops down service.api"]);
    let mut policy = (*table.world.policy).clone();
    policy.watches.remove(&WatchId::new("service.api"));
    table.world.policy = Arc::new(policy);
    table.record(Body::Stopped);
    let (_, message) = table.begun().remove(0);
    assert_eq!((message.event, &*message.condition), (Event::Cleared, "not_watched"));
    assert!(message.title("h1").contains("no longer watched"), "{}", message.title("h1"));
}

#[test]
fn troubles_are_bounded_and_those_without_a_place_are_a_number() {
    let mut table = Table::new(limited(1000, Ms::hours(1)));
    let names: Vec<String> = (0..100).map(|n| format!("service.s{n}")).collect();
    let mut policy = (*table.world.policy).clone();
    policy.watches.extend(names.iter().map(|name| (WatchId::new(name.as_str()), service(name))));
    table.world.policy = Arc::new(policy);
    for name in &names {
        table.falls(name);
    }
    let told = table.sent(Ms::mins(1), Delivered::Sent);
    assert_eq!(told.len(), 65, "{told:?}");
    assert!(told.iter().any(|told| told.ends_with("ops more - +36")), "{told:?}");
    assert_eq!(table.counts().0.dropped, 36);
    for name in &names {
        table.rises(name);
    }
    assert_eq!(table.sent(Ms::mins(1), Delivered::Sent).len(), 64, "the end of each that was told");
}

#[test]
fn a_safe_mode_and_an_undo_that_was_given_up_are_told_until_they_are_over() {
    let mut table = Table::new(Rule { severity: Severity::Critical, ..Rule::default() });
    table.world.start = Start::Safe(3);
    let stuck = crate::ledger::Stuck {
        run: RunId(7),
        watch: WatchId::new("service.api"),
        touches: vec![crate::id::Resource::Unit(UnitName::new("api.service"))],
        why: "it does not start".into(),
        at: table.world.now,
    };
    table.world.state.stuck.push(stuck);
    table.record(Body::Stopped);
    table.hears(Ms::mins(1), &["5 ops safe_mode -", "5 ops stuck service.api"]);
    table.world.start = Start::Normal;
    table.record(Body::Unstuck { watch: None });
    table.hears(Ms::mins(1), &["0 ops cleared -", "0 ops cleared service.api"]);
}

#[test]
fn patterns() {
    let cases = [
        ("*", "service.api", true),
        ("service.*", "service.api", true),
        ("service.*", "baseline.app", false),
        ("service.api", "service.api", true),
        ("service.api", "service.api2", false),
        ("*.api", "service.api", true),
        ("*a*a*", "service.a", false),
        ("s*v*e.a*i", "service.api", true),
        ("service.api*", "service.api", true),
        ("ser*vice.api*api", "service.api", false),
    ];
    for (pattern, watch, want) in cases {
        assert_eq!(Pattern::new(pattern).matches(&WatchId::new(watch)), want, "{pattern} {watch}");
    }
}

#[test]
fn topics_are_read_back() {
    for topic in [Topic::Ledger, Topic::SafeMode, Topic::Undo(RunId(7)), Topic::Incident(41)] {
        assert_eq!(Topic::try_from(topic.to_string()), Ok(topic));
    }
    for bad in ["", "incident-", "incident--1", "undo", "ledger-1"] {
        assert!(Topic::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}
