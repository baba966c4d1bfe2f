//! Writers append one whole message to a buffer.

use super::tag;
use crate::cursor::put_c_string;
use crate::startup::CancelKey;

/// `AUTH_REQ_OK`, `AUTH_REQ_SASL`, `AUTH_REQ_SASL_CONT`, `AUTH_REQ_SASL_FIN` of PostgreSQL's protocol.h.
const AUTH_REQ_OK: u32 = 0;
const AUTH_REQ_SASL: u32 = 10;
const AUTH_REQ_SASL_CONT: u32 = 11;
const AUTH_REQ_SASL_FIN: u32 = 12;

/// `AuthenticationOk`: who the client is has been settled.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, AUTH_REQ_OK, &[]);
}

/// `AuthenticationSASL`: the mechanisms, best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    let mut list = Vec::new();
    for mechanism in mechanisms {
        put_c_string(&mut list, mechanism);
    }
    list.push(0);
    authentication(out, AUTH_REQ_SASL, &list);
}

/// `AuthenticationSASLContinue`: the server-first message, or nothing when the client sent no initial response.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, AUTH_REQ_SASL_CONT, data);
}

/// `AuthenticationSASLFinal`: the server-final message; `AuthenticationOk` follows.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, AUTH_REQ_SASL_FIN, data);
}

/// `NegotiateProtocolVersion`: go on with 3.`minor`, without these options.
///
/// `minor` is the lower of what the client asked for and what is spoken here. The documentation calls the field "newest
/// minor protocol version", but every PostgreSQL sends, and libpq expects, the whole version: 3 in the upper half.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unrecognized_options: &[impl AsRef<str>]) {
    message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        put_u32(out, 3 << 16 | u32::from(minor));
        put_u32(out, u32::try_from(unrecognized_options.len()).unwrap_or(u32::MAX));
        for option in unrecognized_options {
            put_c_string(out, option.as_ref());
        }
    });
}

/// `ParameterStatus`: a setting the client wants to know.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, tag::PARAMETER_STATUS, |out| {
        put_c_string(out, name);
        put_c_string(out, value);
    });
}

/// [`parameter_status`] with a value in the session's encoding, whatever that is.
pub fn parameter_status_bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    message(out, tag::PARAMETER_STATUS, |out| {
        put_c_string(out, name);
        out.extend(value.iter().filter(|byte| **byte != 0));
        out.push(0);
    });
}

/// `BackendKeyData`: what the client must send to cancel.
pub fn backend_key_data(out: &mut Vec<u8>, key: &CancelKey) {
    message(out, tag::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&key.pid.to_be_bytes());
        out.extend_from_slice(&key.secret);
    });
}

/// `ReadyForQuery`: `I` idle, `T` in a transaction, `E` in a failed one.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    message(out, tag::READY_FOR_QUERY, |out| out.push(status));
}

fn authentication(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    message(out, tag::AUTHENTICATION, |out| {
        put_u32(out, code);
        out.extend_from_slice(data);
    });
}

/// Appends a message whose body `write_body` appends; the length is filled in after.
pub fn message(out: &mut Vec<u8>, tag: u8, write_body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    put_u32(out, 0);
    write_body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(word) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *word = length.to_be_bytes();
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}
