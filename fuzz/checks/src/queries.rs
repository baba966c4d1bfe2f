//! What a client says after its login: pings are answered whole or not at all, wherever they are cut, messages are followed
//! as they come, and of texts only what is certain is told.

use nap_wire::frame::{Follower, parse_frame};
use nap_wire::ping::{PING_MAX_BYTES, Verdict, answer};
use nap_wire::sql::{PingText, dotted_names, is_single_prepare, ping};

/// Follower and names keep what they were fed; a ping's answer is short.
pub(crate) const TARGET: crate::Target = crate::Target { name: "queries", check, parse, allocates: (8 * 1024, 8) };

/// As a session's named statements may be.
fn statement(name: &[u8]) -> Option<PingText> {
    match name {
        b"one" => Some(PingText::SelectOne),
        b"nothing" => Some(PingText::Empty),
        _ => None,
    }
}

fn parse(data: &[u8]) {
    let _ = answer(data, statement, &mut Vec::new());
    Follower::default().feed(data, |_| true, |_| {});
}

fn check(data: &[u8]) {
    pings(data);
    follows(data);
    texts(data);
}

fn pings(data: &[u8]) {
    let mut said = Vec::new();
    let Verdict::Answered { used, .. } = answer(data, statement, &mut said) else {
        assert!(said.is_empty(), "what is not answered is not begun");
        return;
    };
    assert!((5..=PING_MAX_BYTES.max(used)).contains(&used) && used <= data.len());
    let (mut rest, mut last) = (said.as_slice(), None);
    while let Some((frame, bytes)) = parse_frame(rest, said.len()).unwrap() {
        last = Some((frame.tag, frame.body.to_vec()));
        rest = &rest[bytes..];
    }
    assert!(rest.is_empty(), "whole messages");
    assert_eq!(last, Some((b'Z', b"I".to_vec())));
    for cut in 0..used {
        let mut nothing = Vec::new();
        assert_eq!(answer(&data[..cut], statement, &mut nothing), Verdict::Unfinished, "cut at {cut}");
        assert!(nothing.is_empty());
    }
}

/// A message's tag, and its body where that was wanted.
type Kept = (u8, Option<Vec<u8>>);

fn followed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Kept>, bool) {
    let (mut follower, mut passed) = (Follower::default(), Vec::new());
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        follower.feed(piece, |tag| tag != b'd', |one| passed.push((one.tag, one.body.map(<[u8]>::to_vec))));
    }
    (passed, follower.at_boundary())
}

fn follows(data: &[u8]) {
    let whole = followed(std::iter::once(data));
    assert_eq!(whole, followed(data.chunks(1)), "byte by byte");
    assert_eq!(whole, followed(data.chunks(usize::from(data.first().copied().unwrap_or(7)).max(1))));
}

fn texts(data: &[u8]) {
    if let Some(found) = ping(data) {
        assert!(data.is_ascii());
        assert_eq!(ping(&[data, b"\n "].concat()), Some(found), "space changes nothing");
        assert_eq!(ping(&[data, b"\n SELECT 2"].concat()), None, "what follows does");
    }
    if is_single_prepare(data) {
        assert!(!is_single_prepare(&[data, b"\n; SELECT 1"].concat()));
    }
    let mut names = Vec::new();
    dotted_names(data, data.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at), |name| {
        names.push(name.to_owned());
    });
    for name in names {
        assert!(name.contains('.') && !name.starts_with('.') && !name.ends_with('.'), "{name}");
    }
}
