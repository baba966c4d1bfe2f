//! How the daemon gets into a server: as some superuser, into some database, whatever has been renamed or dropped.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use nap_model::access::AccessSnapshot;
use nap_model::ids::Major;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::{Admin, AdminError, queries};
use crate::initdb::BOOTSTRAP_SUPERUSER;

/// How long a database may keep us at its door (as a template that is being copied does) before the next is tried.
const COME_IN_WITHIN: Duration = Duration::from_secs(1);
/// The pause between tries while the server refuses connections because it recovers from a crash of a backend.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// As whom, and to which database, it may connect; tried in turn. Both are the user's to rename or drop.
pub(super) struct WaysIn {
    roles: Vec<String>,
    databases: Vec<String>,
}

impl WaysIn {
    fn of(snapshot: &AccessSnapshot) -> Self {
        let mut roles = snapshot.superusers.clone();
        roles.push(BOOTSTRAP_SUPERUSER.to_owned());
        // A renamed superuser may be among them.
        roles.extend(snapshot.roles.iter().filter(|role| role.can_login).map(|role| role.name.clone()));
        let mut databases = USUAL_DATABASES.map(str::to_owned).to_vec();
        let open = snapshot.databases.iter().filter(|database| database.allows_connections);
        databases.extend(open.map(|database| database.name.clone()));
        for names in [&mut roles, &mut databases] {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names.truncate(NAMES_TRIED_MAX);
        }
        Self { roles, databases }
    }

    /// Every role with every database.
    fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for role in &self.roles {
            pairs.extend(self.databases.iter().map(|database| (role.clone(), database.clone())));
        }
        pairs
    }
}

/// In every cluster that initdb made.
const USUAL_DATABASES: [&str; 2] = ["postgres", "template1"];
/// So many roles, and so many databases, are tried.
const NAMES_TRIED_MAX: usize = 12;

impl Default for WaysIn {
    /// Nothing is known yet: what initdb made.
    fn default() -> Self {
        Self { roles: vec![BOOTSTRAP_SUPERUSER.to_owned()], databases: USUAL_DATABASES.map(str::to_owned).to_vec() }
    }
}

impl Admin {
    /// Takes note of the superusers and databases there are.
    pub fn learn(&self, snapshot: &AccessSnapshot) {
        *self.ways_in.lock().unwrap_or_else(PoisonError::into_inner) = WaysIn::of(snapshot);
    }

    /// A superuser, as far as is known.
    pub fn superuser(&self) -> String {
        let ways_in = self.ways_in.lock().unwrap_or_else(PoisonError::into_inner);
        ways_in.roles.first().cloned().unwrap_or_else(|| BOOTSTRAP_SUPERUSER.to_owned())
    }

    /// The superusers as they are now: one that is renamed before the server has ever settled must not lock us out.
    pub(super) async fn learn_superusers(&self, client: &Client) {
        let Ok(rows) = client.query_typed(queries::SUPERUSERS, &[]).await else { return };
        let now: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        let mut ways_in = self.ways_in.lock().unwrap_or_else(PoisonError::into_inner);
        ways_in.roles.retain(|role| !now.contains(role));
        ways_in.roles.splice(0..0, now);
        ways_in.roles.truncate(NAMES_TRIED_MAX);
    }

    pub(super) async fn connect(&self) -> Result<Client, AdminError> {
        let mut ways = self.ways_in.lock().unwrap_or_else(PoisonError::into_inner).pairs().into_iter();
        let mut way = ways.next();
        let mut late = false;
        loop {
            let Some((role, database)) = &way else {
                // A machine under load is no reason to give up for good.
                if late {
                    return Err(AdminError::Late);
                }
                return Err(AdminError::Nonsense("no known superuser gets into any known database".into()));
            };
            let config = self.config(role, database);
            let Ok(connected) = tokio::time::timeout(COME_IN_WITHIN, config.connect(NoTls)).await else {
                late = true;
                way = ways.next();
                continue;
            };
            match connected {
                Ok((_, connection)) if connection.parameter("is_superuser") != Some("on") => way = ways.next(),
                Ok((client, connection)) => {
                    self.follow(connection);
                    return Ok(client);
                }
                Err(error) => match error.code().map(|code| code.code()) {
                    Some("57P03") => tokio::time::sleep(RETRY_AFTER).await,
                    // No such database, it takes no connections, no such role, or not a role to log in as.
                    Some("3D000" | "55000" | "28000") => way = ways.next(),
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Into this very database, as the superuser that is known.
    pub(super) async fn connect_to(&self, database: &str) -> Result<Client, AdminError> {
        let (client, connection) = self.config(&self.superuser(), database).connect(NoTls).await?;
        self.follow(connection);
        Ok(client)
    }

    fn follow(&self, connection: Connection<Socket, NoTlsStream>) {
        let branch = self.branch.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%branch, %error, "the daemon's own connection ended");
            }
        });
    }

    fn config(&self, role: &str, database: &str) -> Config {
        // What a role or database sets for itself must not change what these questions mean; options given at
        // connection time win over both. What is vacuumed before a sleep waits for no standby.
        let mut options = "-c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0 -c role=none \
                           -c idle_session_timeout=0 -c session_preload_libraries= -c local_preload_libraries= \
                           -c synchronous_commit=local -c default_transaction_read_only=off \
                           -c default_transaction_isolation=read\\ committed"
            .to_owned();
        if self.major >= Major(17) {
            options.push_str(" -c event_triggers=off -c transaction_timeout=0");
        }
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .port(crate::launch::SOCKET_PORT)
            .user(role)
            .dbname(database)
            .application_name(queries::APPLICATION_NAME)
            .options(&options);
        config
    }
}
