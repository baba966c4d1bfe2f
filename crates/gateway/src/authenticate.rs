//! Who the client is: the first rule of `pg_hba.conf` that is for it says how it has to prove that. Nothing is woken
//! before this has succeeded.

use nap_model::access::{AccessFacts, Role, password_is_valid};
use nap_model::hba::{self, ClientCertificate, Connection, Decision, Maps, Method, Refused, Rule, Rules, Seen};
use nap_wire::scram::{ScramError, StoredPassword, Verifier};

use crate::client::{Client, ClientStream, Origin};
use crate::error::{Ended, ProtocolError};
use crate::repeats::may_log;
use crate::route::Replication;
use crate::session::Identity;

mod machine;
mod scram;

/// For the log, where the one reads it who can do something about it.
const MD5_REFUSED: &str = "the role's password is stored as md5, which is not accepted: set it again with \
                           password_encryption = 'scram-sha-256'";

/// The users of this system.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// The user of the home, who like root is never kept out by other users' connections.
    pub owner_uid: u32,
    /// The name of a user, for `peer`. It may ask the network, and block for that.
    pub name_of: fn(u32) -> Option<String>,
}

impl Peers {
    /// A user without a name goes by the number.
    async fn name(self, uid: u32) -> String {
        let name = tokio::task::spawn_blocking(move || (self.name_of)(uid)).await;
        name.ok().flatten().unwrap_or_else(|| uid.to_string())
    }
}

/// What rules look at.
fn connection<'a, S>(client: &Client<S>, identity: &'a Identity, facts: &'a AccessFacts) -> Connection<'a> {
    let origin = match client.origin {
        Origin::Unix { .. } => hba::Origin::Local,
        Origin::Tcp { remote, .. } => {
            hba::Origin::Tcp { remote: remote.ip().to_canonical(), tls: client.tls.is_some() }
        }
    };
    Connection {
        role: &identity.role,
        database: &identity.database,
        physical_replication: identity.replication == Replication::Physical,
        member_of: &facts.member_of,
        origin,
    }
}

/// Finds the rule that is for this client.
pub(crate) async fn rule_for<'r, S>(
    client: &Client<S>,
    identity: &Identity,
    facts: &AccessFacts,
    rules: &'r Rules,
) -> Result<&'r Rule, Ended> {
    let connection = connection(client, identity, facts);
    let mut seen = Seen::default();
    loop {
        match (rules.decide(&connection, &seen), connection.origin) {
            (Decision::Rule(rule), _) => return Ok(rule),
            (Decision::Look(look), hba::Origin::Tcp { remote, .. }) => machine::look(look, remote, &mut seen).await,
            (Decision::NoRule | Decision::Look(_), _) => return Err(Ended::refused(Refused::no_rule(&connection))),
        }
    }
}

/// Makes sure, in the way that its rule wants, that the client may be the role it names. Whether there is such a role
/// [`nap_model::access::admit`] looks at next.
pub(crate) async fn authenticate<S: ClientStream>(
    client: &mut Client<S>,
    identity: &Identity,
    facts: &AccessFacts,
    (rule, maps): (&Rule, &Maps),
    peers: Peers,
    mock_secret: &[u8; 32],
) -> Result<(), Ended> {
    let connection = connection(client, identity, facts);
    let certificate = client.tls.as_ref().and_then(|tls| tls.client_certificate.clone());
    if rule.client_certificate != ClientCertificate::NotAsked && certificate.is_none() {
        return Err(Ended::refused(Refused::NoCertificate));
    }
    match (&rule.method, client.origin) {
        (Method::Trust | Method::Cert { .. }, _) => {}
        (Method::Peer { map }, Origin::Unix { uid }) => {
            let user = peers.name(uid).await;
            check_map(maps, map.as_deref(), Some(&user), &connection, rule)?;
        }
        (Method::ScramSha256 | Method::Md5, _) => password(client, identity, facts, mock_secret).await?,
        (Method::Reject | Method::Peer { .. }, _) => return Err(Ended::refused(Refused::rejected(&connection))),
    }
    if let (ClientCertificate::VerifyFull, Some(certificate)) = (rule.client_certificate, certificate) {
        let name = certificate.name(rule.certificate_name);
        let map = if let Method::Cert { map } = &rule.method { map.as_deref() } else { None };
        check_map(maps, map, name.as_deref(), &connection, rule)?;
    }
    Ok(())
}

/// Whether a user of the system, or whoever a certificate names, may be the role. Why not is for the log only.
fn check_map(
    maps: &Maps,
    map: Option<&str>,
    user: Option<&str>,
    connection: &Connection<'_>,
    rule: &Rule,
) -> Result<(), Ended> {
    let checked = match user {
        Some(user) => maps.check(map, user, connection).map_err(|error| error.to_string()),
        None => Err("client certificate contains no user name".to_owned()),
    };
    checked.map_err(|error| {
        if may_log("map") {
            tracing::info!(role = connection.role, rule = %rule.place, error, "not the role of this user");
        }
        Ended::refused(Refused::failed(&rule.method, connection.role))
    })
}

/// SCRAM, against what is kept of the role's password.
async fn password<S: ClientStream>(
    client: &mut Client<S>,
    Identity { branch, role, .. }: &Identity,
    facts: &AccessFacts,
    mock_secret: &[u8; 32],
) -> Result<(), Ended> {
    let (verifier, kept) = verifier(facts.role.as_ref(), role, now_us(), mock_secret);
    match scram::exchange(client, verifier).await? {
        Ok(()) => Ok(()),
        Err(ScramError::WrongProof) => {
            if kept == Kept::Md5 && may_log("md5") {
                // Only here: a client that has proved nothing must not learn which roles there are.
                tracing::info!(%branch, role, client = client.address, "{MD5_REFUSED}");
            }
            Err(Ended::refused(Refused::failed(&Method::ScramSha256, role)))
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
        Role {
            name: "al".into(),
            can_login: true,
            verifier: Some(verifier.into()),
            valid_until_us,
            connection_limit: -1,
            superuser: false,
        }
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
