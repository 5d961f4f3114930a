//! One frame: `SEQ CRC32HEX PAYLOAD\n`, a text line, so that `less` reads the ledger when all else is gone.
//!
//! The CRC covers the sequence number and the payload. Sequence numbers rise by one within a file.

use super::{Loaded, Tail};

/// A payload's limit: 1 MiB, the size of an evidence bundle. Longer ones are refused, never cut.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The twenty digits of a `u64`, two spaces, eight of CRC, one newline.
const MAX_FRAME: usize = MAX_PAYLOAD + 31;

/// What [`parse`] found.
pub(super) struct Parsed {
    pub(super) loaded: Loaded,
    /// Where the last whole frame ends: the next append goes here.
    pub(super) end: u64,
}

/// The payload holds no newline and is at most [`MAX_PAYLOAD`] long: the caller has checked.
pub(super) fn encode(seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut line = format!("{seq} {:08x} ", crc(seq, payload)).into_bytes();
    line.extend_from_slice(payload);
    line.push(b'\n');
    line
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut at = 0;
    let tail = loop {
        let rest = &bytes[at..];
        if rest.iter().all(|b| *b == 0) {
            break Tail::Clean;
        }
        let Some((seq, payload, len)) = first(rest) else {
            break broken(rest, at);
        };
        if let Some((last, _)) = frames.last()
            && seq != last.wrapping_add(1)
        {
            let reason = format!("sequence number {seq} follows {last}");
            break Tail::Damaged { offset: at as u64, reason };
        }
        frames.push((seq, payload.to_vec()));
        at += len;
    };
    Parsed { loaded: Loaded { frames, tail }, end: at as u64 }
}

/// `rest` does not begin with a whole frame: is there one anywhere behind? It is looked for at every offset, not only
/// after newlines, for a newline may be the very byte that was hit.
fn broken(rest: &[u8], at: usize) -> Tail {
    let starts = (1..rest.len()).filter(|i| rest[*i].is_ascii_digit() && !rest[i - 1].is_ascii_digit());
    match starts.map(|i| (i, first(&rest[i..]))).find_map(|(i, found)| Some((i, found?.0))) {
        Some((skipped, seq)) => Tail::Damaged {
            offset: at as u64,
            reason: format!("{skipped} bytes are no frame, yet record {seq} follows them"),
        },
        None => Tail::Torn { offset: at as u64, bytes: rest.len() as u64 },
    }
}

/// The frame at the beginning of `bytes`: sequence number, payload, length of the whole.
fn first(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let digits = bytes.iter().take(20).take_while(|b| b.is_ascii_digit()).count();
    let head = bytes.get(..digits + 10)?;
    if digits == 0 || (head[0] == b'0' && digits > 1) || head[digits] != b' ' || head[digits + 9] != b' ' {
        return None;
    }
    let seq: u64 = std::str::from_utf8(&head[..digits]).ok()?.parse().ok()?;
    let hex = &head[digits + 1..digits + 9];
    if !hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let told = u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    let newline = bytes.iter().take(MAX_FRAME).position(|b| *b == b'\n')?;
    let payload = bytes.get(digits + 10..newline)?;
    (payload.len() <= MAX_PAYLOAD && crc(seq, payload) == told).then_some((seq, payload, newline + 1))
}

fn crc(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOADS: [&str; 4] =
        [r#"{"a":1}"#, "", r#"{"begun":"restart example-api.service"}"#, r#"{"z":"12 deadbeef x"}"#];

    fn file() -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let frames: Vec<(u64, Vec<u8>)> =
            (41..).zip(PAYLOADS).map(|(seq, payload)| (seq, payload.as_bytes().to_vec())).collect();
        (frames.iter().flat_map(|(seq, payload)| encode(*seq, payload)).collect(), frames)
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, frames) = file();
        let parsed = parse(&bytes);
        assert_eq!(parsed.loaded, Loaded { frames, tail: Tail::Clean });
        assert_eq!(parsed.end, bytes.len() as u64);
        assert!(bytes.starts_with(b"41 "), "readable by eye");
        assert_eq!(parse(b"").loaded, Loaded { frames: Vec::new(), tail: Tail::Clean });
    }

    #[test]
    fn torn_at_every_byte_of_the_last_frame() {
        let (bytes, frames) = file();
        let whole = parse(&bytes[..bytes.len() - encode(44, PAYLOADS[3].as_bytes()).len()]).end;
        for cut in usize::try_from(whole).unwrap() + 1..bytes.len() {
            for nuls in [0, 1, 4096] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(cut + nuls, 0);
                let parsed = parse(&torn);
                assert_eq!(parsed.loaded.frames, frames[..3], "cut at {cut}");
                let expected = Tail::Torn { offset: whole, bytes: torn.len() as u64 - whole };
                assert_eq!((parsed.loaded.tail, parsed.end), (expected, whole), "cut at {cut}, {nuls} NULs");
            }
        }
    }

    #[test]
    fn reserved_space_is_no_damage() {
        let (mut bytes, frames) = file();
        let end = bytes.len() as u64;
        bytes.resize(bytes.len() + 70_000, 0);
        let parsed = parse(&bytes);
        assert_eq!((parsed.loaded, parsed.end), (Loaded { frames, tail: Tail::Clean }, end));
    }

    #[test]
    fn every_flipped_bit_before_the_last_frame_is_damage_and_in_it_a_torn_tail() {
        let (bytes, frames) = file();
        let last = bytes.len() - encode(44, PAYLOADS[3].as_bytes()).len();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut hit = bytes.clone();
                hit[at] ^= 1 << bit;
                let parsed = parse(&hit);
                assert!(parsed.loaded.frames.iter().all(|frame| frames.contains(frame)), "byte {at} bit {bit}");
                let damaged = matches!(parsed.loaded.tail, Tail::Damaged { .. });
                let torn = matches!(parsed.loaded.tail, Tail::Torn { .. });
                assert_eq!((damaged, torn), (at < last, at >= last), "byte {at} bit {bit}: {:?}", parsed.loaded.tail);
            }
        }
    }

    #[test]
    fn a_gap_and_a_repetition_are_damage() {
        for seq in [40, 41, 43] {
            let bytes = [encode(41, b"a"), encode(seq, b"b")].concat();
            let parsed = parse(&bytes);
            assert_eq!(parsed.loaded.frames.len(), 1);
            let Tail::Damaged { offset, reason } = parsed.loaded.tail else { panic!("{seq} accepted") };
            assert_eq!((offset, reason), (parsed.end, format!("sequence number {seq} follows 41")));
        }
    }

    #[test]
    fn the_longest_frame_is_read_and_a_longer_one_is_not() {
        let longest = encode(u64::MAX, &vec![b'x'; MAX_PAYLOAD]);
        assert_eq!(longest.len(), MAX_FRAME);
        assert_eq!(parse(&longest).loaded.frames.len(), 1);
        assert_eq!(parse(&encode(u64::MAX, &vec![b'x'; MAX_PAYLOAD + 1])).loaded.frames.len(), 0);
    }
}
