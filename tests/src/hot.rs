//! Hot paths as an operator has them: an sshfs mount of a real sshd on the loopback, and binds of its folders.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tiny::QUICK_HOST;
use crate::{Guard, Sandbox};

/// `/srv/box`, kept by `box.service`, with `/srv/jobs/a` and `/srv/jobs/b` bound to its folders.
#[derive(Clone, Copy, Debug)]
pub struct HotPaths<'a> {
    sandbox: &'a Sandbox,
}

const SSHD: &str = "\
Port 2222
ListenAddress 127.0.0.1
HostKey /etc/hot/host
AuthorizedKeysFile /etc/hot/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
";
const SSHD_UNIT: &str = "\
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/hot/sshd_config
";
/// Writes to a hot path, and does not mind when it cannot.
const WORKER_UNIT: &str = "\
[Service]
ExecStart=/bin/bash -c 'while :; do date >/srv/jobs/a/out; sleep 0.1; done'
StandardError=file:/run/hot-worker
TimeoutStopSec=5
";
const NEEDS_UNIT: &str = "\
[Unit]
Requires=hot-worker.service
After=hot-worker.service
[Service]
ExecStart=sleep infinity
";
const WATCH: &str = r#"
[storage.hot]
interval = "1s"
deadline = "2s"
confirm  = { runs = 2, age = "1s" }
brakes.soak = "1s"
brakes.cooldown = "1s"
brakes.plateau  = "2s"
holders  = ["hot-worker.service"]
[[storage.hot.paths]]
path   = "/srv/box"
source = "root@127.0.0.1:/srv/remote"
fstype = "fuse.sshfs"
base   = "box.service"
[[storage.hot.paths]]
path  = "/srv/jobs/a"
bind  = "/srv/box/a"
write = "canary"
[[storage.hot.paths]]
path  = "/srv/jobs/b"
bind  = "/srv/box/b"
write = "canary"
"#;

const JUDGED_WITHIN: Duration = Duration::from_secs(40);

const BOX_UNIT: &str = "\
[Service]
ExecStart=/usr/bin/sshfs -f root@127.0.0.1:/srv/remote /srv/box -o port=2222,IdentityFile=/etc/hot/key,\
StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null
";

impl<'a> HotPaths<'a> {
    /// A watch as docs/usage/storage.md has it, only quicker; and it looks on.
    pub const LOOKING_ON: &'static str = r#"
[storage.hot]
mode     = "observe"
interval = "1s"
deadline = "2s"
confirm  = { runs = 2, age = "1s" }
[[storage.hot.paths]]
path   = "/srv/box"
source = "root@127.0.0.1:/srv/remote"
fstype = "fuse.sshfs"
base   = "box.service"
[[storage.hot.paths]]
path  = "/srv/jobs/a"
bind  = "/srv/box/a"
write = "canary"
"#;

    pub fn install(sandbox: &'a Sandbox) -> Result<HotPaths<'a>> {
        sandbox.write("/etc/hot/sshd_config", "0644", SSHD)?;
        sandbox.write("/etc/systemd/system/hot-sshd.service", "0644", SSHD_UNIT)?;
        sandbox.write("/etc/systemd/system/box.service", "0644", BOX_UNIT)?;
        sandbox.sh("mkdir -p /srv/remote/{a,b} /srv/box /srv/jobs/{a,b}
             for key in key host; do ssh-keygen -q -t ed25519 -N '' -f /etc/hot/$key; done
             systemctl daemon-reload; systemctl start hot-sshd")?;
        let answers = || Ok(sandbox.exec(["bash", "-c", ": < /dev/tcp/127.0.0.1/2222"])?.status.success());
        sandbox.wait_until("sshd to listen", Duration::from_secs(20), answers)?;
        let hot = HotPaths { sandbox };
        hot.mount()?;
        Ok(hot)
    }

    /// What the operator does: the base, then its binds.
    pub fn mount(&self) -> Result<()> {
        self.sandbox.sh("systemctl start box")?;
        let mounted = || Ok(self.sandbox.exec(["ls", "/srv/box/a"])?.status.success());
        self.sandbox.wait_until("sshfs to answer", Duration::from_secs(20), mounted)?;
        self.sandbox.sh("for job in a b; do mount --bind /srv/box/$job /srv/jobs/$job; done")?;
        Ok(())
    }

    pub fn unmount(&self) -> Result<()> {
        self.sandbox
            .sh("umount -l /srv/jobs/a /srv/jobs/b /srv/box; systemctl stop box; systemctl reset-failed box")?;
        Ok(())
    }

    /// The server behind the mount: stopped, it answers nobody, and whoever asks hangs.
    pub fn signal_server(&self, signal: &str) -> Result<()> {
        self.sandbox.sh(&format!("pkill -{signal} -x sftp-server"))?;
        Ok(())
    }

    /// The `[host]` table, and a watch that may do all that it can.
    pub fn config() -> String {
        format!("{QUICK_HOST}{WATCH}")
    }

    /// A worker that writes to `/srv/jobs/a`, and a unit that goes down with it.
    pub fn install_worker(&self) -> Result<()> {
        self.sandbox.write("/etc/systemd/system/hot-worker.service", "0644", WORKER_UNIT)?;
        self.sandbox.write("/etc/systemd/system/hot-needs.service", "0644", NEEDS_UNIT)?;
        self.sandbox.sh("systemctl daemon-reload; systemctl start hot-worker hot-needs")?;
        Ok(())
    }

    /// The server goes without a word: every path is stale.
    pub fn kill_base(&self) -> Result<()> {
        self.sandbox.sh("systemctl kill --signal=KILL box")?;
        Ok(())
    }

    /// `well`, `fenced`, `bare` or what `ls` says of each path.
    pub fn state(&self) -> Result<Vec<String>> {
        let state = |path: &&str| -> Result<String> {
            let top = self.sandbox.exec(["findmnt", "--noheadings", "--output=SOURCE", "--mountpoint", path])?.stdout;
            let source = top.lines().last().unwrap_or_default().trim().to_owned();
            let listed = self.sandbox.exec(["timeout", "-s", "KILL", "5", "ls", path])?;
            Ok(match source.as_str() {
                "" => "bare".into(),
                "hostward-fence" => "fenced".into(),
                _ if listed.status.success() => "well".into(),
                _ => listed.stderr,
            })
        };
        ["/srv/box", "/srv/jobs/a", "/srv/jobs/b"].iter().map(state).collect()
    }

    pub fn is_well(&self) -> Result<bool> {
        Ok(self.state()?.iter().all(|state| state == "well") && self.worker_runs()?)
    }

    pub fn worker_runs(&self) -> Result<bool> {
        Ok(self.sandbox.exec(["systemctl", "is-active", "--quiet", "hot-worker", "hot-needs"])?.status.success()
            && self.sandbox.property("hot-needs", "ActiveState")? == "active")
    }

    /// The disk beneath the paths has nothing on it.
    pub fn nothing_beneath(&self) -> Result<()> {
        let found = self.sandbox.sh("unshare --mount bash -c 'while umount -l /srv/jobs/a; do :; done 2>/dev/null
             while umount -l /srv/jobs/b; do :; done 2>/dev/null; ls -A /srv/jobs/a /srv/jobs/b'")?;
        ensure!(found.split_whitespace().all(|word| word.ends_with(':')), "written beneath the paths: {found}");
        Ok(())
    }
}

/// What the daemon says of `storage.hot`.
impl Guard<'_> {
    /// What is known of a path, a disk or the manifest.
    fn path(&self, key: &str) -> Result<Value> {
        self.target("storage.hot", key)
    }

    fn target(&self, id: &str, key: &str) -> Result<Value> {
        let targets = self.watch(id)?["targets"].as_array().cloned().unwrap_or_default();
        let target = targets.into_iter().find(|target| target["id"] == format!("{id}#{key}").as_str());
        Ok(target.unwrap_or(Value::Null))
    }

    /// `up`, the reason of what is down, or the fault's name.
    pub fn path_state(&self, key: &str) -> Result<String> {
        Ok(match &self.path(key)?["verdict"] {
            Value::String(word) => word.clone(),
            verdict => match verdict["down"]["code"].as_str() {
                Some(code) => code.to_owned(),
                None => verdict.to_string(),
            },
        })
    }

    pub fn wait_path(&self, key: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let found = self.sandbox().wait_until(&format!("{key} to be {wanted}"), JUDGED_WITHIN, || {
            last = self.path_state(key)?;
            Ok(last == wanted)
        });
        found.with_context(|| format!("{key} is {last}"))?;
        Ok(())
    }

    pub fn path_detail(&self, key: &str) -> Result<String> {
        Ok(self.path(key)?["verdict"]["down"]["detail"].as_str().unwrap_or_default().to_owned())
    }

    /// How often each rung was tried for a path, and with what result.
    pub fn attempts(&self, id: &str, key: &str) -> Result<Value> {
        Ok(self.target(id, key)?["attempts"].clone())
    }
}
