//! A data directory that is to be imported: where it and its configuration are, and whether it can be copied as it lies there.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nap_control::{Failure, FailureKind};
use nap_model::ids::Major;
use nap_model::pg_conf::{self, Adopted};
use nap_server::in_use::in_use;
use nap_store::durable;

use crate::invoker::name_of;
use crate::rules::Disk;

/// Where Debian's pg_createcluster puts configurations: MAJOR/CLUSTER.
const DEBIAN: &str = "/etc/postgresql";
/// So many of them are looked at.
const LOOKED_AT_MAX: usize = 1_000;
/// How long the last processes of a server may take to end.
const LEAVES_WITHIN: Duration = Duration::from_secs(3);
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Longer rules for connections would be refused later on.
const HBA_MAX_BYTES: u64 = 4 << 20;

/// A cluster on this machine.
pub(super) struct Source {
    pub(super) data: PathBuf,
    pub(super) major: Major,
    /// Its configuration, as far as it can be taken over; none: it has none.
    pub(super) conf: Option<Adopted>,
    /// Where its rules for connections are.
    pub(super) hba: PathBuf,
    /// The process of its server, if one runs.
    pub(super) server: Option<i32>,
}

impl Source {
    /// A data directory. Its configuration may be one of Debian's.
    pub(super) fn of_directory(path: &Path) -> Result<Self, Failure> {
        let data = path.canonicalize().map_err(|error| cannot_read(path, &error))?;
        let own = data.join("postgresql.conf");
        let conf = if exists(&own)? { Some(own) } else { debian_conf_of(&data) };
        Self::read(data, conf)
    }

    /// A cluster of Debian's, by its name.
    pub(super) fn of_debian(version: Major, cluster: &str) -> Result<Self, Failure> {
        let path = Path::new(DEBIAN).join(version.to_string()).join(cluster).join("postgresql.conf");
        if !exists(&path)? {
            let message = format!("there is no cluster {version}/{cluster} of Debian's on this machine");
            return Err(Failure::new(FailureKind::NotFound, message)
                .because(format!("{} is missing", path.display()))
                .hint("`pg_lsclusters` shows them; a data directory is named by its path"));
        }
        let named = adopt(&path)?.value("data_directory").map(PathBuf::from);
        let data = named.unwrap_or_else(|| Path::new("/var/lib/postgresql").join(version.to_string()).join(cluster));
        let data = data.canonicalize().map_err(|error| cannot_read(&data, &error))?;
        Self::read(data, Some(path))
    }

    fn read(data: PathBuf, conf: Option<PathBuf>) -> Result<Self, Failure> {
        let major = major_of(&data)?;
        for signal in ["standby.signal", "recovery.signal"] {
            if exists(&data.join(signal))? {
                let message = format!("{} is a standby, or in the middle of a recovery", data.display());
                return Err(Failure::new(FailureKind::Conflict, message)
                    .because(format!("it has a {signal}"))
                    .hint("import its primary, or promote it first; a running standby can be named by its URL"));
            }
        }
        let beside = conf.as_deref().and_then(Path::parent).unwrap_or(&data).to_owned();
        let conf = conf.as_deref().map(adopt).transpose()?;
        let named = conf.as_ref().and_then(|conf| conf.value("hba_file")).map(|file| data.join(file));
        let hba = named.unwrap_or_else(|| beside.join("pg_hba.conf"));
        let server = in_use_for_long(&data);
        Ok(Self { data, major, conf, hba, server })
    }

    /// The text of its rules; none: it has none.
    pub(super) fn rules(&self) -> Result<Option<String>, Failure> {
        match durable::read_bounded(&self.hba, HBA_MAX_BYTES) {
            Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| {
                let message = format!("{} is not UTF-8", self.hba.display());
                Failure::new(FailureKind::Conflict, message).hint("correct the file, or leave it with --ignore-hba")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_read(&self.hba, &error)),
        }
    }

    /// Nobody may write to what is copied.
    pub(super) fn refuse_running(&self) -> Result<(), Failure> {
        in_use(&self.data).map_or(Ok(()), |pid| Err(self.is_in_use(pid)))
    }

    pub(super) fn is_in_use(&self, pid: i32) -> Failure {
        let who = if pid == 0 { "a server that cannot be seen from here".to_owned() } else { format!("PID {pid}") };
        let message = format!("{} is in use by {who}", self.data.display());
        Failure::new(FailureKind::Conflict, message).hint(
            "shut that server down first, or name it by its URL, which copies it while it runs: nap import --cluster \
             postgresql://…",
        )
    }

    /// How to come to its server from here, as whoever owns its data.
    pub(super) fn url(&self) -> Option<String> {
        let own = rustix::process::geteuid().as_raw();
        let owner = std::fs::metadata(&self.data).ok()?.uid();
        let role = name_of(owner).filter(|_| owner == own)?;
        let value = |name: &str| self.conf.as_ref().and_then(|conf| conf.value(name));
        let directories = value("unix_socket_directories").unwrap_or("/var/run/postgresql");
        let directory = directories.split(',').next()?.trim().trim_matches('"');
        let port = value("port").unwrap_or("5432");
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let (directory, port, role) = (quoted(directory), quoted(port), quoted(&role));
        Some(format!("host='{directory}' port='{port}' user='{role}' dbname=postgres"))
    }
}

/// A server that has just been shut down takes its file away a moment before its last process ends.
fn in_use_for_long(data: &Path) -> Option<i32> {
    let begun = Instant::now();
    loop {
        let user = in_use(data);
        let leaves = user.is_some() && !data.join("postmaster.pid").exists();
        if !leaves || begun.elapsed() > LEAVES_WITHIN {
            return user;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
}

fn adopt(path: &Path) -> Result<Adopted, Failure> {
    pg_conf::adopt(&Disk, path).map_err(|error| {
        Failure::failed(format!("the configuration {} cannot be taken over", path.display())).caused_by(&error)
    })
}

/// What is written there by who made it.
fn major_of(data: &Path) -> Result<Major, Failure> {
    let path = data.join("PG_VERSION");
    let bytes = durable::read_bounded(&path, 100).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(FailureKind::NotFound, format!("{} is no data directory of PostgreSQL", data.display()))
                .because("it has no file PG_VERSION")
        }
        _ => cannot_read(&path, &error),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let major = text.trim().parse().map(Major).ok().filter(|major| *major >= Major::OLDEST);
    major.ok_or_else(|| {
        Failure::failed(format!("{} is of PostgreSQL {}", data.display(), text.trim()))
            .because(format!("Napgres runs PostgreSQL {} and newer", Major::OLDEST))
            .hint("bring it to a newer version with pg_upgrade first, or import a database of it by its URL")
    })
}

/// An error, if it cannot even be looked for.
fn exists(path: &Path) -> Result<bool, Failure> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot read {}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(FailureKind::NotFound, message).caused_by(error),
        io::ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            let user = name_of(uid).unwrap_or_else(|| uid.to_string());
            Failure::new(FailureKind::Denied, message)
                .because(format!("the daemon runs as user {user}, who may not"))
                .hint("name its server by its URL, or import it into a home of the user that owns it")
        }
        _ => Failure::failed(message).caused_by(error),
    }
}

/// The configuration in /etc that names this data directory.
fn debian_conf_of(data: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).ok()?.flatten();
    let clusters = versions.filter_map(|version| std::fs::read_dir(version.path()).ok()).flat_map(|of| of.flatten());
    clusters.take(LOOKED_AT_MAX).map(|cluster| cluster.path().join("postgresql.conf")).find(|path| {
        let named = pg_conf::adopt(&Disk, path).ok();
        let named = named.as_ref().and_then(|conf| conf.value("data_directory"));
        named.and_then(|named| Path::new(named).canonicalize().ok()).as_deref() == Some(data)
    })
}
