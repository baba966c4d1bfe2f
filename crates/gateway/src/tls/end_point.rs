//! `tls-server-end-point` (RFC 5929): what of a server's certificate a SCRAM exchange is bound to.

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// Why there is nothing to bind to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHash {
    #[error("it is no certificate: {0}")]
    NotACertificate(String),
    /// Ed25519 and Ed448 hash inside the signature, so that the standard names no hash for them.
    #[error(
        "its signature is of a kind that names no hash ({0}), and without one clients that bind their password to the \
         certificate, as libpq does, could not log in: Ed25519 certificates cannot be used, ECDSA and RSA ones can"
    )]
    Signature(String),
}

/// The hash of a certificate, by the algorithm of its own signature.
pub(super) fn hash_of(certificate: &[u8]) -> Result<Vec<u8>, NoHash> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| NoHash::NotACertificate(error.to_string()))?;
    let signature = &parsed.signature_algorithm;
    Ok(match hash_oid(signature).as_deref() {
        Some("2.16.840.1.101.3.4.2.4") => Sha224::digest(certificate).to_vec(),
        // MD5 and SHA-1 are broken: the standard puts SHA-256 in their place.
        Some("2.16.840.1.101.3.4.2.1" | "1.2.840.113549.2.5" | "1.3.14.3.2.26") => Sha256::digest(certificate).to_vec(),
        Some("2.16.840.1.101.3.4.2.2") => Sha384::digest(certificate).to_vec(),
        Some("2.16.840.1.101.3.4.2.3") => Sha512::digest(certificate).to_vec(),
        _ => return Err(NoHash::Signature(signature.algorithm.to_id_string())),
    })
}

/// The hash that a signature is made with.
fn hash_oid(signature: &AlgorithmIdentifier<'_>) -> Option<String> {
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(signature) {
        return Some(parameters.hash_algorithm_oid().to_id_string());
    }
    let oid = match signature.algorithm.to_id_string().as_str() {
        // RSA with MD5, RSA, DSA and ECDSA with SHA-1.
        "1.2.840.113549.1.1.4" => "1.2.840.113549.2.5",
        "1.2.840.113549.1.1.5" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => "1.3.14.3.2.26",
        // RSA, ECDSA and DSA with SHA-2.
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.3.1" => "2.16.840.1.101.3.4.2.4",
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.3.2" => "2.16.840.1.101.3.4.2.1",
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => "2.16.840.1.101.3.4.2.2",
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => "2.16.840.1.101.3.4.2.3",
        _ => return None,
    };
    Some(oid.to_owned())
}
