//! An environment file, as systemd's EnvironmentFile= reads one (systemd.exec(5)): NAME=VALUE lines, comments, quotes, lines
//! that go on.
//!
//! Its values are credentials as often as not: no fault shows one. What systemd would pass over in silence, a line that is
//! neither blank, nor a comment, nor an assignment, is a mistake that is told.

use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use hostward_core::ask::Fault;

use crate::files;

const FILE_MAX: usize = 64 * 1024;
const NOUN: &str = "environment file";

/// Read as whoever we are, which is root: what is in it is often root's alone.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, Fault> {
    let missing = || Fault::Config(format!("{NOUN} '{}' does not exist", path.display()).into());
    let contents = files::read_if_any(NOUN, path, FILE_MAX)?.ok_or_else(missing)?;
    let text = files::text(NOUN, path, contents)?;
    parse(&text).map_err(|line| {
        Fault::Config(format!("{NOUN} '{}', line {line}: no NAME=VALUE, and no comment", path.display()).into())
    })
}

/// Or the number of the line that is none.
fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut chars = Text { chars: text.chars().peekable(), line: 1 };
    let mut found = Vec::new();
    while let Some(c) = chars.chars.peek().copied() {
        match c {
            c if c.is_whitespace() => drop(chars.next()),
            '#' | ';' => chars.comment(),
            _ => found.push(chars.assignment()?),
        }
    }
    Ok(found)
}

struct Text<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Text<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    /// A backslash at its end makes it go on, as it does elsewhere.
    fn comment(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '\n' => return,
                _ => {}
            }
        }
    }

    fn assignment(&mut self) -> Result<(String, String), usize> {
        let line = self.line;
        let mut name = String::new();
        loop {
            match self.next() {
                Some('=') => break,
                Some('\n') | None => return Err(line),
                Some(c) => name.push(c),
            }
        }
        let name = name.trim_end();
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_name = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
        let value = self.value();
        // execve(2) takes no NUL, and whoever wrote one meant something else.
        if is_name && !value.contains('\0') { Ok((name.to_owned(), value)) } else { Err(line) }
    }

    fn value(&mut self) -> String {
        let mut value = String::new();
        // Where the value ends when only blanks follow: what is quoted or escaped stays.
        let mut kept = 0;
        while let Some(c) = self.next() {
            match c {
                '\n' => break,
                '\'' | '"' => {
                    self.quoted(c, &mut value);
                    kept = value.len();
                }
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(c) => {
                        value.push(c);
                        kept = value.len();
                    }
                },
                c if c.is_whitespace() && value.is_empty() && kept == 0 => {}
                c => {
                    value.push(c);
                    if !c.is_whitespace() {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        value
    }

    /// Between double quotes a backslash hides what the shell would take; between single ones nothing is special.
    fn quoted(&mut self, quote: char, value: &mut String) {
        while let Some(c) = self.next() {
            match c {
                c if c == quote => return,
                '\\' if quote == '"' => match self.next() {
                    Some('\n') | None => {}
                    Some(c) => {
                        if !"\"\\`$".contains(c) {
                            value.push('\\');
                        }
                        value.push(c);
                    }
                },
                c => value.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        let table = [
            ("", vec![]),
            ("A=b", vec![("A", "b")]),
            ("# A=b\n; B=c\n\n  \nC=d\n", vec![("C", "d")]),
            ("# goes on \\\nA=b\nB=c", vec![("B", "c")]),
            ("A=  b c  \nB=", vec![("A", "b c"), ("B", "")]),
            ("A='b \\ \"c\"  ' \n", vec![("A", "b \\ \"c\"  ")]),
            ("A=\"b \\\"c\\\" \\n $d\"", vec![("A", "b \"c\" \\n $d")]),
            ("A=b\\\n  c\nB=d", vec![("A", "b  c"), ("B", "d")]),
            ("A='two\nlines'\nB=c", vec![("A", "two\nlines"), ("B", "c")]),
            ("A=b\\ \r\n", vec![("A", "b ")]),
            ("URL=postgres://u:p@h/d?a=b#c", vec![("URL", "postgres://u:p@h/d?a=b#c")]),
            ("A=1\nA=2", vec![("A", "1"), ("A", "2")]),
        ];
        for (text, expected) in table {
            let expected = expected.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
        for (text, line) in [("A=b\nhunter2\n", 2), ("export A=b", 1), ("\n\n1A=b", 3), ("=b", 1), ("A=\0", 1)] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_a_mistake_and_shows_nothing_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        assert!(matches!(read(&path), Err(Fault::Config(why)) if why.contains("does not exist")));
        std::fs::write(&path, "A=1\nhunter2 is my password\n").unwrap();
        let Err(Fault::Config(why)) = read(&path) else { panic!("it was read") };
        assert!(why.contains("line 2") && !why.contains("hunter2"), "{why}");
        std::fs::write(&path, "A=1").unwrap();
        assert_eq!(read(&path), Ok(vec![("A".to_owned(), "1".to_owned())]));
    }
}
