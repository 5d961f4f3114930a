//! A message in the shape of each way: JSON (documented and versioned), ntfy's head, a healthchecks ping, a mail.

use std::fmt::Write as _;

use hostward_core::hold::Held;
use hostward_core::id::{RunId, Rung, Str, WatchId};
use hostward_core::notify::{Event, Message, Severity, Try};
use hostward_core::time::Ms;
use serde::Serialize;

/// Version of the webhook's shape; it rises when a field changes meaning or goes. docs/usage/notify.md
const VERSION: u32 = 1;
/// ntfy turns a longer message into an attachment.
const SHORT: usize = 4000;

#[derive(Serialize)]
struct Webhook<'a> {
    version: u32,
    id: String,
    host: &'a str,
    event: &'static str,
    severity: &'static str,
    title: String,
    text: String,
    at: String,
    watch: Option<&'a WatchId>,
    condition: &'a str,
    reason: &'a str,
    detail: &'a str,
    since: String,
    until: Option<String>,
    dependents: &'a [WatchId],
    needed_by: &'a [WatchId],
    did: Vec<Did<'a>>,
    held: &'a [Held],
    next: &'a str,
    reminder: u32,
    repeated: bool,
    more: u32,
    open: &'a [Str],
}

#[derive(Serialize)]
struct Did<'a> {
    run: RunId,
    remedy: &'a Rung,
    result: &'static str,
}

impl Did<'_> {
    fn of(tried: &Try) -> Did<'_> {
        Did { run: tried.run, remedy: &tried.rung, result: tried.came_to.label() }
    }
}

pub(super) fn json(host: &str, message: &Message) -> Vec<u8> {
    let shape = Webhook {
        version: VERSION,
        id: id(host, message),
        host,
        event: message.event.label(),
        severity: message.severity.label(),
        title: message.title(host),
        text: message.text(),
        at: utc(message.at.wall),
        watch: message.watch.as_ref(),
        condition: &message.condition,
        reason: &message.reason,
        detail: &message.detail,
        since: utc(message.since.wall),
        until: message.until.map(|until| utc(until.wall)),
        dependents: &message.dependents,
        needed_by: &message.needed_by,
        did: message.did.iter().map(Did::of).collect(),
        held: &message.held,
        next: &message.next,
        reminder: message.reminder,
        repeated: message.again,
        more: message.more,
        open: &message.open,
    };
    serde_json::to_vec(&shape).unwrap_or_default()
}

pub(super) fn webhook_head(host: &str, message: &Message) -> [(&'static str, String); 2] {
    [("content-type", "application/json".to_owned()), ("idempotency-key", ascii(&id(host, message)))]
}

/// docs.ntfy.sh/publish: title, priority (1 to 5) and tags as headers.
pub(super) fn ntfy_head(message: &Message, title: &str, tags: &[Str]) -> [(&'static str, String); 3] {
    let priority = match message.severity {
        Severity::Info => "2",
        Severity::Warning => "3",
        Severity::Critical => "5",
    };
    let tags: Vec<&str> = tags.iter().map(|tag| &**tag).chain([message.event.label()]).collect();
    [("title", ascii(title)), ("priority", priority.to_owned()), ("tags", tags.join(","))]
}

/// healthchecks.io/docs/http_api: which address says it.
pub(super) fn ping(message: &Message) -> &'static str {
    match message.event {
        // Being worked on: the check's own grace time is how long that may take.
        Event::Down => "/start",
        // Of several, one is over: the check as a whole is not.
        Event::Cleared if !message.open.is_empty() => "/log",
        Event::Cleared => "",
        Event::More | Event::Test => "/log",
        _ => "/fail",
    }
}

/// `URL/fail`, also where a query follows.
pub(super) fn below(url: &str, path: &str) -> String {
    if path.is_empty() {
        return url.to_owned();
    }
    let (base, query) = url.find('?').map_or((url, ""), |at| url.split_at(at));
    format!("{}{path}{query}", base.trim_end_matches('/'))
}

pub(super) fn short(text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(SHORT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.as_bytes()[..end].to_vec()
}

/// RFC 5322. What stands in its head has no line breaks: the title's are spaces, addresses have none by the configuration.
pub(super) fn mail(host: &str, to: &[Str], from: Option<&str>, message: &Message) -> Vec<u8> {
    let to: Vec<&str> = to.iter().map(|to| &**to).collect();
    let mut mail = String::new();
    if let Some(from) = from {
        let _ = writeln!(mail, "From: Hostward <{from}>");
    }
    let _ = writeln!(mail, "To: {}", to.join(", "));
    let _ = writeln!(mail, "Subject: {}", ascii(&message.title(host)));
    let urgent = message.severity == Severity::Critical;
    let _ = writeln!(mail, "X-Priority: {}", if urgent { 1 } else { 3 });
    // RFC 3834: no answer by a machine.
    mail.push_str("Auto-Submitted: auto-generated\nMIME-Version: 1.0\n");
    mail.push_str("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n");
    mail.push_str(&message.text());
    let _ = writeln!(mail, "\n-- \n{}, {}, {}", host, utc(message.at.wall), id(host, message));
    mail.into_bytes()
}

fn id(host: &str, message: &Message) -> String {
    format!("{host}/{}", message.id)
}

/// A header has nothing else.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// `2026-01-01T10:00:00.5Z`
fn utc(wall: Ms) -> String {
    let at = i64::try_from(wall.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hostward_core::notify::Came;
    use hostward_core::time::Now;

    use super::*;

    fn message(event: Event) -> Message {
        let at = Now { boot: 1, up: Ms::hours(1), wall: Ms(1_767_261_600_000) };
        let held = Held::new(
            hostward_core::hold::Hold::NoSentinel,
            "/etc/hostward/enabled is absent",
            "a regular file of root's",
            hostward_core::hold::Lift::Operator("create it".into()),
        );
        let tried =
            hostward_core::notify::Try { run: RunId(41), rung: Rung::new("restart"), came_to: Came::UnderWay };
        Message {
            id: "incident-17/held".to_owned(),
            event,
            severity: event.severity(),
            watch: Some(WatchId::new("service.api")),
            condition: "down".into(),
            reason: "failed".into(),
            detail: "the unit is failed\u{e9}".into(),
            since: Now { wall: Ms(1_767_261_540_000), ..at },
            dependents: vec![WatchId::new("service.web")],
            held: vec![held],
            did: vec![tried],
            next: "hostward explain service.api".into(),
            ..Message::test(at)
        }
    }

    /// The documented shape: whoever changes it changes docs/usage/notify.md, and its version if a field goes.
    #[test]
    fn the_webhook_has_its_documented_shape() {
        let said: serde_json::Value = serde_json::from_slice(&json("h1", &message(Event::Held))).unwrap();
        let text = said["text"].clone();
        let want = serde_json::json!({
            "version": 1,
            "id": "h1/incident-17/held",
            "host": "h1",
            "event": "held",
            "severity": "critical",
            "title": "[h1] service.api is down and needs you: no_sentinel",
            "text": text,
            "at": "2026-01-01T10:00:00Z",
            "watch": "service.api",
            "condition": "down",
            "reason": "failed",
            "detail": "the unit is failed\u{e9}",
            "since": "2026-01-01T09:59:00Z",
            "until": null,
            "dependents": ["service.web"],
            "needed_by": [],
            "did": [{ "run": 41, "remedy": "restart", "result": "under_way" }],
            "held": [{
                "hold": "no_sentinel",
                "value": "/etc/hostward/enabled is absent",
                "threshold": "a regular file of root's",
                "lift": { "operator": "create it" },
            }],
            "next": "hostward explain service.api",
            "reminder": 0,
            "repeated": false,
            "more": 0,
            "open": [],
        });
        assert_eq!(said, want);
    }

    #[test]
    fn each_event_has_its_ping_and_one_of_several_ends_does_not_say_that_all_is_well() {
        let pings = Event::ALL.map(|event| ping(&message(event)));
        let want = ["/start", "/fail", "/fail", "/fail", "/fail", "/fail", "/fail", "", "/log", "/log"];
        assert_eq!(pings, want);
        let open = Message { open: vec!["service.db".into()], ..message(Event::Cleared) };
        assert_eq!(ping(&open), "/log");
        for (url, want) in [
            ("https://h/ping/id", "https://h/ping/id/fail"),
            ("https://h/ping/id/", "https://h/ping/id/fail"),
            ("https://h/ping/id?rid=1", "https://h/ping/id/fail?rid=1"),
        ] {
            assert_eq!(below(url, "/fail"), want);
        }
    }

    #[test]
    fn a_push_has_a_head_that_can_be_sent_and_a_body_that_is_short() {
        let head = ntfy_head(&message(Event::Held), "[h\u{e9}] x\ny", &["rotating_light".into()]);
        let want = [("title", "[h?] x?y"), ("priority", "5"), ("tags", "rotating_light,held")];
        assert_eq!(head.each_ref().map(|(name, value)| (*name, value.as_str())), want);
        assert_eq!(short(&"\u{e9}".repeat(4000)).len(), 4000);
        assert_eq!(short("x"), b"x");
    }

    #[test]
    fn a_mail_names_its_recipients_and_nothing_injects_another_header() {
        let message = Message { reason: "x\r\nBcc: eve@example.org".into(), ..message(Event::Down) };
        let mail =
            String::from_utf8(mail("h1", &["root".into(), "a@b".into()], Some("hostward@h1"), &message)).unwrap();
        let (head, body) = mail.split_once("\n\n").unwrap();
        let head: Vec<&str> = head.lines().collect();
        assert_eq!(head[..2], ["From: Hostward <hostward@h1>", "To: root, a@b"]);
        assert!(head[2].starts_with("Subject: [h1] service.api is down (x"), "{}", head[2]);
        assert!(!head.iter().any(|line| line.starts_with("Bcc")), "{head:?}");
        assert!(body.contains("Next: hostward explain service.api") && body.contains("h1/incident-17"), "{body}");
    }
}
