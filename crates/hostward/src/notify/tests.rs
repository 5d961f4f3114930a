//! The edge against real sockets and a real file: what goes out, what comes back, and what a kill leaves.

#[path = "../../tests/support/script.rs"]
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use hostward_config::{Deadman, Way};
use hostward_core::ask::Secret;
use hostward_core::graph::Graph;
use hostward_core::ledger::State;
use hostward_core::notify::Rule;
use hostward_core::policy::Policy;
use hostward_core::starvation::Starvation;
use hostward_core::time::Ms;
use hostward_core::world::Start;
use script::script;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const OK: &str = "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";

fn now() -> Now {
    Now { boot: 1, up: Ms::hours(1), wall: Ms(1_767_261_600_000) }
}

/// A secret of root's alone: these tests run as root, as the daemon does.
fn secret(dir: &TempDir, name: &str, text: &str) -> Secret {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Secret::File(path)
}

fn webhook(dir: &TempDir, address: &str) -> Way {
    let token = Some(secret(dir, "token", "tk_SECRET"));
    Way::Webhook { url: secret(dir, "url", &format!("http://{address}/hooks/SECRET")), token }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A whole request; answered with `answer`.
async fn serve(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

async fn request(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return text;
            }
        }
        assert!(stream.read_buf(&mut said).await.unwrap() > 0, "closed within its request");
    }
}

async fn deliver(way: &Way) -> Outcome {
    Courier::new().deliver(way, &Message::test(now())).await
}

#[tokio::test]
async fn a_webhook_gets_its_json_and_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let way = webhook(&dir, &address);
    let (outcome, request) = tokio::join!(deliver(&way), serve(&listener, OK));
    assert_eq!(outcome, Outcome::Sent("status 204".into()));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for line in ["post /hooks/secret http/1.1", "content-type: application/json", "authorization: bearer tk_secret"] {
        assert!(head.contains(line), "{head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["version"], &body["event"]), (&1.into(), &"test".into()));
}

#[tokio::test]
async fn a_push_has_its_title_priority_and_tags_and_a_check_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let url = secret(&dir, "url", &format!("http://{address}/topic"));
    let ntfy = Way::Ntfy { url: url.clone(), token: None, tags: vec!["warning".into()] };
    let (outcome, request) = tokio::join!(deliver(&ntfy), serve(&listener, OK));
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    let head = request.to_lowercase();
    for line in ["post /topic ", "priority: 2", "tags: warning,test", "a test message"] {
        assert!(head.contains(line), "{head}");
    }
    let checks = Way::Healthchecks { url, every: None };
    let (_, request) = tokio::join!(deliver(&checks), serve(&listener, OK));
    assert!(request.starts_with("POST /topic/log HTTP/1.1"), "{request}");
}

#[tokio::test]
async fn what_comes_back_is_said_and_no_secret_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let way = webhook(&dir, &address);
    let angry = "HTTP/1.1 500 Oh\r\ncontent-length: 8\r\n\r\nno\r\ndisk";
    let (outcome, _) = tokio::join!(deliver(&way), serve(&listener, angry));
    assert_eq!(outcome, Outcome::Failed("status 500: no disk".into()));
    // Many name what they were asked for.
    let echo = "Cannot POST /hooks/SECRET?; bad Authorization: tk_SECRET";
    let echo = format!("HTTP/1.1 404 No\r\ncontent-length: {}\r\n\r\n{echo}", echo.len());
    let (outcome, _) = tokio::join!(deliver(&way), serve(&listener, &echo));
    let masked = "status 404: Cannot POST ***?; bad Authorization: ***";
    assert_eq!(outcome, Outcome::Failed(masked.into()));
    // The answer is lost, the request may not be.
    let hung_up = async { drop(listener.accept().await.unwrap()) };
    let (outcome, ()) = tokio::join!(deliver(&way), hung_up);
    assert!(matches!(&outcome, Outcome::Unclear(why) if !why.contains("SECRET")), "{outcome:?}");
    drop(listener);
    let outcome = deliver(&way).await;
    assert!(
        matches!(&outcome, Outcome::Failed(why) if why.contains("refused") && !why.contains("SECRET")),
        "{outcome:?}"
    );
    fs::set_permissions(dir.path().join("url"), fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = deliver(&way).await;
    assert!(
        matches!(&outcome, Outcome::Failed(why) if why.contains("chmod 0600") && !why.contains("SECRET")),
        "{outcome:?}"
    );
    assert!(!format!("{way:?}").contains("SECRET"));
}

/// The paused clock runs on by itself while everybody waits: what ends here ends at the deadline.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_or_trickles_is_given_up_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let way = webhook(&dir, &address);
    let silent = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_hours(1)).await;
        drop(stream);
    };
    let begun = Instant::now();
    tokio::select! {
        outcome = deliver(&way) => assert!(!matches!(outcome, Outcome::Sent(_)), "{outcome:?}"),
        () = silent => panic!("it waited for an hour"),
    }
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
    let trickle = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for byte in "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n".bytes().chain(std::iter::repeat_n(b'x', 9999))
        {
            // Whoever gave up has closed it.
            let _ = stream.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let begun = Instant::now();
    tokio::select! {
        outcome = deliver(&way) => assert!(!matches!(outcome, Outcome::Sent(_)), "{outcome:?}"),
        () = trickle => panic!("it waited for the last byte"),
    }
    assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
}

/// A world in which something is wrong with the whole host.
fn damaged() -> World {
    let state = State { seq: 7, damaged: Some((now(), "torn".into())), ..State::default() };
    World {
        now: now().plus(Ms::mins(1)),
        policy: Arc::new(Policy::default()),
        rejected: None,
        config_error: None,
        start: Start::Normal,
        state,
        ledger_bad: None,
        live: BTreeMap::new(),
        graph: Graph::default(),
        starvation: Starvation::default(),
        storm: hostward_core::hold::Storm::default(),
        ill: BTreeSet::new(),
    }
}

fn config(way: Way) -> Notify {
    Notify { notifiers: [("ops".into(), Notifier { rule: Rule::default(), way })].into(), deadman: None }
}

/// Until something was delivered, as the loop would: take, then turn.
async fn until_delivered(notices: &mut Notices, world: &World, journal: &Journal) -> Outcome {
    loop {
        notices.turn(world.now, world);
        let happened = notices.next().await;
        let outcome = match &happened {
            Happened::Delivered(_, outcome) | Happened::Beaten(_, outcome) => Some(outcome.clone()),
            Happened::Saved(..) | Happened::Due => None,
        };
        notices.take(world.now, happened, journal);
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

#[tokio::test]
async fn a_kill_between_open_and_delivery_repeats_the_message_once_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let (journal, world) = (Journal::start().unwrap(), damaged());
    let notify = config(webhook(&dir, &address));
    let start = || Notices::start(dir.path(), notify.clone());

    // It reads the message, and we are killed before it answers.
    let mut first = start();
    first.turn(world.now, &world);
    let taken = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        (request(&mut stream).await, stream)
    };
    let pump = async {
        loop {
            let happened = first.next().await;
            first.take(world.now, happened, &journal);
        }
    };
    let (before, held) = tokio::select! {
        taken = taken => taken,
        () = pump => unreachable!("it has no end"),
    };
    drop(first);
    assert!(before.contains("\"repeated\":false"), "{before}");

    let mut second = start();
    let (outcome, after) = tokio::join!(until_delivered(&mut second, &world, &journal), serve(&listener, OK));
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    assert!(after.contains("\"repeated\":true"), "{after}");
    let id = |text: &str| text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    assert_eq!(id(&before), id(&after), "a receiver can tell");
    second.finish(world.now, &journal).await;

    let mut third = start();
    third.turn(world.now, &world);
    assert!(!third.desk.is_sending(), "what was told is told");
    drop(held);
}

#[tokio::test]
async fn a_turn_never_waits_and_what_failed_is_said_counted_and_owed() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    drop(listener);
    let (journal, world) = (Journal::start().unwrap(), damaged());
    let mut notices = Notices::start(dir.path(), config(webhook(&dir, &address)));
    let outcome = until_delivered(&mut notices, &world, &journal).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let tally = notices.tallies(world.now).remove(0);
    assert_eq!((tally.sent, tally.failed, tally.pending), (0, 1, 1));
    let problem = notices.problems().remove(0);
    assert!(problem.contains("notify.ops") && problem.contains("refused"), "{problem}");
    notices.turn(world.now, &world);
    assert!(!notices.desk.is_sending(), "it backs off");
}

#[tokio::test]
async fn a_disk_that_fails_keeps_no_message_back() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let (journal, world) = (Journal::start().unwrap(), damaged());
    let nowhere = dir.path().join("gone");
    let mut notices = Notices::start(&nowhere, config(webhook(&dir, &address)));
    let (outcome, _) = tokio::join!(until_delivered(&mut notices, &world, &journal), serve(&listener, OK));
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    assert!(notices.problems().iter().any(|problem| problem.contains("notified.json")), "{:?}", notices.problems());
}

#[tokio::test]
async fn the_dead_mans_ping_comes_from_a_completed_turn_and_from_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, address) = listen().await;
    let (journal, world) = (Journal::start().unwrap(), damaged());
    let url = secret(&dir, "url", &format!("http://{address}/dead"));
    let deadman = Some(Deadman { url, every: Ms::mins(1) });
    let mut notices = Notices::start(dir.path(), Notify { notifiers: BTreeMap::new(), deadman });
    for _ in 0..3 {
        notices.turn(world.now, &world);
    }
    // Nobody has connected: there would be somebody to accept.
    let nobody = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(nobody.is_err(), "what is due is no turn of the engine");
    for _ in 0..3 {
        notices.turned();
    }
    let (outcome, request) = tokio::join!(until_delivered(&mut notices, &world, &journal), serve(&listener, OK));
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    assert!(request.starts_with("POST /dead HTTP/1.1"), "{request}");
    let tally = notices.tallies(world.now).remove(0);
    assert_eq!(
        (&*tally.notifier, tally.sent, tally.failed),
        ("deadman", 1, 0),
        "one, for three turns within its time"
    );
}

#[tokio::test]
async fn a_check_beats_only_while_nothing_of_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let way = Way::Healthchecks { url: secret(&dir, "url", "http://127.0.0.1:1/x"), every: Some(Ms::mins(1)) };
    let mut notices = Notices::start(dir.path(), config(way));
    let due = |notices: &mut Notices| {
        let config = notices.config.clone();
        notices.beats.due(&config, |name| notices.desk.is_calm(name)).len()
    };
    notices.desk.look(&damaged());
    assert_eq!(due(&mut notices), 0);
    notices.desk.look(&World { state: State { seq: 8, ..State::default() }, ..damaged() });
    assert_eq!(due(&mut notices), 1);
}

#[tokio::test]
async fn a_mail_is_handed_to_sendmail() {
    let dir = tempfile::tempdir().unwrap();
    let mail = dir.path().join("mail");
    let program = script(dir.path(), &format!("cat >{}", mail.display()));
    let way = Way::Sendmail { to: vec!["root".into()], from: None, program };
    assert!(matches!(deliver(&way).await, Outcome::Sent(_)));
    let mail = fs::read_to_string(mail).unwrap();
    assert!(mail.starts_with("To: root\nSubject: [") && mail.contains("this is a test"), "{mail}");
}
