//! The control socket: one JSON line in, one out. Calls that change something are root's alone, by the peer's
//! credentials; it works with a dead bus and without polkitd.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hostward_core::command::{Applied, Command};
use hostward_core::id::WatchId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::callers::{Callers, ROOT};
use crate::status::Status;

/// A request is a verb and a name.
const REQUEST_MAX: u64 = 64 << 10;
/// 1,000 watches with their plans are about 4 MB.
const RESPONSE_MAX: u64 = 64 << 20;
/// How long a caller may take to say what he wants, and how long to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Status,
    Look {
        watch: Option<WatchId>,
    },
    Reload,
    /// Anything else that changes something.
    Order(Command),
}

impl Call {
    /// Looking is anybody's.
    fn changes(&self) -> bool {
        matches!(self, Call::Reload | Call::Order(_))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Response {
    Status(Box<Status>),
    Reloaded {
        watches: usize,
    },
    /// The configuration was refused; the one in force stays.
    Rejected {
        errors: String,
    },
    NoSuchWatch {
        asked: WatchId,
        known: Vec<WatchId>,
    },
    Applied(Box<Applied>),
    Refused {
        why: String,
    },
    /// Too many callers, or the daemon is ending: later.
    Busy {
        why: String,
    },
}

/// A call, and where its response goes.
pub(crate) type Asked = (Call, oneshot::Sender<Response>);

/// Listens at `path` until the daemon ends.
pub(crate) fn listen(path: &Path, calls: mpsc::Sender<Asked>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        // Left by an engine that is no more: the engine's lock says so.
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let callers = Callers::default();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Who it is comes first: places are by user. One that has already gone is none.
            let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
            match callers.admit(uid) {
                Ok(admitted) => {
                    let calls = calls.clone();
                    tokio::spawn(async move {
                        let place = admitted.await;
                        // A caller that goes away in the middle is its own affair.
                        let _ = serve(stream, uid, calls).await;
                        drop(place);
                    });
                }
                Err(why) => {
                    // Within what the kernel buffers of a new connection, so this never waits.
                    let _ = line(&Response::Busy { why }).map(|line| stream.try_write(&line));
                }
            }
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, uid: u32, calls: mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut asked = String::new();
    let mut read = BufReader::new(read.take(REQUEST_MAX));
    tokio::time::timeout(PATIENCE, read.read_line(&mut asked)).await??;
    let response = match serde_json::from_str::<Call>(&asked) {
        Err(error) => Response::Refused { why: format!("not a call: {error}") },
        Ok(call) if call.changes() && uid != ROOT => {
            Response::Refused { why: "this changes something, and only root may: use sudo".into() }
        }
        Ok(call) => {
            let (send, receive) = oneshot::channel();
            let asked = calls.send((call, send)).await;
            match (asked, receive.await) {
                (Ok(()), Ok(response)) => response,
                _ => Response::Busy { why: "the daemon is ending".into() },
            }
        }
    };
    tokio::time::timeout(PATIENCE, write.write_all(&line(&response)?)).await?
}

fn line(response: &Response) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec(response)?;
    json.push(b'\n');
    Ok(json)
}

/// Calls the daemon. None: none runs.
pub(crate) async fn call(path: &Path, call: &Call) -> anyhow::Result<Option<Response>> {
    converse(path, call).await.with_context(|| format!("ask the daemon at {}", path.display()))
}

async fn converse(path: &Path, call: &Call) -> io::Result<Option<Response>> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(e),
    };
    let (read, mut write) = stream.into_split();
    let mut json = serde_json::to_vec(call)?;
    json.push(b'\n');
    // One that is told to come later is told so without being heard.
    let told = write.write_all(&json).await;
    let mut line = Vec::new();
    BufReader::new(read.take(RESPONSE_MAX)).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        told?;
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: u32 = 1000;

    fn served(uid: u32) -> (UnixStream, mpsc::Receiver<Asked>, tokio::task::JoinHandle<io::Result<()>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, asked) = mpsc::channel(1);
        (ours, asked, tokio::spawn(serve(theirs, uid, calls)))
    }

    async fn says(mut caller: UnixStream) -> String {
        let mut said = String::new();
        caller.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_says_nothing_is_dropped() {
        let begun = tokio::time::Instant::now();
        let (caller, _asked, served) = served(SOMEBODY);
        assert!(served.await.unwrap().is_err());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(says(caller).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_is_dropped() {
        let (mut caller, mut asked, served) = served(SOMEBODY);
        caller.write_all(b"\"status\"\n").await.unwrap();
        let (_, respond) = asked.recv().await.unwrap();
        // More than the kernel keeps for one that does not read.
        respond.send(Response::Rejected { errors: "x".repeat(8 << 20) }).unwrap();
        assert_eq!(served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_endless_line_is_no_call_and_what_changes_something_is_roots() {
        let (mut caller, _asked, _served) = served(ROOT);
        caller.write_all(&vec![b'1'; usize::try_from(REQUEST_MAX).unwrap()]).await.unwrap();
        let said = says(caller).await;
        assert!(said.contains("not a call"), "{said}");
        let (mut caller, mut asked, _served) = served(SOMEBODY);
        caller.write_all(b"\"reload\"\n").await.unwrap();
        let said = says(caller).await;
        assert!(said.contains("refused") && said.contains("sudo"), "{said}");
        assert!(asked.recv().await.is_none(), "the loop heard of it");
    }
}
