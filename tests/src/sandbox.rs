//! One sandbox: a real systemd, booted by `sandbox/sandbox`, taken down when the value is dropped.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Which cgroup layout systemd sees inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// Pure cgroup2, as on a stock Debian 12. Enforces no limits on a machine that keeps its controllers on v1.
    #[default]
    Unified,
    /// Also the machine's v1 controllers, where it has those: MemoryMax=, TasksMax= and CPUQuota= bite.
    Hybrid,
}

/// How to boot.
#[derive(Clone, Debug, Default)]
pub struct BootOptions {
    /// Read-write bind mounts: a path of the machine, and where it appears inside.
    pub binds: Vec<(PathBuf, PathBuf)>,
    pub cgroup: Cgroup,
}

/// What a command inside did.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    init_pid: u32,
}

/// Long enough to tell tests apart, short enough for a host name with the process id and the count behind it.
const NAME_MAX_BYTES: usize = 24;
const JOURNAL_TAIL_LINES: usize = 60;

impl Sandbox {
    /// Boots a sandbox; `name` (a-z, 0-9 and `-`) is made unique, so that tests run side by side.
    pub fn boot(name: &str) -> Result<Self> {
        Self::boot_with(name, &BootOptions::default())
    }

    pub fn boot_with(name: &str, options: &BootOptions) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(name.len() <= NAME_MAX_BYTES, "the sandbox name '{name}' is longer than {NAME_MAX_BYTES} bytes");
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut up = script("up", &name);
        up.env("SANDBOX_OWNER", std::process::id().to_string());
        up.env("SANDBOX_BIND", bind_lines(&options.binds)?);
        up.env(
            "SANDBOX_CGROUP",
            match options.cgroup {
                Cgroup::Unified => "unified",
                Cgroup::Hybrid => "hybrid",
            },
        );
        Output::of(&mut up)?.ok().with_context(|| format!("boot sandbox '{name}'"))?;
        // From here on the value exists, so its drop takes the sandbox down if anything below fails.
        let mut sandbox = Self { name, init_pid: 0 };
        let pid = Output::of(&mut script("init", &sandbox.name))?.ok()?;
        sandbox.init_pid = pid.trim().parse().with_context(|| format!("read the pid of PID 1 from '{pid}'"))?;
        Ok(sandbox)
    }

    /// Its unique name, also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its PID 1, as the machine numbers it.
    pub fn init_pid(&self) -> u32 {
        self.init_pid
    }

    /// Its root, seen from outside. For reading: an absolute symbolic link in it leads to the machine's own files, so
    /// write with [`Sandbox::write`].
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init_pid))
    }

    /// The address of its system bus, for a client outside.
    pub fn bus_address(&self) -> String {
        format!("unix:path={}/run/dbus/system_bus_socket", self.root().display())
    }

    /// A command that runs inside as root, not started yet.
    pub fn command<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = script("exec", &self.name);
        command.args(arguments);
        command
    }

    /// Runs a command inside and waits for it. A failed command is an `Ok` whose [`Output::ok`] fails.
    pub fn exec<I, S>(&self, arguments: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Output::of(&mut self.command(arguments))
    }

    /// Runs a bash script inside (`set -euo pipefail`) and returns what it printed; fails when the script does.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.exec(["bash", "-euo", "pipefail", "-c", script])?.ok()
    }

    /// Writes a file inside, whole or not at all, with the folders above it. `mode` is what chmod(1) takes.
    pub fn write(&self, path: &str, mode: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1""#;
        let mut child = self
            .command(["sh", "-c", script, "sh", path, mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("write '{path}' in sandbox '{}'", self.name))?;
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        stdin.write_all(contents.as_ref()).with_context(|| format!("write '{path}' in sandbox '{}'", self.name))?;
        drop(stdin);
        let status = child.wait()?;
        ensure!(status.success(), "write '{path}' in sandbox '{}': {status}", self.name);
        Ok(())
    }

    /// Reads a text file inside.
    pub fn read(&self, path: &str) -> Result<String> {
        self.exec(["cat", path])?.ok()
    }

    /// A property of a unit, as `systemctl show` prints it.
    pub fn property(&self, unit: &str, property: &str) -> Result<String> {
        let value = self.exec(["systemctl", "show", "--value", "--property", property, unit])?.ok()?;
        Ok(value.trim().to_owned())
    }

    /// The last lines of its journal, or why they can't be had.
    pub fn journal_tail(&self) -> String {
        let lines = JOURNAL_TAIL_LINES.to_string();
        match self.exec(["journalctl", "--no-pager", "--output=short-precise", "--lines", &lines]) {
            Ok(output) => output.stdout + &output.stderr,
            Err(error) => format!("no journal: {error:#}\n"),
        }
    }

    /// Ends every process of the sandbox at once and removes its mounts, cgroups and state. Idempotent.
    pub fn kill_everything(&self) -> Result<()> {
        Output::of(&mut script("down", &self.name))?.ok()?;
        Ok(())
    }

    /// What of the sandbox `name` still exists on this machine (mounts, cgroups, processes, state), one thing a line.
    pub fn traces(name: &str) -> Result<Vec<String>> {
        let found = Output::of(&mut script("traces", name))?.ok()?;
        Ok(found.lines().map(str::to_owned).collect())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("journal of sandbox '{}':\n{}", self.name, self.journal_tail());
        }
        if let Err(error) = self.kill_everything() {
            eprintln!("take down sandbox '{}': {error:#}", self.name);
        }
    }
}

impl Output {
    /// What the command printed, or an error that names it, its status and what it said.
    pub fn ok(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let mut message = format!("`{}`: {}", self.command, self.status);
        for said in [&self.stdout, &self.stderr] {
            let said = said.trim_end();
            if !said.is_empty() {
                write!(message, "\n{said}").expect("a string takes all");
            }
        }
        bail!(message)
    }

    /// The exit status, or `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    fn of(command: &mut Command) -> Result<Self> {
        let shown = shown(command);
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("run `{shown}`"))?;
        Ok(Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: shown,
        })
    }
}

fn script(verb: &str, name: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox/sandbox"));
    command.args([verb, name]);
    command
}

fn shown(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    format!("sandbox {}", arguments.join(" "))
}

fn bind_lines(binds: &[(PathBuf, PathBuf)]) -> Result<String> {
    let mut lines = String::new();
    for (source, target) in binds {
        let (source, target) = (source.display().to_string(), target.display().to_string());
        ensure!(!source.contains([':', '\n']), "the bind source '{source}' contains a colon or a newline");
        ensure!(target.starts_with('/'), "the bind target '{target}' is not absolute");
        writeln!(lines, "{source}:{target}").expect("a string takes all");
    }
    Ok(lines)
}
