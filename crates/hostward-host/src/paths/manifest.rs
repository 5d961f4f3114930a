//! The manifest of hot paths: two columns, what is bound and where. A line that is refused costs the others nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use hostward_core::ask::{Fault, ManifestQ, ManifestReading, Refused};
use hostward_core::watch::storage::PATHS_MAX;
use serde::{Deserialize, Serialize};

/// Ten thousand lines are far below it.
const FILE_MAX: u64 = 4 << 20;
/// Refused lines that are named; the others are counted.
const REFUSED_MAX: usize = 20;

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Cold and hot.
    pub(super) pairs: Vec<(PathBuf, PathBuf)>,
    pub(super) reading: ManifestReading,
}

impl Listed {
    pub(super) fn unread(fault: Fault) -> Listed {
        Listed { pairs: Vec::new(), reading: ManifestReading { unread: Some(fault), ..ManifestReading::default() } }
    }
}

/// Reads the file; what is `declared` beside it is not the manifest's to name. Only in a process of its own: the file may lie on what is watched.
pub(super) fn read(q: &ManifestQ, declared: &[PathBuf]) -> Listed {
    match contents(&q.file) {
        Ok(text) => parse(&text, &q.roots, declared),
        Err(e) => Listed::unread(match e.kind() {
            io::ErrorKind::NotFound => Fault::Config("there is no such file".into()),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Fault::Config(e.to_string().into()),
            io::ErrorKind::PermissionDenied => Fault::Denied(e.to_string().into()),
            _ => Fault::Unreadable(e.to_string().into()),
        }),
    }
}

fn contents(file: &Path) -> io::Result<String> {
    // A FIFO would be waited for.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(nonblock).open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    if file.take(FILE_MAX + 1).read_to_string(&mut text)? as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is larger than 4 MiB"));
    }
    Ok(text)
}

fn parse(text: &str, roots: &[PathBuf], declared: &[PathBuf]) -> Listed {
    let mut listed = Listed::default();
    let mut lines: BTreeMap<PathBuf, u32> = BTreeMap::new();
    for (line, said) in (1u32..).zip(text.lines()) {
        let said = without_comment(said);
        if said.trim().is_empty() {
            continue;
        }
        let pair = pair(said, roots).and_then(|pair| match nested(&lines, &pair.1).or(clash(declared, &pair.1)) {
            Some(why) => Err(why),
            None if listed.pairs.len() == PATHS_MAX => Err(format!("more than {PATHS_MAX} paths are not watched")),
            None => Ok(pair),
        });
        match pair {
            Ok(pair) => {
                lines.insert(pair.1.clone(), line);
                listed.pairs.push(pair);
            }
            Err(why) => {
                listed.reading.refused_total += 1;
                if listed.reading.refused.len() < REFUSED_MAX {
                    listed.reading.refused.push(Refused { line, why: why.into() });
                }
            }
        }
    }
    listed.reading.entries = u32::try_from(listed.pairs.len()).unwrap_or(u32::MAX);
    listed
}

/// A `#` within a word is a part of its path: what stands before it may be a path as well, and another one.
fn without_comment(line: &str) -> &str {
    let begins = |at: usize| line[..at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(|at| begins(*at));
    comment.map_or(line, |at| &line[..at])
}

fn pair(line: &str, roots: &[PathBuf]) -> Result<(PathBuf, PathBuf), String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [cold, hot] = columns.as_slice() else {
        return Err(format!("{} columns, where two are wanted: the cold path and the hot one", columns.len()));
    };
    let (cold, hot) = (path(cold)?, path(hot)?);
    if !roots.iter().any(|root| hot.starts_with(root)) {
        return Err(format!("{} lies outside the declared roots", hot.display()));
    }
    Ok((cold, hot))
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("{text} is not an absolute path"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{text} contains .."));
    }
    Ok(path.components().collect())
}

/// A hot path that an earlier line has, or lies in, or that lies in it.
fn nested(lines: &BTreeMap<PathBuf, u32>, hot: &Path) -> Option<String> {
    let shown = hot.display();
    if let Some(line) = lines.get(hot) {
        return Some(format!("{shown} is named in line {line} already"));
    }
    // Paths are ordered by their parts: what lies in it comes right after it.
    let inner = lines.range(hot.to_owned()..).next().filter(|(other, _)| other.starts_with(hot));
    let outer = hot.ancestors().skip(1).find_map(|above| lines.get_key_value(above));
    outer
        .map(|(other, line)| format!("{shown} lies in {} of line {line}", other.display()))
        .or_else(|| inner.map(|(other, line)| format!("{} of line {line} lies in {shown}", other.display())))
}

/// A path that the configuration declares, or that lies in it, or that it lies in: one of two nested mounts is lost with
/// the other, and told of with it.
fn clash(declared: &[PathBuf], hot: &Path) -> Option<String> {
    let shown = hot.display();
    declared.iter().find_map(|other| {
        if hot == other {
            Some(format!("{shown} is declared already"))
        } else if hot.starts_with(other) {
            Some(format!("{shown} lies in {}, which is declared", other.display()))
        } else {
            other.starts_with(hot).then(|| format!("{}, which is declared, lies in {shown}", other.display()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Vec<PathBuf> {
        vec!["/srv/jobs".into(), "/srv/x".into()]
    }

    #[test]
    fn good_lines_are_watched_and_each_bad_one_is_named() {
        let text = "\
# cold hot
/box/1 /srv/jobs/1   # the first
\t/box/2/  /srv/jobs//2/

/box/3
/box/4 /srv/jobs/4 rw
box/5 /srv/jobs/5
/box/6 srv/jobs/6
/box/7 /srv/jobs/../7
/box/8 /srv/other/8
/box/9 /srv/jobs/1
/box/10 /srv/jobs/1/deep
/box/11 /srv/jobs
/box/12 /srv/jobs-old/12
/box/13 /srv/jobs/1-b
/box/14 /srv/x/declared
/box/15 /srv/x/declared/deep
/box/16 /srv/x
/box/17 /srv/x/declared-not
/box#18 /srv/jobs/#18#b\t#c
/box/19 # /srv/jobs/19
";
        let listed = parse(text, &roots(), &["/srv/other".into(), "/srv/x/declared".into()]);
        let pair = |n: &str, hot: &str| (PathBuf::from(format!("/box{n}")), PathBuf::from(hot));
        let pairs = [
            pair("/1", "/srv/jobs/1"),
            pair("/2", "/srv/jobs/2"),
            pair("/13", "/srv/jobs/1-b"),
            pair("/17", "/srv/x/declared-not"),
            pair("#18", "/srv/jobs/#18#b"),
        ];
        assert_eq!(listed.pairs, pairs);
        let refused: Vec<String> =
            listed.reading.refused.iter().map(|refused| format!("{}: {}", refused.line, refused.why)).collect();
        assert_eq!(
            refused,
            [
                "5: 1 columns, where two are wanted: the cold path and the hot one",
                "6: 3 columns, where two are wanted: the cold path and the hot one",
                "7: box/5 is not an absolute path",
                "8: srv/jobs/6 is not an absolute path",
                "9: /srv/jobs/../7 contains ..",
                "10: /srv/other/8 lies outside the declared roots",
                "11: /srv/jobs/1 is named in line 2 already",
                "12: /srv/jobs/1/deep lies in /srv/jobs/1 of line 2",
                "13: /srv/jobs/1 of line 2 lies in /srv/jobs",
                "14: /srv/jobs-old/12 lies outside the declared roots",
                "16: /srv/x/declared is declared already",
                "17: /srv/x/declared/deep lies in /srv/x/declared, which is declared",
                "18: /srv/x/declared, which is declared, lies in /srv/x",
                "21: 1 columns, where two are wanted: the cold path and the hot one",
            ]
        );
        assert_eq!((listed.reading.entries, listed.reading.refused_total), (5, 14));
    }

    #[test]
    fn ten_thousand_lines_are_bounded() {
        let text = (0..10_000).map(|n| format!("/box/{n} /srv/jobs/{n}")).collect::<Vec<_>>().join("\n");
        let listed = parse(&text, &roots(), &[]);
        assert_eq!((listed.pairs.len(), listed.reading.refused.len()), (PATHS_MAX, REFUSED_MAX));
        assert_eq!(listed.reading.refused_total, 9000);
        assert_eq!(listed.reading.refused[0].line, 1001);
    }

    #[test]
    fn what_is_no_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let unread = |file: &Path| {
            let q = ManifestQ {
                file: file.to_owned(),
                roots: roots(),
                user: None,
                write: hostward_core::ask::Write::Never,
            };
            read(&q, &[]).reading.unread
        };
        assert!(matches!(unread(dir.path()), Some(Fault::Config(_))));
        assert!(matches!(unread(&dir.path().join("none")), Some(Fault::Config(_))));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(unread(&fifo), Some(Fault::Config(_))), "and nobody waits for it");
        let latin = dir.path().join("latin");
        std::fs::write(&latin, b"/box/\xe4 /srv/jobs/1\n").unwrap();
        assert!(matches!(unread(&latin), Some(Fault::Config(_))));
        let huge = dir.path().join("huge");
        File::create(&huge).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(matches!(unread(&huge), Some(Fault::Config(_))));
    }
}
