//! Who the client is: by the kernel's word on Unix sockets, else by SCRAM-SHA-256 against the branch's own
//! verifiers. Nothing is woken before this has succeeded.

use nap_model::access::{AccessFacts, Role, password_is_valid};
use nap_model::client_error::{ClientError, sqlstate};
use nap_wire::scram::{ScramError, StoredPassword, Verifier};

use crate::client::{Client, ClientStream, Origin};
use crate::error::{Ended, ProtocolError};
use crate::repeats::may_log;
use crate::session::Identity;

mod scram;

/// For the log, where the one reads it who can do something about it.
const MD5_REFUSED: &str = "the role's password is stored as md5, which is not accepted: set it again with \
                           password_encryption = 'scram-sha-256'";

/// How a client proved who it is, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Peer,
    ScramSha256,
}

/// Why a client is not who it says.
#[derive(Debug, thiserror::Error)]
#[error("password authentication failed for user \"{0}\"")]
struct AuthenticationFailed(String);

impl ClientError for AuthenticationFailed {
    fn sqlstate(&self) -> &'static str {
        sqlstate::INVALID_PASSWORD
    }
}

/// Whom the kernel's word on a Unix socket lets in without a password.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// The user of the home, who may be any role, and so may root.
    pub owner_uid: u32,
    /// The name of a user: everybody may be the role of the same name, as with PostgreSQL's `peer`. It may ask the
    /// network, and block for that.
    pub name_of: fn(u32) -> Option<String>,
}

impl Peers {
    async fn let_in(self, origin: Origin, role: &str) -> bool {
        let Origin::Unix { uid } = origin else { return false };
        if uid == 0 || uid == self.owner_uid {
            return true;
        }
        let name = tokio::task::spawn_blocking(move || (self.name_of)(uid)).await;
        name.is_ok_and(|name| name.as_deref() == Some(role))
    }
}

/// Makes sure that the client may be the role it names. Peers may be any role that exists, which [`nap_model::access::admit`]
/// looks at next.
pub(crate) async fn authenticate<S: ClientStream>(
    client: &mut Client<S>,
    Identity { branch, role, .. }: &Identity,
    facts: &AccessFacts,
    peers: Peers,
    mock_secret: &[u8; 32],
) -> Result<Method, Ended> {
    if peers.let_in(client.origin, role).await {
        return Ok(Method::Peer);
    }
    let (verifier, kept) = verifier(facts.role.as_ref(), role, now_us(), mock_secret);
    match scram::exchange(client, verifier).await? {
        Ok(()) => Ok(Method::ScramSha256),
        Err(ScramError::WrongProof) => {
            if kept == Kept::Md5 && may_log("md5") {
                // Only here: a client that has proved nothing must not learn which roles there are.
                tracing::info!(%branch, role, client = client.address, "{MD5_REFUSED}");
            }
            Err(Ended::refused(AuthenticationFailed(role.clone())))
        }
        Err(error) => Err(Ended::refused(ProtocolError::from(&error))),
    }
}

/// What is kept of a role's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Scram,
    Md5,
    /// Nothing that could be proved.
    Nothing,
}

/// What the client's proof is held against. Who does not exist, has no password, one that has expired or one that is
/// stored as md5, gets an exchange that fails at its end, like a wrong password.
fn verifier(role: Option<&Role>, name: &str, now_us: i64, mock_secret: &[u8; 32]) -> (Verifier, Kept) {
    let valid = role.filter(|role| password_is_valid(role, now_us));
    match valid.and_then(|role| role.verifier.as_deref()).map(StoredPassword::classify) {
        Some(StoredPassword::Scram(verifier)) => (verifier, Kept::Scram),
        Some(StoredPassword::Md5) => (Verifier::mock(mock_secret, name), Kept::Md5),
        Some(StoredPassword::Unknown) | None => (Verifier::mock(mock_secret, name), Kept::Nothing),
    }
}

/// Microseconds since 1970: VALID UNTIL is a time of the wall clock.
#[allow(clippy::disallowed_methods, reason = "VALID UNTIL is compared with the wall clock, as PostgreSQL does")]
fn now_us() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn role(verifier: &str, valid_until_us: Option<i64>) -> Role {
        Role { name: "al".into(), can_login: true, verifier: Some(verifier.into()), valid_until_us }
    }

    #[test]
    fn only_a_valid_scram_secret_can_succeed() {
        let good = Verifier::derive("pw", b"0123456789abcdef", 4096);
        let text = good.to_string();
        let mock = Verifier::mock(&SECRET, "al");
        let md5 = format!("md5{}", "0".repeat(32));
        assert!(verifier(Some(&role(&text, None)), "al", 0, &SECRET) == (good, Kept::Scram));
        for (role, kept) in [
            (Some(role(&text, Some(9))), Kept::Nothing),
            (Some(role("plain", None)), Kept::Nothing),
            (Some(role(&md5, None)), Kept::Md5),
            (None, Kept::Nothing),
        ] {
            assert!(verifier(role.as_ref(), "al", 10, &SECRET) == (mock.clone(), kept), "{role:?}");
        }
    }
}
