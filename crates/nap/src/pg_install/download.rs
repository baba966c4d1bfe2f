//! The downloads: bounded in bytes, and in how long the other side may say nothing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, http::Response};

use nap_server::install::OwnVersion;

use super::error::InstallError;
use super::source::{Source, Wanted, target};

/// Archives have some 20 MB; one with everything of contrib and LLVM in it would have a tenth of this.
const ARCHIVE_MAX_BYTES: u64 = 1 << 30;
/// A checksum file holds 64 digits and a file name.
const CHECKSUM_FILE_MAX_BYTES: u64 = 4096;
const CHUNK_BYTES: usize = 64 * 1024;

/// An archive that is there, and the checksum that it must have.
pub(super) struct Release {
    pub(super) version: OwnVersion,
    url: String,
    checksum: String,
}

/// Talks to one source.
pub(super) struct Fetcher {
    agent: Agent,
}

impl Fetcher {
    pub(super) fn new(source: &Source, patience: Duration) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            // What this machine trusts: companies have authorities of their own.
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .https_only(source.is_encrypted())
            .http_status_as_error(false)
            .user_agent(concat!("nap/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_send_request(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience));
        Self { agent: config.build().into() }
    }

    /// The newest release that is wanted. It is found by the checksum files, which are small.
    pub(super) fn find(&self, source: &Source, wanted: Wanted) -> Result<Release, InstallError> {
        let (mut best, mut missing) = (None, 0);
        for version in wanted.candidates() {
            let url = source.archive_url(version);
            match self.checksum(&format!("{url}.sha256"), wanted)? {
                Some(checksum) => (best, missing) = (Some(Release { version, url, checksum }), 0),
                None => missing += 1,
            }
            if missing == wanted.gap() {
                break;
            }
        }
        best.ok_or_else(|| InstallError::NotThere {
            wanted: wanted.to_string(),
            base: source.base().to_owned(),
            target: target(),
        })
    }

    fn checksum(&self, url: &str, wanted: Wanted) -> Result<Option<String>, InstallError> {
        let Some(response) = self.get(url, wanted)? else { return Ok(None) };
        let mut text = String::new();
        let mut body = response.into_body().into_reader().take(CHECKSUM_FILE_MAX_BYTES);
        body.read_to_string(&mut text).map_err(|source| InstallError::BrokeOff { url: url.to_owned(), source })?;
        let first = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if first.len() == 64 && first.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Some(first));
        }
        Err(InstallError::NoChecksum { url: url.to_owned() })
    }

    fn get(&self, url: &str, wanted: Wanted) -> Result<Option<Response<Body>>, InstallError> {
        let response = self.agent.get(url).call().map_err(|source| InstallError::Unreachable {
            url: url.to_owned(),
            major: wanted.major(),
            source,
        })?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            404 | 410 => Ok(None),
            status => Err(InstallError::Refused { url: url.to_owned(), status }),
        }
    }

    /// Writes the archive to this file, if its checksum is right.
    pub(super) fn download(&self, release: &Release, to: &Path, progress: &ProgressBar) -> Result<(), InstallError> {
        let url = &release.url;
        let response = self.get(url, Wanted::Exactly(release.version))?;
        let response = response.ok_or_else(|| InstallError::Refused { url: url.clone(), status: 404 })?;
        let body = response.into_body();
        if let Some(length) = body.content_length() {
            within_bounds(url, length)?;
            progress.set_length(length);
        }
        let found = copy(url, body.into_reader(), to, progress)?;
        if found == release.checksum {
            return Ok(());
        }
        Err(InstallError::WrongChecksum { url: url.clone(), found, wanted: release.checksum.clone() })
    }
}

fn within_bounds(url: &str, found: u64) -> Result<(), InstallError> {
    if found <= ARCHIVE_MAX_BYTES {
        return Ok(());
    }
    Err(InstallError::TooLarge { url: url.to_owned(), found, most: ARCHIVE_MAX_BYTES })
}

/// Copies to the end, and gives the SHA-256 of what came.
fn copy(url: &str, mut from: impl io::Read, to: &Path, progress: &ProgressBar) -> Result<String, InstallError> {
    let mut file = File::create_new(to).map_err(InstallError::io("make", to))?;
    let (mut hash, mut total) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(InstallError::BrokeOff { url: url.to_owned(), source }),
        };
        total += count as u64;
        within_bounds(url, total)?;
        let bytes = chunk.get(..count).unwrap_or_default();
        hash.update(bytes);
        file.write_all(bytes).map_err(InstallError::io("write", to))?;
        progress.inc(count as u64);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
