//! Processes that change an application's tree: pip, uv, npm, poetry, git, found in /proc.
//!
//! A process is named by what it runs, not by whose it is: an operator's shell, a CI runner and a cron job are alike.
//! Left out: the steps that we run ourselves, and tools that stand for the application (`uv run`, `npm start`) or
//! serve for ever. Rule: safety.md, "OperatorActive".

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use hostward_core::ask::{Fault, Operator};
use rustix::io::Errno;

use crate::{files, mask};

const TOOLS: [&str; 6] = ["pip", "pip3", "uv", "npm", "poetry", "git"];
/// Their first word when they stay for as long as what they started, or serve: not somebody at work. Without this a
/// service whose ExecStart is `uv run` or `npm start` would hold every act on its own tree.
const STANDING: [(&str, &[&str]); 4] = [
    ("uv", &["run", "tool"]),
    ("npm", &["run", "run-script", "start", "exec"]),
    ("poetry", &["run", "shell"]),
    ("git", &["fsmonitor--daemon", "credential-cache--daemon", "daemon"]),
];
/// Transient units of our own steps bear this in their control group's path.
const OUR_STEPS: &[u8] = b"/hostward-step-";
/// As many as an alert can name.
const MAX_OPERATORS: usize = 20;
/// A longer command line is cut: what matters stands in front.
const MAX_ARGS: usize = 1024;

/// Scans /proc. A process that ends while we look is no error.
pub(super) fn scan(proc: &Path, trees: &[PathBuf]) -> Result<Vec<Operator>, Fault> {
    if trees.is_empty() {
        return Ok(Vec::new());
    }
    // As declared, and where that leads: processes know real paths, operators type declared ones.
    let real = trees.iter().filter_map(|tree| fs::canonicalize(tree).ok());
    let trees: Vec<PathBuf> = trees.iter().cloned().chain(real).collect();
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc).map_err(|e| files::fault("process table", proc, e))? {
        let entry = entry.map_err(|e| files::fault("process table", proc, e))?;
        pids.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    let mut operators = Vec::new();
    for pid in pids {
        operators.extend(operator(proc, pid, &trees)?);
        if operators.len() == MAX_OPERATORS {
            break;
        }
    }
    Ok(operators)
}

fn operator(proc: &Path, pid: u32, trees: &[PathBuf]) -> Result<Option<Operator>, Fault> {
    let dir = proc.join(pid.to_string());
    let failed = |e| files::fault("process", &dir, e);
    let Some(cmdline) = gone_is_none(fs::read(dir.join("cmdline"))).map_err(failed)? else { return Ok(None) };
    // A kernel thread has no arguments, nor has a process that only waits to be reaped.
    let argv: Vec<&[u8]> =
        cmdline.strip_suffix(b"\0").unwrap_or(&cmdline).split(|b| *b == 0).take(MAX_ARGS).collect();
    if cmdline.is_empty() || !is_tool(&argv) {
        return Ok(None);
    }
    let Some(cgroup) = gone_is_none(fs::read(dir.join("cgroup"))).map_err(failed)? else { return Ok(None) };
    if of_our_steps(&cgroup) {
        return Ok(None);
    }
    let cwd = gone_is_none(fs::read_link(dir.join("cwd")));
    let exe = gone_is_none(fs::read_link(dir.join("exe")));
    let below = |path: &Path| trees.iter().any(|tree| path.starts_with(tree));
    let known = |link: &io::Result<Option<PathBuf>>| link.as_ref().ok().and_then(Clone::clone);
    let base = known(&cwd).unwrap_or_default();
    let at_work = below(&base)
        || known(&exe).is_some_and(|exe| below(&exe))
        || argv.iter().any(|arg| below(&named_path(&base, arg)));
    if !at_work {
        // A tool whose place may not be known might be in the tree: that is no "nobody is at work".
        cwd.and(exe).map_err(failed)?;
        return Ok(None);
    }
    let argv: Vec<String> = argv.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    Ok(Some(Operator { pid, age: None, command: mask::command(argv.iter().map(String::as_str)) }))
}

/// Whether the process of this directory in /proc is a step of ours. One that may not be looked at is none.
pub(super) fn is_our_step(dir: &Path) -> bool {
    fs::read(dir.join("cgroup")).is_ok_and(|cgroup| of_our_steps(&cgroup))
}

fn of_our_steps(cgroup: &[u8]) -> bool {
    cgroup.windows(OUR_STEPS.len()).any(|w| w == OUR_STEPS)
}

/// ENOENT and ESRCH: the process has ended, or (its links) never had one.
fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::SRCH | Errno::NOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The tool itself, or an interpreter that runs it: `python -m pip`, `python /venv/bin/pip`, `node .../npm`.
fn is_tool(argv: &[&[u8]]) -> bool {
    let Some((first, rest)) = argv.split_first() else { return false };
    // npm and others set their title: one argument with spaces in it.
    let titled: Vec<&[u8]> = first.split(|b| *b == b' ').collect();
    if rest.iter().all(|arg| arg.is_empty()) && titled.len() > 1 && !first.starts_with(b"/") {
        return is_tool(&titled);
    }
    let name = base_name(first);
    if is_interpreter(&name) {
        let script = rest.iter().position(|arg| !arg.starts_with(b"-"));
        return match rest.iter().position(|arg| *arg == b"-m") {
            Some(m) if script.is_none_or(|script| m < script) => works(&rest[m + 1..]),
            _ => script.is_some_and(|script| works(&rest[script..])),
        };
    }
    works(argv)
}

/// The first word names a tool, and the tool is not one that stands for a service.
fn works(argv: &[&[u8]]) -> bool {
    let Some((first, rest)) = argv.split_first() else { return false };
    let name = base_name(first);
    let name = name.strip_suffix("-cli.js").unwrap_or(&name);
    // pip3.11.
    let name = if name.starts_with("pip3.") { "pip3" } else { name };
    let Some(tool) = TOOLS.iter().find(|tool| **tool == name) else { return false };
    let verb = rest.iter().find(|arg| !arg.starts_with(b"-"));
    let standing = STANDING.iter().filter(|(t, _)| t == tool).flat_map(|(_, verbs)| verbs.iter());
    !verb.is_some_and(|verb| standing.clone().any(|v| v.as_bytes() == *verb))
}

fn is_interpreter(name: &str) -> bool {
    let rest = ["python", "pypy", "node"].iter().find_map(|i| name.strip_prefix(i));
    rest.is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

fn base_name(arg: &[u8]) -> String {
    let name = arg.rsplit(|b| *b == b'/').next().unwrap_or(arg);
    String::from_utf8_lossy(name).into_owned()
}

/// The path that an argument may name, its `..` resolved by its text: `/srv/app/x`, `--target=/srv/app`, `../app`.
fn named_path(cwd: &Path, arg: &[u8]) -> PathBuf {
    let value = match arg.iter().position(|b| *b == b'=') {
        Some(eq) if arg.starts_with(b"-") => &arg[eq + 1..],
        _ => arg,
    };
    let mut path = PathBuf::new();
    for part in cwd.join(OsStr::from_bytes(value)).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use super::*;

    const TREE: &str = "/srv/app";

    /// A /proc with one process, 42.
    fn operators(argv: &[&str], cwd: &str, cgroup: &str) -> Vec<Operator> {
        let proc = tempfile::tempdir().unwrap();
        let dir = proc.path().join("42");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(proc.path().join("43")).unwrap();
        fs::write(proc.path().join("uptime"), "1 1").unwrap();
        let cmdline: String = argv.iter().flat_map(|arg| [*arg, "\0"]).collect();
        fs::write(dir.join("cmdline"), cmdline).unwrap();
        fs::write(dir.join("cgroup"), cgroup).unwrap();
        symlink(cwd, dir.join("cwd")).unwrap();
        symlink("/usr/bin/any", dir.join("exe")).unwrap();
        scan(proc.path(), &[PathBuf::from(TREE)]).unwrap()
    }

    #[test]
    fn a_tool_in_the_tree_is_somebody_at_work() {
        let cases: [(&[&str], &str, bool); 24] = [
            (&["git", "pull"], "/srv/app", true),
            (&["/usr/bin/git", "pull"], "/srv/app/sub", true),
            (&["git", "pull"], "/srv/application", false),
            (&["git", "-C", "/srv/app", "pull"], "/", true),
            (&["git", "-C", "app", "pull"], "/srv", true),
            (&["git", "-C", "../app", "pull"], "/srv/other", true),
            (&["git", "--git-dir=/srv/app/.git", "fetch"], "/", true),
            (&["git", "fsmonitor--daemon", "run"], "/srv/app", false),
            (&["pip", "install", "-r", "/srv/app/requirements.txt"], "/root", true),
            (&["/srv/app/venv/bin/python3", "/srv/app/venv/bin/pip", "install", "x"], "/root", true),
            (&["python3.11", "-I", "-m", "pip", "install", "x"], "/srv/app", true),
            (&["python3", "-m", "http.server"], "/srv/app", false),
            (&["python3", "app.py", "-m", "pip"], "/srv/app", false),
            (&["pip3.11", "install", "x"], "/srv/app", true),
            (&["uv", "sync"], "/srv/app", true),
            (&["uv", "run", "uvicorn", "app:app"], "/srv/app", false),
            (&["npm ci"], "/srv/app", true),
            (&["npm start"], "/srv/app", false),
            (&["node", "/usr/lib/node_modules/npm/bin/npm-cli.js", "ci"], "/srv/app", true),
            (&["node", "server.js"], "/srv/app", false),
            (&["/opt/poetry/bin/python", "/opt/poetry/bin/poetry", "install"], "/srv/app", true),
            (&["vim", "/srv/app/pip"], "/srv/app", false),
            (&["gitlab-runner"], "/srv/app", false),
            (&[], "/srv/app", false),
        ];
        for (argv, cwd, at_work) in cases {
            let found = operators(argv, cwd, "0::/user.slice/session-1.scope\n");
            assert_eq!(found.len(), usize::from(at_work), "{argv:?} in {cwd}: {found:?}");
        }
    }

    #[test]
    fn our_own_steps_are_nobody_and_a_command_is_shown_without_its_secrets() {
        let argv = ["pip", "install", "--index-url=https://me:hunter2@host/simple", "x"];
        assert_eq!(operators(&argv, TREE, "0::/system.slice/hostward-step-12.service\n"), []);
        let found = operators(&argv, TREE, "0::/system.slice/ci.service\n");
        let command = "pip install --index-url=https://***@host/simple x".into();
        assert_eq!(found, [Operator { pid: 42, command, age: None }]);
    }

    #[test]
    fn a_real_process_is_found_in_the_real_table() {
        let dir = tempfile::tempdir().unwrap();
        // A link to cat by the tool's name: it waits for its input, as long as we want.
        let tool = dir.path().join("pip");
        symlink("/bin/cat", &tool).unwrap();
        let mut child = Command::new(&tool).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Its echo says that it runs: in the middle of an exec a process has no arguments yet.
        writeln!(child.stdin.as_ref().unwrap(), "here").unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let found = scan(Path::new("/proc"), &[dir.path().to_owned()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap().iter().map(|o| o.pid).collect::<Vec<_>>(), [child.id()]);
        assert_eq!(scan(Path::new("/proc"), &[dir.path().to_owned()]), Ok(Vec::new()), "it has ended");
    }
}
