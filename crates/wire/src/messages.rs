//! The messages of a login, as a server writes them and as they are read back from one.

mod error_fields;
mod read;
mod write;

pub use error_fields::{ErrorFields, error_response, parse_error_response};
pub use read::{
    Notification, SaslInitialResponse, parse_authentication, parse_backend_key_data, parse_notification,
    parse_parameter_status, parse_sasl_initial_response, parse_sasl_response,
};
pub use write::{
    authentication_ok, authentication_sasl, authentication_sasl_continue, authentication_sasl_final, backend_key_data,
    message, negotiate_protocol_version, parameter_status, parameter_status_bytes, ready_for_query,
};

/// Message types, named as in PostgreSQL's protocol.h.
pub mod tag {
    /// `AuthenticationOk`, `AuthenticationSASL` and their like.
    pub const AUTHENTICATION: u8 = b'R';
    /// `NegotiateProtocolVersion`.
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    /// `ParameterStatus`.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// `BackendKeyData`.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// `ReadyForQuery`.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// `ErrorResponse`.
    pub const ERROR_RESPONSE: u8 = b'E';
    /// `NoticeResponse`: fields as in `ErrorResponse`.
    pub const NOTICE_RESPONSE: u8 = b'N';
    /// The client's answers while it authenticates: `SASLInitialResponse`, `SASLResponse`, `PasswordMessage`.
    pub const PASSWORD_MESSAGE: u8 = b'p';
    /// The client leaves: `Terminate`.
    pub const TERMINATE: u8 = b'X';
}

#[cfg(test)]
mod tests;
