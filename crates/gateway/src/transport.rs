//! A client's TCP connection: in plain text, or from its handshake on over TLS.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::client::{ClientStream, TlsSession, peek_socket};
use crate::tls::{HandshakeError, Socket, Tls};

/// The stream of a TCP client.
pub(crate) enum Transport {
    Plain(TcpStream),
    /// Boxed: it is ten times as large.
    Tls(Box<TlsStream<Socket>>),
    /// A handshake has the socket, or has failed.
    Gone,
}

impl Transport {
    fn socket(&self) -> io::Result<&TcpStream> {
        match self {
            Transport::Plain(stream) => Ok(stream),
            Transport::Tls(stream) => Ok(stream.get_ref().0.stream()),
            Transport::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl ClientStream for Transport {
    async fn readiness(&self, interest: Interest) -> io::Result<Ready> {
        self.socket()?.ready(interest).await
    }

    fn try_peek(&mut self) -> io::Result<Option<u8>> {
        match self {
            Transport::Plain(stream) => peek_socket(stream, |peek| stream.try_io(Interest::READABLE, peek)),
            Transport::Tls(stream) => {
                // What has come stays in TLS's own buffer, which is bounded.
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(&mut **stream).poll_fill_buf(&mut context) {
                    Poll::Ready(bytes) => Ok(bytes?.first().copied()),
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            Transport::Gone => Ok(None),
        }
    }

    fn duplicate(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Transport::Plain(stream) => stream.as_fd().try_clone_to_owned().map(Some),
            Transport::Tls(_) | Transport::Gone => Ok(None),
        }
    }

    async fn secure(&mut self, tls: &Tls) -> Result<TlsSession, HandshakeError> {
        match std::mem::replace(self, Transport::Gone) {
            Transport::Plain(stream) => {
                let (stream, session) = tls.accept(stream).await?;
                *self = Transport::Tls(Box::new(stream));
                Ok(session)
            }
            Transport::Tls(_) | Transport::Gone => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }
}

/// Hands a call on to whichever stream it is.
macro_rules! with_stream {
    ($self:ident, $stream:ident => $call:expr, gone: $gone:expr) => {
        match $self.get_mut() {
            Transport::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Transport::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Transport::Gone => Poll::Ready($gone),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_read(context, buffer), gone: Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write(context, bytes), gone: Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write_vectored(context, parts), gone: Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_flush(context), gone: Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_shutdown(context), gone: Ok(()))
    }
}
