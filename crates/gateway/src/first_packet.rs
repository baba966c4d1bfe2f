//! Reading a connection's first packet: bounded in bytes; the caller bounds the time.

use std::fmt::Display;

use nap_wire::startup::{CancelKey, FirstPacket, Startup, TLS_HANDSHAKE, parse_first_packet};
use tokio::io::AsyncReadExt;

use crate::client::{Client, ClientStream, Origin};
use crate::error::{Ended, ProtocolError};
use crate::repeats::may_log;
use crate::tls::Tls;

/// What a connection is for.
pub(crate) enum Opening {
    /// To begin a session.
    Startup(Startup),
    /// To cancel what another one does.
    Cancel(CancelKey),
}

/// Reads up to the packet that says what the connection is for. Encryption is declined once each, or TLS begins: who
/// asks again is not listening.
pub(crate) async fn read_opening<S: ClientStream>(
    client: &mut Client<S>,
    max_bytes: u32,
    tls: Option<&Tls>,
) -> Result<Opening, Ended> {
    // As in PostgreSQL there is none on Unix sockets, which nobody can listen in on.
    let tls = tls.filter(|_| matches!(client.origin, Origin::Tcp { .. }));
    if let Some(tls) = tls
        && client.peek().await? == Some(TLS_HANDSHAKE)
    {
        begin_tls(client, tls).await?;
        if client.tls.as_ref().is_some_and(|session| !session.alpn) {
            return Err(not_accepted(
                client,
                &"received direct SSL connection request without ALPN protocol negotiation extension",
            ));
        }
    }
    let (mut ssl_answered, mut gss_declined) = (client.tls.is_some(), client.tls.is_some());
    loop {
        match read_packet(client, max_bytes as usize).await? {
            FirstPacket::Startup(startup) => return Ok(Opening::Startup(startup)),
            FirstPacket::Cancel(key) => return Ok(Opening::Cancel(key)),
            FirstPacket::Ssl if !ssl_answered => {
                nothing_follows(client, "SSL request")?;
                ssl_answered = true;
                if let Some(tls) = tls {
                    client.send(b"S").await?;
                    begin_tls(client, tls).await?;
                    gss_declined = true;
                    continue;
                }
            }
            FirstPacket::GssEnc if !gss_declined => {
                nothing_follows(client, "GSSAPI encryption request")?;
                gss_declined = true;
            }
            FirstPacket::Ssl | FirstPacket::GssEnc => {
                return Err(Ended::refused(ProtocolError::violation("encryption was negotiated already")));
            }
        }
        client.send(b"N").await?;
    }
}

/// What came before the answer was sent without encryption, by whomever: it must never be taken for what the client
/// said afterwards (CVE-2021-23222).
fn nothing_follows<S: ClientStream>(client: &mut Client<S>, request: &str) -> Result<(), Ended> {
    match client.stream.try_peek() {
        Ok(Some(_)) => Err(Ended::refused(ProtocolError::unencrypted_data(request))),
        _ => Ok(()),
    }
}

async fn begin_tls<S: ClientStream>(client: &mut Client<S>, tls: &Tls) -> Result<(), Ended> {
    match client.stream.secure(tls).await {
        Ok(session) => {
            client.tls = Some(session);
            Ok(())
        }
        Err(error) => Err(not_accepted(client, &error)),
    }
}

/// The client has had an alert, and no words beyond that, as with PostgreSQL.
fn not_accepted<S>(client: &Client<S>, error: &dyn Display) -> Ended {
    if may_log("could not accept SSL connection") {
        tracing::info!(client = client.address, %error, "could not accept SSL connection");
    }
    Ended::Gone
}

async fn read_packet<S: ClientStream>(client: &mut Client<S>, max_bytes: usize) -> Result<FirstPacket, Ended> {
    let parse = |packet: &[u8]| {
        parse_first_packet(packet, max_bytes).map_err(|error| {
            if error.is_told_to_client() { Ended::refused(ProtocolError::from(&error)) } else { Ended::Gone }
        })
    };
    let mut packet = vec![0; 4];
    client.stream.read_exact(&mut packet).await?;
    // Refuses a length out of bounds before anything is allocated for it.
    parse(&packet)?;
    let length = packet.first_chunk().map_or(0, |word| u32::from_be_bytes(*word)) as usize;
    packet.resize(length.clamp(4, max_bytes.saturating_add(4)), 0);
    client.stream.read_exact(packet.get_mut(4..).unwrap_or_default()).await?;
    parse(&packet)?.map_or(Err(Ended::Gone), |(first, _)| Ok(first))
}
