//! SCRAM-SHA-256 (RFC 5802, RFC 7677) from the server's side, as PostgreSQL's auth-scram.c does it: what is stored,
//! and the exchange that proves a password without sending it.

mod attributes;
mod error;
mod hash;
mod saslprep;
mod server;
mod stored;
mod verifier;

pub use error::ScramError;
pub use server::{ChannelBinding, ServerExchange, server_nonce};
pub use stored::StoredPassword;
pub use verifier::Verifier;

/// The mechanism's name.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The name of the mechanism that binds the exchange to the TLS connection.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// PostgreSQL's `SCRAM_SHA_256_DEFAULT_ITERATIONS` (scram-common.h).
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// PostgreSQL's `SCRAM_DEFAULT_SALT_LEN` (scram-common.h).
pub const SALT_BYTES: usize = 16;
/// PostgreSQL's `SCRAM_RAW_NONCE_LEN` (scram-common.h): random bytes in a nonce.
pub const NONCE_BYTES: usize = 18;

#[cfg(test)]
mod tests;
