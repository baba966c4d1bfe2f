//! What the commands ask: made before the gateway lets anybody in, answered until the end.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::control_api::ControlApi;

/// Commands that come while one program takes the place of another wait in the queue of the socket.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match nap_gateway::offered_unix(path) {
        Some(listener) => UnixListener::from_std(listener),
        None => nap_control::listen(path),
    }
}

/// The task that answers.
pub(super) struct ControlSocket {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ControlSocket {
    /// Answers whoever has this user id.
    pub(super) fn serve(listener: UnixListener, api: Arc<ControlApi>, owner_uid: u32) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(nap_control::serve(listener, api, owner_uid, async move {
            let _ = ended.await;
        }));
        Self { end, task }
    }

    /// What was asked is answered first.
    pub(super) async fn end(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}
