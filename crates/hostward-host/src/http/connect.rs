//! From a URL to a connection.
//!
//! IP addresses and `localhost` never reach getaddrinfo (`names.rs`). A name that does not resolve is our resolver's
//! failure, not the peer's. No complaint repeats a URL: its path may be all that keeps others from using it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use hyper::Uri;
use rustix::io::Errno;
use tokio::net::{TcpStream, UnixStream};

use hostward_core::ask::Fault;

use super::{Failure, io_failure};
use crate::files::unreadable;
use crate::names::NAMES;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// What is spoken on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// The parts of `http://host:port/path`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// As the Host header says it.
    pub(super) authority: String,
    /// With its query.
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, Fault> {
        let bad = |why: &str| unreadable(format!("the URL {why}"));
        let uri: Uri = url.parse().map_err(|_| bad("is not valid"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            _ => return Err(bad("does not start with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("has a user name in it"));
        }
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => default_port,
            port => port[1..].parse().map_err(|_| bad("has a port that is no number"))?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { scheme, host, port, authority: authority.as_str().to_owned(), path })
    }
}

pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![at(ip)]);
    }
    // RFC 6761, 6.3.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
    }
    let unresolved = |why: &str| Failure::Unresolved(format!("resolve '{host}': {why}").into());
    let found = NAMES.find(host).await.map_err(Failure::Ours)?.map_err(|why| unresolved(&why))?;
    if found.is_empty() {
        return Err(unresolved("no address"));
    }
    Ok(found.into_iter().take(MAX_ADDRESSES).map(at).collect())
}

/// The first address that accepts. The first refusal is the one reported: it is the address that was meant.
pub(crate) async fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut first = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => {
                first.get_or_insert(io_failure(&e));
            }
        }
    }
    Err(first.unwrap_or(Failure::Silent("it has no address".into())))
}

/// A socket's file is looked up by its path: keep it where sockets belong (/run), never below a mount that may hang.
pub(crate) async fn unix(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(|e| match Errno::from_io_error(&e) {
        // connect(2): the listener's queue is full, since nobody accepts. Of TCP the same is a time-out.
        Some(Errno::AGAIN) => Failure::Silent(format!("'{}': nobody accepts connections", path.display()).into()),
        Some(Errno::NOENT) => Failure::Silent(format!("'{}' does not exist", path.display()).into()),
        _ => io_failure(&e),
    })
}
