//! Files opened below a root, so that a daemon in a mount namespace of its own sees what the host sees, and so that no link
//! leads out of it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Whether symbolic links are gone along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// openat2(2), EAGAIN: something was renamed or mounted while `..` in a link was resolved.
const TRIES: usize = 8;

pub(crate) fn open_below(root: BorrowedFd<'_>, path: &Path, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = match links {
        Links::Followed => ResolveFlags::IN_ROOT,
        Links::Refused => ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    };
    let open = || rustix::fs::openat2(root, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    (1..TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or_else(open)
}
