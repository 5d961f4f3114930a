//! One frame: `SEQ CRC32HEX PAYLOAD\n`, a text line, so that `less` reads the ledger when all else is gone.
//!
//! The CRC covers the sequence number and the payload. Sequence numbers rise by one within a file. A file is read as a
//! stream, one frame in memory at a time: a long ledger must not cost its reader more than a short one.

use std::io::{self, BufRead, Read};

use super::Tail;

/// A record's limit: 1 MiB, the size of an evidence bundle. Longer ones are refused, never cut.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The limit of a file's first frame, which carries the snapshot: 64 attempts of each of 500 targets are some 6 MiB, two
/// open plans at most 2.
pub const MAX_SNAPSHOT: usize = 16 << 20;
/// The twenty digits of a `u64`, two spaces, eight of CRC, one newline.
const AROUND: usize = 31;
const MAX_FRAME: usize = MAX_PAYLOAD + AROUND;

/// The payload holds no newline and is at most [`MAX_PAYLOAD`] long: the caller has checked.
pub(super) fn encode(seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut line = format!("{seq} {:08x} ", crc(seq, payload)).into_bytes();
    line.extend_from_slice(payload);
    line.push(b'\n');
    line
}

/// The frames of one file, in order, up to the first that is not whole.
#[derive(Debug)]
pub(super) struct Frames<R> {
    source: R,
    line: Vec<u8>,
    end: u64,
    last: Option<u64>,
    newest: u64,
    tail: Option<Tail>,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        Frames { source, line: Vec::new(), end: 0, last: None, newest: 0, tail: None }
    }

    /// The next sequence number and payload. None: the end, or what [`Frames::tail`] says.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        if self.tail.is_some() {
            return Ok(None);
        }
        let limit = if self.last.is_some() { MAX_FRAME } else { MAX_SNAPSHOT + AROUND };
        self.line.clear();
        // The snapshot's room is not kept for the records after it.
        self.line.shrink_to(MAX_FRAME);
        self.source.by_ref().take(limit as u64).read_until(b'\n', &mut self.line)?;
        let follows = |seq: u64| self.last.is_none_or(|last| Some(seq) == last.checked_add(1));
        match whole(&self.line) {
            Some((seq, payload)) if follows(seq) => {
                self.end += self.line.len() as u64;
                self.last = Some(seq);
                self.newest = self.newest.max(seq);
                Ok(Some((seq, &self.line[payload..self.line.len() - 1])))
            }
            found => {
                self.tail = Some(self.broken(found.map(|(seq, _)| seq))?);
                Ok(None)
            }
        }
    }

    /// Where the last whole frame ends: the next append goes there.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The highest sequence number of any whole frame, also behind damage.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// How the file ends, once [`Frames::next`] found nothing more.
    pub(super) fn tail(&self) -> Tail {
        self.tail.clone().unwrap_or(Tail::Clean)
    }

    /// `self.line` is not the frame that belongs there: is there one anywhere behind? It is looked for at every offset,
    /// not only after newlines, for a newline may be the very byte that was hit.
    fn broken(&mut self, gap: Option<u64>) -> io::Result<Tail> {
        let offset = self.end;
        // A crash leaves a line without its end, or NULs where reserved space was not written. A line with neither was
        // written whole, and hit afterwards.
        let (mut hit, mut ended) = (true, false);
        let (mut skipped, mut blank, mut behind, mut from) = (0, true, None, 1);
        while !self.line.is_empty() {
            hit = hit && (ended || !self.line.contains(&0));
            ended = ended || self.line.ends_with(b"\n");
            blank = blank && self.line.iter().all(|b| *b == 0);
            if let Some((at, seq)) = hidden(&self.line, from) {
                self.newest = self.newest.max(seq);
                behind = behind.or(Some((skipped + at as u64, seq)));
            }
            // Of a line that has not ended yet a frame's length is kept: one may begin in it.
            let done =
                if self.line.ends_with(b"\n") { self.line.len() } else { self.line.len().saturating_sub(MAX_FRAME) };
            skipped += done as u64;
            self.line.drain(..done);
            from = 0;
            if self.source.by_ref().take(MAX_FRAME as u64).read_until(b'\n', &mut self.line)? == 0 {
                break;
            }
        }
        let bytes = skipped + self.line.len() as u64;
        let damaged = |reason| Tail::Damaged { offset, reason };
        Ok(match (gap, behind, self.last) {
            (Some(seq), _, Some(last)) => damaged(format!("sequence number {seq} follows {last}")),
            (_, Some((gone, seq)), _) => damaged(format!("{gone} bytes are no frame, yet record {seq} follows them")),
            _ if blank => Tail::Clean,
            _ if hit && ended => damaged(format!("a whole line within the last {bytes} bytes is no frame")),
            _ => Tail::Torn { offset, bytes },
        })
    }
}

/// The first frame within a line that begins at `from` or later.
fn hidden(line: &[u8], from: usize) -> Option<(usize, u64)> {
    // Also in the middle of a number: the digits before it may be what was hit, and the checksum covers the number.
    let starts = (from..line.len()).filter(|i| line[*i].is_ascii_digit());
    starts.map(|i| (i, whole(&line[i..]))).find_map(|(i, found)| Some((i, found?.0)))
}

/// A line that is one whole frame: its sequence number, and where its payload begins.
fn whole(line: &[u8]) -> Option<(u64, usize)> {
    let (b'\n', bytes) = line.split_last()? else { return None };
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
    let payload = &bytes[digits + 10..];
    (payload.len() <= MAX_SNAPSHOT && crc(seq, payload) == told).then_some((seq, digits + 10))
}

fn crc(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
