//! What clients are offered over TLS: the certificate, and what it takes of theirs. It is loaded as a whole, and
//! replaced as a whole when the files change.

mod end_point;
mod files;
mod handshake;
mod socket;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;

use nap_model::settings::SslProtocol;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use files::{KeyFileFault, TlsError};
pub(crate) use handshake::HandshakeError;
pub(crate) use socket::Socket;

/// The one protocol that is spoken over TLS here, as IANA has registered it.
const ALPN: &[u8] = b"postgresql";
/// No more in one record, as PostgreSQL sends it. libpq reads into a buffer of its own, in which it sees to it that so much
/// is free (`pqReadData`): what is left of a longer record stays in OpenSSL's, where a program that waits for its socket, as
/// pg_basebackup and everything asynchronous does, never learns of it.
const RECORD_MAX_BYTES: usize = 8 * 1024;
/// Type, version and length, which rustls counts as well.
const RECORD_HEADER_BYTES: usize = 5;

/// Where to find what TLS needs, and how strict to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificate, and what leads from it to its root, as PEM.
    pub certificate_file: PathBuf,
    /// Its key, as PEM.
    pub key_file: PathBuf,
    /// Whose client certificates are accepted; none: clients are not asked for one.
    pub ca_file: Option<PathBuf>,
    /// The oldest version of TLS.
    pub min_protocol_version: SslProtocol,
    /// Domains below which a host's name is a branch.
    pub sni_domains: Vec<String>,
}

/// TLS, ready to serve.
pub struct Tls {
    config: Arc<ServerConfig>,
    /// Clients may show certificates.
    asks_for_certificates: bool,
    /// The hash of the certificate that SCRAM-SHA-256-PLUS binds to.
    server_end_point: Vec<u8>,
    sni_domains: Vec<String>,
}

impl Tls {
    /// Reads the files. What cannot be used is refused with the name of its file.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = files::read_certificates(&options.certificate_file)?;
        let server_end_point = files::server_end_point(&options.certificate_file, &certificate)?;
        let key = files::read_key(&options.key_file, &provider)?;
        files::check_pair(options, &certificate, &*key)?;
        let verifier: Arc<dyn ClientCertVerifier> = match &options.ca_file {
            None => Arc::new(NoClientAuth),
            Some(file) => {
                let roots = files::read_roots(file)?;
                client_verifier(roots, &provider).map_err(|error| TlsError::unusable(file, error))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(options.min_protocol_version))
            .map_err(|error| TlsError::unusable(&options.certificate_file, error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificate, key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_fragment_size = Some(RECORD_MAX_BYTES + RECORD_HEADER_BYTES);
        // No session is taken up again, as with PostgreSQL: every client's certificate is verified anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let sni_domains = options.sni_domains.clone();
        let asks_for_certificates = options.ca_file.is_some();
        Ok(Self { config: Arc::new(config), asks_for_certificates, server_end_point, sni_domains })
    }
}

fn versions(oldest: SslProtocol) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match oldest {
        SslProtocol::Tls12 => rustls::ALL_VERSIONS,
        SslProtocol::Tls13 => ONLY_13,
    }
}

/// A certificate is asked for and not demanded: that is for the rules that decide who may log in how.
fn client_verifier(
    roots: RootCertStore,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::client::VerifierBuilderError> {
    let roots = Arc::new(roots);
    WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).allow_unauthenticated().build()
}

#[cfg(test)]
mod tests;
