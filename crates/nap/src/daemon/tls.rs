//! TLS for the gateway: the certificate that was given or one of our own, loaded at the start, at each reload, and
//! when our own was renewed.

mod certificates;
mod names;
mod own;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_control::{Failure, FailureKind};
use nap_gateway::{Gateway, KeyFileFault, Tls, TlsError, TlsOptions};
use nap_model::ids::BranchName;
use nap_model::settings::Settings;
use nap_store::Home;

use super::branch_set::BranchSet;
use super::config::Config;

/// How often our own certificate is looked at, which is renewed weeks before it ends.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the gateway's TLS is made of.
pub(super) struct ServerTls {
    config: Config,
    gateway: Arc<Gateway<BranchSet>>,
    branches: Arc<BranchSet>,
    /// Two at once would write the same files.
    loading: Mutex<()>,
}

impl ServerTls {
    pub(super) fn new(config: Config, gateway: Arc<Gateway<BranchSet>>, branches: Arc<BranchSet>) -> Arc<Self> {
        Arc::new(Self { config, gateway, branches, loading: Mutex::default() })
    }

    /// Reads the files and gives them to the gateway, which keeps what it has if they are wrong.
    pub(super) async fn load(self: &Arc<Self>) -> Result<(), Failure> {
        let this = self.clone();
        let loaded = tokio::task::spawn_blocking(move || this.load_now()).await;
        loaded.map_err(|error| Failure::failed(error.to_string()))?
    }

    fn load_now(&self) -> Result<(), Failure> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = load(self.config.home(), &self.config.get(), &self.branches.names_now())?;
        self.gateway.set_tls(tls.map(Arc::new));
        Ok(())
    }

    /// A branch has come, and may need a name of its own in the certificate. It is there even if that goes wrong.
    pub(super) async fn take_on_branch(self: &Arc<Self>) {
        let settings = self.config.get();
        if settings.ssl
            && settings.ssl_cert_file.is_none()
            && let Err(error) = self.load().await
        {
            tracing::error!(%error, "the certificate for TLS has no name for the new branch");
        }
    }

    /// Renews our own certificate when its time comes.
    pub(super) async fn renew_in_time(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let settings = self.config.get();
            if !settings.ssl || settings.ssl_cert_file.is_some() {
                continue;
            }
            if let Err(error) = self.load().await {
                tracing::error!(%error, "the certificate for TLS was not looked after: the old one holds");
            }
        }
    }
}

fn load(home: &Home, settings: &Settings, branches: &[BranchName]) -> Result<Option<Tls>, Failure> {
    if !settings.ssl {
        return Ok(None);
    }
    let (certificate_file, key_file) = match (&settings.ssl_cert_file, &settings.ssl_key_file) {
        (Some(certificate), Some(key)) => (home.root().join(certificate), home.root().join(key)),
        (None, None) => {
            let files = own::Files::of(home);
            own::keep(&files, &names::wanted(settings, branches))?;
            (files.certificate, files.key)
        }
        (Some(_), None) => return Err(alone("ssl_cert_file", "ssl_key_file")),
        (None, Some(_)) => return Err(alone("ssl_key_file", "ssl_cert_file")),
    };
    let options = TlsOptions {
        certificate_file,
        key_file,
        ca_file: settings.ssl_ca_file.as_ref().map(|file| home.root().join(file)),
        min_protocol_version: settings.ssl_min_protocol_version,
        sni_domains: settings.sni_domains.clone(),
    };
    Tls::load(&options).map(Some).map_err(|error| unusable(&error))
}

fn alone(given: &str, missing: &str) -> Failure {
    Failure::failed(format!("{given} is set and {missing} is not: they belong together"))
        .hint(format!("`nap config set {missing}=FILE`"))
}

fn unusable(error: &TlsError) -> Failure {
    let failure = Failure::from_error(FailureKind::Failed, error);
    let hint = match error {
        TlsError::KeyFile { file, fault: KeyFileFault::Access } => {
            let file = crate::output::quote::shell(&file.to_string_lossy());
            format!("chmod 600 {file} if it is the daemon's user's own; root's: chmod 640 and that user's group")
        }
        _ => "correct it, then `nap config reload`; with ssl = \"off\" no certificate is needed".to_owned(),
    };
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let home = Home::at(std::path::PathBuf::from("/nowhere"));
        let settings = Settings { ssl_cert_file: Some("server.crt".into()), ..Settings::default() };
        let failure = load(&home, &settings, &[]).err().unwrap();
        assert_eq!(failure.message, "ssl_cert_file is set and ssl_key_file is not: they belong together");
    }
}
