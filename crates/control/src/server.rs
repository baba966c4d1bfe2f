//! The daemon's end of the socket.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::failure::{Failure, FailureKind};
use crate::line::{REPLY_MAX_BYTES, REQUEST_MAX_BYTES};
use crate::peer::may_control;
use crate::report::Reply;
use crate::request::Request;

/// Connections that are served at once; others wait in the kernel's queue. A script that wakes every branch of a
/// large home at the same time fits in.
const CONNECTIONS_MAX: usize = 256;
/// A client writes its request right after connecting; whoever is silent takes a place from others for no longer.
const READ_DEADLINE: Duration = Duration::from_secs(2);
/// A client that does not read its reply has gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long replies that are still being made may take once the daemon ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// The pause after a failed accept (no more file descriptors, for instance), which would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Does what is asked.
pub trait Handler: Send + Sync + 'static {
    /// Does it. Runs to its end even if the client goes away meanwhile, but for requests that end with their client: there it
    /// may be dropped.
    fn handle(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// Makes the socket, for its owner only. An old one is replaced: the caller holds the home's lock, so nobody listens
/// on it.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests until `shutdown` is done, then lets the replies under way come to their end.
pub async fn serve<H: Handler>(
    listener: UnixListener,
    handler: Arc<H>,
    owner_uid: u32,
    shutdown: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &*handler, owner_uid).await {
                        debug!(%error, "a control connection broke off");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a control connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let drained = timeout(DRAIN_DEADLINE, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        warn!(left = connections.len(), "control requests were still under way at the end");
    }
}

async fn converse<H: Handler>(mut stream: UnixStream, handler: &H, owner_uid: u32) -> io::Result<()> {
    let peer_uid = stream.peer_cred()?.uid();
    let reply = if may_control(peer_uid, owner_uid) {
        match read_request(&mut stream).await {
            Ok(request) if request.ends_with_its_client() => tokio::select! {
                reply = handler.handle(request) => reply,
                () = has_gone(&mut stream) => return Err(io::ErrorKind::ConnectionAborted.into()),
            },
            Ok(request) => handler.handle(request).await,
            Err(failure) => Err(failure),
        }
    } else {
        Err(Failure::new(FailureKind::Denied, "only the home's owner and root may control this daemon"))
    };
    let line = reply_line(&reply);
    timeout(WRITE_DEADLINE, async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Until the client closes its end. It has nothing to say any more.
async fn has_gone(stream: &mut UnixStream) {
    let mut byte = [0];
    while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, Failure> {
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let mut line = Vec::new();
    // One byte more than the bound, so that a line of exactly the bound's length can be told from a longer one.
    let mut bounded = BufReader::new(stream.take(REQUEST_MAX_BYTES as u64 + 1));
    match timeout(READ_DEADLINE, bounded.read_until(b'\n', &mut line)).await {
        Err(_) => return Err(Failure::new(FailureKind::TimedOut, "the request did not come in time")),
        Ok(Err(error)) => return Err(Failure::failed("cannot read the request").caused_by(&error)),
        Ok(Ok(_)) if line.len() > REQUEST_MAX_BYTES => {
            return Err(usage(format!("the request is longer than {REQUEST_MAX_BYTES} bytes")));
        }
        Ok(Ok(_)) if !line.ends_with(b"\n") => return Err(usage("the request is cut off".into())),
        Ok(Ok(_)) => {}
    }
    serde_json::from_slice(&line).map_err(|error| {
        usage(format!("the daemon does not understand the request: {error}"))
            .hint("if `nap` was updated, `nap down` and `nap up` start the new version")
    })
}

fn reply_line(reply: &Reply) -> Vec<u8> {
    let written = match serde_json::to_vec(reply) {
        Ok(line) if line.len() < REPLY_MAX_BYTES => Ok(line),
        Ok(line) => Err(Failure::failed(format!("the reply would have {} bytes, too many to send", line.len()))),
        Err(error) => Err(Failure::failed("the reply cannot be written").caused_by(&error)),
    };
    // A failure of ours is plain text: writing it cannot fail.
    let mut line = written.unwrap_or_else(|failure| serde_json::to_vec(&Reply::Err(failure)).unwrap_or_default());
    line.push(b'\n');
    line
}
