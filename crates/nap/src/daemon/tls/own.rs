//! Our own certificate in `HOME/tls`: made at the first start, renewed before it ends or when it is to be for other
//! names. Its root stays, so that clients that trust it need not be told.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nap_control::Failure;
use nap_store::{Home, durable};
use rcgen::KeyPair;

use super::certificates::{Facts, Pair, RENEWED_BEFORE_S, Seconds, make_root, make_server};

/// PEM of one certificate or key takes one or two kilobytes.
const PEM_MAX_BYTES: u64 = 64 * 1024;

/// Where it lies.
pub(super) struct Files {
    pub(super) root_certificate: PathBuf,
    pub(super) root_key: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn of(home: &Home) -> Self {
        let file = |name| home.tls_dir().join(name);
        Self {
            root_certificate: home.root_certificate(),
            root_key: file("root.key"),
            certificate: file("server.crt"),
            key: file("server.key"),
        }
    }
}

/// Makes what is missing or does not last, and leaves the rest alone.
pub(super) fn keep(files: &Files, names: &BTreeSet<String>) -> Result<(), Failure> {
    renew(files, names, now()).map_err(|error| {
        Failure::failed("the certificate for TLS could not be made")
            .because(format!("{error:#}"))
            .hint("free what is in the way, or give a certificate of your own (ssl_cert_file, ssl_key_file)")
    })
}

fn renew(files: &Files, names: &BTreeSet<String>, now: Seconds) -> anyhow::Result<()> {
    let (root, is_new) = match usable_root(files, now)? {
        Some(root) => (root, false),
        None => (make_root(read_key(&files.root_key)?, now)?, true),
    };
    if is_new {
        // The key first: a certificate without it could sign nothing, and would be made again.
        write(&files.root_key, &root.key, 0o600)?;
        write(&files.root_certificate, &root.certificate, 0o644)?;
        tracing::info!(file = %files.root_certificate.display(), "a root certificate was made");
    }
    let reason = match Facts::read(&root.certificate) {
        Some(root) => why_not(files, &root, names, now)?,
        None => Some("its root is new"),
    };
    let Some(reason) = reason else { return Ok(()) };
    let server = make_server(&root, names, now)?;
    write(&files.key, &server.key, 0o600)?;
    write(&files.certificate, &server.certificate, 0o644)?;
    tracing::info!(file = %files.certificate.display(), reason, "a certificate was made");
    Ok(())
}

/// The root on disk, if it can sign something that lasts.
fn usable_root(files: &Files, now: Seconds) -> anyhow::Result<Option<Pair>> {
    let (Some(certificate), Some(key)) = (read(&files.root_certificate)?, read_key(&files.root_key)?) else {
        return Ok(None);
    };
    let is_usable = Facts::read(&certificate).is_some_and(|facts| facts.is_of(&key) && facts.outlasts_a_server(now));
    Ok(is_usable.then(|| Pair { certificate, key: key.serialize_pem() }))
}

/// Why the certificate on disk will not do.
fn why_not(
    files: &Files,
    root: &Facts,
    names: &BTreeSet<String>,
    now: Seconds,
) -> anyhow::Result<Option<&'static str>> {
    let Some(facts) = read(&files.certificate)?.and_then(|text| Facts::read(&text)) else {
        return Ok(Some("there was none"));
    };
    let has_key = read_key(&files.key)?.is_some_and(|key| facts.is_of(&key));
    Ok(if !has_key || !facts.is_signed_by(root) {
        Some("what was there did not belong together")
    } else if !facts.lasts(now, RENEWED_BEFORE_S) {
        Some("the old one ends soon")
    } else if facts.names != *names {
        Some("it is to be for other names")
    } else {
        None
    })
}

/// `None`: there is no such file, or rubbish in it. One that only cannot be read now must not be made anew: every client
/// that trusts the root would have to be told.
fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match durable::read_bounded(file, PEM_MAX_BYTES) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn read_key(file: &Path) -> anyhow::Result<Option<KeyPair>> {
    Ok(read(file)?.and_then(|text| KeyPair::from_pem(&text).ok()))
}

fn write(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    durable::write_atomic(file, text.as_bytes(), mode).with_context(|| format!("cannot write {}", file.display()))
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "certificates end by the wall clock")]
fn now() -> Seconds {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: Seconds = 1_800_000_000;
    const DAY_S: u64 = 86_400;

    struct Kept {
        files: Files,
        _dir: tempfile::TempDir,
    }

    impl Kept {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::at(dir.path().to_owned());
            nap_store::make_home(&home).unwrap();
            Self { files: Files::of(&home), _dir: dir }
        }

        /// Root and server after a look at that time.
        fn after(&self, now: Seconds, names: &[&str]) -> (String, String) {
            renew(&self.files, &names.iter().map(|name| (*name).to_owned()).collect(), now).unwrap();
            let text = |file| read(file).unwrap().unwrap();
            (text(&self.files.root_certificate), text(&self.files.certificate))
        }
    }

    #[test]
    fn it_is_renewed_before_it_ends_and_its_root_stays() {
        let kept = Kept::new();
        let first = kept.after(NOW, &["localhost"]);
        assert_eq!(kept.after(NOW + 300 * DAY_S, &["localhost"]), first, "it lasts");
        let (root, renewed) = kept.after(NOW + 340 * DAY_S, &["localhost"]);
        assert_eq!(root, first.0);
        assert_ne!(renewed, first.1);
        assert!(Facts::read(&renewed).unwrap().lasts(NOW + 340 * DAY_S, 300 * DAY_S));
        let (late_root, _) = kept.after(NOW + 3_400 * DAY_S, &["localhost"]);
        assert_ne!(late_root, root, "the root ends too");
    }

    #[test]
    fn other_names_need_another_certificate() {
        let kept = Kept::new();
        let first = kept.after(NOW, &["localhost"]);
        let (root, second) = kept.after(NOW, &["localhost", "db.example"]);
        assert_eq!(root, first.0);
        assert!(Facts::read(&second).unwrap().names.contains("db.example"));
    }

    #[test]
    fn whatever_is_missing_or_broken_is_made_again() {
        let kept = Kept::new();
        let mut last = kept.after(NOW, &["localhost"]);
        for file in [&kept.files.certificate, &kept.files.key] {
            durable::write_atomic(file, b"rubbish", 0o600).unwrap();
            let now = kept.after(NOW, &["localhost"]);
            assert!(now.0 == last.0 && now.1 != last.1, "{} was broken", file.display());
            last = now;
        }
        for file in [&kept.files.root_key, &kept.files.root_certificate] {
            std::fs::remove_file(file).unwrap();
            let now = kept.after(NOW, &["localhost"]);
            assert!(now.0 != last.0, "{} was missing", file.display());
            assert_eq!(kept.after(NOW, &["localhost"]), now);
            last = now;
        }
    }

    #[test]
    fn a_root_that_cannot_be_read_is_not_made_anew() {
        let kept = Kept::new();
        let first = kept.after(NOW, &["localhost"]);
        let away = kept.files.root_key.with_extension("away");
        durable::rename_durable(&kept.files.root_key, &away).unwrap();
        // A link that leads to itself: root too is told so.
        std::os::unix::fs::symlink(&kept.files.root_key, &kept.files.root_key).unwrap();
        let error = renew(&kept.files, &["localhost".to_owned()].into(), NOW).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("root.key"), "{error}");
        durable::rename_durable(&away, &kept.files.root_key).unwrap();
        assert_eq!(kept.after(NOW, &["localhost"]), first);
    }

    #[test]
    fn keys_are_for_nobody_else() {
        let kept = Kept::new();
        kept.after(NOW, &["localhost"]);
        let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept.files.root_key), mode(&kept.files.key)), (0o600, 0o600));
        assert_eq!((mode(&kept.files.root_certificate), mode(&kept.files.certificate)), (0o644, 0o644));
    }
}
