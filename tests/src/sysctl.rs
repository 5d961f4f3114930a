//! A setting of the kernel that no namespace has for itself: set for a test, and given back at its end.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// As long as this lives the machine has another value. One that is killed leaves it: set only what Debian sets at a boot.
#[derive(Debug)]
pub struct Sysctl {
    path: PathBuf,
    before: String,
}

impl Sysctl {
    /// `name` as sysctl(8) has it. None: this kernel does not know it.
    pub fn set(name: &str, value: &str) -> Result<Option<Sysctl>> {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let before = match fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("read {name}"))?,
        };
        fs::write(&path, value).with_context(|| format!("set {name} to {value}"))?;
        Ok(Some(Sysctl { path, before }))
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("set '{}' back to {}: {error}", self.path.display(), self.before.trim());
        }
    }
}
