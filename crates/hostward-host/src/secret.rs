//! Secrets, from where they are kept: a credential that systemd handed over, or a file that is root's alone.
//!
//! No error names what is in one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hostward_core::ask::{Fault, Secret};
use rustix::fs::{FileType, Mode, OFlags};

use crate::flight::Flights;

/// A URL or a token is shorter.
const MAX: u64 = 8 * 1024;
/// Looks at once: one file system that hangs must not keep the secrets on others from being read.
pub(crate) const PLACES: usize = 2;

static LOOKS: LazyLock<Flights<Secret, Result<String, Unusable>>> = LazyLock::new(|| Flights::new(PLACES));

/// Why a secret cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl From<Unusable> for Fault {
    fn from(unusable: Unusable) -> Fault {
        Fault::Config(unusable.0.into())
    }
}

/// [`read`], on a thread: a file system that hangs makes only its caller wait, who has the deadline.
///
/// Cancel-safe.
pub async fn look(secret: &Secret) -> Result<String, Unusable> {
    let kept = secret.clone();
    let read = LOOKS.ask(secret, move || read(&kept)).await;
    read.unwrap_or_else(|fault| Err(Unusable(fault.to_string())))
}

/// One line, without its end, from where it is kept now: a secret that was changed counts at once.
pub fn read(secret: &Secret) -> Result<String, Unusable> {
    match secret {
        Secret::Credential(name) => credential(name, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)),
        Secret::File(path) => file(path),
    }
}

/// A credential of this service: systemd.exec(5), LoadCredential=. `given` is $CREDENTIALS_DIRECTORY; without it, as on
/// the command line, that of the running daemon is looked at.
fn credential(name: &str, given: Option<PathBuf>) -> Result<String, Unusable> {
    let directory = given.unwrap_or_else(|| PathBuf::from("/run/credentials/hostward.service"));
    let path = directory.join(name);
    let help =
        format!("add LoadCredential={name}:PATH to hostward.service (systemctl edit hostward), and restart it");
    let (text, _) = open(&path).map_err(|why| Unusable(format!("credential '{name}': {why}; {help}")))?;
    one_line(text).map_err(|why| Unusable(format!("credential '{name}': {why}")))
}

/// A file of root's, or of our own user's, that nobody else may read.
fn file(path: &Path) -> Result<String, Unusable> {
    let shown = path.display();
    let (text, stat) = open(path).map_err(|why| Unusable(format!("secret '{shown}': {why}")))?;
    let mode = stat.st_mode & 0o777;
    let ours = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != ours || mode & 0o077 != 0 {
        let fix = format!("chown root:root {shown}; chmod 0600 {shown}");
        return Err(Unusable(format!(
            "secret '{shown}' is open to others (uid {}, mode {mode:04o}); {fix}",
            stat.st_uid
        )));
    }
    one_line(text).map_err(|why| Unusable(format!("secret '{shown}': {why}")))
}

fn open(path: &Path) -> Result<(Vec<u8>, rustix::fs::Stat), String> {
    // O_NONBLOCK: a FIFO put in the file's place must not hang us before fstat can tell.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let stat = rustix::fs::fstat(&file).map_err(|e| e.to_string())?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX {
        return Err("it is longer than 8 KiB".to_owned());
    }
    Ok((bytes, stat))
}

/// The text without its final line break. A second line would be somebody's second header.
fn one_line(bytes: Vec<u8>) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let text = text.trim();
    match text {
        "" => Err("it is empty"),
        _ if text.contains(char::is_control) => Err("it is more than one line"),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refused(path: &Path) -> String {
        file(path).expect_err("it is used").to_string()
    }

    #[test]
    fn only_a_file_of_roots_alone_is_used_and_no_error_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("url");
        let write = |text: &[u8], mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        write(b"https://h/HUNTER2\n", 0o600);
        assert_eq!(file(&path).as_deref(), Ok("https://h/HUNTER2"));
        let long = [b'x'; 8193];
        let bad: [(&[u8], u32, &str); 6] = [
            (b"HUNTER2", 0o640, "chmod 0600"),
            (b"HUNTER2", 0o604, "mode 0604"),
            (b"HUNTER2\nX: y", 0o600, "more than one line"),
            (b" \n", 0o600, "empty"),
            (b"HUNTER2\xff", 0o600, "UTF-8"),
            (&long, 0o600, "longer"),
        ];
        for (text, mode, says) in bad {
            write(text, mode);
            let why = refused(&path);
            assert!(why.contains(says) && why.contains("url") && !why.contains("HUNTER2"), "{why}");
        }
        write(b"HUNTER2", 0o600);
        rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(1)), None).expect("these tests run as root");
        assert!(refused(&path).contains("uid 1"));
        fs::write(dir.path().join("target"), "x").unwrap();
        symlink(dir.path().join("target"), dir.path().join("link")).unwrap();
        refused(&dir.path().join("link"));
        refused(dir.path());
        assert!(refused(&dir.path().join("none")).contains("No such file"));
    }

    #[test]
    fn a_credential_is_found_where_systemd_put_it_or_it_is_said_how() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hook"), "https://h/x").unwrap();
        let given = || Some(dir.path().to_owned());
        assert_eq!(credential("hook", given()).as_deref(), Ok("https://h/x"));
        let why = credential("none", given()).unwrap_err().to_string();
        assert!(why.contains("LoadCredential=none:PATH"), "{why}");
    }
}
