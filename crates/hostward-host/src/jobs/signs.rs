//! Processes, as /proc tells of them: whether one lives, the unit in whose control group it is, and who has an argument.
//!
//! Only in a child: the command line of a process that hangs is read as long as that hangs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use hostward_core::ask::{Fault, Process};
use hostward_core::id::{Str, UnitName};
use hostward_core::time::Ms;
use rustix::io::Errno;

use crate::files;
use crate::gate::lock;

/// Of a command line: what names a job stands in front.
const COMMAND_MAX: u64 = 32 << 10;
/// Steps of ours that are about a job do not run it.
const OUR_STEPS: &str = "hostward-step-";

/// Those that live.
pub(crate) fn processes(proc: &Path, pids: &[u32]) -> Vec<Process> {
    let (of_systemd, booted) = (groups(proc, 1), booted(proc));
    let live = pids.iter().copied().filter(|pid| lives(proc, *pid));
    live.map(|pid| Process { pid, unit: unit(proc, pid, &of_systemd), began: began(proc, pid, booted) }).collect()
}

/// For each argument, the first process that has it, alone and whole.
pub(crate) fn mentions(proc: &Path, arguments: &[Str]) -> Result<Vec<Option<Process>>, Fault> {
    let mut wanted: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (n, argument) in arguments.iter().enumerate() {
        wanted.entry(argument.as_bytes()).or_default().push(n);
    }
    let of_systemd = groups(proc, 1);
    let mut found: Vec<Option<Process>> = vec![None; arguments.len()];
    let failed = |e| files::fault("process table", proc, e);
    for entry in fs::read_dir(proc).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may end while we look.
        let Ok(command) = command(proc, pid) else { continue };
        for n in command.split(|b| *b == 0).filter_map(|argument| wanted.get(argument)).flatten() {
            let process = Process { pid, unit: unit(proc, pid, &of_systemd), began: None };
            let ours = process.unit.as_ref().is_some_and(|unit| unit.as_str().starts_with(OUR_STEPS));
            if !ours && found[*n].as_ref().is_none_or(|first| pid < first.pid) {
                found[*n] = Some(process);
            }
        }
    }
    Ok(found)
}

fn command(proc: &Path, pid: u32) -> io::Result<Vec<u8>> {
    let mut command = Vec::new();
    File::open(proc.join(pid.to_string()).join("cmdline"))?.take(COMMAND_MAX).read_to_end(&mut command)?;
    Ok(command)
}

/// A process that only waits to be reaped does nothing any more.
fn lives(proc: &Path, pid: u32) -> bool {
    match fs::read_to_string(proc.join(pid.to_string()).join("stat")) {
        // proc_pid_stat(5): the command may hold spaces and parentheses, so the last parenthesis ends it.
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])),
        // What cannot be told is not taken for dead.
        Err(e) => !matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::SRCH | Errno::NOTDIR)),
    }
}

/// Wall clock; proc_stat(5), btime.
fn booted(proc: &Path) -> Option<Ms> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Ms::secs(seconds.trim().parse().ok()?))
}

fn began(proc: &Path, pid: u32, booted: Option<Ms>) -> Option<Ms> {
    Some(booted? + lock::started(&proc.join(pid.to_string()))?)
}

fn unit(proc: &Path, pid: u32, of_systemd: &str) -> Option<UnitName> {
    unit_of(&groups(proc, pid), of_systemd)
}

/// Nothing when it has ended.
fn groups(proc: &Path, pid: u32) -> String {
    fs::read_to_string(proc.join(pid.to_string()).join("cgroup")).unwrap_or_default()
}

fn kind(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, kind)| kind)
}

/// The system's unit of a control group: the first part of its path, below that of systemd's own, that is no slice
/// (systemd's `cg_path_get_unit`). In a container without a namespace for them, systemd's own is not the root.
fn unit_of(groups: &str, of_systemd: &str) -> Option<UnitName> {
    let below = |hierarchy| {
        let root = path(of_systemd, hierarchy)?.strip_suffix("/init.scope")?;
        path(groups, hierarchy)?.strip_prefix(root)
    };
    // Another systemd's hierarchy may be seen as well: systemd's own is the one that it has its scope in.
    let path = HIERARCHIES.into_iter().find_map(below)?;
    // cgroupfs has files of its own, and a name that is like one of them is escaped.
    let mut parts =
        path.split('/').filter(|part| !part.is_empty()).map(|part| part.strip_prefix('_').unwrap_or(part));
    let unit = parts.find(|part| kind(part) != "slice")?;
    ["service", "scope", "socket", "mount", "swap"].contains(&kind(unit)).then(|| UnitName::new(unit))
}

/// cgroups(7): the unified hierarchy, and the one that systemd keeps beside it on v1.
const HIERARCHIES: [&str; 2] = ["", "name=systemd"];

fn path<'a>(groups: &'a str, hierarchy: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers == hierarchy).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn control_groups_name_units() {
        for (groups, expected) in [
            ("0::/system.slice/api.service\n", Some("api.service")),
            ("0::/system.slice/system-crawl.slice/crawl@7.service/payload\n", Some("crawl@7.service")),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", Some("session-3.scope")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n", Some("user@1000.service")),
            ("0::/system.slice/_cgroup.service\n", Some("cgroup.service")),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/docker/abc\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups, "0::/init.scope\n").as_ref().map(UnitName::as_str), expected, "{groups}");
        }
        let inner = "0::/outer.service/box/system.slice/api.service\n";
        let unit = unit_of(inner, "0::/outer.service/box/init.scope\n");
        assert_eq!(unit.as_ref().map(UnitName::as_str), Some("api.service"));
        let beside = "12:cpu:/\n1:name=systemd:/system.slice/api.service\n0::/\n";
        let unit = unit_of(beside, "1:name=systemd:/init.scope\n0::/\n");
        assert_eq!(unit.as_ref().map(UnitName::as_str), Some("api.service"));
    }

    /// A /proc with these processes: arguments, state, control group.
    fn table(processes: &[(u32, &[&str], char, &str)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::write(proc.path().join("uptime"), "1 1").unwrap();
        for (pid, argv, state, group) in processes {
            let dir = proc.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            let command: String = argv.iter().flat_map(|argument| [*argument, "\0"]).collect();
            fs::write(dir.join("cmdline"), command).unwrap();
            fs::write(dir.join("stat"), format!("{pid} (odd ) name) {state} 1 1")).unwrap();
            fs::write(dir.join("cgroup"), format!("0::/system.slice/{group}\n")).unwrap();
        }
        fs::create_dir(proc.path().join("1")).unwrap();
        fs::write(proc.path().join("1/cgroup"), "0::/init.scope\n").unwrap();
        proc
    }

    #[test]
    fn an_argument_is_mentioned_whole_and_by_nobody_of_ours() {
        let proc = table(&[
            (30, &["crawl", "--job=7"], 'S', "late.service"),
            (20, &["crawl", "--job=7"], 'S', "early.service"),
            (40, &["crawl", "--job=77"], 'S', "other.service"),
            (50, &["crawl", "x--job=8"], 'S', "other.service"),
            (10, &["recover", "--job=9"], 'S', "hostward-step-1-0-1.service"),
        ]);
        let found = mentions(proc.path(), &["--job=7".into(), "--job=8".into(), "--job=9".into()]).unwrap();
        let early = Process { pid: 20, unit: Some(UnitName::new("early.service")), began: None };
        assert_eq!(found, [Some(early), None, None]);
    }

    #[test]
    fn the_dead_are_left_out() {
        let proc = table(&[(20, &["a"], 'S', "a.service"), (30, &["b"], 'Z', "b.service")]);
        let found = |proc: &Path| {
            processes(proc, &[20, 30, 40]).iter().map(|process| (process.pid, process.began)).collect::<Vec<_>>()
        };
        assert_eq!(found(proc.path()), [(20, None)]);
        let zeros = "0 ".repeat(18);
        fs::write(proc.path().join("20/stat"), format!("20 (a) S {zeros}250 0")).unwrap();
        fs::write(proc.path().join("stat"), "cpu 1 2\nbtime 1000\nprocesses 7\n").unwrap();
        assert_eq!(found(proc.path()), [(20, Some(Ms(1_002_500)))], "ticks since this host was booted");
    }

    #[test]
    fn a_real_process_is_found_in_the_real_table() {
        let argument = format!("--job=of-test-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "echo here; read line", "sh", &argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says that it runs: in the middle of an exec a process has no arguments yet.
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let proc = Path::new("/proc");
        let found = mentions(proc, &[argument.as_str().into()]);
        let alive = processes(proc, &[child.id()]);
        writeln!(child.stdin.take().unwrap()).unwrap();
        let found = found.unwrap().remove(0).map(|process| process.pid);
        assert_eq!((found, alive.len()), (Some(child.id()), 1));
        child.wait().unwrap();
        assert_eq!(processes(proc, &[child.id()]), []);
    }
}
