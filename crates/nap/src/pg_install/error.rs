//! Why no PostgreSQL could be fetched, in words a user can act on.

use std::io;
use std::path::{Path, PathBuf};

use nap_control::{Failure, FailureKind};
use nap_model::ids::Major;
use nap_server::install::{OwnVersion, how_to_install};

#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{url} cannot be reached")]
    Unreachable { url: String, major: Major, source: ureq::Error },
    #[error("{url} was answered with HTTP status {status}")]
    Refused { url: String, status: u16 },
    #[error("there is no PostgreSQL {wanted} for {target} at {base}")]
    NotThere { wanted: String, base: String, target: String },
    #[error("{url} holds no SHA-256 checksum")]
    NoChecksum { url: String },
    #[error("the download of {url} broke off")]
    BrokeOff { url: String, source: io::Error },
    #[error("{url} has {found} bytes, and no archive of PostgreSQL has more than {most}")]
    TooLarge { url: String, found: u64, most: u64 },
    #[error("the checksum of {url} is wrong: {found}, not {wanted}")]
    WrongChecksum { url: String, found: String, wanted: String },
    #[error("the archive cannot be used: {0}")]
    BadArchive(String),
    #[error("the archive is of PostgreSQL {found}, not {wanted}")]
    AnotherMajor { wanted: Major, found: String },
    #[error("PostgreSQL {0} does not run on this system")]
    DoesNotRun(OwnVersion),
    #[error("another `nap pg install` is at work in {}", .0.display())]
    Busy(PathBuf),
    #[error("could not {what} {}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl InstallError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { major, .. } => format!(
                "without a network, install a package of the system's: `{}`; a mirror is named by --from or NAP_PG_MIRROR",
                how_to_install(Some(*major))
            ),
            Self::Refused { .. } | Self::BrokeOff { .. } => "try again later, or name a mirror: --from URL".into(),
            Self::NotThere { .. } => {
                "name a version that is there, such as `nap pg install 17.9`, or another place: --from URL".into()
            }
            Self::NoChecksum { .. } | Self::TooLarge { .. } | Self::BadArchive(_) | Self::AnotherMajor { .. } => {
                "nothing was installed; another place can be named by --from URL".into()
            }
            Self::WrongChecksum { .. } => {
                "nothing was installed; if it happens again, something on the way changes what you download".into()
            }
            Self::DoesNotRun(version) => {
                format!("install a package of the system's: `{}`", how_to_install(Some(version.major)))
            }
            Self::Busy(_) => "wait for it".into(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space on that file system; an installation takes some 100 MB".into()
            }
            Self::Io { .. } => return None,
        })
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::NotThere { .. } => FailureKind::NotFound,
            Self::Busy(_) => FailureKind::Conflict,
            Self::Unreachable { source: ureq::Error::Timeout(_), .. } => FailureKind::TimedOut,
            Self::BrokeOff { source, .. } if source.kind() == io::ErrorKind::TimedOut => FailureKind::TimedOut,
            _ => FailureKind::Failed,
        }
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let mut failure = Failure::from_error(error.kind(), &error);
        failure.hint = error.hint();
        failure
    }
}
