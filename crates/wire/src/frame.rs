//! Messages after the first packet: a tag, a length that counts itself, a body.

mod follower;
mod scanner;

pub use follower::{Follower, KEPT_BODY_MAX_BYTES, Passed};
pub use scanner::{Message, Scanner};

/// The largest SASL message, PostgreSQL's `PG_MAX_SASL_MESSAGE_LENGTH` (sasl.h). PostgreSQL counts the length word
/// into it; as a bound for a body it lets four bytes more through, no matter.
pub const MAX_SASL_MESSAGE_LENGTH: usize = 1_024;

/// Tag and length word.
const HEADER_BYTES: usize = 5;
/// The length word counts itself.
const LENGTH_WORD_BYTES: u32 = 4;

/// One whole message, borrowed from the bytes it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub tag: u8,
    /// What follows the length.
    pub body: &'a [u8],
}

/// A length that no message can have: after it, nothing in the stream can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid message length")]
pub struct FrameError {
    /// The message's type.
    pub tag: u8,
    /// The length it claims, with the length word itself.
    pub length: u32,
}

impl FrameError {
    /// `protocol_violation`, as PostgreSQL answers.
    pub fn sqlstate(&self) -> &'static str {
        crate::sqlstate::PROTOCOL_VIOLATION
    }
}

/// Parses the message at the front of `bytes`; a body above `max_body_bytes` is refused as soon as its length is known.
pub fn parse_frame(bytes: &[u8], max_body_bytes: usize) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let (tag, body_bytes) = parse_header(header, max_body_bytes)?;
    let body_bytes = body_bytes as usize;
    Ok(rest.get(..body_bytes).map(|body| (Frame { tag, body }, HEADER_BYTES + body_bytes)))
}

fn parse_header(header: &[u8; HEADER_BYTES], max_body_bytes: usize) -> Result<(u8, u32), FrameError> {
    let [tag, length_word @ ..] = *header;
    let length = u32::from_be_bytes(length_word);
    match length.checked_sub(LENGTH_WORD_BYTES) {
        Some(body_bytes) if body_bytes as usize <= max_body_bytes => Ok((tag, body_bytes)),
        _ => Err(FrameError { tag, length }),
    }
}

#[cfg(test)]
mod tests;
