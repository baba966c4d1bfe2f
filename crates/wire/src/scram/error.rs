//! Why an exchange fails, in PostgreSQL's own words.

use crate::sqlstate;

/// An exchange that cannot go on. Only [`ScramError::WrongProof`] says anything about the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not a SCRAM message; the text is the error's detail.
    #[error("malformed SCRAM message")]
    Malformed(String),
    /// The client's nonce is not printable ASCII.
    #[error("non-printable characters in SCRAM nonce")]
    NonPrintableNonce,
    /// The client's answer belongs to another exchange.
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// The client ended with another idea of the channel than it began with.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    UnexpectedChannelBinding,
    /// Only `tls-server-end-point` is spoken.
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    UnsupportedChannelBindingType(String),
    /// The client believes that there is no -PLUS here although it was offered: somebody hid it from the client.
    #[error("SCRAM channel binding negotiation error")]
    ChannelBindingNegotiation,
    /// The client saw another certificate than ours.
    #[error("SCRAM channel binding check failed")]
    ChannelBindingCheck,
    /// The client wants to act as somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// The client insists on an extension.
    #[error("client requires an unsupported SCRAM extension")]
    UnsupportedExtension,
    /// The password is wrong, or there is nobody to be: the client must not learn which.
    #[error("password authentication failed")]
    WrongProof,
}

impl ScramError {
    /// The SQLSTATE that PostgreSQL gives to this error.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_)
            | Self::NonPrintableNonce
            | Self::NonceMismatch
            | Self::UnexpectedChannelBinding
            | Self::UnsupportedChannelBindingType(_) => sqlstate::PROTOCOL_VIOLATION,
            Self::ChannelBindingNegotiation | Self::ChannelBindingCheck => {
                sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
            }
            Self::AuthorizationIdentity | Self::UnsupportedExtension => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::WrongProof => sqlstate::INVALID_PASSWORD,
        }
    }

    /// The error's detail, as PostgreSQL gives it.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Malformed(detail) => Some(detail),
            Self::NonceMismatch => Some("Nonce does not match."),
            Self::ChannelBindingNegotiation => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding.",
            ),
            _ => None,
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed(detail.into())
    }
}
