//! Which certificates and keys will do, and what is read of them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use nap_model::hba::CertificateName;
use rcgen::{
    CertificateParams, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SignatureAlgorithm,
};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

use super::subject::{BadSubject, client_certificate};
use super::*;

struct Pem {
    dir: tempfile::TempDir,
}

impl Pem {
    /// A certificate of its own key, in files that PostgreSQL would take.
    fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        let pem = Self { dir: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        pem.write("server.crt", &certificate.pem(), 0o644);
        pem.write("server.key", &key.serialize_pem(), 0o600);
        pem
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::io::Write as _;
        let path = self.dir.path().join(name);
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.mode(name, mode);
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate_file: self.dir.path().join("server.crt"),
            key_file: self.dir.path().join("server.key"),
            ca_file: None,
            min_protocol_version: SslProtocol::Tls12,
            sni_domains: Vec::new(),
        }
    }

    fn refused(&self) -> String {
        Tls::load(&self.options()).err().expect("it was taken").to_string()
    }

    /// What openssl says, which must be there: libpq is what we have to agree with.
    fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

#[test]
fn the_end_point_is_hashed_as_the_signature_is() {
    for (algorithm, hash) in [(&PKCS_ECDSA_P256_SHA256, "-sha256"), (&PKCS_ECDSA_P384_SHA384, "-sha384")] {
        let pem = Pem::of(algorithm);
        pem.openssl(&["x509", "-in", "server.crt", "-outform", "der", "-out", "server.der"]);
        let hashed = pem.openssl(&["dgst", "-binary", hash, "server.der"]);
        assert_eq!(Tls::load(&pem.options()).unwrap().server_end_point, hashed);
    }
}

#[test]
fn rsa_is_hashed_by_its_signature_and_never_by_sha1() {
    let pem = Pem::of(&PKCS_ECDSA_P256_SHA256);
    for (signature, hash) in [
        (vec!["-sha512"], "-sha512"),
        (vec!["-sha1"], "-sha256"),
        (vec!["-sha384", "-sigopt", "rsa_padding_mode:pss"], "-sha384"),
    ] {
        let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key"];
        pem.openssl(&[&make[..], &["-out", "server.crt"], &signature[..]].concat());
        pem.openssl(&["x509", "-in", "server.crt", "-outform", "der", "-out", "server.der"]);
        let hashed = pem.openssl(&["dgst", "-binary", hash, "server.der"]);
        assert_eq!(Tls::load(&pem.options()).unwrap().server_end_point, hashed, "{signature:?}");
    }
}

#[test]
fn ed25519_is_refused_with_the_reason() {
    let refused = Pem::of(&PKCS_ED25519).refused();
    assert!(refused.contains("server.crt cannot be used: its signature is of a kind that names no hash"), "{refused}");
    assert!(refused.contains("Ed25519 certificates cannot be used, ECDSA and RSA ones can"), "{refused}");
}

#[test]
fn files_that_are_no_use_are_named() {
    let pem = Pem::of(&PKCS_ECDSA_P256_SHA256);
    let other = Pem::of(&PKCS_ECDSA_P256_SHA256);
    std::fs::copy(other.dir.path().join("server.key"), pem.dir.path().join("server.key")).unwrap();
    assert!(pem.refused().contains("server.key is not the key of the certificate in"), "{}", pem.refused());
    pem.write(
        "server.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        0o600,
    );
    assert!(
        pem.refused()
            .ends_with("server.key cannot be used: the key needs a passphrase, and nobody is there to give it")
    );
    pem.write("server.key", "", 0o600);
    assert!(pem.refused().ends_with("server.key cannot be used: it holds no private key in PEM form"));
    pem.write("server.crt", "", 0o644);
    assert!(pem.refused().ends_with("server.crt cannot be used: it holds no certificate in PEM form"));
    std::fs::remove_file(pem.dir.path().join("server.crt")).unwrap();
    let missing = pem.refused();
    assert!(missing.starts_with("cannot read ") && missing.contains("server.crt: No such file"), "{missing}");
    let options = TlsOptions { ca_file: Some(pem.dir.path().join("root.crt")), ..other.options() };
    let missing = Tls::load(&options).err().unwrap().to_string();
    assert!(missing.contains("root.crt: No such file"), "{missing}");
}

#[test]
fn a_key_is_for_its_owner_alone() {
    let pem = Pem::of(&PKCS_ECDSA_P256_SHA256);
    for mode in [0o600, 0o400] {
        pem.mode("server.key", mode);
        assert!(Tls::load(&pem.options()).is_ok(), "{mode:o}");
    }
    for mode in [0o640, 0o604, 0o660] {
        pem.mode("server.key", mode);
        assert!(pem.refused().contains("server.key\" has group or world access"), "{mode:o}");
    }
    // What a link leads to counts, not the link, whose mode is always 777.
    pem.mode("server.key", 0o600);
    symlink(pem.dir.path().join("server.key"), pem.dir.path().join("link")).unwrap();
    assert!(Tls::load(&TlsOptions { key_file: pem.dir.path().join("link"), ..pem.options() }).is_ok());
    let error = Tls::load(&TlsOptions { key_file: pem.dir.path().to_owned(), ..pem.options() }).err().unwrap();
    assert!(error.to_string().ends_with("is not a regular file"), "{error}");
}

/// A handshake in memory, with what the server sends right after it.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> ServerConnection {
    let mut client = ClientConnection::new(client.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        server.read_tls(&mut sent.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut answered = Vec::new();
        server.write_tls(&mut answered).unwrap();
        client.read_tls(&mut answered.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    server
}

/// A client that trusts the certificate, and speaks this version only.
fn client_of(pem: &Pem, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let roots = files::read_roots(&pem.options().certificate_file).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(client.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn no_session_is_taken_up_again() {
    let pem = Pem::of(&PKCS_ECDSA_P256_SHA256);
    let tls = Tls::load(&pem.options()).unwrap();
    for version in rustls::ALL_VERSIONS {
        let client = client_of(&pem, version);
        for _ in 0..2 {
            let kind = handshake(&client, &tls.config).handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full), "{:?}", version.version);
        }
    }
}

/// The lengths of records, without their headers.
fn record_lengths(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        lengths.push(length);
        bytes = rest.get(length..).unwrap();
    }
    lengths
}

#[test]
fn no_record_is_longer_than_one_read_of_libpq() {
    use std::io::Write as _;
    let pem = Pem::of(&PKCS_ECDSA_P256_SHA256);
    let tls = Tls::load(&pem.options()).unwrap();
    for version in rustls::ALL_VERSIONS {
        let mut server = handshake(&client_of(&pem, version), &tls.config);
        server.writer().write_all(&[0; 5 * RECORD_MAX_BYTES / 2]).unwrap();
        let mut sent = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut sent).unwrap();
        }
        let lengths = record_lengths(&sent);
        // Encryption adds the same to each.
        let adds = lengths[0] - RECORD_MAX_BYTES;
        let expected = [RECORD_MAX_BYTES + adds, RECORD_MAX_BYTES + adds, RECORD_MAX_BYTES / 2 + adds];
        assert_eq!(lengths, expected, "{:?}", version.version);
    }
}

/// A certificate of this subject, as DER, and how openssl writes the subject.
fn certificate(subject: &[(DnType, DnValue)]) -> (Vec<u8>, String) {
    let pem = Pem { dir: tempfile::tempdir().unwrap() };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    pem.write("client.crt", &made.pem(), 0o644);
    let said = pem.openssl(&["x509", "-in", "client.crt", "-noout", "-subject", "-nameopt", "RFC2253"]);
    let said = String::from_utf8(said).unwrap();
    (made.der().to_vec(), said.trim_end_matches('\n').strip_prefix("subject=").unwrap().to_owned())
}

#[test]
fn distinguished_names_are_written_as_openssl_does() {
    let text = |value: &str| DnValue::Utf8String(value.into());
    for (common_name, others) in [
        ("alice", vec![(DnType::OrganizationName, text("Müller & Söhne, \"Ltd\"; <a=b>+c\\"))]),
        (" #spaces ", vec![(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()))]),
        ("#1", vec![(DnType::OrganizationalUnitName, text("tab\there, €"))]),
        ("bmp", vec![(DnType::LocalityName, DnValue::BmpString("Łódź".try_into().unwrap()))]),
        ("old", vec![(DnType::StateOrProvinceName, DnValue::TeletexString("T61".try_into().unwrap()))]),
        (
            "dc",
            vec![
                (
                    DnType::from_oid(&[0, 9, 2342, 19200300, 100, 1, 25]),
                    DnValue::Ia5String("example".try_into().unwrap()),
                ),
                (DnType::from_oid(&[0, 9, 2342, 19200300, 100, 1, 1]), text("u1")),
                (
                    DnType::from_oid(&[1, 2, 840, 113549, 1, 9, 1]),
                    DnValue::Ia5String("a@b.example".try_into().unwrap()),
                ),
            ],
        ),
        ("odd", vec![(DnType::from_oid(&[1, 3, 6, 1, 4, 1, 99999, 7]), text("nobody knows"))]),
    ] {
        let subject = [others, vec![(DnType::CommonName, text(common_name))]].concat();
        let (der, said) = certificate(&subject);
        let client = client_certificate(&der).unwrap();
        assert_eq!(client.distinguished_name, said);
        assert_eq!(client.common_name.as_deref(), Some(common_name));
    }
    let nobody = client_certificate(&certificate(&[(DnType::OrganizationName, text("o"))]).0).unwrap();
    assert_eq!(nobody.clone().name(CertificateName::CommonName), None);
    assert_eq!(nobody.name(CertificateName::DistinguishedName).as_deref(), Some("O=o"));
    let empty = client_certificate(&certificate(&[(DnType::CommonName, text(""))]).0).unwrap();
    assert_eq!(empty.name(CertificateName::CommonName), None, "an empty name is nobody's");
}

#[test]
fn a_name_that_goes_on_after_a_null_is_refused() {
    let text = |value: &str| DnValue::Utf8String(value.into());
    let (der, _) = certificate(&[(DnType::CommonName, text("alice\0.example"))]);
    assert_eq!(client_certificate(&der), Err(BadSubject::NullInCommonName));
    let (der, _) = certificate(&[(DnType::CommonName, text("al")), (DnType::OrganizationName, text("a\0b"))]);
    assert_eq!(client_certificate(&der), Err(BadSubject::NullInDistinguishedName));
}
