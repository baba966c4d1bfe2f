//! Sockets that a service manager made before us and keeps after us (systemd's LISTEN_FDS).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use listenfd::ListenFd;
use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{ipv6_v6only, socket_acceptconn, socket_domain};

use super::systemd::STORED_NAME;

/// `FileDescriptorName=branch-NAME` makes a socket the door of that branch. Every other name, given or systemd's own (the
/// unit's), means a door for all.
const BRANCH_PREFIX: &str = "branch-";
/// What one for all is called when it is handed on.
const SHARED_NAME: &str = "nap";
/// The first of the descriptors that are handed over (sd_listen_fds(3)).
const FIRST_DESCRIPTOR: usize = 3;

/// All of them.
#[derive(Default)]
pub(super) struct Inherited {
    pub(super) tcp: Vec<Kept<TcpListener, SocketAddr>>,
    /// A socket in the abstract name space has no path.
    pub(super) unix: Vec<Kept<UnixListener, Option<PathBuf>>>,
}

/// One of them. Its file, if it has one, is not ours to remove.
pub(super) struct Kept<Listener, Address> {
    pub(super) listener: Listener,
    pub(super) address: Address,
    /// Whose door it is; `None`: everybody's.
    pub(super) door: Option<BranchName>,
}

/// Whether this process was given any.
pub(crate) fn are_there() -> bool {
    sd_notify::listen_fds().is_ok_and(|descriptors| descriptors.len() > 0)
}

/// Whether one of them is what the daemon before has left.
pub(crate) fn is_left_something() -> bool {
    sd_notify::listen_fds_with_names().is_ok_and(|mut sockets| sockets.any(|(_, name)| name == STORED_NAME))
}

/// Takes them over, and their variables out of the environment; beside them what another daemon has left in systemd's store.
/// Called while there is one thread.
pub(super) fn take() -> Result<(Inherited, Option<UnixStream>), Failure> {
    // It looks at LISTEN_PID; listenfd alone would take what was meant for whoever started us.
    let names: Vec<String> = sd_notify::listen_fds_with_names()
        .map_err(|error| {
            Failure::failed("the inherited sockets cannot be taken over")
                .caused_by(&error)
                .hint("LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES are a service manager's to set")
        })?
        .map(|(_, name)| name)
        .collect();
    let (mut inherited, mut stored) = (Inherited::default(), None);
    if !names.is_empty() {
        let mut descriptors = ListenFd::from_env();
        for (index, name) in names.iter().enumerate() {
            let label = format!("\"{name}\" (descriptor {})", FIRST_DESCRIPTOR + index);
            let unix = descriptors.take_unix_listener(index).ok().flatten().map(OwnedFd::from);
            let socket = unix.or_else(|| descriptors.take_tcp_listener(index).ok().flatten().map(OwnedFd::from));
            let socket = socket.ok_or_else(|| useless(&label, NO_STREAM))?;
            match name.as_str() {
                STORED_NAME => stored = Some(UnixStream::from(socket)),
                name => inherited.add(name, &label, socket)?,
            }
        }
    }
    Ok((inherited, stored))
}

const NO_STREAM: &str = "it is neither a TCP nor a Unix stream socket";

fn useless(label: &str, why: &str) -> Failure {
    Failure::failed(format!("the inherited socket {label} is of no use"))
        .because(why)
        .hint("only sockets of ListenStream= are, and without Accept=yes")
}

impl Inherited {
    /// Those that the program before us had, by the names that `duplicates` gave.
    pub(super) fn handed_on(sockets: impl IntoIterator<Item = (String, OwnedFd)>) -> Result<Self, Failure> {
        let mut inherited = Self::default();
        for (name, socket) in sockets {
            inherited.add(&name, &format!("\"{name}\""), socket)?;
        }
        Ok(inherited)
    }

    /// Second descriptors of all, each with a name, to be handed on to another program.
    pub(super) fn duplicates(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let second = |door: &Option<BranchName>, socket: &dyn AsFd| {
            let name = door.as_ref().map_or(SHARED_NAME.to_owned(), |branch| format!("{BRANCH_PREFIX}{branch}"));
            Ok((name, socket.as_fd().try_clone_to_owned()?))
        };
        let tcp = self.tcp.iter().map(|socket| second(&socket.door, &socket.listener));
        tcp.chain(self.unix.iter().map(|socket| second(&socket.door, &socket.listener))).collect()
    }

    fn add(&mut self, name: &str, label: &str, socket: OwnedFd) -> Result<(), Failure> {
        let door = door(name)?;
        listening(&socket).map_err(|why| useless(label, &why))?;
        match socket_domain(&socket) {
            Ok(AddressFamily::UNIX) => {
                let listener = UnixListener::from(socket);
                let address = listener.local_addr().ok().and_then(|address| address.as_pathname().map(PathBuf::from));
                self.unix.push(Kept { listener, address, door });
            }
            Ok(AddressFamily::INET | AddressFamily::INET6) => {
                let listener = TcpListener::from(socket);
                let address = listener.local_addr().map_err(|error| useless(label, &error.to_string()))?;
                self.tcp.push(Kept { listener, address, door });
            }
            _ => return Err(useless(label, NO_STREAM)),
        }
        Ok(())
    }

    /// The port of those for everybody: of the first, if they differ.
    pub(super) fn port(&self) -> Option<u16> {
        self.tcp.iter().find(|socket| socket.door.is_none()).map(|socket| socket.address.port())
    }

    /// Whether there is a Unix socket for everybody: then we make none in libpq's default directory.
    pub(super) fn has_shared_unix(&self) -> bool {
        self.unix.iter().any(|socket| socket.door.is_none())
    }

    /// The addresses of those for everybody, in the words of listen_addresses. None: these are ours to bind.
    pub(super) fn shared_addresses(&self) -> Vec<String> {
        addresses(self.tcp.iter().filter(|socket| socket.door.is_none()))
    }

    /// All addresses by which clients come in.
    pub(super) fn all_addresses(&self) -> Vec<String> {
        addresses(self.tcp.iter())
    }
}

fn addresses<'a>(sockets: impl Iterator<Item = &'a Kept<TcpListener, SocketAddr>>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for socket in sockets {
        // systemd's [::] takes IPv4 too, unless it was told otherwise.
        let both = socket.address.ip().is_unspecified() && ipv6_v6only(&socket.listener).is_ok_and(|only| !only);
        let also_v4 = both.then(|| "0.0.0.0".to_owned());
        for address in std::iter::once(socket.address.ip().to_string()).chain(also_v4) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

fn listening(socket: impl AsFd) -> Result<(), String> {
    match socket_acceptconn(socket) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it does not listen".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn door(name: &str) -> Result<Option<BranchName>, Failure> {
    let branch = name.strip_prefix(BRANCH_PREFIX).map(str::parse::<BranchName>).transpose();
    branch.map_err(|error| {
        Failure::from_error(FailureKind::Failed, &error)
            .because(format!("an inherited socket has the name \"{name}\""))
            .hint("FileDescriptorName=branch-NAME makes it the door of the branch NAME")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_name_a_branch() {
        assert_eq!(door("branch-main").unwrap(), Some(BranchName::main()));
        for shared in ["nap", "napgres.socket", "unknown", "main", ""] {
            assert_eq!(door(shared).unwrap(), None, "{shared}");
        }
        let failure = door("branch-No Such").unwrap_err();
        assert!(failure.cause.iter().any(|cause| cause.contains("branch-No Such")), "{failure:?}");
    }

    #[test]
    fn a_socket_for_ipv4_and_ipv6_counts_as_both() {
        let kept = |address: &str| {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            Kept { listener, address, door: None }
        };
        let inherited = Inherited { tcp: vec![kept("[::]:0"), kept("127.0.0.1:0")], unix: Vec::new() };
        assert_eq!(inherited.shared_addresses(), ["::", "0.0.0.0", "127.0.0.1"]);
        assert_eq!(inherited.port(), Some(inherited.tcp[0].address.port()));
    }
}
