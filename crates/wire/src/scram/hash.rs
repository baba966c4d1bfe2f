//! The three functions that SCRAM is made of: H, HMAC and Hi.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The length of every key, signature and proof.
pub(super) const KEY_BYTES: usize = 32;
/// A key, a signature or a proof.
pub(super) type Key = [u8; KEY_BYTES];

/// SHA-256 over the parts, one after the other.
pub(super) fn hash(parts: &[&[u8]]) -> Key {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(super) fn sign(key: &Key, parts: &[&[u8]]) -> Key {
    // HMAC pads a short key with zeros to SHA-256's block; doing so here leaves no length that could be refused.
    let mut block = [0; 64];
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `Hi`: the slow step, done by clients and when a password is set, never in a server's exchange.
pub(super) fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(password, salt, iterations)
}
