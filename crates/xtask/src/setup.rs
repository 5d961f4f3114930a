//! `setup`: the Debian packages that the tests need.
//!
//! Invariant: it starts no service, leaves none enabled that it brought, and never touches a policy-rc.d that was there
//! before.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::{program, read, run, succeeds};

/// A Debian package, and the services that it would enable.
struct Package {
    name: &'static str,
    services: &'static [&'static str],
}

const fn package(name: &'static str) -> Package {
    Package { name, services: &[] }
}

const PACKAGES: &[Package] = &[
    package("systemd"),
    package("systemd-sysv"),
    package("dbus"),
    package("mount"),
    package("util-linux"),
    package("e2fsprogs"),
    package("procps"),
    package("hostname"),
    package("iproute2"),
    package("curl"),
    package("git"),
    package("python3"),
    package("python3-venv"),
    // Services to be watched. Each test runs its own in a sandbox.
    Package { name: "nginx", services: &["nginx.service"] },
    Package { name: "postgresql", services: &["postgresql.service"] },
    Package { name: "redis-server", services: &["redis-server.service"] },
    // A real FUSE mount, and the peer that it needs. Each test runs its own sshd in a sandbox.
    package("sshfs"),
    Package { name: "openssh-server", services: &["ssh.service"] },
    // For promtool, which Debian has in no package of its own.
    Package { name: "prometheus", services: &["prometheus.service"] },
    // A peer of the benchmarks.
    Package { name: "monit", services: &["monit.service"] },
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

pub(crate) fn setup() -> Result<()> {
    ensure!(
        succeeds(program("dpkg-query", ["--version"])),
        "this machine has no dpkg: the tests need Debian 12; run them in a privileged container of it"
    );
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !is_installed(package.name)).collect();
    if missing.is_empty() {
        eprintln!("xtask: all {} Debian packages are installed", PACKAGES.len());
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    eprintln!("xtask: installing {}", names.join(", "));
    ensure!(read(program("id", ["-u"]))?.trim() == "0", "must be root to install {}", names.join(", "));
    let policy = Policy::deny_starts(Path::new(POLICY))?;
    run(program("apt-get", ["update", "-qq"]))?;
    let mut install = program("apt-get", ["install", "--yes", "--no-install-recommends"]);
    install.args(&names).env("DEBIAN_FRONTEND", "noninteractive");
    run(install)?;
    drop(policy);
    for service in missing.iter().flat_map(|package| package.services) {
        run(program("systemctl", ["disable", "--quiet", service]))?;
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    read(program("dpkg-query", ["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status.trim() == "installed")
}

/// While it lives, maintainer scripts start no service. The operator's own policy, where one exists, stays in force
/// instead: it isn't ours to overrule.
struct Policy<'a> {
    path: &'a Path,
    ours: bool,
}

impl<'a> Policy<'a> {
    fn deny_starts(path: &'a Path) -> Result<Self> {
        let shown = path.display();
        // create_new, for a look and then a write could destroy what somebody put there in between.
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = Self { path, ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("write '{shown}'"))?;
                // The umask may have taken the execute bits, and then it would deny nothing.
                file.set_permissions(fs::Permissions::from_mode(0o755))
                    .with_context(|| format!("chmod '{shown}'"))?;
                Ok(policy)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                eprintln!("xtask: '{shown}' exists and stays as it is");
                Ok(Self { path, ours: false })
            }
            Err(error) => Err(error).with_context(|| format!("create '{shown}'")),
        }
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(self.path)
        {
            let shown = self.path.display();
            eprintln!("xtask: remove '{shown}' by hand, it denies every start of a service: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Policy;

    #[test]
    fn ours_is_removed_and_the_operators_is_never_touched() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("policy-rc.d");
        let policy = Policy::deny_starts(&path)?;
        assert_eq!(std::process::Command::new(&path).status()?.code(), Some(101));
        drop(policy);
        assert!(!path.exists());

        fs::write(&path, "the operator's")?;
        drop(Policy::deny_starts(&path)?);
        assert_eq!(fs::read_to_string(&path)?, "the operator's");
        Ok(())
    }
}
