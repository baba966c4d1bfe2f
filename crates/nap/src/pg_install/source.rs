//! Where archives of PostgreSQL are, and what they are called.

use std::fmt;
use std::str::FromStr;

use nap_model::ids::Major;
use nap_server::install::OwnVersion;

/// The releases of theseus-rs/postgresql-binaries: complete builds for Linux and macOS, each with its SHA-256.
pub(crate) const DEFAULT_BASE: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";

/// The majors that can be had there, and a minor of each that is known to be. Newer minors are found by asking.
pub(crate) const KNOWN: [(u16, u16); 5] = [(14, 23), (15, 19), (16, 15), (17, 11), (18, 6)];

/// How many minors in a row may be missing before there are no more: now and then one was never packaged.
const GAP: u16 = 2;

/// A place with archives: `BASE/17.11.0/postgresql-17.11.0-x86_64-unknown-linux-gnu.tar.gz`, and beside each a file with
/// `.sha256` behind its name.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    base: String,
}

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The newest minor of a major.
    Newest(Major),
    /// This one.
    Exactly(OwnVersion),
}

impl Wanted {
    pub(crate) fn major(self) -> Major {
        match self {
            Self::Newest(major) => major,
            Self::Exactly(version) => version.major,
        }
    }

    /// The versions to ask for, in order. The answer to each decides whether the next is of interest: the oldest comes
    /// first, and the search ends where [`GAP`] of them in a row are missing.
    pub(crate) fn candidates(self) -> Box<dyn Iterator<Item = OwnVersion>> {
        match self {
            Self::Exactly(version) => Box::new(std::iter::once(version)),
            Self::Newest(major) => {
                let first = KNOWN.iter().find(|(known, _)| *known == major.0).map_or(0, |(_, minor)| *minor);
                Box::new((first..u16::MAX).map(move |minor| OwnVersion { major, minor, build: 0 }))
            }
        }
    }

    /// How many misses in a row end the search.
    pub(crate) fn gap(self) -> u16 {
        if matches!(self, Self::Exactly(_)) { 1 } else { GAP }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(major) => major.fmt(f),
            Self::Exactly(version) => write!(f, "{}.{}", version.major, version.minor),
        }
    }
}

/// `17`, `17.11` or `17.11.0`.
impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = match text.parse::<Major>() {
            Ok(major) => Self::Newest(major),
            Err(_) => Self::Exactly(text.parse().map_err(|_| "write a major version, such as 17".to_owned())?),
        };
        if KNOWN.iter().any(|(major, _)| *major == wanted.major().0) {
            return Ok(wanted);
        }
        let known: Vec<String> = KNOWN.iter().map(|(major, _)| major.to_string()).collect();
        Err(format!("PostgreSQL {} cannot be had; there are {}", wanted.major(), known.join(", ")))
    }
}

impl Source {
    pub(crate) fn at(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    /// As it was given.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether every step of the way must be encrypted; a plain address is the user's own choice.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.base.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    pub(crate) fn archive_url(&self, version: OwnVersion) -> String {
        format!("{}/{version}/postgresql-{version}-{}.tar.gz", self.base, target())
    }
}

/// This machine, in the words of Rust's targets.
pub(crate) fn target() -> String {
    let arch = std::env::consts::ARCH;
    if cfg!(target_os = "macos") {
        return format!("{arch}-apple-darwin");
    }
    // It is the machine's C library that counts: this program may be linked with another one, or with none.
    let musl = std::path::Path::new(&format!("/lib/ld-musl-{arch}.so.1")).exists();
    let glibc = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let has_glibc = glibc.iter().any(|loader| std::path::Path::new(loader).exists());
    format!("{arch}-unknown-linux-{}", if musl && !has_glibc { "musl" } else { "gnu" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_and_versions_are_read() {
        assert_eq!("17".parse(), Ok(Wanted::Newest(Major(17))));
        assert_eq!("17.9".parse::<Wanted>().unwrap().to_string(), "17.9");
        assert_eq!("12".parse::<Wanted>().unwrap_err(), "PostgreSQL 12 cannot be had; there are 14, 15, 16, 17, 18");
        assert!("new".parse::<Wanted>().unwrap_err().contains("such as 17"));
    }

    #[test]
    fn an_address_has_the_version_twice() {
        let version: OwnVersion = "17.11".parse().unwrap();
        let url = Source::at("https://mirror.example/pg/").archive_url(version);
        assert!(url.starts_with("https://mirror.example/pg/17.11.0/postgresql-17.11.0-"), "{url}");
        assert!(Source::at("HTTPS://x").is_encrypted() && !Source::at("http://x").is_encrypted());
    }
}
