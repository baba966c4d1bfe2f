//! What is to be said about a client.

use std::path::Path;
use std::process::Command;

use crate::program::Program;

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
    /// The cases that not every run can play.
    pub(crate) needs: &'static [Needs],
}

/// A case, and what must be there for it.
pub(crate) struct Needs {
    /// The case.
    pub(crate) case: &'static str,
    /// What it needs: for the docs.
    pub(crate) what: &'static str,
    /// Whether that is here.
    pub(crate) is_here: fn(&mut Program) -> bool,
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
