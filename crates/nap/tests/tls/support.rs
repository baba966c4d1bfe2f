//! What stories of TLS share: authorities that issue certificates, and connection strings.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nap_testkit::{TestHome, give_to_server_user, is_root};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Who issues certificates.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// One whose files lie there: `root.crt` and `root.key`.
    pub(crate) fn of(directory: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        let key = KeyPair::from_pem(&read("root.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("root.crt"), key).unwrap();
        Self { certificate: read("root.crt"), issuer }
    }

    /// Writes its own certificate, and says where.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> String {
        write(directory, name, &self.certificate, 0o644)
    }

    /// A client's certificate and key.
    pub(crate) fn issue(&self, common_name: &str, directory: &Path) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, directory, common_name)
    }

    /// A server's certificate and key for these names, valid for so long from now on.
    pub(crate) fn issue_server(&self, names: &[String], lasts: Duration, directory: &Path) -> (String, String) {
        let mut params = CertificateParams::new(names).unwrap();
        let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().unwrap();
        params.not_before = now - Duration::from_secs(60);
        params.not_after = now + lasts;
        params.use_authority_key_identifier_extension = true;
        self.sign(params, directory, "server")
    }

    fn sign(&self, params: CertificateParams, directory: &Path, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let certificate = write(directory, &format!("{name}.crt"), &certificate.pem(), 0o644);
        (certificate, write(directory, &format!("{name}.key"), &key.serialize_pem(), 0o600))
    }
}

/// Writes a file; below a home it belongs to the home's user.
pub(crate) fn write(directory: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    if is_root() && directory.join("nap.toml").exists() || directory.ends_with("tls") {
        give_to_server_user(&path);
    }
    path.display().to_string()
}

/// The URL of a target with more parameters.
pub(crate) fn tls_url(home: &TestHome, target: &str, parameters: &[(&str, &str)]) -> String {
    let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}?{}", home.url(target), parameters.join("&"))
}
