//! The exchange: client-first, server-first, client-final, server-final.

use super::attributes::{Attributes, check_message, is_printable, printable};
use super::hash::{Key, hash, sign};
use super::{NONCE_BYTES, ScramError, Verifier};
use base64::{Engine, prelude::BASE64_STANDARD};
use subtle::ConstantTimeEq;

/// The one kind of channel binding that PostgreSQL knows (RFC 5929).
const TLS_SERVER_END_POINT: &[u8] = b"tls-server-end-point";

/// What the exchange knows of the connection it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelBinding {
    /// -PLUS was not offered: no TLS, or a certificate that cannot be bound to.
    NotOffered,
    /// -PLUS was offered, and the client chose to do without.
    Declined,
    /// The client chose -PLUS: the hash of the server's certificate, as `tls-server-end-point` defines it.
    TlsServerEndPoint(Vec<u8>),
}

/// An exchange that waits for the client's proof.
pub struct ServerExchange {
    verifier: Verifier,
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    /// The client's nonce followed by ours: it must come back.
    nonce: Vec<u8>,
    /// What `c=` must be: the base64 of the client's GS2 header and of the channel's data.
    channel_binding: String,
    bound: bool,
}

/// Makes a nonce of random bytes, as PostgreSQL does: base64 has no comma.
pub fn server_nonce(random: &[u8; NONCE_BYTES]) -> String {
    BASE64_STANDARD.encode(random)
}

impl ServerExchange {
    /// Takes the client's first message and gives the answer, server-first, where -PLUS was not offered.
    ///
    /// `server_nonce` must be printable, without a comma, and never used before.
    pub fn begin(verifier: Verifier, client_first: &[u8], server_nonce: &str) -> Result<(Self, Vec<u8>), ScramError> {
        Self::begin_bound(verifier, client_first, server_nonce, &ChannelBinding::NotOffered)
    }

    /// Like [`ServerExchange::begin`], on a connection where -PLUS may have been offered and chosen.
    pub fn begin_bound(
        verifier: Verifier,
        client_first: &[u8],
        server_nonce: &str,
        binding: &ChannelBinding,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        check_message(client_first)?;
        let (gs2_header, client_first_bare) = split_gs2_header(client_first, binding)?;
        let mut nonce = client_nonce(client_first_bare)?.to_vec();
        nonce.extend_from_slice(server_nonce.as_bytes());

        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        server_first.extend_from_slice(format!(",s={salt},i={}", verifier.iterations).as_bytes());

        let mut channel = gs2_header.to_vec();
        if let ChannelBinding::TlsServerEndPoint(data) = binding {
            channel.extend_from_slice(data);
        }
        let exchange = Self {
            verifier,
            client_first_bare: client_first_bare.to_vec(),
            server_first: server_first.clone(),
            nonce,
            channel_binding: BASE64_STANDARD.encode(channel),
            bound: matches!(binding, ChannelBinding::TlsServerEndPoint(_)),
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's proof and gives ours, server-final. [`ScramError::WrongProof`] means a wrong password or a
    /// doomed verifier; both take the same time.
    pub fn finish(self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        check_message(client_final)?;
        let answer = self.parse_final(client_final)?;
        if answer.nonce != self.nonce {
            return Err(ScramError::NonceMismatch);
        }
        let auth_message: [&[u8]; 5] = [&self.client_first_bare, b",", &self.server_first, b",", answer.without_proof];
        let client_signature = sign(&self.verifier.stored_key, &auth_message);
        let mut client_key = answer.proof;
        for (byte, signature) in client_key.iter_mut().zip(client_signature) {
            *byte ^= signature;
        }
        let is_right = bool::from(hash(&[&client_key]).ct_eq(&self.verifier.stored_key));
        if !is_right || self.verifier.doomed {
            return Err(ScramError::WrongProof);
        }
        let server_signature = sign(&self.verifier.server_key, &auth_message);
        Ok(format!("v={}", BASE64_STANDARD.encode(server_signature)).into_bytes())
    }

    /// Reads client-final. PostgreSQL finds fault with the channel first, then with the form, then with the nonce.
    fn parse_final<'a>(&self, message: &'a [u8]) -> Result<ClientFinal<'a>, ScramError> {
        let mut attributes = Attributes::new(message);
        if attributes.expect(b'c')? != self.channel_binding.as_bytes() {
            return Err(match self.bound {
                true => ScramError::ChannelBindingCheck,
                false => ScramError::UnexpectedChannelBinding,
            });
        }
        let nonce = attributes.expect(b'r')?;
        // Extensions may stand before the proof; they are signed, and ignored.
        let (proof, with_proof) = loop {
            let with_proof = attributes.rest();
            if let (b'p', value) = attributes.next()? {
                break (value, with_proof);
            }
        };
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or_else(|| ScramError::malformed("Malformed proof in client-final-message."))?;
        if !attributes.rest().is_empty() {
            return Err(ScramError::malformed("Garbage found at the end of client-final-message."));
        }
        let before_proof = message.strip_suffix(with_proof).unwrap_or_default();
        let without_proof = before_proof.strip_suffix(b",").unwrap_or(before_proof);
        Ok(ClientFinal { nonce, proof, without_proof })
    }
}

/// `n,,` or `y,,` or `p=tls-server-end-point,,`, and what follows it.
fn split_gs2_header<'a>(message: &'a [u8], binding: &ChannelBinding) -> Result<(&'a [u8], &'a [u8]), ScramError> {
    let bound = matches!(binding, ChannelBinding::TlsServerEndPoint(_));
    let mut attributes = Attributes::new(message);
    let rest = match message {
        [b'n' | b'y', ..] if bound => {
            return Err(ScramError::malformed(
                "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
            ));
        }
        [b'y', ..] if *binding == ChannelBinding::Declined => return Err(ScramError::ChannelBindingNegotiation),
        [b'n' | b'y', rest @ ..] => rest.strip_prefix(b",").ok_or_else(|| {
            let found = printable(rest.first());
            ScramError::malformed(format!("Comma expected, but found character \"{found}\"."))
        })?,
        [b'p', ..] if !bound => {
            return Err(ScramError::malformed(
                "The client selected SCRAM-SHA-256 without channel binding, \
                 but the SCRAM message includes channel binding data.",
            ));
        }
        [b'p', ..] => {
            check_binding_type(attributes.expect(b'p')?)?;
            attributes.rest()
        }
        _ => {
            let found = printable(message.first());
            return Err(ScramError::malformed(format!("Unexpected channel-binding flag \"{found}\".")));
        }
    };
    let bare = match rest {
        [b',', bare @ ..] => bare,
        [b'a', ..] => return Err(ScramError::AuthorizationIdentity),
        _ => {
            let found = printable(rest.first());
            return Err(ScramError::malformed(format!("Unexpected attribute \"{found}\" in client-first-message.")));
        }
    };
    Ok((message.strip_suffix(bare).unwrap_or_default(), bare))
}

fn check_binding_type(name: &[u8]) -> Result<(), ScramError> {
    if name == TLS_SERVER_END_POINT {
        return Ok(());
    }
    let name: String = name.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect();
    Err(ScramError::UnsupportedChannelBindingType(name))
}

/// The client's name for itself is not used: the startup packet has said who it is.
fn client_nonce(client_first_bare: &[u8]) -> Result<&[u8], ScramError> {
    if client_first_bare.first() == Some(&b'm') {
        return Err(ScramError::UnsupportedExtension);
    }
    let mut attributes = Attributes::new(client_first_bare);
    attributes.expect(b'n')?;
    let nonce = attributes.expect(b'r')?;
    if !is_printable(nonce) {
        return Err(ScramError::NonPrintableNonce);
    }
    while !attributes.rest().is_empty() {
        attributes.next()?;
    }
    Ok(nonce)
}

struct ClientFinal<'a> {
    nonce: &'a [u8],
    proof: Key,
    /// The message up to the comma before `p=`: what the proof is about.
    without_proof: &'a [u8],
}
