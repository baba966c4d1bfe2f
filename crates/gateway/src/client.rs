//! The client's socket, TCP or Unix.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nap_model::hba::CertificateName;
use nap_wire::messages::tag;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, Ready};

use crate::tls::{HandshakeError, Tls};

/// How often a client is looked at that has sent something before its server is awake.
const EARLY_SENDER_LOOK: Duration = Duration::from_millis(200);

/// What the gateway needs of a client's stream.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + Unpin {
    /// Waits for news of its socket.
    fn readiness(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>>;
    /// The next byte that the client has sent, which stays where it is; `None` at the end. It is an error
    /// (`WouldBlock`) if there is none now.
    fn try_peek(&mut self) -> io::Result<Option<u8>>;
    /// Its socket once more, for whoever goes on with it; `None`: it speaks TLS, whose keys cannot be handed on.
    fn duplicate(&self) -> io::Result<Option<OwnedFd>>;
    /// From here on over TLS. Only TCP can; a stream whose handshake has failed is gone.
    fn secure(&mut self, tls: &Tls) -> impl Future<Output = Result<TlsSession, HandshakeError>>;
}

/// Peeks at a socket. `try_io` notes when it would block, so that the next readiness is news.
pub(crate) fn peek_socket(
    socket: &impl AsFd,
    try_io: impl FnOnce(&mut dyn FnMut() -> io::Result<Option<u8>>) -> io::Result<Option<u8>>,
) -> io::Result<Option<u8>> {
    try_io(&mut || {
        let mut byte = [0];
        let (count, _) = rustix::net::recv(socket.as_fd(), byte.as_mut_slice(), RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        Ok((count > 0).then_some(byte[0]))
    })
}

/// Where a client's socket comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Origin {
    /// Over TCP: the client's address, and the one it came to.
    Tcp { remote: SocketAddr, local: SocketAddr },
    /// Through a Unix socket: the user behind it, as the kernel says.
    Unix { uid: u32 },
}

/// What TLS says of a client that came over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsSession {
    /// The hash of our certificate that `tls-server-end-point` (RFC 5929) binds an exchange to.
    pub(crate) server_end_point: Vec<u8>,
    /// The host that the client asked for (SNI). An address is never named this way.
    pub(crate) server_name: Option<String>,
    /// The branch that this host names: its label below one of `sni_domains`, which may be no branch's name.
    pub(crate) branch_label: Option<String>,
    /// Whether the client said, and we agreed, that PostgreSQL is what will be spoken.
    pub(crate) alpn: bool,
    /// The certificate that the client has shown, verified against `ssl_ca_file`.
    pub(crate) client_certificate: Option<ClientCertificate>,
}

/// Whom a client's certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// The common name; of several the first, as in PostgreSQL.
    pub(crate) common_name: Option<String>,
    /// The subject's distinguished name as RFC 2253 writes it, which is what `clientname=DN` compares.
    pub(crate) distinguished_name: String,
}

impl ClientCertificate {
    /// Whom it names. An empty name is none, as in PostgreSQL: no expression of a map may match it.
    pub(crate) fn name(self, which: CertificateName) -> Option<String> {
        let name = match which {
            CertificateName::CommonName => self.common_name?,
            CertificateName::DistinguishedName => self.distinguished_name,
        };
        Some(name).filter(|name| !name.is_empty())
    }
}

/// A client's socket and who is behind it.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    /// For people: an address with port, or `local`.
    pub(crate) address: String,
    pub(crate) origin: Origin,
    /// `None`: what it sends can be read on the way.
    pub(crate) tls: Option<TlsSession>,
}

impl<S: ClientStream> Client<S> {
    /// Sends bytes to their end: what TLS holds back goes out as well.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads one message of the client's, no byte more: what follows may be for the server. `max_body_bytes` bounds
    /// what is allocated.
    pub(crate) async fn read_message(&mut self, max_body_bytes: usize) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).await?;
        let [tag, length @ ..] = header;
        let body_bytes = (u32::from_be_bytes(length) as usize).checked_sub(4).filter(|bytes| *bytes <= max_body_bytes);
        let Some(body_bytes) = body_bytes else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid message length"));
        };
        let mut body = vec![0; body_bytes];
        self.stream.read_exact(&mut body).await?;
        Ok((tag, body))
    }

    /// Waits for the next byte, which stays where it is; `None` at the end.
    pub(crate) async fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            self.stream.readiness(Interest::READABLE).await?;
            match self.stream.try_peek() {
                Err(error) if is_passing(&error) => {}
                peeked => return peeked,
            }
        }
    }

    /// Waits until the client has left, without taking anything it has sent.
    pub(crate) async fn left(&mut self) {
        loop {
            match self.stream.readiness(Interest::READABLE).await {
                Ok(ready) if ready.is_write_closed() || ready.is_error() => return,
                Ok(_) => {}
                Err(_) => return,
            }
            match self.stream.try_peek() {
                Ok(None | Some(tag::TERMINATE)) => return,
                // The socket stays readable for as long as nobody reads it, so there is no event to wait for.
                Ok(Some(_)) => tokio::time::sleep(EARLY_SENDER_LOOK).await,
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }
}

/// Whether a try may succeed later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
