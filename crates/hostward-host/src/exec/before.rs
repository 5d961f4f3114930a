//! What a check's process does between fork and exec. The one place of `unsafe` in Hostward: a process of our own in between,
//! which would do the same without it, costs more than most checks.
#![expect(unsafe_code, reason = "pre_exec(3) of the standard library has no safe form")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};

/// Whom it becomes.
pub(super) struct Account {
    pub(super) user: Uid,
    pub(super) group: Gid,
    pub(super) groups: Vec<Gid>,
}

/// It leads a session of its own, becomes `account` (none: stays who it is), and dies with this process.
pub(super) fn exec(command: &mut Command, account: Option<Account>) {
    let parent = getpid();
    let before = move || -> io::Result<()> {
        setsid()?;
        if let Some(account) = &account {
            setgroups(&account.groups)?;
            setgid(account.group)?;
            setuid(account.user)?;
        }
        // After the change of user, which takes it back: prctl(2), PR_SET_PDEATHSIG.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: until exec the closure makes bare system calls and touches what it owns: it neither allocates, nor takes a
    // lock, nor returns an error that does. The process that forks has one thread.
    unsafe { command.pre_exec(before) };
}
