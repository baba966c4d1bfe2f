//! The gateway as a whole: workers, and the listeners that feed them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nap_model::guard::Holding;
use nap_model::ids::BranchName;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::authenticate::Peers;
use crate::branches::Branches;
use crate::cancel::Cancels;
use crate::connection::{Arrival, Shared};
use crate::estate::Estate;
use crate::hub::Hubs;
use crate::limits::{Applicant, Limits, Places};
use crate::parking::Rehearsals;
use crate::repeats::may_log;
use crate::sessions::{Quiet, SessionInfo};
use crate::tls::Tls;
use crate::worker::{Job, Socket, Workers};

/// The pause after a failed accept: mostly the process has no file descriptor left, and the next try would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is in the middle of logging in when everything is left is waited for, so long.
const LOGIN_ENDS_WITHIN: Duration = Duration::from_secs(1);
const LOGIN_PAUSE: Duration = Duration::from_millis(5);
/// A hub is left between two fences, which take milliseconds.
const HUBS_LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// What was left is found within milliseconds; one that is not must not keep all others waiting.
const JOIN_WITHIN: Duration = Duration::from_secs(5);

/// Client sockets, from accept to their end.
pub struct Gateway<B> {
    shared: Arc<Shared<B>>,
    workers: Arc<Workers>,
    closing: watch::Sender<bool>,
    tls: watch::Sender<Option<Arc<Tls>>>,
    accepting: Mutex<Vec<Accepting>>,
    /// Who comes now is left in the kernel's queue.
    pausing: watch::Sender<bool>,
}

/// A listener, and the task that accepts from it.
struct Accepting {
    task: AbortHandle,
    listener: Weak<Listener>,
}

/// A listener at work. Dropping it ends the listening; connections that came through stay.
pub struct Door(AbortHandle);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<B> Drop for Gateway<B> {
    fn drop(&mut self) {
        // The accept tasks hold the workers, and would keep them for ever.
        self.stop_accepting();
    }
}

impl<B: Branches> Gateway<B> {
    /// Starts the workers. `peers` need no password on Unix sockets. `mock_secret` makes the
    /// salts of roles that do not exist: the same over restarts, or who asks twice would know.
    pub fn start(
        branches: Arc<B>,
        limits: watch::Receiver<Limits>,
        peers: Peers,
        mock_secret: [u8; 32],
        fence_channel: Option<String>,
    ) -> io::Result<Self> {
        let (closing, closing_seen) = watch::channel(false);
        let (tls, tls_seen) = watch::channel(None);
        let shared = Arc::new(Shared {
            branches,
            places: Places::new(limits),
            peers,
            mock_secret,
            tls: tls_seen,
            registry: Arc::default(),
            cancels: Arc::new(Cancels::default()),
            rehearsals: Rehearsals::default(),
            hubs: Hubs::new(fence_channel),
            controls: Arc::default(),
            stock: Arc::default(),
            closing: closing_seen,
        });
        let workers = Arc::new(Workers::start(&shared)?);
        Ok(Self { shared, workers, closing, tls, accepting: Mutex::default(), pausing: watch::Sender::new(false) })
    }

    /// Accepts connections from a TCP listener, on the caller's runtime. With `door`, what comes in there is for that
    /// branch.
    pub fn serve_tcp(&self, listener: std::net::TcpListener, door: Option<BranchName>) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        Ok(Door(self.serve(Listener::Tcp(TcpListener::from_std(listener)?), door)))
    }

    /// Accepts connections from a Unix socket. With `door`, what comes in there is for that branch. The file stays
    /// when the door closes: who made it removes it.
    pub fn serve_unix(&self, listener: std::os::unix::net::UnixListener, door: Option<BranchName>) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        Ok(Door(self.serve(Listener::Unix(UnixListener::from_std(listener)?), door)))
    }

    fn serve(&self, listener: Listener, door: Option<BranchName>) -> AbortHandle {
        let listener = Arc::new(listener);
        let (weak, pausing) = (Arc::downgrade(&listener), self.pausing.subscribe());
        let task = tokio::spawn(accept_all((listener, door, pausing), self.shared.clone(), self.workers.clone()));
        let handle = task.abort_handle();
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        // Doors come and go with their branches.
        accepting.retain(|accepting| !accepting.task.is_finished());
        accepting.push(Accepting { task: handle.clone(), listener: weak });
        handle
    }
}

impl<B> Gateway<B> {
    /// All sessions, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.registry.infos()
    }

    /// How many sessions a branch has, parked ones too.
    pub fn count(&self, branch: &BranchName) -> usize {
        self.shared.registry.count(branch)
    }

    /// What the sessions of a branch do.
    pub fn quiet(&self, branch: &BranchName) -> Quiet {
        self.shared.registry.quiet(branch)
    }

    /// Parks the sessions of a branch that can be, and tells what keeps the others. Who does not answer by the deadline
    /// counts as active. Without `all` none is, if one is found that cannot be.
    pub async fn park(&self, branch: &BranchName, all: bool, deadline: Instant) -> Holding {
        self.shared.registry.park(branch, all, deadline).await
    }

    /// How many backends of ours listen in a branch, for parked sessions or for control. They hold nothing awake.
    pub fn hub_backends(&self, branch: &BranchName) -> u32 {
        self.shared.hubs.count(branch).saturating_add(self.shared.controls.count(branch))
    }

    /// Brings in the notifications that are on the way to parked sessions of a branch, whose server is about to sleep, and
    /// lets the backends go that listen for them.
    pub async fn fall_silent(&self, branch: &BranchName) {
        tokio::join!(self.shared.hubs.fall_silent(branch), self.shared.controls.fall_silent(branch));
    }

    /// Ends when a session of a branch next does something: one that is not active in a later `quiet`, or one whose cancel
    /// key is used. It is listened for from now on, until this is dropped.
    pub fn alarm(&self, branch: &BranchName) -> impl Future<Output = ()> + Send + use<B> {
        self.shared.registry.alarm(branch).listen()
    }

    /// Ends a session, as `pg_terminate_backend` does. Gives back whether there is one of this number.
    pub fn end_session(&self, id: u64) -> bool {
        self.shared.registry.end(id)
    }

    /// Waits until a branch has no sessions, or until the deadline, and tells how many it has.
    pub async fn emptied_of(&self, branch: &BranchName, deadline: Instant) -> usize {
        self.shared.registry.emptied_of(branch, deadline).await
    }

    /// Ends the sessions of a branch that have a backend.
    pub fn end_attached(&self, branch: &BranchName) {
        self.shared.registry.end_attached(branch);
    }

    /// Ends all sessions of a branch.
    pub fn end_sessions(&self, branch: &BranchName) {
        self.shared.registry.end_all(branch);
    }

    /// What clients that come from now on get when they ask for TLS; `None`: they are told that there is none.
    pub fn set_tls(&self, tls: Option<Arc<Tls>>) {
        self.tls.send_replace(tls);
    }

    /// Leaves everything to a successor: the sockets that listen, where new connections wait meanwhile, and the sessions. Those that
    /// are at no boundary until the deadline are ended, and so are those over TLS, once they are in no transaction. If nothing
    /// comes of it, `take_up` goes on with all of it.
    pub async fn leave(&self, deadline: Instant) -> Estate {
        self.pausing.send_replace(true);
        // Who has just been accepted shows a moment later.
        sleep(LOGIN_PAUSE).await;
        let logged_in = Instant::now() + LOGIN_ENDS_WITHIN;
        let mut sessions = Vec::new();
        loop {
            while self.shared.places.somebody_logs_in() && Instant::now() < logged_in.min(deadline) {
                sleep(LOGIN_PAUSE).await;
            }
            sessions.append(&mut self.shared.registry.leave(deadline).await);
            // Some may have come to their end of the login meanwhile.
            if self.shared.registry.is_empty() || Instant::now() >= deadline {
                break;
            }
        }
        let (hubs, listened_for) = self.shared.hubs.leave(Instant::now() + HUBS_LEAVE_WITHIN).await;
        for session in &mut sessions {
            session.hear_the_rest(&listened_for);
        }
        let listeners = self.listeners();
        Estate { listeners, sessions, hubs, fence_channel: self.shared.hubs.fence_channel().to_owned() }
    }

    fn listeners(&self) -> Vec<OwnedFd> {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = accepting.iter().filter_map(|accepting| accepting.listener.upgrade());
        listeners.filter_map(|listener| listener.as_fd().try_clone_to_owned().ok()).collect()
    }

    /// Goes on with what was left, by this gateway or by another one that had the same channel of fences. Before anything is accepted.
    pub async fn take_up(&self, estate: Estate) {
        let (go, gone) = watch::channel(false);
        let mut joins = Vec::new();
        for moved in estate.sessions {
            let (told, joined) = oneshot::channel();
            joins.push(joined);
            self.workers.give(Job::Left(Box::new(moved), told, gone.clone()));
        }
        let late = Instant::now() + JOIN_WITHIN;
        for joined in joins {
            let _ = timeout_at(late, joined).await;
        }
        for hub in estate.hubs {
            self.shared.hubs.take_up(hub);
        }
        go.send_replace(true);
        self.pausing.send_replace(false);
    }

    /// Closes all doors.
    pub fn stop_accepting(&self) {
        for accepting in self.accepting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            accepting.task.abort();
        }
    }

    /// Closes all doors, tells clients that have no server yet to go, and waits until the others have gone, which
    /// they do when their servers shut down. Gives back who is late.
    pub async fn drain(&self, deadline: Instant) -> Vec<SessionInfo> {
        self.stop_accepting();
        self.closing.send_replace(true);
        match timeout_at(deadline, self.shared.registry.emptied()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.sessions(),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The next connection, off this runtime again: it will live on a worker's.
    async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Socket::Tcp(stream.into_std()?, address)
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Socket::Unix(stream.into_std()?, uid)
            }
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

fn applicant(socket: &Socket, peers: Peers) -> Applicant {
    match socket {
        Socket::Tcp(_, address) => Applicant::of_address(address.ip()),
        Socket::Unix(_, uid) => Applicant::of_user(*uid, peers),
    }
}

async fn accept_all<B: Branches>(
    (listener, door, mut pausing): (Arc<Listener>, Option<BranchName>, watch::Receiver<bool>),
    shared: Arc<Shared<B>>,
    workers: Arc<Workers>,
) {
    loop {
        if pausing.wait_for(|pausing| !pausing).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            biased;
            _ = pausing.changed() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => match shared.places.admit(applicant(&socket, shared.peers)).await {
                Some(admission) => {
                    let arrival = Arrival { door: door.clone(), admission, accepted: Instant::now() };
                    workers.give(Job::Arrived(socket, arrival));
                }
                None if may_log("closed unread") => {
                    tracing::info!("a connection was closed unread: no place is left, not even to say so");
                }
                None => {}
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if may_log("not accepted") {
                    tracing::warn!(%error, "could not accept a connection");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
