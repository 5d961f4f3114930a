//! Hostward put into a sandbox as a package would put it.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{Sandbox, repository};

/// Installs the binary, the units and the tmpfiles of this checkout, and writes `config` to the main configuration file.
/// Starts nothing.
pub fn install_hostward(sandbox: &Sandbox, binary: &Path, config: &str) -> Result<()> {
    copy_binary(sandbox, binary)?;
    for entry in fs::read_dir(repository().join("systemd")).context("list the folder 'systemd'")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a unit file's name is not UTF-8")?;
        let target = match name.strip_suffix(".tmpfiles.conf") {
            Some(stem) => format!("/usr/lib/tmpfiles.d/{stem}.conf"),
            None => format!("/usr/lib/systemd/system/{name}"),
        };
        let contents = fs::read(&path).with_context(|| format!("read '{}'", path.display()))?;
        sandbox.write(&target, "0644", contents)?;
    }
    write_config(sandbox, config)?;
    sandbox.sh("systemd-tmpfiles --create hostward.conf; systemctl daemon-reload")?;
    Ok(())
}

/// Replaces the main configuration file. Reloads nothing.
pub fn write_config(sandbox: &Sandbox, config: &str) -> Result<()> {
    sandbox.write("/etc/hostward/hostward.toml", "0644", config)
}

fn copy_binary(sandbox: &Sandbox, binary: &Path) -> Result<()> {
    let file = File::open(binary).with_context(|| format!("open the binary '{}'", binary.display()))?;
    let script = "cat >/usr/bin/hostward.new && chmod 0755 /usr/bin/hostward.new && mv /usr/bin/hostward.new /usr/bin/hostward";
    let status = sandbox.command(["sh", "-c", script]).stdin(file).status().context("copy the binary")?;
    ensure!(status.success(), "copy the binary '{}' into sandbox '{}': {status}", binary.display(), sandbox.name());
    Ok(())
}
