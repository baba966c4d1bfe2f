//! Cancel requests: from the key that a client was told to the server that made it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nap_wire::startup::{CancelKey, encode_cancel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::repeats::may_log;

/// A server answers a cancel request by closing the connection, at once. One that does not is left alone.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a cancel request goes, and the key as that server knows it.
#[derive(Clone)]
struct Target {
    socket: PathBuf,
    key: CancelKey,
}

/// The keys of all sessions that have a backend.
#[derive(Default)]
pub(crate) struct Cancels(Mutex<HashMap<CancelKey, Target>>);

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
    pub(crate) fn register(self: &Arc<Self>, seen: CancelKey, socket: &Path, key: CancelKey) -> Registered {
        let target = Target { socket: socket.to_owned(), key };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seen.clone(), target);
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
        let send = async {
            let mut stream = UnixStream::connect(&target.socket).await?;
            stream.write_all(&encode_cancel(&target.key)).await?;
            stream.read(&mut [0]).await
        };
        match timeout(CANCEL_TIMEOUT, send).await {
            Ok(Ok(_)) => tracing::debug!(pid = target.key.pid, "cancel request handed on"),
            Ok(Err(error)) => tracing::info!(pid = target.key.pid, %error, "cancel request not handed on"),
            Err(_) => tracing::info!(pid = target.key.pid, "cancel request not taken in time"),
        }
    }
}
