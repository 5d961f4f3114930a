//! `enable` and `disable`: a sentinel made or removed. The daemon, when one runs, notices by itself.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{load, resolve, say};
use crate::exit::{self, Exit};
use crate::store::Paths;

pub(crate) fn enable(paths: &Paths, watch: Option<&str>) -> Result<Exit> {
    let sentinel = sentinel(paths, watch)?;
    if let Some(dir) = sentinel.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o644).custom_flags(no_follow);
    options.open(&sentinel).with_context(|| format!("create {}", sentinel.display()))?;
    say(&format!("{} is present\n", sentinel.display()))?;
    Ok(Exit::Ok)
}

pub(crate) fn disable(paths: &Paths, watch: Option<&str>) -> Result<Exit> {
    let sentinel = sentinel(paths, watch)?;
    match std::fs::remove_file(&sentinel) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("remove {}", sentinel.display()));
        }
        _ => {}
    }
    say(&format!("{} is absent: nothing is done, everything is observed\n", sentinel.display()))?;
    Ok(Exit::Ok)
}

fn sentinel(paths: &Paths, watch: Option<&str>) -> Result<PathBuf> {
    let policy = load(paths)?.policy;
    let Some(name) = watch else { return Ok(policy.host.sentinel) };
    let id = resolve(name, policy.watches.keys());
    let Some(watch) = policy.watches.get(&id) else {
        let known: Vec<_> = policy.watches.keys().cloned().collect();
        return Err(crate::oneshot::no_such_watch(&id, &known));
    };
    match (&watch.sentinel, policy.app(watch).and_then(|app| app.sentinel.as_ref())) {
        (Some(own), _) => Ok(own.clone()),
        (None, Some(app)) => Ok(app.clone()),
        (None, None) => {
            let host = policy.host.sentinel.display();
            let why = format!("{id} has no sentinel of its own; without a name this verb means the host's, {host}");
            Err(exit::error(Exit::Usage, why))
        }
    }
}
