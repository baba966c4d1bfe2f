//! What is stored, compared with what PostgreSQL 15 stored for the same passwords.

use crate::scram::{DEFAULT_ITERATIONS, SALT_BYTES, StoredPassword, Verifier};
use proptest::prelude::*;

/// Passwords and what `ALTER ROLE … PASSWORD` made of them: plain, normalized by SASLprep, and three it does not
/// apply to (control character beside right-to-left text; nothing left; private use).
const STORED_BY_POSTGRESQL: [(&str, &str); 5] = [
    (
        "correct horse battery staple",
        "SCRAM-SHA-256$4096:jD5R20V6KNZY2+3xU721MQ==$YERLtQLzEk0V1/P/LjeLVUzO3ll65YWsD47XubUdhko=:R/Op56pku+PhypvlSNZpm9ryXWD9hrq6dhtvKyYpNqA=",
    ),
    (
        "I\u{ad}X \u{aa} \u{2168} pa\u{df}",
        "SCRAM-SHA-256$4096:MDP4IQxLmbc7EtFizvDLuQ==$Z2cYv/L45LajOSV1PwEO7Jc+7m68d1UAHzgYlxZ1IQM=:lvr3F0aADFRhZQ+XRQhd3AHT2R0mm3ARfmsEJOsgLEw=",
    ),
    (
        "bad\u{7}\u{639}x",
        "SCRAM-SHA-256$4096:c1bdl5PDfPvFWtINAdJVew==$NhfRZUNLZNUuoXUNVx84BhpTLVNJ9k/CEzpcv8ejNJY=:oGGy72zrkvj7FHPM2yM2xCJGQpmMk/LDFBM/htxcSFE=",
    ),
    (
        "\u{ad}",
        "SCRAM-SHA-256$4096:1av623pB88AU57Kfx/kyew==$KSfJ9ZXYAs6Pmqku+OlYFLZHSTz6bjhiy35WC4LVXAA=:4ZUsrHUib8DQQAW1z1fWW2xU3nSQnzORCKcZzPaGlls=",
    ),
    (
        "a\u{e000}b",
        "SCRAM-SHA-256$4096:zTwUXXG/zkoWEy07ahiRHQ==$gLoPGxWYGih5epSnft14XJL2pOUcYikF69GT5G27NVY=:XwzqvT8dziM9VWCjYMPV3mK6vlMLR5TenN7Bfq3M33k=",
    ),
];

#[test]
fn secrets_are_those_of_postgresql() {
    for (password, secret) in STORED_BY_POSTGRESQL {
        let verifier = Verifier::parse(secret).unwrap();
        assert!(verifier.matches(password), "{password:?}");
        assert!(!verifier.matches("another"));
        assert_eq!(verifier.to_string(), secret);
        assert_eq!(Verifier::derive(password, &verifier.salt, 4096), verifier);
    }
    let (_, normalized) = STORED_BY_POSTGRESQL[1];
    assert!(Verifier::parse(normalized).unwrap().matches("IX a IX pa\u{df}"));
}

#[test]
fn kinds_are_told_apart() {
    let (_, secret) = STORED_BY_POSTGRESQL[0];
    assert!(matches!(StoredPassword::classify(secret), StoredPassword::Scram(_)));
    assert_eq!(StoredPassword::classify("md52a887d578166c3cecb9fe654bb627ba7"), StoredPassword::Md5);
    let unknown = ["", "md5", "md52a887d578166c3cecb9fe654bb627bax", "plain", &secret[..secret.len() - 1]];
    for text in unknown {
        assert_eq!(StoredPassword::classify(text), StoredPassword::Unknown, "{text}");
    }
}

#[test]
fn what_is_almost_a_secret_is_none() {
    let (_, secret) = STORED_BY_POSTGRESQL[0];
    for (from, to) in [
        ("SCRAM-SHA-256$", "SCRAM-SHA-512$"),
        ("$4096:", "$0:"),
        ("$4096:", "$-1:"),
        ("$4096:", "$2147483648:"),
        ("$4096:", "$x:"),
        ("MQ==$", "MQ=$"),
        ("hko=:", "hko=$"),
        ("NqA=", "NqA=AAAA"),
        ("YERL", "YE L"),
    ] {
        let changed = secret.replace(from, to);
        assert_ne!(changed, secret);
        assert_eq!(Verifier::parse(&changed), None, "{changed}");
    }
}

#[test]
fn keys_are_not_printed() {
    let (_, secret) = STORED_BY_POSTGRESQL[0];
    assert_eq!(format!("{:?}", Verifier::parse(secret).unwrap()), "Verifier { iterations: 4096, .. }");
}

#[test]
fn a_mock_is_steady_and_tells_nothing() {
    let mock = |secret: &[u8], user| Verifier::mock(secret, user);
    assert_eq!(mock(b"secret", "ann"), mock(b"secret", "ann"));
    assert_ne!(mock(b"secret", "ann").salt, mock(b"secret", "bob").salt);
    assert_ne!(mock(b"secret", "ann").salt, mock(b"another", "ann").salt);
    assert_eq!(mock(b"secret", "ann").salt.len(), SALT_BYTES);
    assert_eq!(mock(b"secret", "ann").iterations, DEFAULT_ITERATIONS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn secrets_come_back(password in ".{0,20}", salt in prop::collection::vec(any::<u8>(), 0..40), iterations in 1_u32..5) {
        let verifier = Verifier::derive(&password, &salt, iterations);
        prop_assert!(verifier.matches(&password));
        prop_assert_eq!(Verifier::parse(&verifier.to_string()), Some(verifier));
    }

    #[test]
    fn no_text_is_a_panic(text in ".{0,99}", rest in "[0-9]{0,3}[:$a=]{0,9}") {
        let _ = StoredPassword::classify(&text);
        let _ = StoredPassword::classify(&format!("SCRAM-SHA-256${rest}"));
    }
}
