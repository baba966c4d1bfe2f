//! From a TCP socket to a TLS stream. The caller bounds the time, the socket the bytes.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use super::socket::Socket;
use super::subject::{BadSubject, client_certificate};
use crate::client::TlsSession;
use crate::route::label_below;

/// Why there is no TLS stream. rustls has told the client by an alert.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Failed(#[from] io::Error),
    #[error(transparent)]
    Subject(#[from] BadSubject),
}

impl Tls {
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<(TlsStream<Socket>, TlsSession), HandshakeError> {
        let socket = Socket::new(stream, self.asks_for_certificates);
        let mut stream = TlsAcceptor::from(self.config.clone()).accept(socket).await?;
        stream.get_mut().0.handshake_is_over();
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let server_name = connection.server_name().map(str::to_owned);
        let session = TlsSession {
            server_end_point: self.server_end_point.clone(),
            branch_label: server_name.as_deref().and_then(|name| label_below(name, &self.sni_domains)),
            server_name,
            alpn: connection.alpn_protocol().is_some(),
            client_certificate: certificate.map(|certificate| client_certificate(certificate)).transpose()?,
        };
        Ok((stream, session))
    }
}
