//! What the server keeps of a password: enough to check a proof, not enough to make one.

use super::hash::{Key, hash, salted_password, sign};
use super::{DEFAULT_ITERATIONS, SALT_BYTES, SCRAM_SHA_256, saslprep};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::fmt;
use subtle::ConstantTimeEq;

/// A role's SCRAM secret, `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` in pg_authid.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
    /// No proof is good enough: there is no such role, or it has no such password.
    pub(super) doomed: bool,
}

impl Verifier {
    /// Reads a secret as it stands in pg_authid; `None` if it is not a SCRAM secret.
    pub fn parse(secret: &str) -> Option<Self> {
        let (iterations, rest) = secret.strip_prefix(SCRAM_SHA_256)?.strip_prefix('$')?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations: i32 = iterations.parse().ok()?;
        Some(Self {
            iterations: u32::try_from(iterations).ok().filter(|iterations| *iterations > 0)?,
            salt: BASE64_STANDARD.decode(salt).ok()?,
            stored_key: BASE64_STANDARD.decode(stored_key).ok()?.try_into().ok()?,
            server_key: BASE64_STANDARD.decode(server_key).ok()?.try_into().ok()?,
            doomed: false,
        })
    }

    /// Makes the secret of a password. Takes as long as `iterations` says (4096: some milliseconds).
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.clamp(1, i32::MAX.cast_unsigned());
        let salted = salted_password(&saslprep::normalize(password), salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: hash(&[&sign(&salted, &[b"Client Key"])]),
            server_key: sign(&salted, &[b"Server Key"]),
            doomed: false,
        }
    }

    /// A secret for a role that has none: every exchange with it fails, and from outside it looks like a wrong
    /// password. Asked twice about the same user it gives the same salt, or who asks twice would know.
    pub fn mock(mock_secret: &[u8], user: &str) -> Self {
        let salt = hash(&[user.as_bytes(), mock_secret]);
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: salt.iter().copied().take(SALT_BYTES).collect(),
            stored_key: hash(&[b"stored key", &salt, mock_secret]),
            server_key: hash(&[b"server key", &salt, mock_secret]),
            doomed: true,
        }
    }

    /// Whether this is the secret of the password. Takes as long as [`Verifier::derive`].
    pub fn matches(&self, password: &str) -> bool {
        let derived = Self::derive(password, &self.salt, self.iterations);
        let same = derived.stored_key.ct_eq(&self.stored_key) & derived.server_key.ct_eq(&self.server_key);
        bool::from(same) && !self.doomed
    }
}

/// As it stands in pg_authid.
impl fmt::Display for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [self.salt.as_slice(), &self.stored_key, &self.server_key].map(|bytes| BASE64_STANDARD.encode(bytes));
        write!(formatter, "{SCRAM_SHA_256}${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// Keys are not printed: with them one can pose as the server, and guess passwords.
impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
