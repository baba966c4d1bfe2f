use super::*;
use crate::frame::{Frame, parse_frame};
use crate::startup::CancelKey;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{backend, frontend};
use proptest::prelude::*;

/// What a writer wrote, as another client reads it.
fn read(write: impl FnOnce(&mut Vec<u8>)) -> backend::Message {
    let mut out = Vec::new();
    write(&mut out);
    let mut buffer = BytesMut::from(&out[..]);
    let message = backend::Message::parse(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty(), "one message, and nothing after it");
    message
}

/// The body of what a writer wrote, by our own frames.
fn body(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    let (Frame { body, .. }, used) = parse_frame(&out[6..], out.len()).unwrap().unwrap();
    assert_eq!(used + 6, out.len());
    body.to_vec()
}

#[test]
fn another_client_reads_a_login() {
    assert!(matches!(read(authentication_ok), backend::Message::AuthenticationOk));
    let backend::Message::AuthenticationSasl(sasl) = read(|out| authentication_sasl(out, &["A", "BC"])) else {
        panic!("not AuthenticationSASL")
    };
    assert_eq!(sasl.mechanisms().collect::<Vec<_>>().unwrap(), ["A", "BC"]);
    let backend::Message::AuthenticationSaslContinue(data) = read(|out| authentication_sasl_continue(out, b"r=x"))
    else {
        panic!("not AuthenticationSASLContinue")
    };
    assert_eq!(data.data(), b"r=x");
    let backend::Message::AuthenticationSaslFinal(data) = read(|out| authentication_sasl_final(out, b"v=x")) else {
        panic!("not AuthenticationSASLFinal")
    };
    assert_eq!(data.data(), b"v=x");
    let backend::Message::ParameterStatus(status) = read(|out| parameter_status(out, "TimeZone", "Etc/UTC")) else {
        panic!("not ParameterStatus")
    };
    assert_eq!((status.name().unwrap(), status.value().unwrap()), ("TimeZone", "Etc/UTC"));
    let key = CancelKey { pid: -5, secret: vec![0, 0, 1, 0] };
    let backend::Message::BackendKeyData(data) = read(|out| backend_key_data(out, &key)) else {
        panic!("not BackendKeyData")
    };
    assert_eq!((data.process_id(), data.secret_key()), (-5, 256));
    let backend::Message::ReadyForQuery(ready) = read(|out| ready_for_query(out, b'I')) else {
        panic!("not ReadyForQuery")
    };
    assert_eq!(ready.status(), b'I');
}

/// PostgreSQL 15 sent this to a client that asked for 3.2 with two options; 18 does the same with its own minor.
#[test]
fn negotiation_carries_the_whole_version() {
    let mut out = Vec::new();
    negotiate_protocol_version(&mut out, 0, &["_pq_.x", "_pq_.z"]);
    assert_eq!(out, b"v\x00\x00\x00\x1a\x00\x03\x00\x00\x00\x00\x00\x02_pq_.x\x00_pq_.z\x00");
    out.clear();
    negotiate_protocol_version(&mut out, 2, &[] as &[&str]);
    assert_eq!(out, b"v\x00\x00\x00\x0c\x00\x03\x00\x02\x00\x00\x00\x00");
}

#[test]
fn another_client_reads_our_error() {
    let fields = ErrorFields {
        detail: Some("about it".to_owned()),
        hint: Some("do this".to_owned()),
        ..ErrorFields::fatal("3D000", "no\0pe")
    };
    let backend::Message::ErrorResponse(response) = read(|out| error_response(out, &fields)) else {
        panic!("not ErrorResponse")
    };
    let read: Vec<(u8, Vec<u8>)> =
        response.fields().map(|field| Ok((field.type_(), field.value_bytes().to_vec()))).collect().unwrap();
    let expected =
        [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "3D000"), (b'M', "nope"), (b'D', "about it"), (b'H', "do this")];
    assert_eq!(read, expected.map(|(code, text)| (code, text.as_bytes().to_vec())));
}

#[test]
fn a_server_s_error_is_read() {
    let body = b"SFATALER FEHLER\0VFATAL\0C57P03\0Mdas \xe4ndert sich\0Fpostmaster.c\0L2334\0Dwarum\0\0";
    let fields = parse_error_response(body);
    assert_eq!((fields.severity.as_ref(), fields.sqlstate.as_str()), ("FATAL", "57P03"));
    assert_eq!((fields.message.as_str(), fields.detail.as_deref()), ("das \u{fffd}ndert sich", Some("warum")));
    assert_eq!(fields.hint, None);
    assert_eq!(parse_error_response(b"SERROR\0Mcut").severity, "ERROR", "before 9.6 there was no V");
}

#[test]
fn keys_are_long_only_in_new_protocols() {
    for (secret_bytes, minor, good) in
        [(4, 0, true), (4, 2, true), (32, 0, false), (32, 1, false), (32, 2, true), (0, 2, false), (257, 2, false)]
    {
        let key = CancelKey { pid: 9, secret: vec![7; secret_bytes] };
        let read = parse_backend_key_data(&body(|out| backend_key_data(out, &key)), minor);
        assert_eq!(read, good.then_some(key), "{secret_bytes} bytes, 3.{minor}");
    }
    assert_eq!(parse_backend_key_data(&[0, 0, 0], 2), None);
}

#[test]
fn parameter_status_is_read() {
    assert_eq!(parse_parameter_status(b"a\0b\xff\0"), Some(("a", b"b\xff".as_slice())));
    for wrong in [b"".as_slice(), b"a", b"a\0", b"a\0b", b"a\0b\0c", b"\xff\0b\0"] {
        assert_eq!(parse_parameter_status(wrong), None, "{wrong:?}");
    }
    assert_eq!(parse_authentication(&body(authentication_ok)), Some((0, b"".as_slice())));
    assert_eq!(parse_authentication(&[0, 0, 0]), None);
}

#[test]
fn another_client_s_sasl_messages_are_read() {
    let mut buffer = BytesMut::new();
    frontend::sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc", &mut buffer).unwrap();
    let (frame, _) = parse_frame(&buffer, 1000).unwrap().unwrap();
    assert_eq!(frame.tag, tag::PASSWORD_MESSAGE);
    let expected = SaslInitialResponse { mechanism: "SCRAM-SHA-256", data: Some(b"n,,n=,r=abc") };
    assert_eq!(parse_sasl_initial_response(frame.body), Some(expected));
}

/// PostgreSQL 15 refuses each of these but the first two.
#[test]
fn sasl_initial_response_must_add_up() {
    let none = SaslInitialResponse { mechanism: "M", data: None };
    assert_eq!(parse_sasl_initial_response(b"M\0\xff\xff\xff\xff"), Some(none));
    let empty = SaslInitialResponse { mechanism: "M", data: Some(b"") };
    assert_eq!(parse_sasl_initial_response(b"M\0\0\0\0\0"), Some(empty));
    let wrong: [&[u8]; 7] = [
        b"",
        b"M",
        b"M\0\0\0",
        b"M\0\0\0\0\x05n,,",
        b"M\0\0\0\0\x02n,,",
        b"M\0\xff\xff\xff\xffn,,",
        b"M\0\xff\xff\xff\xfen,,",
    ];
    for body in wrong {
        assert_eq!(parse_sasl_initial_response(body), None, "{body:?}");
    }
    assert_eq!(parse_sasl_response(&[0; 1024]).map(<[u8]>::len), Some(1024));
    assert_eq!(parse_sasl_response(&[0; 1025]), None);
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), minor in 0_u16..4) {
        let _ = parse_error_response(&bytes);
        let _ = parse_backend_key_data(&bytes, minor);
        let _ = parse_parameter_status(&bytes);
        let _ = parse_sasl_initial_response(&bytes);
        let _ = parse_authentication(&bytes);
    }

    #[test]
    fn errors_come_back(message in "[^\0]{0,40}", detail in prop::option::of("[^\0]{0,9}"), hint in prop::option::of("[^\0]{0,9}")) {
        let fields = ErrorFields { detail, hint, ..ErrorFields::fatal("57P01", message) };
        prop_assert_eq!(parse_error_response(&body(|out| error_response(out, &fields))), fields);
    }

    #[test]
    fn nul_never_breaks_a_message(name in "[a\0]{0,4}", value in "[b\0]{0,4}") {
        let body = body(|out| parameter_status(out, &name, &value));
        let expected = (name.replace('\0', ""), value.replace('\0', "").into_bytes());
        prop_assert_eq!(parse_parameter_status(&body), Some((expected.0.as_str(), expected.1.as_slice())));
    }
}
