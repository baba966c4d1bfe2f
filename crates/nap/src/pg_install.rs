//! Fetches a prebuilt PostgreSQL and puts it into the home: found, downloaded, compared with its checksum, unpacked in a
//! directory of its own, made durable, tried, and only then renamed to where servers look for it.
//!
//! docs/decisions says why this is no library.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nap_server::install::{Install, OWN_BIN, OwnVersion, run_directly};
use nap_store::Home;

mod download;
mod error;
mod place;
mod source;
mod unpack;

pub(crate) use error::InstallError;
pub(crate) use source::{DEFAULT_BASE, KNOWN, Source, Wanted};

use download::Fetcher;
use place::Place;

/// What is to be installed, and from where.
pub(crate) struct Order {
    /// A major, or one version of it.
    pub(crate) wanted: Wanted,
    /// Where archives are.
    pub(crate) source: Source,
    /// How long a server may say nothing.
    pub(crate) patience: Duration,
    /// Whether somebody watches.
    pub(crate) show_progress: bool,
}

/// What was installed.
pub(crate) struct Installed {
    /// Its version.
    pub(crate) version: OwnVersion,
    /// Where its programs are.
    pub(crate) bin: PathBuf,
    /// False: it was there already.
    pub(crate) is_new: bool,
}

/// Does it all. The caller has become the user that owns the home, and the home is there.
pub(crate) fn install(home: &Home, order: &Order) -> Result<Installed, InstallError> {
    let place = Place::open(home)?;
    let fetcher = Fetcher::new(&order.source, order.patience);
    let release = fetcher.find(&order.source, order.wanted)?;
    let version = release.version;
    let target = place.of(version);
    let bin = target.join(OWN_BIN);
    if target.exists() {
        return Ok(Installed { version, bin, is_new: false });
    }
    let staged = place.staged()?;
    let archive = staged.path().join("archive");
    let progress = progress(order.show_progress, &format!("PostgreSQL {}.{}", version.major, version.minor));
    fetcher.download(&release, &archive, &progress)?;
    progress.finish_and_clear();
    let unpacked = staged.path().join("unpacked");
    unpack::unpack(&archive, &unpacked)?;
    try_out(&unpacked.join(OWN_BIN), version)?;
    let is_new = place.publish(&unpacked, &target)?;
    Ok(Installed { version, bin, is_new })
}

/// An archive for another system, or of another major, must not become one that branches are run with.
fn try_out(bin: &std::path::Path, version: OwnVersion) -> Result<(), InstallError> {
    let found = Install::probe(bin, &run_directly).filter(|_| bin.join("initdb").is_file());
    match found {
        Some(install) if install.major == version.major => Ok(()),
        Some(install) => Err(InstallError::AnotherMajor { wanted: version.major, found: install.version }),
        None => Err(InstallError::DoesNotRun(version)),
    }
}

fn progress(show: bool, what: &str) -> ProgressBar {
    // It draws on terminals only, by itself.
    let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar.with_message(what.to_owned())
}
