//! What the gateway must know of roles and databases before it lets anybody in, and the decision itself.
//!
//! PostgreSQL checks LOGIN, CONNECTION LIMIT, CONNECT and the database again when the backend logs in as the
//! client's role; what is decided here is decided so that nobody wakes a server in vain, and because `trust`
//! between gateway and server skips VALID UNTIL and the password.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::client_error::{ClientError, sqlstate};
use crate::lsn::Lsn;

/// One row of `pg_authid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// `rolname`
    pub name: String,
    /// `rolcanlogin`
    pub can_login: bool,
    /// `rolpassword`: a SCRAM or md5 verifier
    pub verifier: Option<String>,
    /// `rolvaliduntil` in microseconds since 1970-01-01 UTC; `None` is for ever
    pub valid_until_us: Option<i64>,
    /// `rolconnlimit`; negative: none, as for every superuser
    #[serde(default = "no_limit")]
    pub connection_limit: i32,
    /// `rolsuper`
    #[serde(default)]
    pub superuser: bool,
}

/// One row of `pg_database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `datname`
    pub name: String,
    /// `datallowconn`
    pub allows_connections: bool,
    /// `datconnlimit`; negative: none
    #[serde(default = "no_limit")]
    pub connection_limit: i32,
}

fn no_limit() -> i32 {
    -1
}

/// The roles and databases of a sleeping cluster, as they were at its shutdown checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessSnapshot {
    /// The cluster's system identifier.
    pub system_identifier: u64,
    /// The shutdown checkpoint. If pg_control names another, somebody else ran the server.
    pub checkpoint: Lsn,
    /// All roles.
    pub roles: Vec<Role>,
    /// All databases.
    pub databases: Vec<Database>,
    /// Superusers that may log in, the bootstrap superuser first: as one of them the daemon asks. Its name may change.
    #[serde(default)]
    pub superusers: Vec<String>,
    /// Subscriptions that are enabled. A copy of the cluster would take its changes away from it.
    #[serde(default)]
    pub enabled_subscriptions: u32,
    /// Who is a member of what. `None`: kept by a version that did not ask, so the rest cannot be used either.
    #[serde(default)]
    pub memberships: Option<Vec<Membership>>,
}

/// One row of `pg_auth_members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// `member`
    pub member: String,
    /// `roleid`
    pub of: String,
}

/// What was found out about one login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFacts {
    /// `None`: there is no such role.
    pub role: Option<Role>,
    /// `None`: there is no such database.
    pub database: Option<Database>,
    /// The roles that this role is a member of, directly or not, itself first.
    pub member_of: Vec<String>,
}

impl AccessSnapshot {
    /// What it says about this role and this database.
    pub fn facts(&self, role: &str, database: &str) -> AccessFacts {
        AccessFacts {
            role: self.roles.iter().find(|r| r.name == role).cloned(),
            database: self.databases.iter().find(|d| d.name == database).cloned(),
            member_of: self.member_of(role),
        }
    }

    fn member_of(&self, role: &str) -> Vec<String> {
        if !self.roles.iter().any(|known| known.name == role) {
            return Vec::new();
        }
        let mut groups: HashMap<&str, Vec<&str>> = HashMap::new();
        for Membership { member, of } in self.memberships.iter().flatten() {
            groups.entry(member).or_default().push(of);
        }
        let (mut found, mut seen) = (vec![role], HashSet::from([role]));
        let mut at = 0;
        while let Some(member) = found.get(at) {
            let more = groups.get(member).into_iter().flatten().filter(|group| seen.insert(group));
            found.extend(more);
            at += 1;
        }
        found.into_iter().map(str::to_owned).collect()
    }
}

/// Why an authenticated client is not let in. The words are PostgreSQL's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Only after peer authentication: a password login of an unknown role fails as a wrong password.
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    /// NOLOGIN
    #[error("role \"{0}\" is not permitted to log in")]
    NoLogin(String),
    /// No such database in this branch.
    #[error("database \"{0}\" does not exist")]
    NoSuchDatabase(String),
    /// `datallowconn` is false.
    #[error("database \"{0}\" is not currently accepting connections")]
    NoConnections(String),
    /// CONNECTION LIMIT, counting sessions that have no backend now.
    #[error("too many connections for role \"{0}\"")]
    RoleIsFull(String),
    /// The same of a database.
    #[error("too many connections for database \"{0}\"")]
    DatabaseIsFull(String),
}

impl ClientError for Refused {
    fn sqlstate(&self) -> &'static str {
        match self {
            Refused::NoSuchRole(_) | Refused::NoLogin(_) => sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
            Refused::NoSuchDatabase(_) => sqlstate::INVALID_CATALOG_NAME,
            Refused::NoConnections(_) => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Refused::RoleIsFull(_) | Refused::DatabaseIsFull(_) => sqlstate::TOO_MANY_CONNECTIONS,
        }
    }
}

/// Whether a password may be used for this role now (microseconds since 1970). PostgreSQL treats a password past its
/// VALID UNTIL as a wrong one.
pub fn password_is_valid(role: &Role, now_us: i64) -> bool {
    role.valid_until_us.is_none_or(|until| now_us <= until)
}

/// Whether an authenticated client may go on to wake and enter the server. A physical replication connection names
/// no database.
pub fn admit(facts: &AccessFacts, role: &str, database: Option<&str>) -> Result<(), Refused> {
    let known = facts.role.as_ref().ok_or_else(|| Refused::NoSuchRole(role.to_owned()))?;
    if !known.can_login {
        return Err(Refused::NoLogin(role.to_owned()));
    }
    let Some(database) = database else { return Ok(()) };
    match &facts.database {
        None => Err(Refused::NoSuchDatabase(database.to_owned())),
        Some(known) if !known.allows_connections => Err(Refused::NoConnections(database.to_owned())),
        Some(_) => Ok(()),
    }
}

/// How many sessions there are of a role, or in a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crowd {
    /// All of them.
    pub sessions: u32,
    /// Those that are parked: PostgreSQL does not count them.
    pub parked: u32,
}

impl Crowd {
    fn fills(self, limit: i32) -> bool {
        self.parked > 0 && u32::try_from(limit).is_ok_and(|limit| self.sessions >= limit)
    }
}

/// Whether a limit stands that somebody would have to be counted for.
pub fn is_limited(facts: &AccessFacts) -> bool {
    facts.role.as_ref().is_some_and(|role| role.connection_limit >= 0)
        || facts.database.as_ref().is_some_and(|database| database.connection_limit >= 0)
}

/// Whether there is room for one more, where PostgreSQL does not see all who are there. As PostgreSQL does, it heeds a
/// database's limit only for roles that can have one.
pub fn has_room(facts: &AccessFacts, of_role: Crowd, in_database: Crowd) -> Result<(), Refused> {
    let Some(role) = &facts.role else { return Ok(()) };
    if of_role.fills(role.connection_limit) {
        return Err(Refused::RoleIsFull(role.name.clone()));
    }
    match &facts.database {
        Some(database) if !role.superuser && in_database.fills(database.connection_limit) => {
            Err(Refused::DatabaseIsFull(database.name.clone()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(can_login: bool, allows_connections: bool) -> AccessFacts {
        AccessFacts {
            role: Some(Role {
                name: "alice".into(),
                can_login,
                verifier: None,
                valid_until_us: None,
                connection_limit: -1,
                superuser: false,
            }),
            database: Some(Database { name: "shop".into(), allows_connections, connection_limit: -1 }),
            member_of: vec!["alice".into()],
        }
    }

    #[test]
    fn refuses_in_postgresqls_order_and_words() {
        let nobody = AccessFacts { role: None, database: None, member_of: Vec::new() };
        assert_eq!(admit(&nobody, "bob", Some("shop")).unwrap_err().to_string(), "role \"bob\" does not exist");
        assert_eq!(admit(&facts(false, false), "alice", Some("shop")), Err(Refused::NoLogin("alice".into())));
        assert_eq!(admit(&facts(true, false), "alice", Some("shop")), Err(Refused::NoConnections("shop".into())));
        assert_eq!(admit(&facts(true, true), "alice", Some("shop")), Ok(()));
        let no_database = AccessFacts { database: None, ..facts(true, true) };
        assert_eq!(admit(&no_database, "alice", Some("shop")).unwrap_err().sqlstate(), "3D000");
        assert_eq!(admit(&no_database, "alice", None), Ok(()), "physical replication");
    }

    #[test]
    fn parked_sessions_count_towards_the_limits() {
        let mut facts = facts(true, true);
        let crowd = |sessions, parked| Crowd { sessions, parked };
        facts.role.as_mut().unwrap().connection_limit = 2;
        facts.database.as_mut().unwrap().connection_limit = 3;
        assert_eq!(has_room(&facts, crowd(1, 1), crowd(2, 2)), Ok(()));
        assert_eq!(has_room(&facts, crowd(2, 0), crowd(3, 0)), Ok(()), "PostgreSQL will say it");
        assert_eq!(has_room(&facts, crowd(2, 1), crowd(2, 2)), Err(Refused::RoleIsFull("alice".into())));
        assert_eq!(has_room(&facts, crowd(1, 1), crowd(3, 1)), Err(Refused::DatabaseIsFull("shop".into())));
        facts.role.as_mut().unwrap().superuser = true;
        assert_eq!(has_room(&facts, crowd(1, 1), crowd(3, 1)), Ok(()));
    }

    #[test]
    fn membership_goes_on_from_role_to_role() {
        let role = |name: &str| Role {
            name: name.into(),
            can_login: true,
            verifier: None,
            valid_until_us: None,
            connection_limit: -1,
            superuser: false,
        };
        let membership = |(member, of): (&str, &str)| Membership { member: member.into(), of: of.into() };
        let rows = [("al", "staff"), ("staff", "people"), ("bo", "admins"), ("people", "staff")];
        let mut snapshot: AccessSnapshot =
            serde_json::from_str("{\"system_identifier\":1,\"checkpoint\":\"0/1\",\"roles\":[],\"databases\":[]}")
                .unwrap();
        assert_eq!(snapshot.memberships, None, "a file of a version that did not ask");
        snapshot.roles = ["al", "bo", "staff"].map(role).into();
        snapshot.memberships = Some(rows.map(membership).into());
        assert_eq!(snapshot.facts("al", "x").member_of, ["al", "staff", "people"]);
        assert_eq!(snapshot.facts("nobody", "x").member_of, [""; 0], "nobody is a member of nothing");
    }

    #[test]
    fn a_password_ends_after_its_valid_until() {
        let role = |until| Role {
            name: "a".into(),
            can_login: true,
            verifier: None,
            valid_until_us: until,
            connection_limit: -1,
            superuser: false,
        };
        assert!(password_is_valid(&role(None), i64::MAX));
        assert!(password_is_valid(&role(Some(10)), 10));
        assert!(!password_is_valid(&role(Some(10)), 11));
    }
}
