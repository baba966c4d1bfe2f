//! Cancel requests: from the key that a client was told to the server that made it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_wire::startup::{CancelKey, encode_cancel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::alarm::Alarm;
use crate::repeats::may_log;

/// A server answers a cancel request by closing the connection, at once. One that does not is left alone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a server with a full queue is tried again: a postmaster takes a connection in less.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// Where a cancel request goes, and the key as that server knows it.
struct Target {
    socket: PathBuf,
    key: CancelKey,
    /// Lets that server go on, if it is frozen.
    alarm: Arc<Alarm>,
    /// How many requests have come.
    asked: AtomicU64,
    /// How many of them are answered, for whose turn it is: one goes to the server at a time.
    answered: tokio::sync::Mutex<u64>,
}

/// The keys of all sessions that have a backend.
#[derive(Default)]
pub(crate) struct Cancels(Mutex<HashMap<CancelKey, Arc<Target>>>);

/// A key that can be used until this is dropped.
pub(crate) struct Registered {
    cancels: Arc<Cancels>,
    key: CancelKey,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.cancels.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Cancels {
    /// `seen` is what the client was told, `key` what the server behind `socket` told.
    pub(crate) fn register(
        self: &Arc<Self>,
        seen: CancelKey,
        (socket, key): (&Path, CancelKey),
        alarm: Arc<Alarm>,
    ) -> Registered {
        let socket = socket.to_owned();
        let target = Target { socket, key, alarm, asked: AtomicU64::default(), answered: Default::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seen.clone(), Arc::new(target));
        Registered { cancels: self.clone(), key: seen }
    }

    /// Hands a cancel request on, and returns when the server has taken it: who asked sees its connection close only
    /// then. An unknown key is passed over in silence, as PostgreSQL does. Wakes nothing.
    pub(crate) async fn cancel(&self, seen: &CancelKey) {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(seen).cloned();
        let Some(target) = target else {
            if may_log("unknown cancel key") {
                tracing::info!(pid = seen.pid, "cancel request with an unknown key");
            }
            return;
        };
        target.cancel().await;
    }
}

impl Target {
    /// A request answers all that came before it went: whoever has a key may ask as often as he likes, and the server, which
    /// makes a process for each, hears of one at a time.
    async fn cancel(&self) {
        let mine = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut answered = self.answered.lock().await;
        if *answered >= mine {
            return;
        }
        let all = self.asked.load(Ordering::Relaxed);
        self.hand_on().await;
        *answered = all;
    }

    async fn hand_on(&self) {
        let send = async {
            // A server that is frozen takes no more than its queue holds.
            self.alarm.ring();
            let mut stream = connect(&self.socket).await?;
            stream.write_all(&encode_cancel(&self.key)).await?;
            // Again, if it was about to be frozen: a request that waits would cancel what the session does later.
            self.alarm.ring();
            stream.read(&mut [0]).await
        };
        let pid = self.key.pid;
        match timeout(CANCEL_TIMEOUT, send).await {
            Ok(Ok(_)) => tracing::debug!(pid, "cancel request handed on"),
            Ok(Err(error)) if may_log("cancel not handed on") => {
                tracing::info!(pid, %error, "cancel request not handed on");
            }
            Err(_) if may_log("cancel not taken") => tracing::info!(pid, "cancel request not taken in time"),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Connects to a server, which many may want at once: when its queue is full the kernel says so instead of waiting, and
/// there is no event that would tell of room.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
            connected => return connected,
        }
    }
}
