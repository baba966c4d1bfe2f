//! What a password is before it is hashed.

use std::borrow::Cow;

/// Normalizes a password as `pg_saslprep` does. Where SASLprep does not apply (prohibited or unassigned characters,
/// nothing left), PostgreSQL and libpq go on with the password as it is: a rule to be kept to, or the same password
/// would not match.
pub(super) fn normalize(password: &str) -> Cow<'_, [u8]> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => match prepared {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
        _ => Cow::Borrowed(password.as_bytes()),
    }
}
