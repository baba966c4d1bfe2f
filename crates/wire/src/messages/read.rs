//! Readers take a message's body. `None` means that it is not what its tag says.

use crate::cursor::Cursor;
use crate::frame::MAX_SASL_MESSAGE_LENGTH;
use crate::startup::{CancelKey, MAX_CANCEL_SECRET_BYTES};

/// Keys of any length came with protocol 3.2; before, a key was one 32-bit number.
const FIRST_MINOR_WITH_LONG_KEYS: u16 = 2;
const SHORT_SECRET_BYTES: usize = 4;

/// The client's choice of a mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// One of those it was offered, or not: that is to be checked.
    pub mechanism: &'a str,
    /// The mechanism's first message. A client may leave it out: PostgreSQL then asks for it with an empty
    /// `AuthenticationSASLContinue`.
    pub data: Option<&'a [u8]>,
}

/// The kind of an authentication request (0 is `AuthenticationOk`) and what it carries.
pub fn parse_authentication(body: &[u8]) -> Option<(u32, &[u8])> {
    let mut cursor = Cursor::new(body);
    Some((cursor.u32()?, cursor.rest()))
}

/// `BackendKeyData` under protocol 3.`minor`.
pub fn parse_backend_key_data(body: &[u8], minor: u16) -> Option<CancelKey> {
    let mut cursor = Cursor::new(body);
    let pid = cursor.i32()?;
    let secret = cursor.rest();
    let allowed = if minor < FIRST_MINOR_WITH_LONG_KEYS {
        SHORT_SECRET_BYTES..=SHORT_SECRET_BYTES
    } else {
        1..=MAX_CANCEL_SECRET_BYTES
    };
    allowed.contains(&secret.len()).then(|| CancelKey { pid, secret: secret.to_vec() })
}

/// `ParameterStatus`: name and value. Only a name that is not UTF-8 makes it unreadable; a value in another encoding is
/// for the client to read, so it is given as bytes.
pub fn parse_parameter_status(body: &[u8]) -> Option<(&str, &[u8])> {
    let mut cursor = Cursor::new(body);
    let name = str::from_utf8(cursor.c_string()?).ok()?;
    let value = cursor.c_string()?;
    cursor.is_empty().then_some((name, value))
}

/// A notification, texts in the session's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The backend that notified.
    pub pid: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// What was said; often nothing.
    pub payload: &'a [u8],
}

/// `NotificationResponse`.
pub fn parse_notification(body: &[u8]) -> Option<Notification<'_>> {
    let mut cursor = Cursor::new(body);
    let notification = Notification { pid: cursor.i32()?, channel: cursor.c_string()?, payload: cursor.c_string()? };
    cursor.is_empty().then_some(notification)
}

/// `SASLInitialResponse`.
pub fn parse_sasl_initial_response(body: &[u8]) -> Option<SaslInitialResponse<'_>> {
    let mut cursor = Cursor::new(body);
    let mechanism = str::from_utf8(cursor.c_string()?).ok()?;
    let data = match cursor.i32()? {
        -1 if cursor.is_empty() => None,
        length => Some(parse_sasl_response(cursor.rest()).filter(|data| usize::try_from(length) == Ok(data.len()))?),
    };
    Some(SaslInitialResponse { mechanism, data })
}

/// `SASLResponse`: the whole body is the mechanism's message.
pub fn parse_sasl_response(body: &[u8]) -> Option<&[u8]> {
    (body.len() <= MAX_SASL_MESSAGE_LENGTH).then_some(body)
}
