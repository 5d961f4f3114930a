//! One run of a command, supervised: its output kept as far as it may go, and nothing left of it at the deadline.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{ErrorKind, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use nix::unistd::{User, getgrouplist};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::before::{self, Account};

/// What an excerpt is made of; the rest is read and dropped, so that no command waits on a full pipe.
const EXCERPT_BYTES: usize = 4096;
/// Killed processes end within milliseconds, or hang in the kernel.
const REAPED_WITHIN: Duration = Duration::from_millis(500);
/// What hangs is looked after this often.
const LOOKED_AFTER: Duration = Duration::from_millis(500);
/// systemd.exec(5): what a unit has that sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run, and as whom.
pub(crate) struct Program<'a> {
    /// The program's whole path, and its arguments.
    pub(crate) run: &'a [Str],
    pub(crate) user: Option<&'a str>,
    /// Beside what every program is given, and before it.
    pub(crate) env: &'a [(String, String)],
    pub(crate) timeout: Duration,
}

/// What is kept of what it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The beginning, of standard output and error together.
    Excerpt,
    /// Standard output whole, up to so many bytes; of standard error the beginning.
    Whole(usize),
}

pub(crate) struct Ran {
    pub(crate) end: End,
    pub(crate) output: Vec<u8>,
    /// None of [`Keep::Excerpt`]'s.
    pub(crate) errors: Vec<u8>,
}

pub(crate) enum End {
    Ended(ExitStatus),
    Late,
    /// It printed more than is kept.
    Flooded,
    /// Nobody waits for the answer any more.
    GivenUp,
}

/// Supervises one run. Only in a process of its own: whatever is a child of this process is killed at the end.
pub(crate) fn supervise(program: &Program<'_>, keep: Keep) -> Result<Ran, Fault> {
    let (path, arguments) =
        program.run.split_first().ok_or_else(|| Fault::Config("there is no command to run".into()))?;
    executable(path)?;
    let failed = |what: &str, e: std::io::Error| Fault::Probe(format!("{what}: {e}").into());
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| failed("adopt orphans", e.into()))?;
    let mut command = Command::new(&**path);
    command.args(arguments.iter().map(|argument| OsStr::new(&**argument)));
    command.env_clear().env("LC_ALL", "C").env("PATH", PATH).current_dir("/").stdin(Stdio::null());
    let mut streams = streams(keep, &mut command).map_err(|e| failed("make a pipe", e))?;
    let account = program.user.map(|user| account(user, &mut command)).transpose()?;
    command.envs(program.env.iter().map(|(name, value)| (name, value)));
    before::exec(&mut command, account);
    let child = command.spawn().map_err(|e| not_started(path, program.user, &e))?;
    // Its ends of the pipes are the child's alone from here on.
    drop(command);
    let end = watch(child, &mut streams, program.timeout).map_err(|e| failed("watch a command", e))?;
    let mut kept = streams.into_iter().map(|stream| stream.kept);
    Ok(Ran { end, output: kept.next().unwrap_or_default(), errors: kept.next().unwrap_or_default() })
}

/// Standard output first.
fn streams(keep: Keep, command: &mut Command) -> std::io::Result<Vec<Stream>> {
    let (output, input) = std::io::pipe()?;
    match keep {
        Keep::Excerpt => {
            command.stdout(input.try_clone()?).stderr(input);
            Ok(vec![Stream::new(output, EXCERPT_BYTES, Beyond::Dropped)?])
        }
        Keep::Whole(max) => {
            let (errors, complaint) = std::io::pipe()?;
            command.stdout(input).stderr(complaint);
            Ok(vec![Stream::new(output, max, Beyond::Flood)?, Stream::new(errors, EXCERPT_BYTES, Beyond::Dropped)?])
        }
    }
}

/// What becomes of what is more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Dropped,
    Flood,
}

/// One of its outputs.
struct Stream {
    /// None: its other end was closed.
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
    max: usize,
    beyond: Beyond,
    flooded: bool,
}

impl Stream {
    fn new(pipe: PipeReader, max: usize, beyond: Beyond) -> std::io::Result<Stream> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Stream { pipe: Some(pipe), kept: Vec::new(), max, beyond, flooded: false })
    }

    /// Reads what is there, and keeps the beginning. At its end the pipe is let go.
    fn drain(&mut self) {
        let mut buffer = [0; 16 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = self.max - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..n.min(room)]);
                    self.flooded |= n > room && self.beyond == Beyond::Flood;
                    // A command that never stops talking must not keep us from the clock.
                    if room == 0 {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Who `user` is, looked up here: between fork and exec nothing may be.
fn account(user: &str, command: &mut Command) -> Result<Account, Fault> {
    let failed = |e: nix::Error| Fault::Probe(format!("look up user '{user}': {e}").into());
    let found = User::from_name(user).map_err(failed)?;
    let found = found.ok_or_else(|| Fault::Config(format!("there is no user '{user}'").into()))?;
    let name = CString::new(user).map_err(|_| Fault::Config(format!("'{user}' is no user's name").into()))?;
    let groups = getgrouplist(&name, found.gid).map_err(failed)?;
    command.env("USER", user).env("LOGNAME", user).env("HOME", &found.dir);
    Ok(Account { user: found.uid, group: found.gid, groups })
}

/// It was there a moment ago, so that what is wrong is what it is, or as whom it is to run.
fn not_started(program: &str, user: Option<&str>, e: &std::io::Error) -> Fault {
    let whom = user.map_or_else(String::new, |user| format!(" as user '{user}'"));
    let why = format!("start '{program}'{whom}: {e}").into();
    let declared = [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&e.kind());
    if declared { Fault::Config(why) } else { Fault::Probe(why) }
}

/// Something is left of what [`run`] started: nobody's children but a check's are this process's.
pub(crate) fn leaves() -> bool {
    kill_children()
}

/// Returns when nothing is left of what [`run`] started: this process counts as one that has not ended until then.
pub(crate) fn outlast() {
    while kill_children() {
        std::thread::sleep(LOOKED_AFTER);
    }
}

fn executable(program: &str) -> Result<(), Fault> {
    match rustix::fs::accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Fault::Config(format!("'{program}' does not exist").into())),
        Err(e) => Err(Fault::Config(format!("'{program}' cannot be executed: {e}").into())),
    }
}

fn watch(mut child: Child, streams: &mut [Stream], timeout: Duration) -> std::io::Result<End> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let asker = std::io::stdin();
    let until = Instant::now() + timeout;
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break End::Late;
        }
        // Without an event of its own: only that its other end is closed.
        let mut waiting = vec![PollFd::new(&asker, PollFlags::empty()), PollFd::new(&ended, PollFlags::IN)];
        let pipes = streams.iter().filter_map(|stream| stream.pipe.as_ref());
        waiting.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut waiting, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let given_up = !waiting[0].revents().is_empty();
        streams.iter_mut().for_each(Stream::drain);
        if let Some(status) = child.try_wait()? {
            break End::Ended(status);
        }
        if given_up {
            break End::GivenUp;
        }
        if streams.iter().any(|stream| stream.flooded) {
            break End::Flooded;
        }
    };
    kill_all(pid);
    streams.iter_mut().for_each(Stream::drain);
    // What it left in the pipe may be too much as well.
    Ok(if streams.iter().any(|stream| stream.flooded) { End::Flooded } else { end })
}

/// Its session, and every process that is ours by birth or by adoption. Killing a parent brings its children to us, so
/// this is done until there is none.
fn kill_all(leader: Pid) {
    let until = Instant::now() + REAPED_WITHIN;
    // ESRCH: everybody has ended already, or it has not come so far as to make its session; then it is killed as our child.
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    while kill_children() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reaps whoever has ended and kills the others. False: there is nobody.
fn kill_children() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(None) => break,
        }
    }
    for pid in children() {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    true
}

/// Those whose parent is this process, by /proc.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    pids.filter(|pid| parent(*pid) == Some(own)).collect()
}

/// proc_pid_stat(5): the command may hold spaces and parentheses, so the last parenthesis ends it.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}
