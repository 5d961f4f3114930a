//! TLS: whom we trust, and what a peer's certificate says.
//!
//! Trusts the host's own bundle of authorities, or a file that the operator named, and nothing that is built in. Never
//! reads a variable of the environment, never resumes a session, never shows a certificate of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use hostward_core::time::Ms;

use super::{Failure, io_failure};
use crate::files;
use crate::flight::Flights;

/// Where distributions keep their bundle: Debian and Arch, Fedora and its kin, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Debian's has 220 KiB.
const MAX_BUNDLE: usize = 4 * 1024 * 1024;
/// An authority that was added or withdrawn counts after this long.
const KEPT: Duration = Duration::from_mins(10);
/// Loads at once, of a few MiB each: they are within our own MemoryMax=.
pub(crate) const PLACES: usize = 1;

/// By file: however many probes find the same authorities too old, they are loaded once.
static LOADS: LazyLock<Flights<Option<PathBuf>, Loaded>> = LazyLock::new(|| Flights::new(PLACES));

type Loaded = Result<Arc<WebPkiServerVerifier>, Fault>;

/// What a certificate that does not verify means for the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// No request is sent to a peer that did not prove who it is.
    #[default]
    Require,
    /// It is noted, and the exchange goes on: for a question that holds no secret.
    Note,
}

/// What a peer showed of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its notAfter, as wall clock; none when it cannot be read.
    pub not_after: Option<Ms>,
    /// Why it is not trusted; none: it is.
    pub distrust: Option<Str>,
}

/// Who is trusted, read again every ten minutes of use.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(Arc<Mutex<Known>>);

/// By the operator's file; none: the host's own bundle.
type Known = BTreeMap<Option<PathBuf>, (Instant, Arc<WebPkiServerVerifier>)>;

impl Trust {
    /// Files are read on a thread: the caller's deadline bounds the wait, and a bundle lies beside the configuration, not
    /// on a mount that is watched.
    pub(super) async fn of(&self, ca: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, Fault> {
        let key = ca.map(Path::to_owned);
        if let Some((at, verifier)) = self.known().get(&key)
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(verifier));
        }
        let path = key.clone();
        let verifier = LOADS.ask(&key, move || load(path.as_deref())).await??;
        self.known().insert(key, (Instant::now(), Arc::clone(&verifier)));
        Ok(verifier)
    }

    /// Another policy is in force: what it does not name must not be kept for ever.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(ca: Option<&Path>) -> Loaded {
    let path = match ca {
        Some(path) => path,
        None => BUNDLES.iter().map(Path::new).find(|path| path.exists()).ok_or_else(|| {
            files::unreadable("this host has no bundle of authorities: install ca-certificates, or set `ca`")
        })?,
    };
    let contents = files::read("authorities", path, MAX_BUNDLE)?;
    let mut roots = RootCertStore::empty();
    // One that does not parse is passed over, as every client does with the host's bundle.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&contents.bytes).filter_map(Result::ok));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier.map_err(|_| files::unreadable(format!("authorities '{}' hold no certificate", path.display())))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Shakes hands with the peer that is to be `name`.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    verifier: Arc<WebPkiServerVerifier>,
    verify: Verify,
) -> Result<(TlsStream<S>, Certificate), Failure> {
    let ours = |what: String| Failure::Ours(Fault::Probe(what.into()));
    let server = ServerName::try_from(name.to_owned()).map_err(|_| {
        Failure::Ours(files::unreadable(format!("'{name}' is no name that a certificate could be for")))
    })?;
    let noting = Arc::new(Noting { inner: verifier, verify, distrust: OnceLock::new() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| ours(format!("TLS: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&noting) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let shaken = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
    let distrust = noting.distrust.get().cloned();
    match (shaken, distrust) {
        (Ok(stream), distrust) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let not_after = leaf.and_then(|leaf| not_after(leaf).ok());
            Ok((stream, Certificate { not_after, distrust }))
        }
        (Err(_), Some(why)) => Err(Failure::Untrusted(why)),
        (Err(e), None) => Err(refused(&e)),
    }
}

fn refused(error: &std::io::Error) -> Failure {
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => Failure::Silent("what it answers is not TLS".into()),
        Some(e) => Failure::Silent(format!("TLS: {e}").into()),
        None => io_failure(error),
    }
}

/// Verifies as usual, and keeps why not, so that the caller can say it and decide.
#[derive(Debug)]
struct Noting {
    inner: Arc<WebPkiServerVerifier>,
    verify: Verify,
    distrust: OnceLock<Str>,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if let Err(rustls::Error::InvalidCertificate(error)) = &verified {
            let _ = self.distrust.set(distrust(error));
            if self.verify == Verify::Note {
                return Ok(ServerCertVerified::assertion());
            }
        }
        verified
    }

    // A peer that does not hold the key of the certificate that it shows is nobody's idea of a service: never noted only.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn distrust(error: &CertificateError) -> Str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        // Or one of the same name with another key has.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that is trusted here has signed it".into()
        }
        CertificateError::NotValidForName => "it is for another name".into(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(4).map(String::as_str).collect();
            crate::mask::clip(&format!("it is for another name: {}", names.join(", ")), 200)
        }
        other => crate::mask::clip(&other.to_string(), 200),
    }
}

/// RFC 5280, 4.1: of the fields of a certificate the fifth, or the fourth without a version, is its validity.
fn not_after(certificate: &[u8]) -> der::Result<Ms> {
    let whole = AnyRef::from_der(certificate)?;
    let signed: AnyRef<'_> = SliceReader::new(whole.value())?.decode()?;
    let mut fields = SliceReader::new(signed.value())?;
    let first: AnyRef<'_> = fields.decode()?;
    let before = if first.tag() == Tag::Integer { 2 } else { 3 };
    for _ in 0..before {
        fields.decode::<AnyRef<'_>>()?;
    }
    let validity: AnyRef<'_> = fields.decode()?;
    let mut dates = SliceReader::new(validity.value())?;
    dates.decode::<AnyRef<'_>>()?;
    let not_after: AnyRef<'_> = dates.decode()?;
    let since_epoch = match not_after.tag() {
        Tag::UtcTime => not_after.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => not_after.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(Ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)))
}
