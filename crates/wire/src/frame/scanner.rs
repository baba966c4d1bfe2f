//! Following the message boundaries of a stream that passes by in arbitrary pieces, without copying it.

use super::{Frame, FrameError, HEADER_BYTES, LENGTH_WORD_BYTES, parse_frame, parse_header};

/// `ReadyForQuery`: the one message whose body is looked at.
const READY_FOR_QUERY: u8 = b'Z';
/// PostgreSQL's `MaxAllocSize`, one byte less than 1 GiB, without the length word: neither side can build a longer one.
pub(super) const MAX_BODY_BYTES: usize = 0x3fff_ffff - LENGTH_WORD_BYTES as usize;

/// A message that begins in the stream. It is reported once: when its header is complete, `ReadyForQuery` when its
/// status byte is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The message's type.
    pub tag: u8,
    /// How long its body is: it may not have passed yet.
    pub body_bytes: u32,
    /// For `ReadyForQuery`: `I` idle, `T` in a transaction, `E` in a failed one.
    pub ready_status: Option<u8>,
}

/// Where a stream of messages stands.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In a header: so much of it has passed. At a boundary when that is nothing.
    Header { bytes: [u8; HEADER_BYTES], filled: usize },
    /// In a body: so much of it is to come, at least one byte. The first byte of `ReadyForQuery` is waited for.
    Body { remaining_bytes: u32, ready: Option<u32> },
    /// The stream made no sense at this message: it is not interpreted any more.
    Broken(FrameError),
}

impl Default for State {
    fn default() -> Self {
        Self::BOUNDARY
    }
}

impl State {
    const BOUNDARY: Self = Self::Header { bytes: [0; HEADER_BYTES], filled: 0 };
}

impl Scanner {
    /// A scanner at a boundary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last byte that passed was the last of a message (or nothing has passed).
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { filled: 0, .. })
    }

    /// Follows the next piece of the stream and reports the messages in it. After an error it is the same error for
    /// ever: boundaries cannot be found again.
    pub fn feed(&mut self, chunk: &[u8], mut on: impl FnMut(Message)) -> Result<(), FrameError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.at_boundary() {
                rest = whole_messages(rest, &mut on);
            }
            rest = match self.state {
                State::Header { bytes, filled } => self.header(bytes, filled, rest, &mut on)?,
                State::Body { remaining_bytes, ready } => self.body(remaining_bytes, ready, rest, &mut on),
                State::Broken(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn header<'a>(
        &mut self,
        mut bytes: [u8; HEADER_BYTES],
        mut filled: usize,
        rest: &'a [u8],
        on: &mut impl FnMut(Message),
    ) -> Result<&'a [u8], FrameError> {
        let missing = bytes.get_mut(filled..).unwrap_or_default();
        let taken = missing.len().min(rest.len());
        for (slot, byte) in missing.iter_mut().zip(rest) {
            *slot = *byte;
        }
        filled += taken;
        self.state = if filled < HEADER_BYTES { State::Header { bytes, filled } } else { self.begin(&bytes, on)? };
        Ok(rest.get(taken..).unwrap_or_default())
    }

    /// A header is complete.
    fn begin(&mut self, header: &[u8; HEADER_BYTES], on: &mut impl FnMut(Message)) -> Result<State, FrameError> {
        let (tag, body_bytes) = parse_header(header, MAX_BODY_BYTES).inspect_err(|error| {
            self.state = State::Broken(*error);
        })?;
        let waits_for_status = tag == READY_FOR_QUERY && body_bytes > 0;
        if !waits_for_status {
            on(Message { tag, body_bytes, ready_status: None });
        }
        Ok(match body_bytes {
            0 => State::BOUNDARY,
            remaining_bytes => State::Body { remaining_bytes, ready: waits_for_status.then_some(body_bytes) },
        })
    }

    fn body<'a>(
        &mut self,
        remaining_bytes: u32,
        ready: Option<u32>,
        rest: &'a [u8],
        on: &mut impl FnMut(Message),
    ) -> &'a [u8] {
        if let (Some(body_bytes), Some(status)) = (ready, rest.first()) {
            on(Message { tag: READY_FOR_QUERY, body_bytes, ready_status: Some(*status) });
        }
        let taken = rest.len().min(remaining_bytes as usize);
        self.state = match remaining_bytes - u32::try_from(taken).unwrap_or(remaining_bytes) {
            0 => State::BOUNDARY,
            remaining_bytes => State::Body { remaining_bytes, ready: None },
        };
        rest.get(taken..).unwrap_or_default()
    }
}

/// The fast way past messages that lie in the piece as a whole: most do, and a stream of short rows has thousands of
/// them in a piece. Stops where a message is cut or makes no sense, for the slow way to deal with.
fn whole_messages<'a>(mut rest: &'a [u8], on: &mut impl FnMut(Message)) -> &'a [u8] {
    while let Ok(Some((Frame { tag, body }, used))) = parse_frame(rest, MAX_BODY_BYTES) {
        let body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let ready_status = if tag == READY_FOR_QUERY { body.first().copied() } else { None };
        on(Message { tag, body_bytes, ready_status });
        rest = rest.get(used..).unwrap_or_default();
    }
    rest
}
