//! The certificate for TLS.

use std::path::Path;

use nap_store::durable;
use x509_parser::pem::parse_x509_pem;

use super::{Finding, Patient};

/// A chain of certificates; a file that is longer is none.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Our own is renewed sooner; whoever brings one wants to know in time.
const SOON_DAYS: i64 = 14;
const DAY_S: i64 = 24 * 60 * 60;

pub(super) fn certificate(patient: &Patient<'_>) -> Vec<Finding> {
    let (settings, home) = (&patient.settings, &patient.context.home);
    if !settings.ssl {
        return vec![Finding::ok("TLS is off")];
    }
    let (path, cure) = match &settings.ssl_cert_file {
        Some(file) => (home.root().join(file), "get a new one from where it came from, then `nap config reload`"),
        None => (home.root().join("tls/server.crt"), "`nap config reload` makes a new one, if the daemon is up"),
    };
    // Our own is made by the first start.
    if !path.exists() && settings.ssl_cert_file.is_none() {
        return Vec::new();
    }
    vec![match days_left(&path) {
        Err(why) => Finding::fail(format!("{}: {why}", path.display()), cure),
        Ok(days) if days < 0 => Finding::fail(format!("{} has ended", path.display()), cure),
        Ok(days) if days < SOON_DAYS => Finding::warn(format!("{} ends in {days} days", path.display()), cure),
        Ok(days) => Finding::ok(format!("good for {days} days")),
    }]
}

fn days_left(path: &Path) -> Result<i64, String> {
    let bytes = durable::read_bounded(path, FILE_MAX_BYTES).map_err(|error| error.to_string())?;
    let (_, pem) = parse_x509_pem(&bytes).map_err(|_| "it holds no certificate".to_owned())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    let left = certificate.validity().not_after.timestamp() - jiff::Timestamp::now().as_second();
    Ok(left.div_euclid(DAY_S))
}
