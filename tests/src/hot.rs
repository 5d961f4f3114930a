//! Hot paths as an operator has them: an sshfs mount of a real sshd on the loopback, and binds of its folders.

use anyhow::Result;

use crate::Sandbox;

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
const BOX_UNIT: &str = "\
[Service]
ExecStart=/usr/bin/sshfs -f root@127.0.0.1:/srv/remote /srv/box -o port=2222,IdentityFile=/etc/hot/key,\
StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null
";

impl<'a> HotPaths<'a> {
    pub fn install(sandbox: &'a Sandbox) -> Result<HotPaths<'a>> {
        sandbox.write("/etc/hot/sshd_config", "0644", SSHD)?;
        sandbox.write("/etc/systemd/system/hot-sshd.service", "0644", SSHD_UNIT)?;
        sandbox.write("/etc/systemd/system/box.service", "0644", BOX_UNIT)?;
        sandbox.sh("mkdir -p /srv/remote/{a,b} /srv/box /srv/jobs/{a,b}
             for key in key host; do ssh-keygen -q -t ed25519 -N '' -f /etc/hot/$key; done
             systemctl daemon-reload; systemctl start hot-sshd")?;
        let answers = || Ok(sandbox.exec(["bash", "-c", ": < /dev/tcp/127.0.0.1/2222"])?.status.success());
        sandbox.wait_until("sshd to listen", std::time::Duration::from_secs(20), answers)?;
        let hot = HotPaths { sandbox };
        hot.mount()?;
        Ok(hot)
    }

    /// What the operator does: the base, then its binds.
    pub fn mount(&self) -> Result<()> {
        self.sandbox.sh("systemctl start box")?;
        let mounted = || Ok(self.sandbox.exec(["ls", "/srv/box/a"])?.status.success());
        self.sandbox.wait_until("sshfs to answer", std::time::Duration::from_secs(20), mounted)?;
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
}
