//! Certificates, made and read: a root of our own, and what it signs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, date_time_ymd,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

const DAY_S: u64 = 24 * 60 * 60;
/// Clients whose clock is slow must not find a new certificate not yet valid.
const BACKDATED_S: u64 = DAY_S;
/// Whoever pins the root should not have to do it again.
const ROOT_LASTS_S: u64 = 3_650 * DAY_S;
/// No longer than public authorities give, which is what clients are used to.
const SERVER_LASTS_S: u64 = 365 * DAY_S;
/// A daemon that was off for weeks must still come back with a valid certificate most of the time.
pub(super) const RENEWED_BEFORE_S: u64 = 30 * DAY_S;

/// Seconds since 1970.
pub(super) type Seconds = u64;

/// A certificate and its key, as PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

fn params(name: &str, now: Seconds, lasts_s: u64) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Napgres");
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(BACKDATED_S));
    params.not_after = epoch + Duration::from_secs(now + lasts_s);
    let mut serial: [u8; 16] = super::super::secrets::random()?;
    // A serial number is positive.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// A root with this key, or a new one. With the same key, what clients have of an older root goes on to work.
pub(super) fn make_root(key: Option<KeyPair>, now: Seconds) -> anyhow::Result<Pair> {
    let key = key.map_or_else(KeyPair::generate, Ok)?;
    let mut params = params("Napgres root certificate", now, ROOT_LASTS_S)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A server's certificate for these names.
pub(super) fn make_server(root: &Pair, names: &BTreeSet<String>, now: Seconds) -> anyhow::Result<Pair> {
    let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = params("Napgres", now, SERVER_LASTS_S)?;
    params.subject_alt_names = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

/// What is to be known of a certificate on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) names: BTreeSet<String>,
    pub(super) not_before: Seconds,
    pub(super) not_after: Seconds,
    /// The public key, as the certificate holds it.
    public_key: Vec<u8>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
}

impl Facts {
    /// `None`: the text is no certificate.
    pub(super) fn read(pem: &str) -> Option<Self> {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let seconds = |at: i64| u64::try_from(at).unwrap_or(0);
        let (mut subject_key_id, mut authority_key_id) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Some(Self {
            names: names(&certificate),
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            public_key: certificate.public_key().raw.to_vec(),
            subject_key_id,
            authority_key_id,
        })
    }

    /// Whether this is the key of the certificate.
    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        rcgen::PublicKeyData::subject_public_key_info(key) == self.public_key
    }

    /// Whether `root` has signed it, as far as the two say so.
    pub(super) fn is_signed_by(&self, root: &Facts) -> bool {
        self.authority_key_id.is_some() && self.authority_key_id == root.subject_key_id
    }

    /// Whether it is valid now and for so long.
    pub(super) fn lasts(&self, now: Seconds, for_s: u64) -> bool {
        self.not_before <= now && now + for_s < self.not_after
    }

    /// Whether a new server's certificate would outlive this root.
    pub(super) fn outlasts_a_server(&self, now: Seconds) -> bool {
        self.lasts(now, SERVER_LASTS_S)
    }
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = 1_800_000_000;

    fn of(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_made_is_read_back() {
        let root = make_root(None, NOW).unwrap();
        let wanted = of(&["localhost", "*.localhost", "127.0.0.1", "::1"]);
        let server = make_server(&root, &wanted, NOW).unwrap();
        let (root_facts, facts) = (Facts::read(&root.certificate).unwrap(), Facts::read(&server.certificate).unwrap());
        assert_eq!(facts.names, wanted);
        assert!(facts.is_of(&KeyPair::from_pem(&server.key).unwrap()));
        assert!(!facts.is_of(&KeyPair::from_pem(&root.key).unwrap()));
        assert!(facts.is_signed_by(&root_facts));
        assert!(!facts.is_signed_by(&Facts::read(&make_root(None, NOW).unwrap().certificate).unwrap()));
        assert_eq!((facts.not_before, facts.not_after), (NOW - BACKDATED_S, NOW + SERVER_LASTS_S));
        assert!(facts.lasts(NOW, SERVER_LASTS_S - 1) && !facts.lasts(NOW, SERVER_LASTS_S));
        assert!(root_facts.outlasts_a_server(NOW) && !root_facts.outlasts_a_server(NOW + ROOT_LASTS_S - DAY_S));
    }

    #[test]
    fn a_root_made_again_of_its_key_is_the_same_to_what_it_signed() {
        let root = make_root(None, NOW).unwrap();
        let server = make_server(&root, &of(&["localhost"]), NOW).unwrap();
        let again = make_root(Some(KeyPair::from_pem(&root.key).unwrap()), NOW + DAY_S).unwrap();
        assert_ne!(again.certificate, root.certificate);
        assert!(Facts::read(&server.certificate).unwrap().is_signed_by(&Facts::read(&again.certificate).unwrap()));
    }
}
