//! Jobs as folders: each one in a folder is a job, its name the id, itself the output. Only in a child: it may hang.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use hostward_core::ask::{Fault, JobState};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::count::{self, Unread};
use super::entries::{Book, Entry, Listed, is_id};
use crate::files;
use crate::paths::{Links, open_below};

/// Beyond the jobs that are watched, there may be those that are done.
const ENTRIES_MAX: usize = 10_000;
const BUFFER: usize = 32 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FolderAsk {
    pub(crate) user: Option<Str>,
    pub(crate) at: PathBuf,
    /// A JSON file in each, and the pointer to its state.
    pub(crate) state: Option<(Str, Str)>,
    pub(crate) words: BTreeMap<Str, JobState>,
}

pub(crate) fn list(root: BorrowedFd<'_>, asked: &FolderAsk) -> Result<Listed, Fault> {
    let mut book = Book::new(&asked.words, Ms::ZERO);
    for name in names(root, &asked.at)? {
        match entry(root, asked, &name) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                if let Err(why) = book.enter(entry) {
                    book.refuse(&why);
                }
            }
            // Its writer may be in the middle of its state.
            Err(why) => book.doubt(&name, &why),
        }
    }
    Ok(book.close())
}

/// In their order by name. A hidden folder is nobody's job.
fn names(root: BorrowedFd<'_>, at: &Path) -> Result<Vec<String>, Fault> {
    let failed = |e: Errno| files::fault("folder of jobs", at, e.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
    let folder = open_below(root, at, flags, Links::Followed).map_err(failed)?;
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        // Unknown: this file system does not say, and its state will.
        let folder = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        if !folder || name.starts_with(b".") {
            continue;
        }
        if names.len() == ENTRIES_MAX {
            return Err(files::unreadable(format!("'{}' has more than {ENTRIES_MAX} folders", at.display())));
        }
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// None: it is no job, or none any more.
fn entry(root: BorrowedFd<'_>, asked: &FolderAsk, name: &str) -> Result<Option<Entry>, String> {
    // Before it becomes part of a path.
    is_id(name).map_err(|why| format!("folder '{}': {why}", crate::mask::clip(name, 100)))?;
    let output = asked.at.join(name);
    match open_below(root, &output, OFlags::PATH | OFlags::DIRECTORY, Links::Refused) {
        Ok(_) => {}
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(e) => return Err(format!("job '{name}': {e}")),
    }
    let state = asked.state.as_ref().map(|(file, pointer)| state(root, &output.join(&**file), pointer, &asked.words));
    let state = state.transpose().map_err(|why| format!("job '{name}': {why}"))?;
    Ok(Some(Entry { id: name.into(), state, output: Some(output), ..Entry::default() }))
}

fn state(
    root: BorrowedFd<'_>,
    path: &Path,
    pointer: &str,
    words: &BTreeMap<Str, JobState>,
) -> Result<JobState, String> {
    let unread = |why: String| format!("'{}': {why}", path.display());
    let (file, _) = match count::open(root, path) {
        Ok(opened) => opened,
        // A folder that was just made waits for its first start.
        Err(Errno::NOENT) => return Ok(JobState::Pending),
        Err(e) => return Err(unread(std::io::Error::from(e).to_string())),
    };
    let value = count::json(&file).map_err(|e| match e {
        Unread::Failed(e) => unread(e.to_string()),
        Unread::Odd(why) => unread(why),
    })?;
    let Some(Value::String(word)) = value.pointer(pointer) else {
        return Err(unread(format!("there is no text at {pointer}")));
    };
    let ours = JobState::ALL.into_iter().find(|state| state.label() == word);
    let state = words.get(&**word).copied().or(ours);
    state.ok_or_else(|| unread(format!("state '{}' is not known", crate::mask::clip(word, 100))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;

    use rustix::fs::Mode;
    use tempfile::TempDir;

    use super::*;

    fn listed(dir: &TempDir, state: Option<(&str, &str)>) -> Result<Listed, Fault> {
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let words = BTreeMap::from([("crawling".into(), JobState::Running)]);
        let state = state.map(|(file, pointer)| (file.into(), pointer.into()));
        list(root.as_fd(), &FolderAsk { user: None, at: "/jobs".into(), state, words })
    }

    #[test]
    fn each_folder_is_a_job_and_its_state_is_read_from_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(listed(&dir, None), Err(Fault::Unreadable(_))), "no folder is not no jobs");
        for (name, text) in [
            ("a", r#"{"state": "crawling"}"#),
            ("b", r#"{"state": "done"}"#),
            ("c", r#"{"state": "odd"}"#),
            ("d", r#"{"state": "#),
            ("-x", r#"{"state": "running"}"#),
        ] {
            fs::create_dir_all(dir.path().join("jobs").join(name)).unwrap();
            fs::write(dir.path().join("jobs").join(name).join("job.json"), text).unwrap();
        }
        fs::create_dir(dir.path().join("jobs/new")).unwrap();
        fs::create_dir(dir.path().join("jobs/.hidden")).unwrap();
        fs::write(dir.path().join("jobs/file"), "").unwrap();
        let found = listed(&dir, Some(("job.json", "/state"))).unwrap();
        let jobs: Vec<_> = found.entries.iter().map(|e| (&*e.id, e.state, e.output.as_deref())).collect();
        assert_eq!(
            jobs,
            [
                ("a", Some(JobState::Running), Some(Path::new("/jobs/a"))),
                ("new", Some(JobState::Pending), Some(Path::new("/jobs/new"))),
            ]
        );
        assert_eq!(found.refused_total, 3, "{:?}", found.refused);
        let doubtful: Vec<&str> = found.doubtful.iter().map(|(id, _)| &**id).collect();
        assert_eq!(doubtful, ["c", "d"], "they are listed, and say nothing");
        let unsaid = listed(&dir, None).unwrap();
        assert!(unsaid.entries.iter().all(|entry| entry.state.is_none()));
        assert_eq!(unsaid.entries.len(), 5);
    }
}
