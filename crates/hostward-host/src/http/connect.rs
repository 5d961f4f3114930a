//! From a URL to a connection.
//!
//! IP addresses and `localhost` never reach getaddrinfo: it blocks a pool thread and cannot be cancelled
//! (dependencies.md, "DNS"). A name that does not resolve is our resolver's failure, not the peer's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::Uri;
use tokio::net::TcpStream;

use hostward_core::ask::Fault;

use super::{Failure, io_failure};
use crate::files::unreadable;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// The parts of `http://host:port/path`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// As the Host header says it.
    pub(super) authority: String,
    /// With its query.
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, Fault> {
        let bad = |why: &str| unreadable(format!("URL '{url}' {why}"));
        let uri: Uri = url.parse().map_err(|_| bad("is not valid"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("does not start with http://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') {
            // The URL is not repeated: it holds a password.
            return Err(unreadable("a URL with a user name in it"));
        }
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => 80,
            port => port[1..].parse().map_err(|_| bad("has a port that is no number"))?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { host, port, authority: authority.as_str().to_owned(), path })
    }
}

pub(super) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Failure> {
    let at = |ip: IpAddr| SocketAddr::new(ip, target.port);
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(vec![at(ip)]);
    }
    // RFC 6761, 6.3.
    if target.host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
    }
    let unresolved = |why: &str| Failure::Ours(Fault::Probe(format!("resolve '{}': {why}", target.host).into()));
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let found: Vec<_> = found.map_err(|e| unresolved(&e.to_string()))?.take(MAX_ADDRESSES).collect();
    if found.is_empty() { Err(unresolved("no address")) } else { Ok(found) }
}

/// The first address that accepts. The first refusal is the one reported: it is the address that was meant.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
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
