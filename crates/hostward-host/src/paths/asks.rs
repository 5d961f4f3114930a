//! The child's side: it does what it is asked, one thing after the other, and says of each at once what came of it. Whatever
//! hangs here hangs nobody else.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hostward_core::ask::{Fault, Found, LockState, Look, ManifestQ, PathQ, Process};
use hostward_core::id::Str;
use nix::unistd::{Gid, Uid, User, initgroups, setegid, seteuid};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::below::Links;
use super::look;
use super::manifest::{self, Listed};
use crate::gate::lock::{self, Table};
use crate::jobs::{CountAsk, FolderAsk, Listed as Jobs, Mark, Patterns, count, list_folder, mentions, processes};

/// The hidden subcommand that calls [`answer_stdin`].
pub const SUBCOMMAND: &str = "__look";

/// A task of a thousand paths, or of some thousand counters, is far smaller.
const TASK_MAX: u64 = 8 << 20;
/// The host's own root, whatever namespace we are in.
const ROOT: &str = "/proc/1/root";
const PROC: &str = "/proc";

/// One thing that a child is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// With the paths that are declared beside it.
    Manifest(ManifestQ, Vec<PathBuf>),
    Path(PathQ),
    /// A job's folder, or a disk: it may lie behind links.
    Output(PathQ),
    Lock {
        path: PathBuf,
        user: Option<Str>,
    },
    Count(CountAsk),
    Folder(FolderAsk),
    /// Which of these live, and in whose control group.
    Processes(Vec<u32>),
    /// For each argument: a process that has it.
    Mentions(Vec<Str>),
}

/// What it says of that, on a line of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Said {
    Manifest(Listed),
    Path(Look),
    Lock(Result<LockState, Fault>),
    /// With where the next look goes on.
    Count(Found, Option<Mark>),
    Folder(Result<Jobs, Fault>),
    Processes(Result<Vec<Process>, Fault>),
    Mentions(Result<Vec<Option<Process>>, Fault>),
}

impl Ask {
    /// What is touched: who else lies on the same file system shares the child.
    pub(super) fn at(&self) -> &Path {
        match self {
            Ask::Manifest(manifest, _) => &manifest.file,
            Ask::Path(q) | Ask::Output(q) => &q.path,
            Ask::Lock { path, .. } => path,
            Ask::Count(count) => &count.at,
            Ask::Folder(folder) => &folder.at,
            Ask::Processes(_) | Ask::Mentions(_) => Path::new(PROC),
        }
    }

    /// Who touches it.
    fn user(&self) -> Option<&str> {
        match self {
            Ask::Path(PathQ { user, .. })
            | Ask::Output(PathQ { user, .. })
            | Ask::Lock { user, .. }
            | Ask::Count(CountAsk { user, .. })
            | Ask::Folder(FolderAsk { user, .. }) => user.as_deref(),
            Ask::Manifest(..) | Ask::Processes(_) | Ask::Mentions(_) => None,
        }
    }

    /// It could not be asked at all.
    fn unasked(&self, fault: Fault) -> Said {
        match self {
            Ask::Manifest(..) => Said::Manifest(Listed::unread(fault)),
            Ask::Path(_) | Ask::Output(_) => Said::Path(Look::Unasked(fault)),
            Ask::Lock { .. } => Said::Lock(Err(fault)),
            Ask::Count(_) => Said::Count(Found::Unasked(fault), None),
            Ask::Folder(_) => Said::Folder(Err(fault)),
            Ask::Processes(_) => Said::Processes(Err(fault)),
            Ask::Mentions(_) => Said::Mentions(Err(fault)),
        }
    }

    fn answer(&self, known: &Known) -> Said {
        match (self, &known.root) {
            (Ask::Manifest(q, declared), _) => Said::Manifest(manifest::read(q, declared)),
            (Ask::Processes(pids), _) => Said::Processes(Ok(processes(Path::new(PROC), pids))),
            (Ask::Mentions(arguments), _) => Said::Mentions(mentions(Path::new(PROC), arguments)),
            (_, Err(e)) => self.unasked(Fault::Denied(format!("open {ROOT}: {e}").into())),
            (_, Ok(root)) => self.answer_below(root.as_fd(), known),
        }
    }

    fn answer_below(&self, root: BorrowedFd<'_>, known: &Known) -> Said {
        match self {
            Ask::Path(q) => Said::Path(look::look(root, q, Links::Refused)),
            Ask::Output(q) => Said::Path(look::look(root, q, Links::Followed)),
            Ask::Lock { path, .. } => Said::Lock(lock::probe(root, &known.locks, path)),
            Ask::Count(asked) => {
                let (found, mark) = count(root, &known.patterns, &asked.counter);
                Said::Count(found, mark)
            }
            Ask::Folder(asked) => Said::Folder(list_folder(root, asked)),
            Ask::Manifest(..) | Ask::Processes(_) | Ask::Mentions(_) => {
                self.unasked(Fault::Probe("it is no question about what lies below the root".into()))
            }
        }
    }
}

/// Reads a task from standard input, and writes a line to standard output for each thing that it asks.
pub fn answer_stdin() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The parent's standard error is the journal; the parent itself only sees that there was no answer.
            let _ = writeln!(io::stderr(), "hostward {SUBCOMMAND}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    // Whole, and then parsed: byte by byte takes several times as long.
    let mut task = Vec::new();
    io::stdin().lock().take(TASK_MAX).read_to_end(&mut task)?;
    let asks: Vec<Ask> = serde_json::from_slice(&task)?;
    let known = Known {
        // Before anybody else is become: it is root's alone.
        root: rustix::fs::open(ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
        locks: Table::of(Path::new(PROC)),
        patterns: Patterns::default(),
    };
    let mut whom = Whom::default();
    asks.iter().try_for_each(|ask| {
        let said = match whom.become_user(ask.user()) {
            Ok(()) => ask.answer(&known),
            Err(fault) => ask.unasked(fault),
        };
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &said)?;
        out.write_all(b"\n")?;
        out.flush()
    })
}

/// What is read or made once for all that is asked.
struct Known {
    root: Result<OwnedFd, Errno>,
    /// It says who holds locks, and each read of it waits for every processor.
    locks: Table,
    patterns: Patterns,
}

/// As whom this process looks. What cannot be looked at as it must be is not looked at at all.
#[derive(Default)]
struct Whom {
    /// None: root, or whoever we were.
    now: Option<Str>,
}

impl Whom {
    /// Who is asked for twice in a row is looked up once: groups are read from files.
    fn become_user(&mut self, user: Option<&str>) -> Result<(), Fault> {
        if self.now.as_deref() == user {
            return Ok(());
        }
        if self.now.is_some() {
            become_root().map_err(|e| Fault::Probe(format!("become root again: {e}").into()))?;
            self.now = None;
        }
        let Some(name) = user else { return Ok(()) };
        let found = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => return Err(Fault::Config(format!("there is no user '{name}'").into())),
            Err(e) => return Err(Fault::Probe(format!("look up user '{name}': {e}").into())),
        };
        // Also when it half succeeds: the next one becomes root first.
        self.now = Some(name.into());
        become_user(&found).map_err(|e| {
            // It is nobody's name: whoever comes next does not take it for done.
            self.now = Some("".into());
            Fault::Probe(format!("become user '{name}': {e}").into())
        })
    }
}

fn become_user(user: &User) -> nix::Result<()> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    initgroups(&name, user.gid)?;
    setegid(user.gid)?;
    seteuid(user.uid)
}

fn become_root() -> nix::Result<()> {
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    initgroups(c"root", Gid::from_raw(0))
}
