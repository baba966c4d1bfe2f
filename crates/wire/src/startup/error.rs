//! Why a first packet is refused, in PostgreSQL's own words.

use super::{NEWEST_MINOR, parameters::MAX_STARTUP_PARAMETERS};
use crate::sqlstate;

/// A first packet that is not one, or asks for what is not spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The first byte begins a TLS handshake: the client speaks TLS without asking first.
    #[error("received direct SSL connection request, which is not supported")]
    DirectTls,
    /// Shorter than a version, or longer than allowed.
    #[error("invalid length of startup packet")]
    InvalidLength,
    /// A cancel request too short to name a process.
    #[error("invalid length of cancel request packet")]
    InvalidCancelLength,
    /// A cancel request with an empty secret, or one of more than 256 bytes.
    #[error("invalid length of cancel key in cancel request packet")]
    InvalidCancelKeyLength,
    /// Protocol 2, or one that is not invented yet.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}")]
    UnsupportedProtocol {
        /// The major version that was asked for.
        major: u16,
        /// The minor version that was asked for.
        minor: u16,
    },
    /// Names, values and the final NUL do not fill the packet exactly.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    InvalidLayout,
    /// More parameters than any client sends.
    #[error("startup packet has more than {MAX_STARTUP_PARAMETERS} parameters")]
    TooManyParameters,
    /// A name or a value that is not text.
    #[error("invalid byte sequence for encoding \"UTF8\": 0x{0:02x}")]
    NotUtf8(u8),
    /// No `user` parameter, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
}

impl StartupError {
    /// The SQLSTATE that PostgreSQL gives to this error.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::DirectTls
            | Self::InvalidLength
            | Self::InvalidCancelLength
            | Self::InvalidCancelKeyLength
            | Self::InvalidLayout => sqlstate::PROTOCOL_VIOLATION,
            Self::UnsupportedProtocol { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::TooManyParameters => sqlstate::PROGRAM_LIMIT_EXCEEDED,
            Self::NotUtf8(_) => sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            Self::NoUser => sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
        }
    }

    /// Whether the client is told. PostgreSQL only logs the others: who sent them does not speak the protocol, or
    /// (a cancel request) does not wait for an answer.
    pub fn is_told_to_client(&self) -> bool {
        !matches!(
            self,
            Self::DirectTls | Self::InvalidLength | Self::InvalidCancelLength | Self::InvalidCancelKeyLength
        )
    }
}
