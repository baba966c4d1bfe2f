//! A session is what the client sees; a backend is what serves it. They are two things, so that a session can be
//! without a backend.

use std::any::Any;

use nap_model::ids::{BranchName, Major};
use nap_wire::startup::encode_startup;
use serde::{Deserialize, Serialize};

use crate::branches::BranchFacts;
use crate::client::Client;
use crate::limits::Permit;
use crate::options;
use crate::route::{Replication, Route};
use crate::sessions::Entry;

/// Who and what a session is: all that a new backend must be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) branch: BranchName,
    /// The PostgreSQL major of its branch.
    pub(crate) major: Major,
    pub(crate) role: String,
    pub(crate) database: String,
    pub(crate) replication: Replication,
    /// `options` as the client wrote them, without what is for us.
    options: String,
    parameters: Vec<(String, String)>,
    /// The protocol's minor version that client and server both speak.
    pub(crate) minor: u16,
}

impl Identity {
    pub(crate) fn new(route: Route, facts: BranchFacts, minor_asked: u16) -> Self {
        Self {
            options: route.options,
            branch: route.branch,
            major: facts.major,
            role: route.role,
            database: route.database,
            replication: route.replication,
            parameters: route.parameters,
            minor: minor_asked.min(facts.major.protocol_minor()),
        }
    }

    /// It goes to a moment of its branch's past, which is a branch of its own. `SHOW nap.at` tells.
    pub(crate) fn goes_to(&mut self, branch: BranchName, at: &str) {
        self.branch = branch;
        self.options = options::with_moment(&self.options, at);
    }

    /// The database, if it will be in one.
    pub(crate) fn entered_database(&self) -> Option<&str> {
        (self.replication != Replication::Physical).then_some(self.database.as_str())
    }

    /// The packet that begins a backend for it.
    pub(crate) fn startup_packet(&self) -> Vec<u8> {
        let options = options::with_branch(&self.options, &self.branch);
        let own = [("user", &self.role), ("database", &self.database), ("options", &options)];
        let own = own.into_iter().map(|(name, value)| (name, value.as_str()));
        let others = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        encode_startup(self.minor, &own.chain(others).collect::<Vec<_>>())
    }
}

/// One client connection that has been let in.
pub(crate) struct Session<S> {
    pub(crate) client: Client<S>,
    pub(crate) identity: Identity,
    /// Where others see it.
    pub(crate) entry: Entry,
    /// Its places among all connections and among those of its branch.
    pub(crate) _place: Permit,
    /// If its branch is a moment of the past: what keeps that open.
    pub(crate) past: Option<Box<dyn Any + Send>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::ids::Major;
    use nap_wire::startup::{FirstPacket, parse_first_packet};

    #[test]
    fn a_backend_is_told_everything_but_the_way() {
        let given = [("user", "al@dev"), ("client_encoding", "UTF8"), ("branch", "dev"), ("options", "-c a=b")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let route = crate::route::route(given, crate::route::Entrance::default(), &BranchName::main()).unwrap();
        let identity = Identity::new(route, BranchFacts { major: Major(18) }, 9999);
        let packet = identity.startup_packet();
        let Ok(Some((FirstPacket::Startup(startup), _))) = parse_first_packet(&packet, 10_000) else { panic!() };
        assert_eq!(startup.minor, 2);
        let told =
            [("user", "al"), ("database", "al"), ("options", "-c nap.branch=dev -c a=b"), ("client_encoding", "UTF8")];
        assert_eq!(startup.parameters, told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
