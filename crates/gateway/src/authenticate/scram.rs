//! SCRAM on a client's connection: SASL messages in and out. Over TLS the exchange can be bound to the channel.

use nap_wire::frame::MAX_SASL_MESSAGE_LENGTH;
use nap_wire::messages::{
    authentication_sasl, authentication_sasl_continue, authentication_sasl_final, parse_sasl_initial_response,
    parse_sasl_response, tag,
};
use nap_wire::scram::{
    ChannelBinding, NONCE_BYTES, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, ServerExchange, Verifier, server_nonce,
};

use crate::client::{Client, ClientStream, TlsSession};
use crate::error::{Ended, ProtocolError};

/// The longest `SASLInitialResponse`: the mechanism's name, its NUL and a length word come before the message.
const INITIAL_RESPONSE_MAX_BYTES: usize = MAX_SASL_MESSAGE_LENGTH + 64;

/// SASL from offer to final. `AuthenticationOk` is not sent: the server's own follows.
pub(super) async fn exchange<S: ClientStream>(
    client: &mut Client<S>,
    verifier: Verifier,
) -> Result<Result<(), ScramError>, Ended> {
    let mut out = Vec::new();
    authentication_sasl(&mut out, offered(client.tls.as_ref()));
    client.send(&out).await?;

    let body = read_response(client, INITIAL_RESPONSE_MAX_BYTES).await?;
    let initial = parse_sasl_initial_response(&body).ok_or_else(|| violation("malformed SASLInitialResponse"))?;
    let binding = binding(initial.mechanism, client.tls.as_ref())
        .ok_or_else(|| violation("client selected an invalid SASL authentication mechanism"))?;
    let client_first = match initial.data {
        Some(data) => data.to_vec(),
        None => {
            ask(client, &[]).await?;
            read_response(client, MAX_SASL_MESSAGE_LENGTH).await?
        }
    };
    let mut random = [0; NONCE_BYTES];
    getrandom::fill(&mut random).map_err(|_| violation("could not generate random nonce"))?;
    let begun = ServerExchange::begin_bound(verifier, &client_first, &server_nonce(&random), &binding);
    let (exchange, server_first) = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    ask(client, &server_first).await?;

    let body = read_response(client, MAX_SASL_MESSAGE_LENGTH).await?;
    let client_final = parse_sasl_response(&body).ok_or_else(|| violation("malformed SASLResponse"))?;
    match exchange.finish(client_final) {
        Ok(server_final) => {
            out.clear();
            authentication_sasl_final(&mut out, &server_final);
            client.send(&out).await?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// Best first, as PostgreSQL offers them: there is a channel to bind to only with TLS.
fn offered(tls: Option<&TlsSession>) -> &'static [&'static str] {
    if tls.is_some() { &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256] } else { &[SCRAM_SHA_256] }
}

/// What the mechanism that the client has chosen binds to; `None`: it was not offered.
fn binding(mechanism: &str, tls: Option<&TlsSession>) -> Option<ChannelBinding> {
    match (mechanism, tls) {
        (SCRAM_SHA_256, None) => Some(ChannelBinding::NotOffered),
        (SCRAM_SHA_256, Some(_)) => Some(ChannelBinding::Declined),
        (SCRAM_SHA_256_PLUS, Some(tls)) => Some(ChannelBinding::TlsServerEndPoint(tls.server_end_point.clone())),
        _ => None,
    }
}

fn violation(message: &str) -> Ended {
    Ended::refused(ProtocolError::violation(message))
}

async fn ask<S: ClientStream>(client: &mut Client<S>, data: &[u8]) -> Result<(), Ended> {
    let mut out = Vec::new();
    authentication_sasl_continue(&mut out, data);
    Ok(client.send(&out).await?)
}

async fn read_response<S: ClientStream>(client: &mut Client<S>, max_body_bytes: usize) -> Result<Vec<u8>, Ended> {
    match client.read_message(max_body_bytes).await {
        Ok((tag::PASSWORD_MESSAGE, body)) => Ok(body),
        Ok((tag, _)) => Err(violation(&format!("expected SASL response, got message type {tag}"))),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(violation("invalid message length")),
        Err(_) => Err(Ended::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binding_is_offered_over_tls_and_a_client_that_knows_nothing_of_it_is_suspect() {
        let tls = TlsSession {
            server_end_point: vec![7],
            server_name: None,
            branch_label: None,
            alpn: false,
            client_certificate: None,
        };
        assert_eq!(offered(None), ["SCRAM-SHA-256"]);
        assert_eq!(offered(Some(&tls)), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
        assert_eq!(binding(SCRAM_SHA_256, None), Some(ChannelBinding::NotOffered));
        assert_eq!(binding(SCRAM_SHA_256_PLUS, None), None, "it was not offered");
        assert_eq!(binding(SCRAM_SHA_256_PLUS, Some(&tls)), Some(ChannelBinding::TlsServerEndPoint(vec![7])));
        // Its GS2 header must then be n and not y, else somebody has hidden the offer from it.
        assert_eq!(binding(SCRAM_SHA_256, Some(&tls)), Some(ChannelBinding::Declined));
        let verifier = || Verifier::derive("pw", b"0123456789abcdef", 4096);
        let begin = |message: &[u8]| {
            ServerExchange::begin_bound(verifier(), message, "server", &ChannelBinding::Declined).map(|_| ())
        };
        assert_eq!(begin(b"y,,n=,r=client"), Err(ScramError::ChannelBindingNegotiation));
        assert_eq!(begin(b"n,,n=,r=client"), Ok(()));
    }
}
