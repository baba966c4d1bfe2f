//! What is refused and how: PostgreSQL 15 was sent the same messages and gave these answers.

use crate::scram::{ScramError, ServerExchange, Verifier};

const MALFORMED: &str = "malformed SCRAM message";
const NOT_BOUND: &str =
    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.";
const CHANNEL: &str = "unexpected SCRAM channel-binding attribute in client-final-message";

fn begin(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::begin(Verifier::derive("pass", b"salt", 2), client_first, "XYZ")
}

fn finish(client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
    begin(b"n,,n=,r=abc").unwrap().0.finish(client_final)
}

fn told(error: &ScramError) -> (&str, String, &str) {
    (error.sqlstate(), error.to_string(), error.detail().unwrap_or(""))
}

#[test]
fn first_messages() {
    let authorization = "client uses authorization identity, but it is not supported";
    let nonce = "non-printable characters in SCRAM nonce";
    let cases: [(&[u8], &str, &str, &str); 18] = [
        (b"", "08P01", MALFORMED, "The message is empty."),
        (b"n,,n=,r=a\0bc", "08P01", MALFORMED, "Message length does not match input length."),
        (b"x,,n=,r=abc", "08P01", MALFORMED, "Unexpected channel-binding flag \"'x'\"."),
        (b"\x01,,", "08P01", MALFORMED, "Unexpected channel-binding flag \"0x01\"."),
        (b"nn,n=,r=abc", "08P01", MALFORMED, "Comma expected, but found character \"'n'\"."),
        (b"n", "08P01", MALFORMED, "Comma expected, but found character \"0x00\"."),
        (b"n,", "08P01", MALFORMED, "Unexpected attribute \"0x00\" in client-first-message."),
        (b"n,x,n=,r=abc", "08P01", MALFORMED, "Unexpected attribute \"'x'\" in client-first-message."),
        (b"n,a=foo,n=,r=abc", "0A000", authorization, ""),
        (b"n,,", "08P01", MALFORMED, "Expected attribute \"n\" but found \"0x00\"."),
        (b"n,,r=abc", "08P01", MALFORMED, "Expected attribute \"n\" but found \"'r'\"."),
        (b"n,,n=", "08P01", MALFORMED, "Expected attribute \"r\" but found \"0x00\"."),
        (b"n,,n,r=a", "08P01", MALFORMED, "Expected character \"=\" for attribute \"n\"."),
        (b"n,,m=x,n=,r=abc", "0A000", "client requires an unsupported SCRAM extension", ""),
        (b"n,,n=,r=a b", "08P01", nonce, ""),
        (b"n,,n=,r=\xff", "08P01", nonce, ""),
        (b"n,,n=,r=abc,5=1", "08P01", MALFORMED, "Attribute expected, but found invalid character \"'5'\"."),
        (b"p=tls-server-end-point,,n=,r=abc", "08P01", MALFORMED, NOT_BOUND),
    ];
    for (message, sqlstate, words, detail) in cases {
        let error = begin(message).err().unwrap();
        assert_eq!(told(&error), (sqlstate, words.to_owned(), detail), "{}", message.escape_ascii());
    }
}

#[test]
fn first_messages_that_are_fine() {
    for message in ["n,,n=,r=abc", "y,,n=,r=abc", "n,,n=ann,r=abc,e=1", "n,,n=,r=abc,"] {
        assert_eq!(begin(message.as_bytes()).unwrap().1, b"r=abcXYZ,s=c2FsdA==,i=2", "{message}");
    }
}

#[test]
fn last_messages() {
    let zeros = "A".repeat(43);
    let response = "invalid SCRAM response";
    let wrong = "password authentication failed";
    let cases: [(String, &str, &str, &str); 15] = [
        (String::new(), "08P01", MALFORMED, "The message is empty."),
        ("c=biws".into(), "08P01", MALFORMED, "Expected attribute \"r\" but found \"0x00\"."),
        ("r=abcXYZ".into(), "08P01", MALFORMED, "Expected attribute \"c\" but found \"'r'\"."),
        ("c=biws,r=abcXYZ".into(), "08P01", MALFORMED, "Attribute expected, but found end of string."),
        ("c=biws,r=abcXYZ,p".into(), "08P01", MALFORMED, "Expected character \"=\" for attribute \"p\"."),
        ("c=eSws,r=abcXYZ,p=AAAA".into(), "08P01", CHANNEL, ""),
        (format!("c=eSws,r=zzz,p={zeros}="), "08P01", CHANNEL, ""),
        ("c=biws,r=zzz,p=AAAA".into(), "08P01", MALFORMED, "Malformed proof in client-final-message."),
        (format!("c=biws,r=abcXYZ,p={zeros}"), "08P01", MALFORMED, "Malformed proof in client-final-message."),
        (
            format!("c=biws,r=abcXYZ,p={zeros}=,x=1"),
            "08P01",
            MALFORMED,
            "Garbage found at the end of client-final-message.",
        ),
        (
            "c=biws,r=abcXYZ,1=2,p=AAAA".into(),
            "08P01",
            MALFORMED,
            "Attribute expected, but found invalid character \"'1'\".",
        ),
        (format!("c=biws,r=zzz,p={zeros}="), "08P01", response, "Nonce does not match."),
        (format!("c=biws,r=abcXYZ,p={zeros}="), "28P01", wrong, ""),
        (format!("c=biws,r=abcXYZ,x=1,p={zeros}="), "28P01", wrong, ""),
        (format!("c=biws,r=abcXYZ,p={zeros}=,"), "28P01", wrong, ""),
    ];
    for (message, sqlstate, words, detail) in cases {
        let error = finish(message.as_bytes()).unwrap_err();
        assert_eq!(told(&error), (sqlstate, words.to_owned(), detail), "{message}");
    }
}

#[test]
fn messages_are_bounded() {
    let long = |bytes: usize| format!("n,,n=,r={}", "x".repeat(bytes - 8));
    assert!(begin(long(1024).as_bytes()).is_ok());
    assert!(matches!(begin(long(1025).as_bytes()), Err(ScramError::Malformed(_))));
    assert!(matches!(finish(&[b'c'; 1025]), Err(ScramError::Malformed(_))));
}
