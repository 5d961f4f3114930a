use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::super::testing::{Disk, folded, framed, line, named, record, told};
use super::super::{Condition, engine_lock};
use super::*;

fn start_with(dir: &Path, limits: Limits) -> (Writer, Folded, Receiver<LedgerEvent>) {
    let (tell, told) = channel();
    let lock = engine_lock(dir).unwrap();
    let folded = folded(dir);
    let writer = Writer::open(&lock, &folded, limits, move |event| drop(tell.send(event))).unwrap();
    (writer, folded, told)
}

fn start(dir: &Path) -> (Writer, Folded, Receiver<LedgerEvent>) {
    start_with(dir, Limits::default())
}

fn append(writer: &Writer, seq: u64, bytes: usize) {
    writer.append(seq, &line(&record(seq, bytes))).unwrap();
}

fn next(told: &Receiver<LedgerEvent>) -> LedgerEvent {
    told.recv_timeout(Duration::from_secs(20)).expect("the writer says something")
}

/// Groups may fall in any way; the last one tells.
fn durable(told: &Receiver<LedgerEvent>, seq: u64) {
    while next(told) != LedgerEvent::Durable(seq) {}
}

fn ledger(dir: &Path) -> PathBuf {
    dir.join(LEDGER)
}

#[test]
fn what_is_reported_durable_is_read_by_another_and_by_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, found, events) = start(dir.path());
    assert_eq!(found.condition, Condition::Fresh);
    assert_eq!(folded(dir.path()).condition, Condition::Whole, "a file is whole from its first moment");
    for seq in 1..300 {
        append(&writer, seq, 9);
    }
    durable(&events, 299);
    let seen = folded(dir.path());
    assert_eq!((seen.state.seq, seen.condition), (299, Condition::Whole), "reserved space does not show");
    assert_eq!(ledger(dir.path()).metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(writer.close(), 0);

    let (writer, found, events) = start(dir.path());
    assert_eq!(found.state, seen.state);
    assert_eq!(writer.append(299, b"again"), Err(AppendError::Sequence { seq: 299, last: 299 }));
    append(&writer, 300, 9);
    durable(&events, 300);
    assert_eq!(told(dir.path()), (1..=300).collect::<Vec<u64>>());
}

#[test]
fn closing_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, _, _events) = start(dir.path());
    for seq in 1..500 {
        append(&writer, seq, 1);
    }
    assert_eq!(writer.close(), 0);
    assert_eq!(told(dir.path()).len(), 499);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_the_next_append_follows_the_last_whole_frame() {
    let first = tempfile::tempdir().unwrap();
    let (writer, _, _events) = start(first.path());
    append(&writer, 1, 5);
    append(&writer, 2, 5);
    assert_eq!(writer.close(), 0);
    let whole = fs::read(ledger(first.path())).unwrap();
    let torn = framed(&record(3, 5));
    for cut in 1..torn.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(ledger(dir.path()), [&whole[..], &torn[..cut], &[0; 100]].concat()).unwrap();
        let (writer, found, events) = start(dir.path());
        let text = format!("{} bytes of an unfinished record at byte {}", cut + 100, whole.len());
        assert_eq!(found.condition, Condition::Torn(text));
        assert_eq!(fs::read(ledger(dir.path())).unwrap(), whole, "cut off");
        append(&writer, 3, 7);
        durable(&events, 3);
        assert_eq!(fs::read(ledger(dir.path())).unwrap(), [&whole[..], &framed(&record(3, 7))].concat());
        assert_eq!(writer.close(), 0);
    }
}

#[test]
fn a_file_that_has_grown_asks_for_its_state_and_begins_anew_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { rotate_at: 4000, generations: 2 };
    let (writer, mut found, events) = start_with(dir.path(), limits);
    let mut rotations = 0;
    for seq in 1..=200 {
        append(&writer, seq, 100);
        assert_eq!(found.state.apply(&record(seq, 100)), Ok(()));
        durable(&events, seq);
        if writer.wants_snapshot() {
            rotations += 1;
            writer.snapshot(&found.state).unwrap();
            assert!(!writer.wants_snapshot(), "asked for once");
        }
    }
    assert_eq!(writer.close(), 0);
    assert!(rotations >= 5, "{rotations} rotations");
    assert_eq!(named(dir.path(), "ledger.old-").len(), 2, "bounded");
    assert!(ledger(dir.path()).metadata().unwrap().len() < 5000);
    assert_eq!(folded(dir.path()).state, found.state);
    let history = told(dir.path());
    assert_eq!(history, (history[0]..=200).collect::<Vec<u64>>(), "without a gap and without a repetition");
    assert!(history[0] > 1 && history.len() > 25, "{} records of three files", history.len());
}

#[test]
fn a_snapshot_that_is_not_of_the_last_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, found, _events) = start(dir.path());
    append(&writer, 1, 1);
    assert_eq!(writer.snapshot(&found.state), Err(AppendError::Sequence { seq: 0, last: 1 }));
}

/// What a kill leaves, at each point of a rotation and with each part of the new file, is the old ledger or the new one:
/// both say the same, and nothing that was said durable is missing.
#[test]
fn killed_at_any_point_of_a_rotation_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut found, _events) = start(dir.path());
    for seq in 1..=20 {
        append(&writer, seq, 10);
        assert_eq!(found.state.apply(&record(seq, 10)), Ok(()));
    }
    assert_eq!(writer.close(), 0);
    let frame = frame::encode(20, &format::header(&found.state).unwrap());
    let copies = tempfile::tempdir().unwrap();
    let mut stages = Vec::new();
    let mut look = |stage: place::Stage| {
        let copy = copies.path().join(format!("{stage:?}"));
        // -a keeps two names of one file two names of one file.
        let done = std::process::Command::new("cp").arg("-a").arg(dir.path()).arg(&copy).status();
        assert!(done.unwrap().success());
        stages.push(copy);
    };
    place::replace(dir.path(), &frame, Keep::Generation(0), &mut |_| Ok(()), &mut look).unwrap();
    assert_eq!(stages.len(), 4);
    for cut in 0..frame.len() {
        let copy = copies.path().join(format!("cut-{cut}"));
        fs::create_dir(&copy).unwrap();
        fs::copy(ledger(&stages[0]), ledger(&copy)).unwrap();
        fs::write(copy.join("ledger.new"), &frame[..cut]).unwrap();
        stages.push(copy);
    }
    for copy in stages {
        assert_eq!(told(&copy), (1..=20).collect::<Vec<u64>>(), "{}", copy.display());
        let (writer, seen, events) = start_with(&copy, Limits { rotate_at: 1, generations: 4 });
        assert_eq!((&seen.state, &seen.condition), (&found.state, &Condition::Whole), "{}", copy.display());
        append(&writer, 21, 10);
        durable(&events, 21);
        let mut state = seen.state.clone();
        assert_eq!(state.apply(&record(21, 10)), Ok(()));
        assert!(writer.wants_snapshot());
        writer.snapshot(&state).unwrap();
        assert_eq!(writer.close(), 0);
        assert_eq!(told(&copy), (1..=21).collect::<Vec<u64>>(), "{}", copy.display());
        assert!(!copy.join("ledger.new").exists(), "nothing is left over");
        assert_eq!(folded(&copy).state, state);
    }
}

/// The child of the test below: appends and rotates until it is killed, and says what is durable.
fn append_until_killed(dir: &Path) -> ! {
    let limits = Limits { rotate_at: 3000, generations: 3 };
    let (writer, mut found, events) = start_with(dir, limits);
    loop {
        let seq = found.state.seq + 1;
        append(&writer, seq, 50);
        assert_eq!(found.state.apply(&record(seq, 50)), Ok(()));
        durable(&events, seq);
        println!("durable {seq}");
        if writer.wants_snapshot() {
            writer.snapshot(&found.state).unwrap();
        }
    }
}

#[test]
fn killed_again_and_again_all_that_was_said_durable_is_there() {
    use std::io::BufRead;
    const CHILD: &str = "HOSTWARD_TEST_KILLED_DIR";
    // This program runs this very test again, as the one that is killed.
    if let Some(dir) = std::env::var_os(CHILD) {
        append_until_killed(Path::new(&dir));
    }
    let name = "ledger::writer::tests::killed_again_and_again_all_that_was_said_durable_is_there";
    let dir = tempfile::tempdir().unwrap();
    let mut said = 0;
    for round in 1..=25 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact", name])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        // A different distance each time, so that the kill meets every part of a rotation in the end.
        let enough = said + 13 + round * 7;
        while said < enough {
            let line = lines.next().expect("the child goes on").unwrap();
            said = line.split_once("durable ").map_or(said, |(_, seq)| seq.parse().unwrap());
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            said = line.strip_prefix("durable ").and_then(|seq| seq.parse().ok()).unwrap_or(said);
        }
        child.wait().unwrap();
        let found = folded(dir.path());
        assert!(found.condition.unusable().is_none(), "round {round}: {:?}", found.condition);
        assert!(found.state.seq >= said, "round {round}: {} of {said}", found.state.seq);
        let history = told(dir.path());
        assert_eq!(history, (history[0]..=found.state.seq).collect::<Vec<u64>>(), "round {round}");
        said = found.state.seq;
    }
    assert_eq!(named(dir.path(), "ledger.old-").len(), 3);
}

/// A sync that says that it was called, and waits for leave.
fn slow(dir: &Path) -> (Writer, Receiver<()>, Sender<()>, Receiver<LedgerEvent>) {
    let (leave, wait) = channel::<()>();
    let (call, called) = channel::<()>();
    let (tell, told) = channel();
    let sync: Sync = Box::new(move |_| {
        // Told to go on, or the test is over.
        let _ = call.send(());
        let _ = wait.recv();
        Ok(())
    });
    let lock = engine_lock(dir).unwrap();
    let report = Box::new(move |event| drop(tell.send(event)));
    let writer = Writer::open_with(&lock, &folded(dir), Limits::default(), sync, report).unwrap();
    (writer, called, leave, told)
}

#[test]
fn how_long_the_oldest_record_waits_for_a_slow_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, called, leave, events) = slow(dir.path());
    assert_eq!(writer.oldest_waiting(), None);
    append(&writer, 1, 1);
    called.recv().unwrap();
    let first = writer.oldest_waiting().expect("it waits");
    append(&writer, 2, 1);
    assert!(writer.oldest_waiting().expect("it still waits") >= first, "the oldest, not the newest");
    assert!(events.try_recv().is_err(), "nothing is durable before its sync");
    leave.send(()).unwrap();
    assert_eq!(next(&events), LedgerEvent::Durable(1));
    leave.send(()).unwrap();
    assert_eq!(next(&events), LedgerEvent::Durable(2));
    assert_eq!(writer.oldest_waiting(), None);
}

#[test]
fn a_sync_that_fails_is_never_asked_of_the_same_descriptor_again() {
    let dir = tempfile::tempdir().unwrap();
    let (tell, events) = channel();
    let (seen, descriptors) = channel();
    let mut failures = 1;
    let mut kept = Vec::new();
    let sync: Sync = Box::new(move |file| {
        // The clone keeps the number taken, so that another number is another descriptor.
        kept.push(file.try_clone()?);
        seen.send(std::os::fd::AsRawFd::as_raw_fd(file)).unwrap();
        failures -= 1;
        if failures >= 0 { Err(std::io::Error::other("EIO")) } else { file.sync_data() }
    });
    let lock = engine_lock(dir.path()).unwrap();
    let report = Box::new(move |event| drop(tell.send(event)));
    let writer = Writer::open_with(&lock, &folded(dir.path()), Limits::default(), sync, report).unwrap();
    append(&writer, 1, 1);
    assert!(matches!(next(&events), LedgerEvent::Failed(_)));
    assert_eq!((next(&events), next(&events)), (LedgerEvent::Recovered, LedgerEvent::Durable(1)));
    let synced: Vec<i32> = descriptors.try_iter().collect();
    assert_eq!(synced.len(), 2);
    assert_ne!(synced[0], synced[1]);
    assert_eq!(told(dir.path()), [1], "written once");
}

#[test]
fn a_full_disk_is_told_once_keeps_the_queue_and_recovers() {
    let disk = Disk::new("4m");
    let dir = disk.path().join("state");
    let (writer, _, events) = start(&dir);
    append(&writer, 1, 10);
    assert_eq!(next(&events), LedgerEvent::Durable(1));
    let filler = disk.fill();
    let mut seq = 1;
    // The reserve takes a hundred runs; then little is left of it, and that is said while records still go through.
    let text = loop {
        seq += 1;
        append(&writer, seq, 9000);
        match next(&events) {
            LedgerEvent::Durable(done) => assert_eq!(done, seq),
            LedgerEvent::Failed(text) => break text,
            other => panic!("{other:?}"),
        }
    };
    assert!(text.contains("No space left"), "{text}");
    assert!(seq > 50, "{seq} records of 9 kB found room in a reserve of 1 MiB");
    assert_eq!(next(&events), LedgerEvent::Durable(seq), "the outcome of what is under way is still written");
    for more in 1..=20 {
        append(&writer, seq + more, 9000);
    }
    durable(&events, seq + 20);
    seq += 20;
    while writer.waiting() == 0 {
        seq += 1;
        append(&writer, seq, 100_000);
        if events.recv_timeout(Duration::from_secs(2)) != Ok(LedgerEvent::Durable(seq)) {
            break;
        }
    }
    assert_eq!(writer.waiting(), 1, "at last even the reserve is used up");
    append(&writer, seq + 1, 10);
    fs::remove_file(filler).unwrap();
    // A file system may give back what was freed a moment later than it takes the next bytes.
    let told_of = [next(&events), next(&events)];
    let expected = [LedgerEvent::Recovered, LedgerEvent::Durable(seq + 1)];
    assert!(expected.iter().all(|event| told_of.contains(event)), "{told_of:?}");
    assert_eq!(writer.close(), 0);
    assert_eq!(told(&dir), (1..=seq + 1).collect::<Vec<u64>>());
}

#[test]
fn a_disk_that_was_full_is_looked_at_again_though_nothing_is_to_be_written() {
    let disk = Disk::new("4m");
    let filler = disk.fill();
    // Room for the lock and the first file, and for no reserve.
    let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - 64 * 1024).unwrap();
    drop(file);
    let (writer, _, events) = start(&disk.path().join("state"));
    assert!(matches!(next(&events), LedgerEvent::Failed(_)));
    fs::remove_file(filler).unwrap();
    assert_eq!(next(&events), LedgerEvent::Recovered);
    assert_eq!(writer.waiting(), 0);
}

#[test]
fn a_file_that_cannot_be_replaced_goes_on() {
    let disk = Disk::new("4m");
    let dir = disk.path().join("state");
    let (writer, mut found, events) = start_with(&dir, Limits { rotate_at: 3000, generations: 4 });
    let mut seq = 0;
    let mut write = |count: u64| {
        for _ in 0..count {
            seq += 1;
            append(&writer, seq, 1000);
            assert_eq!(found.state.apply(&record(seq, 1000)), Ok(()));
            durable(&events, seq);
        }
        found.state.clone()
    };
    let state = write(3);
    let filler = disk.fill();
    assert!(writer.wants_snapshot());
    writer.snapshot(&state).unwrap();
    let LedgerEvent::NotRotated(text) = next(&events) else { panic!("rotated on a full disk") };
    assert!(text.contains("No space left"), "{text}");
    write(1);
    assert!(!writer.wants_snapshot(), "not at once again");
    assert_eq!((named(&dir, "ledger.new").len(), named(&dir, "ledger.old-").len()), (0, 0));
    fs::remove_file(filler).unwrap();
    let state = write(3);
    assert!(writer.wants_snapshot());
    writer.snapshot(&state).unwrap();
    assert_eq!(next(&events), LedgerEvent::Rotated, "what was said before is over");
    assert_eq!(writer.close(), 0);
    assert_eq!(named(&dir, "ledger.old-").len(), 1);
    assert_eq!(told(&dir), (1..=7).collect::<Vec<u64>>());
    assert_eq!(folded(&dir).state, state);
}

#[test]
fn on_a_disk_that_stays_full_the_queue_ends_at_its_limit_and_closing_says_what_is_lost() {
    let disk = Disk::new("64k");
    let dir = disk.path().join("state");
    let (writer, _, events) = start(&dir);
    disk.fill();
    append(&writer, 1, 9000);
    assert!(matches!(next(&events), LedgerEvent::Failed(_)));
    for seq in 2..=MAX_WAITING as u64 {
        append(&writer, seq, 1);
    }
    assert_eq!(writer.append(1025, b"x"), Err(AppendError::Full));
    assert_eq!(writer.close(), MAX_WAITING);
    assert_eq!(folded(&dir).state.seq, 0);
}

#[test]
fn what_is_no_line_or_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, _, _events) = start(dir.path());
    assert_eq!(writer.append(1, b"a\nb"), Err(AppendError::NotALine(1)));
    assert_eq!(writer.append(1, b"a\0b"), Err(AppendError::NotALine(1)));
    assert_eq!(writer.append(1, &vec![b'x'; MAX_PAYLOAD + 1]), Err(AppendError::TooLong(1)));
    writer.append(1, &vec![b'x'; MAX_PAYLOAD]).unwrap();
    assert_eq!(writer.close(), 0);
}

#[test]
fn what_cannot_be_used_is_kept_aside_unchanged_and_only_the_newest_of_it() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..7 {
        let (writer, found, _events) = start(dir.path());
        assert_eq!(found.condition.unusable().is_some(), round > 0, "{:?}", found.condition);
        assert_eq!(writer.close(), 0);
        let file = File::options().write(true).open(ledger(dir.path())).unwrap();
        file.write_all_at(format!("mark {round}").as_bytes(), 20).unwrap();
    }
    let kept = named(dir.path(), "ledger.damaged-");
    assert_eq!(kept.len(), 4);
    let marked = fs::read(kept.last().unwrap()).unwrap();
    assert!(marked.windows(6).any(|w| w == b"mark 5"), "the newest");
}
