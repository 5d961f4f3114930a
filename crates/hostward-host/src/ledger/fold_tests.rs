use std::fs;

use hostward_core::id::RunId;
use hostward_core::ledger::{Body, Record};
use hostward_core::time::Ms;

use super::super::testing::{folded, framed, later, named, record, told};
use super::super::{Limits, Writer, engine_lock, frame};
use super::*;

const FORMAT_1: &[u8] = include_bytes!("testdata/format-1.ledger");
const FORMAT_3: &[u8] = include_bytes!("testdata/format-3.ledger");
/// The open run of both.
const OPEN: RunId = RunId(48);

fn dir_with(ledger: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(LEDGER), ledger).unwrap();
    dir
}

/// What an engine does at its start, without what it records then.
fn taken_over(dir: &Path) -> Folded {
    let folded = folded(dir);
    let lock = engine_lock(dir).unwrap();
    assert_eq!(Writer::open(&lock, &folded, Limits::default(), |_| {}).unwrap().close(), 0);
    folded
}

fn records(bytes: &[u8]) -> Vec<Record> {
    let mut frames = Frames::new(bytes);
    let mut records = Vec::new();
    while let Some((seq, payload)) = frames.next().unwrap() {
        records.push(format::record(seq, payload).unwrap());
    }
    assert_eq!(frames.tail(), Tail::Clean);
    records
}

fn fold_all(records: &[Record]) -> State {
    let mut state = State::default();
    for record in records {
        assert_eq!(state.apply(record), Ok(()));
    }
    state
}

/// A small ledger of today: a snapshot with an open run and its charges, and what came after it.
fn small() -> (Vec<u8>, Vec<State>) {
    let mut state = fold_all(&records(FORMAT_1));
    let mut bytes = frame::encode(state.seq, &format::header(&state).unwrap());
    let mut states = vec![state.clone()];
    let bodies = [
        Body::Ended { run: OPEN, step: 0, end: hostward_core::run::StepEnd::Done },
        Body::Stopped,
        Body::Started { boot_id: "another".into(), version: "0".into() },
    ];
    for body in bodies {
        let record = Record { seq: state.seq + 1, at: later(&State::default()), body };
        assert_eq!(state.apply(&record), Ok(()));
        bytes.extend(framed(&record));
        states.push(state.clone());
    }
    (bytes, states)
}

/// Where each of its frames ends.
fn ends(bytes: &[u8]) -> Vec<usize> {
    (1..=bytes.len()).filter(|n| bytes[n - 1] == b'\n').collect()
}

/// The law of this file: the fold of an intact prefix, at least `least` frames long, or damaged, with every charge of it.
fn is_prefix_or_damaged(dir: &Path, states: &[State], least: usize, what: &str) -> Folded {
    let found = folded(dir);
    match &found.condition {
        Condition::Whole | Condition::Torn(_) => {
            assert!(least > 0 && states[least - 1..].contains(&found.state), "{what}: a state of its own");
        }
        Condition::Unusable(why) => {
            let said = found.state.damaged.as_ref().map(|(_, said)| &**said);
            assert_eq!(said, Some(why.as_str()), "{what}: caps are not spent");
            let known = least.checked_sub(1).map_or(0, |n| states[n].charges.len());
            assert!(found.state.charges.len() >= known, "{what}: a charge was made free");
        }
        Condition::Fresh => panic!("{what}: silently empty"),
    }
    found
}

#[test]
fn cut_at_every_byte_it_is_its_intact_prefix_or_damaged() {
    let (bytes, states) = small();
    let ends = ends(&bytes);
    let dir = tempfile::tempdir().unwrap();
    for cut in 0..=bytes.len() {
        fs::write(dir.path().join(LEDGER), &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let found = is_prefix_or_damaged(dir.path(), &states, whole, &format!("cut at {cut}"));
        if whole == 0 {
            assert!(found.condition.unusable().is_some(), "cut at {cut}: without its beginning it says nothing");
        } else {
            assert_eq!(found.state, states[whole - 1], "cut at {cut}");
        }
    }
}

#[test]
fn hit_at_every_byte_it_is_its_intact_prefix_or_damaged() {
    let (bytes, states) = small();
    let ends = ends(&bytes);
    let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= at).count();
        for hit in [bytes[at] ^ 1, 0, b'\n'] {
            let mut file = bytes.clone();
            file[at] = hit;
            if file == bytes {
                continue;
            }
            let what = format!("byte {at} is {hit:#x}");
            fs::write(dir.path().join(LEDGER), file).unwrap();
            let found = is_prefix_or_damaged(dir.path(), &states, whole, &what);
            // A lost end of the last line, or a NUL in it, is what a crash leaves: the last record may be gone, no other.
            let crash = at == bytes.len() - 1 || at >= last && hit == 0;
            assert_eq!(found.condition.unusable().is_none(), crash, "{what}: {:?}", found.condition);
        }
    }
}

#[test]
fn damage_keeps_what_is_known_and_its_file_and_numbers_are_not_given_twice() {
    let (mut bytes, states) = small();
    let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    bytes[second + 30] ^= 1;
    let dir = dir_with(&bytes);
    let found = taken_over(dir.path());
    let why = found.condition.unusable().expect("damaged").to_owned();
    assert!(why.contains("a plan was open on") && why.contains("example-api.service"), "{why}");
    let aside = named(dir.path(), "ledger.damaged-");
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "kept as it was");
    let last = states.last().unwrap();
    assert_eq!(found.state.seq, last.seq, "numbers behind the damage count");
    assert_eq!(found.state.charges, last.charges);
    assert!(matches!(found.state.runs[&OPEN].next(), hostward_core::run::Next::Close(_)), "no step forward");
    // A kill before the engine could say so loses none of it.
    let again = folded(dir.path());
    assert_eq!((again.condition, again.state), (Condition::Whole, found.state));
}

#[test]
fn without_its_snapshot_the_generation_before_it_says_what_is_known() {
    let (bytes, states) = small();
    let dir = dir_with(&bytes);
    fs::rename(dir.path().join(LEDGER), dir.path().join("ledger.old-49")).unwrap();
    let last = states.last().unwrap();
    let mut newer = frame::encode(last.seq, &format::header(last).unwrap());
    newer[60] ^= 1;
    for ledger in [None, Some(&newer[..]), Some(&b""[..])] {
        match ledger {
            Some(ledger) => fs::write(dir.path().join(LEDGER), ledger).unwrap(),
            None => assert!(!dir.path().join(LEDGER).exists()),
        }
        let found = folded(dir.path());
        assert!(found.condition.unusable().is_some(), "{ledger:?}");
        assert_eq!((&found.state.charges, found.state.seq), (&last.charges, last.seq), "{ledger:?}");
    }
}

#[test]
fn a_ledger_that_was_taken_away_is_no_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(folded(dir.path()).condition, Condition::Fresh);
    fs::write(dir.path().join("ledger.damaged-17"), "x").unwrap();
    assert!(folded(dir.path()).condition.unusable().is_some_and(|why| why.contains("is gone")));
}

#[test]
fn format_1_folds_as_it_did_and_stays_as_history() {
    let records = records(FORMAT_1);
    let state = fold_all(&records);
    assert!(state.runs.contains_key(&OPEN), "a plan is open in it");
    assert_eq!((state.charges.len(), state.seq), (2, 49));
    let dir = dir_with(FORMAT_1);
    let found = taken_over(dir.path());
    assert_eq!((&found.state, found.condition), (&state, Condition::Whole));
    assert_eq!(fs::read(dir.path().join("ledger.old-1")).unwrap(), FORMAT_1);
    let again = folded(dir.path());
    assert_eq!((again.state, again.condition), (state, Condition::Whole), "from the snapshot alone");
    assert_eq!(told(dir.path()), (1..=49).collect::<Vec<u64>>());
}

/// N, N+1, N, N+1: a plan is open when the older version comes back.
#[test]
fn a_later_version_s_ledger_is_set_aside_named_and_found_again() {
    let dir = dir_with(FORMAT_3);
    let found = taken_over(dir.path());
    let why = found.condition.unusable().expect("it cannot be used");
    let path = dir.path().join(LEDGER);
    let file = format!("'{}'", path.display());
    for part in [&file, "format 3", "hostward 0.9.0", "understands 2", "start the later version", "`hostward clear`"]
    {
        assert!(why.contains(part), "'{part}' is not in: {why}");
    }
    for unit in ["example-api.service", "indexer.service", "srv-archive.mount"] {
        assert!(why.contains(unit), "{unit} is not in: {why}");
    }
    assert!(!why.contains("other.service"), "that plan was closed: {why}");
    assert_eq!(found.state.seq, 53, "its numbers are not given twice");
    assert!(found.state.damaged.is_some());
    let aside = named(dir.path(), "ledger.newer-");
    assert_eq!(aside.len(), 1);
    fs::rename(&aside[0], &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), FORMAT_3, "the later version finds what it left");
    assert_eq!(folded(dir.path()).condition, found.condition);
}

#[test]
fn a_kind_of_record_without_a_name_here_is_a_later_version_s_and_a_field_is_not() {
    let (bytes, states) = small();
    let last = states.last().unwrap();
    let seq = last.seq + 1;
    let json = |body: &str| format!(r#"{{"seq":{seq},"at":{{"boot":2,"up":1,"wall":1}},"body":{body}}}"#);
    let with = |json: String| dir_with(&[&bytes[..], &frame::encode(seq, json.as_bytes())].concat());

    let dir = with(json(r#"{"consulted":{"oracle":"it"}}"#));
    let found = taken_over(dir.path());
    let why = found.condition.unusable().unwrap_or_default();
    assert!(why.contains("later version") && !why.contains("damaged"), "{why}");
    assert_eq!((named(dir.path(), "ledger.newer-").len(), &found.state.charges), (1, &last.charges));

    let found =
        folded(with(json(r#"{"damaged":{"why":"it","colour":"red"}}"#).replace("}}}", "}},\"more\":[1]}")).path());
    assert_eq!((found.condition, found.state.seq), (Condition::Whole, seq), "unknown fields are passed over");

    let dir = with(json(r#"{"damaged":{}}"#));
    let found = taken_over(dir.path());
    assert!(found.condition.unusable().is_some_and(|why| why.contains("missing field")), "{:?}", found.condition);
    assert_eq!(named(dir.path(), "ledger.damaged-").len(), 1);
}

#[test]
fn a_snapshot_from_the_future_is_damage_and_a_clock_that_went_back_is_none() {
    let (bytes, states) = small();
    let last = states.last().unwrap();
    let dir = dir_with(&bytes);
    let read = |now: Now| fold(dir.path(), &move |_: &State| now).unwrap();
    let same_boot = Now { boot: last.boot, up: Ms::ZERO, wall: Ms::hours(2_000_000) };
    let why = read(same_boot).condition.unusable().expect("later than now").to_owned();
    assert!(why.contains("stamp of boot 1"), "{why}");
    let reset = Now { boot: last.boot + 1, up: Ms::secs(5), wall: Ms::ZERO };
    let found = read(reset);
    assert_eq!(found.condition, Condition::Whole);
    assert!(found.state.charges.iter().all(|(at, _)| reset.since(*at) == Ms::secs(5)), "never a negative age");

    let moved = frame::encode(last.seq + 1, &format::header(last).unwrap());
    let why = folded(dir_with(&moved).path()).condition;
    assert!(why.unusable().is_some_and(|why| why.contains("stands under number")), "{why:?}");
    let huge = State { seq: u64::MAX, ..State::default() };
    let huge = dir_with(&frame::encode(u64::MAX, &format::header(&huge).unwrap()));
    let found = taken_over(huge.path());
    assert!(found.condition.unusable().is_some());
    let next = record(found.state.seq + 1, 1);
    assert_eq!(found.state.clone().apply(&next), Ok(()), "numbers go on");
}
