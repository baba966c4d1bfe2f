//! TLS, by certificates of the test's own: the server's, and one that a client may show.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate in a name, and its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    certificate_der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

/// Who vouches for whom.
pub struct Certificates {
    /// The root, as PEM.
    pub root: String,
    root_der: CertificateDer<'static>,
    pub server: Pair,
    pub alice: Pair,
}

pub static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let named = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut root = named("root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = root.self_signed(&key).unwrap();
    let issuer = Issuer::new(root, key);
    let pair = |name| {
        let key = KeyPair::generate().unwrap();
        let signed = named(name).signed_by(&key, &issuer).unwrap();
        Pair {
            certificate: signed.pem(),
            key: key.serialize_pem(),
            certificate_der: signed.der().clone(),
            key_der: key.serialize_der(),
        }
    };
    let (root, root_der) = (certificate.pem(), certificate.der().clone());
    Certificates { root, root_der, server: pair("localhost"), alice: pair("alice") }
});

/// Asks for TLS and gets it. With `as_alice` the client shows alice's certificate.
pub fn connect(mut stream: TcpStream, as_alice: bool) -> StreamOwned<ClientConnection, TcpStream> {
    static CONFIGS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| [false, true].map(config));
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"S", "the server speaks TLS");
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(CONFIGS[usize::from(as_alice)].clone(), name).unwrap();
    StreamOwned::new(connection, stream)
}

fn config(as_alice: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CERTIFICATES.root_der.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    Arc::new(if as_alice {
        let alice = &CERTIFICATES.alice;
        let key = PrivateKeyDer::try_from(alice.key_der.clone()).unwrap();
        builder.with_client_auth_cert(vec![alice.certificate_der.clone()], key).unwrap()
    } else {
        builder.with_no_client_auth()
    })
}
