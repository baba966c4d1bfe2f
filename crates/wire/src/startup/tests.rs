use super::*;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<Option<(FirstPacket, usize)>, StartupError> {
    parse_first_packet(bytes, MAX_STARTUP_PACKET_LENGTH)
}

fn packet(version: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = (8 + body.len() as u32).to_be_bytes().to_vec();
    packet.extend(version.to_be_bytes());
    packet.extend(body);
    packet
}

fn startup(body: &[u8]) -> Result<Startup, StartupError> {
    match parse(&packet(0x3_0000, body))? {
        Some((FirstPacket::Startup(startup), _)) => Ok(startup),
        other => panic!("no startup packet: {other:?}"),
    }
}

#[test]
fn requests_are_told_apart() {
    assert_eq!(parse(&SSL_REQUEST), Ok(Some((FirstPacket::Ssl, 8))));
    assert_eq!(parse(&GSSENC_REQUEST), Ok(Some((FirstPacket::GssEnc, 8))));
    let mut buffer = BytesMut::new();
    frontend::ssl_request(&mut buffer);
    assert_eq!(&buffer[..], SSL_REQUEST);
    assert_eq!(parse(&[0x16]), Err(StartupError::DirectTls));
}

#[test]
fn what_another_client_writes_is_read() {
    let mut buffer = BytesMut::new();
    let parameters = [("user", "ann"), ("database", "shop@main"), ("options", "-c a=b"), ("user", "bob")];
    frontend::startup_message(parameters, &mut buffer).unwrap();
    let length = buffer.len();
    buffer.extend_from_slice(b"more");
    let Ok(Some((FirstPacket::Startup(startup), used))) = parse(&buffer) else { panic!("not read") };
    assert_eq!(used, length);
    assert_eq!(startup.minor, 0);
    let names: Vec<&str> = startup.parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.ends_with(&["user", "database", "options", "user"]));
    assert_eq!((startup.get("user"), startup.get("database")), (Some("bob"), Some("shop@main")));
    assert_eq!(startup.get("replication"), None);
}

#[test]
fn another_client_s_cancel_request_is_read() {
    let mut buffer = BytesMut::new();
    frontend::cancel_request(-7, 0x0102_0304, &mut buffer);
    let key = CancelKey { pid: -7, secret: vec![1, 2, 3, 4] };
    assert_eq!(parse(&buffer), Ok(Some((FirstPacket::Cancel(key.clone()), 16))));
    assert_eq!(encode_cancel(&key), buffer);
}

#[test]
fn cancel_keys_have_1_to_256_bytes_and_stay_secret() {
    for (bytes, good) in [(0, false), (1, true), (4, true), (256, true), (257, false)] {
        let key = CancelKey { pid: 1, secret: vec![0xab; bytes] };
        assert_eq!(parse(&encode_cancel(&key)).is_ok(), good, "{bytes}");
        assert_eq!(format!("{key:?}"), "CancelKey { pid: 1, .. }");
    }
    assert_eq!(parse(&packet(80_877_102, &[1, 2])), Err(StartupError::InvalidCancelLength));
}

#[test]
fn protocol_options_are_kept_apart() {
    let bytes = encode_startup(2, &[("_pq_.a", "1"), ("user", "ann"), ("_pq_.b", "")]);
    let Ok(Some((FirstPacket::Startup(startup), _))) = parse(&bytes) else { panic!("not read") };
    assert_eq!(startup.minor, 2);
    assert_eq!(startup.protocol_options, ["_pq_.a", "_pq_.b"]);
    assert_eq!(startup.parameters, [("user".to_owned(), "ann".to_owned())]);
}

/// PostgreSQL 15 was asked the same and gave these words and codes.
#[test]
fn refusals_are_those_of_postgresql() {
    let layout = "invalid startup packet layout: expected terminator as last byte";
    let cases: [(Vec<u8>, &str, &str); 9] = [
        (packet(0x2_0000, &[b'x'; 20]), "0A000", "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"),
        (packet(0x4_0000, &[0]), "0A000", "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"),
        (packet(80_877_100, &[]), "0A000", "unsupported frontend protocol 1234.5676: server supports 3.0 to 3.2"),
        (packet(0x3_0000, b"user\0ann\0"), "08P01", layout),
        (packet(0x3_0000, b"user\0ann\0\0\0"), "08P01", layout),
        (packet(0x3_0000, b"user\0"), "08P01", layout),
        (packet(0x3_0000, b"database\0x\0\0"), "28000", "no PostgreSQL user name specified in startup packet"),
        (packet(0x3_0000, b"user\0ann\0user\0\0\0"), "28000", "no PostgreSQL user name specified in startup packet"),
        (packet(0x3_0000, b"user\0a\xffb\0\0"), "22021", "invalid byte sequence for encoding \"UTF8\": 0xff"),
    ];
    for (bytes, sqlstate, words) in cases {
        let error = parse(&bytes).unwrap_err();
        assert_eq!((error.sqlstate(), error.to_string().as_str()), (sqlstate, words));
        assert!(error.is_told_to_client());
    }
    assert!(!StartupError::InvalidLength.is_told_to_client());
}

#[test]
fn lengths_are_judged_before_the_packet_is_there() {
    for length in [0_u32, 4, 7, 10_005, 20_000, u32::MAX] {
        let error = match length.to_be_bytes() {
            [0x16, ..] => StartupError::DirectTls,
            _ => StartupError::InvalidLength,
        };
        assert_eq!(parse(&length.to_be_bytes()), Err(error), "{length}");
    }
    for length in [8_u32, 10_004] {
        assert_eq!(parse(&length.to_be_bytes()), Ok(None), "{length}");
    }
}

#[test]
fn parameters_are_bounded() {
    let many = |count: usize| [b"user\0ann\0".to_vec(), b"a\0b\0".repeat(count), vec![0]].concat();
    assert!(startup(&many(127)).is_ok());
    assert_eq!(startup(&many(128)), Err(StartupError::TooManyParameters));
    assert_eq!(startup(&[b"_pq_.\0\0".repeat(129), vec![0]].concat()), Err(StartupError::TooManyParameters));
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), code in any::<u8>()) {
        let _ = parse(&bytes);
        let version = [0x3_0000, 0x3_0002, 80_877_102, 80_877_103, 80_877_104][usize::from(code % 5)];
        if let Ok(Some((_, used))) = parse(&packet(version, &bytes)) {
            prop_assert_eq!(used, bytes.len() + 8);
        }
    }

    #[test]
    fn startup_comes_back(parameters in prop::collection::vec(("[a-z]{1,9}", "[^\0]{0,20}"), 0..20), minor: u16) {
        let mut pairs = vec![("user", "ann")];
        pairs.extend(parameters.iter().filter(|(name, _)| name != "user").map(|(n, v)| (n.as_str(), v.as_str())));
        let bytes = encode_startup(minor, &pairs);
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end]), Ok(None));
        }
        let Ok(Some((FirstPacket::Startup(startup), used))) = parse(&bytes) else { panic!("not read") };
        prop_assert_eq!((used, startup.minor), (bytes.len(), minor));
        let read: Vec<(&str, &str)> = startup.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn cancel_comes_back(pid: i32, secret in prop::collection::vec(any::<u8>(), 1..=256)) {
        let key = CancelKey { pid, secret };
        let bytes = encode_cancel(&key);
        prop_assert_eq!(parse(&bytes), Ok(Some((FirstPacket::Cancel(key), bytes.len()))));
    }
}
