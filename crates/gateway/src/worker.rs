//! The threads that connections live on. A connection stays on the one it was given to: moving between client and
//! server from thread to thread costs a tenth of the throughput.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::branches::Branches;
use crate::client::{Client, Origin};
use crate::connection::{Arrival, Shared, serve, take_up};
use crate::estate::{Moved, Will};
use crate::forward::prepare_thread;
use crate::life::LeftBehind;
use crate::limits::Applicant;
use crate::local_stream::LocalStream;
use crate::repeats::may_log;
use crate::transport::Transport;

/// An accepted socket, not yet on any runtime.
pub(crate) enum Socket {
    Tcp(TcpStream, SocketAddr),
    /// With the user behind it, as the kernel says.
    Unix(UnixStream, u32),
}

/// What a worker is given. How many there can be is bounded by their permits.
pub(crate) enum Job {
    /// A socket and how it came in.
    Arrived(Socket, Arrival),
    /// A session that another process has left. Who waits is told that it has joined those it listened with; it goes on
    /// when all have.
    Left(Box<Moved>, oneshot::Sender<()>, watch::Receiver<bool>),
}

struct Worker {
    jobs: mpsc::UnboundedSender<Counted>,
    connections: Arc<AtomicUsize>,
}

/// A job that counts as a connection of its worker until it is dropped.
struct Counted {
    job: Job,
    count: Count,
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All workers. They end when this is dropped, and their connections with them.
pub(crate) struct Workers(Vec<Worker>);

impl Workers {
    /// One for every two cores: the servers and mostly the clients are on this machine too, and want the others. The
    /// fewer there are, the more is there to be done whenever one wakes (docs/benchmarks.md has the figures).
    pub(crate) fn start<B: Branches>(shared: &Arc<Shared<B>>) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores.div_ceil(2)).map(|number| Worker::start(number, shared.clone())).collect::<io::Result<_>>().map(Self)
    }

    /// Gives a job to the worker with the fewest connections.
    pub(crate) fn give(&self, job: Job) {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed)) else {
            return;
        };
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let count = Count(worker.connections.clone());
        if worker.jobs.send(Counted { job, count }).is_err() {
            tracing::error!("a worker of the gateway has ended: a connection was closed");
        }
    }
}

impl Worker {
    fn start<B: Branches>(number: usize, shared: Arc<Shared<B>>) -> io::Result<Self> {
        let (jobs, mut given) = mpsc::unbounded_channel::<Counted>();
        // A runtime of one thread is built on that thread; why it cannot be is told here.
        let (failed, failure) = std::sync::mpsc::channel();
        std::thread::Builder::new().name(format!("gateway-{number}")).spawn(move || {
            prepare_thread();
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(failed.send(error)),
            };
            drop(failed);
            runtime.block_on(async move {
                while let Some(Counted { job, count }) = given.recv().await {
                    let shared = shared.clone();
                    tokio::task::spawn_local(async move {
                        if let Err(error) = adopt(&shared, job).await
                            && may_log("not served")
                        {
                            tracing::info!(%error, "a connection could not be served");
                        }
                        drop(count);
                    });
                }
            });
        })?;
        match failure.recv() {
            Ok(error) => Err(error),
            Err(_) => Ok(Self { jobs, connections: Arc::default() }),
        }
    }
}

/// Puts the socket on this thread's runtime and serves it.
async fn adopt<B: Branches>(shared: &Shared<B>, job: Job) -> io::Result<()> {
    let (socket, arrival) = match job {
        Job::Arrived(socket, arrival) => (socket, arrival),
        Job::Left(moved, joined, go) => return Box::pin(take_up_one(shared, *moved, (joined, go))).await,
    };
    match socket {
        Socket::Tcp(stream, address) => {
            crate::listen::prepare_tcp(&stream)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let origin = Origin::Tcp { remote: address, local: stream.local_addr()? };
            let stream = Transport::Plain(stream);
            serve(shared, Client { stream, address: address.to_string(), origin, tls: None }, arrival).await;
        }
        Socket::Unix(stream, uid) => {
            let stream = LocalStream::new(stream.into())?;
            let origin = Origin::Unix { uid };
            serve(shared, Client { stream, address: "local".to_owned(), origin, tls: None }, arrival).await;
        }
    }
    Ok(())
}

async fn take_up_one<B: Branches>(
    shared: &Shared<B>,
    moved: Moved,
    turn: (oneshot::Sender<()>, watch::Receiver<bool>),
) -> io::Result<()> {
    // What it heard is in its will.
    let Moved { client, backend, listener: _, hold, will } = moved;
    let Will { id, identity, address, origin, idle, superuser, key, seen, with } = will;
    let left = LeftBehind { id, idle, superuser, key, seen, with, backend, hold };
    let applicant = Applicant::of(origin, shared.peers);
    match origin {
        Origin::Tcp { .. } => {
            let stream = Transport::Plain(tokio::net::TcpStream::from_std(client.into())?);
            take_up(shared, Client { stream, address, origin, tls: None }, identity, (applicant, left), turn).await;
        }
        Origin::Unix { .. } => {
            let stream = LocalStream::new(client)?;
            take_up(shared, Client { stream, address, origin, tls: None }, identity, (applicant, left), turn).await;
        }
    }
    Ok(())
}
