//! Message boundaries: the scanner sees what a plain loop over whole messages sees, wherever the stream is cut.

use nap_wire::frame::{FrameError, Message, Scanner, parse_frame};

pub(crate) const TARGET: crate::Target = crate::Target { name: "frames", check, parse, allocates: (0, 0) };

/// MaxAllocSize without the length word.
const MAX_BODY_BYTES: usize = 0x3fff_ffff - 4;

fn parse(data: &[u8]) {
    let _ = Scanner::new().feed(data, |_| {});
}

fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Result<(), FrameError>, bool) {
    let (mut scanner, mut messages, mut outcome) = (Scanner::new(), Vec::new(), Ok(()));
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        outcome = scanner.feed(piece, |message| messages.push(message));
    }
    (messages, outcome, scanner.at_boundary())
}

fn check(data: &[u8]) {
    // The first two bytes say where the rest is cut.
    let Some(([first, second], stream)) = data.split_first_chunk::<2>() else { return };
    let whole = scan(std::iter::once(stream));
    assert_eq!(whole, scan(stream.chunks(1)), "byte by byte");
    assert_eq!(whole, scan(stream.chunks(usize::from(*first).max(1))), "in pieces of {first}");
    let at = usize::from(*second).min(stream.len());
    assert_eq!(whole, scan([&stream[..at], &stream[at..]].into_iter()), "cut at {at}");

    // The plain loop.
    let (messages, outcome, at_boundary) = whole;
    let (mut rest, mut number) = (stream, 0);
    let failed = loop {
        match parse_frame(rest, MAX_BODY_BYTES) {
            Ok(Some((frame, used))) => {
                let message = messages[number];
                assert_eq!((message.tag, message.body_bytes as usize), (frame.tag, frame.body.len()));
                if frame.tag == b'Z' {
                    assert_eq!(message.ready_status, frame.body.first().copied());
                }
                let mut again = vec![frame.tag];
                again.extend_from_slice(&u32::try_from(frame.body.len() + 4).unwrap().to_be_bytes());
                again.extend_from_slice(frame.body);
                assert_eq!(again, rest[..used], "the same bytes when written again");
                (rest, number) = (&rest[used..], number + 1);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(outcome.err(), failed);
    assert!(messages.len() - number <= 1, "at most the one that is under way");
    assert_eq!(at_boundary, rest.is_empty() && failed.is_none());
}
