//! The newest number of a log: of its last lines at first sight, then of the bytes that came since.
//!
//! Only whole lines count: a program that writes by blocks leaves half a line, and half a number is another number. A file
//! that shrank, or in which something else stands before the place where we were, is begun anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// Of a log that was never seen.
const FIRST: u64 = 64 << 10;
/// Of what came since the last look: the end of it.
const NEWS_MAX: u64 = 1 << 20;
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
    let number = |group: &[u8]| str::from_utf8(group).ok()?.parse().ok();
    pattern.captures_iter(text).filter_map(|found| number(found.get(1)?.as_bytes())).last()
}

/// The log's number now, and where the next look goes on.
pub(super) fn read(
    file: &File,
    stat: &Stat,
    pattern: &Regex,
    before: Option<&Mark>,
) -> io::Result<(Option<u64>, Mark)> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let known = match before {
        Some(mark) if goes_on(file, stat, size, mark)? => Some(mark),
        _ => None,
    };
    let newest = size.saturating_sub(if known.is_some() { NEWS_MAX } else { FIRST });
    let from = known.map_or(newest, |mark| mark.at.max(newest));
    let bytes = read_at(file, from, size - from)?;
    // Where the place before is left behind, a line begins somewhere in the middle of what was read.
    let begins_whole = from == 0 || known.is_some_and(|mark| mark.at == from);
    let (text, next) = whole_lines(&bytes, from, begins_whole);
    let count = last_number(pattern, text).or(known.and_then(|mark| mark.count));
    let seal = seal(file, next)?;
    Ok((count, Mark { dev: stat.st_dev, ino: stat.st_ino, at: next, seal, count }))
}

fn goes_on(file: &File, stat: &Stat, size: u64, mark: &Mark) -> io::Result<bool> {
    let same = (stat.st_dev, stat.st_ino) == (mark.dev, mark.ino) && mark.at <= size;
    Ok(same && seal(file, mark.at)? == mark.seal)
}

fn seal(file: &File, at: u64) -> io::Result<u32> {
    let from = at.saturating_sub(SEAL);
    Ok(crc32fast::hash(&read_at(file, from, at - from)?))
}

/// Fewer, when the file has become shorter meanwhile.
fn read_at(file: &File, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], from + u64::try_from(read).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// The whole lines of what was read from `from` on, and where the next look begins. A progress bar's line ends with a
/// carriage return.
fn whole_lines(bytes: &[u8], from: u64, begins_whole: bool) -> (&[u8], u64) {
    let ends = |b: &u8| matches!(b, b'\n' | b'\r');
    let at = |n: usize| from + u64::try_from(n).unwrap_or(u64::MAX);
    let begin = if begins_whole { 0 } else { bytes.iter().position(ends).map_or(0, |end| end + 1) };
    match bytes.iter().rposition(ends) {
        Some(end) => (&bytes[begin.min(end + 1)..=end], at(end + 1)),
        // One line as long as all that is read: it is taken as it comes, or nothing would ever be.
        None if at(bytes.len()) - from >= FIRST => (bytes, at(bytes.len())),
        // A file of one number has no line break at all. It is read again next time.
        None if from == 0 => (bytes, 0),
        None => (&[], from),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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

    #[test]
    fn of_a_long_log_the_end_is_read_and_a_cut_line_is_no_line() {
        let mut log = Log::new();
        log.pattern = pattern(r"(\d+)").unwrap();
        let first = usize::try_from(FIRST).unwrap();
        // What is read begins in the middle of a number.
        log.add("done 1999999\n");
        log.add(&format!("{}\n", "y".repeat(first - 5)));
        assert_eq!(log.look(), None, "999 is no number of this log's");
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
        log.add("done 2\n");
        log.add(&"noise of a busy log\n".repeat(usize::try_from(NEWS_MAX / 20 + 1).unwrap()));
        assert_eq!(log.look(), Some(1), "what came before the last MiB was not seen");
        log.add("done 3\n");
        assert_eq!(log.look(), Some(3));
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
