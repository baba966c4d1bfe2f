//! A parked session's socket, lent to the hub: what is heard for it goes out at once, without waking its task. Of a thousand
//! who listen, the last waits for all the others.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::{SendFlags, send};

/// Shared by a session and its hub. Whoever has it locked may write; the session takes it back before it writes itself.
#[derive(Debug, Default)]
pub(super) struct Outlet(Mutex<Socket>);

#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Once more, as long as the session is parked: it needs no descriptor for a backend meanwhile.
    socket: Option<OwnedFd>,
    is_lent: bool,
}

impl Outlet {
    pub(super) fn lock(&self) -> MutexGuard<'_, Socket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    /// The hub may write, from now on. A stream that cannot be written to by others (TLS) is not lent.
    pub(super) fn lend(&mut self, duplicate: impl FnOnce() -> io::Result<Option<OwnedFd>>) {
        if self.socket.is_none() {
            self.socket = duplicate().ok().flatten();
        }
        self.is_lent = self.socket.is_some();
    }

    /// The hub may not.
    pub(super) fn take_back(&mut self) {
        self.is_lent = false;
    }

    /// Nor ever again: the other one's end would not be seen as long as this is open.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Writes what its buffer takes now, and gives back the rest. Who has a rest must be asked again only when that is out.
    pub(super) fn write<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(socket) = self.socket.as_ref().filter(|_| self.is_lent) else { return bytes };
        let sent = loop {
            match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                // Of a connection that is broken the session itself will hear.
                sent => break sent.unwrap_or(0),
            }
        };
        let rest = bytes.get(sent..).unwrap_or_default();
        self.is_lent = rest.is_empty();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_lent_is_written_to_and_nothing_else() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outlet = Outlet::default();
        assert_eq!(outlet.lock().write(b"not yet"), b"not yet");
        outlet.lock().lend(|| Ok(None));
        assert_eq!(outlet.lock().write(b"not over TLS"), b"not over TLS");
        outlet.lock().lend(|| Ok(Some(ours.try_clone().unwrap().into())));
        assert_eq!(outlet.lock().write(b"one"), b"");
        outlet.lock().take_back();
        assert_eq!(outlet.lock().write(b"two"), b"two");
        let mut heard = [0; 3];
        theirs.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"one");
        drop(ours);
        outlet.lock().close();
        assert_eq!(theirs.read(&mut heard).unwrap(), 0, "its end is seen");
    }

    #[test]
    fn a_rest_keeps_it_from_being_written_to_until_it_is_lent_again() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outlet = Outlet::default();
        let lend = || outlet.lock().lend(|| Ok(Some(ours.try_clone().unwrap().into())));
        lend();
        let message = vec![7; 100_000];
        let rest = (0..1_000).map(|_| outlet.lock().write(&message).len()).find(|rest| *rest > 0);
        assert!(rest.is_some(), "it is full");
        drop(theirs);
        assert_eq!(outlet.lock().write(b"x"), b"x", "a rest goes first");
        lend();
        assert_eq!(outlet.lock().write(b"x"), b"x", "it is broken");
    }
}
