//! What is said to a server and heard from it, as bytes.

use std::io::Read;

use nap_wire::frame::parse_frame;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads to the end of the connection.
pub fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads up to the first ReadyForQuery that says "idle".
pub fn read_ready(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    bytes
}

/// A simple query.
pub fn query_message(sql: &str) -> Vec<u8> {
    let mut message = vec![b'Q'];
    message.extend_from_slice(&u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
    message.extend_from_slice(sql.as_bytes());
    message.push(0);
    message
}

/// The tags of these messages, in order.
pub fn tags(mut bytes: &[u8]) -> String {
    let mut tags = String::new();
    while let Some((frame, used)) = parse_frame(bytes, bytes.len()).unwrap() {
        tags.push(char::from(frame.tag));
        bytes = &bytes[used..];
    }
    tags
}
