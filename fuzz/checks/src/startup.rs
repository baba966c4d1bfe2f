//! A connection's first packet: the same however it is cut, the same bytes when written again.

use nap_wire::startup::{
    FirstPacket, GSSENC_REQUEST, MAX_STARTUP_PACKET_LENGTH, SSL_REQUEST, encode_cancel, encode_startup,
    parse_first_packet,
};

/// 128 parameters cost a vector of pairs of strings beside their bytes.
pub(crate) const TARGET: crate::Target = crate::Target { name: "startup", check, parse, allocates: (16 * 1024, 2) };

fn parse(data: &[u8]) {
    let _ = parse_first_packet(data, MAX_STARTUP_PACKET_LENGTH);
}

fn check(data: &[u8]) {
    let whole = parse_first_packet(data, MAX_STARTUP_PACKET_LENGTH);
    // Every cut at the front, where decisions are made, and some further on.
    for end in (0..data.len().min(64)).chain((64..data.len()).step_by(997)) {
        let part = parse_first_packet(&data[..end], MAX_STARTUP_PACKET_LENGTH);
        assert!(part == Ok(None) || part == whole, "cut at {end}: {part:?}, then {whole:?}");
    }
    let Ok(Some((packet, used))) = whole else { return };
    assert!((8..=MAX_STARTUP_PACKET_LENGTH + 4).contains(&used) && used <= data.len());
    let bytes = &data[..used];
    match packet {
        FirstPacket::Ssl => assert_eq!(bytes[4..8], SSL_REQUEST[4..]),
        FirstPacket::GssEnc => assert_eq!(bytes[4..8], GSSENC_REQUEST[4..]),
        FirstPacket::Cancel(key) => assert_eq!(bytes, encode_cancel(&key)),
        FirstPacket::Startup(startup) => {
            let parameters: Vec<_> =
                startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let again = encode_startup(startup.minor, &parameters);
            if startup.protocol_options.is_empty() {
                assert_eq!(bytes, again);
            }
            let Ok(Some((FirstPacket::Startup(read), _))) = parse_first_packet(&again, MAX_STARTUP_PACKET_LENGTH)
            else {
                panic!("not a startup packet when written again: {startup:?}")
            };
            assert_eq!((read.minor, read.parameters), (startup.minor, startup.parameters));
        }
    }
}
