//! Tells when something appears in a server's log.

use std::io;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::net::unix::pipe::Receiver;

/// A watch on a directory.
pub(super) struct LogWatch {
    /// What inotify says is read like the bytes of a pipe; tokio asks no more of it.
    events: Receiver,
}

impl LogWatch {
    /// Begins to watch. What was there before is for the caller to look at afterwards.
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // A segment is made under another name first.
        add_watch(&inotify, directory, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        Ok(Self { events: Receiver::from_owned_fd_unchecked(inotify)? })
    }

    /// Returns when something has appeared.
    pub(super) async fn appeared(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            self.events.readable().await?;
            match self.events.try_read(&mut events) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}
