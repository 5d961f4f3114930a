//! One mail, handed to the host's own `sendmail -t -i` in a bounded child.
//!
//! The child's whole group is killed when the caller stops waiting. Nothing of ours is in its environment, which may hold
//! credentials.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::child::kill_group;
use crate::mask;

/// Of what the child has to say on its standard error.
const MAX_SAID: u64 = 4096;
const SHOWN: usize = 200;
/// What it said is in the pipe when it ends.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotTaken(String);

/// Hands over `message`, head and body; its recipients stand in its head.
///
/// Cancel-safe: dropped, it kills the child's group; the mail may have been taken by then.
pub async fn send(program: &Path, message: &[u8]) -> Result<(), NotTaken> {
    let failed = |what: &str, e: &std::io::Error| NotTaken(format!("{what} '{}': {e}", program.display()));
    let child = Command::new(program)
        .args(["-t", "-i"])
        .process_group(0)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed("start", &e))?;
    let mut group = Group(child);
    let (stdin, stderr) = (group.0.stdin.take(), group.0.stderr.take());
    let write = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        stdin.write_all(message).await?;
        stdin.shutdown().await
    };
    let read = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            // What it says beyond this, and why that could not be read, changes nothing.
            let _ = stderr.take(MAX_SAID).read_to_end(&mut said).await;
        }
        said
    };
    // Together: either pipe may fill while the other waits. Who has ended has said all, whoever else holds its pipe.
    let ended = async { tokio::join!(write, group.0.wait()) };
    tokio::pin!(ended, read);
    let (written, status, said) = tokio::select! {
        biased;
        said = &mut read => {
            let (written, status) = ended.await;
            (written, status, said)
        }
        (written, status) = &mut ended => {
            (written, status, tokio::time::timeout(LAST_WORDS, read).await.unwrap_or_default())
        }
    };
    let status = status.map_err(|e| failed("wait for", &e))?;
    if status.success() {
        return written.map_err(|e| failed("write to", &e));
    }
    let said = mask::clip(String::from_utf8_lossy(&said).trim(), SHOWN);
    Err(NotTaken(format!("'{}' ended with {status}: {said}", program.display())))
}

struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        kill_group(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{FileType, Mode, OFlags};

    use super::*;
    use crate::child::tests::script;

    #[tokio::test]
    async fn a_mail_is_handed_over_whole_and_nothing_of_our_environment_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        let program = script(&dir, &format!("echo \"$*\" >{here}/args; cat >{here}/mail; env >{here}/env"));
        let mail = format!("To: root\n\n{}\n.\nafter a lone dot\n", "x".repeat(200_000));
        assert_eq!(send(&program, mail.as_bytes()).await, Ok(()));
        assert_eq!(fs::read_to_string(dir.path().join("mail")).unwrap(), mail);
        assert_eq!(fs::read_to_string(dir.path().join("args")).unwrap(), "-t -i\n");
        let env = fs::read_to_string(dir.path().join("env")).unwrap();
        assert!(!env.contains("CARGO"), "{env}");
    }

    #[tokio::test]
    async fn what_it_says_of_its_refusal_is_said_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for (text, says) in [
            ("cat >/dev/null; echo no such mailbox >&2; exit 67", "no such mailbox"),
            ("echo full >&2; exit 75", "full"),
            ("cat >/dev/null; yes >&2 & sleep 0.2; kill $!; exit 1", "y"),
        ] {
            let program = script(&dir, text);
            let why = send(&program, b"To: root\n\nx\n").await.unwrap_err().to_string();
            assert!(why.contains(says) && why.len() < 400, "{why}");
        }
        let why = send(&dir.path().join("none"), b"").await.unwrap_err().to_string();
        assert!(why.contains("none"), "{why}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_started_when_nobody_waits_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("alive");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        let program = script(&dir, &format!("exec 3>{}; echo up >&3; sleep 1000 & sleep 1000", fifo.display()));
        let waited = tokio::time::timeout(Duration::from_secs(2), send(&program, b"To: root\n\nx\n")).await;
        assert!(waited.is_err());
        let read_all = tokio::task::spawn_blocking(move || {
            let flags = rustix::fs::fcntl_getfl(&reader).unwrap() - OFlags::NONBLOCK;
            rustix::fs::fcntl_setfl(&reader, flags).unwrap();
            std::io::read_to_string(fs::File::from(reader)).unwrap()
        });
        // It is readable to its end only when nobody of the group is left.
        let said = tokio::time::timeout(Duration::from_secs(20), read_all).await.expect("somebody lives on").unwrap();
        assert_eq!(said, "up\n");
    }
}
