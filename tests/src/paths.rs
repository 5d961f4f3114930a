//! Where this checkout keeps what the tests need.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The root of the checkout.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository")
}

/// Cargo's target folder: built things that may be lost at any time.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The `hostward` binary to test: `$HOSTWARD_BIN`, else the one beside the running test program.
pub fn hostward_binary() -> Result<PathBuf> {
    let binary = match std::env::var_os("HOSTWARD_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_dir()?.join("hostward"),
    };
    ensure!(binary.is_file(), "no binary at '{}': build it with `cargo build -p hostward`", binary.display());
    Ok(binary)
}

/// `target/PROFILE`: test programs are in its `deps`, other programs in itself.
fn profile_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find the running test program")?;
    let folder = program.parent().context("the test program is in no folder")?;
    let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(profile.to_path_buf())
}
