//! How a client that rules keep out is told, in PostgreSQL's words.

use std::borrow::Cow;

use super::decide::{Connection, Origin};
use super::rule::Method;
use crate::client_error::{ClientError, sqlstate};

/// Why a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No rule is for it.
    #[error("no pg_hba.conf entry for {0}")]
    NoRule(String),
    /// A rule says so.
    #[error("pg_hba.conf rejects {0}")]
    Rejected(String),
    /// It has shown no certificate, and the rule wants one.
    #[error("connection requires a valid client certificate")]
    NoCertificate,
    /// It is not who it says.
    #[error("{how} authentication failed for user \"{role}\"")]
    Failed {
        /// The method, as PostgreSQL calls it here.
        how: &'static str,
        /// Who it says it is.
        role: String,
    },
}

const PASSWORD: &str = "password";
const PEER: &str = "Peer";

impl Refused {
    /// No rule is for this connection.
    pub fn no_rule(connection: &Connection<'_>) -> Self {
        Self::NoRule(described(connection, "replication connection from host", "host"))
    }

    /// The rule of this connection rejects it.
    pub fn rejected(connection: &Connection<'_>) -> Self {
        Self::Rejected(described(connection, "replication connection for host", "connection for host"))
    }

    /// Whoever wants to be this role has not proved it.
    pub fn failed(method: &Method, role: &str) -> Self {
        let how = match method {
            Method::Trust => "\"trust\"",
            Method::Peer { .. } => PEER,
            Method::ScramSha256 | Method::Md5 => PASSWORD,
            Method::Cert { .. } => "certificate",
            Method::Reject => "rejected",
        };
        Self::Failed { how, role: role.to_owned() }
    }
}

fn described(connection: &Connection<'_>, replication: &str, ordinary: &str) -> String {
    let (host, encryption) = match connection.origin {
        Origin::Local => ("[local]".to_owned(), "no encryption"),
        Origin::Tcp { remote, tls: true } => (remote.to_canonical().to_string(), "SSL encryption"),
        Origin::Tcp { remote, tls: false } => (remote.to_canonical().to_string(), "no encryption"),
    };
    let Connection { role, database, .. } = connection;
    if connection.physical_replication {
        return format!("{replication} \"{host}\", user \"{role}\", {encryption}");
    }
    format!("{ordinary} \"{host}\", user \"{role}\", database \"{database}\", {encryption}")
}

impl ClientError for Refused {
    fn sqlstate(&self) -> &'static str {
        match self {
            Refused::Failed { how: PASSWORD, .. } => sqlstate::INVALID_PASSWORD,
            _ => sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Refused::NoRule(_) | Refused::Rejected(_) => Some(
                "The rules are in pg_hba.conf of Napgres' home; `nap logs --daemon` tells which one decided.".into(),
            ),
            Refused::Failed { how: PEER, .. } => Some(
                "Connect over TCP with the role's password, or let this user be the role by a line in pg_ident.conf \
                 or pg_hba.conf of Napgres' home."
                    .into(),
            ),
            Refused::NoCertificate => {
                Some("Clients are asked for one if the setting ssl_ca_file names who issues them.".into())
            }
            Refused::Failed { .. } => None,
        }
    }
}
