//! Running programs in the checkout: shown before they run, an error when they fail.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hostward_tests::repository;

/// A program in the root of the checkout, not started yet.
pub(crate) fn program<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(repository());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

/// Runs a command, its output going where ours goes.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    eprintln!("xtask: {shown}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("start `{shown}`"))?;
    ensure!(status.success(), "`{shown}`: {status} after {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs a command quietly and returns what it printed.
pub(crate) fn read(mut command: Command) -> Result<String> {
    let shown = shown(&command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start `{shown}`"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}`: {}\n{}", output.status, stderr.trim_end());
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed what is not UTF-8"))
}

/// Whether a program can be started and ends well: `succeeds("cargo", ["nextest", "--version"])`.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn shown(command: &Command) -> String {
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
