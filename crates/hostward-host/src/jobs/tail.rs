//! The newest number of a log: of its last lines at first sight, then of the bytes that came since.
//!
//! Only whole lines count: a program that writes by blocks leaves half a line, and half a number is another number. A file
//! that shrank, or in which something else stands before the place where we were, is begun anew. One that is emptied and
//! written anew in the middle of a read gives half of an old line and half of a new one, and a number that nobody wrote: it
//! counts only where its line still stands.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use regex::bytes::{Captures, Regex, RegexBuilder};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// Of a log that was never seen.
const FIRST: u64 = 64 << 10;
/// So much is held at once.
const CHUNK: u64 = 1 << 20;
/// Of what came since the last look: the end of it.
const NEWS_MAX: u64 = 16 << 20;
/// Bytes before our place that are remembered by their sum: a log that is emptied and grows past it is another one.
const SEAL: u64 = 64;
/// Of a compiled pattern, and again of what it needs at work.
const PATTERN_BYTES: usize = 1 << 20;

/// How far a log was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    dev: u64,
    ino: u64,
    at: u64,
    seal: u32,
    /// The last number before it.
    count: Option<u64>,
}

pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.multi_line(true).crlf(true).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let regex = builder.build().map_err(|e| e.to_string())?;
    if regex.captures_len() < 2 {
        return Err("it has no group for the number".to_owned());
    }
    Ok(regex)
}

/// The number in the first group of the last match that has one there.
pub(crate) fn last_number(pattern: &Regex, text: &[u8]) -> Option<u64> {
    last_match(pattern, text).map(|(count, _)| count)
}

fn last_match(pattern: &Regex, text: &[u8]) -> Option<(u64, Range<usize>)> {
    let number = |group: &[u8]| str::from_utf8(group).ok()?.parse().ok();
    let counted = |found: Captures<'_>| Some((number(found.get(1)?.as_bytes())?, found.get(0)?.range()));
    pattern.captures_iter(text).filter_map(counted).last()
}

/// The log's number now, and where the next look goes on.
pub(super) fn read(
    file: &impl FileExt,
    stat: &Stat,
    pattern: &Regex,
    before: Option<&Mark>,
) -> io::Result<(Option<u64>, Mark)> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let known = match before {
        Some(mark) if goes_on(file, stat, size, mark)? => Some(mark),
        _ => None,
    };
    let log = Log { file, stat, size, pattern };
    let read = match known {
        Some(known) if known.at >= size.saturating_sub(NEWS_MAX) => log.onward(known.at, true)?,
        Some(_) => log.last(NEWS_MAX)?,
        None => match log.last(FIRST)? {
            // Its numbers may be rarer than its noise: they are looked for further back, once.
            Some(Mark { count: None, .. }) if size > FIRST => log.last(CHUNK)?,
            first => first,
        },
    };
    let Some(mut mark) = read else { return Ok((None, Mark::default())) };
    mark.count = mark.count.or(known.and_then(|known| known.count));
    Ok((mark.count, mark))
}

/// A log that is being read.
struct Log<'a, F> {
    file: &'a F,
    stat: &'a Stat,
    size: u64,
    pattern: &'a Regex,
}

impl<F: FileExt> Log<'_, F> {
    /// Of its last bytes: a line begins somewhere in the middle of them.
    fn last(&self, bytes: u64) -> io::Result<Option<Mark>> {
        let from = self.size.saturating_sub(bytes);
        self.onward(from, from == 0)
    }

    /// From there to its end. None: it was written anew meanwhile.
    fn onward(&self, mut from: u64, mut begins_whole: bool) -> io::Result<Option<Mark>> {
        let mut count = None;
        loop {
            let bytes = read_at(self.file, from, (self.size - from).min(CHUNK))?;
            let (whole, next) = whole_lines(&bytes, from, begins_whole);
            let skipped = from + length(whole.start);
            let text = &bytes[whole];
            if let Some((found, at)) = last_match(self.pattern, text) {
                let line = line_around(text, &at);
                if read_at(self.file, skipped + length(line.start), length(line.len()))? != text[line] {
                    return Ok(None);
                }
                count = Some(found);
            }
            if next <= from || next >= self.size || length(bytes.len()) < CHUNK {
                let seal = seal(self.file, next)?;
                return Ok(Some(Mark { dev: self.stat.st_dev, ino: self.stat.st_ino, at: next, seal, count }));
            }
            (from, begins_whole) = (next, true);
        }
    }
}

fn goes_on(file: &impl FileExt, stat: &Stat, size: u64, mark: &Mark) -> io::Result<bool> {
    let same = (stat.st_dev, stat.st_ino) == (mark.dev, mark.ino) && mark.at <= size;
    Ok(same && seal(file, mark.at)? == mark.seal)
}

fn seal(file: &impl FileExt, at: u64) -> io::Result<u32> {
    let from = at.saturating_sub(SEAL);
    Ok(crc32fast::hash(&read_at(file, from, at - from)?))
}

/// Fewer, when the file has become shorter meanwhile.
fn read_at(file: &impl FileExt, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], from + length(read)) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Where the whole lines of what was read from `from` on are, and where the next look begins. A progress bar's line ends
/// with a carriage return.
fn whole_lines(bytes: &[u8], from: u64, begins_whole: bool) -> (Range<usize>, u64) {
    let at = |n: usize| from + length(n);
    let begin =
        if begins_whole { 0 } else { bytes.iter().position(|byte| ends_line(*byte)).map_or(0, |end| end + 1) };
    match bytes.iter().rposition(|byte| ends_line(*byte)) {
        Some(end) => (begin.min(end + 1)..end + 1, at(end + 1)),
        // One line as long as all that is read: it is taken as it comes, or nothing would ever be.
        None if at(bytes.len()) - from >= FIRST => (0..bytes.len(), at(bytes.len())),
        // A file of one number has no line break at all. It is read again next time.
        None if from == 0 => (0..bytes.len(), 0),
        None => (0..0, from),
    }
}

fn line_around(text: &[u8], found: &Range<usize>) -> Range<usize> {
    let begin = text[..found.start].iter().rposition(|byte| ends_line(*byte)).map_or(0, |end| end + 1);
    let end = text[found.end..].iter().position(|byte| ends_line(*byte)).map_or(text.len(), |end| found.end + end);
    begin..end
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    struct Log {
        _dir: TempDir,
        path: PathBuf,
        pattern: Regex,
        mark: Option<Mark>,
    }

    impl Log {
        fn new() -> Log {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            fs::write(&path, "").unwrap();
            Log { _dir: dir, path, pattern: pattern(r"done (\d+)").unwrap(), mark: None }
        }

        fn add(&self, text: &str) {
            let mut file = fs::OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn look(&mut self) -> Option<u64> {
            let file = File::open(&self.path).unwrap();
            let stat = rustix::fs::fstat(&file).unwrap();
            let (count, mark) = read(&file, &stat, &self.pattern, self.mark.as_ref()).unwrap();
            self.mark = Some(mark);
            count
        }
    }

    #[test]
    fn new_lines_tell_and_without_one_the_last_number_stands() {
        let mut log = Log::new();
        assert_eq!(log.look(), None);
        log.add("done 1\ndone 2\nnoise\n");
        assert_eq!(log.look(), Some(2));
        log.add("noise\n");
        assert_eq!(log.look(), Some(2));
        log.add("done 3\n");
        assert_eq!(log.look(), Some(3));
    }

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let mut log = Log::new();
        log.add("done 1200\ndone 12");
        assert_eq!(log.look(), Some(1200));
        log.add("34\n");
        assert_eq!(log.look(), Some(1234));
        log.add("done 5\rdone 6\rdone 7");
        assert_eq!(log.look(), Some(6), "a bar's last line is whole when the next one begins");
    }

    #[test]
    fn a_file_of_one_line_without_an_end_is_read_whole_each_time() {
        let mut log = Log::new();
        log.add("done 17");
        assert_eq!(log.look(), Some(17));
        fs::write(&log.path, "done 18").unwrap();
        assert_eq!(log.look(), Some(18));
    }

    #[test]
    fn what_was_truncated_or_replaced_is_begun_anew() {
        let mut log = Log::new();
        log.add("done 100\ndone 200\n");
        assert_eq!(log.look(), Some(200));
        fs::write(&log.path, "done 1\n").unwrap();
        assert_eq!(log.look(), Some(1), "it is shorter");
        // As copytruncate leaves it, by the time that it is longer than it was: only what stands before our place tells.
        fs::write(&log.path, "done 2\nnoise\n").unwrap();
        assert_eq!(log.look(), Some(2), "it is longer, and another text");
        log.add("more\n");
        fs::remove_file(&log.path).unwrap();
        fs::write(&log.path, "noise\n").unwrap();
        assert_eq!(log.look(), None, "it is another file");
    }

    /// A log that is emptied and written anew once its first bytes were read.
    struct Torn<'a> {
        old: Cell<&'a [u8]>,
        new: &'a [u8],
    }

    impl FileExt for Torn<'_> {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let now = match self.old.take() {
                [] => self.new,
                old => old,
            };
            let there = now.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let read = there.len().min(buf.len());
            buf[..read].copy_from_slice(&there[..read]);
            Ok(read)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn a_line_of_which_half_is_another_file_s_is_no_line() {
        let stat = |len: usize| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("log"), vec![b' '; len]).unwrap();
            rustix::fs::stat(dir.path().join("log")).unwrap()
        };
        let look = |old: &[u8], new: &[u8], mark: Option<&Mark>| {
            let torn = Torn { old: Cell::new(old), new };
            read(&torn, &stat(new.len()), &pattern(r"done (\d+)").unwrap(), mark).unwrap()
        };
        let (count, mark) = look(b"done 17\ndone 12", b"noise\nnoise. 34\n", None);
        assert_eq!(count, None, "1234 was never written");
        assert_eq!(look(b"", b"done 2\nnoise. 34\n", Some(&mark)).0, Some(2), "and it is begun anew");
        assert_eq!(look(b"done 17", b"done 17\n", None).0, Some(17), "what still stands there counts");
    }

    #[test]
    fn of_a_long_log_the_end_is_read_and_a_cut_line_is_no_line() {
        let mut log = Log::new();
        log.pattern = pattern(r"(\d+)").unwrap();
        let [first, chunk] = [FIRST, CHUNK].map(|bytes| usize::try_from(bytes).unwrap());
        // What is read begins in the middle of a number.
        log.add("done 1999999\n");
        log.add(&format!("{}\n", "y".repeat(chunk - 5)));
        assert_eq!(log.look(), None, "999 is no number of this log's");
        let mut rare = Log::new();
        rare.add(&format!("done 1\n{}\n", "y".repeat(first)));
        assert_eq!(rare.look(), Some(1), "looked for further back");
        let mut endless = Log::new();
        endless.add(&"done 7 ".repeat(first));
        assert_eq!(endless.look(), Some(7), "a line that is longer than what is read is taken as it comes");
        endless.add("done 8 ");
        assert_eq!(endless.look(), Some(7), "and then waits for its end");
        endless.add("\n");
        assert_eq!(endless.look(), Some(8));
    }

    #[test]
    fn of_much_news_the_end_is_read() {
        let mut log = Log::new();
        log.add("done 1\n");
        assert_eq!(log.look(), Some(1));
        let noise = |bytes: u64| "noise of a busy log\n".repeat(usize::try_from(bytes / 20 + 1).unwrap());
        log.add("done 2\n");
        log.add(&noise(NEWS_MAX));
        assert_eq!(log.look(), Some(1), "what came before the last of it was not seen");
        log.add(&format!("done 3\n{}done 4\n{}", noise(CHUNK), noise(3 * CHUNK)));
        assert_eq!(log.look(), Some(4), "all of it is read, a piece after another");
        log.add("done 5\n");
        assert_eq!(log.look(), Some(5));
    }

    #[test]
    fn a_pattern_needs_a_group_and_its_digits() {
        assert!(pattern("done").is_err());
        assert!(pattern(r"(\d+").is_err());
        assert!(pattern(r"(\w{1000}){1000}").is_err(), "it is bounded");
        let words = pattern(r"done (\S+)").unwrap();
        for (text, expected) in [
            ("done 7\ndone -\n", Some(7)),
            ("done 1_000\n", None),
            ("done 18446744073709551615\n", Some(u64::MAX)),
            ("done 18446744073709551616\n", None),
        ] {
            assert_eq!(last_number(&words, text.as_bytes()), expected, "{text}");
        }
    }
}
