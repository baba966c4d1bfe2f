//! What is to be said about a client.

use std::path::Path;
use std::process::Command;

/// A client.
pub(crate) struct Client {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its program; the path is a file in the format of /etc/hosts. `None`: not in this run.
    pub(crate) program: fn(hosts: &Path) -> Option<Command>,
    /// How its users write the branch: for the docs.
    pub(crate) writes: &'static str,
    /// The cases that it cannot do, each with the reason.
    pub(crate) cannot: &'static [(&'static str, &'static str)],
}

impl Client {
    /// Why it cannot do this case; `None`: it can.
    pub(crate) fn cannot(&self, case: &str) -> Option<&'static str> {
        self.cannot.iter().find(|(name, _)| *name == case).map(|(_, reason)| *reason)
    }
}

/// All of them, in the order of the docs.
pub(crate) const CLIENTS: &[&Client] = &[
    &crate::psql::PSQL,
    &crate::psycopg::PSYCOPG,
    &crate::asyncpg::ASYNCPG,
    &crate::pg8000::PG8000,
    &crate::sqlalchemy::SQLALCHEMY,
    &crate::django::DJANGO,
    &crate::node_postgres::NODE_POSTGRES,
    &crate::postgresjs::POSTGRESJS,
    &crate::drizzle::DRIZZLE,
    &crate::pgjdbc::PGJDBC,
    &crate::tokio_postgres::TOKIO_POSTGRES,
    &crate::sqlx::SQLX,
];
