//! Evidence bundles: what a person will want to know after a remedy that destroys it. Best effort, by a child that is
//! killed at its deadline: what it has written by then is kept.
//!
//! Invariants: nothing below a watched path is touched (links in /proc are read, never followed); each bundle is bounded in
//! size and they are in number; files are root's, 0600. (safety.md, "Evidence first".)

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use hostward_core::id::RunId;
use hostward_core::plan::Gather;
use hostward_core::time::Ms;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::child::{kill_group, own};
use crate::mounts::OF_PID_1;

/// The hidden subcommand that calls [`gather_stdin`].
pub const SUBCOMMAND: &str = "__gather";

/// Bundles that are kept, the newest.
const BUNDLES_MAX: usize = 20;
/// Of each file of a bundle; there are five, and one more a unit.
const FILE_MAX: u64 = 128 << 10;
const UNITS_MAX: usize = 4;
const JOURNAL_LINES: &str = "200";
const TASK_MAX: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    dir: PathBuf,
    gather: Gather,
}

/// Why there is no bundle, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("begin a bundle in '{}'", .0.display())]
    Begin(PathBuf, #[source] io::Error),
    #[error("start '{} {SUBCOMMAND}'", .0.display())]
    Start(PathBuf, #[source] io::Error),
    #[error("not all of it was written within {0}")]
    Late(Ms),
    #[error("what was to be kept could not be")]
    Failed,
}

/// Keeps a bundle of a run below `evidence`, by `program __gather`. A second of the same run replaces the first.
///
/// Cancel-safe: dropped, its child is killed.
pub async fn keep(
    program: &Path,
    evidence: &Path,
    run: RunId,
    gather: &Gather,
    deadline: Ms,
) -> Result<(), EvidenceError> {
    let dir = evidence.join(run.to_string());
    begin(evidence, &dir).map_err(|e| EvidenceError::Begin(evidence.to_owned(), e))?;
    let started = |e| EvidenceError::Start(program.to_owned(), e);
    let mut child = own(program, SUBCOMMAND).stdout(Stdio::null()).kill_on_drop(true).spawn().map_err(started)?;
    let task = serde_json::to_vec(&Task { dir, gather: gather.clone() }).unwrap_or_default();
    let told = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A child that does not read is as late as any other.
            let _ = stdin.write_all(&task).await;
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(deadline.into(), told).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => Err(EvidenceError::Failed),
        Err(_) => {
            kill_group(&child);
            Err(EvidenceError::Late(deadline))
        }
    }
}

/// The bundle's own folder; what is beyond the number goes, the oldest first.
fn begin(evidence: &Path, dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(evidence)?;
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => DirBuilder::new().mode(0o700).create(dir)?,
    }
    // By the number of the run, which grows.
    let mut kept: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(evidence)? {
        let entry = entry?;
        if let Some(run) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            kept.insert(run, entry.path());
        }
    }
    while kept.len() > BUNDLES_MAX {
        let Some((_, oldest)) = kept.pop_first() else { break };
        fs::remove_dir_all(oldest)?;
    }
    Ok(())
}

/// The child's side: reads a task from standard input, writes the bundle, and tells by its exit code whether all of it is
/// there.
pub fn gather_stdin() -> ExitCode {
    let Ok(Task { dir, gather }) = serde_json::from_reader(io::stdin().lock().take(TASK_MAX)) else {
        return ExitCode::FAILURE;
    };
    // The cheap and sure ones first.
    let mut kept = vec![
        copy(&dir, "mountinfo", Path::new(OF_PID_1)),
        save(&dir, "fuse", connections().as_bytes()),
        save(&dir, "holders", holders(&gather.paths).as_bytes()),
    ];
    for unit in gather.units.iter().take(UNITS_MAX) {
        let unit = unit.as_str();
        // A name of systemd's has no slash.
        kept.push(said(&dir, &format!("journal-{}", unit.replace('/', "_")), &["-u", unit]));
    }
    kept.push(said(&dir, "kernel", &["-k"]));
    if kept.iter().all(Result::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn file(dir: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name))
}

fn save(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let text = text.get(..usize::try_from(FILE_MAX).unwrap_or(0)).unwrap_or(text);
    file(dir, name)?.write_all(text)
}

fn copy(dir: &Path, name: &str, from: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?.take(FILE_MAX), &mut file(dir, name)?).map(drop)
}

fn said(dir: &Path, name: &str, of: &[&str]) -> io::Result<()> {
    let shared = ["--no-pager", "--quiet", "--lines", JOURNAL_LINES];
    let mut journal = Command::new("/usr/bin/journalctl");
    journal.args(shared).args(of).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = journal.spawn()?;
    if let Some(out) = child.stdout.take() {
        io::copy(&mut out.take(FILE_MAX), &mut file(dir, name)?)?;
    }
    child.wait().map(drop)
}

/// Requests that wait for each FUSE server.
fn connections() -> String {
    let Ok(entries) = fs::read_dir("/sys/fs/fuse/connections") else { return "not readable\n".into() };
    let line = |entry: fs::DirEntry| {
        let waiting = fs::read_to_string(entry.path().join("waiting")).unwrap_or_else(|e| e.to_string());
        format!("{}: {} waiting\n", entry.file_name().display(), waiting.trim())
    };
    entries.flatten().map(line).collect()
}

/// Who has what open below these paths, by the links in /proc alone.
fn holders(paths: &[PathBuf]) -> String {
    let mut text = String::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in
        processes.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
    {
        let process = process.path();
        let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        let links = ["cwd", "root", "exe"].map(|link| process.join(link));
        let open: Vec<PathBuf> = links.into_iter().chain(fds).filter_map(|link| fs::read_link(link).ok()).collect();
        let held: Vec<&PathBuf> =
            open.iter().filter(|open| paths.iter().any(|path| open.starts_with(path))).collect();
        if held.is_empty() || text.len() as u64 > FILE_MAX {
            continue;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let held = held.iter().map(|path| format!("    {}\n", path.display()));
        text.extend([format!("{} {}\n", process.display(), name.trim())].into_iter().chain(held));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bundles_go() {
        let dir = tempfile::tempdir().unwrap();
        for run in 1..=25 {
            begin(dir.path(), &dir.path().join(run.to_string())).unwrap();
        }
        // One of the same run is begun anew.
        fs::write(dir.path().join("25/old"), "").unwrap();
        begin(dir.path(), &dir.path().join("25")).unwrap();
        let mut runs: Vec<u32> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        runs.sort_unstable();
        assert_eq!(runs, (6..=25).collect::<Vec<u32>>());
        assert!(!dir.path().join("25/old").exists());
    }

    #[test]
    fn who_has_a_file_open_is_named_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let _open = File::create(path.join("held")).unwrap();
        let text = holders(std::slice::from_ref(&path));
        assert!(text.contains(&format!("/proc/{} ", std::process::id())), "{text}");
        assert!(text.contains(&format!("    {}/held", path.display())), "{text}");
        assert_eq!(holders(&["/no/such/folder".into()]), "");
    }

    #[test]
    fn a_file_is_bounded_and_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "much", &vec![b'x'; 1 << 20]).unwrap();
        let kept = fs::metadata(dir.path().join("much")).unwrap();
        assert_eq!((kept.len(), kept.permissions().mode() & 0o777), (FILE_MAX, 0o600));
    }
}
