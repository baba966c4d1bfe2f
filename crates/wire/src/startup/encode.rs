//! First packets as a client writes them: towards the servers, and in tests.

use super::{CANCEL_REQUEST_MINOR, CancelKey, SPECIAL_MAJOR};
use crate::cursor::put_c_string;

/// A whole `SSLRequest`.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// A whole `GSSENCRequest`.
pub const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// A startup packet of protocol 3.`minor` with these parameters in this order.
pub fn encode_startup(minor: u16, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = begin(3, minor);
    for (name, value) in parameters {
        put_c_string(&mut packet, name);
        put_c_string(&mut packet, value);
    }
    packet.push(0);
    finish(packet)
}

/// A `CancelRequest` for this key.
pub fn encode_cancel(key: &CancelKey) -> Vec<u8> {
    let mut packet = begin(SPECIAL_MAJOR, CANCEL_REQUEST_MINOR);
    packet.extend_from_slice(&key.pid.to_be_bytes());
    packet.extend_from_slice(&key.secret);
    finish(packet)
}

fn begin(major: u16, minor: u16) -> Vec<u8> {
    let mut packet = vec![0; 4];
    packet.extend_from_slice(&major.to_be_bytes());
    packet.extend_from_slice(&minor.to_be_bytes());
    packet
}

fn finish(mut packet: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    if let Some(word) = packet.first_chunk_mut::<4>() {
        *word = length.to_be_bytes();
    }
    packet
}
