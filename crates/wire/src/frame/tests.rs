use super::*;
use proptest::prelude::*;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], (body.len() as u32 + 4).to_be_bytes().as_slice(), body].concat()
}

fn expected(tag: u8, body: &[u8]) -> Message {
    let ready_status = (tag == b'Z').then(|| body.first().copied()).flatten();
    Message { tag, body_bytes: body.len() as u32, ready_status }
}

/// What a scanner reports for a stream that comes in these pieces.
fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, bool) {
    let (mut scanner, mut messages) = (Scanner::new(), Vec::new());
    for piece in pieces {
        scanner.feed(piece, |message| messages.push(message)).unwrap();
    }
    (messages, scanner.at_boundary())
}

#[test]
fn a_frame_needs_all_its_bytes() {
    let bytes = [frame(b'Q', b"select 1\0"), vec![b'X']].concat();
    assert_eq!(parse_frame(&bytes, 9), Ok(Some((Frame { tag: b'Q', body: b"select 1\0" }, 14))));
    for end in 0..14 {
        assert_eq!(parse_frame(&bytes[..end], 9), Ok(None));
    }
}

#[test]
fn lengths_are_judged_before_the_body_is_there() {
    let header = |length: u32| [b"Q", length.to_be_bytes().as_slice()].concat();
    for length in [0, 3, 104, u32::MAX] {
        let error = parse_frame(&header(length), 99).unwrap_err();
        assert_eq!(error, FrameError { tag: b'Q', length });
        assert_eq!((error.to_string().as_str(), error.sqlstate()), ("invalid message length", "08P01"));
    }
    assert_eq!(parse_frame(&header(103), 99), Ok(None));
    assert_eq!(parse_frame(&header(4), 0), Ok(Some((Frame { tag: b'Q', body: b"" }, 5))));
}

#[test]
fn the_largest_message_passes_and_the_next_does_not() {
    let mut scanner = Scanner::new();
    let mut seen = Vec::new();
    scanner.feed(&[b'D', 0x3f, 0xff, 0xff, 0xff], |message| seen.push(message)).unwrap();
    assert_eq!(seen, [Message { tag: b'D', body_bytes: 0x3fff_fffb, ready_status: None }]);
    for header in [[b'D', 0x40, 0, 0, 0], [b'D', 0, 0, 0, 3]] {
        let mut scanner = Scanner::new();
        let bytes = [frame(b'Z', b"I"), header.to_vec()].concat();
        let mut count = 0;
        let error = scanner.feed(&bytes, |_| count += 1).unwrap_err();
        assert_eq!((count, error.tag), (1, b'D'));
        assert!(!scanner.at_boundary());
        assert_eq!(scanner.feed(&frame(b'Z', b"I"), |_| panic!("not interpreted any more")), Err(error));
    }
}

#[test]
fn ready_for_query_is_reported_with_its_status() {
    let bytes = frame(b'Z', b"T");
    let mut scanner = Scanner::new();
    scanner.feed(&bytes[..5], |_| panic!("its status is not there yet")).unwrap();
    assert!(!scanner.at_boundary());
    let mut seen = Vec::new();
    scanner.feed(&bytes[5..], |message| seen.push(message)).unwrap();
    assert_eq!(seen, [Message { tag: b'Z', body_bytes: 1, ready_status: Some(b'T') }]);
    assert!(scanner.at_boundary());
}

#[test]
fn a_long_body_is_jumped_over() {
    let piece = vec![b'Z'; 64 * 1024];
    let mut scanner = Scanner::new();
    let length = 4 + 1000 * piece.len() as u32;
    let mut count = 0;
    scanner.feed(&[b"D", length.to_be_bytes().as_slice()].concat(), |_| count += 1).unwrap();
    for _ in 0..1000 {
        assert!(!scanner.at_boundary());
        scanner.feed(&piece, |_| count += 1).unwrap();
    }
    assert!(scanner.at_boundary());
    assert_eq!(count, 1);
}

prop_compose! {
    fn messages()(
        messages in prop::collection::vec(
            (prop::sample::select(b"ZDCSTZ".to_vec()), prop::collection::vec(any::<u8>(), 0..12)),
            0..12,
        ),
    ) -> Vec<(u8, Vec<u8>)> {
        messages
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(messages in messages(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| frame(*tag, body)).collect();
        let all: Vec<Message> = messages.iter().map(|(tag, body)| expected(*tag, body)).collect();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let pieces = starts.zip(ends.iter().copied().chain([stream.len()])).map(|(start, end)| &stream[start..end]);
        prop_assert_eq!(scan(pieces), (all.clone(), true));
        prop_assert_eq!(scan(stream.chunks(1)), (all, true));
    }

    #[test]
    fn boundaries_are_where_messages_end(messages in messages(), cut: prop::sample::Index) {
        let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| frame(*tag, body)).collect();
        let mut boundaries = vec![0];
        for (_, body) in &messages {
            boundaries.push(boundaries[boundaries.len() - 1] + 5 + body.len());
        }
        let end = cut.index(stream.len() + 1);
        prop_assert_eq!(scan([&stream[..end]]).1, boundaries.contains(&end));
    }

    #[test]
    fn frames_and_scanner_agree(bytes in prop::collection::vec(prop::sample::select(vec![0, 0, 0, 0, 4, 5, 9, b'Z']), 0..80)) {
        let mut messages = Vec::new();
        let failed = Scanner::new().feed(&bytes, |message| messages.push(message)).is_err();
        let (mut rest, mut whole) = (bytes.as_slice(), Vec::new());
        let frames_failed = loop {
            match parse_frame(rest, scanner::MAX_BODY_BYTES) {
                Ok(Some((frame, used))) => {
                    whole.push(expected(frame.tag, frame.body));
                    rest = &rest[used..];
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        prop_assert_eq!(failed, frames_failed);
        prop_assert!(messages.starts_with(&whole) && messages.len() <= whole.len() + 1);
    }
}
