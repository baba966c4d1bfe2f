//! Whole exchanges, with RFC 7677's example and with another client.

use crate::scram::{ChannelBinding, ScramError, ServerExchange, Verifier, server_nonce};
use base64::{Engine, prelude::BASE64_STANDARD};
use postgres_protocol::authentication::sasl;
use proptest::prelude::*;

#[test]
fn the_example_of_rfc_7677() {
    let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::derive("pencil", &salt, 4096);
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let (exchange, server_first) = ServerExchange::begin(verifier, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", nonce).unwrap();
    assert_eq!(
        String::from_utf8(server_first).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let client_final =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let server_final = exchange.finish(client_final).unwrap();
    assert_eq!(String::from_utf8(server_final).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// A whole exchange with the other client. When the server is content, the client must be too.
fn log_in(
    verifier: Verifier,
    password: &str,
    client: sasl::ChannelBinding,
    server: &ChannelBinding,
) -> Result<(), ScramError> {
    let mut client = sasl::ScramSha256::new(password.as_bytes(), client);
    let nonce = server_nonce(&[7; 18]);
    let (exchange, server_first) = ServerExchange::begin_bound(verifier, client.message(), &nonce, server)?;
    client.update(&server_first).unwrap();
    let server_final = exchange.finish(client.message())?;
    client.finish(&server_final).unwrap();
    Ok(())
}

fn log_in_plainly(verifier: Verifier, password: &str) -> Result<(), ScramError> {
    log_in(verifier, password, sasl::ChannelBinding::unsupported(), &ChannelBinding::NotOffered)
}

/// Made by PostgreSQL 15.
const SECRET: &str = "SCRAM-SHA-256$4096:jD5R20V6KNZY2+3xU721MQ==$YERLtQLzEk0V1/P/LjeLVUzO3ll65YWsD47XubUdhko=:R/Op56pku+PhypvlSNZpm9ryXWD9hrq6dhtvKyYpNqA=";

#[test]
fn another_client_logs_in_with_a_secret_of_postgresql() {
    let verifier = Verifier::parse(SECRET).unwrap();
    assert_eq!(log_in_plainly(verifier.clone(), "correct horse battery staple"), Ok(()));
    assert_eq!(log_in_plainly(verifier.clone(), "correct horse battery stapl"), Err(ScramError::WrongProof));
    assert_eq!(log_in_plainly(verifier, ""), Err(ScramError::WrongProof));
}

#[test]
fn nobody_logs_in_with_a_mock() {
    assert_eq!(log_in_plainly(Verifier::mock(b"secret", "ann"), "any"), Err(ScramError::WrongProof));
    // Not even who knows the password: what counts is the doom, not the keys.
    let doomed = Verifier { doomed: true, ..Verifier::derive("pass", b"salt", 2) };
    assert!(!doomed.matches("pass"));
    assert_eq!(log_in_plainly(doomed, "pass"), Err(ScramError::WrongProof));
}

#[test]
fn channel_binding() {
    let verifier = Verifier::derive("pass", b"salt", 2);
    let bound = |hash: &[u8]| sasl::ChannelBinding::tls_server_end_point(hash.to_vec());
    let (able, unable) = (sasl::ChannelBinding::unrequested, sasl::ChannelBinding::unsupported);
    let plus = ChannelBinding::TlsServerEndPoint(vec![1; 32]);
    let run = |client, server: &ChannelBinding| log_in(verifier.clone(), "pass", client, server);

    assert_eq!(run(able(), &ChannelBinding::NotOffered), Ok(()), "y,, is true where -PLUS is not offered");
    assert_eq!(run(unable(), &ChannelBinding::Declined), Ok(()));
    assert_eq!(run(bound(&[1; 32]), &plus), Ok(()));
    assert_eq!(run(bound(&[2; 32]), &plus), Err(ScramError::ChannelBindingCheck));
    assert_eq!(run(able(), &ChannelBinding::Declined), Err(ScramError::ChannelBindingNegotiation));
    for (client, server) in [(bound(&[1; 32]), &ChannelBinding::NotOffered), (unable(), &plus), (able(), &plus)] {
        assert!(matches!(run(client, server), Err(ScramError::Malformed(_))), "{server:?}");
    }
}

#[test]
fn another_type_of_binding_is_refused() {
    let plus = ChannelBinding::TlsServerEndPoint(vec![1; 32]);
    let verifier = Verifier::derive("pass", b"salt", 2);
    let error = ServerExchange::begin_bound(verifier, b"p=tls-unique,,n=,r=abc", "x", &plus).err();
    assert_eq!(error, Some(ScramError::UnsupportedChannelBindingType("tls-unique".to_owned())));
}

proptest! {
    // A letter comes first: of a password that SASLprep maps to nothing the other client makes the empty one, where
    // PostgreSQL and libpq (and we: see `secrets`) keep it as it is.
    #[test]
    fn whoever_knows_the_password_logs_in(password in "p.{0,20}", salt in prop::collection::vec(any::<u8>(), 1..40)) {
        prop_assert_eq!(log_in_plainly(Verifier::derive(&password, &salt, 2), &password), Ok(()));
        let other = format!("{password}x");
        prop_assert_eq!(log_in_plainly(Verifier::derive(&other, &salt, 2), &password), Err(ScramError::WrongProof));
    }

    #[test]
    fn no_bytes_are_a_panic(first in "[nyp,=ra]{0,12}", bytes in prop::collection::vec(any::<u8>(), 0..60), last in "(c=biws,)?(r=abcx,)?[a-z=,A]{0,30}") {
        let verifier = || Verifier::mock(b"secret", "ann");
        let _ = ServerExchange::begin(verifier(), first.as_bytes(), "x");
        let _ = ServerExchange::begin(verifier(), &bytes, "x");
        for message in [bytes.as_slice(), last.as_bytes()] {
            let (exchange, _) = ServerExchange::begin(verifier(), b"n,,n=,r=abc", "x").unwrap();
            prop_assert!(exchange.finish(message).is_err());
        }
    }

    #[test]
    fn any_changed_byte_is_refused(at: prop::sample::Index, change in 1_u8..=255) {
        let mut client = sasl::ScramSha256::new(b"pass", sasl::ChannelBinding::unsupported());
        let verifier = Verifier::derive("pass", b"salt", 2);
        let (exchange, server_first) = ServerExchange::begin(verifier, client.message(), "nonce").unwrap();
        client.update(&server_first).unwrap();
        let mut client_final = client.message().to_vec();
        let at = at.index(client_final.len());
        client_final[at] ^= change;
        prop_assert!(exchange.finish(&client_final).is_err());
    }
}
