//! Which rule is a connection's: the first one that matches.

use std::net::IpAddr;

use super::Rules;
use super::address::{Address, Interface, host_name_matches};
use super::rule::{ConnectionType, Rule};

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// The role it asks for.
    pub role: &'a str,
    /// The database, without a branch.
    pub database: &'a str,
    /// Physical replication, which is in no database.
    pub physical_replication: bool,
    /// The roles that this role is a member of, directly or not, itself included; none if there is no such role.
    pub member_of: &'a [String],
    /// How it came in.
    pub origin: Origin,
}

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By a Unix socket.
    Local,
    /// By TCP.
    Tcp {
        /// The client's address.
        remote: IpAddr,
        /// Whether it is encrypted.
        tls: bool,
    },
}

impl Connection<'_> {
    /// PostgreSQL counts explicit membership only: a superuser is not a member of everything here.
    pub(super) fn is_member_of(&self, group: &str) -> bool {
        self.member_of.iter().any(|known| known == group)
    }
}

/// What had to be looked up for a decision.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The machine's own addresses.
    pub interfaces: Option<Vec<Interface>>,
    /// The name that the client's address has, if that name in turn has this address.
    pub host_name: Option<Option<String>>,
}

/// What must be looked up to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For `samehost` and `samenet`.
    Interfaces,
    /// For a rule that names a host.
    HostName,
}

/// What becomes of a connection.
#[derive(Debug)]
pub enum Decision<'r> {
    /// This rule is for it.
    Rule(&'r Rule),
    /// No rule is: it is refused.
    NoRule,
    /// It depends on something that was not looked up yet.
    Look(Look),
}

impl Rules {
    /// Finds the rule of a connection. What it needs to know besides is asked for when it is needed: looking up names
    /// takes time, and tells name servers who comes.
    pub fn decide(&self, connection: &Connection<'_>, seen: &Seen) -> Decision<'_> {
        for rule in self.iter() {
            match rule.matches(connection, seen) {
                Ok(true) => return Decision::Rule(rule),
                Ok(false) => {}
                Err(look) => return Decision::Look(look),
            }
        }
        Decision::NoRule
    }
}

impl Rule {
    fn matches(&self, connection: &Connection<'_>, seen: &Seen) -> Result<bool, Look> {
        let names = self.databases.iter().any(|name| name.matches(connection))
            && self.roles.iter().any(|name| name.matches(connection));
        match connection.origin {
            _ if !names => Ok(false),
            Origin::Local => Ok(self.connection == ConnectionType::Local),
            Origin::Tcp { tls, .. } if !self.connection.matches_tcp(tls) => Ok(false),
            Origin::Tcp { remote, .. } => self.address.matches(remote.to_canonical(), seen),
        }
    }
}

impl Address {
    fn matches(&self, client: IpAddr, seen: &Seen) -> Result<bool, Look> {
        let interfaces = || seen.interfaces.as_ref().ok_or(Look::Interfaces);
        match self {
            Address::All => Ok(true),
            Address::Network(network) => Ok(network.contains(client)),
            Address::SameHost => Ok(interfaces()?.iter().any(|interface| interface.has(client))),
            Address::SameNet => Ok(interfaces()?.iter().any(|interface| interface.network_has(client))),
            Address::HostName(wanted) => {
                let actual = seen.host_name.as_ref().ok_or(Look::HostName)?;
                Ok(actual.as_ref().is_some_and(|actual| host_name_matches(wanted, actual)))
            }
        }
    }
}
