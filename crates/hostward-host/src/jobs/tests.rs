//! What a provider may print, and what the published schema says of it.

mod schema;

use std::collections::BTreeMap;

use hostward_core::ask::{Fault, JobState, JobsQ};
use hostward_core::id::Str;
use hostward_core::time::Ms;

use super::entries::Listed;
use super::json;

/// A moment in 2026.
const NOW: Ms = Ms::secs(1_795_000_000);

fn read(text: &str) -> Result<Listed, Fault> {
    let words = BTreeMap::from([(Str::from("crawling"), JobState::Running)]);
    json::read(text.as_bytes(), &words, NOW)
}

fn listed(text: &str) -> Listed {
    read(text).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The first entry, with these members beside its id and state.
fn one(members: &str) -> Listed {
    listed(&format!(r#"[{{"id": "a", "state": "running"{members}}}]"#))
}

#[test]
fn what_is_no_whole_list_is_a_fault_and_never_no_jobs() {
    for text in [
        "",
        "null",
        "42",
        r#""jobs""#,
        "{}",
        r#"{"job": []}"#,
        r#"{"jobs": {}}"#,
        r#"{"jobs": null}"#,
        r#"{"jobs": [], "jobs": []}"#,
        r#"{"jobs": [{"id": "a", "state": "running"}"#,
        r#"[{"id": "a", "state": "running"}"#,
        r#"[{"id": "a", "state": "running"}] and more"#,
        r#"[{"id": "a" "state"}]"#,
        "Traceback (most recent call last):",
    ] {
        assert!(matches!(read(text), Err(Fault::Unreadable(_))), "{text}: {:?}", read(text));
    }
    assert!(matches!(json::read(b"[\xff]", &BTreeMap::new(), NOW), Err(Fault::Unreadable(_))));
    for text in ["[]", r#"{"jobs": []}"#, r#"{"version": 3, "jobs": [], "more": [[]]}"#] {
        assert_eq!(read(text), Ok(Listed::default()), "{text}");
    }
}

#[test]
fn an_entry_is_read_with_all_that_it_says() {
    let listed = one(r#", "group": "g", "started_at": "2026-11-18T12:00:00+01:00", "output": "/srv//jobs/./a",
             "unit": "crawl@a.service", "pid": 17, "lock": "/run/a.lock", "progress": 12.9,
             "numbers": {"pages": 3, "rate": 0.5}, "else": {"a": [1]}"#);
    assert_eq!(listed.refused_total, 0, "{:?}", listed.refused);
    let entry = &listed.entries[0];
    assert_eq!((entry.group.as_deref(), entry.state), (Some("g"), Some(JobState::Running)));
    assert_eq!(entry.started, Some(Ms::secs(1_794_999_600)));
    assert_eq!(entry.output.as_deref().and_then(std::path::Path::to_str), Some("/srv/jobs/a"));
    assert_eq!(entry.unit.as_ref().map(hostward_core::id::UnitName::as_str), Some("crawl@a.service"));
    assert_eq!((entry.pid, entry.progress, entry.numbers.len()), (Some(17), Some(12), 2));
    let seconds = one(r#", "started_at": 1794999600.5"#);
    assert_eq!(seconds.entries[0].started, Some(Ms(1_794_999_600_500)));
    let words = super::json::read(br#"[{"id": "a", "state": "crawling"}]"#, &BTreeMap::new(), NOW).unwrap();
    assert_eq!((words.entries.len(), words.refused_total), (0, 1), "no such word");
}

#[test]
fn one_bad_entry_is_refused_with_why_and_the_others_are_told() {
    for (entry, why) in [
        ("7", "entry 2: "),
        (r#"{"state": "running"}"#, "entry 2: it has no id"),
        (r#"{"id": 7, "state": "running"}"#, "entry 2: id is no text"),
        (r#"{"id": "b"}"#, "job 'b': state is missing"),
        (r#"{"id": "b", "state": "odd"}"#, "state 'odd' is none of"),
        (r#"{"id": "first", "state": "running"}"#, "job 'first': it is listed twice"),
        (r#"{"id": "first", "state": "done"}"#, "job 'first': it is listed twice"),
        (r#"{"id": "b", "id": "c", "state": "running"}"#, "entry 2: duplicate field"),
        (r#"{"id": "b", "state": "running", "progress": -1}"#, "progress -1 is no count"),
        (r#"{"id": "b", "state": "running", "progress": 1e400}"#, "progress is no number"),
        (r#"{"id": "b", "state": "running", "output": "jobs/b"}"#, "output 'jobs/b' is no absolute path"),
        (r#"{"id": "b", "state": "running", "lock": "/run/../etc"}"#, "lock '/run/../etc' has '..' in it"),
        (r#"{"id": "b", "state": "running", "pid": 0}"#, "pid is no process"),
        (r#"{"id": "b", "state": "running", "unit": "crawl"}"#, "unit 'crawl' is no unit's name"),
        (r#"{"id": "b", "state": "running", "started_at": "yesterday"}"#, "started_at 'yesterday' is no time"),
        (r#"{"id": "b", "state": "running", "started_at": 1795000301}"#, "started_at is in the future"),
        (r#"{"id": "../../etc", "state": "running"}"#, "it has the character '/'"),
        (r#"{"id": "-rf", "state": "running"}"#, "it begins with '-'"),
        (r#"{"id": "{output}", "state": "running"}"#, "it has the character '{'"),
        (r#"{"id": "a\u0000b", "state": "running"}"#, "it has the character '\\0'"),
        (r#"{"id": "a b", "state": "running"}"#, "it has the character ' '"),
        (r#"{"id": "", "state": "running"}"#, "it is empty"),
        (r#"{"id": "..", "state": "running"}"#, "it is the name of a folder above"),
    ] {
        let text =
            format!(r#"[{{"id": "first", "state": "running"}}, {entry}, {{"id": "last", "state": "failed"}}]"#);
        let listed = listed(&text);
        let ids: Vec<&str> = listed.entries.iter().map(|entry| &*entry.id).collect();
        assert_eq!((ids, listed.refused_total), (vec!["first", "last"], 1), "{entry}");
        assert!(listed.refused[0].contains(why), "{entry}: {}", listed.refused[0]);
    }
}

#[test]
fn what_nothing_rests_on_is_dropped_alone_and_told() {
    for (members, why) in [
        (r#", "group": "a b""#, "group it has the character ' ', ignoring it alone"),
        (r#", "group": 7"#, "group is no text, ignoring it alone"),
        (r#", "numbers": {"pages": "3", "b": 1}"#, "numbers 'pages' is no number, ignoring it alone"),
        (r#", "numbers": {"a b": 3, "b": 1}"#, "numbers 'a b' is no name for one, ignoring it alone"),
        (r#", "numbers": []"#, "numbers is no object, ignoring it alone"),
    ] {
        let listed = one(members);
        assert_eq!((listed.entries.len(), listed.refused_total), (1, 1), "{members}");
        assert!(listed.refused[0].contains(why), "{}", listed.refused[0]);
        assert_eq!(listed.entries[0].numbers.len(), usize::from(members.contains("\"b\"")));
    }
    let many: Vec<String> = (0..40).map(|n| format!(r#""n{n}": {n}"#)).collect();
    let listed = one(&format!(r#", "numbers": {{{}}}"#, many.join(",")));
    assert_eq!((listed.entries[0].numbers.len(), listed.refused_total), (32, 1));
    assert_eq!(one(r#", "group": null, "pid": null, "output": null, "numbers": null"#).refused_total, 0);
}

#[test]
fn so_many_are_watched_and_those_that_are_done_are_not_counted() {
    let entry = |n: usize, state: &str| format!(r#"{{"id": "{state}{n}", "state": "{state}"}}"#);
    let done = (0..5000).map(|n| entry(n, "done"));
    let waiting = (0..JobsQ::JOBS_MAX + 30).map(|n| entry(n, "pending"));
    let listed = listed(&format!("[{}]", done.chain(waiting).collect::<Vec<_>>().join(",")));
    assert_eq!((listed.entries.len(), listed.refused_total, listed.refused.len()), (JobsQ::JOBS_MAX, 30, 20));
}

/// Whoever wrote it, it costs neither stack nor memory.
#[test]
fn nesting_and_length_are_no_danger() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    for text in [format!(r#"[{{"id": "a", "state": "running"}}, {deep}]"#), format!(r#"{{"x": {deep}, "jobs": []}}"#)]
    {
        assert!(read(&text).is_ok(), "it is JSON");
    }
    assert!(read(&"[".repeat(1_000_000)).is_err());
    let wide = listed(&format!("[{}0]", "0,".repeat(1_000_000)));
    assert_eq!((wide.entries.len(), wide.refused_total), (0, 1_000_001));
    let long = listed(&format!(r#"[{{"id": "{}", "state": "running"}}]"#, "x".repeat(1_000_000)));
    assert!(long.refused[0].len() <= 200, "{}", long.refused[0].len());
}

#[test]
fn what_is_shown_of_a_bad_entry_has_no_secrets_and_no_control_characters() {
    let listed = listed(r#"[{"id": "a", "state": "password=hunter2\u001b[31m"}]"#);
    assert!(!listed.refused[0].contains("hunter2") && !listed.refused[0].contains('\u{1b}'), "{}", listed.refused[0]);
}
