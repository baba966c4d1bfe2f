//! The files that TLS is made of, checked as PostgreSQL checks them.

use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::SigningKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsOptions;
use super::end_point::{NoHash, hash_of};

/// A chain of certificates takes kilobytes, all the roots of a system 200 kB.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Why TLS cannot be had with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} cannot be used: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key's file could be read by others.
    #[error("private key file \"{}\" {}", file.display(), fault.words())]
    KeyFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        fault: KeyFileFault,
    },
    /// Certificate and key are not of one pair.
    #[error("{} is not the key of the certificate in {}", key.display(), certificate.display())]
    NotAPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// What PostgreSQL finds wrong with the file of a key, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileFault {
    /// A directory, a pipe …
    NotRegular,
    /// It belongs to neither root nor the user of the home.
    Owner,
    /// Others may read or write it.
    Access,
}

impl KeyFileFault {
    fn words(self) -> &'static str {
        match self {
            KeyFileFault::NotRegular => "is not a regular file",
            KeyFileFault::Owner => "must be owned by the user of the home or root",
            KeyFileFault::Access => {
                "has group or world access: it must have permissions u=rw (0600) or less if owned by the user of the \
                 home, or u=rw,g=r (0640) or less if owned by root"
            }
        }
    }
}

impl TlsError {
    pub(super) fn unusable(file: &Path, reason: impl Display) -> Self {
        TlsError::Unusable { file: file.to_owned(), reason: reason.to_string() }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { file: file.to_owned(), source };
    // A pipe would be waited for.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(TlsError::unusable(file, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|open| open.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(TlsError::unusable(file, format!("it is longer than {FILE_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The certificates of a PEM file, at least one.
pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::unusable(file, error))?;
    if found.is_empty() { Err(TlsError::unusable(file, "it holds no certificate in PEM form")) } else { Ok(found) }
}

/// Whose certificates clients may show.
pub(super) fn read_roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::unusable(file, error))?;
    }
    Ok(roots)
}

/// What a SCRAM exchange is bound to, from the first certificate.
pub(super) fn server_end_point(file: &Path, chain: &[CertificateDer<'_>]) -> Result<Vec<u8>, TlsError> {
    let certificate = chain.first().map(AsRef::as_ref).unwrap_or_default();
    hash_of(certificate).map_err(|error: NoHash| TlsError::unusable(file, error))
}

/// The key of a PEM file, if nobody else can read it.
pub(super) fn read_key(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn SigningKey>, TlsError> {
    let metadata = std::fs::metadata(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })?;
    if let Some(fault) = key_file_fault(&metadata, rustix::process::geteuid().as_raw()) {
        return Err(TlsError::KeyFile { file: file.to_owned(), fault });
    }
    let bytes = read(file)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        match (error, encrypted) {
            (pem::Error::NoItemsFound, true) => {
                TlsError::unusable(file, "the key needs a passphrase, and nobody is there to give it")
            }
            (pem::Error::NoItemsFound, false) => TlsError::unusable(file, "it holds no private key in PEM form"),
            (error, _) => TlsError::unusable(file, error),
        }
    })?;
    provider.key_provider.load_private_key(key).map_err(|error| TlsError::unusable(file, error))
}

/// PostgreSQL's `check_ssl_key_file_permissions`.
fn key_file_fault(metadata: &Metadata, uid: u32) -> Option<KeyFileFault> {
    let mode = metadata.mode();
    if !metadata.is_file() {
        return Some(KeyFileFault::NotRegular);
    }
    let forbidden = match metadata.uid() {
        owner if owner == uid => 0o077,
        0 => 0o037,
        _ => return Some(KeyFileFault::Owner),
    };
    (mode & forbidden != 0).then_some(KeyFileFault::Access)
}

/// Certificate and key must belong together, else every handshake would fail.
pub(super) fn check_pair(
    options: &TlsOptions,
    chain: &[CertificateDer<'_>],
    key: &dyn SigningKey,
) -> Result<(), TlsError> {
    let certificate = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| TlsError::unusable(&options.certificate_file, error))?;
    match key.public_key() {
        Some(public) if public.as_ref() != parsed.public_key().raw => {
            Err(TlsError::NotAPair { certificate: options.certificate_file.clone(), key: options.key_file.clone() })
        }
        _ => Ok(()),
    }
}
