//! What the daemon draws at random and keeps.

use std::io;

use anyhow::Context as _;
use nap_model::ids::BranchId;
use nap_store::{Home, durable};

/// Letters and digits that cannot be mistaken for one another; all stand in URLs as they are.
const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";
/// 24 of 54 letters: 138 bits.
const PASSWORD_LETTERS: usize = 24;

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::from).context("the system gives no random bytes")?;
    Ok(bytes)
}

/// An id for a new branch.
pub(super) fn branch_id() -> anyhow::Result<BranchId> {
    Ok(BranchId::from_bytes(random()?))
}

/// A new password.
pub(super) fn password() -> anyhow::Result<String> {
    let mut password = String::new();
    while password.len() < PASSWORD_LETTERS {
        // Bytes beyond the last whole multiple would make the first letters likelier than the rest.
        let fair = 256 - 256 % LETTERS.len();
        let drawn = random::<32>()?;
        let letters = drawn.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        password.extend(letters.filter_map(|byte| LETTERS.get(byte % LETTERS.len())).map(|byte| char::from(*byte)));
    }
    password.truncate(PASSWORD_LETTERS);
    Ok(password)
}

/// What mock authentication of unknown roles is drawn from: the same in every run of the daemon, else a role that does
/// not exist would have another salt after each restart, and one that does would not.
pub(super) fn mock_secret(home: &Home) -> anyhow::Result<[u8; 32]> {
    let path = home.secrets_dir().join("mock");
    if let Some(secret) = durable::read_bounded(&path, 32).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Ok(secret);
    }
    let secret = random()?;
    durable::write_atomic(&path, &secret, 0o600).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}

/// The password that was drawn for this role, if there is one.
pub(super) fn kept_password(home: &Home, role: &str) -> Option<String> {
    let bytes = durable::read_bounded(&home.password_file(role), 1024).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim_end().to_owned()).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_are_long_and_differ() {
        let (one, other) = (super::password().unwrap(), super::password().unwrap());
        assert_eq!(one.len(), super::PASSWORD_LETTERS);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| super::LETTERS.contains(&byte)));
    }
}
