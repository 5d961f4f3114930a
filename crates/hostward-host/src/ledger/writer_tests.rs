use std::fs;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use super::super::{engine_lock, read};
use super::*;

fn start(dir: &Path) -> (Writer, Loaded, Receiver<LedgerEvent>) {
    let (tell, told) = channel();
    let lock = engine_lock(dir).unwrap();
    let (writer, loaded) = Writer::open(&lock, move |event| drop(tell.send(event))).unwrap();
    (writer, loaded, told)
}

fn next(told: &Receiver<LedgerEvent>) -> LedgerEvent {
    told.recv_timeout(Duration::from_secs(20)).expect("the writer says something")
}

/// Groups may fall in any way; the last one tells.
fn durable(told: &Receiver<LedgerEvent>, seq: u64) {
    while next(told) != LedgerEvent::Durable(seq) {}
}

/// A tmpfs of this size, gone with the value. Needs root.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "hostward-test"]).arg(dir.path()).status();
        assert!(done.unwrap().success(), "this test mounts a tmpfs and needs root");
        Disk(dir)
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let file = File::create(&path).unwrap();
        let mut at = 0;
        while file.write_all_at(&[1; 4096], at).is_ok() {
            at += 4096;
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "the test's tmpfs stays mounted");
    }
}

#[test]
fn what_is_reported_durable_is_read_by_another_and_by_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, loaded, told) = start(dir.path());
    assert_eq!(loaded, Loaded { frames: Vec::new(), tail: Tail::Clean });
    for seq in 7..300 {
        writer.append(seq, format!(r#"{{"n":{seq}}}"#).as_bytes()).unwrap();
    }
    durable(&told, 299);
    let seen = read(dir.path()).unwrap();
    assert_eq!((seen.frames.len(), seen.tail.clone()), (293, Tail::Clean), "reserved space does not show");
    assert_eq!(dir.path().join(LEDGER).metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(writer.close(), 0);

    let (writer, loaded, told) = start(dir.path());
    assert_eq!(loaded, seen);
    assert_eq!(writer.append(299, b"again"), Err(AppendError::Sequence { seq: 299, last: 299 }));
    writer.append(300, b"next").unwrap();
    durable(&told, 300);
    assert_eq!(read(dir.path()).unwrap().frames.last().unwrap(), &(300, b"next".to_vec()));
}

#[test]
fn closing_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, _, _told) = start(dir.path());
    for seq in 0..500 {
        writer.append(seq, b"x").unwrap();
    }
    assert_eq!(writer.close(), 0);
    assert_eq!(read(dir.path()).unwrap().frames.len(), 500);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_the_next_append_follows_the_last_whole_frame() {
    let whole = [frame::encode(1, b"one"), frame::encode(2, b"two")].concat();
    let torn = frame::encode(3, b"three");
    for cut in 1..torn.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LEDGER), [&whole[..], &torn[..cut], &[0; 100]].concat()).unwrap();
        let (writer, loaded, told) = start(dir.path());
        assert_eq!(loaded.tail, Tail::Torn { offset: whole.len() as u64, bytes: cut as u64 + 100 });
        assert_eq!(fs::read(dir.path().join(LEDGER)).unwrap(), whole, "cut off");
        writer.append(3, b"other").unwrap();
        durable(&told, 3);
        let all = [&whole[..], &frame::encode(3, b"other")].concat();
        assert_eq!(fs::read(dir.path().join(LEDGER)).unwrap(), all);
        assert_eq!(writer.close(), 0);
    }
}

#[test]
fn reserved_nuls_left_by_a_crash_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let one = frame::encode(1, b"one");
    fs::write(dir.path().join(LEDGER), [&one[..], &[0; 5000]].concat()).unwrap();
    let (writer, loaded, told) = start(dir.path());
    assert_eq!(loaded, Loaded { frames: vec![(1, b"one".to_vec())], tail: Tail::Clean });
    writer.append(2, b"two").unwrap();
    durable(&told, 2);
    assert_eq!(fs::read(dir.path().join(LEDGER)).unwrap(), [one, frame::encode(2, b"two")].concat());
}

#[test]
fn a_damaged_file_is_kept_aside_unchanged_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = [frame::encode(1, b"one"), frame::encode(2, b"two"), frame::encode(3, b"three")].concat();
    let hit = frame::encode(1, b"one").len() + 12;
    bytes[hit] ^= 4;
    fs::write(dir.path().join(LEDGER), &bytes).unwrap();
    let (writer, loaded, told) = start(dir.path());
    assert!(matches!(loaded.tail, Tail::Damaged { .. }), "{loaded:?}");
    assert_eq!(loaded.frames, [(1, b"one".to_vec())]);
    let aside: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("ledger.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), bytes);
    writer.append(2, b"new").unwrap();
    durable(&told, 2);
    assert_eq!(read(dir.path()).unwrap(), Loaded { frames: vec![(2, b"new".to_vec())], tail: Tail::Clean });
}

#[test]
fn a_full_disk_is_told_once_keeps_the_queue_and_recovers() {
    let disk = Disk::new("64k");
    let dir = disk.0.path().join("state");
    let (writer, _, told) = start(&dir);
    writer.append(1, b"before").unwrap();
    assert_eq!(next(&told), LedgerEvent::Durable(1));
    let filler = disk.fill();
    let big = vec![b'x'; 9000];
    writer.append(2, &big).unwrap();
    let LedgerEvent::Failed(text) = next(&told) else { panic!("a full disk took 9 kB") };
    assert!(text.contains("No space left"), "{text}");
    writer.append(3, b"after").unwrap();
    assert_eq!(writer.waiting(), 2);
    assert!(told.recv_timeout(Duration::from_millis(2500)).is_err(), "told once an outage");
    fs::remove_file(filler).unwrap();
    assert_eq!((next(&told), next(&told)), (LedgerEvent::Recovered, LedgerEvent::Durable(3)));
    assert_eq!(writer.close(), 0);
    let frames = vec![(1, b"before".to_vec()), (2, big), (3, b"after".to_vec())];
    assert_eq!(read(&dir).unwrap(), Loaded { frames, tail: Tail::Clean });
}

#[test]
fn reserved_space_takes_records_on_a_disk_that_others_filled() {
    let disk = Disk::new("4m");
    let dir = disk.0.path().join("state");
    let (writer, _, told) = start(&dir);
    writer.append(1, b"reserves").unwrap();
    assert_eq!(next(&told), LedgerEvent::Durable(1));
    disk.fill();
    for seq in 2..=100 {
        writer.append(seq, &[b'x'; 9000]).unwrap();
    }
    while let event = next(&told)
        && event != LedgerEvent::Durable(100)
    {
        assert!(matches!(event, LedgerEvent::Durable(_)), "{event:?}");
    }
}

#[test]
fn on_a_disk_that_stays_full_the_queue_ends_at_its_limit_and_closing_says_what_is_lost() {
    let disk = Disk::new("64k");
    let dir = disk.0.path().join("state");
    let (writer, _, told) = start(&dir);
    disk.fill();
    writer.append(1, &[b'x'; 9000]).unwrap();
    assert!(matches!(next(&told), LedgerEvent::Failed(_)));
    for seq in 2..=MAX_WAITING as u64 {
        writer.append(seq, b"x").unwrap();
    }
    assert_eq!(writer.append(1025, b"x"), Err(AppendError::Full));
    assert_eq!(writer.close(), MAX_WAITING);
    assert_eq!(read(&dir).unwrap().frames, []);
}

#[test]
fn what_is_no_line_or_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, _, _told) = start(dir.path());
    assert_eq!(writer.append(1, b"a\nb"), Err(AppendError::NotALine(1)));
    assert_eq!(writer.append(1, b"a\0b"), Err(AppendError::NotALine(1)));
    assert_eq!(writer.append(1, &vec![b'x'; MAX_PAYLOAD + 1]), Err(AppendError::TooLong(1)));
    writer.append(1, &vec![b'x'; MAX_PAYLOAD]).unwrap();
    assert_eq!(writer.close(), 0);
}
