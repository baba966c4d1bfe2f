//! The doors that are open: those for everybody, and each branch's own socket directory and port.

use std::collections::HashMap;
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nap_control::{Failure, FailureKind};
use nap_gateway::{Door, Gateway, bind_tcp, bind_unix};
use nap_model::ids::BranchName;
use nap_store::{BranchRecord, Home};

use super::branch_set::BranchSet;
use super::inherited::Inherited;
use super::listening::taken;
use super::socket_lock::SocketLock;

/// All doors. They close when they are dropped.
pub(super) struct Doors {
    gateway: Arc<Gateway<BranchSet>>,
    home: Home,
    addresses: Vec<String>,
    port: u16,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    ports: Vec<Door>,
    sockets: Vec<OpenSocket>,
    /// The TCP ports that a service manager keeps, and whose doors they are.
    kept_ports: Vec<(u16, Option<BranchName>)>,
    own_sockets: HashMap<BranchName, OpenSocket>,
    own_ports: HashMap<BranchName, OwnPort>,
}

struct OwnPort {
    port: NonZeroU16,
    _doors: Vec<Door>,
}

struct OpenSocket {
    path: PathBuf,
    _door: Door,
    file: File,
}

/// What becomes of a socket's file when it is closed.
enum File {
    /// It goes, and the lock beside it.
    Ours { _lock: Option<SocketLock> },
    /// It stays, and goes on queueing connections for whoever is started next.
    Kept,
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        if let File::Ours { .. } = self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Doors {
    pub(super) fn new(gateway: Arc<Gateway<BranchSet>>, home: Home, addresses: Vec<String>, port: u16) -> Self {
        Self { gateway, home, addresses, port, open: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A port where no branch is named by the way in.
    pub(super) fn open_shared_port(&self, listener: TcpListener) -> std::io::Result<()> {
        let door = self.gateway.serve_tcp(listener, None)?;
        self.now().ports.push(door);
        Ok(())
    }

    /// A socket where no branch is named by the way in.
    pub(super) fn open_shared_socket(
        &self,
        path: PathBuf,
        listener: UnixListener,
        lock: Option<SocketLock>,
    ) -> std::io::Result<()> {
        let door = self.gateway.serve_unix(listener, None)?;
        self.now().sockets.push(OpenSocket { path, _door: door, file: File::Ours { _lock: lock } });
        Ok(())
    }

    /// What a service manager keeps for us.
    pub(super) fn open_inherited(&self, inherited: Inherited) -> std::io::Result<()> {
        for socket in inherited.tcp {
            let port = socket.address.port();
            let door = self.gateway.serve_tcp(socket.listener, socket.door.clone())?;
            let mut open = self.now();
            open.ports.push(door);
            open.kept_ports.push((port, socket.door));
        }
        for socket in inherited.unix {
            let shared = socket.door.is_none();
            let door = self.gateway.serve_unix(socket.listener, socket.door)?;
            let mut open = self.now();
            match socket.address {
                Some(path) if shared => open.sockets.push(OpenSocket { path, _door: door, file: File::Kept }),
                _ => open.ports.push(door),
            }
        }
        Ok(())
    }

    /// Opens a branch's own doors. A branch that can have none is reached by its name all the same.
    pub(super) fn open(&self, record: &BranchRecord) {
        let branch = &record.name;
        if let Err(error) = self.open_socket(branch) {
            tracing::warn!(%branch, %error, "its socket directory cannot be served");
        }
        if let Err(failure) = self.set_port(branch, record.settings.port) {
            tracing::warn!(%branch, %failure, "its own port cannot be served");
        }
    }

    fn open_socket(&self, branch: &BranchName) -> anyhow::Result<()> {
        let Some(path) = self.home.door_socket(branch, self.port) else {
            anyhow::bail!("its name is too long for a socket directory of its own in this home");
        };
        nap_store::create::make_door_dir(&self.home, branch)?;
        let door = self.gateway.serve_unix(bind_unix(&path)?, Some(branch.clone()))?;
        self.now()
            .own_sockets
            .insert(branch.clone(), OpenSocket { path, _door: door, file: File::Ours { _lock: None } });
        Ok(())
    }

    /// Gives a branch this port of its own, in place of the one that it has; `None`: none.
    pub(super) fn set_port(&self, branch: &BranchName, port: Option<NonZeroU16>) -> Result<(), Failure> {
        let Some(port) = port else {
            self.now().own_ports.remove(branch);
            return Ok(());
        };
        const CHOOSE: &str = "choose another port: `nap set BRANCH port=N`";
        match self.whose_port(port.get()) {
            Some(Some(ours)) if ours == *branch => return Ok(()),
            Some(ours) => {
                let whose =
                    ours.map_or_else(|| "the daemon's own".to_owned(), |ours| format!("that of branch \"{ours}\""));
                return Err(Failure::new(FailureKind::Conflict, format!("port {port} is {whose}")).hint(CHOOSE));
            }
            None => {}
        }
        let listeners = bind_tcp(&self.addresses, port.get()).map_err(|error| {
            let mut failure = taken(error, port.get());
            failure.hint = Some(CHOOSE.into());
            failure
        })?;
        let serve = |listener| self.gateway.serve_tcp(listener, Some(branch.clone()));
        let doors: Result<Vec<Door>, _> = listeners.into_iter().map(serve).collect();
        let doors = doors.map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
        self.now().own_ports.insert(branch.clone(), OwnPort { port, _doors: doors });
        Ok(())
    }

    /// Whose door this port is, if it is one of ours; `Some(None)`: everybody's.
    fn whose_port(&self, port: u16) -> Option<Option<BranchName>> {
        let open = self.now();
        let of_branch =
            open.own_ports.iter().find(|(_, own)| own.port.get() == port).map(|(name, _)| Some(name.clone()));
        let kept = || open.kept_ports.iter().find(|(kept, _)| *kept == port).map(|(_, door)| door.clone());
        of_branch.or_else(kept).or_else(|| (port == self.port).then_some(None))
    }

    /// Closes a branch's own doors for good.
    pub(super) fn close(&self, branch: &BranchName) {
        let mut open = self.now();
        open.own_sockets.remove(branch);
        open.own_ports.remove(branch);
    }

    /// Closes all, and takes away their files: what is left in libpq's default directory would be in others' way.
    pub(super) fn close_all(&self) {
        *self.now() = Open::default();
    }

    /// The directory of a branch's own socket, if it is open. In a path with a comma libpq sees a list of hosts, so there
    /// it is not told.
    pub(super) fn door_dir(&self, branch: &BranchName) -> Option<PathBuf> {
        let open = self.now();
        let dir = open.own_sockets.get(branch).and_then(|socket| socket.path.parent()).map(Path::to_owned);
        dir.filter(|dir| !dir.to_string_lossy().contains(','))
    }

    /// The directories where the socket names no branch and libpq finds it by our port, the home's own first.
    pub(super) fn shared_dirs(&self) -> Vec<PathBuf> {
        let name = super::listening::socket_name(self.port);
        let open = self.now();
        let found = open.sockets.iter().filter(|socket| socket.path.ends_with(&name));
        found.filter_map(|socket| socket.path.parent()).map(Path::to_owned).collect()
    }
}
