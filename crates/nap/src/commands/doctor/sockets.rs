//! Where clients find Unix sockets.

use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access};

use super::branches::names;
use super::{Finding, Patient};
use crate::libpq::default_socket_directory;

/// Whether bare `psql` finds us.
pub(super) fn default_directory(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "bare psql";
    let set = patient.settings.unix_socket_directory.clone();
    let directory = set.or_else(|| default_socket_directory().map(Path::to_owned));
    let Some(directory) = directory else {
        return vec![Finding::warn(NAME, "there is no default socket directory", CURE)];
    };
    let shown = directory.display();
    if let Some(status) = &patient.status {
        let ours = status.socket_directories.iter().any(|ours| same(ours, &directory));
        let port = if status.port == 5432 { String::new() } else { format!(" with -p {}", status.port) };
        return vec![if ours {
            Finding::ok(NAME, format!("works{port}: our socket is in {shown}"))
        } else {
            Finding::warn(NAME, format!("does not come here: our socket is not in {shown}"), CURE)
        }];
    }
    let socket = directory.join(format!(".s.PGSQL.{}", patient.settings.port));
    vec![if UnixStream::connect(&socket).is_ok() {
        Finding::warn(NAME, format!("another server has its socket at {}", socket.display()), CURE)
    } else if access(&directory, Access::WRITE_OK).is_err() {
        Finding::warn(NAME, format!("{shown} cannot be written by this user"), CURE)
    } else {
        Finding::ok(NAME, format!("will work: {shown} can be written"))
    }]
}

const CURE: &str = "eval \"$(nap env)\" makes bare psql come here";

fn same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}

/// A socket's path holds 107 bytes.
pub(super) fn doors(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "socket paths";
    let home = &patient.context.home;
    let long: Vec<String> = names(patient)
        .into_iter()
        .filter(|name| home.door_socket(name, u16::MAX).is_none())
        .map(String::from)
        .collect();
    if long.is_empty() {
        return vec![Finding::ok(NAME, format!("short enough, in {}", home.run_dir().display()))];
    }
    let what = format!("too long for a socket of its own: {}", long.join(", "));
    vec![Finding::warn(NAME, what, "reach it by DB@BRANCH, or choose a shorter home: --home")]
}
