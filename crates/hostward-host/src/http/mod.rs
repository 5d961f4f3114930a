//! One request, over TCP or a Unix socket, with TLS or without: what came back, as facts.
//!
//! Never follows a redirect, never reads a proxy variable, never keeps a connection. A peer that does not answer is its
//! own doing; only what fails on our side is a fault, so that a host short of descriptors does not look like a service
//! that is down. Rules: core.md (bounds); dependencies.md, "DNS".

mod body;
pub(crate) mod connect;
#[cfg(test)]
mod hostile;
mod probe;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use hostward_core::time::Ms;

use crate::files;
use connect::{Scheme, Target};

pub use hyper::Method;
pub use tls::{Certificate, Verify};

/// A response head beyond this is no health check's.
const MAX_HEAD: usize = 64 * 1024;
/// Of a body, unless the request says otherwise.
const MAX_BODY: usize = 64 * 1024;

/// What is sent, and to whom.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    /// `http://` or `https://`. Its path may be secret, as that of a webhook is: it is shown nowhere.
    pub url: Str,
    /// A Unix socket to connect to, instead of the URL's host and port.
    pub unix: Option<PathBuf>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// PEM file of the authorities to trust, instead of the host's own.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must be for, instead of the URL's host.
    pub server_name: Option<Str>,
    pub verify: Verify,
    /// The response's body is read this far. Default 64 KiB.
    pub body_max: usize,
}

impl Request {
    pub fn new(method: Method, url: impl Into<Str>) -> Request {
        Request {
            method,
            url: url.into(),
            unix: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            ca: None,
            server_name: None,
            verify: Verify::Require,
            body_max: MAX_BODY,
        }
    }

    /// Sets a header whose value nobody is ever shown.
    pub fn secret(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| files::unreadable(format!("the secret for header '{name}' cannot be sent in one")))?;
        value.set_sensitive(true);
        self.set(name, value)
    }

    pub fn header(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| files::unreadable(format!("the value of header '{name}' cannot be sent in one")))?;
        self.set(name, value)
    }

    fn set(&mut self, name: &str, value: HeaderValue) -> Result<(), Fault> {
        let key = HeaderName::try_from(name).map_err(|_| files::unreadable(format!("'{name}' is no header")))?;
        self.headers.insert(key, value);
        Ok(())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Target::parse(&self.url).map_or_else(|_| "?".to_owned(), |target| target.authority);
        write!(f, "{} to {host}", self.method)
    }
}

/// A whole response head, and its body as far as it was read.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The body was longer.
    pub cut: bool,
    /// What the peer showed of itself; none without TLS.
    pub certificate: Option<Certificate>,
}

/// Why there is no response. Its text names neither a path nor a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer's doing: refused, reset, closed in the middle, or not HTTP.
    #[error("{0}")]
    Silent(Str),
    /// The peer's as well: no whole response within the deadline.
    #[error("no answer in {0}")]
    TimedOut(Ms),
    /// Its certificate does not verify, so nothing was sent.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(Str),
    /// The name has no address, or nobody could tell.
    #[error("{0}")]
    Unresolved(Str),
    /// Our own: what was asked for makes no sense, or we are short of something.
    #[error("{0}")]
    Ours(Fault),
}

/// Sends requests. Clones share what was read of authorities.
#[derive(Clone, Debug, Default)]
pub struct Client {
    trust: tls::Trust,
}

impl Client {
    /// Sends one request; its response, body included, is here within `deadline`.
    ///
    /// Cancel-safe: dropped, it closes its connection.
    pub async fn send(&self, request: &Request, deadline: Duration) -> Result<Response, Failure> {
        let target = Target::parse(&request.url).map_err(Failure::Ours)?;
        // What was under way when time ran out decides whose fault that is.
        let mut ours = true;
        let sent = tokio::time::timeout(deadline, self.exchange(request, &target, &mut ours)).await;
        sent.unwrap_or_else(|_| {
            let waited = Ms(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
            Err(if ours { Failure::Ours(Fault::Timeout) } else { Failure::TimedOut(waited) })
        })
    }

    /// Another policy is in force: authorities are read anew.
    pub fn forget(&self) {
        self.trust.forget();
    }

    async fn exchange(&self, request: &Request, target: &Target, ours: &mut bool) -> Result<Response, Failure> {
        let verifier = match target.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.trust.of(request.ca.as_deref()).await.map_err(Failure::Ours)?),
        };
        let stream: Box<dyn Stream> = if let Some(path) = &request.unix {
            *ours = false;
            Box::new(connect::unix(path).await?)
        } else {
            let addresses = connect::resolve(&target.host, target.port).await?;
            *ours = false;
            Box::new(connect::tcp(&addresses).await?)
        };
        let Some(verifier) = verifier else { return converse(request, target, stream, None).await };
        let name = request.server_name.as_deref().unwrap_or(&target.host);
        let (stream, certificate) = tls::handshake(stream, name, verifier, request.verify).await?;
        converse(request, target, Box::new(stream), Some(certificate)).await
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn converse(
    request: &Request,
    target: &Target,
    stream: Box<dyn Stream>,
    certificate: Option<Certificate>,
) -> Result<Response, Failure> {
    let mut builder = hyper::client::conn::http1::Builder::new();
    let handshake = builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| broken(&e))?;
    let message = message(request, target)
        .map_err(|e| Failure::Ours(files::unreadable(format!("request to '{}': {e}", target.authority))))?;
    let exchange = async {
        let response = sender.send_request(message).await.map_err(|e| broken(&e))?;
        let (head, incoming) = response.into_parts();
        let (body, cut) = collect(incoming, request.body_max).await?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body, cut, certificate })
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection is driven beside its use, and closed with it; a task of its own would cost a tenth of a check.
    tokio::select! {
        biased;
        done = &mut exchange => done,
        // Its error also reaches the request, which reports it.
        _ = connection => exchange.await,
    }
}

fn message(request: &Request, target: &Target) -> http::Result<http::Request<Full<Bytes>>> {
    let mut message = http::Request::builder()
        .method(&request.method)
        .uri(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, concat!("hostward/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .body(Full::new(request.body.clone()))?;
    let headers = message.headers_mut();
    for (name, value) in &request.headers {
        headers.insert(name, value.clone());
    }
    // After the operator's: the connection is ours.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(message)
}

/// The body, up to the cap; what comes after it is not waited for.
async fn collect(mut incoming: Incoming, cap: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() else { continue };
        let room = cap - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
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
pub(crate) fn io_failure(error: &io::Error) -> Failure {
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
