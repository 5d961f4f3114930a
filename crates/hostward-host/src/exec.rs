//! One of the operator's own checks, run with nothing left behind.
//!
//! A process of ours stands between the daemon and the command. It supervises: it adopts whatever the command leaves (a
//! child subreaper), reads its output, and at the deadline kills its session and every orphan that came to it, those
//! included that made a session of their own. Should it be killed itself, the kernel kills the command. So that nothing
//! outlives its supervisor unseen, it is asked to end, by closing its standard input, and ends when nothing that it started
//! is left: what hangs in the kernel survives a SIGKILL. Rules: dependencies.md, "Processes"; prctl(2).

mod before;

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{ErrorKind, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hostward_core::ask::{Answer, ExecQ, ExecReading, Fault, Reading};
use nix::unistd::{User, getgrouplist};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::mask;
use before::Account;

/// Of its output; the rest is read and dropped, so that no command waits on a full pipe.
const MAX_OUTPUT: usize = 4096;
const MAX_TEXT: usize = 200;
/// Killed processes end within milliseconds, or hang in the kernel.
const REAPED_WITHIN: Duration = Duration::from_millis(500);
/// What hangs is looked after this often.
const LOOKED_AFTER: Duration = Duration::from_millis(500);
/// systemd.exec(5): what a unit has that sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Supervises one run. Only in a process of its own: whatever is a child of this process is killed at the end.
pub(crate) fn run(q: &ExecQ) -> Answer {
    let (program, arguments) =
        q.run.split_first().ok_or_else(|| Fault::Config("an exec probe without a command".into()))?;
    executable(program)?;
    let failed = |what: &str, e: std::io::Error| Fault::Probe(format!("{what}: {e}").into());
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| failed("adopt orphans", e.into()))?;
    let (output, input) = std::io::pipe().map_err(|e| failed("make a pipe", e))?;
    let mut command = Command::new(&**program);
    command.args(arguments.iter().map(|argument| OsStr::new(&**argument)));
    command.env_clear().env("LC_ALL", "C").env("PATH", PATH).current_dir("/").stdin(Stdio::null());
    command.stdout(input.try_clone().map_err(|e| failed("copy a pipe", e))?).stderr(input);
    let account = q.user.as_deref().map(|user| account(user, &mut command)).transpose()?;
    before::exec(&mut command, account);
    let child = command.spawn().map_err(|e| not_started(program, q.user.as_deref(), &e))?;
    // Its ends of the pipe are the child's alone from here on.
    drop(command);
    watch(child, output, q.timeout.into()).map_err(|e| failed("watch a check", e))?
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

/// Within: why there is no reading.
fn watch(mut child: Child, output: PipeReader, timeout: Duration) -> std::io::Result<Answer> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    rustix::io::ioctl_fionbio(&output, true)?;
    let (mut output, mut said) = (Some(output), Vec::new());
    let asker = std::io::stdin();
    let until = Instant::now() + timeout;
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break End::Late;
        }
        // Without an event of its own: only that its other end is closed.
        let mut waiting = vec![PollFd::new(&asker, PollFlags::empty()), PollFd::new(&ended, PollFlags::IN)];
        waiting.extend(output.as_ref().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)));
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut waiting, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let given_up = !waiting[0].revents().is_empty();
        drain(&mut output, &mut said);
        if let Some(status) = child.try_wait()? {
            break End::Ended(status);
        }
        if given_up {
            break End::GivenUp;
        }
    };
    kill_all(pid);
    drain(&mut output, &mut said);
    let excerpt = mask::text(&String::from_utf8_lossy(&said), MAX_TEXT);
    let after = hostward_core::time::Ms(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    Ok(match end {
        End::Ended(status) => Ok(Reading::Exec(reading(status, excerpt))),
        End::Late => Ok(Reading::Exec(ExecReading::TimedOut { after, excerpt })),
        // Before its time was over: nothing that the check did wrong.
        End::GivenUp => Err(Fault::Timeout),
    })
}

enum End {
    Ended(ExitStatus),
    Late,
    /// Nobody waits for the answer any more.
    GivenUp,
}

fn reading(status: ExitStatus, excerpt: hostward_core::id::Str) -> ExecReading {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExecReading::Exited { code, excerpt },
        (None, signal) => ExecReading::Killed { signal: signal.unwrap_or(0), excerpt },
    }
}

/// Reads what is there, and keeps the beginning. At its end the pipe is let go.
fn drain(output: &mut Option<PipeReader>, said: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Some(pipe) = output {
        match pipe.read(&mut buffer) {
            Ok(0) => *output = None,
            Ok(n) => {
                let room = MAX_OUTPUT - said.len();
                said.extend_from_slice(&buffer[..n.min(room)]);
                // A command that never stops talking must not keep us from the clock.
                if room == 0 {
                    return;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
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
