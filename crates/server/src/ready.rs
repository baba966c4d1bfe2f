//! When a server is ready: it says so to NOTIFY_SOCKET if it was built with systemd, and in postmaster.pid always.

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nap_model::postmaster_pid::{PostmasterPid, Progress};
use tokio::net::UnixDatagram;
use tokio::time::Instant;

/// The pause between the first readings of postmaster.pid while a server starts. A build without systemd support has no
/// other way, and one read of a small file costs some microseconds.
const POLL: Duration = Duration::from_millis(5);
/// Later ones come after this share of the time it has taken already: fifty servers that start at once take long, and
/// would take longer if each were asked two hundred times a second.
const POLL_SHARE: u32 = 8;

/// Listens for one server's notifications.
pub(crate) struct Notifications {
    socket: UnixDatagram,
}

/// The path of the notification socket beside a server's private socket.
pub(crate) fn notify_path(socket_dir: &Path) -> PathBuf {
    socket_dir.join("notify")
}

impl Notifications {
    /// Binds the socket anew; what an earlier server said there is gone.
    pub(crate) fn bind(socket_dir: &Path) -> io::Result<Self> {
        let path = notify_path(socket_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = StdDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)? })
    }

    /// Returns when the server has said READY=1.
    async fn said_ready(&self) {
        let mut buffer = [0; 512];
        loop {
            match self.socket.recv(&mut buffer).await {
                Ok(length) => {
                    let said = buffer.get(..length).unwrap_or_default();
                    if said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the notification socket failed; postmaster.pid will do");
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Returns when this server takes connections. Never returns for one that fails: watch its end as well.
pub(crate) async fn ready(notifications: &Notifications, data: &Path, postmaster: i32) {
    tokio::select! {
        () = notifications.said_ready() => {}
        () = ready_in_pid_file(data, postmaster) => {}
    }
}

async fn ready_in_pid_file(data: &Path, postmaster: i32) {
    let path = data.join("postmaster.pid");
    let begun = Instant::now();
    loop {
        tokio::time::sleep(POLL.max(begun.elapsed() / POLL_SHARE)).await;
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if PostmasterPid::parse(&text).is_some_and(|file| file.pid == postmaster && file.progress == Progress::Ready) {
            return;
        }
    }
}
