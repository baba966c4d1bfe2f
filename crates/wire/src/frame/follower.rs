//! Following a client's messages as they pass by in arbitrary pieces, with the bodies of those that say something.

use super::scanner::MAX_BODY_BYTES;
use super::{Frame, HEADER_BYTES, parse_frame, parse_header};

/// The longest body that is kept: what is longer passes unread.
pub const KEPT_BODY_MAX_BYTES: usize = 1024 * 1024;

/// A message that has passed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed<'a> {
    /// The message's type.
    pub tag: u8,
    /// What follows the length; `None` if it was not wanted, or too long.
    pub body: Option<&'a [u8]>,
}

/// Where a stream of messages stands. A message that lies in one piece is not copied.
#[derive(Debug, Default)]
pub struct Follower {
    header: Vec<u8>,
    /// What is known of a message whose body is under way.
    current: Option<Current>,
    broken: bool,
}

#[derive(Debug)]
struct Current {
    tag: u8,
    remaining_bytes: usize,
    /// `None`: not kept.
    body: Option<Vec<u8>>,
}

impl Follower {
    /// Whether the last byte that passed was the last of a message (or nothing has passed). Never again once the
    /// stream has made no sense.
    pub fn at_boundary(&self) -> bool {
        self.header.is_empty() && self.current.is_none() && !self.broken
    }

    /// Follows the next piece of the stream and reports the messages that end in it. `wanted` says by their type
    /// whose bodies are to be kept.
    pub fn feed(&mut self, chunk: &[u8], wanted: impl Fn(u8) -> bool, mut on: impl FnMut(Passed<'_>)) {
        let mut rest = chunk;
        while !rest.is_empty() && !self.broken {
            rest = if self.current.is_some() {
                self.body(rest, &mut on)
            } else if self.header.is_empty() {
                match parse_frame(rest, MAX_BODY_BYTES) {
                    Ok(Some((Frame { tag, body }, used))) => {
                        on(Passed {
                            tag,
                            body: wanted(tag).then_some(body).filter(|b| b.len() <= KEPT_BODY_MAX_BYTES),
                        });
                        rest.get(used..).unwrap_or_default()
                    }
                    _ => self.header(rest, &wanted, &mut on),
                }
            } else {
                self.header(rest, &wanted, &mut on)
            };
        }
    }

    fn header<'a>(
        &mut self,
        rest: &'a [u8],
        wanted: &impl Fn(u8) -> bool,
        on: &mut impl FnMut(Passed<'_>),
    ) -> &'a [u8] {
        let taken = (HEADER_BYTES - self.header.len()).min(rest.len());
        let (header, rest) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        self.header.extend_from_slice(header);
        let Some(header) = self.header.first_chunk::<HEADER_BYTES>() else { return rest };
        match parse_header(header, MAX_BODY_BYTES) {
            Ok((tag, 0)) => on(Passed { tag, body: wanted(tag).then_some(&[]) }),
            Ok((tag, body_bytes)) => {
                let remaining_bytes = body_bytes as usize;
                let body = (wanted(tag) && remaining_bytes <= KEPT_BODY_MAX_BYTES).then(Vec::new);
                self.current = Some(Current { tag, remaining_bytes, body });
            }
            Err(_) => self.broken = true,
        }
        self.header.clear();
        rest
    }

    fn body<'a>(&mut self, rest: &'a [u8], on: &mut impl FnMut(Passed<'_>)) -> &'a [u8] {
        let Some(current) = &mut self.current else { return rest };
        let taken = current.remaining_bytes.min(rest.len());
        let (piece, rest) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        if let Some(body) = &mut current.body {
            body.extend_from_slice(piece);
        }
        current.remaining_bytes -= taken;
        if current.remaining_bytes == 0 {
            on(Passed { tag: current.tag, body: current.body.as_deref() });
            self.current = None;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn a_length_that_makes_no_sense_is_the_end_of_boundaries() {
        let mut follower = Follower::default();
        follower.feed(b"Q\0\0\0\x03", |_| true, |_| panic!("no message"));
        follower.feed(&message(b'S', b""), |_| true, |_| panic!("no message"));
        assert!(!follower.at_boundary());
    }

    #[test]
    fn a_body_too_long_passes_unread() {
        let mut follower = Follower::default();
        let mut seen = Vec::new();
        for piece in message(b'Q', &vec![b'x'; KEPT_BODY_MAX_BYTES + 1]).chunks(65_536) {
            follower.feed(piece, |_| true, |passed| seen.push((passed.tag, passed.body.map(<[u8]>::len))));
        }
        assert_eq!(seen, [(b'Q', None)]);
        assert!(follower.at_boundary());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            messages in prop::collection::vec((prop::sample::select(b"QPBdXS".to_vec()), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            cuts in prop::collection::vec(1_usize..12, 1..40),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            let (mut follower, mut seen, mut rest) = (Follower::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                follower.feed(piece, |tag| tag != b'd', |passed| seen.push((passed.tag, passed.body.map(<[u8]>::to_vec))));
                rest = after;
            }
            let expected: Vec<_> = messages.into_iter().map(|(tag, body)| (tag, (tag != b'd').then_some(body))).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(follower.at_boundary());
        }
    }
}
