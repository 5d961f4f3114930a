//! What a message says, word for word: people act on it at night.

use super::super::account::Account;
use super::super::line::Trouble;
use super::*;
use crate::hold::{Hold, Lift};

const BEGAN: Now = Now { boot: 1, up: Ms::hours(1), wall: Ms(1_750_000_000_000) };

fn id(name: &str) -> WatchId {
    WatchId::new(name)
}

fn tried(run: u64, came_to: Came) -> Try {
    Try { run: RunId(run), rung: Rung::new("restart"), came_to }
}

fn held(hold: Hold, lift: Lift) -> Held {
    Held::new(hold, "what is", "what must be", lift)
}

fn account(event: Event) -> Account {
    Account {
        event,
        watch: Some(id("service.api")),
        cause: Some(target("service.api")),
        targets: [target("service.api")].into(),
        condition: "down".into(),
        reason: "failed".into(),
        detail: "the unit is failed".into(),
        since: BEGAN,
        dependents: std::collections::BTreeSet::new(),
        needed_by: std::collections::BTreeSet::new(),
        tries: Vec::new(),
        held: Vec::new(),
        paused: false,
    }
}

/// Five minutes after it began.
fn about(account: Account) -> Message {
    Message::about(BEGAN.plus(Ms::mins(5)), Topic::Incident(7), &Trouble::new(account), 0)
}

fn over(mut account: Account, condition: &str) -> Message {
    account.condition = condition.into();
    let trouble = Trouble { over: Some(BEGAN.plus(Ms::mins(3))), ..Trouble::new(account) };
    Message::about(BEGAN.plus(Ms::mins(5)), Topic::Incident(7), &trouble, 0)
}

#[test]
fn a_title_says_what_is_so_and_what_it_came_to() {
    let mut failed = account(Event::NotCleared);
    failed.tries = vec![tried(3, Came::To(Settlement::NotCleared)), tried(9, Came::UnderWay)];
    let mut asks = account(Event::Held);
    asks.held = vec![held(Hold::NoSentinel, Lift::Operator("create it".into()))];
    let table = [
        (about(account(Event::Down)), "service.api is down (failed)"),
        (about(failed), "service.api is still down: restart did not clear it"),
        (about(account(Event::NotCleared)), "service.api is still down: nothing was tried"),
        (about(asks), "service.api is down and needs you: no_sentinel"),
        (about(account(Event::Held)), "service.api is down and needs you"),
        (about(account(Event::UndoFailed)), "service.api: what was stopped does not start again"),
        (about(account(Event::Stuck)), "service.api is stuck: an undo was given up"),
        (about(account(Event::LedgerDamaged)), "the ledger was damaged: little is repaired"),
        (about(account(Event::SafeMode)), "safe mode: Hostward only observes"),
        (Message::of_more(BEGAN, 0, 3), "and 3 more"),
        (Message::test(BEGAN), "a test message"),
    ];
    for (message, says) in table {
        assert_eq!(message.title("h1"), format!("[h1] {says}"));
    }
    let reminded = Message { reminder: 2, ..about(account(Event::Down)) };
    assert_eq!(reminded.title("h1"), "[h1] still: service.api is down (failed)");
    let broken = Message { reason: "a\r\nb".into(), ..about(account(Event::Down)) };
    assert_eq!(broken.title("h1"), "[h1] service.api is down (a  b)", "no header is split");
}

#[test]
fn the_end_says_how_long_it_lasted_and_whose_doing_it_was() {
    let by = |came_to: &[Came]| {
        let mut account = account(Event::Down);
        account.tries = (1..).zip(came_to).map(|(run, came_to)| tried(run, *came_to)).collect();
        over(account, "up").title("h1")
    };
    let lasted = "[h1] service.api is up again after 3m";
    let failed = Came::To(Settlement::NotCleared);
    let cleared = Came::To(Settlement::Cleared);
    assert_eq!(by(&[]), format!("{lasted}, by itself, or by hand"));
    assert_eq!(by(&[failed]), format!("{lasted}, not by what was tried"));
    assert_eq!(by(&[failed, Came::Proved]), format!("{lasted}, cleared by restart"));
    assert_eq!(by(&[failed, cleared]), format!("{lasted}, cleared by restart"));
    assert_eq!(by(&[cleared, failed]), format!("{lasted}, not by what was tried"), "the last one counts");
    let undo = Account { cause: None, reason: "undo_failed".into(), ..account(Event::UndoFailed) };
    let host = Account { watch: None, cause: None, reason: "safe_mode".into(), ..account(Event::SafeMode) };
    assert_eq!(over(undo, "over").title("h1"), "[h1] service.api: over: undo failed");
    assert_eq!(over(host, "over").title("h1"), "[h1] over: safe mode");
    assert_eq!(over(account(Event::Down), "not_watched").title("h1"), "[h1] service.api is no longer watched");
}

#[test]
fn a_text_answers_what_since_when_what_was_done_and_what_next() {
    let mut whole = account(Event::NotCleared);
    whole.dependents = [id("service.web"), id("service.mail")].into();
    whole.needed_by = [id("service.cron")].into();
    whole.tries = vec![tried(3, Came::To(Settlement::Undone)), tried(9, Came::UnderWay)];
    let lifts = [
        (Hold::NoSentinel, Lift::Operator("create it".into())),
        (Hold::Cooldown, Lift::At(Ms(1))),
        (Hold::DependencyDown, Lift::Fact("service.db is up".into())),
        (Hold::Storm, Lift::At(Ms(1))),
    ];
    whole.held = lifts.into_iter().map(|(hold, lift)| held(hold, lift)).collect();
    let mut message = about(whole.clone());
    message.open = vec!["service.db".into(), "ledger".into()];
    message.again = true;
    assert_eq!(
        message.text(),
        "the unit is failed
Since 5m ago.
Because of it: service.mail, service.web.
Needed by: service.cron.
Tried: restart (run 3): did not clear it, and put everything back.
Tried: restart (run 9): under way.
Held: no_sentinel: what is; lifts when you create it.
Held: cooldown: what is; lifts by itself.
Held: dependency_down: what is; lifts with service.db is up.
And 1 more holds.
Next: hostward explain service.api
Also open: service.db, ledger.
Sent again: an earlier try of this message may have arrived.
"
    );
    whole.held.truncate(3);
    assert!(!about(whole.clone()).text().contains("more holds"));
    whole.held.clear();
    assert_eq!(
        over(whole, "up").text(),
        "the unit is failed
It lasted 3m.
Because of it: service.mail, service.web.
Tried: restart (run 3): did not clear it, and put everything back.
Tried: restart (run 9): under way.
Next: nothing; hostward history service.api says what happened
"
    );
    assert_eq!(
        Message::of_more(BEGAN, 4, 3).text(),
        "beyond the limit of this notifier, or nobody could be told in time\nNext: hostward status; hostward history\n"
    );
    assert_eq!(
        Message::test(BEGAN).text(),
        "this is a test: nothing is wrong, and nothing was done\nNext: nothing: it arrived\n"
    );
}

#[test]
fn what_is_next_depends_on_what_it_is() {
    let mut proposes = account(Event::Held);
    proposes.held = vec![held(Hold::ProposeOnly, Lift::Operator("apply".into()))];
    let mut other = account(Event::Held);
    other.held = vec![held(Hold::NoSentinel, Lift::Operator("create it".into()))];
    let mut host = account(Event::SafeMode);
    host.watch = None;
    let table = [
        (about(account(Event::Down)), "hostward explain service.api"),
        (about(account(Event::NotCleared)), "hostward explain service.api"),
        (about(proposes), "hostward plan service.api, then hostward apply PLAN"),
        (about(other), "hostward explain service.api"),
        (
            about(account(Event::UndoFailed)),
            "hostward status names the unit: start it, or hostward clear service.api",
        ),
        (about(account(Event::Stuck)), "look at what it froze, then hostward clear service.api"),
        (about(account(Event::LedgerDamaged)), "look at ledger.damaged-* in /var/lib/hostward, then hostward clear"),
        (about(host.clone()), "journalctl -u hostward, then systemctl restart hostward"),
        (over(host, "over"), "nothing"),
        (over(account(Event::Down), "up"), "nothing; hostward history service.api says what happened"),
    ];
    for (message, next) in table {
        assert_eq!(&*message.next, next, "{:?}", message.event);
    }
}

/// A receiver tells duplicates by it.
#[test]
fn each_message_has_an_id_of_its_own() {
    let trouble = Trouble::new(account(Event::Down));
    let reminded = |n| Message::about(BEGAN, Topic::Incident(7), &trouble, n).id;
    let ids = [
        reminded(0),
        reminded(1),
        reminded(2),
        over(account(Event::Down), "up").id,
        Message::of_more(BEGAN, 0, 3).id,
        Message::of_more(BEGAN, 1, 3).id,
        Message::test(BEGAN).id,
    ];
    let want = ["incident-7/down", "incident-7/down/1", "incident-7/down/2", "incident-7/cleared"];
    assert_eq!(ids[..4], want);
    assert_eq!(ids[4..], ["more/0", "more/1", "test"]);
}

#[test]
fn words_of_the_webhook() {
    assert_eq!(Severity::ALL.map(Severity::label), ["info", "warning", "critical"]);
    let came = [Came::UnderWay, Came::Proved, Came::To(Settlement::Relapsed)];
    assert_eq!(came.map(Came::label), ["under_way", "proved", "relapsed"]);
    let says = |came_to| {
        let mut account = account(Event::Down);
        account.tries = vec![tried(1, came_to)];
        about(account).text().lines().nth(2).map(str::to_owned)
    };
    let table = [
        (Came::Proved, "proved; it must stay up for its soak"),
        (Came::To(Settlement::Cleared), "cleared it"),
        (Came::To(Settlement::NotCleared), "did not clear it"),
        (Came::To(Settlement::Relapsed), "had cleared it, and it fell again"),
        (Came::To(Settlement::UndoFailed), "did not clear it, and could not put everything back"),
    ];
    for (came_to, words) in table {
        assert_eq!(says(came_to), Some(format!("Tried: restart (run 1): {words}.")));
    }
    assert_eq!(Pattern::new("*.db").as_str(), "*.db");
}
