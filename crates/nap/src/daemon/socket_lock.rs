//! The lock file beside a Unix socket, as PostgreSQL makes it: a server that is started on the same socket by somebody
//! else then says so, instead of taking the socket away from us.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Held for as long as we listen.
pub(super) struct SocketLock {
    path: PathBuf,
}

impl SocketLock {
    /// Takes the lock of this socket. `AddrInUse`: a living process has it.
    pub(super) fn take(socket: &Path, home: &Path, port: u16) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let dir = socket.parent().unwrap_or(Path::new("/"));
        // The lines of PostgreSQL's own: pid, data directory, start time, port, socket directory.
        let text = format!("{}\n{}\n0\n{port}\n{}\n", std::process::id(), home.display(), dir.display());
        for _ in 0..2 {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    file.write_all(text.as_bytes())?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if is_held(&path) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(_) => std::fs::remove_file(&path)?,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

fn is_held(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return true };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    // A pid of our own number is left from an earlier life, as in a container whose daemon is always process 1.
    pid.is_some_and(|pid| pid != std::process::id() as i32 && nap_server::procfs::is_alive(pid))
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
