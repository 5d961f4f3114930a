//! A connection, made and closed; what is said on it, when that is asked. Reads no more than 4 KiB.

use std::time::Duration;

use hostward_core::ask::{Answer, Fault, Reading, TcpQ, TcpReading, Where};
use hostward_core::time::Ms;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http::{Failure, connect, io_failure};
use crate::mask;

/// `ask.rs` promises it: a greeting or a reply is shorter.
const MAX_SAID: usize = 4096;
const MAX_TEXT: usize = 200;

/// Asks, and answers within `deadline`.
///
/// Cancel-safe: dropped, it closes its connection.
pub async fn probe(q: &TcpQ, deadline: Duration) -> Answer {
    let mut resolving = matches!(q.at, Where::Tcp { .. });
    let mut said = Vec::new();
    let asked = tokio::time::timeout(deadline, converse(q, &mut resolving, &mut said)).await;
    let excerpt = mask::text(&String::from_utf8_lossy(&said), MAX_TEXT);
    let reading = match asked {
        Ok(Ok(found)) => TcpReading::Accepted { found, excerpt },
        Ok(Err(Failure::Silent(why))) => TcpReading::Silent(why),
        Ok(Err(Failure::Unresolved(why))) => TcpReading::Unresolved(why),
        Ok(Err(Failure::Ours(fault))) => return Err(fault),
        Ok(Err(other)) => return Err(Fault::Probe(other.to_string().into())),
        Err(_) if resolving => return Err(Fault::Timeout),
        // It talks, and does not say what is expected.
        Err(_) if !said.is_empty() => TcpReading::Accepted { found: false, excerpt },
        Err(_) => TcpReading::TimedOut(Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))),
    };
    Ok(Reading::Tcp(reading))
}

async fn converse(q: &TcpQ, resolving: &mut bool, said: &mut Vec<u8>) -> Result<bool, Failure> {
    match &q.at {
        Where::Tcp { host, port } => {
            let addresses = connect::resolve(host, *port).await?;
            *resolving = false;
            talk(connect::tcp(&addresses).await?, q, said).await
        }
        Where::Unix(path) => talk(connect::unix(path).await?, q, said).await,
    }
}

/// Whether the peer says what is expected, if anything is.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    q: &TcpQ,
    said: &mut Vec<u8>,
) -> Result<bool, Failure> {
    if let Some(send) = &q.send {
        stream.write_all(send.as_bytes()).await.map_err(|e| io_failure(&e))?;
    }
    let Some(expected) = &q.expect else { return Ok(true) };
    let expected = expected.as_bytes();
    let mut limited = stream.take(u64::try_from(MAX_SAID).unwrap_or(u64::MAX));
    while !said.windows(expected.len()).any(|window| window == expected) {
        if limited.read_buf(said).await.map_err(|e| io_failure(&e))? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Answers what it is sent, byte by byte, with `says`, and then keeps the connection.
    async fn serve(says: &'static [u8]) -> (Where, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut ping = [0; 6];
            let _ = stream.read_exact(&mut ping).await;
            for byte in says {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        (Where::Tcp { host: "127.0.0.1".into(), port }, task)
    }

    async fn ask(at: Where, send: Option<&str>, expect: Option<&str>, deadline: Duration) -> TcpReading {
        let q = TcpQ { at, send: send.map(Into::into), expect: expect.map(Into::into) };
        match probe(&q, deadline).await {
            Ok(Reading::Tcp(reading)) => reading,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_says_what_is_expected_is_heard_also_byte_by_byte() {
        let (at, _peer) = serve(b"+PONG").await;
        let reading = ask(at, Some("PING\r\n"), Some("+PONG"), LONG).await;
        assert_eq!(reading, TcpReading::Accepted { found: true, excerpt: "+PONG".into() });
        let (at, _peer) = serve(b"").await;
        assert_eq!(ask(at, None, None, LONG).await, TcpReading::Accepted { found: true, excerpt: "".into() });
    }

    #[tokio::test]
    async fn who_says_something_else_says_it_and_who_says_nothing_timed_out() {
        let soon = Duration::from_millis(300);
        let (at, _peer) = serve(b"-NOAUTH\n").await;
        let reading = ask(at, Some("PING\r\n"), Some("+PONG"), soon).await;
        assert_eq!(reading, TcpReading::Accepted { found: false, excerpt: "-NOAUTH".into() });
        let (at, _peer) = serve(b"").await;
        assert_eq!(ask(at, Some("PING\r\n"), Some("+PONG"), soon).await, TcpReading::TimedOut(Ms(300)));
    }

    #[tokio::test]
    async fn no_more_is_read_than_its_bound() {
        const MUCH: &[u8] = &[0xff; 64 * 1024];
        let (at, _peer) = serve(MUCH).await;
        let TcpReading::Accepted { found: false, excerpt } = ask(at, Some("PING\r\n"), Some("+PONG"), LONG).await
        else {
            panic!("accepted")
        };
        assert_eq!(excerpt.chars().count(), MAX_TEXT, "also what is not UTF-8");
    }

    #[tokio::test]
    async fn unix_sockets_and_who_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("x.sock");
        let silent = async |at: Where| match ask(at, None, None, LONG).await {
            TcpReading::Silent(why) => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(silent(Where::Unix(path.clone())).await.contains("does not exist"));
        let listener = UnixListener::bind(&path).unwrap();
        let up = TcpReading::Accepted { found: true, excerpt: "".into() };
        assert_eq!(ask(Where::Unix(path.clone()), None, None, LONG).await, up);
        drop(listener);
        assert_eq!(silent(Where::Unix(path)).await, "connection refused");
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        assert_eq!(silent(Where::Tcp { host: "localhost".into(), port }).await, "connection refused");
    }
}
