//! A program for a test, written so that it can be executed at once.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Written by another process: one that anybody still has open for writing cannot be executed (ETXTBSY). Whoever it is
/// run as may reach it.
pub(crate) fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("script");
    let write = ["-c", "cat > \"$0\" && chmod 755 \"$0\" && chmod 755 \"$(dirname \"$0\")\""];
    let mut writer = Command::new("sh").args(write).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{text}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    path
}
