//! Sockets to listen on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// Connections that the kernel has taken and we have not. PostgreSQL's own is twice max_connections; the kernel cuts
/// it to net.core.somaxconn.
const BACKLOG: i32 = 1_024;
/// Whoever can reach the socket may connect, as with PostgreSQL's `unix_socket_permissions`: what keeps people out is
/// authentication, and the directory.
const SOCKET_MODE: u32 = 0o777;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody listens there already.
    #[error("{address} is taken: another process listens there")]
    Taken {
        /// An address with port, or a path.
        address: String,
    },
    /// Something else lies in the way.
    #[error("{} is in the way: it is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// An address that means nothing here.
    #[error("cannot listen on {address}: {source}")]
    Failed {
        /// An address with port, or a path.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// An empty list.
    #[error("no address to listen on")]
    NoAddress,
}

/// Listens on each address (`localhost` means both loopbacks). An IPv6 address that this host cannot have is left
/// out, as long as another one was found.
pub fn bind_tcp(addresses: &[String], port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let mut wanted: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        for found in resolve(address, port)? {
            if !wanted.contains(&found) {
                wanted.push(found);
            }
        }
    }
    let (mut listeners, mut left_out) = (Vec::new(), None);
    for address in wanted {
        match bind_one(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if address.is_ipv6() && is_absent(&error) => left_out = Some(failed(address, error)),
            Err(error) if is_errno(&error, Errno::ADDRINUSE) => {
                return Err(ListenError::Taken { address: address.to_string() });
            }
            Err(error) => return Err(failed(address, error)),
        }
    }
    if listeners.is_empty() { Err(left_out.unwrap_or(ListenError::NoAddress)) } else { Ok(listeners) }
}

fn failed(address: impl ToString, source: io::Error) -> ListenError {
    ListenError::Failed { address: address.to_string(), source }
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn is_absent(error: &io::Error) -> bool {
    is_errno(error, Errno::ADDRNOTAVAIL) || is_errno(error, Errno::AFNOSUPPORT)
}

fn resolve(address: &str, port: u16) -> Result<Vec<SocketAddr>, ListenError> {
    if address == "localhost" {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let found = (address, port).to_socket_addrs().map_err(|error| failed(address, error))?;
    Ok(found.collect())
}

/// Sockets that another process has left: who is to listen where one of them does takes it.
static OFFERED: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// Offers sockets that listen to whoever binds their addresses from now on.
pub fn offer(listeners: Vec<OwnedFd>) {
    OFFERED.lock().unwrap_or_else(PoisonError::into_inner).extend(listeners.into_iter().map(Socket::from));
}

/// Closes those that nobody wanted.
pub fn withdraw() {
    OFFERED.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The Unix socket that listens at this path, if it was offered.
pub fn offered_unix(path: &Path) -> Option<UnixListener> {
    offered(|bound| bound.as_pathname() == Some(path)).map(UnixListener::from)
}

fn offered(is_wanted: impl Fn(&SockAddr) -> bool) -> Option<Socket> {
    let mut offered = OFFERED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = offered.iter().position(|socket| socket.local_addr().is_ok_and(|address| is_wanted(&address)))?;
    Some(offered.swap_remove(at))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    if let Some(socket) = offered(|bound| bound.as_socket() == Some(address)) {
        return Ok(socket.into());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens on a Unix socket. One that a dead process left is removed; one that answers is left alone.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    if let Some(socket) = offered_unix(path) {
        return Ok(socket);
    }
    let failed = |error| failed(path.display(), error);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = SockAddr::unix(path).map_err(failed)?;
    if let Err(error) = socket.bind(&address) {
        if !is_errno(&error, Errno::ADDRINUSE) {
            return Err(failed(error));
        }
        remove_stale(path, &address)?;
        socket.bind(&address).map_err(failed)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(socket.into())
}

fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), ListenError> {
    let failed = |error| failed(path.display(), error);
    let kind = std::fs::symlink_metadata(path).map_err(failed)?.file_type();
    if !kind.is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A live listener with a full backlog would make a blocking connect wait.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(address) {
        Err(error) if is_errno(&error, Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(error) if is_errno(&error, Errno::NOENT) => Ok(()),
        Ok(()) | Err(_) => Err(ListenError::Taken { address: path.display().to_string() }),
    }
}

/// What every accepted TCP connection needs: small messages go out at once, and a peer that vanished is noticed.
pub(crate) fn prepare_tcp(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_keepalive(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_stale_socket_is_removed_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = bind_unix(&path).unwrap();
        assert!(matches!(bind_unix(&path), Err(ListenError::Taken { .. })));
        drop(first);
        let _second = bind_unix(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
    }

    #[test]
    fn what_is_no_socket_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(bind_unix(file.path()), Err(ListenError::NotASocket(_))));
        assert!(file.path().exists());
    }

    #[test]
    fn a_taken_port_is_said_to_be_taken() {
        let addresses = ["127.0.0.1".to_owned()];
        let first = bind_tcp(&addresses, 0).unwrap();
        let port = first.first().unwrap().local_addr().unwrap().port();
        assert!(matches!(bind_tcp(&addresses, port), Err(ListenError::Taken { .. })));
    }

    #[test]
    fn an_absent_ipv6_address_is_left_out() {
        // 2001:db8::/32 is for documentation: no host has an address in it.
        let absent = "2001:db8::1".to_owned();
        assert_eq!(bind_tcp(&["127.0.0.1".to_owned(), absent.clone()], 0).unwrap().len(), 1);
        assert!(matches!(bind_tcp(&[absent], 0), Err(ListenError::Failed { .. })));
        assert!(matches!(bind_tcp(&[], 0), Err(ListenError::NoAddress)));
    }
}
