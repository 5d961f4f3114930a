//! One GET of one URL: what came back, as facts.
//!
//! Never follows a redirect, never reads a proxy variable, never keeps a connection. A peer that does not answer is a
//! reading (`Silent`); only what fails on our own side is a fault, so that a host short of descriptors does not look
//! like a service that is down. Rules: core.md (bounds); dependencies.md, "DNS".

mod body;
mod connect;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use hostward_core::ask::{Answer, Fault, HttpQ, HttpReading, Reading};
use hostward_core::id::Str;
use hostward_core::time::Ms;

use crate::files;
use connect::Target;

/// A body is read this far; `ask.rs` promises it.
const MAX_BODY: usize = 64 * 1024;
/// A response head beyond this is no health check's.
const MAX_HEAD: usize = 64 * 1024;

/// Asks, and answers within `deadline`.
///
/// Cancel-safe: dropped, it closes its connection.
pub async fn get(q: &HttpQ, deadline: Duration) -> Answer {
    let target = Target::parse(&q.url)?;
    // Which half was under way when time ran out decides whose fault that is.
    let mut resolving = true;
    let reached = tokio::time::timeout(deadline, async {
        let addresses = connect::resolve(&target).await?;
        resolving = false;
        exchange(&target, &addresses, &q.picks).await
    })
    .await;
    match reached {
        Ok(Ok(reading)) => Ok(Reading::Http(reading)),
        Ok(Err(Failure::Silent(text))) => Ok(Reading::Http(HttpReading::Silent(text))),
        Ok(Err(Failure::Ours(fault))) => Err(fault),
        Err(_) if resolving => Err(Fault::Timeout),
        Err(_) => {
            let waited = Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
            Ok(Reading::Http(HttpReading::TimedOut(waited)))
        }
    }
}

/// Why there is no response.
#[derive(Debug)]
enum Failure {
    /// The peer's doing.
    Silent(Str),
    Ours(Fault),
}

async fn exchange(
    target: &Target,
    addresses: &[std::net::SocketAddr],
    picks: &[Str],
) -> Result<HttpReading, Failure> {
    let stream = connect::connect(addresses).await?;
    let (response, _driver) = send(target, stream).await?;
    let status = response.status().as_u16();
    let body = collect(response.into_body()).await?;
    Ok(body::reading(status, &body, picks))
}

/// The connection is driven beside its use; dropping the set ends it.
async fn send(target: &Target, stream: TcpStream) -> Result<(Response<Incoming>, JoinSet<()>), Failure> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    let handshake = builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| broken(&e))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error also reaches the request, which reports it.
        let _ = connection.await;
    });
    let request = Request::builder()
        .method(Method::GET)
        .uri(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, concat!("hostward/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| Failure::Ours(Fault::Probe(format!("request to '{}': {e}", target.authority).into())))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    Ok((response, driver))
}

/// The body, up to the cap; what comes after it is not waited for.
async fn collect(mut incoming: Incoming) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() else { continue };
        body.extend_from_slice(&data[..data.len().min(MAX_BODY - body.len())]);
        if body.len() == MAX_BODY {
            break;
        }
    }
    Ok(body)
}

/// What an error within the exchange means.
fn broken(error: &hyper::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return io_failure(io);
        }
        source = e.source();
    }
    Failure::Silent(if error.is_incomplete_message() {
        "closed before the answer was whole".into()
    } else if error.is_parse() {
        format!("what it answers is not HTTP: {error}").into()
    } else {
        format!("no whole answer: {error}").into()
    })
}

/// What an error of a socket means.
fn io_failure(error: &io::Error) -> Failure {
    let errno = rustix::io::Errno::from_io_error(error);
    if errno.is_some_and(files::is_exhaustion) || errno == Some(rustix::io::Errno::ADDRNOTAVAIL) {
        return Failure::Ours(Fault::Probe(format!("socket: {error}").into()));
    }
    Failure::Silent(match error.kind() {
        // Our own sandbox (IPAddressDeny=) or firewall forbade it: that says nothing about the peer.
        io::ErrorKind::PermissionDenied => return Failure::Ours(Fault::Denied(format!("connect: {error}").into())),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection reset".into()
        }
        io::ErrorKind::UnexpectedEof => "closed before the answer was whole".into(),
        _ => error.to_string().into(),
    })
}
