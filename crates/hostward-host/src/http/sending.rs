//! Requests over TLS and Unix sockets, against real servers.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use hostward_core::ask::{Header, HttpReading, Reading, Secret, Worth};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// An authority of our own, in a file, and certificates that it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// For `name`, until the first of January of `until`.
    fn acceptor(&self, name: &str, until: i32) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return request;
        }
    }
    let _ = stream.write_all(OK).await;
    let _ = stream.shutdown().await;
    request
}

/// Serves one connection, and tells what was asked within TLS; empty: nothing was.
async fn serve_tls(acceptor: TlsAcceptor) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match acceptor.accept(stream).await {
            Ok(stream) => respond(stream).await,
            Err(_) => Vec::new(),
        }
    });
    (address, task)
}

fn request(url: String, ca: PathBuf, verify: Verify) -> Request {
    Request { ca: Some(ca), verify, ..Request::new(Method::GET, url) }
}

#[tokio::test]
async fn a_certificate_that_verifies_is_shown_with_its_end() {
    let authority = Authority::new();
    // 2999 is written as GeneralizedTime, 2040 as UTCTime.
    for (until, not_after) in [(2040, 2_208_988_800_000), (2999, 32_472_144_000_000)] {
        let (address, _server) = serve_tls(authority.acceptor("127.0.0.1", until)).await;
        let request = request(format!("https://{address}/"), authority.file(), Verify::Require);
        let response = Client::default().send(&request, LONG).await.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"ok".as_slice()));
        let certificate = Certificate { not_after: Some(Ms(not_after)), distrust: None };
        assert_eq!(response.certificate, Some(certificate));
    }
}

#[tokio::test]
async fn one_that_does_not_verify_is_named_and_gets_no_request_unless_that_is_wanted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cases = [
        (ours.acceptor("127.0.0.1", 2021), "it has expired"),
        (ours.acceptor("api.example.org", 2040), "it is for another name: DnsName(\"api.example.org\")"),
        (theirs.acceptor("127.0.0.1", 2040), "no authority that is trusted here has signed it"),
    ];
    for (acceptor, why) in cases {
        let (address, server) = serve_tls(acceptor.clone()).await;
        let refused = request(format!("https://{address}/"), ours.file(), Verify::Require);
        let refused = Client::default().send(&refused, LONG).await.unwrap_err();
        assert_eq!(refused, Failure::Untrusted(why.into()));
        assert!(server.await.unwrap().is_empty(), "{why}: something was sent");

        let (address, server) = serve_tls(acceptor).await;
        let noted = request(format!("https://{address}/"), ours.file(), Verify::Note);
        let noted = Client::default().send(&noted, LONG).await.unwrap();
        assert_eq!(noted.certificate.and_then(|c| c.distrust).as_deref(), Some(why));
        assert!(server.await.unwrap().starts_with(b"GET / HTTP/1.1\r\n"), "{why}");
    }
}

#[tokio::test]
async fn a_name_may_be_declared_for_a_peer_that_is_reached_by_its_address() {
    let authority = Authority::new();
    let (address, _server) = serve_tls(authority.acceptor("api.example.org", 2040)).await;
    let mut named = request(format!("https://{address}/"), authority.file(), Verify::Require);
    named.server_name = Some("api.example.org".into());
    assert_eq!(Client::default().send(&named, LONG).await.unwrap().status, 200);
}

#[tokio::test]
async fn probes_that_need_the_same_authorities_at_once_load_them_once() {
    let (authority, trust) = (Authority::new(), tls::Trust::default());
    let file = authority.file();
    let (one, other) = tokio::join!(trust.of(Some(&file)), trust.of(Some(&file)));
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_our_own_fault() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    for (ca, why) in [(empty, "hold no certificate"), (dir.path().join("none.pem"), "No such file")] {
        let failure = Client::default()
            .send(&request("https://127.0.0.1:1/".into(), ca, Verify::Note), LONG)
            .await
            .unwrap_err();
        assert!(matches!(&failure, Failure::Ours(Fault::Unreadable(text)) if text.contains(why)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_stops_in_the_handshake_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut plain, _) = listener.accept().await.unwrap();
        let mut hello = [0; 5];
        plain.read_exact(&mut hello).await.unwrap();
        plain.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // The second is kept open.
        let mute = listener.accept().await.unwrap();
        (plain, mute)
    });
    let authority = Authority::new();
    let request = request(format!("https://{address}/"), authority.file(), Verify::Note);
    let client = Client::default();
    let plain = client.send(&request, LONG).await.unwrap_err();
    assert_eq!(plain, Failure::Silent("what it answers is not TLS".into()));
    let mute = client.send(&request, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(mute, Failure::TimedOut(Ms(300)));
    drop(server);
}

#[tokio::test]
async fn a_unix_socket_is_asked_with_method_headers_and_body() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { respond(listener.accept().await.unwrap().0).await });
    let mut request = Request { unix: Some(path), ..Request::new(Method::POST, "http://localhost/hook/hidden") };
    request.body = Bytes::from_static(b"{}");
    request.header("Content-Type", "application/json").unwrap();
    request.secret("Authorization", "Bearer sesame").unwrap();
    let shown = format!("{request:?} {:?}", request.headers);
    assert!(!shown.contains("sesame") && !shown.contains("hidden"), "{shown}");
    let response = Client::default().send(&request, LONG).await.unwrap();
    assert_eq!((response.status, response.cut), (200, false));
    assert_eq!(response.headers.get("content-type").unwrap(), "text/plain");
    let asked = String::from_utf8(server.await.unwrap()).unwrap().to_lowercase();
    assert!(asked.starts_with("post /hook/hidden http/1.1\r\n"), "{asked}");
    for line in
        ["host: localhost", "content-type: application/json", "authorization: bearer sesame", "content-length: 2"]
    {
        assert!(asked.contains(line), "{line}: {asked}");
    }
}

#[tokio::test]
async fn a_unix_socket_that_nobody_serves_is_silence_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let ask = || Request { unix: Some(path.clone()), ..Request::new(Method::GET, "http://localhost/") };
    let silent = async |request: Request| match Client::default().send(&request, LONG).await {
        Err(Failure::Silent(why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(silent(ask()).await.contains("does not exist"));
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(silent(ask()).await, "connection refused");
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
    let mut request = Request::new(Method::GET, "http://localhost/");
    for error in [request.secret("X-Token", "se\nsame"), request.header("X Token", "a")] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("Token") && !error.contains("same"), "{error}");
    }
}

#[tokio::test]
async fn a_probe_notes_what_is_wrong_with_a_certificate_and_tells_it_no_secret() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (address, _server) = serve_tls(theirs.acceptor("127.0.0.1", 2040)).await;
    let mut q = hostward_core::ask::HttpQ::get(format!("https://{address}/"), Vec::new());
    q.ca = Some(ours.file());
    let answer = Client::default().probe(&q, LONG).await;
    let Ok(Reading::Http(HttpReading::Answered(answer))) = answer else { panic!("{answer:?}") };
    let tls = answer.tls.unwrap();
    assert_eq!((answer.status, tls.not_after), (200, Some(Ms(2_208_988_800_000))));
    assert_eq!(tls.distrust.as_deref(), Some("no authority that is trusted here has signed it"));

    let secret = theirs.dir.path().join("secret");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).write(true), 0o600);
    std::io::Write::write_all(&mut options.open(&secret).unwrap(), b"sesame").unwrap();
    let value = Worth::Secret(Secret::File(secret));
    q.headers.push(Header { name: "x-token".into(), value });
    let (address, server) = serve_tls(theirs.acceptor("127.0.0.1", 2040)).await;
    q.url = format!("https://{address}/").into();
    let why = "no authority that is trusted here has signed it";
    assert_eq!(Client::default().probe(&q, LONG).await, Ok(Reading::Http(HttpReading::Untrusted(why.into()))));
    assert!(server.await.unwrap().is_empty());
}
