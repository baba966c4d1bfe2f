//! Where clients find Unix sockets.

use std::os::unix::net::UnixStream;
use std::path::Path;

use nap_store::durable;
use rustix::fs::{Access, access};

use super::branches::names;
use super::{Finding, Patient};
use crate::libpq::default_socket_directory;
use crate::lock_holder::is_alive;
use crate::neighbour;
use crate::output::quote::shell;

/// Whether bare `psql` finds us.
pub(super) fn default_directory(patient: &Patient<'_>) -> Vec<Finding> {
    let set = patient.settings.unix_socket_directory.clone();
    let directory = set.or_else(|| default_socket_directory().map(Path::to_owned));
    let Some(directory) = directory else {
        return vec![Finding::warn("there is no default socket directory", CURE)];
    };
    let shown = directory.display();
    let port = patient.status.as_ref().map_or(patient.settings.port, |status| status.port);
    // Without a port the first start has not chosen yet.
    let with = if matches!(port, 0 | 5432) { String::new() } else { format!(" with -p {port}") };
    if let Some(status) = &patient.status {
        return vec![if status.socket_directories.iter().any(|ours| same(ours, &directory)) {
            let beside = neighbour::beside(port).map(|who| format!("; {who}")).unwrap_or_default();
            Finding::ok(format!("works{with}: our socket is in {shown}{beside}"))
        } else {
            let why = status.libpq_socket_missing.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            Finding::warn(format!("does not come here: our socket is not in {shown}{why}"), CURE)
        }];
    }
    let socket = directory.join(format!(".s.PGSQL.{port}"));
    vec![if UnixStream::connect(&socket).is_ok() {
        Finding::warn(format!("another server has its socket at {}", socket.display()), CURE)
    } else if access(&directory, Access::WRITE_OK).is_err() {
        Finding::warn(format!("{shown} cannot be written by this user"), CURE)
    } else {
        Finding::ok(format!("will work{with}: {shown} can be written"))
    }]
}

/// A lock file beside a socket where nobody listens: whoever made it was killed, and its number may mean another process
/// now, which would keep us out.
pub(super) fn stale_lock(patient: &Patient<'_>) -> Vec<Finding> {
    let port = patient.status.as_ref().map_or(patient.settings.port, |status| status.port);
    let set = patient.settings.unix_socket_directory.clone();
    let directory = set.or_else(|| default_socket_directory().map(Path::to_owned));
    let Some(directory) = directory.filter(|_| port != 0) else { return Vec::new() };
    stale_lock_in(&directory, port)
}

/// A lock file begins with a process number and goes on with a path or two.
const LOCK_FILE_MAX_BYTES: u64 = 4096;

fn stale_lock_in(directory: &Path, port: u16) -> Vec<Finding> {
    let socket = directory.join(format!(".s.PGSQL.{port}"));
    let lock = directory.join(format!(".s.PGSQL.{port}.lock"));
    if !lock.exists() || UnixStream::connect(&socket).is_ok() {
        return Vec::new();
    }
    let text = durable::read_bounded(&lock, LOCK_FILE_MAX_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let pid: Option<u32> = text.lines().next().and_then(|line| line.trim().parse().ok());
    let whose = pid.map(|pid| format!(" by process {pid}")).unwrap_or_default();
    let what = format!("{} was left{whose}: nobody listens there", lock.display());
    vec![if pid.is_some_and(is_alive) {
        let cure = format!("if that process is no PostgreSQL of yours: rm {}", shell(&lock.to_string_lossy()));
        Finding::warn(what, cure)
    } else {
        Finding::warn(what, "none needed: the next `nap up` takes it away, if it may")
    }]
}

const CURE: &str = "eval \"$(nap env)\" makes bare psql come here";

fn same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}

/// A socket's path holds 107 bytes.
pub(super) fn doors(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    let long: Vec<String> = names(patient)
        .into_iter()
        .filter(|name| home.door_socket(name, u16::MAX).is_none())
        .map(String::from)
        .collect();
    if long.is_empty() {
        return vec![Finding::ok(format!("short enough, in {}", home.run_dir().display()))];
    }
    let what = format!("too long for a socket of its own: {}", long.join(", "));
    vec![Finding::warn(what, "reach it by DB@BRANCH, or choose a shorter home: --home")]
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a lock file in a test needs no durability")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_without_a_listener_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(stale_lock_in(dir.path(), 5432).is_empty());
        let lock = dir.path().join(".s.PGSQL.5432.lock");
        std::fs::write(&lock, format!("{}\n/data\n", i32::MAX)).unwrap();
        let cure = |findings: Vec<Finding>| findings[0].cure.clone().unwrap();
        assert!(cure(stale_lock_in(dir.path(), 5432)).contains("`nap up` takes it away"));
        std::fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
        assert!(cure(stale_lock_in(dir.path(), 5432)).contains("rm "), "the number may mean another");
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        assert!(stale_lock_in(dir.path(), 5432).is_empty(), "it is in use");
    }
}
