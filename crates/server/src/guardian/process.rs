//! The guardian's own end: what its process does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::{END, FROZEN, THAWED};
use crate::freeze;
use crate::procfs::Directory;

/// A path is shorter (`PATH_MAX` is 4,096). Who says more is no daemon.
const WORD_MAX_BYTES: usize = 16 * 1024;

/// What the process is called in `ps` and `top`.
#[cfg(target_os = "linux")]
const NAME: &std::ffi::CStr = c"nap guardian";

/// Guards until the daemon's end of the socket closes, then lets all go on that it was told of.
pub fn guard(socket: OwnedFd) -> io::Result<()> {
    // Refuses whoever calls this by hand, with a terminal for its input.
    rustix::net::sockopt::socket_type(&socket)?;
    #[cfg(target_os = "linux")]
    rustix::thread::set_name(NAME)?;
    let socket = StdStream::from(socket);
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let frozen = runtime.block_on(async {
        // Whoever ends all of the daemon's processes must not end this one before it has done what it is for. Signals that
        // somebody listens for no longer end a process.
        let ends = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let _deaf = ends.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
        io::Result::Ok(listen(UnixStream::from_std(socket)?).await)
    })?;
    for data in frozen.into_values() {
        freeze::thaw_all(data);
    }
    Ok(())
}

/// To the end of the daemon: what is frozen then.
async fn listen(mut socket: UnixStream) -> BTreeMap<PathBuf, Directory> {
    let mut frozen = BTreeMap::new();
    let mut said = Vec::new();
    loop {
        match socket.read_buf(&mut said).await {
            Ok(count) if count > 0 => {}
            _ => return frozen,
        }
        while let Some(end) = said.iter().position(|byte| *byte == END) {
            let word: Vec<u8> = said.drain(..=end).collect();
            let Some((kind, path)) = word.strip_suffix(&[END]).and_then(<[u8]>::split_first) else { continue };
            let path = PathBuf::from(OsStr::from_bytes(path));
            match *kind {
                FROZEN => {
                    // As it is now: it may be moved while its server is frozen.
                    let Ok(directory) = Directory::of(&path) else { continue };
                    frozen.insert(path, directory);
                    // A daemon that is gone is seen by the next reading.
                    let _ = socket.write_all(&[FROZEN]).await;
                }
                THAWED => drop(frozen.remove(&path)),
                _ => {}
            }
        }
        if said.len() > WORD_MAX_BYTES {
            return frozen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_knows_at_the_end_what_is_frozen() {
        let (daemon, guardian) = UnixStream::pair().unwrap();
        let listening = tokio::spawn(listen(guardian));
        let (mut reader, mut writer) = daemon.into_split();
        let home = tempfile::tempdir().unwrap();
        let path = |name: &[u8]| home.path().join(OsStr::from_bytes(name));
        let mut said = Vec::new();
        for (kind, name) in
            [(b'+', &b"a"[..]), (b'+', b"b c"), (b'-', b"a"), (b'+', b"\xff"), (b'?', b"x"), (b'-', b"never")]
        {
            std::fs::create_dir_all(path(name)).unwrap();
            said.push(kind);
            said.extend_from_slice(path(name).as_os_str().as_bytes());
            said.push(END);
        }
        writer.write_all(&said).await.unwrap();
        let mut heard = [0; 3];
        reader.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"+++");
        let expected = [b"b c".as_slice(), b"\xff"].map(|name| (path(name), Directory::of(&path(name)).unwrap()));
        drop((reader, writer));
        assert_eq!(listening.await.unwrap(), expected.into());
    }

    #[tokio::test]
    async fn who_says_no_path_is_not_listened_to() {
        let (mut daemon, guardian) = UnixStream::pair().unwrap();
        let listening = tokio::spawn(listen(guardian));
        daemon.write_all(&vec![b'x'; WORD_MAX_BYTES + 1]).await.unwrap();
        assert!(listening.await.unwrap().is_empty());
    }
}
