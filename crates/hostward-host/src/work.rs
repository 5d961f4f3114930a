//! How much processor time a unit's processes have had: who is slow on a starved host does something all the same.
//!
//! By /proc and the cgroup file system alone, which hang for nobody (a command line would: it is the process's own
//! memory). `CPUUsageNSec` of systemd would cost a call to PID 1 for each look, and is there only where it is accounted.

use std::fs;
use std::path::PathBuf;

use hostward_core::time::Ms;

/// Where systemd's own hierarchy may be mounted: cgroup v2; a hybrid; v1. cgroups(7).
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
/// Before the path in a line of /proc/PID/cgroup: the unified hierarchy, and systemd's own beside it.
const KEPT_BY_SYSTEMD: [&str; 2] = ["0::/", ":name=systemd:/"];
/// A unit with more processes is told of by so many of them.
const PROCESSES_MAX: usize = 256;
/// USER_HZ, the unit of /proc/PID/stat's times: 100 on every architecture that systemd runs on (proc_pid_stat(5)).
const TICK: u64 = 1000 / 100;
/// utime, stime, cutime, cstime: fields 14 to 17, counted from 0 behind the command's closing parenthesis.
const TIMES: std::ops::Range<usize> = 11..15;

/// All processes of the cgroup in which this one is, and their children that have ended. None: it has ended itself.
pub fn busy(pid: u32) -> Option<Ms> {
    let own = of_process(pid)?;
    let all = fellows(pid).into_iter().filter(|fellow| *fellow != pid).filter_map(of_process);
    Some(all.fold(own, |sum, one| sum + one))
}

fn fellows(pid: u32) -> Vec<u32> {
    let Ok(table) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return Vec::new() };
    let groups = KEPT_BY_SYSTEMD.iter().filter_map(|name| table.lines().find_map(|line| line.split_once(name)));
    let files =
        groups.flat_map(|(_, group)| HIERARCHIES.map(|root| PathBuf::from(root).join(group).join("cgroup.procs")));
    let lists = files.filter_map(|file| fs::read_to_string(file).ok());
    let listed = { lists }.find(|listed| listed.lines().any(|line| line.parse() == Ok(pid)));
    listed.iter().flat_map(|listed| listed.lines()).filter_map(|line| line.parse().ok()).take(PROCESSES_MAX).collect()
}

fn of_process(pid: u32) -> Option<Ms> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold spaces and parentheses: the last one closes it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(TIMES.start).take(TIMES.len());
    let ticks = ticks.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Ms(ticks.saturating_mul(TICK)))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn who_works_has_had_more_and_who_is_stopped_has_not() {
        let spin = "while :; do :; done";
        let mut child = Command::new("sh").args(["-c", spin]).stdin(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while of_process(child.id()).unwrap() < Ms(50) {
            assert!(Instant::now() < until, "a loop has had no processor time in half a minute");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(busy(child.id()).unwrap() >= Ms(50));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while !fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") T ") {
            std::thread::sleep(Duration::from_millis(2));
        }
        let had = of_process(child.id());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(of_process(child.id()), had);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(busy(child.id()), None);
    }

    #[test]
    fn a_cgroup_has_its_process_among_its_own() {
        let own = std::process::id();
        let fellows = fellows(own);
        // Where no hierarchy of systemd's is mounted nobody is known but the process itself.
        assert!(fellows.is_empty() || fellows.contains(&own), "{fellows:?}");
    }
}
