//! The ground of a live drill: a mount that is there to be lost, a folder of it that is bound, and a unit that writes
//! there.
//!
//! Everything lies below one folder of /run or bears our name; nothing else of the host is named here. Mounts are made and
//! taken off through PID 1, as the remedies do it: in the host's namespace, wherever we are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hostward_core::ask::Mark;
use hostward_core::drill::Wound;
use hostward_core::plan::{Bind, Unmount};
use hostward_core::time::Ms;
use hostward_host::mounts::{OF_PID_1, Table, mount_at, stack_at};
use hostward_host::systemd::Systemd;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::exit::{self, Exit};
use crate::store;

/// Not below the daemon's own runtime folder, which goes when the daemon is stopped.
pub(super) const DIR: &str = "/run/hostward-drill";
pub(super) const HOT: &str = "/run/hostward-drill/hot";
const BASE: &str = "/run/hostward-drill/base";
const COLD: &str = "/run/hostward-drill/base/cold";
const LOCK: &str = "ledger.lock";
const SENTINEL: &str = "/run/hostward-drill/enabled";
const UNITS_DIR: &str = "/run/systemd/system";
const BASE_UNIT: &str = "hostward-drill-base.service";
const WRITER_UNIT: &str = "hostward-drill-writer.service";

/// No run of the host's own ledger comes so far: by its number one of a drill is known.
pub(super) const RUNS_FROM: u64 = 1 << 40;

/// mount(8) and umount(8) take milliseconds.
const MOUNT_WITHIN: Ms = Ms::secs(20);
const SYSTEMCTL_WITHIN: Duration = Duration::from_mins(1);
const SERVES_WITHIN: Duration = Duration::from_secs(10);
/// An act that was under way when we gave up may still mount something: for so long nothing does.
const QUIET: Duration = Duration::from_millis(500);
const CLEARED_WITHIN: Duration = Duration::from_secs(30);
/// Should we be killed, what we started ends by itself.
const LIVES: &str = "RuntimeMaxSec=15min";

const SSHFS: [&str; 2] = ["/usr/bin/sshfs", "/usr/local/bin/sshfs"];
/// Debian's and Arch's, Fedora's, SUSE's.
const SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/ssh/sftp-server",
];

/// What is mounted at the base.
#[derive(Clone, Debug)]
enum Disk {
    Memory,
    /// An sshfs whose server is a child of its own: no network, and no key.
    Served {
        sshfs: &'static str,
        server: &'static str,
    },
}

impl Disk {
    /// One that can be lost so.
    fn to_lose(wound: Wound) -> Result<Disk> {
        if wound == Wound::Missing {
            return Ok(Disk::Memory);
        }
        let found = |places: &'static [&'static str]| places.iter().find(|place| Path::new(place).exists());
        if let (Some(sshfs), Some(server), true) = (found(&SSHFS), found(&SERVERS), Path::new("/dev/fuse").exists()) {
            return Ok(Disk::Served { sshfs, server });
        }
        let why = format!(
            "a mount that is {wound} needs a FUSE server to kill: install sshfs and openssh-sftp-server, and have /dev/fuse; \
             `--live --missing` needs neither"
        );
        Err(exit::error(Exit::Usage, why))
    }

    fn source(&self) -> (&'static str, &'static str) {
        match self {
            Disk::Memory => ("hostward-drill", "tmpfs"),
            Disk::Served { .. } => ("drill:/run/hostward-drill/disk", "fuse.sshfs"),
        }
    }

    fn unit(&self) -> String {
        let (source, _) = self.source();
        let how = match self {
            Disk::Memory => format!(
                "ExecStartPre=mount -t tmpfs -o size=1m,mode=0755,nosuid,nodev,noexec {source} {BASE}\n\
                 ExecStartPre=mkdir {COLD}\nExecStart=sleep infinity\nExecStopPost=-umount -l {BASE}\n"
            ),
            // Its server is a script's: /run takes no program, and ssh's own options are not a server's.
            Disk::Served { sshfs, .. } => {
                format!("ExecStart={sshfs} -f {source} {BASE} -o \"ssh_command=/bin/sh {DIR}/server\"\n")
            }
        };
        format!("[Unit]\nDescription=Hostward's drill: a mount to lose\n[Service]\nType=exec\n{LIVES}\n{how}")
    }
}

fn writer_unit() -> String {
    format!(
        "[Unit]\nDescription=Hostward's drill: who writes to it\n[Service]\nType=exec\n{LIVES}\nTimeoutStopSec=5\n\
         StandardError=null\nExecStart=/bin/sh -c 'while :; do date >{HOT}/out; sleep 0.2; done'\n"
    )
}

pub(super) struct Ground {
    systemd: Arc<Systemd>,
    disk: Disk,
}

impl Ground {
    pub(super) fn new(systemd: Arc<Systemd>, wound: Wound) -> Result<Ground> {
        Ok(Ground { systemd, disk: Disk::to_lose(wound)? })
    }

    /// The watch on it, and the host's settings that are the drill's own.
    pub(super) fn config(&self) -> String {
        let (source, fstype) = self.disk.source();
        format!(
            r#"
[host]
sentinel = "{SENTINEL}"
mode     = "act"
settle   = "100ms"
[storage.drill]
interval = "1s"
deadline = "2s"
confirm  = {{ runs = 2, age = "2s" }}
brakes.soak = "1s"
roots    = ["{DIR}"]
holders  = ["{WRITER_UNIT}"]
[[storage.drill.paths]]
path   = "{BASE}"
source = "{source}"
fstype = "{fstype}"
base   = "{BASE_UNIT}"
[[storage.drill.paths]]
path  = "{HOT}"
bind  = "{COLD}"
write = "canary"
"#
        )
    }

    /// All of it, well.
    pub(super) async fn raise(&self) -> Result<()> {
        for folder in [BASE, HOT, "/run/hostward-drill/disk/cold", UNITS_DIR] {
            fs::create_dir_all(folder).with_context(|| format!("create {folder}"))?;
        }
        if let Disk::Served { server, .. } = self.disk {
            store::replace(&Path::new(DIR).join("server"), format!("exec {server}\n").as_bytes(), 0o600)?;
        }
        store::replace(Path::new(SENTINEL), b"", 0o644)?;
        for (unit, text) in [(BASE_UNIT, self.disk.unit()), (WRITER_UNIT, writer_unit())] {
            store::replace(&Path::new(UNITS_DIR).join(unit), text.as_bytes(), 0o644)?;
        }
        systemctl(&["start", BASE_UNIT]).await?;
        let serves = || Ok::<_, std::io::Error>(!stack_at(Path::new(BASE))?.is_empty());
        let until = Instant::now() + SERVES_WITHIN;
        while !serves().context("read the mounts")? {
            ensure!(Instant::now() < until, "{BASE_UNIT} has mounted nothing: journalctl -u {BASE_UNIT}");
            sleep(Duration::from_millis(20)).await;
        }
        self.systemd.bind(&Bind { cold: COLD.into(), hot: HOT.into() }, MOUNT_WITHIN).await?;
        systemctl(&["start", WRITER_UNIT]).await
    }

    /// Really.
    pub(super) async fn lose(&self, wound: Wound) -> Result<()> {
        match wound {
            Wound::Missing => {
                self.unmount(Path::new(HOT)).await?;
                self.unmount(Path::new(BASE)).await
            }
            Wound::Stale => systemctl(&["kill", "--signal=KILL", BASE_UNIT]).await,
            Wound::Hung => systemctl(&["kill", "--signal=STOP", BASE_UNIT]).await,
        }
    }

    /// From here on nothing is begun, and what was begun is given back.
    pub(super) fn forbid() -> Result<()> {
        fs::remove_file(SENTINEL).with_context(|| format!("remove {SENTINEL}"))
    }

    /// Takes all of it away, whatever state it is in, also what an earlier drill left that was killed. What cannot be taken
    /// away is said, and nothing is deleted while anything is mounted.
    pub(super) async fn clear(&self) -> Result<()> {
        // Its server first: whoever hangs on the mount is freed by its end. None of these may be there.
        for verb in [&["kill", "--signal=KILL", BASE_UNIT][..], &["stop", WRITER_UNIT, BASE_UNIT]] {
            let _ = systemctl(verb).await;
        }
        let forgotten = self.forget_runs().await;
        let until = Instant::now() + CLEARED_WITHIN;
        let mut quiet = Instant::now();
        while quiet.elapsed() < QUIET {
            if let Some(point) = mounted()? {
                ensure!(Instant::now() < until, "{} is still mounted: umount -l it", point.display());
                self.unmount(&point).await?;
                quiet = Instant::now();
            }
            sleep(Duration::from_millis(50)).await;
        }
        for unit in [BASE_UNIT, WRITER_UNIT] {
            let _ = systemctl(&["reset-failed", unit]).await;
            absent(fs::remove_file(Path::new(UNITS_DIR).join(unit))).with_context(|| format!("remove {unit}"))?;
        }
        for entry in fs::read_dir(DIR).with_context(|| format!("list {DIR}"))? {
            let entry = entry.with_context(|| format!("list {DIR}"))?;
            // One that is deleted and made anew locks nothing.
            if entry.file_name() != LOCK {
                remove(&entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        // Said last: the mounts are worse to leave.
        forgotten
    }

    /// One mount, and the fences that lie on it or are left in its place.
    async fn unmount(&self, point: &Path) -> Result<()> {
        self.systemd.unfence(point).await?;
        let read = || format!("read what is mounted at {}", point.display());
        let Some(there) = mount_at(point).with_context(read)? else { return Ok(()) };
        let was = Mark { id: there.id, device: there.device.into(), source: there.source.into() };
        self.systemd.unmount(&Unmount { path: point.to_owned(), lazy: true, was }, MOUNT_WITHIN).await?;
        Ok(self.systemd.unfence(point).await?)
    }

    /// The steps and undos of drills, by the numbers of their runs.
    async fn forget_runs(&self) -> Result<()> {
        let of_drill = |run: &str| run.parse().is_ok_and(|run: u64| run >= RUNS_FROM);
        for undo in self.systemd.armed().await?.into_iter().filter(|undo| of_drill(&undo.run)) {
            self.systemd.disarm(&undo.run).await?;
        }
        for step in self.systemd.list_steps().await? {
            let run = step.as_str().strip_prefix("hostward-step-").and_then(|rest| rest.split('-').next());
            if run.is_some_and(of_drill) {
                self.systemd.end_step(&step).await?;
            }
        }
        Ok(())
    }
}

/// What is mounted in the folder of the drill: the innermost, so that nothing lies on it.
fn mounted() -> Result<Option<PathBuf>> {
    let table = Table::read(OF_PID_1).context("read the mounts")?;
    Ok(table.points_in(Path::new(DIR)).into_iter().max_by_key(|point| point.as_os_str().len()).map(Path::to_owned))
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn absent(done: std::io::Result<()>) -> std::io::Result<()> {
    done.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

async fn systemctl(words: &[&str]) -> Result<()> {
    let mut command = Command::new("systemctl");
    command.args(words).env("LC_ALL", "C").kill_on_drop(true).stdin(std::process::Stdio::null());
    let said = || format!("systemctl {}", words.join(" "));
    let output = timeout(SYSTEMCTL_WITHIN, command.output()).await.with_context(said)?.with_context(said)?;
    if !output.status.success() {
        bail!("{}: {}", said(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
