//! What libpq does when nobody tells it where to go.

use std::path::Path;

/// Where it looks for sockets: Debian's and Red Hat's builds in the first, PostgreSQL's own in the second.
pub(crate) const DEFAULT_SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The one of them that counts here.
pub(crate) fn default_socket_directory() -> Option<&'static Path> {
    DEFAULT_SOCKET_DIRECTORIES.map(Path::new).into_iter().find(|dir| dir.is_dir())
}
