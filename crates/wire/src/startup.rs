//! The first packet of a connection: it has no tag, and it decides what the connection is.

mod encode;
mod error;
mod parameters;

pub use encode::{GSSENC_REQUEST, SSL_REQUEST, encode_cancel, encode_startup};
pub use error::StartupError;
pub use parameters::Startup;

use crate::cursor::Cursor;
use std::fmt;

/// PostgreSQL's `MAX_STARTUP_PACKET_LENGTH` (pqcomm.h): the packet without its length word.
pub const MAX_STARTUP_PACKET_LENGTH: usize = 10_000;
/// The newest minor version of protocol 3 that PostgreSQL speaks (`PG_PROTOCOL_LATEST` of PostgreSQL 18).
pub const NEWEST_MINOR: u16 = 2;
/// The longest secret of a cancel key (PostgreSQL 18: `ProcessCancelRequestPacket`, `MAX_CANCEL_KEY_LENGTH`).
pub const MAX_CANCEL_SECRET_BYTES: usize = 256;

/// `CANCEL_REQUEST_CODE`, `NEGOTIATE_SSL_CODE` and `NEGOTIATE_GSS_CODE` of pqcomm.h: versions that never were.
const SPECIAL_MAJOR: u16 = 1234;
const CANCEL_REQUEST_MINOR: u16 = 5678;
const NEGOTIATE_SSL_MINOR: u16 = 5679;
const NEGOTIATE_GSS_MINOR: u16 = 5680;
/// The first byte of a TLS handshake record. As a length's first byte it would mean 350 MB, so nothing else begins so.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// What a client's first packet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// `SSLRequest`: answer `S` or `N`, then another first packet follows.
    Ssl,
    /// `GSSENCRequest`: answer `G` or `N`, then another first packet follows.
    GssEnc,
    /// `CancelRequest`: never answered.
    Cancel(CancelKey),
    /// A session is to begin.
    Startup(Startup),
}

/// What names a backend to be cancelled, and proves the right to: the secret is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The backend's process id, as the client was told.
    pub pid: i32,
    /// 4 bytes up to protocol 3.1, 1 to 256 from 3.2 on.
    pub secret: Vec<u8>,
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Parses a connection's first packet, or what follows a refused `SSLRequest`.
///
/// `max_bytes` bounds the packet without its length word, as [`MAX_STARTUP_PACKET_LENGTH`] does; what is longer is
/// refused as soon as the length is known.
pub fn parse_first_packet(bytes: &[u8], max_bytes: usize) -> Result<Option<(FirstPacket, usize)>, StartupError> {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Err(StartupError::DirectTls);
    }
    let Some((length_word, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length_word) as usize;
    let body_bytes = length.checked_sub(4).filter(|body_bytes| (4..=max_bytes).contains(body_bytes));
    let Some(body) = rest.get(..body_bytes.ok_or(StartupError::InvalidLength)?) else { return Ok(None) };
    Ok(Some((parse_body(body)?, length)))
}

fn parse_body(body: &[u8]) -> Result<FirstPacket, StartupError> {
    let mut cursor = Cursor::new(body);
    let version = cursor.u32().ok_or(StartupError::InvalidLength)?;
    let (major, minor) = ((version >> 16) as u16, (version & 0xffff) as u16);
    match (major, minor) {
        (SPECIAL_MAJOR, CANCEL_REQUEST_MINOR) => parse_cancel(cursor).map(FirstPacket::Cancel),
        (SPECIAL_MAJOR, NEGOTIATE_SSL_MINOR) => Ok(FirstPacket::Ssl),
        (SPECIAL_MAJOR, NEGOTIATE_GSS_MINOR) => Ok(FirstPacket::GssEnc),
        (3, minor) => Startup::parse(minor, cursor).map(FirstPacket::Startup),
        (major, minor) => Err(StartupError::UnsupportedProtocol { major, minor }),
    }
}

fn parse_cancel(mut cursor: Cursor<'_>) -> Result<CancelKey, StartupError> {
    let pid = cursor.i32().ok_or(StartupError::InvalidCancelLength)?;
    let secret = cursor.rest();
    if secret.is_empty() || secret.len() > MAX_CANCEL_SECRET_BYTES {
        return Err(StartupError::InvalidCancelKeyLength);
    }
    Ok(CancelKey { pid, secret: secret.to_vec() })
}

#[cfg(test)]
mod tests;
