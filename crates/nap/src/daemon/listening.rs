//! Which sockets the daemon listens on: a pair of ports, the run directory, libpq's default directory, each branch's
//! door; and in their place those that a service manager keeps for it.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nap_control::{Failure, FailureKind};
use nap_gateway::{Gateway, ListenError, bind_tcp, bind_unix};
use nap_store::Home;

use super::branch_set::BranchSet;
use super::config::Config;
use super::doors::Doors;
use super::inherited::Inherited;
use super::socket_lock::SocketLock;
use crate::libpq::{DEFAULT_SOCKET_DIRECTORIES, default_socket_directory};
use crate::neighbour::FIRST_PORT;

/// After PostgreSQL's own port these are tried, two by two: out of the way of what people run by hand.
const OTHER_PORTS: std::ops::Range<u16> = 54320..54520;

/// Sockets that are bound, and not served yet.
pub(super) struct Sockets {
    home: Home,
    addresses: Vec<String>,
    port: u16,
    tcp: Vec<TcpListener>,
    unix: Vec<SharedSocket>,
    inherited: Inherited,
    libpq_socket_missing: Option<String>,
}

/// A Unix socket where no branch is named by the way in.
struct SharedSocket {
    path: PathBuf,
    listener: UnixListener,
    lock: Option<SocketLock>,
}

impl Sockets {
    /// Binds what clients connect to, but for what is inherited. The first start chooses the port and writes it down.
    pub(super) fn bind(config: &Config, home: &Home, inherited: Inherited) -> anyhow::Result<Self> {
        let settings = config.get();
        let (port, tcp) = match settings.port {
            port if inherited.port().is_some() => (port, Vec::new()),
            0 => choose_port(&settings.listen_addresses)?,
            port => (port, bind_tcp(&settings.listen_addresses, port).map_err(|error| taken(error, port))?),
        };
        if nap_store::config::load(home)?.port != port {
            config.write_port(port)?;
        }
        let own = home.run_dir().join(socket_name(port));
        let listener = bind_unix(&own).map_err(|error| taken(error, port))?;
        let mut unix = vec![SharedSocket { path: own, listener, lock: None }];
        let mut libpq_socket_missing = None;
        if !inherited.has_shared_unix() {
            let for_libpq = bind_for_libpq(settings.unix_socket_directory.as_deref(), home, port)?;
            libpq_socket_missing = for_libpq.as_ref().err().cloned();
            unix.extend(for_libpq);
        }
        let (home, addresses) = (home.clone(), settings.listen_addresses);
        Ok(Self { home, addresses, port, tcp, unix, inherited, libpq_socket_missing })
    }

    /// Why there is no socket in libpq's default directory; none: there is one.
    pub(super) fn libpq_socket_missing(&self) -> Option<String> {
        self.libpq_socket_missing.clone()
    }

    /// Begins to serve, and opens the doors of all branches.
    pub(super) fn serve(self, gateway: &Arc<Gateway<BranchSet>>, branches: &BranchSet) -> anyhow::Result<Doors> {
        let doors = Doors::new(gateway.clone(), self.home, self.addresses, self.port);
        for listener in self.tcp {
            doors.open_shared_port(listener)?;
        }
        for socket in self.unix {
            doors.open_shared_socket(socket.path, socket.listener, socket.lock)?;
        }
        doors.open_inherited(self.inherited)?;
        for entry in branches.all() {
            doors.open(&entry.record);
        }
        Ok(doors)
    }
}

pub(super) fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

fn choose_port(addresses: &[String]) -> Result<(u16, Vec<TcpListener>), Failure> {
    for port in std::iter::once(FIRST_PORT).chain(OTHER_PORTS.step_by(2)) {
        let live_socket = DEFAULT_SOCKET_DIRECTORIES
            .iter()
            .any(|dir| std::os::unix::net::UnixStream::connect(Path::new(dir).join(socket_name(port))).is_ok());
        // The next port is for the read-only door: it must be free, and is bound when that door opens.
        if live_socket || bind_tcp(addresses, port + 1).is_err() {
            continue;
        }
        match bind_tcp(addresses, port) {
            Ok(listeners) => return Ok((port, listeners)),
            Err(ListenError::Taken { .. }) => {}
            Err(error) => return Err(Failure::from_error(FailureKind::Failed, &error)),
        }
    }
    Err(Failure::failed("no free pair of ports was found").hint("name one: `nap up --port N`"))
}

/// A taken port is an error that names its holder: our port never moves by itself.
pub(super) fn taken(error: ListenError, port: u16) -> Failure {
    let failure = Failure::from_error(FailureKind::Conflict, &error);
    if !matches!(error, ListenError::Taken { .. }) {
        return failure;
    }
    let failure = match crate::port_holder::holder(port) {
        Some(holder) => failure.because(format!("it is held by {holder}")),
        None => failure,
    };
    failure.hint("stop that process, or move for good: `nap up --port N`")
}

/// The socket for a bare `psql`, or why there is none. One that was asked for must be had; the default one is taken if it
/// is free.
fn bind_for_libpq(asked: Option<&Path>, home: &Home, port: u16) -> anyhow::Result<Result<SharedSocket, String>> {
    let Some(dir) = asked.or(default_socket_directory()) else {
        return Ok(Err("libpq's default socket directory is not there".to_owned()));
    };
    let path = dir.join(socket_name(port));
    let bound = SocketLock::take(&path, home.root(), port).map_err(anyhow::Error::from).and_then(|lock| {
        let listener = bind_unix(&path)?;
        Ok(SharedSocket { path: path.clone(), listener, lock: Some(lock) })
    });
    match bound {
        Ok(socket) => Ok(Ok(socket)),
        Err(error) if asked.is_some() => Err(error.context(format!("cannot listen on {}", path.display()))),
        Err(error) => {
            tracing::info!(socket = %path.display(), %error, "no socket in libpq's default directory");
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            Ok(Err(match kind {
                Some(std::io::ErrorKind::PermissionDenied) => format!("no permission to write to {}", dir.display()),
                Some(std::io::ErrorKind::AddrInUse) => format!("{}.lock is another server's", path.display()),
                _ => format!("{}: {error}", path.display()),
            }))
        }
    }
}
