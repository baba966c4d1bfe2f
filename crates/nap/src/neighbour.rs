//! Another PostgreSQL on the port where clients look when nobody tells them.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::libpq::DEFAULT_SOCKET_DIRECTORIES;
use crate::port_holder::holder;

/// PostgreSQL's own port.
pub(crate) const FIRST_PORT: u16 = 5432;

/// Loopback answers at once, or not at all.
const KNOCK: Duration = Duration::from_millis(200);

/// Who is there, in words, if we have another port and somebody is.
pub(crate) fn beside(our_port: u16) -> Option<String> {
    if our_port == FIRST_PORT || our_port == 0 {
        return None;
    }
    let by = holder(FIRST_PORT).map(|holder| holder.to_string());
    let there = by.is_some()
        || has_socket()
        || TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, FIRST_PORT).into(), KNOCK).is_ok();
    there.then(|| format!("port {FIRST_PORT} belongs to {}", by.unwrap_or_else(|| "another server".to_owned())))
}

fn has_socket() -> bool {
    let socket = |dir: &str| Path::new(dir).join(format!(".s.PGSQL.{FIRST_PORT}"));
    DEFAULT_SOCKET_DIRECTORIES.iter().any(|dir| UnixStream::connect(socket(dir)).is_ok())
}
