//! The SCRAM exchange: nobody gets in with made-up messages, and everybody with the password does, whatever it is.

use nap_wire::scram::{ChannelBinding, ServerExchange, Verifier};
use postgres_protocol::authentication::sasl::{ChannelBinding as ClientBinding, ScramSha256};

/// Two messages of a kilobyte, their parts and the answers.
pub(crate) const TARGET: crate::Target = crate::Target { name: "scram", check, parse, allocates: (16 * 1024, 8) };

/// Printable, no comma: what a nonce may be. No real one is ever the same.
const NONCE: &str = "nonce-of-the-server";

fn parse(data: &[u8]) {
    let (first, last) = halves(data);
    if let Ok((exchange, _)) = ServerExchange::begin(Verifier::mock(b"secret", "al"), first, NONCE) {
        let _ = exchange.finish(last);
    }
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

fn check(data: &[u8]) {
    made_up(data);
    honest(data);
}

/// A client that does not know the password: its proof would have to be a guess of 256 bits.
fn made_up(data: &[u8]) {
    let (first, last) = halves(data);
    let right = Verifier::derive("password", b"0123456789abcdef", 1);
    for verifier in [right, Verifier::mock(b"secret", "al")] {
        let hash = ChannelBinding::TlsServerEndPoint(vec![7; 32]);
        for binding in [ChannelBinding::NotOffered, ChannelBinding::Declined, hash] {
            let begun = ServerExchange::begin_bound(verifier.clone(), first, NONCE, &binding);
            let Ok((exchange, server_first)) = begun else { continue };
            let text = String::from_utf8(server_first).expect("printable");
            assert!(
                text.starts_with("r=") && text.contains(NONCE) && text.ends_with(",i=1") | text.ends_with(",i=4096")
            );
            assert!(exchange.finish(last).is_err(), "let in by {last:?}");
        }
    }
}

/// libpq's counterpart, by other hands, with any bytes as the password.
fn honest(data: &[u8]) {
    let Ok(password) = str::from_utf8(data) else { return };
    // Where SASLprep leaves nothing, PostgreSQL and libpq go on with the password as it is; this client does not.
    if stringprep::saslprep(password).is_ok_and(|prepared| prepared.is_empty()) {
        return;
    }
    let verifier = Verifier::derive(password, b"0123456789abcdef", 1);
    let mut client = ScramSha256::new(password.as_bytes(), ClientBinding::unsupported());
    let begun = ServerExchange::begin(verifier, client.message(), NONCE);
    let (exchange, server_first) = begun.expect("client-first");
    client.update(&server_first).expect("server-first");
    let server_final = exchange.finish(client.message()).expect("the right password");
    client.finish(&server_final).expect("server-final");
}
