//! What kind of secret stands in pg_authid.

use super::Verifier;

/// A role's `rolpassword`, told apart as PostgreSQL's `get_password_type` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredPassword {
    /// A SCRAM secret: the only kind that can be checked here.
    Scram(Verifier),
    /// An md5 hash: its owner must set the password again to get a SCRAM secret.
    Md5,
    /// Neither: PostgreSQL stores no such thing since version 10, and lets nobody in with it.
    Unknown,
}

impl StoredPassword {
    /// Tells the kind of a `rolpassword`.
    pub fn classify(secret: &str) -> Self {
        if let Some(verifier) = Verifier::parse(secret) {
            return Self::Scram(verifier);
        }
        let is_md5 = secret
            .strip_prefix("md5")
            .is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        if is_md5 { Self::Md5 } else { Self::Unknown }
    }
}
