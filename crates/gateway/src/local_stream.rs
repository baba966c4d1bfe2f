//! A Unix socket: a server's, or that of a client on this machine. The kernel tells us when it can be read, and only while it
//! is full when it can be written: of a Unix socket it would tell each time that the other end has read, which wakes a
//! thread for nothing, at the cost of who reads.
//!
//! tokio's `UnixStream` always asks for both. Its ends of pipes ask for one each, and go by nothing but the descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::client::{ClientStream, TlsSession, peek_socket};
use crate::tls::{HandshakeError, Tls};

/// One end of a Unix socket.
pub(crate) struct LocalStream {
    reader: Receiver,
    /// As long as it is full.
    writer: Option<Sender>,
}

impl LocalStream {
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        Self::new(UnixStream::connect(path).await?.into_std()?.into())
    }

    /// Of a socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { reader: Receiver::from_owned_fd_unchecked(socket)?, writer: None })
    }

    /// The socket, on no runtime.
    pub(crate) fn into_inner(self) -> io::Result<OwnedFd> {
        self.reader.into_nonblocking_fd()
    }
}

impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writer.is_none() {
            match rustix::net::send(&self.reader, bytes, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    let again = self.reader.as_fd().try_clone_to_owned();
                    match again.and_then(Sender::from_owned_fd_unchecked) {
                        Ok(writer) => self.writer = Some(writer),
                        // No descriptor is left: the rest cannot be sent, so who reads must see an end too.
                        Err(error) => {
                            let _ = rustix::net::shutdown(&self.reader, Shutdown::Both);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
        let Some(writer) = &mut self.writer else { return Poll::Ready(Ok(0)) };
        let sent = ready!(Pin::new(writer).poll_write(context, bytes));
        self.writer = None;
        Poll::Ready(sent)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.reader, Shutdown::Write).map_err(io::Error::from))
    }
}

impl ClientStream for LocalStream {
    async fn readiness(&self, interest: Interest) -> io::Result<Ready> {
        self.reader.ready(interest).await
    }

    fn try_peek(&mut self) -> io::Result<Option<u8>> {
        peek_socket(&self.reader, |peek| self.reader.try_io(peek))
    }

    fn duplicate(&self) -> io::Result<Option<OwnedFd>> {
        self.as_fd().try_clone_to_owned().map(Some)
    }

    async fn secure(&mut self, _: &Tls) -> Result<TlsSession, HandshakeError> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }
}
