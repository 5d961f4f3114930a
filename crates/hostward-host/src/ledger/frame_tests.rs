use super::*;

const PAYLOADS: [&str; 4] =
    [r#"{"a":1}"#, "", r#"{"begun":"restart example-api.service"}"#, r#"{"z":"12 deadbeef x"}"#];

#[derive(Debug, PartialEq)]
struct Parsed {
    frames: Vec<(u64, Vec<u8>)>,
    tail: Tail,
    end: u64,
    newest: u64,
}

/// Through a buffer of seven bytes, so that every frame lies across its edges.
fn parse(bytes: &[u8]) -> Parsed {
    let mut found = Frames::new(io::BufReader::with_capacity(7, bytes));
    let mut frames = Vec::new();
    while let Some((seq, payload)) = found.next().unwrap() {
        frames.push((seq, payload.to_vec()));
    }
    assert!(found.next().unwrap().is_none(), "the end stays the end");
    Parsed { frames, tail: found.tail(), end: found.end(), newest: found.newest() }
}

fn file() -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let frames: Vec<(u64, Vec<u8>)> =
        (41..).zip(PAYLOADS).map(|(seq, payload)| (seq, payload.as_bytes().to_vec())).collect();
    (frames.iter().flat_map(|(seq, payload)| encode(*seq, payload)).collect(), frames)
}

fn last_len() -> usize {
    encode(44, PAYLOADS[3].as_bytes()).len()
}

#[test]
fn what_was_written_is_read() {
    let (bytes, frames) = file();
    assert_eq!(parse(&bytes), Parsed { frames, tail: Tail::Clean, end: bytes.len() as u64, newest: 44 });
    assert!(bytes.starts_with(b"41 "), "readable by eye");
    assert_eq!(parse(b""), Parsed { frames: Vec::new(), tail: Tail::Clean, end: 0, newest: 0 });
}

#[test]
fn torn_at_every_byte_of_the_last_frame() {
    let (bytes, frames) = file();
    let whole = bytes.len() - last_len();
    for cut in whole + 1..bytes.len() {
        for nuls in [0, 1, 4096] {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(cut + nuls, 0);
            let parsed = parse(&torn);
            assert_eq!(parsed.frames, frames[..3], "cut at {cut}");
            let expected = Tail::Torn { offset: whole as u64, bytes: (torn.len() - whole) as u64 };
            assert_eq!((parsed.tail, parsed.end), (expected, whole as u64), "cut at {cut}, {nuls} NULs");
        }
    }
}

#[test]
fn reserved_space_is_no_damage() {
    let (mut bytes, frames) = file();
    let end = bytes.len() as u64;
    for nuls in [1, 70_000, 2 * MAX_FRAME + 5] {
        bytes.resize(usize::try_from(end).unwrap() + nuls, 0);
        assert_eq!(parse(&bytes), Parsed { frames: frames.clone(), tail: Tail::Clean, end, newest: 44 });
    }
}

#[test]
fn every_flipped_bit_is_damage_but_for_what_a_crash_could_have_left() {
    let (bytes, frames) = file();
    let last = bytes.len() - last_len();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut hit = bytes.clone();
            hit[at] ^= 1 << bit;
            let parsed = parse(&hit);
            assert!(parsed.frames.iter().all(|frame| frames.contains(frame)), "byte {at} bit {bit}");
            // A lost newline at the very end, or a NUL in the last line, is what a crash leaves as well.
            let crash = at == bytes.len() - 1 || at >= last && hit[at] == 0;
            let damaged = matches!(parsed.tail, Tail::Damaged { .. });
            let torn = matches!(parsed.tail, Tail::Torn { .. });
            assert_eq!((damaged, torn), (!crash, crash), "byte {at} bit {bit}: {:?}", parsed.tail);
            let seen = if at < last { 44 } else { 43 };
            assert_eq!(parsed.newest, seen, "byte {at} bit {bit}: numbers behind the damage are not used again");
        }
    }
}

#[test]
fn a_gap_and_a_repetition_are_damage() {
    for seq in [40, 41, 43] {
        let bytes = [encode(41, b"a"), encode(seq, b"b")].concat();
        let parsed = parse(&bytes);
        assert_eq!(parsed.frames.len(), 1);
        let Tail::Damaged { offset, reason } = parsed.tail else { panic!("{seq} accepted") };
        assert_eq!((offset, reason), (parsed.end, format!("sequence number {seq} follows 41")));
    }
    let wrapped = parse(&[encode(u64::MAX, b"a"), encode(0, b"b")].concat());
    assert!(matches!(wrapped.tail, Tail::Damaged { .. }), "{wrapped:?}");
}

#[test]
fn a_frame_behind_megabytes_of_anything_is_found() {
    let start = encode(1, b"a");
    for noise in [vec![0; 3 * MAX_FRAME], vec![b'7'; 3 * MAX_FRAME], b"no newline 3 ".repeat(300_000)] {
        let bytes = [&start[..], &noise, &encode(9, b"b")].concat();
        let parsed = parse(&bytes);
        assert!(matches!(parsed.tail, Tail::Damaged { .. }), "{:?}", parsed.tail);
        assert_eq!(parsed.newest, 9);
    }
}

#[test]
fn a_long_line_that_was_written_whole_is_damage_and_one_with_nuls_is_torn() {
    let start = encode(1, b"a");
    let long = vec![b'x'; 3 * MAX_FRAME];
    let tail = |rest: &[u8]| parse(&[&start[..], rest].concat()).tail;
    assert!(matches!(tail(&[&long[..], b"\n"].concat()), Tail::Damaged { .. }));
    assert!(matches!(tail(&long), Tail::Torn { .. }));
    assert!(matches!(tail(&[&long[..], b"\0\n"].concat()), Tail::Torn { .. }));
}

#[test]
fn the_longest_frame_is_read_and_a_longer_one_is_not() {
    let first = encode(7, &vec![b'x'; MAX_SNAPSHOT]);
    let longest = encode(8, &vec![b'x'; MAX_PAYLOAD]);
    let parsed = |bytes: &[u8]| {
        let mut found = Frames::new(bytes);
        let mut lengths = Vec::new();
        while let Some((_, payload)) = found.next().unwrap() {
            lengths.push(payload.len());
        }
        lengths
    };
    assert_eq!(parsed(&[&first[..], &longest].concat()), [MAX_SNAPSHOT, MAX_PAYLOAD]);
    assert_eq!(parsed(&encode(7, &vec![b'x'; MAX_SNAPSHOT + 1])), [0; 0]);
    assert_eq!(parsed(&[&first[..], &encode(8, &vec![b'x'; MAX_PAYLOAD + 32])].concat()), [MAX_SNAPSHOT]);
}
