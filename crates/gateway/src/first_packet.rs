//! Reading a connection's first packet: bounded in bytes; the caller bounds the time.

use nap_wire::startup::{CancelKey, FirstPacket, Startup, parse_first_packet};
use tokio::io::AsyncReadExt;

use crate::client::{Client, ClientStream};
use crate::error::{Ended, ProtocolError};

/// What a connection is for.
pub(crate) enum Opening {
    /// To begin a session.
    Startup(Startup),
    /// To cancel what another one does.
    Cancel(CancelKey),
}

/// Reads up to the packet that says what the connection is for. TLS and GSSAPI encryption are declined, each once:
/// who asks again is not listening.
pub(crate) async fn read_opening<S: ClientStream>(client: &mut Client<S>, max_bytes: u32) -> Result<Opening, Ended> {
    let (mut ssl_declined, mut gss_declined) = (false, false);
    loop {
        match read_packet(client, max_bytes as usize).await? {
            FirstPacket::Startup(startup) => return Ok(Opening::Startup(startup)),
            FirstPacket::Cancel(key) => return Ok(Opening::Cancel(key)),
            FirstPacket::Ssl if !ssl_declined => ssl_declined = true,
            FirstPacket::GssEnc if !gss_declined => gss_declined = true,
            FirstPacket::Ssl | FirstPacket::GssEnc => {
                return Err(Ended::refused(ProtocolError::violation("encryption was declined already")));
            }
        }
        client.send(b"N").await?;
    }
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
