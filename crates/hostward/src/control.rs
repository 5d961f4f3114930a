//! The control socket: one JSON line in, one out. Calls that change something are root's alone, by the peer's
//! credentials; it works with a dead bus and without polkitd.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hostward_core::command::{Applied, Command};
use hostward_core::id::WatchId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::status::Status;

/// A request is a verb and a name.
const REQUEST_MAX: u64 = 64 << 10;
/// 1,000 watches with their plans are about 4 MB.
const RESPONSE_MAX: u64 = 64 << 20;
/// Callers at once; a further one waits in the kernel's queue.
const CALLERS_MAX: usize = 32;
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

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
    let callers = std::sync::Arc::new(tokio::sync::Semaphore::new(CALLERS_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(permit) = callers.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let calls = calls.clone();
            tokio::spawn(async move {
                // A caller that goes away in the middle is its own affair.
                let _ = serve(stream, calls).await;
                drop(permit);
            });
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<Asked>) -> io::Result<()> {
    let root = stream.peer_cred()?.uid() == 0;
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_MAX));
    tokio::time::timeout(REQUEST_PATIENCE, read.read_line(&mut line)).await.map_err(io::Error::other)??;
    let response = match serde_json::from_str::<Call>(&line) {
        Err(error) => Response::Refused { why: format!("not a call: {error}") },
        Ok(call) if call.changes() && !root => {
            Response::Refused { why: "this call changes something: only root may make it".into() }
        }
        Ok(call) => {
            let (send, receive) = oneshot::channel();
            let asked = calls.send((call, send)).await;
            match (asked, receive.await) {
                (Ok(()), Ok(response)) => response,
                _ => Response::Refused { why: "the daemon is ending".into() },
            }
        }
    };
    let mut json = serde_json::to_vec(&response)?;
    json.push(b'\n');
    write.write_all(&json).await
}

/// Calls the daemon. None: none runs.
pub(crate) async fn call(path: &Path, call: &Call) -> io::Result<Option<Response>> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(e),
    };
    let (read, mut write) = stream.into_split();
    let mut json = serde_json::to_vec(call)?;
    json.push(b'\n');
    write.write_all(&json).await?;
    let mut line = Vec::new();
    BufReader::new(read.take(RESPONSE_MAX)).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
