//! What a gateway leaves to its successor, in the same process or in the next one: listening sockets, sessions with their sockets and state,
//! the hubs' backends. The sockets are handed on as they are; a session is left at a place where both of its sides are
//! between two messages.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nap_wire::startup::CancelKey;
use serde::{Deserialize, Serialize};

use crate::client::Origin;
use crate::hub::{HubLeft, Listener};
use crate::parking::{Reported, State};
use crate::session::Identity;
use crate::traffic::Seen;

/// Raised when what is left, or the order of its descriptors, changes in a way that another version would misread.
pub const ESTATE_FORMAT: u32 = 2;

/// All of it. Dropped, it is lost: the clients' connections are closed.
pub struct Estate {
    pub(crate) listeners: Vec<OwnedFd>,
    pub(crate) sessions: Vec<Moved>,
    pub(crate) hubs: Vec<HubLeft>,
    /// Where the hubs' backends hear their fences.
    pub(crate) fence_channel: String,
}

/// A session that waits to be taken up again.
pub(crate) struct Moved {
    pub(crate) client: OwnedFd,
    /// `None`: it is parked.
    pub(crate) backend: Option<OwnedFd>,
    /// Still to be asked for what it has heard; never there once it has been in another process.
    pub(crate) listener: Option<Listener>,
    /// Keeps its server awake, and the moment of the past open that it is in, until then.
    pub(crate) hold: Option<Box<dyn Any + Send>>,
    pub(crate) will: Will,
}

/// What is known of a session beside its sockets.
#[derive(Serialize, Deserialize)]
pub(crate) struct Will {
    /// By which `nap sessions` names it.
    pub(crate) id: u64,
    pub(crate) identity: Identity,
    pub(crate) address: String,
    pub(crate) origin: Origin,
    /// For how long its client has sent nothing but pings.
    pub(crate) idle: Duration,
    pub(crate) superuser: bool,
    /// What the client sends to cancel.
    pub(crate) key: Option<Key>,
    pub(crate) seen: Seen,
    pub(crate) with: With,
}

/// A cancel key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Key(i32, Vec<u8>);

impl From<&CancelKey> for Key {
    fn from(key: &CancelKey) -> Self {
        Self(key.pid, key.secret.clone())
    }
}

impl From<Key> for CancelKey {
    fn from(Key(pid, secret): Key) -> Self {
        Self { pid, secret }
    }
}

/// What a session has.
#[derive(Serialize, Deserialize)]
pub(crate) enum With {
    Backend {
        socket: PathBuf,
        superuser: String,
        key: Option<Key>,
        reported: BTreeMap<String, Vec<u8>>,
        /// `I`, `T` or `E`; `None`: it does something.
        status: Option<u8>,
        /// What could not be written on yet, either way.
        to_client: Vec<u8>,
        to_backend: Vec<u8>,
    },
    /// It is parked, and this is kept of it.
    State {
        state: Box<State>,
        reported: Reported,
        idle_timeout: Option<Duration>,
        channels: Vec<Vec<u8>>,
        listens: bool,
        /// Its hub was lost meanwhile, and something with it perhaps.
        deaf: bool,
        for_client: Vec<u8>,
        begun: Vec<u8>,
    },
}

/// The part that is no socket, in the order of the sockets: those that listen, then each session's client and backend, then
/// the hubs'.
#[derive(Serialize, Deserialize)]
struct Inventory {
    listeners: usize,
    fence_channel: String,
    sessions: Vec<Will>,
    hubs: Vec<crate::hub::HubWill>,
}

/// What was left cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum BadEstate {
    /// It is of another version, or was damaged.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Sockets are missing.
    #[error("a socket is missing")]
    Incomplete,
}

impl Estate {
    /// Where the hubs' backends hear their fences: the successor's hubs must go on with it.
    pub fn fence_channel(&self) -> String {
        self.fence_channel.clone()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The sockets that listen, for [`crate::offer`].
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// One more socket that listens.
    pub fn add_listener(&mut self, listener: OwnedFd) {
        self.listeners.push(listener);
    }

    /// As bytes, and the sockets they belong to.
    pub fn write(&self) -> std::io::Result<(Vec<u8>, Vec<BorrowedFd<'_>>)> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            listeners: usize,
            fence_channel: &'a str,
            sessions: Vec<&'a Will>,
            hubs: Vec<&'a crate::hub::HubWill>,
        }
        let mut sockets: Vec<&OwnedFd> = self.listeners.iter().collect();
        for session in &self.sessions {
            sockets.push(&session.client);
            sockets.extend(session.backend.as_ref());
        }
        sockets.extend(self.hubs.iter().map(|hub| &hub.stream));
        let inventory = Borrowed {
            listeners: self.listeners.len(),
            fence_channel: &self.fence_channel,
            sessions: self.sessions.iter().map(|session| &session.will).collect(),
            hubs: self.hubs.iter().map(|hub| &hub.will).collect(),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&inventory, &mut bytes).map_err(std::io::Error::other)?;
        Ok((bytes, sockets.into_iter().map(OwnedFd::as_fd).collect()))
    }

    /// What `write` gave.
    pub fn read(bytes: &[u8], sockets: impl IntoIterator<Item = OwnedFd>) -> Result<Self, BadEstate> {
        let inventory: Inventory =
            ciborium::from_reader(bytes).map_err(|error| BadEstate::Unreadable(error.to_string()))?;
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().ok_or(BadEstate::Incomplete);
        let Inventory { listeners, fence_channel, sessions, hubs } = inventory;
        let listeners = (0..listeners).map(|_| next()).collect::<Result<_, _>>()?;
        let mut moved = Vec::with_capacity(sessions.len());
        for will in sessions {
            let client = next()?;
            let backend = match will.with {
                With::Backend { .. } => Some(next()?),
                With::State { .. } => None,
            };
            moved.push(Moved { client, backend, listener: None, hold: None, will });
        }
        let hubs = hubs.into_iter().map(|will| Ok(HubLeft { stream: next()?, will })).collect::<Result<_, _>>()?;
        Ok(Self { listeners, sessions: moved, hubs, fence_channel })
    }
}

impl Moved {
    /// The hubs have stopped: what was given until then is kept for the client. Those that they listened for to the end were
    /// these.
    pub(crate) fn hear_the_rest(&mut self, listened_for: &HashSet<u64>) {
        if let (Some(mut listener), With::State { for_client, deaf, .. }) = (self.listener.take(), &mut self.will.with)
        {
            *deaf = !listened_for.contains(&listener.id());
            listener.drain(for_client);
        }
    }
}
