//! The socket below TLS: how much a client may send before it has finished its handshake.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's side of a handshake without a certificate: two hellos at most, which are 0.5 to 2 kB, and some hundred bytes.
/// What PostgreSQL takes as a first packet (MAX_STARTUP_PACKET_LENGTH), so that TLS costs no more than that. rustls would
/// keep 64 kB of a hello that never ends.
const HANDSHAKE_MAX_BYTES: usize = 10_000;
/// A client's certificate and what leads from it to its root: rustls' bound for one message.
const CERTIFICATES_MAX_BYTES: usize = 0xffff;

/// Reads are counted until the handshake is over.
pub(crate) struct Socket {
    stream: TcpStream,
    /// `None`: it is over.
    left_bytes: Option<usize>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, certificates_are_asked_for: bool) -> Self {
        let more = if certificates_are_asked_for { CERTIFICATES_MAX_BYTES } else { 0 };
        Self { stream, left_bytes: Some(HANDSHAKE_MAX_BYTES + more) }
    }

    pub(super) fn handshake_is_over(&mut self) {
        self.left_bytes = None;
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left_bytes else { return Pin::new(&mut self.stream).poll_read(context, buffer) };
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long")));
        }
        // rustls takes 4 kB at a time: so much may come beyond the bound.
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.left_bytes = Some(left.saturating_sub(buffer.filled().len() - before));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
